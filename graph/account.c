/* account: reading the sets of one store, and their JSON form. */
#include "graph/account.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "graph/control.h"
#include "graph/set.h"

#define ACCOUNT_ASK_MS 10000
#define ACCOUNT_TRIES  100      /* looks at a process that is between living and not ... */
#define ACCOUNT_NAP_MS 50       /* ... so far apart */

static int
ports_of(const struct plan *p, int node)
{
    int count = 0;
    while (p->nodes[node].kind->ports[count].direction != PORT_END)
        count++;
    return count;
}

static void
account_init(struct account *a, const struct plan *p, int node)
{
    memset(a, 0, sizeof *a);
    a->port_count = ports_of(p, node);
    a->link_count = p->nodes[node].link_count;
    a->sent = xarray((size_t)a->port_count + 1, sizeof *a->sent);
    a->received = xarray((size_t)a->link_count + 1, sizeof *a->received);
    a->kept = xarray((size_t)a->link_count + 1, sizeof *a->kept);
}

void
account_free(struct account *a)
{
    for (int i = 0; i < a->port_count; i++)
        intervals_free(&a->sent[i]);
    for (int i = 0; i < a->link_count; i++) {
        intervals_free(&a->received[i]);
        intervals_free(&a->kept[i]);
    }
    intervals_free(&a->settled);
    free(a->sent);
    free(a->received);
    free(a->kept);
    memset(a, 0, sizeof *a);
}

/* ---- at rest ---- */

static int64_t
count_of(struct span value)
{
    return value.length == 8 ? (int64_t)store_read_u64(value.at) : 0;
}

static bool
reason_visit(void *own, struct span key, struct span value)
{
    static const char prefix[] = "closed:";
    struct account *a = own;
    size_t n = sizeof prefix - 1;
    if (key.length <= n || memcmp(key.at, prefix, n) != 0)
        return false;
    if (a->reason_count < ACCOUNT_REASONS_MAX) {
        struct account_reason *r = &a->reasons[a->reason_count++];
        size_t length = key.length - n < sizeof r->text - 1 ? key.length - n : sizeof r->text - 1;
        memcpy(r->text, key.at + n, length);
        r->text[length] = 0;
        r->count = count_of(value);
    }
    return true;
}

static bool
park_visit(void *own, struct span key, struct span value)
{
    struct account *a = own;
    (void)value;
    if (key.length == 9 && (unsigned char)key.at[8] < a->link_count) {
        uint64_t ordinal = store_read_u64(key.at);
        intervals_add(&a->kept[(unsigned char)key.at[8]], ordinal, ordinal + 1);
    }
    return true;
}

/* A held dead letter keeps the place of its ordinal on every link. */
static bool
dead_visit(void *own, struct span key, struct span value)
{
    struct account *a = own;
    uint32_t length = 0;
    (void)key;
    if (value.length >= 4)
        memcpy(&length, value.at, 4);
    json_t *header =
        length > 0 && length <= value.length - 4 ? json_loadb(value.at + 4, length, 0, NULL) : NULL;
    if (json_is_true(json_object_get(header, "held"))) {
        uint64_t ordinal = (uint64_t)json_integer_value(json_object_get(header, "ordinal"));
        for (int l = 0; l < a->link_count; l++)
            intervals_add(&a->kept[l], ordinal, ordinal + 1);
    }
    json_decref(header);
    return true;
}

static int
set_take(struct store *s, enum set_kind kind, int which, struct intervals *out, struct error *e)
{
    if (set_read(s, kind, (unsigned)which, 0, ACCOUNT_INTERVALS_MAX, out))
        return 0;
    return error_set(e, ERROR_limit, "'%s': a set has more than %d intervals", store_path(s),
                     ACCOUNT_INTERVALS_MAX);
}

int
account_read(struct account *a, struct store *s, const struct plan *p, int node, struct error *e)
{
    struct span value;
    int rc = 0;
    account_init(a, p, node);
    a->exists = true;
    for (int i = 0; i < a->port_count && rc == 0; i++)
        rc = set_take(s, SET_sent, i, &a->sent[i], e);
    for (int i = 0; i < a->link_count && rc == 0; i++)
        rc = set_take(s, SET_received, i, &a->received[i], e);
    if (rc == 0)
        rc = set_take(s, SET_settled, 0, &a->settled, e);
    if (rc != 0) {
        account_free(a);
        return rc;
    }
    store_scan(s, TABLE_park, span_of(NULL, 0), park_visit, a);
    store_scan(s, TABLE_dead, span_of(NULL, 0), dead_visit, a);
    store_scan(s, TABLE_counts, span_text("closed:"), reason_visit, a);
    if (store_get(s, TABLE_counts, span_text("samples"), &value))
        a->samples = count_of(value);
    a->doubled = (int64_t)store_number(s, "doubled", 0);
    return 0;
}

/* ---- as JSON ---- */

static json_t *
intervals_json(const struct intervals *s)
{
    json_t *rows = json_array();
    for (int64_t i = 0; i < s->count; i++)
        json_array_append_new(
            rows, json_pack("[I,I]", (json_int_t)s->at[i].start, (json_int_t)s->at[i].end));
    return rows;
}

static json_t *
list_json(const struct intervals *sets, int count)
{
    json_t *rows = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(rows, intervals_json(&sets[i]));
    return rows;
}

json_t *
account_json(const struct account *a)
{
    json_t *closed = json_object();
    for (int i = 0; i < a->reason_count; i++) {
        json_t *count = json_integer(a->reasons[i].count);
        if (json_object_set_new(closed, a->reasons[i].text, count) != 0)
            json_object_set_new(closed, "(not UTF-8)", json_integer(a->reasons[i].count));
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:I,s:o,s:I}", "sent", list_json(a->sent, a->port_count),
                     "received", list_json(a->received, a->link_count), "kept",
                     list_json(a->kept, a->link_count), "settled", intervals_json(&a->settled),
                     "samples", (json_int_t)a->samples, "closed", closed, "doubled",
                     (json_int_t)a->doubled);
}

static int
intervals_parse(struct intervals *s, const json_t *rows, struct error *e)
{
    size_t i;
    json_t *row;
    if (!json_is_array(rows) || json_array_size(rows) > ACCOUNT_INTERVALS_MAX)
        return error_set(e, ERROR_input, "an interval set is missing or too long");
    json_array_foreach(rows, i, row) {
        json_int_t start, end;
        if (json_unpack(row, "[I,I]", &start, &end) != 0 || start < 0 || end <= start)
            return error_set(e, ERROR_input, "an interval is malformed");
        intervals_add(s, (uint64_t)start, (uint64_t)end);
    }
    return 0;
}

static int
list_parse(struct intervals *sets, int count, const json_t *rows, const char *name, struct error *e)
{
    if ((int)json_array_size(rows) != count)
        return error_set(e, ERROR_input, "'%s' has %zu sets instead of %d", name,
                         json_array_size(rows), count);
    for (int i = 0; i < count; i++) {
        int rc = intervals_parse(&sets[i], json_array_get(rows, (size_t)i), e);
        if (rc != 0)
            return error_wrap(e, "'%s'", name);
    }
    return 0;
}

int
account_parse(struct account *a, const json_t *reply, const struct plan *p, int node,
              struct error *e)
{
    const char *reason;
    json_t *count;
    account_init(a, p, node);
    a->exists = true;
    int rc = list_parse(a->sent, a->port_count, json_object_get(reply, "sent"), "sent", e);
    if (rc == 0)
        rc = list_parse(a->received, a->link_count, json_object_get(reply, "received"), "received",
                        e);
    if (rc == 0)
        rc = list_parse(a->kept, a->link_count, json_object_get(reply, "kept"), "kept", e);
    if (rc == 0)
        rc = intervals_parse(&a->settled, json_object_get(reply, "settled"), e);
    if (rc != 0) {
        account_free(a);
        return error_wrap(e, "the audit answer of '%s'", p->nodes[node].id);
    }
    a->samples = json_integer_value(json_object_get(reply, "samples"));
    a->doubled = json_integer_value(json_object_get(reply, "doubled"));
    json_object_foreach(json_object_get(reply, "closed"), reason, count) {
        if (a->reason_count >= ACCOUNT_REASONS_MAX)
            break;
        struct account_reason *r = &a->reasons[a->reason_count++];
        snprintf(r->text, sizeof r->text, "%s", reason);
        r->count = json_integer_value(count);
    }
    return 0;
}

/* ---- whichever way ---- */

int
account_take(struct account *a, const struct place *place, const struct plan *p, int node,
             int replica, struct error *e)
{
    char *path = place_store(place, p->nodes[node].id, replica);
    char *lock = place_store_lock(place, p->nodes[node].id, replica);
    char *control = place_control(place, node, replica);
    json_t *request = json_pack("{s:s}", "ask", "audit");
    struct error unread = {0};
    int rc = ERROR_locked;
    for (int i = 0; i < ACCOUNT_TRIES && rc == ERROR_locked; i++) {
        struct store *s = store_peek(path, lock, &unread);
        if (s != NULL) {
            rc = account_read(a, s, p, node, &unread);
            store_close(s);
        } else if (unread.code == ERROR_file) {
            account_init(a, p, node);       /* never started: nothing arrived */
            rc = 0;
        } else if (unread.code == ERROR_locked) {
            struct control_call call = {.path = control, .request = request};
            control_ask_all(&call, 1, ACCOUNT_ASK_MS);
            if (call.error.code == 0)
                rc = account_parse(a, call.reply, p, node, &unread);
            else if (call.reply != NULL)
                rc = error_set(&unread, call.error.code, "%s", call.error.text);
            else
                poll(NULL, 0, ACCOUNT_NAP_MS);
            json_decref(call.reply);
        } else {
            rc = unread.code;
        }
    }
    json_decref(request);
    free(path);
    free(lock);
    free(control);
    if (rc != 0)
        return error_set(e, rc, "%s.%d: %s", p->nodes[node].id, replica, unread.text);
    return 0;
}

/* ledger: sets, counters, records and dead letters of a store as JSON. */
#include "graph/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "graph/core.h"

static json_t *
text_value(struct span s)
{
    struct buffer b = {0};
    json_t *v = json_stringn(s.at ? s.at : "", s.length);
    if (!v) {
        buffer_print(&b, "(%zu bytes that are not UTF-8)", s.length);
        v = json_stringn(b.at, b.length);
    }
    buffer_free(&b);
    return v;
}

/* ---- audit ---- */

struct ranges {
    json_t  *list;
    uint64_t count;
    bool     more;
};

static bool
ranges_visit(void *own, uint64_t start, uint64_t end)
{
    struct ranges *r = own;
    if (json_array_size(r->list) >= LEDGER_RANGES_MAX) {
        r->more = true;
        return false;
    }
    json_array_append_new(r->list, json_pack("[I,I]", (json_int_t)start, (json_int_t)end));
    r->count += end - start;
    return true;
}

static void
set_fill(struct store *s, enum set_kind kind, unsigned which, uint64_t from, json_t *out)
{
    struct ranges r = {json_array(), 0, false};
    set_rows(s, kind, which, from, ranges_visit, &r);
    json_object_set_new(out, "ranges", r.list);
    json_object_set_new(out, "count", json_integer((json_int_t)r.count));
    json_object_set_new(out, "more", json_boolean(r.more));
}

struct counts {
    json_t *counts, *closed;
};

static bool
counts_visit(void *own, struct span key, struct span value)
{
    struct counts *c = own;
    bool closed = key.length > 7 && memcmp(key.at, "closed:", 7) == 0;
    char *name = span_copy(closed ? span_of(key.at + 7, key.length - 7) : key);
    if (value.length == 8)
        json_object_set_new(closed ? c->closed : c->counts, name,
                            json_integer((json_int_t)store_read_u64(value.at)));
    free(name);
    return true;
}

static bool
one_more(void *own, struct span key, struct span value)
{
    (void)key;
    (void)value;
    ++*(json_int_t *)own;
    return true;
}

/* A producer's own port is read when some other node links it. */
static bool
port_linked(const struct plan *p, int node, int port)
{
    for (int c = 0; c < p->node_count; c++)
        for (int k = 0; k < p->nodes[c].link_count; k++)
            if (p->nodes[c].links[k].node == node && p->nodes[c].links[k].output == port)
                return true;
    return false;
}

static json_t *
sent_list(struct store *s, const struct plan *p, int node, uint64_t from)
{
    json_t *list = json_array();
    const struct port *ports = p->nodes[node].kind->ports;
    for (int i = 0; ports[i].direction != PORT_END; i++) {
        if (ports[i].direction != PORT_OUT || !port_linked(p, node, i))
            continue;
        json_t *row = json_pack("{s:i,s:s}", "port", i, "name", ports[i].name);
        set_fill(s, SET_sent, (unsigned)i, from, row);
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *
received_list(struct store *s, const struct plan *p, int node, uint64_t from)
{
    json_t *list = json_array();
    const struct plan_node *self = &p->nodes[node];
    for (int k = 0; k < self->link_count && !self->serve; k++) {
        json_t *row = json_pack("{s:i,s:s,s:i,s:s}", "link", k, "from", p->nodes[self->links[k].node].id,
                                "output", self->links[k].output, "port",
                                self->kind->ports[self->links[k].port].name);
        set_fill(s, SET_received, (unsigned)k, from, row);
        json_array_append_new(list, row);
    }
    return list;
}

void
ledger_audit(struct store *s, const struct plan *p, int node, int replica, uint64_t from, json_t *out)
{
    const struct plan_node *self = &p->nodes[node];
    struct counts c = {json_object(), json_object()};
    json_t *settled = json_object(), *samples;
    json_int_t parked = 0;
    store_scan(s, TABLE_counts, span_of(NULL, 0), counts_visit, &c);
    store_scan(s, TABLE_park, span_of(NULL, 0), one_more, &parked);
    set_fill(s, SET_settled, 0, from, settled);
    json_object_set_new(out, "node", json_string(self->id));
    json_object_set_new(out, "replica", json_integer(replica));
    json_object_set_new(out, "terminal", json_boolean(plan_is_terminal(p, node)));
    json_object_set_new(out, "serve", json_boolean(self->serve));
    json_object_set_new(out, "cut", json_integer((json_int_t)self->cut));
    json_object_set_new(out, "ended", json_boolean(store_number(s, "ended", 0)));
    json_object_set_new(out, "finished", json_boolean(store_number(s, "finished", 0)));
    json_object_set_new(out, "epoch", json_integer((json_int_t)store_number(s, "epoch", 0)));
    json_object_set_new(out, "doubled", json_integer((json_int_t)store_number(s, "doubled", 0)));
    json_object_set_new(out, "parked", json_integer(parked));
    json_object_set_new(out, "sent", sent_list(s, p, node, from));
    json_object_set_new(out, "received", received_list(s, p, node, from));
    json_object_set_new(out, "settled", settled);
    samples = json_object_get(c.counts, "samples");
    json_object_set_new(out, "samples", json_integer(json_integer_value(samples)));
    json_object_set_new(out, "closed", c.closed);
    json_object_set_new(out, "counts", c.counts);
}

/* ---- trace ---- */

/* A packed message as JSON; bytes that are not that message are told by their size. */
static json_t *
message_value(enum message m, struct span body)
{
    struct arena a = {NULL};
    struct buffer b = {0};
    struct error e = {0};
    json_t *v = NULL;
    if (m == MESSAGE_any)
        return json_pack("{s:I}", "bytes", (json_int_t)body.length);
    void *in = arena_take(&a, message_size(m));
    if (message_read(m, body, in, &a, &e) == 0) {
        message_json(m, in, &b);
        v = json_loadb(b.at, b.length, JSON_DECODE_ANY, NULL);
    }
    if (!v)
        v = json_pack("{s:I,s:s}", "bytes", (json_int_t)body.length, "error", e.text);
    arena_free(&a);
    buffer_free(&b);
    return v;
}

static json_t *
record_value(const struct record *r, enum message m)
{
    json_t *row = json_pack("{s:I,s:I}", "first", (json_int_t)r->first, "size", (json_int_t)r->size);
    if (r->reason.at)
        json_object_set_new(row, "closing", text_value(r->reason));
    else
        json_object_set_new(row, "value", message_value(m, r->body));
    return row;
}

struct look {
    uint64_t ordinal;
    json_t  *list;
};

static bool
parked_visit(void *own, struct span key, struct span value)
{
    struct look *l = own;
    (void)value;
    if (key.length != 9 || store_read_u64(key.at) != l->ordinal)
        return false;
    json_array_append_new(l->list, json_integer((unsigned char)key.at[8]));
    return true;
}

static json_t *
dead_header(struct span value, struct span *bodies)
{
    uint32_t length;
    if (value.length < 4)
        return NULL;
    memcpy(&length, value.at, 4);
    if (length > value.length - 4)
        return NULL;
    *bodies = span_of(value.at + 4 + length, value.length - 4 - length);
    return json_loadb(value.at + 4, length, 0, NULL);
}

static bool
dead_visit(void *own, struct span key, struct span value)
{
    struct look *l = own;
    struct span bodies;
    json_t *header = dead_header(value, &bodies), *ordinal = json_object_get(header, "ordinal");
    (void)key;
    if (json_is_integer(ordinal) && (uint64_t)json_integer_value(ordinal) == l->ordinal)
        json_array_append(l->list, header);
    json_decref(header);
    return true;
}

int
ledger_trace(struct store *s, const struct plan *p, int node, uint64_t ordinal, json_t *out, struct error *e)
{
    const struct port *ports = p->nodes[node].kind->ports;
    struct look parked = {ordinal, json_array()}, dead = {ordinal, json_array()};
    struct interval row = {0, 0};
    struct intervals settled = {0};
    json_t *outs = json_array();
    unsigned char key[8], from[9] = {0};
    (void)e;
    store_u64(key, ordinal);
    store_u64(from, ordinal);
    for (int i = 0; ports[i].direction != PORT_END; i++) {
        struct record r = {.ordinal = ordinal};
        struct span value;
        if (ports[i].direction != PORT_OUT || !store_get(s, TABLE_out + i, span_of(key, 8), &value) ||
            !record_read(value, &r))
            continue;
        json_t *one = record_value(&r, ports[i].message);
        json_object_set_new(one, "port", json_string(ports[i].name));
        json_object_set_new(one, "message", json_string(message_name(ports[i].message)));
        json_array_append_new(outs, one);
    }
    store_scan(s, TABLE_park, span_of(from, 9), parked_visit, &parked);
    store_scan(s, TABLE_dead, span_of(NULL, 0), dead_visit, &dead);
    set_read(s, SET_settled, 0, ordinal, 1, &settled);
    if (settled.count > 0)
        row = settled.at[0];
    intervals_free(&settled);
    json_object_set_new(out, "ordinal", json_integer((json_int_t)ordinal));
    json_object_set_new(out, "settled", json_boolean(row.start <= ordinal && ordinal < row.end));
    json_object_set_new(out, "out", outs);
    json_object_set_new(out, "parked", parked.list);
    json_object_set_new(out, "dead", dead.list);
    return 0;
}

bool
ledger_find(struct store *s, const char *id, uint64_t *ordinal)
{
    struct span value;
    char *key = xprint("id:%s", id);
    bool found = strlen(key) <= STORE_KEY_MAX && store_get(s, TABLE_state, span_text(key), &value) &&
                 value.length == 8;
    if (found)
        *ordinal = store_read_u64(value.at);
    free(key);
    return found;
}

/* ---- dead letters ---- */

struct letters {
    json_t *list;
    int     most;
};

static bool
letters_visit(void *own, struct span key, struct span value)
{
    struct letters *l = own;
    struct span bodies;
    (void)key;
    if ((int)json_array_size(l->list) >= l->most)
        return false;
    json_t *header = dead_header(value, &bodies);
    if (header)
        json_array_append_new(l->list, header);
    return true;
}

void
ledger_dead(struct store *s, uint64_t from, int most, json_t *list)
{
    struct letters l = {list, most};
    unsigned char key[8];
    store_u64(key, from);
    store_scan(s, TABLE_dead, span_of(key, 8), letters_visit, &l);
}

int
ledger_dead_show(struct store *s, const struct plan *p, int node, uint64_t number, json_t *out,
                 struct error *e)
{
    const struct plan_node *self = &p->nodes[node];
    unsigned char key[8];
    struct span value, bodies;
    store_u64(key, number);
    json_t *header = NULL;
    if (store_get(s, TABLE_dead, span_of(key, 8), &value))
        header = dead_header(value, &bodies);
    if (!header)
        return error_set(e, ERROR_input, "there is no dead letter %llu", (unsigned long long)number);
    json_object_update(out, header);
    json_t *inputs = json_object_get(header, "inputs");
    if (!inputs)
        json_object_set_new(out, "bytes", text_value(bodies));
    for (size_t k = 0, at = 0; k < json_array_size(inputs); k++) {
        json_t *row = json_array_get(inputs, k);
        int link = (int)json_integer_value(json_object_get(row, "link"));
        size_t size = (size_t)json_integer_value(json_object_get(row, "size"));
        if (json_is_true(json_object_get(row, "closing")) || link < 0 || link >= self->link_count ||
            size > bodies.length - at)
            continue;
        const struct plan_link *pl = &self->links[link];
        enum message m = p->nodes[pl->node].kind ? p->nodes[pl->node].kind->ports[pl->output].message
                                                 : MESSAGE_any;
        json_object_set_new(row, "value", message_value(m, span_of(bodies.at + at, size)));
        at += size;
    }
    json_decref(header);
    return 0;
}

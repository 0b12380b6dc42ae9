/* tap: rows of the outbox as JSON, in the order they passed or by ordinal. */
#include "graph/tap.h"

#include <string.h>

#include "graph/core.h"

/* What one answer gathers. */
struct page {
    enum message message;
    json_t      *rows;
    int64_t      bytes;
    int          count;
    bool         full;
    uint64_t     next;          /* where to go on */
    struct arena arena;
    struct buffer text;
};

int
tap_port(const struct plan_node *n, const char *port, struct error *e)
{
    const char *names[STORE_PORTS_MAX + 1];
    int         count = 0;

    for (int i = 0; n->kind->ports[i].direction != PORT_END; i++) {
        if (n->kind->ports[i].direction != PORT_OUT)
            continue;
        if (port && strcmp(n->kind->ports[i].name, port) == 0)
            return i;
        if (count < STORE_PORTS_MAX)
            names[count++] = n->kind->ports[i].name;
    }
    names[count] = NULL;
    const char *near = port ? nearest(port, names) : NULL;
    return error_set(e, ERROR_usage, "node '%s' has no output '%.40s'%s%s%s", n->id, port ? port : "",
                     near ? "; did you mean '" : count == 1 ? "; it has '" : "",
                     near ? near : count == 1 ? names[0] : "", near ? "'?" : count == 1 ? "'" : "");
}

static void
page_close(struct page *p)
{
    arena_free(&p->arena);
    buffer_free(&p->text);
}

static json_t *
body_text(struct page *p, struct span body)
{
    struct error why = {0};

    if ((int64_t)body.length > TAP_MESSAGE_MAX)
        return NULL;
    arena_clear(&p->arena);
    buffer_clear(&p->text);
    void *message = arena_take(&p->arena, message_size(p->message));
    if (message_read(p->message, body, message, &p->arena, &why) != 0)
        return NULL;
    message_json(p->message, message, &p->text);
    return json_stringn(p->text.at, p->text.length);
}

/* False: the page is full, and `r` is not on it. */
static bool
page_add(struct page *p, const struct record *r)
{
    if (p->count >= TAP_ROWS_MAX ||
        (p->count > 0 && p->bytes + (int64_t)r->body.length > TAP_BYTES_MAX)) {
        p->full = true;
        return false;
    }
    json_t *row = json_pack("{s:I,s:I,s:I}", "ordinal", (json_int_t)r->ordinal, "first",
                            (json_int_t)r->first, "size", (json_int_t)r->size);
    if (r->reason.at) {
        json_t *reason = json_stringn(r->reason.at, r->reason.length);
        json_object_set_new(row, "closed", reason ? reason : json_string("(not UTF-8)"));
    } else {
        json_t *text = body_text(p, r->body);
        json_object_set_new(row, "body", text ? text : json_null());
    }
    json_array_append_new(p->rows, row);
    p->count++;
    p->bytes += (int64_t)r->body.length;
    return true;
}

/* ---- what passes ---- */

static bool
lane_row(void *own, const struct record *r)
{
    struct page *p = own;

    if (!page_add(p, r))
        return false;
    p->next = r->seq + 1;
    return true;
}

/* The lanes to look at: those to the first node that reads the port; the others carry the same messages. */
static bool
looked_at(const struct node *n, int port, const struct lane *l)
{
    const struct outport *p = &n->ports[port];
    const struct lane    *first = p->lane_count > 0 ? &n->lanes[p->lanes[0]] : NULL;

    return first && l->port == port && l->node == first->node && l->link == first->link;
}

int
tap_answer(struct node *n, const json_t *request, json_t *reply, struct error *e)
{
    int           port = tap_port(n->self, json_string_value(json_object_get(request, "port")), e);
    const json_t *from = json_object_get(request, "from");
    bool          all = json_is_true(json_object_get(request, "all"));
    struct page   page = {.rows = json_array()};
    json_t       *next = json_array();
    int64_t       dropped = 0;
    size_t        at = 0;

    if (port >= 0 && !n->ports[port].linked)
        port = error_set(e, ERROR_usage, "nobody reads '%s/%s': nothing passes there", n->self->id,
                         n->kind->ports[port].name);
    if (port >= 0)
        page.message = n->kind->ports[port].message;
    for (int i = 0; i < n->lane_count && port >= 0; i++) {
        struct lane  *l = &n->lanes[i];
        const json_t *given = json_array_get(from, at);

        if (!looked_at(n, port, l))
            continue;
        at++;
        page.next = json_is_integer(given) && json_integer_value(given) >= 0
                        ? (uint64_t)json_integer_value(given) : all ? 0 : l->committed;
        if (page.next > l->committed)
            page.next = l->committed;
        if (!all && l->committed - page.next > TAP_LAG_MAX) {
            dropped += (int64_t)(l->committed - page.next) - TAP_ROWS_MAX;
            page.next = l->committed - TAP_ROWS_MAX;
        }
        if (!page.full)
            lane_visit(n, l, page.next, lane_row, &page);
        json_array_append_new(next, json_integer((json_int_t)page.next));
    }
    json_object_set_new(reply, "rows", page.rows);
    json_object_set_new(reply, "next", next);
    json_object_set_new(reply, "dropped", json_integer(dropped));
    json_object_set_new(reply, "more", json_boolean(page.full));
    json_object_set_new(reply, "ended", json_boolean(n->ended));
    page_close(&page);
    return port < 0 ? port : 0;
}

/* ---- what is held ---- */

static bool
outbox_row(void *own, struct span key, struct span value)
{
    struct page  *p = own;
    struct record r = {0};

    if (key.length != 8 || !record_read(value, &r))
        return true;
    r.ordinal = store_read_u64(key.at);
    p->next = r.ordinal;
    return page_add(p, &r);
}

int
outbox_answer(struct store *s, const struct plan *p, int node, const json_t *request, json_t *reply,
              struct error *e)
{
    const struct plan_node *n = &p->nodes[node];
    const json_t           *from = json_object_get(request, "from");
    struct page             page = {.rows = NULL};
    unsigned char           key[8];
    int port = tap_port(n, json_string_value(json_object_get(request, "port")), e);

    if (port < 0)
        return port;
    page.rows = json_array();
    page.message = n->kind->ports[port].message;
    store_u64(key, json_is_integer(from) ? (uint64_t)json_integer_value(from) : 0);
    store_scan(s, TABLE_out + port, span_of(key, 8), outbox_row, &page);
    json_object_set_new(reply, "rows", page.rows);
    json_object_set_new(reply, "next", page.full ? json_integer((json_int_t)page.next) : json_null());
    page_close(&page);
    return 0;
}

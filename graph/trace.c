/* trace: reading one ordinal out of one store. */
#include "graph/trace.h"

#include <stdlib.h>
#include <string.h>

#include "graph/core.h"
#include "graph/letter.h"
#include "graph/set.h"

#define TRACE_DEAD_MAX 100

static json_t *
record_json(enum message m, const struct record *r)
{
    json_t *row = json_pack("{s:s,s:I,s:I}", "message", message_name(m), "first",
                            (json_int_t)r->first, "size", (json_int_t)r->size);
    if (r->reason.at != NULL) {
        char *reason = span_copy(r->reason);
        json_t *text = json_string(reason);
        json_object_set_new(row, "closing", text ? text : json_string("(not UTF-8)"));
        free(reason);
    } else {
        json_object_set_new(row, "body", letter_body(m, r->body));
    }
    return row;
}

struct dead_search {
    uint64_t ordinal;
    json_t  *rows;
};

static bool
dead_visit(void *own, struct span key, struct span value)
{
    struct dead_search *d = own;
    uint32_t length = 0;
    (void)key;
    if (value.length >= 4)
        memcpy(&length, value.at, 4);
    json_t *header =
        length > 0 && length <= value.length - 4 ? json_loadb(value.at + 4, length, 0, NULL) : NULL;
    const json_t *ordinal = json_object_get(header, "ordinal");
    if (json_is_integer(ordinal) && (uint64_t)json_integer_value(ordinal) == d->ordinal)
        json_array_append(d->rows, header);
    json_decref(header);
    return json_array_size(d->rows) < TRACE_DEAD_MAX;
}

static bool
settled_visit(void *own, uint64_t start, uint64_t end)
{
    uint64_t *at = own;         /* the ordinal; becomes UINT64_MAX when it is inside */
    if (start <= *at && *at < end)
        *at = UINT64_MAX;
    return false;
}

static json_t *
sent_rows(struct store *s, const struct plan_node *n, uint64_t ordinal)
{
    json_t *rows = json_array();
    for (int o = 0; n->kind->ports[o].direction != PORT_END && o < STORE_PORTS_MAX; o++) {
        unsigned char key[8];
        struct span value;
        struct record r = {0};
        store_u64(key, ordinal);
        if (n->kind->ports[o].direction != PORT_OUT ||
            !store_get(s, TABLE_out + o, span_of(key, 8), &value) || !record_read(value, &r))
            continue;
        json_t *row = record_json(n->kind->ports[o].message, &r);
        json_object_set_new(row, "port", json_string(n->kind->ports[o].name));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *
kept_rows(struct store *s, const struct plan *p, const struct plan_node *n, uint64_t ordinal)
{
    json_t *rows = json_array();
    for (int l = 0; l < n->link_count; l++) {
        const struct plan_node *from = &p->nodes[n->links[l].node];
        unsigned char key[9];
        struct span value;
        struct record r = {0};
        store_u64(key, ordinal);
        key[8] = (unsigned char)l;
        if (!store_get(s, TABLE_park, span_of(key, 9), &value) || !record_read(value, &r))
            continue;
        json_t *row = record_json(from->kind->ports[n->links[l].output].message, &r);
        json_object_set_new(row, "from", json_string(from->id));
        json_object_set_new(row, "port", json_string(n->kind->ports[n->links[l].port].name));
        json_array_append_new(rows, row);
    }
    return rows;
}

json_t *
trace_read(struct store *s, const struct plan *p, int node, uint64_t ordinal)
{
    const struct plan_node *n = &p->nodes[node];
    struct dead_search dead = {ordinal, json_array()};
    uint64_t at = ordinal;
    set_rows(s, SET_settled, 0, ordinal, settled_visit, &at);
    store_scan(s, TABLE_dead, span_of(NULL, 0), dead_visit, &dead);
    return json_pack("{s:b,s:o,s:o,s:o}", "settled", at == UINT64_MAX, "sent",
                     sent_rows(s, n, ordinal), "kept", kept_rows(s, p, n, ordinal), "dead",
                     dead.rows);
}

struct id_search {
    const char  *id;
    enum message message;
    bool         found;
    uint64_t     ordinal;
    struct arena arena;
};

static bool
id_visit(void *own, struct span key, struct span value)
{
    struct id_search *d = own;
    struct record r = {0};
    struct rollout rollout;
    if (key.length != 8 || !record_read(value, &r) || r.reason.at != NULL)
        return true;
    arena_clear(&d->arena);
    if (message_read(MESSAGE_rollout, r.body, &rollout, &d->arena, NULL) == 0 &&
        span_is(rollout.id, d->id)) {
        d->found = true;
        d->ordinal = store_read_u64(key.at);
    }
    return !d->found;
}

bool
trace_find(struct store *s, const struct plan *p, int node, const char *id, uint64_t *ordinal)
{
    const struct port *ports = p->nodes[node].kind->ports;
    struct id_search d = {.id = id};
    for (int o = 0; ports[o].direction != PORT_END && o < STORE_PORTS_MAX && !d.found; o++)
        if (ports[o].direction == PORT_OUT && ports[o].message == MESSAGE_rollout)
            store_scan(s, TABLE_out + o, span_of(NULL, 0), id_visit, &d);
    arena_free(&d.arena);
    *ordinal = d.ordinal;
    return d.found;
}

int
trace_answer(struct store *s, const struct plan *p, int node, const json_t *request, json_t *reply,
             struct error *e)
{
    const json_t *ordinal = json_object_get(request, "ordinal");
    const char *id = json_string_value(json_object_get(request, "id"));
    uint64_t found;
    if (json_is_integer(ordinal) && json_integer_value(ordinal) >= 0) {
        json_t *rows = trace_read(s, p, node, (uint64_t)json_integer_value(ordinal));
        json_object_update(reply, rows);
        json_decref(rows);
        return 0;
    }
    if (id == NULL)
        return error_set(e, ERROR_usage, "a trace needs an ordinal or an id");
    if (trace_find(s, p, node, id, &found))
        json_object_set_new(reply, "ordinal", json_integer((json_int_t)found));
    return 0;
}

/* lane: output lanes and the outbox. A body is stored once per port, whatever the number of lanes; a lane holds
 * only ordinals, a row per commit, because its sequence numbers are dense. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "graph/core.h"

#define LANE_CHUNK  240     /* ordinals in one row: below LMDB's overflow limit */
#define LANE_SERVED 1000    /* ordinals put into lanes in one step of a replay */
#define ENVELOPE    13

/* ---- envelope and body ---- */

void *
record_room(struct store *s, int table, struct span key, const struct record *r, bool *fresh)
{
    size_t reason = r->reason.at ? r->reason.length : 0;
    size_t length = ENVELOPE + reason + r->body.length;
    unsigned char *at = store_room_new(s, table, key, length, fresh);
    if (!at)
        return NULL;
    memcpy(at, &r->first, 8);
    memcpy(at + 8, &r->size, 4);
    at[12] = r->reason.at ? (unsigned char)(reason + 1) : 0;
    if (reason > 0)
        memcpy(at + ENVELOPE, r->reason.at, reason);
    if (r->body.length > 0)
        memcpy(at + ENVELOPE + reason, r->body.at, r->body.length);
    return at;
}

bool
record_read(struct span value, struct record *r)
{
    if (value.length < ENVELOPE)
        return false;
    unsigned char mark = (unsigned char)value.at[12];
    size_t reason = mark > 0 ? mark - 1u : 0;
    if (value.length < ENVELOPE + reason)
        return false;
    memcpy(&r->first, value.at, 8);
    memcpy(&r->size, value.at + 8, 4);
    r->reason = mark > 0 ? span_of(value.at + ENVELOPE, reason) : span_of(NULL, 0);
    r->body = span_of(value.at + ENVELOPE + reason, value.length - ENVELOPE - reason);
    return true;
}

/* ---- rows of lanes ---- */

#define LANE_ROW 29     /* fixed part; the consumer's id follows */

static void
lane_write(struct node *n, const struct lane *l)
{
    const char *id = n->plan->nodes[l->node].id;
    size_t length = LANE_ROW + strlen(id);
    unsigned char key[2] = {(unsigned char)(l->number >> 8), (unsigned char)l->number};
    unsigned char *at = store_room(n->store, TABLE_lanes, span_of(key, 2), length);
    if (!at)
        return;
    store_u64(at, l->head);
    store_u64(at + 8, l->generation);
    store_u64(at + 16, l->position);
    at[24] = l->end;
    at[25] = l->ended;
    at[26] = (unsigned char)l->port;
    at[27] = (unsigned char)l->link;
    at[28] = (unsigned char)l->replica;
    memcpy(at + LANE_ROW, id, strlen(id));
}

static bool
lane_read_row(void *own, struct span key, struct span value)
{
    struct node *n = own;
    if (key.length != 2 || value.length < LANE_ROW)
        return true;
    const unsigned char *at = (const unsigned char *)value.at;
    uint16_t number = (uint16_t)((unsigned char)key.at[0] << 8 | (unsigned char)key.at[1]);
    struct span id = span_of(value.at + LANE_ROW, value.length - LANE_ROW);
    for (int i = 0; i < n->lane_count; i++) {
        struct lane *l = &n->lanes[i];
        if (l->link != at[27] || l->replica != at[28] || l->port != at[26] ||
            l->generation != store_read_u64(at + 8) || !span_is(id, n->plan->nodes[l->node].id))
            continue;
        l->number = number;
        l->head = l->committed = l->opened = store_read_u64(at);
        l->position = store_read_u64(at + 16);
        l->end = at[24];
        l->ended = at[25];
    }
    return true;
}

static void
ports_open(struct node *n)
{
    while (n->kind->ports[n->port_count].direction != PORT_END)
        n->port_count++;
    n->ports = xarray((size_t)n->port_count + 1, sizeof(*n->ports));
    for (int p = 0; p < n->port_count; p++)
        set_open(&n->ports[p].sent, n->store, SET_sent, (unsigned)p);
}

/* The lanes that the plan asks for: every link that reads one of our ports, times the consumer's replicas. */
static void
lanes_of_plan(struct node *n)
{
    for (int c = 0; c < n->plan->node_count; c++) {
        const struct plan_node *consumer = &n->plan->nodes[c];
        for (int k = 0; k < consumer->link_count; k++) {
            const struct plan_link *link = &consumer->links[k];
            if (link->node != n->index || link->output >= n->port_count)
                continue;
            struct outport *port = &n->ports[link->output];
            port->linked = true;
            for (int r = 0; r < plan_replicas(consumer); r++) {
                n->lanes = xresize(n->lanes, (size_t)(n->lane_count + 1) * sizeof(*n->lanes));
                n->lanes[n->lane_count] = (struct lane){.number = UINT16_MAX, .port = link->output,
                    .node = c, .link = k, .replica = r, .generation = n->self->generation};
                port->lanes = xresize(port->lanes, (size_t)(port->lane_count + 1) * sizeof(int));
                port->lanes[port->lane_count++] = n->lane_count++;
            }
        }
    }
}

int
lanes_open(struct node *n, struct error *e)
{
    struct span key, value;
    ports_open(n);
    if (n->port_count > STORE_PORTS_MAX)
        return error_set(e, ERROR_limit, "kind '%s' has more than %d ports", n->kind->name, STORE_PORTS_MAX);
    lanes_of_plan(n);
    store_scan(n->store, TABLE_lanes, span_of(NULL, 0), lane_read_row, n);
    unsigned next = 0;
    if (store_last(n->store, TABLE_lanes, &key, &value) && key.length == 2)
        next = ((unsigned)(unsigned char)key.at[0] << 8 | (unsigned char)key.at[1]) + 1u;
    for (int i = 0; i < n->lane_count; i++) {
        struct lane *l = &n->lanes[i];
        if (l->number == UINT16_MAX) {
            if (next >= UINT16_MAX)
                return error_set(e, ERROR_limit, "store '%s' has too many lanes", store_path(n->store));
            l->number = (uint16_t)next++;
            l->row_dirty = true;
            node_touch(n);
        }
        set_open(&l->acked, n->store, SET_acked, l->number);
    }
    return 0;
}

void
lanes_close(struct node *n)
{
    for (int i = 0; i < n->lane_count; i++) {
        set_close(&n->lanes[i].acked);
        buffer_free(&n->lanes[i].chunk);
    }
    for (int p = 0; p < n->port_count; p++) {
        set_close(&n->ports[p].sent);
        free(n->ports[p].lanes);
    }
    free(n->lanes);
    free(n->ports);
}

struct lane *
lane_find(struct node *n, const char *consumer, int link, int replica)
{
    for (int i = 0; i < n->lane_count; i++) {
        struct lane *l = &n->lanes[i];
        if (l->link == link && l->replica == replica &&
            strcmp(n->plan->nodes[l->node].id, consumer) == 0)
            return l;
    }
    return NULL;
}

/* ---- writing ---- */

void
lanes_add(struct node *n, int port, uint64_t ordinal, uint64_t first)
{
    struct outport *p = &n->ports[port];
    for (int i = 0; i < p->lane_count; i++) {
        struct lane *l = &n->lanes[p->lanes[i]];
        if (plan_route(&n->plan->nodes[l->node], first) != l->replica)
            continue;
        assert(!l->end);
        buffer_add(&l->chunk, &ordinal, sizeof(ordinal));
        l->head++;
        l->row_dirty = true;
    }
}

void
outbox_put(struct node *n, int port, const struct record *r)
{
    unsigned char key[8];
    bool fresh;
    struct outport *p = &n->ports[port];
    if (!p->linked)
        return;
    assert(r->body.length <= BODY_BYTES_MAX);       /* else no frame could carry it, ever */
    store_u64(key, r->ordinal);
    record_room(n->store, TABLE_out + port, span_of(key, 8), r, &fresh);
    if (!fresh) {
        log_event(n->log, LOG_error, "broken", "ordinal %llu was sent twice on port '%s'",
                  (unsigned long long)r->ordinal, n->kind->ports[port].name);
        abort();
    }
    set_add(&p->sent, r->ordinal, r->ordinal + 1);
    lanes_add(n, port, r->ordinal, r->first);
    node_count(n, METRIC_sent, 1);
    node_touch(n);
}

static void
chunks_write(struct node *n, struct lane *l)
{
    uint64_t seq = l->head - l->chunk.length / sizeof(uint64_t);
    unsigned char key[10] = {(unsigned char)(l->number >> 8), (unsigned char)l->number};
    for (size_t at = 0; at < l->chunk.length;) {
        size_t length = l->chunk.length - at;
        if (length > LANE_CHUNK * sizeof(uint64_t))
            length = LANE_CHUNK * sizeof(uint64_t);
        store_u64(key + 2, seq);
        store_put(n->store, TABLE_lane, span_of(key, sizeof(key)), span_of(l->chunk.at + at, length));
        at += length;
        seq += length / sizeof(uint64_t);
    }
    buffer_clear(&l->chunk);
}

void
lanes_flush(struct node *n)
{
    for (int p = 0; p < n->port_count; p++)
        set_flush(&n->ports[p].sent);
    for (int i = 0; i < n->lane_count; i++) {
        struct lane *l = &n->lanes[i];
        chunks_write(n, l);
        set_flush(&l->acked);
        if (l->row_dirty)
            lane_write(n, l);
        l->row_dirty = false;
    }
}

void
lanes_committed(struct node *n)
{
    for (int i = 0; i < n->lane_count; i++)
        n->lanes[i].committed = n->lanes[i].head;
}

/* ---- reading what may go on the wire ---- */

/* The committed ordinals from `seq` on that lie in one row; count 0: none. */
static struct span
chunk_at(struct node *n, struct lane *l, uint64_t seq)
{
    unsigned char key[10] = {(unsigned char)(l->number >> 8), (unsigned char)l->number};
    struct span found, value, none = span_of(NULL, 0);
    store_u64(key + 2, seq);
    if (!store_floor_committed(n->store, TABLE_lane, span_of(key, sizeof(key)), &found, &value) ||
        found.length != sizeof(key) || memcmp(found.at, key, 2) != 0)
        return none;
    uint64_t skip = (seq - store_read_u64(found.at + 2)) * sizeof(uint64_t);
    if (skip >= value.length)
        return none;
    return span_of(value.at + skip, value.length - skip);
}

/* A consumer would wait for this record for ever, and nobody would know why. */
static void
lane_damaged(struct node *n, struct lane *l, uint64_t seq)
{
    char what[120];
    snprintf(what, sizeof(what), "message %llu to '%.40s' is gone", (unsigned long long)seq, n->plan->nodes[l->node].id);
    store_fail(n->store, what);
    node_touch(n);
}

void
lane_visit(struct node *n, struct lane *l, uint64_t seq,
           bool (*visit)(void *own, const struct record *r), void *own)
{
    while (seq < l->committed) {
        struct span chunk = chunk_at(n, l, seq);
        if (chunk.length == 0) {
            lane_damaged(n, l, seq);
            return;
        }
        for (size_t at = 0; at + sizeof(uint64_t) <= chunk.length; at += sizeof(uint64_t), seq++) {
            struct record r = {.seq = seq};
            struct span value;
            unsigned char key[8];
            memcpy(&r.ordinal, chunk.at + at, sizeof(uint64_t));
            store_u64(key, r.ordinal);
            if (!store_get_committed(n->store, TABLE_out + l->port, span_of(key, 8), &value) ||
                !record_read(value, &r)) {
                lane_damaged(n, l, seq);
                return;
            }
            if (!visit(own, &r))
                return;
        }
    }
}

/* ---- what consumers tell ---- */

static void
finished_check(struct node *n)
{
    if (!n->ended || n->finished)
        return;
    for (int i = 0; i < n->lane_count; i++)
        if (!n->lanes[i].ended)
            return;
    n->finished = true;
    store_set_number(n->store, "finished", 1);
    node_touch(n);
    n->urgent = true;
}

void
lane_ack(struct node *n, struct lane *l, uint64_t start, uint64_t end)
{
    if (start >= end || end <= l->acked.low)
        return;
    set_add(&l->acked, start, end);
    node_touch_lazily(n);
}

void
lane_position(struct node *n, struct lane *l, uint64_t position)
{
    if (position <= l->position || position > ORDINAL_MAX)
        return;
    l->position = position;
    l->row_dirty = true;
    n->pump_wanted = true;
    node_touch_lazily(n);
}

void
lane_ended(struct node *n, struct lane *l)
{
    if (l->ended || !l->end)
        return;
    l->ended = true;
    l->row_dirty = true;
    node_touch(n);
    finished_check(n);
}

/* ---- serving a replay ---- */

struct serve {
    struct node *n;
    int          port;
    int64_t      left;
    uint64_t     next;
};

static bool
serve_visit(void *own, struct span key, struct span value)
{
    struct serve *s = own;
    struct record r = {.seq = 0};
    if (key.length != 8 || !record_read(value, &r))
        return true;
    r.ordinal = store_read_u64(key.at);
    if (r.ordinal >= s->n->self->cut) {
        s->next = s->n->self->cut;
        return false;
    }
    if (s->left-- == 0) {
        s->next = r.ordinal;
        return false;
    }
    lanes_add(s->n, s->port, r.ordinal, r.first);
    s->next = r.ordinal + 1;
    return true;
}

int
lanes_serve(struct node *n, struct error *e)
{
    if (n->ended)
        return STEP_IDLE;
    for (int p = 0; p < n->port_count; p++) {
        char name[32];
        unsigned char key[8];
        snprintf(name, sizeof(name), "served %llu %d", (unsigned long long)n->self->generation, p);
        uint64_t from = store_number(n->store, name, 0);
        if (!n->ports[p].linked || from >= n->self->cut)
            continue;
        struct serve s = {n, p, LANE_SERVED, from};
        store_u64(key, from);
        store_scan(n->store, TABLE_out + p, span_of(key, 8), serve_visit, &s);
        /* Every ordinal below the cut is here (the cut says so), unless another replica has it. */
        if (s.left >= 0)
            s.next = n->self->cut;
        store_set_number(n->store, name, s.next);
        node_touch(n);
        int rc = node_flush(n, e);
        return rc != 0 ? rc : STEP_AGAIN;
    }
    node_finish(n);
    return STEP_AGAIN;
}

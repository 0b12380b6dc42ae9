/* feed: input lanes. What arrived is in `seen` for as long as this process lives, what was handled is in the mark;
 * a record already seen is dropped by membership, because answers come back out of order. */
#include <stdlib.h>
#include <string.h>

#include "graph/core.h"

#define FEED_ROW 18

void
frame_drop(struct frame *f)
{
    if (f && --f->references == 0)
        f->release(f);
}

static unsigned
which(const struct feed *d)
{
    return (unsigned)d->link << 8 | (unsigned)d->replica;
}

static bool
seen_add(void *own, uint64_t start, uint64_t end)
{
    intervals_add(own, start, end);
    return true;
}

static void
feed_open(struct node *n, struct feed *d, int link, int replica)
{
    unsigned char key[2] = {(unsigned char)link, (unsigned char)replica};
    struct span value;
    *d = (struct feed){.link = link, .replica = replica, .moved = true};
    set_open(&d->mark, n->store, SET_mark, which(d));
    set_rows(n->store, SET_mark, which(d), 0, seen_add, &d->seen);
    if (store_get(n->store, TABLE_feeds, span_of(key, 2), &value) && value.length == FEED_ROW) {
        d->ended = value.at[0];
        d->end_known = value.at[1];
        d->last = store_read_u64(value.at + 2);
        d->token = store_read_u64(value.at + 10);
    }
}

void
feeds_open(struct node *n)
{
    n->link_count = n->self->serve ? 0 : n->self->link_count;
    n->links = xarray((size_t)n->link_count + 1, sizeof(*n->links));
    n->received = xarray((size_t)n->link_count + 1, sizeof(*n->received));
    for (int k = 0; k < n->link_count; k++) {
        const struct plan_link *link = &n->self->links[k];
        const struct plan_node *producer = &n->plan->nodes[link->node];
        n->links[k] = (struct input){.port = link->port, .link = k, .from = producer->id};
        set_open(&n->received[k], n->store, SET_received, (unsigned)k);
        int replicas = plan_replicas(producer);
        n->feeds = xresize(n->feeds, (size_t)(n->feed_count + replicas) * sizeof(*n->feeds));
        for (int r = 0; r < replicas; r++)
            feed_open(n, &n->feeds[n->feed_count++], k, r);
    }
    set_open(&n->settled, n->store, SET_settled, 0);
    n->settled_committed = n->settled.low;
}

void
feeds_close(struct node *n)
{
    for (int i = 0; i < n->feed_count; i++) {
        set_close(&n->feeds[i].mark);
        intervals_free(&n->feeds[i].seen);
    }
    for (int k = 0; k < n->link_count; k++)
        set_close(&n->received[k]);
    set_close(&n->settled);
    free(n->feeds);
    free(n->received);
    free(n->links);
}

struct feed *
feed_find(struct node *n, int link, int replica)
{
    for (int i = 0; i < n->feed_count; i++)
        if (n->feeds[i].link == link && n->feeds[i].replica == replica)
            return &n->feeds[i];
    return NULL;
}

static void
queue_add(struct node *n, struct feed *d, const struct record *r, struct frame *f)
{
    struct work *w = work_new(n);
    w->unit.ordinal = r->ordinal;
    w->unit.first = r->first;
    w->unit.size = r->size;
    w->unit.input_count = 1;
    w->unit.inputs = w->inputs;
    w->inputs[0] = n->links[d->link];
    w->inputs[0].closing = r->reason.at != NULL;
    if (r->reason.at) {
        memcpy(w->reasons[0], r->reason.at, r->reason.length);
        w->reasons[0][r->reason.length] = 0;
        w->inputs[0].reason = w->reasons[0];
    }
    w->inputs[0].body = r->body;
    w->feed = d;
    w->seq = r->seq;
    w->frame = f;
    if (f)
        f->references++;
    works_add(&n->queue, w);
}

int
feed_arrive(struct node *n, struct feed *d, const struct record *r, struct frame *f, struct error *e)
{
    if (r->ordinal >= ORDINAL_MAX || r->seq >= ORDINAL_MAX || r->first > r->ordinal ||
        r->ordinal - r->first >= r->size || (r->reason.at && r->reason.length > REASON_MAX))
        return error_set(e, ERROR_wire, "record %llu of link %d: the envelope cannot be",
                         (unsigned long long)r->seq, d->link);
    if (d->end_known && r->seq >= d->last)
        return error_set(e, ERROR_wire, "record %llu of link %d comes after its end %llu",
                         (unsigned long long)r->seq, d->link, (unsigned long long)d->last);
    if (!intervals_add(&d->seen, r->seq, r->seq + 1)) {
        node_count(n, METRIC_duplicates, 1);
        return 0;
    }
    d->unhandled++;
    if (!n->merging) {
        queue_add(n, d, r, f);
        return 1;
    }
    if (feed_doubled(n, d, r->seq, r->ordinal))
        return 1;
    park_add(n, r, d->link);
    feed_mark(n, d, r->seq, r->ordinal);
    return 1;
}

bool
feed_doubled(struct node *n, struct feed *d, uint64_t seq, uint64_t ordinal)
{
    if (!set_has(&n->received[d->link], ordinal))
        return false;
    store_set_number(n->store, "doubled", store_number(n->store, "doubled", 0) + 1);
    log_event(n->log, LOG_error, "doubled", "ordinal %llu came twice on link %d from '%s'",
              (unsigned long long)ordinal, d->link, n->links[d->link].from);
    feed_mark(n, d, seq, ordinal);
    return true;
}

void
feed_mark(struct node *n, struct feed *d, uint64_t seq, uint64_t ordinal)
{
    set_add(&d->mark, seq, seq + 1);
    set_add(&n->received[d->link], ordinal, ordinal + 1);
    d->handled_now++;
    n->messages++;
    node_count(n, METRIC_received, 1);
    node_touch(n);
}

int
feed_end(struct node *n, struct feed *d, uint64_t last, struct error *e)
{
    if (d->end_known && d->last != last)
        return error_set(e, ERROR_wire, "link %d ended at %llu before and at %llu now", d->link,
                         (unsigned long long)d->last, (unsigned long long)last);
    if (last > ORDINAL_MAX || intervals_top(&d->seen) > last)
        return error_set(e, ERROR_wire, "link %d ends at %llu, below what it sent", d->link,
                         (unsigned long long)last);
    if (d->end_known)
        return 0;
    d->end_known = true;
    d->last = last;
    d->row_dirty = true;
    node_touch(n);
    return 0;
}

void
feeds_flush(struct node *n)
{
    for (int i = 0; i < n->feed_count; i++) {
        struct feed *d = &n->feeds[i];
        set_flush(&d->mark);
        bool ended = d->end_known && d->mark.low >= d->last;
        if (d->row_dirty || ended != d->ended) {
            unsigned char key[2] = {(unsigned char)d->link, (unsigned char)d->replica}, row[FEED_ROW];
            row[0] = ended;
            row[1] = d->end_known;
            store_u64(row + 2, d->last);
            store_u64(row + 10, d->token);
            store_put(n->store, TABLE_feeds, span_of(key, 2), span_of(row, sizeof(row)));
        }
        d->row_dirty = false;
    }
    for (int k = 0; k < n->link_count; k++)
        set_flush(&n->received[k]);
    set_flush(&n->settled);
}

void
feeds_committed(struct node *n)
{
    for (int i = 0; i < n->feed_count; i++) {
        struct feed *d = &n->feeds[i];
        bool ended = d->end_known && d->mark.low >= d->last;
        if (d->handled_now > 0 || ended != d->ended)
            d->moved = true;
        d->unhandled -= d->handled_now;
        d->handled_now = 0;
        d->ended = ended;
    }
    n->settled_committed = n->settled.low;
}

bool
feeds_ended(struct node *n)
{
    for (int i = 0; i < n->feed_count; i++)
        if (!n->feeds[i].ended)
            return false;
    return true;
}

uint64_t
feed_upto(const struct node *n, const struct feed *d)
{
    uint64_t top = intervals_top(&d->seen);
    int64_t room = WINDOW_RECORDS - d->unhandled;
    if (!node_takes(n) || n->in_flight <= 0 || room < 0)
        room = 0;
    return top + (uint64_t)room;
}

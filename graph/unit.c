/* unit: from arrivals to units and from answers to the outbox. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "graph/core.h"

#define PARK_KEY 9

/* ---- works ---- */

void
works_add(struct works *list, struct work *w)
{
    w->next = NULL;
    w->previous = list->last;
    if (list->last)
        list->last->next = w;
    else
        list->first = w;
    list->last = w;
    list->count++;
}

void
works_remove(struct works *list, struct work *w)
{
    if (w->previous)
        w->previous->next = w->next;
    else
        list->first = w->next;
    if (w->next)
        w->next->previous = w->previous;
    else
        list->last = w->previous;
    w->next = w->previous = NULL;
    list->count--;
}

struct work *
work_new(struct node *n)
{
    struct work *w = n->spare.first;
    size_t links = (size_t)(n->link_count > 0 ? n->link_count : 1);
    if (w) {
        works_remove(&n->spare, w);
        return w;
    }
    w = xalloc(sizeof(*w));
    w->node = n;
    w->inputs = xarray(links, sizeof(*w->inputs));
    w->reasons = xarray(links, sizeof(*w->reasons));
    w->answers = xarray((size_t)n->port_count + 1, sizeof(*w->answers));
    return w;
}

#define WORK_ROOM_KEPT 65536    /* bytes of buffers a spare work keeps */

void
work_free(struct node *n, struct work *w)
{
    frame_drop(w->frame);
    if (w->bodies.room > WORK_ROOM_KEPT)
        buffer_free(&w->bodies);
    if (w->copy.room > WORK_ROOM_KEPT)
        buffer_free(&w->copy);
    buffer_clear(&w->bodies);
    buffer_clear(&w->copy);
    for (int p = 0; p < n->port_count; p++)
        w->answers[p].given = false;
    w->unit = (struct unit){.ordinal = 0};
    w->frame = NULL;
    w->feed = NULL;
    w->retry = 0;
    w->in_hand = false;
    works_add(&n->spare, w);
}

static void
works_free(struct works *list)
{
    while (list->first) {
        struct work *w = list->first;
        works_remove(list, w);
        frame_drop(w->frame);
        buffer_free(&w->bodies);
        buffer_free(&w->copy);
        free(w->inputs);
        free(w->reasons);
        free(w->answers);
        free(w);
    }
}

void
unit_free_all(struct node *n)
{
    works_free(&n->queue);
    works_free(&n->hand);
    works_free(&n->spare);
    free(n->ready);
    free(n->tallies);
    free(n->groups);
}

/* ---- parking ---- */

void
ready_push(struct node *n, uint64_t ordinal)
{
    if (n->ready_count == n->ready_room) {
        int64_t room = n->ready_room ? 2 * n->ready_room : 64;
        uint64_t *to = xarray((size_t)room, sizeof(*to));
        for (int64_t i = 0; i < n->ready_count; i++)
            to[i] = n->ready[(n->ready_first + i) % n->ready_room];
        free(n->ready);
        n->ready = to;
        n->ready_first = 0;
        n->ready_room = room;
    }
    n->ready[(n->ready_first + n->ready_count++) % n->ready_room] = ordinal;
}

uint64_t
ready_pop(struct node *n)
{
    uint64_t ordinal = n->ready[n->ready_first];
    n->ready_first = (n->ready_first + 1) % n->ready_room;
    n->ready_count--;
    return ordinal;
}

static int64_t
slot_of(const struct node *n, uint64_t ordinal)
{
    return (int64_t)((ordinal * 0x9E3779B97F4A7C15ULL) >> 32) & (n->tally_room - 1);
}

static struct tally *
tally_find(struct node *n, uint64_t ordinal)
{
    int64_t i = slot_of(n, ordinal);
    while (n->tallies[i].links && n->tallies[i].ordinal != ordinal)
        i = (i + 1) & (n->tally_room - 1);
    return &n->tallies[i];
}

static void
tally_grow(struct node *n)
{
    struct tally *old = n->tallies;
    int64_t room = n->tally_room;
    n->tally_room = room ? 2 * room : 256;
    n->tallies = xarray((size_t)n->tally_room, sizeof(*n->tallies));
    for (int64_t i = 0; i < room; i++)
        if (old[i].links)
            *tally_find(n, old[i].ordinal) = old[i];
    free(old);
}

static void
tally_remove(struct node *n, struct tally *t)
{
    int64_t hole = t - n->tallies, mask = n->tally_room - 1;
    n->tally_count--;
    for (int64_t i = (hole + 1) & mask; n->tallies[i].links; i = (i + 1) & mask) {
        int64_t home = slot_of(n, n->tallies[i].ordinal);
        if (((i - home) & mask) >= ((i - hole) & mask)) {   /* its search would meet the hole first */
            n->tallies[hole] = n->tallies[i];
            hole = i;
        }
    }
    n->tallies[hole].links = 0;
}

/* One more input of an ordinal is in the park table: is it complete now? */
static void
tally_add(struct node *n, const struct record *r, int link)
{
    uint64_t ordinal = r->ordinal;
    uint64_t all = n->link_count == 64 ? UINT64_MAX : (1ULL << n->link_count) - 1;
    if (4 * (n->tally_count + 1) > 3 * n->tally_room)
        tally_grow(n);
    struct tally *t = tally_find(n, ordinal);
    if (!t->links) {
        t->ordinal = ordinal;
        n->tally_count++;
    }
    t->links |= 1ULL << link;
    n->parked++;
    if (t->links == all) {
        tally_remove(n, t);
        if (n->whole)
            group_add(n, r->first, r->size);
        else
            ready_push(n, ordinal);
    }
}

static void
park_key(unsigned char key[PARK_KEY], uint64_t ordinal, int link)
{
    store_u64(key, ordinal);
    key[8] = (unsigned char)link;
}

void
park_add(struct node *n, const struct record *r, int link)
{
    unsigned char key[PARK_KEY];
    bool fresh;
    park_key(key, r->ordinal, link);
    record_room(n->store, TABLE_park, span_of(key, PARK_KEY), r, &fresh);
    if (fresh)
        tally_add(n, r, link);
}

static bool
park_visit(void *own, struct span key, struct span value)
{
    struct node *n = own;
    struct record r;
    if (key.length == PARK_KEY && (unsigned char)key.at[8] < n->link_count && record_read(value, &r)) {
        r.ordinal = store_read_u64(key.at);
        tally_add(n, &r, (unsigned char)key.at[8]);
    }
    return true;
}

void
park_load(struct node *n)
{
    if (n->merging)
        store_scan(n->store, TABLE_park, span_of(NULL, 0), park_visit, n);
}

static void
park_remove(struct node *n, const struct work *w)
{
    unsigned char key[PARK_KEY];
    for (int k = 0; k < w->unit.input_count; k++) {
        park_key(key, w->unit.ordinal, w->inputs[k].link);
        store_delete(n->store, TABLE_park, span_of(key, PARK_KEY));
    }
    n->parked -= w->unit.input_count;
    n->hand_bytes -= (int64_t)w->copy.length;
}

/* A complete ordinal becomes a work with its own copy of the bodies: the store's bytes move under later writes. */
struct work *
park_take(struct node *n, uint64_t ordinal)
{
    struct work *w = work_new(n);
    unsigned char key[PARK_KEY];
    w->unit.ordinal = ordinal;
    w->unit.inputs = w->inputs;
    w->unit.input_count = n->link_count;
    for (int k = 0; k < n->link_count; k++) {
        struct record r = {.ordinal = ordinal};
        struct span value;
        struct input *in = &w->inputs[k];
        *in = n->links[k];
        park_key(key, ordinal, k);
        if (!store_get(n->store, TABLE_park, span_of(key, PARK_KEY), &value) || !record_read(value, &r))
            r.reason = span_text("lost");   /* an error of the store: the commit will say so */
        if (k == 0 || !r.reason.at) {
            w->unit.first = r.first;
            w->unit.size = r.size;
        }
        in->closing = r.reason.at != NULL;
        if (in->closing) {
            size_t length = r.reason.length < REASON_MAX ? r.reason.length : REASON_MAX;
            memcpy(w->reasons[k], r.reason.at, length);
            w->reasons[k][length] = 0;
            in->reason = w->reasons[k];
        }
        in->body = span_of(NULL, r.body.length);
        buffer_add(&w->copy, r.body.at, r.body.length);
    }
    size_t at = 0;
    for (int k = 0; k < n->link_count; k++) {
        w->inputs[k].body.at = w->copy.at ? w->copy.at + at : "";
        at += w->inputs[k].body.length;
    }
    n->hand_bytes += (int64_t)w->copy.length;
    return w;
}

bool
parked(struct node *n, uint64_t ordinal)
{
    unsigned char key[PARK_KEY];
    struct span value;
    park_key(key, ordinal, 0);
    return store_get(n->store, TABLE_park, span_of(key, PARK_KEY), &value);
}

/* ---- taking ---- */

int64_t
unit_waiting(const struct node *n)
{
    return n->queue.count + n->ready_count;
}

bool
unit_all_closing(const struct work *w)
{
    for (int k = 0; k < w->unit.input_count; k++)
        if (!w->inputs[k].closing)
            return false;
    return true;
}

int
unit_take_next(struct node *n, struct error *e)
{
    struct work *w = n->queue.first;
    int in_flight = n->crashed && n->in_flight > 1 ? 1 : n->in_flight;
    int64_t hand = n->whole ? group_hand(n) : n->hand.count;
    bool full = hand + n->paid >= in_flight ||
                (n->hand.count > 0 && n->hand_bytes >= n->common.credit_bytes);
    if (!node_takes(n))
        return 0;
    if (n->whole)
        return group_take_next(n, full, e);
    if (w && (!full || unit_all_closing(w))) {
        works_remove(&n->queue, w);
    } else if (!w && n->ready_count > 0 && !full) {
        w = park_take(n, ready_pop(n));
    } else {
        return 0;
    }
    int rc = unit_give(n, w, e);
    return rc != 0 ? rc : 1;
}

int
unit_attempts(struct node *n, uint64_t ordinal)
{
    unsigned char key[9] = {'a'};
    struct span value;
    store_u64(key + 1, ordinal);
    if (!n->attempts || !store_get(n->store, TABLE_crash, span_of(key, 9), &value) || value.length != 8)
        return 0;
    return (int)store_read_u64(value.at);
}

int
unit_trying(struct node *n, uint64_t ordinal, struct error *e)
{
    unsigned char at[8];
    store_u64(at, ordinal);
    store_put(n->store, TABLE_crash, span_text("trying"), span_of(at, 8));
    node_touch(n);
    return node_flush(n, e);
}

void
unit_close(struct node *n, struct work *w)
{
    for (int p = 0; p < n->port_count; p++)
        if (n->ports[p].linked)
            node_close(n, &w->unit, p, w->inputs[0].reason);
    unit_settle(n, w);
}

int
unit_give(struct node *n, struct work *w, struct error *e)
{
    struct unit *unit = &w->unit;
    if (w->feed && feed_doubled(n, w->feed, w->seq, w->unit.ordinal)) {
        work_free(n, w);
        return 0;
    }
    if (unit_all_closing(w)) {
        unit_close(n, w);
        return 0;
    }
    w->unit.attempts = unit_attempts(n, w->unit.ordinal);
    w->in_hand = true;
    works_add(&n->hand, w);
    if (w->unit.attempts >= DEAD_ATTEMPTS_MAX) {
        unit_dead(n, &w->unit, "crashed the node %d times", w->unit.attempts);
        return 0;
    }
    if (n->crashed) {
        int rc = unit_trying(n, w->unit.ordinal, e);
        if (rc != 0)
            return rc;
    }
    return n->whole ? n->kind->take_group(n, &unit, 1, e) : n->kind->take(n, unit, e);
}

int
unit_recover(struct node *n, struct error *e)
{
    struct span value, key;
    unsigned char row[9] = {'a'}, count[8];
    bool trying = store_get(n->store, TABLE_crash, span_text("trying"), &value) && value.length == 8;
    if (trying && n->crashed) {
        uint64_t ordinal = store_read_u64(value.at);
        n->attempts = true;
        int attempts = unit_attempts(n, ordinal) + 1;
        store_u64(row + 1, ordinal);
        store_u64(count, (uint64_t)attempts);
        store_put(n->store, TABLE_crash, span_of(row, 9), span_of(count, 8));
        log_event(n->log, LOG_warning, "crash", "ordinal %llu alone in hand crashed the node, %d of %d",
                  (unsigned long long)ordinal, attempts, DEAD_ATTEMPTS_MAX);
    }
    if (trying) {
        store_delete(n->store, TABLE_crash, span_text("trying"));
        node_touch(n);
    }
    n->attempts = store_floor(n->store, TABLE_crash, span_of("b", 1), &key, &value);
    return trying ? node_flush(n, e) : 0;
}

/* ---- answering ---- */

static struct work *
work_of(struct unit *u)
{
    return (struct work *)u;
}

static void
give(struct node *n, struct unit *u, int port, struct answer **out)
{
    struct work *w = work_of(u);
    assert(port >= 0 && port < n->port_count && n->kind->ports[port].direction == PORT_OUT);
    assert(!w->answers[port].given);
    w->answers[port].given = true;
    *out = &w->answers[port];
}

void
node_send(struct node *n, struct unit *u, int port, struct span body)
{
    struct work *w = work_of(u);
    struct answer *a;
    give(n, u, port, &a);
    a->closing = false;
    a->at = w->bodies.length;
    a->length = body.length;
    if (n->ports[port].linked)
        buffer_add(&w->bodies, body.at, body.length);
}

void
node_close(struct node *n, struct unit *u, int port, const char *reason)
{
    struct answer *a;
    give(n, u, port, &a);
    a->closing = true;
    snprintf(a->reason, sizeof(a->reason), "%s", reason);
}

static void
closed_add(struct node *n, const char *reason)
{
    int i = 0;
    while (i < n->closed_count && strcmp(n->closed[i].reason, reason) != 0)
        i++;
    if (i == n->closed_count) {
        if (i == CLOSED_REASONS_MAX - 1)
            reason = "other";
        snprintf(n->closed[i].reason, sizeof(n->closed[i].reason), "%s", reason);
        if (n->closed_count < CLOSED_REASONS_MAX)
            n->closed_count++;
    }
    n->closed[i].count++;
    n->closed[i].dirty = true;
}

/* The place of the unit at its input: the mark of its lane, or its rows in the park table. */
static void
inputs_done(struct node *n, struct work *w)
{
    if (w->retry) {
        unsigned char key[8];
        store_u64(key, w->retry - 1);
        store_delete(n->store, TABLE_dead, span_of(key, 8));
        n->held--;
    } else if (w->feed) {
        feed_mark(n, w->feed, w->seq, w->unit.ordinal);
    } else {
        park_remove(n, w);
    }
    if (w->in_hand) {
        works_remove(&n->hand, w);
        if (n->crashed) {
            store_delete(n->store, TABLE_crash, span_text("trying"));
            if (++n->careful >= n->in_flight)
                n->crashed = false;
        }
    }
    node_touch(n);
    n->pump_wanted = true;
}

static void
settle(struct node *n, struct work *w, bool data, const char *reason)
{
    if (w->feed && feed_doubled(n, w->feed, w->seq, w->unit.ordinal)) {
        if (w->in_hand)                 /* both were in hand; the first one's answers stand */
            works_remove(&n->hand, w);
        work_free(n, w);
        return;
    }
    for (int p = 0; p < n->port_count; p++) {
        struct answer *a = &w->answers[p];
        struct record r = {.ordinal = w->unit.ordinal, .first = w->unit.first, .size = w->unit.size};
        if (!n->ports[p].linked)
            continue;
        assert(a->given);
        if (a->closing)
            r.reason = span_text(a->reason);
        else
            r.body = span_of(w->bodies.at ? w->bodies.at + a->at : "", a->length);
        outbox_put(n, p, &r);
    }
    inputs_done(n, w);
    set_add(&n->settled, w->unit.ordinal, w->unit.ordinal + 1);
    if (data) {
        node_count(n, METRIC_samples, 1);
    } else {
        node_count(n, METRIC_closed, 1);
        closed_add(n, reason);
    }
    work_free(n, w);
}

void
unit_settle(struct node *n, struct work *w)
{
    settle(n, w, !unit_all_closing(w), w->inputs[0].reason);
}

void
unit_settle_dead(struct node *n, struct work *w)
{
    settle(n, w, false, "dead");
}

void
unit_done(struct node *n, struct unit *u)
{
    assert(work_of(u)->in_hand);
    settle(n, work_of(u), true, NULL);
}

void
unit_dead(struct node *n, struct unit *u, const char *format, ...)
{
    struct work *w = work_of(u);
    char reason[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    assert(w->in_hand);
    bool hold = n->common.on_dead == ON_DEAD_hold;
    if (!w->retry || !hold)
        node_count(n, METRIC_dead, 1);
    log_event(n->log, LOG_warning, "dead", "ordinal %llu: %s", (unsigned long long)u->ordinal, reason);
    uint64_t retry = w->retry;
    dead_add(n, w, reason, hold);
    if (hold) {
        if (retry) {                    /* its row was written anew: it still holds its place */
            works_remove(&n->hand, w);
        } else {
            n->held++;
            inputs_done(n, w);
        }
        work_free(n, w);
        return;
    }
    for (int p = 0; p < n->port_count; p++)
        if (n->ports[p].linked && !w->answers[p].given)
            node_close(n, u, p, "dead");
    settle(n, w, false, "dead");
}

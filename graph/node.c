/* node: what kinds call. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/core.h"
#include "graph/metrics.h"

/* ---- what kinds ask ---- */

void *
node_state(struct node *n)
{
    return n->state;
}

const void *
node_options(struct node *n)
{
    return n->options;
}

const char *
node_id(struct node *n)
{
    return n->self->id;
}

int
node_replica(struct node *n)
{
    return n->replica;
}

uint64_t
node_seed(struct node *n)
{
    return n->plan->seed;
}

const char *
node_run_dir(struct node *n)
{
    return n->run_dir;
}

bool
node_linked(struct node *n, int port)
{
    return port >= 0 && port < n->port_count && n->ports[port].linked;
}

int
node_link_count(struct node *n)
{
    return n->link_count;
}

const struct input *
node_link(struct node *n, int link)
{
    assert(link >= 0 && link < n->link_count);
    return &n->links[link];
}

void
node_set_in_flight(struct node *n, int units)
{
    n->in_flight = units < 0 ? 0 : units;
    for (int i = 0; i < n->feed_count; i++)
        n->feeds[i].moved = true;       /* what may be sent to us changed */
}

/* ---- sources ---- */

bool
node_may_emit(struct node *n, uint64_t first, uint32_t size)
{
    uint64_t position = node_upstream_position(n);
    bool may = node_takes(n) && !n->finishing && !(n->hold && first >= n->hold_at);
    if (may && position < first)
        may = size <= n->max_lead && first + size <= position + n->max_lead;
    n->may_emit_refused = !may;
    return may;
}

static void
emit(struct node *n, int port, struct record *r)
{
    assert(n->kind->source && !n->finishing);
    assert(port >= 0 && port < n->port_count && n->kind->ports[port].direction == PORT_OUT);
    outbox_put(n, port, r);
    n->messages++;
    if (r->first + r->size > n->emitted_end)
        n->emitted_end = r->first + r->size;
    node_touch(n);
}

void
node_emit(struct node *n, int port, uint64_t ordinal, uint64_t first, uint32_t size, struct span body)
{
    struct record r = {.ordinal = ordinal, .first = first, .size = size, .body = body};
    emit(n, port, &r);
}

void
node_emit_close(struct node *n, int port, uint64_t ordinal, uint64_t first, uint32_t size,
                const char *reason)
{
    struct record r = {.ordinal = ordinal, .first = first, .size = size, .reason = span_text(reason)};
    if (r.reason.length > REASON_MAX)
        r.reason.length = REASON_MAX;
    emit(n, port, &r);
}

void
node_dead(struct node *n, const char *where, struct span bytes, const char *format, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    log_event(n->log, LOG_warning, "dead", "%s: %s", where, reason);
    dead_add_bytes(n, where, bytes, reason);
}

bool
node_end_asked(struct node *n)
{
    return n->end_asked;
}

bool
node_draining(struct node *n)
{
    return n->draining;
}

void
node_finish(struct node *n)
{
    if (n->finishing || n->ended)
        return;
    n->finishing = true;
    node_touch(n);
}

/* ---- durable state ---- */

void
node_put(struct node *n, struct span key, struct span value)
{
    assert(key.length > 0 && key.length <= STORE_KEY_MAX);
    store_put(n->store, TABLE_state, key, value);
    node_touch(n);
}

bool
node_get(struct node *n, struct span key, struct span *value)
{
    return store_get(n->store, TABLE_state, key, value);
}

void
node_delete(struct node *n, struct span key)
{
    store_delete(n->store, TABLE_state, key);
    node_touch(n);
}

struct scan {
    struct span prefix;
    bool (*visit)(void *own, struct span key, struct span value);
    void *own;
};

static bool
scan_visit(void *own, struct span key, struct span value)
{
    struct scan *s = own;
    if (key.length < s->prefix.length || memcmp(key.at, s->prefix.at, s->prefix.length) != 0)
        return false;
    return s->visit(s->own, key, value);
}

void
node_scan(struct node *n, struct span prefix, struct span from,
          bool (*visit)(void *own, struct span key, struct span value), void *own)
{
    struct scan s = {prefix, visit, own};
    size_t common = from.length < prefix.length ? from.length : prefix.length;
    int order = common > 0 ? memcmp(from.at, prefix.at, common) : 0;
    bool before = order < 0 || (order == 0 && from.length < prefix.length);
    store_scan(n->store, TABLE_state, before ? prefix : from, scan_visit, &s);
}

/* ---- committing ---- */

void
node_urgent(struct node *n)
{
    node_touch(n);
    if (!n->urgent)
        n->urgent_since = node_now(n);
    n->urgent = true;
    n->paid++;
}

int
node_commit(struct node *n, struct error *e)
{
    return node_flush(n, e);
}

uint64_t
node_position(struct node *n)
{
    return n->settled.low;
}

/* ---- waiting and telling ---- */

void
node_watch(struct node *n, int fd)
{
    n->fd = fd;
}

void
node_timer(struct node *n, double seconds)
{
    n->timer = seconds < 0 ? -1 : node_now(n) + seconds;
}

void
node_wake(struct node *n)
{
    n->pump_wanted = true;
}

double
node_now(struct node *n)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec + n->clock;
}

void
node_log(struct node *n, enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_event_v(n->log, level, "node", format, args);
    va_end(args);
}

void
node_why(struct node *n, const char *format, ...)
{
    va_list args;
    n->why[0] = 0;
    if (!format)
        return;
    va_start(args, format);
    vsnprintf(n->why, sizeof(n->why), format, args);
    va_end(args);
}

void
node_tell(struct node *n, struct span json)
{
    if (json.length > NODE_TELL_MAX)
        return;
    store_put(n->store, TABLE_meta, span_text("report"), json);
    node_touch(n);
}

void
node_count(struct node *n, enum metric m, int64_t by)
{
    assert(metric_row(m)->counter);
    n->counts[m] += by;
    n->count_dirty[m] = true;
    if (!n->dirty)
        node_touch_lazily(n);
}

void
node_gauge(struct node *n, enum metric m, int64_t value)
{
    assert(!metric_row(m)->counter);
    n->counts[m] = value;
}

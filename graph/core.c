/* core: one running process: how it opens its store, commits, and the step that everything happens in. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <time.h>

#include "graph/core.h"
#include "graph/metrics.h"

#define NODE_IN_FLIGHT   256    /* units in hand unless the kind says otherwise */
#define NODE_TAKES_MAX   4096   /* units taken in one step */

/* ---- opening ---- */

static bool
count_load(void *own, struct span key, struct span value)
{
    struct node *n = own;
    if (value.length != 8)
        return true;
    int64_t v = (int64_t)store_read_u64(value.at);
    if (key.length > 7 && memcmp(key.at, "closed:", 7) == 0) {
        if (n->closed_count < CLOSED_REASONS_MAX) {
            struct closed_count *c = &n->closed[n->closed_count++];
            snprintf(c->reason, sizeof(c->reason), "%.*s", (int)(key.length - 7), key.at + 7);
            c->count = v;
        }
        return true;
    }
    for (int m = 0; m < METRIC_count; m++)
        if (span_is(key, metric_row((enum metric)m)->name))
            n->counts[m] = v;
    return true;
}

static void
load(struct node *n)
{
    store_scan(n->store, TABLE_counts, span_of(NULL, 0), count_load, n);
    n->ended = store_number(n->store, "ended", 0);
    n->finished = store_number(n->store, "finished", 0);
    n->end_asked = store_number(n->store, "end asked", 0);
    n->hold = store_number(n->store, "hold", 0);
    n->hold_at = store_number(n->store, "hold at", 0);
    n->held = dead_held(n);
    for (int p = 0; p < n->port_count; p++)
        if (n->ports[p].sent.top > n->emitted_end)
            n->emitted_end = n->ports[p].sent.top;
    park_load(n);
}

static int
open_parts(struct node *n, const struct node_setup *s, struct error *e)
{
    struct store_identity id = {n->plan->run_id, n->self->id, n->replica};
    const char *reserve = getenv("SLUICE_DISK_RESERVE");
    int rc = plan_common(n->plan, n->index, &n->common, e);
    n->disk_reserve = reserve ? atoll(reserve) : DISK_RESERVE;
    if (rc == 0)
        rc = plan_options(n->plan, n->index, n->options, e);
    if (rc != 0)
        return rc;
    n->have_options = true;
    if (n->log)
        log_set_floor(n->log, (enum log_level)n->common.log_level);
    n->store = store_open(s->store, s->lock, &id, n->common.quota, e);
    if (!n->store)
        return e->code;
    rc = lanes_open(n, e);
    if (rc != 0)
        return rc;
    feeds_open(n);
    n->whole = n->kind->whole_groups && n->kind->whole_groups(n->options);
    n->merging = n->link_count > 1 || n->whole;
    n->terminal = n->lane_count == 0;
    load(n);
    rc = unit_recover(n, e);
    if (rc == 0)
        rc = node_flush(n, e);
    if (rc != 0 || n->ended || n->self->serve)
        return rc;
    node_check_disk(n);
    n->started = true;          /* stop() is called even where start() gave up half-way */
    rc = n->kind->start ? n->kind->start(n, e) : 0;
    n->pump_wanted = true;
    return rc;
}

struct node *
node_open(const struct node_setup *s, struct error *e)
{
    struct error own = {0};
    struct node *n = xalloc(sizeof(*n));
    n->plan = s->plan;
    n->index = s->index;
    n->replica = s->replica;
    n->self = &s->plan->nodes[s->index];
    n->kind = n->self->kind;
    n->run_dir = xtext(s->run_dir);
    n->log = s->log;
    n->crashed = s->crashed;
    n->max_lead = s->plan->max_lead;
    n->options = xalloc(n->kind->options_size > 0 ? n->kind->options_size : 1);
    n->state = xalloc(n->kind->state_size > 0 ? n->kind->state_size : 1);
    n->in_flight = NODE_IN_FLIGHT;
    n->fd = -1;
    n->timer = -1;
    while (n->token == 0)
        if (getrandom(&n->token, sizeof(n->token), 0) < 0)
            n->token = (uint64_t)(node_now(n) * 1e9);
    n->committed_at = -1e9;
    if (open_parts(n, s, &own) == 0)
        return n;
    error_set(e, own.code, "%s", own.text);
    node_shut(n);
    return NULL;
}

void
node_shut(struct node *n)
{
    if (!n)
        return;
    if (n->started && n->kind->stop)
        n->kind->stop(n);
    unit_free_all(n);
    if (n->store) {
        lanes_close(n);
        feeds_close(n);
    }
    store_close(n->store);
    if (n->have_options)
        options_fini(n->kind->options, n->options);
    free(n->options);
    free(n->state);
    free(n->run_dir);
    free(n);
}

/* ---- committing ---- */

void
node_touch(struct node *n)
{
    if (!n->dirty)
        n->dirty_since = node_now(n);
    n->dirty = true;
}

void
node_touch_lazily(struct node *n)
{
    if (!n->lazy)
        n->lazy_since = node_now(n);
    n->lazy = true;
}

static void
counts_flush(struct node *n)
{
    unsigned char value[8];
    for (int m = 0; m < METRIC_count; m++)
        if (n->count_dirty[m]) {
            store_u64(value, (uint64_t)n->counts[m]);
            store_put(n->store, TABLE_counts, span_text(metric_row((enum metric)m)->name), span_of(value, 8));
            n->count_dirty[m] = false;
        }
    for (int i = 0; i < n->closed_count; i++)
        if (n->closed[i].dirty) {
            char key[REASON_MAX + 8];
            snprintf(key, sizeof(key), "closed:%s", n->closed[i].reason);
            store_u64(value, (uint64_t)n->closed[i].count);
            store_put(n->store, TABLE_counts, span_text(key), span_of(value, 8));
            n->closed[i].dirty = false;
        }
}

/* END becomes durable with the last of the work: nothing is in hand, nothing follows. */
static void
end_flush(struct node *n)
{
    if (!n->finishing || n->ended)
        return;
    n->ended = true;
    store_set_number(n->store, "ended", 1);
    n->finished = true;
    for (int i = 0; i < n->lane_count; i++) {
        n->lanes[i].end = true;
        n->lanes[i].row_dirty = true;
        n->finished &= n->lanes[i].ended;
    }
    if (n->finished)
        store_set_number(n->store, "finished", 1);
}

int
node_flush(struct node *n, struct error *e)
{
    if (!n->dirty && !n->lazy)
        return 0;
    if (n->started && n->kind->flush) {
        int rc = n->kind->flush(n, e);
        if (rc != 0)
            return rc;
    }
    end_flush(n);
    lanes_flush(n);
    feeds_flush(n);
    if (store_dirty(n->store) || n->dirty) {
        n->counts[METRIC_commits]++;
        n->count_dirty[METRIC_commits] = true;
    }
    counts_flush(n);
    int rc = store_commit(n->store, e);
    if (rc != 0)
        return rc;
    n->dirty = n->lazy = n->urgent = false;
    n->paid = 0;
    n->messages = 0;
    n->committed_at = node_now(n);
    n->commits++;
    lanes_committed(n);
    feeds_committed(n);
    return 0;
}

/* Units wait to be taken, and a quarter of all places are held by paid answers until they are committed. */
static bool
paid_are_in_the_way(const struct node *n)
{
    return n->hand.count < n->in_flight && n->hand.count + n->paid >= n->in_flight &&
           4 * n->paid >= n->in_flight && unit_waiting(n) > 0;
}

/* When what is open must be committed; < 0: nothing is open. */
static double
commit_time(const struct node *n, bool quiet)
{
    double at = -1;
    if (n->dirty) {
        at = n->dirty_since + n->common.commit_interval;
        double early = n->committed_at + n->common.commit_interval;
        if (quiet && early < at)
            at = early > 0 ? early : 0;
        if (n->urgent && n->urgent_since + URGENT_SECONDS < at)
            at = n->urgent_since + URGENT_SECONDS;
        if (paid_are_in_the_way(n))
            at = 0;
        if (n->finishing)
            at = 0;
    } else if (n->lazy) {
        at = n->lazy_since + LAZY_SECONDS;
    }
    return at;
}

static bool
commit_is_due(struct node *n, bool quiet)
{
    double at = commit_time(n, quiet);
    if (at < 0)
        return false;
    return n->messages >= n->common.commit_count || store_bytes(n->store) >= COMMIT_BYTES_MAX ||
           node_now(n) >= at;
}

/* ---- the step ---- */

bool
node_takes(const struct node *n)
{
    return n->paused[0] == 0 && !n->ended && !n->stopping;
}

void
node_check_disk(struct node *n)
{
    struct statvfs v;
    int64_t used = store_used(n->store);
    if (statvfs(store_path(n->store), &v) == 0) {
        int64_t free_bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
        if (free_bytes < n->disk_reserve) {
            snprintf(n->paused, sizeof(n->paused), "disk: %lld MB free in %.120s, below %lld MB",
                     (long long)(free_bytes >> 20), n->run_dir, (long long)(n->disk_reserve >> 20));
            return;
        }
    }
    if (used >= n->common.quota) {
        snprintf(n->paused, sizeof(n->paused), "quota: the store holds %lld MB of %lld MB",
                 (long long)(used >> 20), (long long)(n->common.quota >> 20));
        return;
    }
    n->paused[0] = 0;
}

static int
take_all(struct node *n, bool *took, struct error *e)
{
    for (int i = 0; i < NODE_TAKES_MAX && !commit_is_due(n, false); i++) {
        int rc = unit_take_next(n, e);
        if (rc <= 0)
            return rc;
        *took = true;
    }
    return 0;
}

static int
end_check(struct node *n, struct error *e)
{
    if (n->link_count == 0 || n->ended_told || n->finishing || !feeds_ended(n))
        return 0;
    if (n->hand.count > 0 || unit_waiting(n) > 0 || n->parked > 0 || n->held > 0 || n->dirty)
        return 0;
    n->ended_told = true;
    n->pump_wanted = true;
    if (n->kind->ended)
        return n->kind->ended(n, e);
    node_finish(n);
    return 0;
}

/* The callbacks of one step, in order. */
static int
work_step(struct node *n, bool readable, struct error *e)
{
    bool took = false;
    int rc = 0;
    bool late = n->timer >= 0 && node_now(n) >= n->timer;
    if (late)
        n->timer = -1;
    if ((late || readable) && n->kind->ready)
        rc = n->kind->ready(n, e);
    if (rc == 0)
        rc = take_all(n, &took, e);
    if (rc == 0)
        rc = end_check(n, e);
    if (rc != 0 || took)
        return rc != 0 ? rc : STEP_AGAIN;
    bool wanted = n->pump_wanted;
    n->pump_wanted = false;
    if (!n->kind->pump || n->finishing || n->stopping || (n->paused[0] && !n->kind->source))
        return STEP_IDLE;
    rc = n->kind->pump(n, e);
    if (rc < 0)
        return rc;
    return rc == PUMP_AGAIN || (n->pump_wanted && !wanted) ? STEP_AGAIN : STEP_IDLE;
}

int
node_step(struct node *n, bool readable, bool quiet, struct error *e)
{
    int rc = STEP_IDLE;
    if (!n->ended && n->self->serve)
        rc = lanes_serve(n, e);
    else if (!n->ended)
        rc = work_step(n, readable, e);
    if (rc >= 0 && commit_is_due(n, quiet && rc == STEP_IDLE)) {
        int bad = node_flush(n, e);
        if (bad != 0)
            return bad;
        rc = STEP_AGAIN;
    }
    return rc;
}

double
node_due(struct node *n)
{
    double at = commit_time(n, true), now = node_now(n);
    if (n->timer >= 0 && !n->ended && (at < 0 || n->timer < at))
        at = n->timer;
    if (at < 0)
        return -1;
    return at > now ? at - now : 0;
}

uint64_t
node_upstream_position(struct node *n)
{
    if (n->terminal)
        return n->settled_committed;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < n->lane_count; i++)
        if (n->lanes[i].position < least)
            least = n->lanes[i].position;
    return least;
}

const char *
node_state_name(struct node *n)
{
    if (n->finished)
        return "finished";
    if (n->paused[0])
        return "paused";
    if (n->draining)
        return "draining";
    if (n->ended)
        return "running";
    if (strncmp(n->why, "over budget", 11) == 0)
        return "paused";
    if (strncmp(n->why, "computing", 9) == 0)
        return "computing";
    if (n->kind->source && n->may_emit_refused)
        return "blocked";
    if (n->link_count > 0 && n->hand.count == 0 && unit_waiting(n) == 0 && !n->dirty && n->why[0] == 0)
        return "starved";
    return "running";
}

int
node_set_option(struct node *n, const char *option, const char *value, struct error *e)
{
    const struct option *row = n->kind->options ? option_find(n->kind->options, option) : NULL;
    const struct option *table = row ? n->kind->options : node_common_options;
    if (!row)
        row = option_find(node_common_options, option);
    if (!row)
        return error_set(e, ERROR_topology, "node '%s' has no option '%s'", n->self->id, option);
    if (row->change != LIVE)
        return error_set(e, ERROR_topology, "option '%s' is fixed: a change needs a replay", option);
    bool common = table == node_common_options;
    if (row->kind == OPTION_texts)      /* a value given now is the whole list */
        options_clear(table, common ? (void *)&n->common : n->options, option, NULL);
    int rc = options_set(table, common ? (void *)&n->common : n->options, option, value, e);
    if (rc != 0)
        return rc;
    if (common && n->log)
        log_set_floor(n->log, (enum log_level)n->common.log_level);
    if (!common && n->started && n->kind->changed)
        rc = n->kind->changed(n, option, e);
    n->pump_wanted = true;
    log_event(n->log, LOG_info, "set", "%s = %s", option, value);
    return rc;
}

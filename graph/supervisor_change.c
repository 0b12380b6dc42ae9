/* supervisor_change: live options and replicas of a running graph.
 *
 * An option: the plan is written first, then every process of the node is told; one that does not
 * take it starts again and reads the plan. Replicas: the reader holds at a group boundary it has
 * not reached (durably), the plan gets a row that starts there, the neighbours of the node start
 * again with it, and the reader goes on. A death of the supervisor before the row is written leaves
 * a reader that holds: its successor lets it go on. After that, the successor finds processes of an
 * older revision and reaps them before it lets the reader go on. */
#include <stdlib.h>
#include <string.h>

#include "graph/address.h"
#include "graph/supervisor.h"

/* ---- live options ---- */

/* Is it an option of the node, live, and a value it takes? */
static int
option_check(const struct plan_node *n, const char *name, const char *value, struct error *e)
{
    const struct option *table = n->kind->options;
    const struct option *row = option_find(table, name);
    size_t size = n->kind->options_size;
    if (row == NULL) {
        table = node_common_options;
        row = option_find(table, name);
        size = sizeof(struct node_common);
    }
    if (row == NULL)
        return error_set(e, ERROR_usage,
                         "node '%s' has no option '%s'; `sluice help %s` lists them", n->id, name,
                         n->kind->name);
    if (row->change != LIVE)
        return error_set(
            e, ERROR_usage,
            "option '%s' of '%s' is fixed for the life of a run: a change could change a "
            "checkpoint; "
            "`sluice replay RUN NODE --set %s.%s=%s --into NEW` applies it to a new run",
            name, n->id, n->id, name, value);
    void *options = xalloc(size ? size : 1);
    int rc = options_init(table, options, e);
    if (rc == 0)
        rc = options_set(table, options, name, value, e);
    options_fini(table, options);
    free(options);
    return rc == 0 ? 0 : error_wrap(e, "node '%s'", n->id);
}

static void
option_put(struct plan_node *n, const char *name, const char *value)
{
    struct plan_option *o = NULL;
    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, name) == 0)
            o = &n->options[i];
    if (o == NULL) {
        n->options = xresize(n->options, (size_t)(n->option_count + 1) * sizeof *n->options);
        o = &n->options[n->option_count++];
        memset(o, 0, sizeof *o);
        o->name = xtext(name);
    }
    for (int i = 0; i < o->count; i++)
        free(o->values[i]);
    o->values = xresize(o->values, sizeof *o->values);
    o->values[0] = xtext(value);
    o->count = 1;
}

int
change_option(struct plan *p, int node, const char *option, const char *value, struct error *e)
{
    int rc = option_check(&p->nodes[node], option, value, e);
    if (rc != 0)
        return rc;
    option_put(&p->nodes[node], option, value);
    p->revision++;
    return 0;
}

/* Write the changed plan; on failure go back to the one on disk. */
static int
plan_save(struct supervisor *s, struct error *e)
{
    struct plan kept;
    int rc = plan_write(&s->plan, s->dir, e);
    if (rc == 0)
        return 0;
    if (plan_load(&kept, s->dir, NULL) == 0) {
        plan_free(&s->plan);
        s->plan = kept;
    }
    return rc;
}

int
change_set(struct supervisor *s, int node, const char *option, const char *value, struct error *e)
{
    uint64_t before = s->plan.revision;
    int rc = change_option(&s->plan, node, option, value, e);
    if (rc == 0)
        rc = plan_save(s, e);
    if (rc != 0)
        return rc;
    log_event(s->log, LOG_info, "set", "%s.%s=%s", s->plan.nodes[node].id, option, value);
    for (int i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        if (w->process.index == node && w->process.pid != 0) {
            if (json_array_size(w->sets) >= SUPERVISOR_SETS_MAX) {
                process_stop(&w->process, true, SUPERVISOR_GRACE_STOP, supervisor_now());
                continue;
            }
            json_array_append_new(w->sets,
                                  json_pack("{s:s,s:s,s:I}", "option", option, "value", value,
                                            "revision", (json_int_t)s->plan.revision));
        } else if (w->process.revision == before) {
            w->process.revision = s->plan.revision;     /* this revision is not about it */
        }
    }
    supervisor_dirty(s);
    return 0;
}

/* ---- replicas ---- */

/* The reader above a node; check() has seen to it that there is only one. -1: none that emits. */
static int
source_of(const struct plan *p, int node)
{
    while (p->nodes[node].link_count > 0)
        node = p->nodes[node].links[0].node;
    return p->nodes[node].kind->source && !p->nodes[node].serve ? node : -1;
}

static int
replicas_now(const struct plan_node *n)
{
    return n->row_count > 0 ? n->rows[n->row_count - 1].count : 1;
}

int
change_replicas(struct supervisor *s, int node, int count, struct error *e)
{
    struct change *c = &s->change;
    const struct plan_node *n = &s->plan.nodes[node];
    int source = source_of(&s->plan, node);
    if (count < 1 || count > PLAN_REPLICAS_MAX)
        return error_set(e, ERROR_usage, "replicas of '%s': %d is not in 1..%d", n->id, count,
                         PLAN_REPLICAS_MAX);
    if (n->kind->source || n->kind->terminal || plan_is_terminal(&s->plan, node))
        return error_set(e, ERROR_usage, "'%s' (%s) has one replica only", n->id, n->kind->name);
    if (source < 0)
        return error_set(e, ERROR_usage,
                         "replicas of '%s' can change only below a reader; this run replays",
                         n->id);
    if (c->stage == CHANGE_hold || c->stage == CHANGE_write || c->stage == CHANGE_restart)
        return error_set(e, ERROR_usage,
                         "another change of replicas is under way (%s); try again when it is done",
                         s->plan.nodes[c->node].id);
    if (s->stopping || s->ending != RUN_running)
        return error_set(e, ERROR_usage, "the run ends; replicas can change while it runs");
    struct address listen;
    int rc = address_read(n->listen, count, &listen, e);
    if (rc != 0)
        return rc;
    if (n->row_count >= PLAN_ROWS_MAX)
        return error_set(e, ERROR_limit, "replicas of '%s' have changed %d times already", n->id,
                         PLAN_ROWS_MAX);
    c->number++;
    c->node = node;
    c->source = source;
    c->count = count;
    c->error[0] = 0;
    c->stage = replicas_now(n) == count ? CHANGE_done : CHANGE_hold;
    return 0;
}

static void
change_failed(struct supervisor *s, const char *why)
{
    s->change.stage = CHANGE_failed;
    snprintf(s->change.error, sizeof s->change.error, "%.500s", why);
    s->resume_due = true;
    log_event(s->log, LOG_warning, "replicas", "%s", why);
}

/* Must it start again to know the row: the node itself, who feeds it and who reads it? */
static bool
concerned(const struct plan *p, int node, int changed)
{
    if (node == changed)
        return true;
    for (int l = 0; l < p->nodes[node].link_count; l++)
        if (p->nodes[node].links[l].node == changed)
            return true;
    for (int l = 0; l < p->nodes[changed].link_count; l++)
        if (p->nodes[changed].links[l].node == node)
            return true;
    return false;
}

void
change_held(struct supervisor *s, const json_t *reply)
{
    struct change *c = &s->change;
    const json_t *at = json_object_get(reply, "hold_at");
    const char *why = json_string_value(json_object_get(reply, "error"));
    if (c->stage != CHANGE_hold)
        return;
    s->resume_due = true;
    if (!json_is_true(json_object_get(reply, "ok")) || !json_is_integer(at) ||
        json_integer_value(at) < 0) {
        change_failed(s, why ? why : "the reader does not hold");
        return;
    }
    c->first = (uint64_t)json_integer_value(at);
    c->stage = CHANGE_write;    /* the rest moves the workers, which are being walked now */
}

/* The row into the plan, durably; then rows for new processes, and the neighbours start again. */
static void
row_write(struct supervisor *s)
{
    struct change *c = &s->change;
    struct error e = {0};
    struct plan_node *n = &s->plan.nodes[c->node];
    uint64_t before = s->plan.revision;
    struct plan_row *last = &n->rows[n->row_count - 1];
    if (c->first > last->first) {
        n->rows = xresize(n->rows, (size_t)(n->row_count + 1) * sizeof *n->rows);
        n->rows[n->row_count++] = (struct plan_row){c->first, c->count};
    } else {
        last->count = c->count;     /* nothing was emitted under the last row yet */
    }
    s->plan.revision++;
    int rc = plan_save(s, &e);
    if (rc == 0)
        rc = supervisor_grow(s, &e);
    if (rc != 0) {
        change_failed(s, e.text);
        return;
    }
    double now = supervisor_now();
    log_event(s->log, LOG_info, "replicas", "%s has %d replicas from ordinal %llu on",
              s->plan.nodes[c->node].id, c->count, (unsigned long long)c->first);
    for (int i = 0; i < s->count; i++) {
        struct process *p = &s->workers[i].process;
        if (!concerned(&s->plan, p->index, c->node)) {
            if (p->revision == before)
                p->revision = s->plan.revision;
        } else if (p->pid != 0) {
            process_stop(p, true, SUPERVISOR_GRACE_STOP, now);
        }
    }
    c->stage = CHANGE_restart;
    supervisor_dirty(s);
}

void
change_turn(struct supervisor *s)
{
    struct change *c = &s->change;
    const struct worker *source = supervisor_worker(s, c->source, 0);
    /* A reader that has left was not asked, and will not be. */
    if (c->stage == CHANGE_hold && (source == NULL || source->process.phase == PROCESS_left))
        change_failed(s, "the reader has ended: no row of replicas can follow");
    if (c->stage == CHANGE_hold && (s->stopping || s->ending != RUN_running))
        change_failed(s, "the run ends");
    if (c->stage == CHANGE_write)
        row_write(s);
    if (c->stage != CHANGE_restart)
        return;
    for (int i = 0; i < s->count; i++) {
        const struct process *p = &s->workers[i].process;
        if (concerned(&s->plan, p->index, c->node) && p->phase != PROCESS_left && !p->held &&
            (p->phase != PROCESS_up || !p->answered || p->revision != s->plan.revision))
            return;
    }
    c->stage = CHANGE_done;
}

/* look: rows of `sluice status`, from answers and from stores at rest. */
#include "graph/look.h"

#include <stdlib.h>
#include <string.h>

#include "graph/control.h"
#include "graph/node.h"
#include "graph/run.h"
#include "graph/set.h"
#include "graph/store.h"

static json_t *
number_or_zero(const json_t *status, const char *name)
{
    json_t *v = json_object_get(status, name);
    return json_integer(json_is_integer(v) ? json_integer_value(v) : 0);
}

json_t *
look_row(const struct look *l)
{
    json_t *row = json_object();
    json_object_set_new(row, "id", json_string(l->id));
    json_object_set_new(row, "replica", json_integer(l->replica));
    json_object_set_new(row, "kind", json_string(l->kind));
    json_object_set_new(row, "pid", l->pid > 0 ? json_integer(l->pid) : json_null());
    json_object_set_new(row, "state", json_string(l->state));
    json_t *why = json_string(l->why ? l->why : "");
    json_object_set_new(row, "why", why ? why : json_string("(its words are not UTF-8)"));
    json_object_set_new(row, "epoch", number_or_zero(l->status, "epoch"));
    json_object_set_new(row, "restarts", json_integer(l->restarts));
    json_object_set_new(row, "in", number_or_zero(l->status, "in"));
    json_object_set_new(row, "out", number_or_zero(l->status, "out"));
    json_object_set_new(row, "in_flight", number_or_zero(l->status, "in_flight"));
    json_object_set_new(row, "dead", number_or_zero(l->status, "dead"));
    json_t *report = json_object_get(l->status, "report");
    if (json_is_object(report))
        json_object_set(row, "report", report);
    return row;
}

void
look_report(struct store *s, json_t *status)
{
    struct buffer text = {0};
    json_t *report = store_text(s, "report", &text) && text.length <= NODE_TELL_MAX
                         ? json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, NULL)
                         : NULL;
    if (json_is_object(report))
        json_object_set(status, "report", report);
    json_decref(report);
    buffer_free(&text);
}

/* ---- at rest ---- */

static bool
first_interval(void *own, uint64_t start, uint64_t end)
{
    if (start == 0)
        *(uint64_t *)own = end;
    return false;
}

static bool
last_interval(void *own, uint64_t start, uint64_t end)
{
    (void)start;
    *(uint64_t *)own = end;
    return true;
}

struct parked {
    int64_t  units;
    uint64_t last;
};

static bool
count_parked(void *own, struct span key, struct span value)
{
    struct parked *p = own;
    (void)value;
    uint64_t ordinal = key.length >= 8 ? store_read_u64(key.at) : 0;
    if (p->units == 0 || ordinal != p->last)
        p->units++;
    p->last = ordinal;
    return true;
}

static int64_t
metric_at_rest(struct store *s, const char *name)
{
    struct span value;
    if (store_get(s, TABLE_counts, span_text(name), &value) && value.length == 8)
        return (int64_t)store_read_u64(value.at);
    return 0;
}

static json_t *
metrics_at_rest(struct store *s)
{
    static const char *const names[] = {
#define METRIC(name, unit, kind, meaning) #name,
#include "schemas/metrics.def"
#undef METRIC
    };
    json_t *metrics = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_object_set_new(metrics, names[i], json_integer(metric_at_rest(s, names[i])));
    return metrics;
}

json_t *
look_peek(const struct place *place, const struct plan *plan, int node, int replica)
{
    const struct plan_node *n = &plan->nodes[node];
    char *path = place_store(place, n->id, replica);
    char *lock = place_store_lock(place, n->id, replica);
    struct store *s = store_peek(path, lock, NULL);
    json_t *status = NULL;
    if (s != NULL) {
        struct parked parked = {0};
        uint64_t position = 0, emitted = 0;
        store_scan(s, TABLE_park, span_of("", 0), count_parked, &parked);
        set_rows(s, SET_settled, 0, 0, first_interval, &position);
        if (n->kind->source)
            set_rows(s, SET_sent, 0, 0, last_interval, &emitted);
        status = json_pack(
            "{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:o}", "epoch", (json_int_t)store_epoch(s), "in",
            (json_int_t)metric_at_rest(s, "received"), "out", (json_int_t)metric_at_rest(s, "sent"),
            "in_flight", (json_int_t)parked.units, "dead", (json_int_t)metric_at_rest(s, "dead"),
            "position", (json_int_t)position, "emitted", (json_int_t)emitted, "finished",
            store_number(s, "finished", 0) != 0, "metrics", metrics_at_rest(s));
        look_report(s, status);
        store_close(s);
    }
    free(path);
    free(lock);
    return status;
}

/* ---- a whole run ---- */

/* The processes themselves, all asked at once; stores for those that are down. */
static json_t *
look_processes(const struct place *place, const struct plan *plan, const struct run_state *state,
               bool *alive)
{
    int count = 0, at = 0;
    for (int n = 0; n < plan->node_count; n++)
        count += plan_replicas(&plan->nodes[n]);
    struct control_call *calls = xarray((size_t)count + 1, sizeof *calls);
    json_t *request = json_pack("{s:s}", "ask", "status"), *rows = json_array();
    for (int n = 0; n < plan->node_count; n++)
        for (int r = 0; r < plan_replicas(&plan->nodes[n]); r++)
            calls[at++] =
                (struct control_call){.path = place_control(place, n, r), .request = request};
    control_ask_all(calls, count, LOOK_ASK_MS);
    at = 0;
    for (int n = 0; n < plan->node_count; n++)
        for (int r = 0; r < plan_replicas(&plan->nodes[n]); r++, at++) {
            const struct plan_node *node = &plan->nodes[n];
            const struct run_process *kept = run_state_find(state, node->id, r);
            struct lock_holder holder = {0};
            char *lock = place_store_lock(place, node->id, r);
            bool lives = lock_held(lock, &holder);
            json_t *status = calls[at].error.code == 0 ? json_incref(calls[at].reply)
                                                       : look_peek(place, plan, n, r);
            const char *said = json_string_value(json_object_get(status, "state"));
            bool finished = json_is_true(json_object_get(status, "finished"));
            bool silent = lives && calls[at].error.code != 0;
            struct look look = {node->id,
                                r,
                                node->kind->name,
                                lives ? holder.pid : 0,
                                silent          ? "silent"
                                : lives && said ? said
                                : finished      ? "finished"
                                                : "down",
                                silent ? calls[at].error.text
                                       : json_string_value(json_object_get(status, "why")),
                                kept ? kept->restarts : 0,
                                status};
            json_array_append_new(rows, look_row(&look));
            *alive = *alive || lives;
            json_decref(status);
            json_decref(calls[at].reply);
            free((char *)calls[at].path);
            free(lock);
        }
    free(calls);
    json_decref(request);
    return rows;
}

/* What a dead supervisor's last words are worth: it cannot be running any more. */
static const char *
phase_at_rest(const struct run_state *s)
{
    bool over = s->phase == RUN_done || s->phase == RUN_failed || s->phase == RUN_stopped ||
                s->phase == RUN_paused;
    return over ? run_phase_name(s->phase) : "unattended";
}

int
look_run(const char *dir, json_t **status, struct error *e)
{
    struct plan plan = {0};
    struct place place = {0};
    struct run_state state = {0};
    *status = NULL;
    int rc = place_open(&place, dir, e);
    if (rc == 0 && run_supervisor(dir) != 0) {
        char *path = place_supervisor(&place);
        json_t *request = json_pack("{s:s}", "ask", "status");
        if (control_ask(path, request, LOOK_ASK_MS, status, NULL) == 0) {
            json_object_del(*status, "ok");
            json_object_del(*status, "change");
        }
        json_decref(request);
        free(path);
    }
    if (rc != 0 || *status != NULL) {
        place_close(&place);
        return rc;
    }
    rc = plan_load(&plan, dir, e);
    if (rc == 0)
        rc = run_state_read(dir, &state, e);
    if (rc == 0) {
        bool alive = false;
        pid_t pid = run_supervisor(dir);
        json_t *rows = look_processes(&place, &plan, &state, &alive);
        *status =
            json_pack("{s:s,s:s,s:s,s:{s:o,s:I},s:o}", "run", dir, "state",
                      pid != 0 ? run_phase_name(state.phase) : phase_at_rest(&state), "why",
                      state.why, "supervisor", "pid", pid != 0 ? json_integer(pid) : json_null(),
                      "epoch", (json_int_t)state.epoch, "nodes", rows);
    }
    run_state_free(&state);
    plan_free(&plan);
    place_close(&place);
    return rc;
}

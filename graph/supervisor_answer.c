/* supervisor_answer: what the control socket of the supervisor answers. What takes time is only
 * begun here; the command that asked looks at the status until it is done. */
#include <stdlib.h>
#include <string.h>

#include "graph/look.h"
#include "graph/supervisor.h"

static const char *const change_names[] = {"none", "hold", "write", "restart", "done", "failed"};

static const char *
state_of(const struct worker *w)
{
    switch (w->process.phase) {
    case PROCESS_left:
        return "finished";
    case PROCESS_stopping:
        return "stopping";
    case PROCESS_down:
        return w->process.held ? "held" : w->paused ? "paused" : "down";
    case PROCESS_up:
        break;
    }
    const char *state = json_string_value(json_object_get(w->status, "state"));
    return w->process.answered && state != NULL ? state : "starting";
}

json_t *
supervisor_row(const struct supervisor *s, const struct worker *w)
{
    const struct process *p = &w->process;
    char why[RUN_WHY_MAX] = "";
    double now = supervisor_now();
    const char *said = json_string_value(json_object_get(w->status, "why"));
    if (p->phase == PROCESS_down && !p->held && p->why[0] != 0)
        snprintf(why, sizeof why, "starts again in %.1f s: %.400s",
                 p->next > now ? p->next - now : 0, p->why);
    else if (p->phase == PROCESS_down && p->held)
        snprintf(why, sizeof why, "stopped by hand; `sluice restart` starts it");
    else if (p->phase == PROCESS_up && p->answered && now - w->status_at > SUPERVISOR_ASK)
        snprintf(why, sizeof why, "no answer for %.0f s", now - w->status_at);
    else if (p->phase == PROCESS_up && said != NULL)
        snprintf(why, sizeof why, "%s", said);
    struct look look = {p->id,       p->replica,  s->plan.nodes[p->index].kind->name,
                        p->pid,      state_of(w), why,
                        p->restarts, w->status};
    return look_row(&look);
}

json_t *
supervisor_status(const struct supervisor *s)
{
    json_t *rows = json_array();
    for (int i = 0; i < s->count; i++)
        json_array_append_new(rows, supervisor_row(s, &s->workers[i]));
    return json_pack("{s:s,s:s,s:s,s:{s:I,s:I},s:{s:I,s:s,s:s},s:o}", "run", s->dir, "state",
                     run_phase_name(s->state.phase), "why", s->state.why, "supervisor", "pid",
                     (json_int_t)s->state.pid, "epoch", (json_int_t)s->state.epoch, "change",
                     "number", (json_int_t)s->change.number, "stage", change_names[s->change.stage],
                     "error", s->change.error, "nodes", rows);
}

static int
node_named(const struct supervisor *s, const json_t *request, int *node, struct error *e)
{
    const char *id = json_string_value(json_object_get(request, "node"));
    *node = id ? plan_find(&s->plan, id) : -1;
    if (*node >= 0)
        return 0;
    const char *names[PLAN_NODES_MAX + 1] = {NULL};
    for (int i = 0; i < s->plan.node_count; i++)
        names[i] = s->plan.nodes[i].id;
    const char *near = id ? nearest(id, names) : NULL;
    return error_set(e, ERROR_usage, "the run has no node '%s'%s%s%s", id ? id : "",
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Restart or stop the replicas named; the pids they had go into the reply, so that the asker can
 * wait for others. */
static int
each_named(struct supervisor *s, const json_t *request, json_t *reply, bool again, struct error *e)
{
    int node, named = 0;
    int rc = node_named(s, request, &node, e);
    if (rc != 0)
        return rc;
    const json_t *which = json_object_get(request, "replica");
    json_t *rows = json_array();
    double now = supervisor_now();
    for (int i = 0; i < s->count; i++) {
        struct process *p = &s->workers[i].process;
        if (p->index != node || (json_is_integer(which) && json_integer_value(which) != p->replica))
            continue;
        named++;
        json_array_append_new(
            rows, json_pack("{s:i,s:I}", "replica", p->replica, "pid", (json_int_t)p->pid));
        p->held = !again;
        p->next = now;
        if (p->pid != 0)
            process_stop(p, again, SUPERVISOR_GRACE_STOP, now);
        supervisor_dirty(s);
    }
    json_object_set_new(reply, "processes", rows);
    return named > 0
               ? 0
               : error_set(e, ERROR_usage, "'%s' has no such replica", s->plan.nodes[node].id);
}

static int
answer_set(struct supervisor *s, const json_t *request, json_t *reply, struct error *e)
{
    int node;
    const char *option = json_string_value(json_object_get(request, "option"));
    const char *value = json_string_value(json_object_get(request, "value"));
    int rc = node_named(s, request, &node, e);
    if (rc != 0)
        return rc;
    if (option == NULL || value == NULL)
        return error_set(e, ERROR_usage, "an option and a value are needed");
    if (strcmp(option, "replicas") != 0) {
        rc = change_set(s, node, option, value, e);
    } else {
        char *end;
        long count = strtol(value, &end, 10);
        if (*end != 0 || end == value || count < 0 || count > PLAN_REPLICAS_MAX)
            return error_set(e, ERROR_usage, "replicas: '%s' is not a number in 1..%d", value,
                             PLAN_REPLICAS_MAX);
        rc = change_replicas(s, node, (int)count, e);
        if (rc == 0)
            json_object_set_new(reply, "change", json_integer((json_int_t)s->change.number));
    }
    json_object_set_new(reply, "revision", json_integer((json_int_t)s->plan.revision));
    return rc;
}

int
supervisor_answer(void *own, const char *ask, json_t *request, json_t *reply, struct error *e)
{
    struct supervisor *s = own;
    if (strcmp(ask, "status") == 0) {
        json_t *status = supervisor_status(s);
        json_object_update(reply, status);
        json_decref(status);
        return 0;
    }
    if (strcmp(ask, "restart") == 0) {
        if (s->stopping)
            return error_set(e, ERROR_usage, "the run ends; nothing is started any more");
        return each_named(s, request, reply, true, e);
    }
    if (strcmp(ask, "stop") == 0 && json_object_get(request, "node") != NULL)
        return each_named(s, request, reply, false, e);
    if (strcmp(ask, "stop") == 0) {
        supervisor_stop_all(s, s->ending == RUN_failed ? RUN_failed : RUN_stopped,
                            SUPERVISOR_GRACE_STOP);
        return 0;
    }
    if (strcmp(ask, "drain") == 0) {
        json_t *grace = json_object_get(request, "grace");
        if (json_is_number(grace) && json_number_value(grace) >= 0)
            s->grace = json_number_value(grace);
        supervisor_drain(s);
        return 0;
    }
    if (strcmp(ask, "set") == 0)
        return answer_set(s, request, reply, e);
    return error_set(e, ERROR_usage, "the supervisor does not know '%s'", ask);
}

/* supervisor_ask: what each process is asked next, and what its answers mean. One question at a
 * time per process; what must be said (drain, leave, a changed option) is worked out anew every
 * time, so that a restart forgets nothing. */
#include <stdlib.h>
#include <string.h>

#include "graph/supervisor.h"

void
supervisor_forget(struct worker *w)
{
    ask_drop(&w->ask);
    w->asked = REQUEST_none;
    w->told_drain = false;
    w->told_leave = false;
}

/* Do all processes that should live answer, with the plan as it is now? Then a reader that held may
 * go on. */
static bool
all_current(const struct supervisor *s)
{
    for (int i = 0; i < s->count; i++) {
        const struct process *p = &s->workers[i].process;
        bool gone = p->phase == PROCESS_left || p->held;
        if (!gone && (p->phase != PROCESS_up || !p->answered || p->revision != s->plan.revision))
            return false;
    }
    return true;
}

static enum request
request_next(const struct supervisor *s, const struct worker *w, double now)
{
    const struct process *p = &w->process;
    bool source = s->plan.nodes[p->index].kind->source && !s->plan.nodes[p->index].serve;
    if (p->phase != PROCESS_up)
        return REQUEST_none;
    if (!p->answered || w->status == NULL)
        return now >= w->look_at ? REQUEST_status : REQUEST_none;
    if (s->change.stage == CHANGE_hold && s->change.source == p->index)
        return REQUEST_hold;
    if (s->change.stage != CHANGE_write && s->change.stage != CHANGE_restart && s->resume_due &&
        source && all_current(s))
        return REQUEST_resume;
    if (json_array_size(w->sets) > 0)
        return REQUEST_set;
    if (s->ending == RUN_stopped && !s->stopping && !w->told_drain)
        return REQUEST_drain;
    /* It was told so by a supervisor that did not live to stop it; this one goes on. */
    if (s->ending == RUN_running && json_is_true(json_object_get(w->status, "draining")))
        return REQUEST_undrain;
    if (w->finished && !w->told_leave && !s->stopping && supervisor_upstream_finished(s, p->index))
        return REQUEST_leave;
    return now >= w->look_at ? REQUEST_status : REQUEST_none;
}

static json_t *
request_json(const struct worker *w, enum request what)
{
    static const char *const names[] = {
        [REQUEST_status] = "status", [REQUEST_drain] = "drain",   [REQUEST_leave] = "leave",
        [REQUEST_set] = "set",       [REQUEST_hold] = "hold",     [REQUEST_resume] = "resume",
        [REQUEST_undrain] = "drain",
    };
    json_t *request = json_pack("{s:s}", "ask", names[what]);
    if (what == REQUEST_undrain)
        json_object_set_new(request, "on", json_false());
    if (what == REQUEST_set)
        json_object_update(request, json_array_get(w->sets, 0));
    return request;
}

static void
status_answered(struct supervisor *s, struct worker *w, json_t *reply, double now)
{
    struct process *p = &w->process;
    const char *state = json_string_value(json_object_get(reply, "state"));
    bool was_finished = w->finished;
    w->paused = state != NULL && strcmp(state, "paused") == 0;
    w->finished = json_is_true(json_object_get(reply, "finished"));
    json_decref(w->status);
    w->status = json_incref(reply);
    w->status_at = now;
    if (!p->answered) {
        p->answered = true;
        p->stillborn = 0;
    }
    if (w->finished && !was_finished)
        log_event(s->log, LOG_info, "finished", "%s.%d has finished", p->id, p->replica);
}

static void
set_answered(struct supervisor *s, struct worker *w, bool ok, const char *error, double now)
{
    struct process *p = &w->process;
    json_t *row = json_array_get(w->sets, 0);
    uint64_t revision = (uint64_t)json_integer_value(json_object_get(row, "revision"));
    if (ok) {
        p->revision = revision;
        json_array_remove(w->sets, 0);
        supervisor_dirty(s);
        return;
    }
    log_event(s->log, LOG_warning, "set",
              "%s.%d did not take a live option (%s); it starts again with it", p->id, p->replica,
              error);
    json_array_clear(w->sets);
    process_stop(p, true, SUPERVISOR_GRACE_STOP, now);
}

static void
answered(struct supervisor *s, struct worker *w, enum request what, json_t *reply, double now)
{
    bool ok = json_is_true(json_object_get(reply, "ok"));
    const char *error = json_string_value(json_object_get(reply, "error"));
    error = error ? error : "no reason given";
    if (!ok && what != REQUEST_set && what != REQUEST_hold)
        log_event(s->log, LOG_warning, "refused", "%s.%d: %s", w->process.id, w->process.replica,
                  error);
    switch (what) {
    case REQUEST_status:
        if (ok)
            status_answered(s, w, reply, now);
        break;
    case REQUEST_drain:
        w->told_drain =
            true; /* a node that refuses would refuse again; patience is bounded by the grace */
        break;
    case REQUEST_leave:
        w->told_leave = ok;
        break;
    case REQUEST_set:
        set_answered(s, w, ok, error, now);
        break;
    case REQUEST_hold:
        change_held(s, reply);
        break;
    case REQUEST_resume:
        if (ok)
            s->resume_due = false;
        break;
    case REQUEST_undrain:
        json_object_del(w->status, "draining");     /* the next answer tells whether it took */
        break;
    case REQUEST_none:
        break;
    }
}

/* A late answer: the process may compute for long, so silence is shown, never punished. */
static void
late(struct supervisor *s, struct worker *w, enum request what, double now)
{
    if (what == REQUEST_set)
        set_answered(s, w, false, "no answer", now);
}

void
supervisor_asks(struct supervisor *s, double now)
{
    for (int i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        struct error e = {0};
        json_t *reply = NULL;
        if (w->ask.waiting) {
            int rc = ask_take(&w->ask, now, &reply, &e);
            if (rc == 0)
                continue;
            enum request what = w->asked;
            w->asked = REQUEST_none;
            w->look_at = now + SUPERVISOR_LOOK;
            if (rc > 0)
                answered(s, w, what, reply, now);
            else
                late(s, w, what, now);
            json_decref(reply);
        }
        enum request next = request_next(s, w, now);
        if (next == REQUEST_none)
            continue;
        json_t *request = request_json(w, next);
        if (ask_send(&w->ask, w->process.control, request, now, SUPERVISOR_ASK, &e) == 0)
            w->asked = next;
        else
            w->look_at = now + SUPERVISOR_LOOK;
        json_decref(request);
    }
}

static uint64_t
number_of(const json_t *status, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(status, name));
}

bool
supervisor_flowed_out(const struct supervisor *s)
{
    uint64_t settled = UINT64_MAX, emitted = 0;
    for (int i = 0; i < s->count; i++) {
        const struct worker *w = &s->workers[i];
        const struct plan_node *n = &s->plan.nodes[w->process.index];
        /* Answers from before the drain say nothing. */
        if (w->process.phase != PROCESS_left &&
            (!w->told_drain || w->status_at < s->ending_at - s->grace))
            return false;
        if (n->kind->source && number_of(w->status, "emitted") > emitted)
            emitted = number_of(w->status, "emitted");
        if (plan_is_terminal(&s->plan, w->process.index) &&
            number_of(w->status, "position") < settled)
            settled = number_of(w->status, "position");
    }
    return settled >= emitted;
}

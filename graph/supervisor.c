/* supervisor: opening (adopt or reap), the turn of the loop, starts and ends of processes, and the
 * ends of a run. */
#include "graph/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "graph/curve.h"
#include "graph/look.h"

double
supervisor_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
supervisor_dirty(struct supervisor *s)
{
    s->dirty = true;
}

struct worker *
supervisor_worker(struct supervisor *s, int node, int replica)
{
    for (int i = 0; i < s->count; i++)
        if (s->workers[i].process.index == node && s->workers[i].process.replica == replica)
            return &s->workers[i];
    return NULL;
}

/* ---- opening ---- */

static void
worker_init(struct supervisor *s, struct worker *w, int node, int replica)
{
    struct process *p = &w->process;
    const char *id = s->plan.nodes[node].id;
    memset(w, 0, sizeof *w);
    p->index = node;
    p->replica = replica;
    p->id = xtext(id);
    p->control = place_control(&s->place, node, replica);
    p->lock = place_store_lock(&s->place, id, replica);
    p->log = place_log(&s->place, id, replica);
    p->errors = xprint("%s/logs/%s.%d.err", s->place.run, id, replica);
    p->pidfd = -1;
    p->revision = s->plan.revision;
    w->sets = json_array();
    const struct run_process *kept = run_state_find(&s->state, id, replica);
    if (kept != NULL) {
        p->restarts = kept->restarts;
        p->held = kept->held;
        p->crashed = kept->crashed;
    }
}

static void
worker_free(struct worker *w)
{
    supervisor_forget(w);
    json_decref(w->status);
    json_decref(w->sets);
    process_fini(&w->process);
}

int
supervisor_grow(struct supervisor *s, struct error *e)
{
    int want = 0;
    for (int n = 0; n < s->plan.node_count; n++)
        want += plan_replicas(&s->plan.nodes[n]);
    if (want > PLAN_NODES_MAX * PLAN_REPLICAS_MAX)
        return error_set(e, ERROR_limit, "%d processes are more than %d", want,
                         PLAN_NODES_MAX * PLAN_REPLICAS_MAX);
    struct worker *grown = xarray((size_t)want + 1, sizeof *grown);
    int at = 0;
    for (int n = 0; n < s->plan.node_count; n++)
        for (int r = 0; r < plan_replicas(&s->plan.nodes[n]); r++, at++) {
            struct worker *old = supervisor_worker(s, n, r);
            if (old != NULL)
                grown[at] = *old;
            else
                worker_init(s, &grown[at], n, r);
        }
    /* A replica whose row was taken back before anything was emitted under it: nothing is in its
     * store. */
    for (int i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        bool kept = w->process.replica < plan_replicas(&s->plan.nodes[w->process.index]);
        if (kept)
            continue;
        process_signal(&w->process, SIGKILL);
        worker_free(w);
    }
    free(s->workers);
    s->workers = grown;
    s->count = want;
    return 0;
}

bool
supervisor_upstream_finished(const struct supervisor *s, int node)
{
    const struct plan_node *n = &s->plan.nodes[node];
    for (int l = 0; l < n->link_count; l++)
        for (int i = 0; i < s->count; i++)
            if (s->workers[i].process.index == n->links[l].node && !s->workers[i].finished)
                return false;
    return true;
}

/* Who lives already? Those of this plan are adopted; any other is told to end, and its successor
 * waits for that. */
static void
adopt(struct supervisor *s, double now)
{
    for (int i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        struct process *p = &w->process;
        const struct run_process *kept = run_state_find(&s->state, p->id, p->replica);
        struct lock_holder holder;
        if (!lock_held(p->lock, &holder)) {
            w->status = look_peek(&s->place, &s->plan, p->index, p->replica);
            w->finished = json_is_true(json_object_get(w->status, "finished"));
            continue;
        }
        if (holder.pid == getpid() || !process_adopt(p, holder.pid, holder.start, now))
            continue;
        bool known = kept != NULL && kept->pid == holder.pid && kept->start == holder.start;
        p->revision = known ? kept->revision : UINT64_MAX;
        if (known && kept->revision == s->plan.revision && !p->held) {
            log_event(s->log, LOG_info, "adopt", "%s.%d: adopted pid %ld", p->id, p->replica,
                      (long)p->pid);
        } else {
            log_event(s->log, LOG_warning, "reap",
                      "%s.%d: pid %ld runs another plan; it ends first", p->id, p->replica,
                      (long)p->pid);
            process_stop(p, true, SUPERVISOR_GRACE_STOP, now);
        }
    }
}

static int
signals_open(struct supervisor *s, struct error *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &s->signals_before);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd >= 0 ? 0 : error_set(e, ERROR_internal, "signalfd: %s", strerror(errno));
}

int
supervisor_open(struct supervisor *s, const char *dir, struct error *e)
{
    struct error unread = {0};
    s->dir = dir;
    s->signal_fd = -1;
    s->ending = RUN_running;
    int rc = place_open(&s->place, dir, e);
    if (rc == 0)
        rc = plan_load(&s->plan, dir, e);
    if (rc != 0)
        return rc;
    char *path = place_supervisor_log(&s->place);
    s->log = log_open(path, "supervisor", 0, LOG_info, 0, 0, e);
    free(path);
    if (s->log == NULL)
        return e ? e->code : ERROR_file;
    /* The state file only spares work: without it every living process is reaped instead of
     * adopted. */
    if (run_state_read(dir, &s->state, &unread) != 0)
        log_event(s->log, LOG_warning, "state", "%s; every process is started anew", unread.text);
    rc = curve_make(&s->plan, s->place.run, e);
    if (rc == 0)
        rc = supervisor_grow(s, e);
    if (rc == 0)
        rc = signals_open(s, e);
    path = place_supervisor(&s->place);
    if (rc == 0 && (s->control = control_open(path, supervisor_answer, s, e)) == NULL)
        rc = e ? e->code : ERROR_wire;
    free(path);
    if (rc != 0)
        return rc;
    s->state.epoch++;
    s->state.pid = getpid();
    s->state.start = lock_start_time(getpid());
    s->state.phase = RUN_running;
    s->state.why[0] = 0;
    s->resume_due = true;
    adopt(s, supervisor_now());
    log_event(s->log, LOG_info, "start", "supervisor epoch %llu of run %s, plan revision %llu",
              (unsigned long long)s->state.epoch, s->plan.run_id,
              (unsigned long long)s->plan.revision);
    supervisor_dirty(s);
    return 0;
}

/* ---- the state file ---- */

static void
state_save(struct supervisor *s)
{
    struct error e = {0};
    struct run_state state = s->state;
    state.count = s->count;
    state.processes = xarray((size_t)s->count + 1, sizeof *state.processes);
    for (int i = 0; i < s->count; i++) {
        const struct process *p = &s->workers[i].process;
        state.processes[i] = (struct run_process){p->id,       p->replica,  p->pid,  p->start,
                                                  p->revision, p->restarts, p->held, p->crashed};
    }
    int rc = run_state_write(s->dir, &state, &e);
    free(state.processes);
    s->dirty = rc != 0;
    if (rc != 0 && s->dirty_since == 0)
        log_event(s->log, LOG_warning, "state", "%s", e.text);
    s->dirty_since = rc != 0 ? supervisor_now() : 0;
}

static void
phase_set(struct supervisor *s, enum run_phase phase, const char *why)
{
    if (s->state.phase == phase && strcmp(s->state.why, why) == 0)
        return;
    if (s->state.phase != phase)
        log_event(s->log, LOG_info, "phase", "%s%s%s", run_phase_name(phase), why[0] ? ": " : "",
                  why);
    s->state.phase = phase;
    /* The text may come from outside; the state file is JSON. */
    snprintf(s->state.why, sizeof s->state.why, "%s", why);
    for (char *c = s->state.why; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
    supervisor_dirty(s);
}

/* ---- ends of processes ---- */

static void
fail(struct supervisor *s, const struct process *p, enum process_end end)
{
    char why[RUN_WHY_MAX];
    snprintf(why, sizeof why, "%s.%d %s: %.400s", p->id, p->replica,
             end == PROCESS_END_refused ? "cannot go on" : "keeps crashing", p->why);
    log_event(s->log, LOG_error, "failed", "%s", why);
    supervisor_stop_all(s, RUN_failed, SUPERVISOR_GRACE_STOP);
    phase_set(s, RUN_failed, why);
}

static void
worker_ended(struct supervisor *s, struct worker *w, enum process_end end, const char *what,
             double now)
{
    struct process *p = &w->process;
    bool asked = p->phase == PROCESS_stopping;
    /* The answer to "leave" may be lost in the leaving, and how an adopted one ended cannot be
     * read; what it recorded is what counts. */
    bool leaving = (end == PROCESS_END_good || end == PROCESS_END_unread) && w->finished &&
                   supervisor_upstream_finished(s, p->index);
    supervisor_forget(w);
    supervisor_dirty(s);
    p->phase = leaving ? PROCESS_left : PROCESS_down;
    if (leaving || asked) {
        p->crashed = false;
        p->next = now;
        if (asked && p->again)
            p->restarts++;
        log_event(s->log, LOG_info, "end", "%s.%d %s", p->id, p->replica,
                  leaving ? "finished and left" : what);
        return;
    }
    p->restarts++;
    w->paused = end == PROCESS_END_paused;
    char words[RUN_WHY_MAX];
    process_last_words(p, words, sizeof words);
    bool own = end == PROCESS_END_crash || end == PROCESS_END_paused || end == PROCESS_END_refused;
    snprintf(p->why, sizeof p->why, "%.80s%s%.400s", what, own && words[0] ? ": " : "",
             own ? words : "");
    bool too_often = process_back_off(p, end, now);
    log_event(s->log, LOG_warning, "end", "%s.%d %s; it starts again in %.2f s", p->id, p->replica,
              p->why, p->next > now ? p->next - now : 0);
    if (too_often && s->ending != RUN_failed)
        fail(s, p, end);
}

static void
ends_look(struct supervisor *s, double now)
{
    for (int i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        char what[128] = "";
        enum process_end end = process_ended(&w->process, what, sizeof what);
        if (end != PROCESS_END_none)
            worker_ended(s, w, end, what, now);
        else if (w->process.phase == PROCESS_stopping && w->process.kill_at != 0 &&
                 now >= w->process.kill_at) {
            log_event(s->log, LOG_warning, "kill", "%s.%d does not end in good order; killed",
                      w->process.id, w->process.replica);
            process_signal(&w->process, SIGKILL);
            w->process.kill_at = 0;
        }
    }
}

/* ---- starts ---- */

static void
worker_start(struct supervisor *s, struct worker *w, double now)
{
    struct process *p = &w->process;
    struct error e = {0};
    struct lock_holder holder;
    /* Somebody else's child may hold the store: one that was started while its supervisor died,
     * before any lock. */
    if (lock_held(p->lock, &holder)) {
        if (holder.pid != 0 && process_adopt(p, holder.pid, holder.start, now))
            process_stop(p, true, SUPERVISOR_GRACE_STOP, now);
        p->next = now + PROCESS_DELAY_FIRST;
        return;
    }
    p->revision = s->plan.revision;
    if (process_start(p, s->dir, s->plan.nodes[p->index].kind->source, now, &e) != 0) {
        process_back_off(p, PROCESS_END_unread, now);
        snprintf(p->why, sizeof p->why, "%.500s", e.text);
        log_event(s->log, LOG_error, "start", "%s", e.text);
        return;
    }
    json_array_clear(w->sets);
    w->look_at = 0;
    log_event(s->log, LOG_info, "start", "%s.%d: pid %ld%s", p->id, p->replica, (long)p->pid,
              p->crashed ? ", messages one at a time after a crash" : "");
    supervisor_dirty(s);
}

static void
starts_look(struct supervisor *s, double now)
{
    for (int i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        struct process *p = &w->process;
        if (p->phase != PROCESS_down || s->stopping)
            continue;
        if (w->finished && supervisor_upstream_finished(s, p->index)) {
            p->phase = PROCESS_left;
            supervisor_dirty(s);
        } else if (!p->held && now >= p->next) {
            worker_start(s, w, now);
        }
    }
}

/* ---- ends of the run ---- */

void
supervisor_stop_all(struct supervisor *s, enum run_phase ending, double grace)
{
    double now = supervisor_now();
    s->ending = ending;
    s->stopping = true;
    for (int i = 0; i < s->count; i++)
        process_stop(&s->workers[i].process, false, grace, now);
}

void
supervisor_drain(struct supervisor *s)
{
    if (s->stopping || s->ending != RUN_running)
        return;
    s->ending = RUN_stopped;
    s->ending_at = supervisor_now() + s->grace;
    phase_set(s, RUN_draining, "");
}

static void
signals_look(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (s->signal_first == 0)
            s->signal_first = (int)info.ssi_signo;
        s->signals++;
        log_event(s->log, LOG_info, "signal", "SIG%s", sigabbrev_np((int)info.ssi_signo));
        if (s->signals == 1)
            supervisor_drain(s);
        else
            supervisor_stop_all(s, s->ending == RUN_failed ? RUN_failed : RUN_stopped,
                                s->signals == 2 ? SUPERVISOR_GRACE_STOP : 0);
    }
}

/* With one learner its final checkpoint has one short name: DIR/checkpoints/final. */
static void
link_final(const struct supervisor *s)
{
    const char *only = NULL;
    int learners = 0;
    for (int i = 0; i < s->plan.node_count; i++)
        if (strcmp(s->plan.nodes[i].kind->name, "learner") == 0) {
            only = s->plan.nodes[i].id;
            learners++;
        }
    if (learners != 1)
        return;
    char *target = xprint("%s/final", only);
    char *there = xprint("%s/checkpoints/%s", s->dir, target);
    char *link = xprint("%s/checkpoints/final", s->dir);
    char *aside = xprint("%s/checkpoints/.final", s->dir);
    if (access(there, F_OK) == 0 && strcmp(only, "final") != 0) {
        unlink(aside);
        if (symlink(target, aside) != 0 || rename(aside, link) != 0)
            log_event(s->log, LOG_warning, "link", "cannot make '%s': %s", link, strerror(errno));
    }
    free(target);
    free(there);
    free(link);
    free(aside);
}

/* Decide the phase; 0 when the run is over for this supervisor. */
static int
phase_look(struct supervisor *s, double now)
{
    int alive = 0, left = 0;
    const struct worker *paused = NULL;
    for (int i = 0; i < s->count; i++) {
        const struct worker *w = &s->workers[i];
        alive += w->process.pid != 0;
        left += w->process.phase == PROCESS_left;
        if (w->paused && paused == NULL)
            paused = w;
    }
    if (left == s->count && s->ending != RUN_failed) {
        link_final(s);
        phase_set(s, RUN_done, "");
        return 0;
    }
    if (s->stopping) {
        if (alive > 0)
            return 1;
        phase_set(s, s->ending, s->ending == RUN_stopped ? "" : s->state.why);
        return 0;
    }
    if (s->ending == RUN_stopped) {
        if (now >= s->ending_at || supervisor_flowed_out(s))
            supervisor_stop_all(s, RUN_stopped, SUPERVISOR_GRACE_STOP);
        return 1;
    }
    if (paused == NULL) {
        phase_set(s, RUN_running, "");
        return 1;
    }
    char why[RUN_WHY_MAX];
    const char *said =
        paused->process.pid != 0 ? json_string_value(json_object_get(paused->status, "why")) : NULL;
    snprintf(why, sizeof why, "%s.%d: %.440s", paused->process.id, paused->process.replica,
             said ? said : paused->process.why);
    phase_set(s, RUN_paused, why);
    if (s->pause_exits)
        supervisor_stop_all(s, RUN_paused, SUPERVISOR_GRACE_STOP);
    return 1;
}

/* ---- the turn ---- */

static void
turn_wait(struct supervisor *s, double seconds)
{
    zmq_pollitem_t *items = xarray((size_t)s->count * 2 + 2, sizeof *items);
    int count = 0;
    double now = supervisor_now(), until = now + seconds;
    items[count++] = (zmq_pollitem_t){.socket = control_socket(s->control), .events = ZMQ_POLLIN};
    items[count++] = (zmq_pollitem_t){.fd = s->signal_fd, .events = ZMQ_POLLIN};
    for (int i = 0; i < s->count; i++) {
        const struct worker *w = &s->workers[i];
        if (w->process.pidfd >= 0)
            items[count++] = (zmq_pollitem_t){.fd = w->process.pidfd, .events = ZMQ_POLLIN};
        if (w->ask.waiting)
            items[count++] = (zmq_pollitem_t){.socket = w->ask.socket, .events = ZMQ_POLLIN};
        else if (w->process.phase == PROCESS_up && w->look_at < until)
            until = w->look_at;
        if (w->process.phase == PROCESS_down && !w->process.held && !s->stopping &&
            w->process.next < until)
            until = w->process.next;
    }
    long wait_ms = until <= now ? 0 : (long)((until - now) * 1000) + 1;
    zmq_poll(items, count, wait_ms);
    free(items);
}

int
supervisor_turn(struct supervisor *s, double seconds, struct error *e)
{
    (void)e;
    turn_wait(s, seconds);
    double now = supervisor_now();
    signals_look(s);
    ends_look(s, now);
    supervisor_asks(s, now);
    control_poll(s->control);
    change_turn(s);
    starts_look(s, now);
    int go_on = phase_look(s, now);
    if (s->dirty && (go_on == 0 || s->dirty_since == 0 || now - s->dirty_since > 1))
        state_save(s);
    return go_on;
}

/* ZeroMQ leaves the files of its sockets behind. Nobody listens any more, and the run's lock is still ours. */
static void
sockets_remove(struct supervisor *s)
{
    for (int i = 0; i < s->count; i++)
        if (s->workers[i].process.pid != 0)
            return;
    for (int i = 0; i < s->count; i++) {
        const struct process *p = &s->workers[i].process;
        char *data = place_data(&s->place, p->index, p->replica);
        unlink(data);
        unlink(p->control);
        free(data);
    }
    if (s->place.sockets != NULL) {
        char *own = place_supervisor(&s->place);
        unlink(own);
        free(own);
        rmdir(s->place.sockets);
    }
}

void
supervisor_close(struct supervisor *s)
{
    control_close(s->control);
    if (s->control != NULL)
        sockets_remove(s);
    for (int i = 0; i < s->count; i++)
        worker_free(&s->workers[i]);
    free(s->workers);
    if (s->signal_fd >= 0) {
        close(s->signal_fd);
        sigprocmask(SIG_SETMASK, &s->signals_before, NULL);
    }
    if (s->log != NULL)
        log_event(s->log, LOG_info, "end", "supervisor ends, run %s",
                  run_phase_name(s->state.phase));
    log_close(s->log);
    run_state_free(&s->state);
    plan_free(&s->plan);
    place_close(&s->place);
    memset(s, 0, sizeof *s);
}

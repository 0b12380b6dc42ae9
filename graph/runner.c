/* runner: poll, receive, step, send, wait. */
#include "graph/runner.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "graph/answer.h"
#include "graph/control.h"
#include "graph/inlet.h"
#include "graph/outlet.h"

#define RUNNER_WAIT_MAX   1.0       /* seconds between two looks at disk, beats and silence */
#define RUNNER_DISK       0.5       /* seconds between two looks at the free disk */
#define RUNNER_AGAIN      0.001     /* a full ZeroMQ queue is tried again after so long */
#define RUNNER_SETTLED    4         /* fixed poll items before the inlets' */

struct runner {
    struct node    *n;
    struct outlet  *outlet;
    struct inlets  *inlets;
    struct control *control;
    struct answer_to answer;
    int             signals;
    zmq_pollitem_t *items;
    int             item_count;
    uint64_t        commits;        /* as last told */
    double          disk_at, beat_at;
    bool            again, readable, quiet, gone;
};

static int
signals_open(struct error *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    signal(SIGINT, SIG_IGN);        /* ^C goes to the whole group; the supervisor says what to do */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);       /* ulimit -f: the write fails, and says so */
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        error_set(e, ERROR_internal, "signalfd: %s", strerror(errno));
    return fd;
}

static int
sockets_open(struct runner *r, const struct runner_setup *s, struct error *e)
{
    char *data = place_data(s->place, s->index, s->replica);
    char *control = place_control(s->place, s->index, s->replica);
    int rc = 0;
    r->outlet = outlet_open(r->n, data, e);
    if (!r->outlet)
        rc = e->code;       /* a port in use pauses */
    if (rc == 0) {
        r->inlets = inlets_open(r->n, s->place, e);
        rc = r->inlets ? 0 : ERROR_wire;
    }
    if (rc == 0) {
        r->answer = (struct answer_to){.n = r->n, .inlets = r->inlets, .outlet = r->outlet};
        r->control = control_open(control, answer_control, &r->answer, e);
        rc = r->control ? 0 : ERROR_wire;
    }
    free(data);
    free(control);
    if (rc != 0)
        return rc;
    r->items = xarray((size_t)(RUNNER_SETTLED + inlets_count(r->inlets)), sizeof(*r->items));
    r->items[0] = (zmq_pollitem_t){.fd = r->signals, .events = ZMQ_POLLIN};
    r->items[1] = (zmq_pollitem_t){.socket = control_socket(r->control), .events = ZMQ_POLLIN};
    r->items[2] = (zmq_pollitem_t){.socket = outlet_socket(r->outlet), .events = ZMQ_POLLIN};
    r->item_count = 3 + inlets_items(r->inlets, r->items + 3);
    return 0;
}

static void
runner_close(struct runner *r)
{
    control_close(r->control);
    inlets_close(r->inlets);
    if (r->outlet)
        outlet_close(r->outlet);
    control_context_end();
    node_shut(r->n);
    if (r->signals >= 0)
        close(r->signals);
    free(r->items);
}

/* Wait for something, at most `seconds`, and take in what came. */
static void
receive(struct runner *r, double seconds)
{
    int count = r->item_count;
    if (r->n->fd >= 0)
        r->items[count++] = (zmq_pollitem_t){.fd = r->n->fd, .events = ZMQ_POLLIN};
    int events = zmq_poll(r->items, count, seconds <= 0 ? 0 : (long)(seconds * 1000) + 1);
    r->readable = r->n->fd >= 0 && events > 0 && (r->items[count - 1].revents & (ZMQ_POLLIN | ZMQ_POLLERR));
    r->quiet = events <= 0;
    if (events <= 0)
        return;
    struct signalfd_siginfo info;
    if (r->items[0].revents && read(r->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        r->n->stopping = true;
    if (r->items[1].revents)
        control_poll(r->control);
    if (r->items[2].revents)
        outlet_receive(r->outlet);
    inlets_receive(r->inlets);
}

/* What a commit, an acknowledgement or the time made possible to send. */
static void
send_out(struct runner *r)
{
    double now = node_now(r->n);
    if (now - r->disk_at >= RUNNER_DISK) {
        bool before = node_takes(r->n);
        r->disk_at = now;
        node_check_disk(r->n);
        store_tidy(r->n->store);
        r->gone = store_gone(r->n->store);
        if (before != node_takes(r->n))
            log_event(r->n->log, LOG_warning, before ? "paused" : "resumed", "%s",
                      before ? r->n->paused : "there is room again");
    }
    if (now - r->beat_at >= WIRE_BEAT_SECONDS) {
        r->beat_at = now;
        outlet_beat(r->outlet);
    }
    r->again = outlet_push(r->outlet);
    inlets_tell(r->inlets);
}

static double
wait_for(struct runner *r, bool busy)
{
    double due = node_due(r->n), wait = RUNNER_WAIT_MAX / 2;
    if (busy)
        return 0;
    if (due >= 0 && due < wait)
        wait = due;
    if (r->again && wait > RUNNER_AGAIN)
        wait = RUNNER_AGAIN;
    return wait;
}

static int
loop(struct runner *r, struct error *e)
{
    struct node *n = r->n;
    bool busy = true;
    while (!n->stopping && !n->leave) {
        double wait = wait_for(r, busy);
        if (wait > 0)
            store_settle(n->store);
        receive(r, wait);
        if (n->stopping || n->leave)
            break;
        if (r->answer.failed)
            return error_set(e, r->answer.failed, "%s", r->answer.error.text);
        int rc = node_step(n, r->readable, r->quiet && wait >= 0, e);
        if (rc < 0)
            return rc;
        busy = rc == STEP_AGAIN;
        send_out(r);
        if (r->gone)
            return error_set(e, ERROR_file, "store '%s' was removed under its process",
                             store_path(n->store));
    }
    int rc = node_flush(n, e);
    if (rc == 0) {                      /* what was committed may still be told */
        outlet_push(r->outlet);
        inlets_tell(r->inlets);
    }
    return rc;
}

int
runner_run(const struct runner_setup *s, struct error *e)
{
    struct runner r = {.signals = -1};
    char *store = place_store(s->place, s->plan->nodes[s->index].id, s->replica);
    char *lock = place_store_lock(s->place, s->plan->nodes[s->index].id, s->replica);
    char *folder = xprint("%s/stores", s->place->run);
    struct node_setup setup = {.plan = s->plan, .index = s->index, .replica = s->replica,
        .run_dir = s->place->run, .store = store, .lock = lock, .log = s->log, .crashed = s->crashed};
    int rc = place_folder(folder, e);
    r.signals = rc == 0 ? signals_open(e) : -1;
    if (r.signals >= 0)
        r.n = node_open(&setup, e);
    if (!r.n)
        rc = rc != 0 ? rc : e->code;
    if (rc == 0)
        rc = sockets_open(&r, s, e);
    if (rc == 0) {
        log_event(s->log, LOG_info, "start", "epoch %llu of '%s' replica %d",
                  (unsigned long long)store_epoch(r.n->store), r.n->self->id, s->replica);
        rc = loop(&r, e);
    }
    runner_close(&r);
    free(store);
    free(lock);
    free(folder);
    return rc;
}

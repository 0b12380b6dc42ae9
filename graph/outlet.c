/* outlet: sessions. What a session sent is only remembered as sizes: everything else is in the store, and a
 * consumer that comes back says HELLO with its mark. */
#include "graph/outlet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#include "graph/address.h"
#include "graph/control.h"
#include "graph/curve.h"
#include "graph/guard.h"

#define OUTLET_QUEUE      64            /* frames ZeroMQ holds for one consumer */
#define OUTLET_ID_MAX     64            /* bytes of a routing id */
#define OUTLET_BATCH      1024          /* frames read in one round */
#define OUTLET_INBOUND    (4LL << 20)   /* bytes of one frame from a consumer: a HELLO with all its ranges */

struct sent {
    uint64_t seq;
    uint32_t bytes;
};

struct session {
    bool     open;
    char     id[OUTLET_ID_MAX];
    size_t   id_length;
    uint64_t ce;
    uint64_t next, upto;
    int64_t  bytes_max, bytes_out;
    struct intervals skip;              /* what the consumer had when it said HELLO */
    struct sent *sent;                  /* not acknowledged, ascending */
    int64_t  sent_count, sent_room;
    bool     end_sent, fin_sent, heard;
    double   heard_at;
    char     why[200];
};

struct outlet {
    struct node    *n;
    void           *router;
    struct guard   *guard;              /* of a node that listens at tcp:// with keys, else NULL */
    struct session *sessions;           /* one per lane */
    bool            again;
    double          silence;
};

/* The guard stands before anyone can come. */
static int
bind_router(struct outlet *o, const char *path, struct error *e)
{
    struct node *n = o->n;
    struct address a;
    int rc = address_read(n->self->listen, n->replica + 1, &a, e);
    if (rc == 0 && a.kind == ADDRESS_curve) {
        o->guard = guard_open(n->plan, n->index, n->run_dir, e);
        rc = o->guard ? curve_serve(o->router, n->run_dir, n->self->id, e) : ERROR_wire;
    }
    if (rc != 0)
        return rc;
    char *endpoint = a.kind == ADDRESS_private ? xprint("ipc://%s", path) : address_endpoint(&a, n->replica);
    if (a.kind != ADDRESS_private)
        address_tune(&a, o->router);
    mode_t old = umask(077);
    int code = zmq_bind(o->router, endpoint) == 0 ? 0 : errno;
    umask(old);
    /* Whoever has the port may leave it: that is waited for. */
    if (code != 0)
        rc = error_set(e, code == EADDRINUSE && a.kind != ADDRESS_private ? ERROR_paused : ERROR_wire,
                       "data socket '%s': %s", endpoint, zmq_strerror(code));
    free(endpoint);
    return rc;
}

struct outlet *
outlet_open(struct node *n, const char *path, struct error *e)
{
    struct outlet *o = xalloc(sizeof(*o));
    int zero = 0, one = 1, queue = OUTLET_QUEUE;
    int64_t largest = OUTLET_INBOUND;
    const char *silence = getenv("SLUICE_SILENCE");
    o->n = n;
    o->silence = silence ? atof(silence) : WIRE_SILENCE;
    o->sessions = xarray((size_t)n->lane_count + 1, sizeof(*o->sessions));
    o->router = zmq_socket(control_context(), ZMQ_ROUTER);
    zmq_setsockopt(o->router, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(o->router, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(o->router, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(o->router, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
    zmq_setsockopt(o->router, ZMQ_ROUTER_HANDOVER, &one, sizeof(one));
    zmq_setsockopt(o->router, ZMQ_MAXMSGSIZE, &largest, sizeof(largest));
    if (bind_router(o, path, e) == 0)
        return o;
    outlet_close(o);
    return NULL;
}

static void
session_close(struct session *s)
{
    intervals_free(&s->skip);
    free(s->sent);
    char why[sizeof(s->why)];
    uint64_t ce = s->ce;
    memcpy(why, s->why, sizeof(why));
    *s = (struct session){.ce = ce};
    memcpy(s->why, why, sizeof(why));
}

void
outlet_close(struct outlet *o)
{
    if (!o)
        return;
    for (int i = 0; i < o->n->lane_count; i++)
        session_close(&o->sessions[i]);
    if (o->router)
        zmq_close(o->router);
    guard_close(o->guard);
    free(o->sessions);
    free(o);
}

void *
outlet_socket(struct outlet *o)
{
    return o->router;
}

/* ---- sending ---- */

static void
free_bytes(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/* Takes the bytes of `b` in any case. -> 0, or ERROR_wire: full (again set) or gone. */
static int
send_to(struct outlet *o, const char *id, size_t id_length, struct buffer *b)
{
    zmq_msg_t m;
    int rc = zmq_send(o->router, id, id_length, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    if (rc < 0) {
        o->again |= errno == EAGAIN;
        rc = errno == EAGAIN ? ERROR_space : ERROR_wire;
        buffer_free(b);
        return rc;
    }
    zmq_msg_init_data(&m, b->at, b->length, free_bytes, NULL);
    *b = (struct buffer){NULL, 0, 0};
    if (zmq_msg_send(&m, o->router, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&m);
        return ERROR_wire;
    }
    return 0;
}

static int
send_frame(struct outlet *o, const char *id, size_t id_length, const struct wire_frame *f)
{
    struct buffer b = {0};
    wire_write(f, &b);
    return send_to(o, id, id_length, &b);
}

static int
session_send(struct outlet *o, struct session *s, struct wire_frame *f)
{
    f->pe = store_epoch(o->n->store);
    f->ce = s->ce;
    int rc = send_frame(o, s->id, s->id_length, f);
    if (rc == ERROR_wire)
        session_close(s);
    return rc;
}

/* ---- HELLO ---- */

static bool
mark_covers(const struct wire_frame *f, uint64_t start, uint64_t end)
{
    if (start < f->low)
        start = f->low;
    return start >= end || intervals_covers(&f->ranges, start, end);
}

static bool
acked_visit(void *own, uint64_t start, uint64_t end)
{
    const struct wire_frame **f = own;
    if (mark_covers(*f, start, end))
        return true;
    *f = NULL;
    return false;
}

/* Why this HELLO cannot be welcomed; false: it can. */
static bool
hello_refused(struct outlet *o, const struct wire_frame *f, struct lane **lane, char *why, size_t room)
{
    struct node *n = o->n;
    char *consumer = span_copy(f->consumer);
    struct lane *l = f->link < PLAN_LINKS_MAX && f->consumer_replica < PLAN_REPLICAS_MAX
        ? lane_find(n, consumer, (int)f->link, (int)f->consumer_replica) : NULL;
    free(consumer);
    *lane = l;
    why[0] = 0;
    if (f->version != WIRE_VERSION)
        snprintf(why, room, "wire version %llu, ours is %d", (unsigned long long)f->version, WIRE_VERSION);
    else if (!span_is(f->run, n->plan->run_id))
        snprintf(why, room, "another run");
    else if (!span_is(f->node, n->self->id) || f->replica != (uint64_t)n->replica)
        snprintf(why, room, "this is node '%s' replica %d", n->self->id, n->replica);
    else if (!l)
        snprintf(why, room, "no lane to that consumer");
    else if (f->generation != l->generation)
        snprintf(why, room, "generation %llu, ours is %llu", (unsigned long long)f->generation,
                 (unsigned long long)l->generation);
    if (why[0])
        return true;
    uint64_t top = f->ranges.count > 0 ? intervals_top(&f->ranges) : f->low;
    uint64_t head = f->token == n->token ? l->committed : l->opened;
    if (top > head) {
        snprintf(why, room, "stores have diverged: consumer '%.40s' has handled %llu records of '%.40s', "
                 "which held %llu", n->plan->nodes[l->node].id, (unsigned long long)top, n->self->id,
                 (unsigned long long)head);
        return true;
    }
    const struct wire_frame *left = f;
    set_rows(n->store, SET_acked, l->number, 0, acked_visit, &left);
    for (int64_t i = 0; left && i < l->acked.pending.count; i++)
        acked_visit(&left, l->acked.pending.at[i].start, l->acked.pending.at[i].end);
    if (!left)
        snprintf(why, room, "stores have diverged: consumer '%.40s' lacks what it once acknowledged to '%.40s'",
                 n->plan->nodes[l->node].id, n->self->id);
    return !left;
}

static void
mark_take(struct outlet *o, struct lane *l, const struct wire_frame *f)
{
    lane_ack(o->n, l, 0, f->low);
    for (int64_t i = 0; i < f->ranges.count; i++)
        lane_ack(o->n, l, f->ranges.at[i].start, f->ranges.at[i].end);
}

static void
credit_take(struct session *s, const struct wire_frame *f)
{
    s->upto = f->upto;
    s->bytes_max = f->bytes > (1ULL << 40) ? 1LL << 40 : (int64_t)f->bytes;
}

static void
hello(struct outlet *o, const char *id, size_t id_length, struct wire_frame *f)
{
    struct lane *l;
    char why[200];
    bool refused = hello_refused(o, f, &l, why, sizeof(why));
    struct session *s = l ? &o->sessions[l - o->n->lanes] : NULL;
    if (!refused && f->ce < s->ce)
        return;                         /* an incarnation that is no more */
    if (refused) {
        struct wire_frame no = {.kind = WIRE_refused, .why = span_text(why), .ce = f->ce,
                                .pe = store_epoch(o->n->store)};
        if (s && strncmp(why, "stores", 6) == 0)
            snprintf(s->why, sizeof(s->why), "%s", why);
        log_event(o->n->log, LOG_warning, "refused", "HELLO of '%.*s' replica %llu: %s",
                  (int)(f->consumer.length < 64 ? f->consumer.length : 64), f->consumer.at,
                  (unsigned long long)f->consumer_replica, why);
        node_count(o->n, METRIC_refused, 1);
        send_frame(o, id, id_length, &no);
        return;
    }
    if (s->open && s->next > f->low)
        node_count(o->n, METRIC_resent, s->sent_count);
    session_close(s);
    s->open = true;
    s->why[0] = 0;
    memcpy(s->id, id, id_length);
    s->id_length = id_length;
    s->ce = f->ce;
    s->next = f->low;
    s->skip = f->ranges;                /* taken over; marks first */
    mark_take(o, l, f);
    f->ranges = (struct intervals){0, 0, NULL};
    credit_take(s, f);
    lane_position(o->n, l, f->position);
    s->heard_at = node_now(o->n);
    if (f->ended && l->end && f->low >= l->head)
        lane_ended(o->n, l);
    struct wire_frame yes = {.kind = WIRE_welcome, .head = l->committed, .token = o->n->token,
                              .generation = l->generation};
    session_send(o, s, &yes);
}

/* ---- receiving ---- */

/* Forget what was acknowledged; its bytes may be sent again as others. */
static void
sent_drop(struct session *s, const struct wire_frame *f)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < s->sent_count; i++) {
        if (mark_covers(f, s->sent[i].seq, s->sent[i].seq + 1))
            s->bytes_out -= s->sent[i].bytes;
        else
            s->sent[kept++] = s->sent[i];
    }
    s->sent_count = kept;
}

static struct session *
session_of(struct outlet *o, const char *id, size_t id_length)
{
    for (int i = 0; i < o->n->lane_count; i++)
        if (o->sessions[i].open && o->sessions[i].id_length == id_length &&
            memcmp(o->sessions[i].id, id, id_length) == 0)
            return &o->sessions[i];
    return NULL;
}

static void
session_frame(struct outlet *o, struct session *s, struct wire_frame *f)
{
    struct lane *l = &o->n->lanes[s - o->sessions];
    s->heard_at = node_now(o->n);
    if (f->kind == WIRE_ack && (f->low > l->committed || intervals_top(&f->ranges) > l->committed)) {
        log_event(o->n->log, LOG_error, "refused", "an ACK beyond the lane's head");
        node_count(o->n, METRIC_refused, 1);
        session_close(s);
        return;
    }
    if (f->kind == WIRE_ack) {
        mark_take(o, l, f);
        sent_drop(s, f);
    }
    if (f->kind == WIRE_ack || f->kind == WIRE_beat) {
        credit_take(s, f);
        lane_position(o->n, l, f->position);
    }
    if (f->kind == WIRE_ended && l->acked.low >= l->head)
        lane_ended(o->n, l);
}

/* Behind a guard a consumer speaks for itself only. */
static bool
speaks_for(struct outlet *o, const char *user, struct span consumer)
{
    return !o->guard || (user && span_is(consumer, user));
}

static void
frame_in(struct outlet *o, const char *id, size_t id_length, const char *user, struct span bytes)
{
    struct wire_frame f;
    struct error e = {0};
    if (wire_read(bytes, &f, &e) != 0) {
        log_event(o->n->log, LOG_warning, "refused", "%s", e.text);
        node_count(o->n, METRIC_refused, 1);
    } else if (f.kind == WIRE_hello && !speaks_for(o, user, f.consumer)) {
        log_event(o->n->log, LOG_warning, "refused", "HELLO with the key of '%s' in another's name", user ? user : "");
        node_count(o->n, METRIC_refused, 1);
    } else if (f.kind == WIRE_hello) {
        hello(o, id, id_length, &f);
    } else {
        struct session *s = session_of(o, id, id_length);
        if (s && !speaks_for(o, user, span_text(o->n->plan->nodes[o->n->lanes[s - o->sessions].node].id)))
            s = NULL;
        if (s && f.pe == store_epoch(o->n->store) && f.ce == s->ce) {
            session_frame(o, s, &f);
        } else {
            struct wire_frame stale = {.kind = WIRE_stale, .pe = store_epoch(o->n->store), .ce = f.ce};
            send_frame(o, id, id_length, &stale);
        }
    }
    wire_free(&f);
}

void
outlet_receive(struct outlet *o)
{
    for (int i = 0; i < OUTLET_BATCH; i++) {
        zmq_msg_t id, body, rest;
        zmq_msg_init(&id);
        zmq_msg_init(&body);
        if (zmq_msg_recv(&id, o->router, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&id);
            zmq_msg_close(&body);
            return;
        }
        bool good = zmq_msg_more(&id) && zmq_msg_recv(&body, o->router, ZMQ_DONTWAIT) >= 0;
        for (bool more = good && zmq_msg_more(&body); more;) {
            good = false;
            zmq_msg_init(&rest);
            more = zmq_msg_recv(&rest, o->router, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&rest);
            zmq_msg_close(&rest);
        }
        if (good && zmq_msg_size(&id) <= OUTLET_ID_MAX)
            frame_in(o, zmq_msg_data(&id), zmq_msg_size(&id), o->guard ? zmq_msg_gets(&body, "User-Id") : NULL,
                     span_of(zmq_msg_data(&body), zmq_msg_size(&body)));
        zmq_msg_close(&id);
        zmq_msg_close(&body);
    }
}

/* ---- pushing ---- */

struct fill {
    struct outlet  *o;
    struct session *s;
    struct buffer   b;
    size_t          begin;
    int64_t         count, bytes;
    uint64_t        next;
    bool            full;       /* the frame; else credit or the end of the lane stopped it */
    struct sent    *sent;
    int64_t         sent_count;
};

static void
sent_add(struct session *s, int64_t at, uint64_t seq, uint32_t bytes)
{
    if (at == s->sent_room) {
        s->sent_room = s->sent_room ? 2 * s->sent_room : 256;
        s->sent = xresize(s->sent, (size_t)s->sent_room * sizeof(*s->sent));
    }
    s->sent[at] = (struct sent){seq, bytes};
}

static bool
fill_visit(void *own, const struct record *r)
{
    struct fill *f = own;
    struct session *s = f->s;
    int64_t size = (int64_t)(r->body.length + r->reason.length) + 32;
    if (intervals_has(&s->skip, r->seq)) {
        f->next = r->seq + 1;
        return true;
    }
    if (r->seq >= s->upto)
        return false;
    int64_t out = s->bytes_out + f->bytes;
    if (out > 0 && out + size > s->bytes_max)
        return false;
    if (f->count > 0 && (int64_t)f->b.length + size > WIRE_FRAME_BYTES) {
        f->full = true;
        return false;
    }
    wire_data_add(r, &f->b);
    sent_add(s, s->sent_count + f->count, r->seq, (uint32_t)(size < UINT32_MAX ? size : UINT32_MAX));
    f->count++;
    f->bytes += size;
    f->next = r->seq + 1;
    return true;
}

/* One frame of records. -> 1 more may follow, 0 nothing to send now, ERROR_*. */
static int
push_data(struct outlet *o, struct session *s, struct lane *l)
{
    struct fill f = {.o = o, .s = s, .next = s->next};
    if (s->next >= l->committed || s->next >= s->upto ||
        (s->bytes_out > 0 && s->bytes_out >= s->bytes_max))
        return 0;
    buffer_reserve(&f.b, WIRE_FRAME_BYTES + 256);
    f.begin = wire_data_begin(store_epoch(o->n->store), s->ce, &f.b);
    lane_visit(o->n, l, s->next, fill_visit, &f);
    wire_data_end(f.begin, f.count, &f.b);
    if (f.count == 0) {
        buffer_free(&f.b);
        s->next = f.next;
        return 0;
    }
    int rc = send_to(o, s->id, s->id_length, &f.b);
    if (rc == ERROR_wire)
        session_close(s);
    if (rc != 0)
        return rc;
    s->next = f.next;
    s->sent_count += f.count;
    s->bytes_out += f.bytes;
    return f.full;
}

static void
push_session(struct outlet *o, struct session *s, struct lane *l)
{
    int rc;
    while ((rc = push_data(o, s, l)) > 0)
        ;
    if (rc != 0 || !l->end || s->next < l->committed)
        return;
    if (!s->end_sent) {
        struct wire_frame end = {.kind = WIRE_end, .last = l->committed, .end = true};
        s->end_sent = session_send(o, s, &end) == 0;
    }
    if (s->open && s->end_sent && o->n->finished && !s->fin_sent) {
        struct wire_frame fin = {.kind = WIRE_fin};
        s->fin_sent = session_send(o, s, &fin) == 0;
    }
}

bool
outlet_push(struct outlet *o)
{
    o->again = false;
    for (int i = 0; i < o->n->lane_count; i++)
        if (o->sessions[i].open)
            push_session(o, &o->sessions[i], &o->n->lanes[i]);
    return o->again;
}

static void
guard_tell(struct outlet *o)
{
    char from[64];
    int64_t count = o->guard ? guard_turned_away(o->guard, from, sizeof(from)) : 0;
    if (count == 0)
        return;
    node_count(o->n, METRIC_refused, count);
    log_event(o->n->log, LOG_warning, "refused", "%lld turned away: no key of a consumer; the last from %s",
              (long long)count, from);
}

void
outlet_beat(struct outlet *o)
{
    guard_tell(o);
    for (int i = 0; i < o->n->lane_count; i++) {
        struct session *s = &o->sessions[i];
        struct wire_frame beat = {.kind = WIRE_beat};
        if (s->open && node_now(o->n) - s->heard_at > 4 * o->silence)
            session_close(s);           /* it will say HELLO when it lives */
        else if (s->open)
            session_send(o, s, &beat);
    }
}

const char *
outlet_why(struct outlet *o)
{
    for (int i = 0; i < o->n->lane_count; i++)
        if (o->sessions[i].why[0])
            return o->sessions[i].why;
    return NULL;
}

void
outlet_blocker(struct outlet *o, char *text, size_t room)
{
    struct node *n = o->n;
    const struct lane *least = NULL;
    for (int i = 0; i < n->lane_count; i++)
        if (!least || n->lanes[i].position < least->position)
            least = &n->lanes[i];
    if (least)
        snprintf(text, room, "waiting for '%s': settled below it up to %llu, emitted %llu",
                 n->plan->nodes[least->node].id, (unsigned long long)least->position,
                 (unsigned long long)n->emitted_end);
}

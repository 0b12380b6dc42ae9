/* inlet: HELLO, DATA, ACK. A frame's bytes live as long as a unit made from it is in hand: bodies are never copied
 * on the way to the kind. */
#include "graph/inlet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "graph/address.h"
#include "graph/control.h"
#include "graph/curve.h"

#define INLET_QUEUE     64          /* frames ZeroMQ holds */
#define INLET_BATCH     32          /* frames of one feed read in one round */
#define INLET_HELLO     1.0         /* seconds between two HELLOs without an answer */
#define INLET_FRAME_MAX (MESSAGE_BYTES_MAX + WIRE_OVERHEAD)
#define RECONNECT_MS    10
#define RECONNECT_MAX_MS 50
#define INLET_FAILED    3           /* handshakes in a row before status says so */
#define INLET_EVENTS    (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | \
                         ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)

struct inlet {
    struct feed *feed;
    void        *dealer, *monitor;
    int          index;
    bool         connected, open, hello_due, fin, ended_told;
    bool         rejected;          /* by the producer's guard: ZeroMQ does not try again by itself, so we do */
    int          failed;            /* handshakes in a row */
    double       rejected_at;
    uint64_t     pe;
    uint64_t     upto, position;    /* as told */
    uint64_t     upto_most;         /* ever granted in this session */
    double       heard_at, hello_at, beat_at;
    char         why[300];
};

struct inlets {
    struct node  *n;
    int           count;
    struct inlet *at;
    double        silence;
    const struct place *place;
    zmq_pollitem_t *items;          /* the event loop's: a socket made anew goes there */
};

/* A received frame whose records are in hand. */
struct held {
    struct frame frame;
    zmq_msg_t    m;
};

static void
held_release(struct frame *f)
{
    struct held *h = (struct held *)f;
    zmq_msg_close(&h->m);
    free(h);
}

/* ---- opening ---- */

static int
connect_dealer(struct inlets *s, struct inlet *in, struct error *e)
{
    const struct plan_node *self = s->n->self;
    int node = self->links[in->feed->link].node;
    const struct plan_node *producer = &s->n->plan->nodes[node];
    struct address a;
    int rc = address_read(producer->listen, in->feed->replica + 1, &a, e);
    if (rc == 0 && a.kind == ADDRESS_curve)
        rc = curve_connect(in->dealer, s->place->run, self->id, producer->id, e);
    if (rc != 0)
        return rc;
    char *path = place_data(s->place, node, in->feed->replica);
    char *endpoint = a.kind == ADDRESS_private ? xprint("ipc://%s", path) : address_endpoint(&a, in->feed->replica);
    if (a.kind != ADDRESS_private)
        address_tune(&a, in->dealer);
    if (zmq_connect(in->dealer, endpoint) != 0)
        rc = error_set(e, ERROR_wire, "cannot connect to '%s': %s", endpoint, zmq_strerror(errno));
    free(endpoint);
    free(path);
    return rc;
}

static int
inlet_open(struct inlets *s, struct inlet *in, struct error *e)
{
    char name[64];
    unsigned char id[16];
    int zero = 0, queue = INLET_QUEUE, ms = RECONNECT_MS, ms_max = RECONNECT_MAX_MS;
    int64_t largest = INLET_FRAME_MAX;
    /* A new name for each incarnation: what was sent to the last one finds nobody. */
    id[0] = 'i';
    store_u64(id + 1, store_epoch(s->n->store));
    uint64_t dice = (uint64_t)(node_now(s->n) * 1e9) ^ (uint64_t)(uintptr_t)in;
    for (int i = 9; i < 16; i++)
        id[i] = (unsigned char)(dice >> (8 * (i - 9)));
    in->dealer = zmq_socket(control_context(), ZMQ_DEALER);
    zmq_setsockopt(in->dealer, ZMQ_ROUTING_ID, id, sizeof(id));
    zmq_setsockopt(in->dealer, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(in->dealer, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(in->dealer, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(in->dealer, ZMQ_MAXMSGSIZE, &largest, sizeof(largest));
    zmq_setsockopt(in->dealer, ZMQ_RECONNECT_IVL, &ms, sizeof(ms));
    zmq_setsockopt(in->dealer, ZMQ_RECONNECT_IVL_MAX, &ms_max, sizeof(ms_max));
    snprintf(name, sizeof(name), "inproc://inlet-%d-%llu", in->index, (unsigned long long)dice);
    int rc = zmq_socket_monitor(in->dealer, name, INLET_EVENTS);
    in->monitor = zmq_socket(control_context(), ZMQ_PAIR);
    if (rc == 0)
        rc = zmq_setsockopt(in->monitor, ZMQ_LINGER, &zero, sizeof(zero));
    if (rc == 0)
        rc = zmq_connect(in->monitor, name);
    if (rc != 0)
        return error_set(e, ERROR_wire, "cannot watch a link: %s", zmq_strerror(errno));
    return connect_dealer(s, in, e);
}

static void
inlet_close(struct inlet *in)
{
    if (in->dealer) {
        zmq_socket_monitor(in->dealer, NULL, 0);
        zmq_close(in->dealer);
    }
    if (in->monitor)
        zmq_close(in->monitor);
    in->dealer = in->monitor = NULL;
}

static void
items_fill(struct inlet *in, zmq_pollitem_t *items)
{
    items[2 * in->index] = (zmq_pollitem_t){.socket = in->dealer, .fd = -1, .events = ZMQ_POLLIN};
    items[2 * in->index + 1] = (zmq_pollitem_t){.socket = in->monitor, .fd = -1, .events = ZMQ_POLLIN};
}

/* Another try with sockets of its own, and with the keys that lie there by now. */
static void
inlet_again(struct inlets *s, struct inlet *in)
{
    struct error e = {0};
    inlet_close(in);
    in->rejected = inlet_open(s, in, &e) != 0;
    in->rejected_at = node_now(s->n);
    if (in->rejected)
        snprintf(in->why, sizeof(in->why), "%.*s", (int)sizeof(in->why) - 1, e.text);
    items_fill(in, s->items);
}

struct inlets *
inlets_open(struct node *n, const struct place *place, struct error *e)
{
    struct inlets *s = xalloc(sizeof(*s));
    const char *silence = getenv("SLUICE_SILENCE");
    s->n = n;
    s->place = place;
    s->silence = silence ? atof(silence) : WIRE_SILENCE;
    s->at = xarray((size_t)n->feed_count + 1, sizeof(*s->at));
    for (int i = 0; i < n->feed_count; i++) {
        s->at[i].feed = &n->feeds[i];
        s->at[i].index = i;
        s->count++;
        if (inlet_open(s, &s->at[i], e) != 0) {
            inlets_close(s);
            return NULL;
        }
    }
    return s;
}

void
inlets_close(struct inlets *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->count; i++)
        inlet_close(&s->at[i]);
    free(s->at);
    free(s);
}

int
inlets_count(struct inlets *s)
{
    return 2 * s->count;
}

int
inlets_items(struct inlets *s, zmq_pollitem_t *items)
{
    s->items = items;
    for (int i = 0; i < s->count; i++)
        items_fill(&s->at[i], items);
    return 2 * s->count;
}

/* ---- sending ---- */

static bool
send_frame(struct inlet *in, struct wire_frame *f)
{
    struct buffer b = {0};
    wire_write(f, &b);
    int rc = zmq_send(in->dealer, b.at, b.length, ZMQ_DONTWAIT);
    buffer_free(&b);
    return rc >= 0;
}

/* The committed mark: rows are written only by a flush, and a flush commits. */
static void
mark_fill(struct inlets *s, struct inlet *in, struct wire_frame *f)
{
    unsigned which = (unsigned)in->feed->link << 8 | (unsigned)in->feed->replica;
    set_read(s->n->store, SET_mark, which, 0, WIRE_RANGES_MAX, &f->ranges);
    if (f->ranges.count > 0 && f->ranges.at[0].start == 0) {
        f->low = f->ranges.at[0].end;
        memmove(f->ranges.at, f->ranges.at + 1, (size_t)--f->ranges.count * sizeof(*f->ranges.at));
    }
}

static void
credit_fill(struct inlets *s, struct inlet *in, struct wire_frame *f)
{
    f->upto = feed_upto(s->n, in->feed);
    f->bytes = (uint64_t)s->n->common.credit_bytes;
    f->position = node_upstream_position(s->n);
    f->ce = store_epoch(s->n->store);
    f->pe = in->pe;
}

static void
credit_told(struct inlets *s, struct inlet *in, const struct wire_frame *f)
{
    in->upto = f->upto;
    in->position = f->position;
    if (f->upto > in->upto_most)
        in->upto_most = f->upto;
    in->beat_at = node_now(s->n);
}

static void
hello(struct inlets *s, struct inlet *in)
{
    struct node *n = s->n;
    const struct plan_node *producer = &n->plan->nodes[n->self->links[in->feed->link].node];
    struct wire_frame f = {.kind = WIRE_hello, .version = WIRE_VERSION, .run = span_text(n->plan->run_id),
        .node = span_text(producer->id), .replica = (uint64_t)in->feed->replica,
        .link = (uint64_t)in->feed->link, .consumer = span_text(n->self->id),
        .consumer_replica = (uint64_t)n->replica, .generation = producer->generation,
        .token = in->feed->token, .ended = in->feed->ended};
    mark_fill(s, in, &f);
    credit_fill(s, in, &f);
    f.pe = 0;
    in->open = false;
    in->ended_told = false;
    in->upto_most = 0;
    in->hello_at = node_now(n);
    in->hello_due = false;
    if (send_frame(in, &f))
        credit_told(s, in, &f);
    in->feed->moved = false;
    wire_free(&f);
}

static void
tell(struct inlets *s, struct inlet *in, enum wire_kind kind)
{
    struct wire_frame f = {.kind = kind};
    if (kind == WIRE_ack)
        mark_fill(s, in, &f);
    credit_fill(s, in, &f);
    if (send_frame(in, &f)) {
        credit_told(s, in, &f);
        in->feed->moved &= kind != WIRE_ack;
        in->ended_told |= kind == WIRE_ended;
    }
    wire_free(&f);
}

void
inlets_tell(struct inlets *s)
{
    double now = node_now(s->n);
    for (int i = 0; i < s->count; i++) {
        struct inlet *in = &s->at[i];
        if (in->open && now - in->heard_at > s->silence) {
            in->open = false;
            in->hello_due = true;
        }
        if (in->rejected && now - in->rejected_at >= INLET_HELLO)
            inlet_again(s, in);
        if (!in->connected)
            continue;
        if (!in->open) {
            if (in->hello_due || now - in->hello_at >= INLET_HELLO)
                hello(s, in);
            continue;
        }
        if (in->feed->moved)
            tell(s, in, WIRE_ack);
        if (in->feed->ended && !in->ended_told)
            tell(s, in, WIRE_ended);
        if (now - in->beat_at >= WIRE_BEAT_SECONDS || node_upstream_position(s->n) > in->position ||
            feed_upto(s->n, in->feed) > in->upto + WINDOW_RECORDS / 2)
            tell(s, in, WIRE_beat);
    }
}

double
inlets_due(struct inlets *s)
{
    return s->count > 0 ? WIRE_BEAT_SECONDS / 2 : -1;
}

/* ---- receiving ---- */

static void
refuse(struct inlets *s, struct inlet *in, const char *why)
{
    node_count(s->n, METRIC_refused, 1);
    log_event(s->n->log, LOG_warning, "refused", "link %d from '%s': %s", in->feed->link,
              s->n->links[in->feed->link].from, why);
    in->open = false;       /* HELLO again, in INLET_HELLO seconds */
    in->hello_due = false;
    in->hello_at = node_now(s->n);
}

static void
data(struct inlets *s, struct inlet *in, struct wire_frame *f, struct held *h)
{
    struct record r;
    struct error e = {0};
    int rc;
    while ((rc = wire_next(f, &r, &e)) == 1) {
        if (r.seq >= in->upto_most)
            rc = error_set(&e, ERROR_wire, "record %llu comes without credit", (unsigned long long)r.seq);
        else
            rc = feed_arrive(s->n, in->feed, &r, &h->frame, &e);
        if (rc < 0)
            break;
    }
    if (rc < 0)
        refuse(s, in, e.text);
}

static void
welcome(struct inlets *s, struct inlet *in, struct wire_frame *f)
{
    if (intervals_top(&in->feed->seen) > f->head) {
        snprintf(in->why, sizeof(in->why), "stores have diverged: '%.60s' holds %llu records, we have handled more",
                 s->n->links[in->feed->link].from, (unsigned long long)f->head);
        refuse(s, in, in->why);
        return;
    }
    in->open = true;
    in->pe = f->pe;
    if (in->feed->token != f->token) {      /* becomes durable with the first record of this session */
        in->feed->token = f->token;
        in->feed->row_dirty = true;
    }
    in->why[0] = 0;
}

/* Returns whether the frame is kept by records. */
static void
frame_in(struct inlets *s, struct inlet *in, struct held *h)
{
    struct wire_frame f;
    struct error e = {0};
    uint64_t ce = store_epoch(s->n->store);
    if (wire_read(span_of(zmq_msg_data(&h->m), zmq_msg_size(&h->m)), &f, &e) != 0) {
        refuse(s, in, e.text);
    } else if (f.ce != ce) {
        node_count(s->n, METRIC_refused, 1);        /* meant for an earlier incarnation */
    } else if (f.kind == WIRE_welcome) {
        welcome(s, in, &f);
    } else if (f.kind == WIRE_refused) {
        snprintf(in->why, sizeof(in->why), "refused by '%s': %.*s", s->n->links[in->feed->link].from,
                 (int)(f.why.length < 200 ? f.why.length : 200), f.why.at);
        refuse(s, in, in->why);
    } else if (f.kind == WIRE_stale) {
        in->hello_due = true;
        in->open = false;
    } else if (!in->open || f.pe != in->pe) {
        in->hello_due |= in->open;                  /* another incarnation answers */
        in->open = false;
    } else if (f.kind == WIRE_data) {
        data(s, in, &f, h);
    } else if (f.kind == WIRE_end) {
        if (feed_end(s->n, in->feed, f.last, &e) != 0)
            refuse(s, in, e.text);
    } else if (f.kind == WIRE_fin) {
        in->fin = true;
    }
    in->heard_at = node_now(s->n);
    wire_free(&f);
}

/* A producer that is down fails no handshake; one with other keys, or another program at its address, does. */
static void
handshake(struct inlets *s, struct inlet *in, uint16_t event)
{
    in->connected = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    in->hello_due = in->connected;
    in->open = false;
    if (event == ZMQ_EVENT_DISCONNECTED)
        return;
    if (in->connected && in->failed > 0)
        in->why[0] = 0;
    in->failed = in->connected ? 0 : in->failed + 1;
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
        in->rejected = true;
        in->rejected_at = node_now(s->n);
    }
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || in->failed >= INLET_FAILED)
        snprintf(in->why, sizeof(in->why), event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
                     ? "'%.60s' does not know our key" : "whoever listens where '%.60s' should has other keys",
                 s->n->links[in->feed->link].from);
}

static void
monitor_in(struct inlets *s, struct inlet *in)
{
    zmq_msg_t m;
    zmq_msg_init(&m);
    while (zmq_msg_recv(&m, in->monitor, ZMQ_DONTWAIT) >= 0) {
        if (zmq_msg_size(&m) >= 2 && zmq_msg_more(&m)) {
            uint16_t event;
            memcpy(&event, zmq_msg_data(&m), 2);
            handshake(s, in, event);
        }
    }
    zmq_msg_close(&m);
}

int
inlets_receive(struct inlets *s)
{
    int count = 0;
    bool fin = s->count > 0;
    for (int i = 0; i < s->count; i++) {
        struct inlet *in = &s->at[i];
        monitor_in(s, in);
        for (int k = 0; k < INLET_BATCH; k++) {
            struct held *h = xalloc(sizeof(*h));
            zmq_msg_init(&h->m);
            h->frame = (struct frame){1, held_release};
            int rc = zmq_msg_recv(&h->m, in->dealer, ZMQ_DONTWAIT);
            bool parts = rc >= 0 && zmq_msg_more(&h->m);
            if (rc >= 0 && !parts)
                frame_in(s, in, h);
            frame_drop(&h->frame);
            if (rc < 0)
                break;
            count++;
        }
        fin &= in->fin;
    }
    s->n->upstream_finished = fin || s->count == 0;
    return count;
}

const char *
inlets_why(struct inlets *s)
{
    for (int i = 0; i < s->count; i++)
        if (s->at[i].why[0])
            return s->at[i].why;
    return NULL;
}

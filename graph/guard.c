/* guard: a REP socket at the address ZeroMQ asks, answered by a thread that knows nothing but keys.
 */
#include "graph/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "graph/control.h"
#include "graph/curve.h"

#define GUARD_KEY   32  /* bytes of a key on the wire */
#define GUARD_PARTS 7   /* version, request, domain, address, routing id, mechanism, key */
#define GUARD_TEXT  256 /* bytes of a part we look at */

struct peer {
    const char *id; /* of the plan */
    unsigned char key[GUARD_KEY];
};

struct guard {
    void *socket; /* the thread's, once it runs */
    int stop;     /* eventfd */
    bool runs;
    pthread_t thread;
    int count;
    struct peer *peers;
    pthread_mutex_t lock; /* of what follows */
    int64_t turned_away;
    char from[64];
};

struct part {
    size_t length;
    unsigned char at[GUARD_TEXT];
};

/* All parts of a request; how many there were. Longer ones are cut: no key and no mechanism is that
 * long. */
static int
parts_read(void *socket, struct part *parts)
{
    int count = 0;
    for (bool more = true; more; count++) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, socket, ZMQ_DONTWAIT) < 0)
            return -1;
        if (count < GUARD_PARTS) {
            size_t n = zmq_msg_size(&m);
            parts[count].length = n;
            memcpy(parts[count].at, zmq_msg_data(&m), n < GUARD_TEXT ? n : GUARD_TEXT);
        }
        more = zmq_msg_more(&m);
        zmq_msg_close(&m);
    }
    return count;
}

static bool
part_is(const struct part *p, const char *text)
{
    return p->length == strlen(text) && memcmp(p->at, text, p->length) == 0;
}

/* Whose key it is, or NULL. Every key is compared to its end, so that time tells nothing. */
static const char *
peer_of(const struct guard *g, const struct part *key)
{
    const char *found = NULL;
    for (int i = 0; i < g->count && key->length == GUARD_KEY; i++) {
        unsigned char differs = 0;
        for (int k = 0; k < GUARD_KEY; k++)
            differs |= g->peers[i].key[k] ^ key->at[k];
        if (differs == 0)
            found = g->peers[i].id;
    }
    return found;
}

static void
answer(struct guard *g)
{
    struct part parts[GUARD_PARTS] = {{0}};
    int count = parts_read(g->socket, parts);
    if (count < 0)
        return;
    const char *id =
        count == GUARD_PARTS && part_is(&parts[0], "1.0") && part_is(&parts[5], "CURVE")
            ? peer_of(g, &parts[6])
            : NULL;
    const char *code = id ? "200" : "400", *text = id ? "OK" : "not a consumer of this node";
    size_t request = parts[1].length < GUARD_TEXT ? parts[1].length : GUARD_TEXT;
    if (!id) {
        pthread_mutex_lock(&g->lock);
        g->turned_away++;
        snprintf(g->from, sizeof(g->from), "%.*s",
                 (int)(parts[3].length < 60 ? parts[3].length : 60), (const char *)parts[3].at);
        pthread_mutex_unlock(&g->lock);
    }
    zmq_send(g->socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(g->socket, parts[1].at, request, ZMQ_SNDMORE);
    zmq_send(g->socket, code, 3, ZMQ_SNDMORE);
    zmq_send(g->socket, text, strlen(text), ZMQ_SNDMORE);
    zmq_send(g->socket, id ? id : "", id ? strlen(id) : 0, ZMQ_SNDMORE);
    zmq_send(g->socket, "", 0, 0);
}

static void *
guard_run(void *own)
{
    struct guard *g = own;
    zmq_pollitem_t items[2] = {{.socket = g->socket, .events = ZMQ_POLLIN},
                               {.fd = g->stop, .events = ZMQ_POLLIN}};
    for (;;) {
        if (zmq_poll(items, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (items[1].revents)
            return NULL;
        if (items[0].revents)
            answer(g);
    }
}

static int
peers_load(struct guard *g, const struct plan *p, int node, const char *run_dir, struct error *e)
{
    g->peers = xarray((size_t)p->node_count + 1, sizeof(*g->peers));
    for (int i = 0; i < p->node_count; i++) {
        char key[CURVE_KEY];
        bool reads = false;
        for (int k = 0; k < p->nodes[i].link_count; k++)
            reads |= p->nodes[i].links[k].node == node;
        if (!reads)
            continue;
        int rc = curve_public(run_dir, p->nodes[i].id, key, e);
        if (rc != 0)
            return rc;
        g->peers[g->count].id = p->nodes[i].id;
        zmq_z85_decode(g->peers[g->count].key, key);
        g->count++;
    }
    return 0;
}

static int
thread_start(struct guard *g, struct error *e)
{
    sigset_t all, before;
    int zero = 0;
    g->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g->socket = zmq_socket(control_context(), ZMQ_REP);
    if (g->stop < 0 || !g->socket)
        return error_set(e, ERROR_wire, "the guard of a tcp:// link: %s", zmq_strerror(errno));
    zmq_setsockopt(g->socket, ZMQ_LINGER, &zero, sizeof(zero));
    if (zmq_bind(g->socket, "inproc://zeromq.zap.01") != 0)
        return error_set(e, ERROR_wire, "the guard of a tcp:// link: %s", zmq_strerror(errno));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the event loop's */
    int rc = pthread_create(&g->thread, NULL, guard_run, g);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    g->runs = rc == 0;
    return rc == 0 ? 0 : error_set(e, ERROR_wire, "the guard of a tcp:// link: %s", strerror(rc));
}

struct guard *
guard_open(const struct plan *p, int node, const char *run_dir, struct error *e)
{
    struct guard *g = xalloc(sizeof(*g));
    g->stop = -1;
    pthread_mutex_init(&g->lock, NULL);
    if (peers_load(g, p, node, run_dir, e) == 0 && thread_start(g, e) == 0)
        return g;
    guard_close(g);
    return NULL;
}

void
guard_close(struct guard *g)
{
    uint64_t one = 1;
    if (!g)
        return;
    if (g->runs && write(g->stop, &one, sizeof(one)) == (ssize_t)sizeof(one))
        pthread_join(g->thread, NULL);
    if (g->socket)
        zmq_close(g->socket);
    if (g->stop >= 0)
        close(g->stop);
    pthread_mutex_destroy(&g->lock);
    free(g->peers);
    free(g);
}

int64_t
guard_turned_away(struct guard *g, char *from, size_t room)
{
    pthread_mutex_lock(&g->lock);
    int64_t count = g->turned_away;
    snprintf(from, room, "%s", g->from);
    g->turned_away = 0;
    pthread_mutex_unlock(&g->lock);
    return count;
}

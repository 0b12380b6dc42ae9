/* control: JSON questions and answers over ZeroMQ. A request from a socket is hostile until it is parsed: its
 * size is bounded by ZeroMQ, its depth and shape by jansson. */
#include "graph/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "base/memory.h"

#define CONTROL_BATCH 16    /* requests answered in one control_poll() */
#define CONTROL_LINGER_MS 200   /* the last answer of a process may still go out */
#define CONTROL_QUEUE 64    /* requests or replies ZeroMQ holds */

struct control {
    void           *socket;
    char           *path;
    control_answer *answer;
    void           *own;
};

static void *context;
static pid_t owner;

void *
control_context(void)
{
    if (!context || owner != getpid()) {    /* a ZeroMQ context does not live through fork */
        context = zmq_ctx_new();
        owner = getpid();
    }
    return context;
}

void
control_context_end(void)
{
    if (context && owner == getpid())
        zmq_ctx_term(context);
    context = NULL;
}

static void *
socket_new(int type)
{
    void *s = zmq_socket(control_context(), type);
    int zero = 0, queue = CONTROL_QUEUE;
    int64_t size = CONTROL_BYTES_MAX;
    if (!s)
        return NULL;
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(s, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(s, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &size, sizeof(size));
    return s;
}

/* Does anyone listen? ZeroMQ itself would try for ever without a word. */
static bool
listening(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        return false;
    memcpy(a.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN;
    close(fd);
    return ok;
}

static int64_t
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- client ---- */

static void *
call_begin(struct control_call *c)
{
    c->reply = NULL;
    c->error = (struct error){0};
    if (!listening(c->path)) {
        error_set(&c->error, ERROR_remote, "nobody listens at '%s'", c->path);
        return NULL;
    }
    char *text = json_dumps(c->request, JSON_COMPACT);
    void *s = text ? socket_new(ZMQ_DEALER) : NULL;
    char *endpoint = xprint("ipc://%s", c->path);
    if (!s || zmq_connect(s, endpoint) != 0 || zmq_send(s, text, strlen(text), ZMQ_DONTWAIT) < 0) {
        error_set(&c->error, ERROR_remote, "cannot ask at '%s': %s", c->path, zmq_strerror(errno));
        if (s)
            zmq_close(s);
        s = NULL;
    }
    free(endpoint);
    free(text);
    return s;
}

static void
call_read(struct control_call *c, zmq_msg_t *m)
{
    json_error_t je;
    json_t *reply = json_loadb(zmq_msg_data(m), zmq_msg_size(m), JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(reply)) {
        error_set(&c->error, ERROR_input, "the answer at '%s' is not a JSON object", c->path);
        json_decref(reply);
        return;
    }
    if (!json_is_true(json_object_get(reply, "ok"))) {
        const char *why = json_string_value(json_object_get(reply, "error"));
        error_set(&c->error, ERROR_remote, "%s", why ? why : "refused without a reason");
    }
    c->reply = reply;
}

void
control_ask_all(struct control_call *calls, int count, int timeout_ms)
{
    void **sockets = xarray((size_t)count + 1, sizeof(void *));
    zmq_pollitem_t *items = xarray((size_t)count + 1, sizeof(*items));
    int *which = xarray((size_t)count + 1, sizeof(int));
    int64_t until = now_ms() + timeout_ms;
    for (int i = 0; i < count; i++)
        sockets[i] = call_begin(&calls[i]);
    for (;;) {
        int waiting = 0;
        for (int i = 0; i < count; i++)
            if (sockets[i]) {
                which[waiting] = i;
                items[waiting++] = (zmq_pollitem_t){.socket = sockets[i], .events = ZMQ_POLLIN};
            }
        int64_t left = until - now_ms();
        if (waiting == 0 || left < 0 || zmq_poll(items, waiting, (long)left) == 0)
            break;
        for (int k = 0; k < waiting; k++) {
            int i = which[k];
            zmq_msg_t m;
            zmq_msg_init(&m);
            if ((items[k].revents & ZMQ_POLLIN) && zmq_msg_recv(&m, sockets[i], ZMQ_DONTWAIT) >= 0) {
                call_read(&calls[i], &m);
                zmq_close(sockets[i]);
                sockets[i] = NULL;
            }
            zmq_msg_close(&m);
        }
    }
    for (int i = 0; i < count; i++)
        if (sockets[i]) {
            zmq_close(sockets[i]);
            error_set(&calls[i].error, ERROR_remote, "no answer at '%s' within %d ms", calls[i].path,
                      timeout_ms);
        }
    free(sockets);
    free(items);
    free(which);
}

int
control_ask(const char *path, const json_t *request, int timeout_ms, json_t **reply, struct error *e)
{
    struct control_call c = {.path = path, .request = (json_t *)request};
    control_ask_all(&c, 1, timeout_ms);
    if (reply)
        *reply = NULL;
    if (c.error.code != 0) {
        json_decref(c.reply);
        return error_set(e, c.error.code, "%s", c.error.text);
    }
    if (reply)
        *reply = c.reply;
    else
        json_decref(c.reply);
    return 0;
}

/* ---- server ---- */

struct control *
control_open(const char *path, control_answer *answer, void *own, struct error *e)
{
    struct control *c = xalloc(sizeof(*c));
    char *endpoint = xprint("ipc://%s", path);
    int on = 1;
    c->path = xtext(path);
    c->answer = answer;
    c->own = own;
    c->socket = socket_new(ZMQ_ROUTER);
    mode_t old = umask(077);
    int rc = c->socket ? zmq_setsockopt(c->socket, ZMQ_ROUTER_HANDOVER, &on, sizeof(on)) : -1;
    if (rc == 0)
        rc = zmq_bind(c->socket, endpoint);
    int code = errno;
    umask(old);
    free(endpoint);
    if (rc == 0)
        return c;
    error_set(e, ERROR_wire, "control socket '%s': %s", path, zmq_strerror(code));
    control_close(c);
    return NULL;
}

void
control_close(struct control *c)
{
    if (!c)
        return;
    int linger = CONTROL_LINGER_MS;
    if (c->socket) {
        zmq_setsockopt(c->socket, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_close(c->socket);
    }
    free(c->path);
    free(c);
}

void *
control_socket(struct control *c)
{
    return c->socket;
}

int
control_fd(struct control *c)
{
    int fd = -1;
    size_t size = sizeof(fd);
    zmq_getsockopt(c->socket, ZMQ_FD, &fd, &size);
    return fd;
}

static json_t *
answer_one(struct control *c, const char *text, size_t length)
{
    struct error e = {0};
    json_error_t je;
    json_t *reply = json_object();
    json_t *request = json_loadb(text, length, JSON_REJECT_DUPLICATES, &je);
    const char *ask = json_string_value(json_object_get(request, "ask"));
    int rc;
    if (!request)
        rc = error_set(&e, ERROR_input, "the request is not JSON: %s", je.text);
    else if (!ask)
        rc = error_set(&e, ERROR_input, "the request has no \"ask\"");
    else
        rc = c->answer(c->own, ask, request, reply, &e);
    if (rc != 0) {
        json_object_set_new(reply, "error", json_string(e.text));
        json_object_set_new(reply, "code", json_string(error_name(rc)));
    }
    json_object_set_new(reply, "ok", json_boolean(rc == 0));
    json_decref(request);
    return reply;
}

static void
reply_send(struct control *c, zmq_msg_t *who, json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);
    if (!text || strlen(text) > (size_t)CONTROL_BYTES_MAX) {
        free(text);
        text = xtext("{\"ok\":false,\"error\":\"the answer is larger than 16 MiB\"}");
    }
    /* A client that went away, or does not read, loses its answer; nobody waits for it. */
    if (zmq_msg_send(who, c->socket, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(c->socket, text, strlen(text), ZMQ_DONTWAIT);
    free(text);
}

static bool
poll_one(struct control *c)
{
    zmq_msg_t who, body, rest;
    zmq_msg_init(&who);
    if (zmq_msg_recv(&who, c->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&who);
        return false;
    }
    zmq_msg_init(&body);
    bool good = zmq_msg_more(&who) && zmq_msg_recv(&body, c->socket, ZMQ_DONTWAIT) >= 0;
    bool more = good && zmq_msg_more(&body);
    while (more) {                          /* more parts than one: not ours, taken off and dropped */
        good = false;
        zmq_msg_init(&rest);
        more = zmq_msg_recv(&rest, c->socket, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
    }
    if (good) {
        json_t *reply = answer_one(c, zmq_msg_data(&body), zmq_msg_size(&body));
        reply_send(c, &who, reply);
        json_decref(reply);
    }
    zmq_msg_close(&body);
    zmq_msg_close(&who);
    return true;
}

void
control_poll(struct control *c)
{
    /* The edge of ZMQ_FD is gone once read: go on until nothing is there, but not for ever. */
    for (int i = 0; i < CONTROL_BATCH * 64 && poll_one(c); i++)
        ;
}

/* ask: a DEALER that is polled. */
#include "graph/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/memory.h"
#include "graph/control.h"

int
ask_send(struct ask *a, const char *path, const json_t *request, double now, double seconds,
         struct error *e)
{
    int zero = 0, one = 1, again_ms = 20;
    int64_t most = CONTROL_BYTES_MAX;
    ask_drop(a);
    char *text = json_dumps(request, JSON_COMPACT);
    char *endpoint = xprint("ipc://%s", path);
    a->socket = zmq_socket(control_context(), ZMQ_DEALER);
    bool sent = text != NULL && a->socket != NULL &&
                zmq_setsockopt(a->socket, ZMQ_LINGER, &zero, sizeof zero) == 0 &&
                zmq_setsockopt(a->socket, ZMQ_SNDHWM, &one, sizeof one) == 0 &&
                zmq_setsockopt(a->socket, ZMQ_RECONNECT_IVL, &again_ms, sizeof again_ms) == 0 &&
                zmq_setsockopt(a->socket, ZMQ_MAXMSGSIZE, &most, sizeof most) == 0 &&
                zmq_connect(a->socket, endpoint) == 0 &&
                zmq_send(a->socket, text, strlen(text), ZMQ_DONTWAIT) >= 0;
    free(endpoint);
    free(text);
    if (!sent) {
        ask_drop(a);
        return error_set(e, ERROR_remote, "cannot ask at '%s': %s", path, zmq_strerror(errno));
    }
    a->waiting = true;
    a->until = now + seconds;
    return 0;
}

int
ask_take(struct ask *a, double now, json_t **reply, struct error *e)
{
    *reply = NULL;
    if (!a->waiting)
        return 0;
    zmq_msg_t m;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, a->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&m);
        if (now < a->until)
            return 0;
        ask_drop(a);
        return error_set(e, ERROR_remote, "no answer in time");
    }
    *reply = json_loadb(zmq_msg_data(&m), zmq_msg_size(&m), JSON_REJECT_DUPLICATES, NULL);
    zmq_msg_close(&m);
    ask_drop(a);
    if (json_is_object(*reply))
        return 1;
    json_decref(*reply);
    *reply = NULL;
    return error_set(e, ERROR_input, "the answer is not a JSON object");
}

void
ask_drop(struct ask *a)
{
    if (a->socket != NULL)
        zmq_close(a->socket);
    a->socket = NULL;
    a->waiting = false;
}

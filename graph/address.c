/* address: reading is strict and asks no name server, so that `check` says all there is to say. */
#include "graph/address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zmq.h>

#include "base/memory.h"

#define PORT_MAX          65535
#define HEARTBEAT_MS      2000  /* between two pings of an idle link */
#define HEARTBEAT_LOST_MS 10000 /* without an answer: the link is broken */
#define HANDSHAKE_MS      5000  /* for keys to be shown and checked */
#define CONNECT_MS        5000
#define RECONNECT_MS      20 /* doubled up to ... */
#define RECONNECT_MOST_MS 1000

static const struct scheme {
    const char *text;
    enum address_kind kind;
    bool anywhere;
} schemes[] = {
    {"tcp://", ADDRESS_curve, true},
    {"tcp+plain://", ADDRESS_plain, false},
    {"tcp+insecure://", ADDRESS_plain, true},
};

/* The host of `text`, up to the colon of its port. -> where the port begins, or NULL. */
static const char *
host_read(const char *text, struct address *a, bool *loopback, bool *every)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    a->six = text[0] == '[';
    if (a->six && (length < 2 || text[length - 1] != ']'))
        return NULL;
    if (a->six) {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= ADDRESS_HOST_MAX)
        return NULL;
    memcpy(a->host, text, length);
    a->host[length] = 0;
    if (strcmp(a->host, "localhost") == 0)
        strcpy(a->host, "127.0.0.1");
    if (inet_pton(a->six ? AF_INET6 : AF_INET, a->host, bytes) != 1)
        return NULL;
    inet_ntop(a->six ? AF_INET6 : AF_INET, bytes, a->host, sizeof(a->host));
    *loopback = a->six ? strcmp(a->host, "::1") == 0 : bytes[0] == 127;
    *every = strcmp(a->host, a->six ? "::" : "0.0.0.0") == 0;
    return colon + 1;
}

int
address_read(const char *listen, int replicas, struct address *a, struct error *e)
{
    const struct scheme *s = NULL;
    bool loopback = false, every = false;
    *a = (struct address){.kind = ADDRESS_private};
    if (!listen || !*listen)
        return 0;
    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
        if (strncmp(listen, schemes[i].text, strlen(schemes[i].text)) == 0)
            s = &schemes[i];
    if (!s)
        return error_set(e, ERROR_topology, "listen: '%.80s': write tcp://ADDRESS:PORT", listen);
    const char *port = host_read(listen + strlen(s->text), a, &loopback, &every);
    if (!port)
        return error_set(e, ERROR_topology,
                         "listen: '%.80s': write %sADDRESS:PORT with a numeric address, "
                         "[IPv6] or localhost",
                         listen, s->text);
    a->kind = s->kind;
    size_t digits = strspn(port, "0123456789");
    a->port = digits > 0 && digits <= 5 && !port[digits] ? atoi(port) : 0;
    if (a->port < 1 || a->port > PORT_MAX)
        return error_set(e, ERROR_topology, "listen: port '%.20s' is not in 1..%d", port, PORT_MAX);
    if (a->port + replicas - 1 > PORT_MAX)
        return error_set(e, ERROR_topology, "listen: %d replicas from port %d on end above %d",
                         replicas, a->port, PORT_MAX);
    if (every)
        return error_set(e, ERROR_topology,
                         "listen: consumers connect to this address: name one interface, not '%s'",
                         a->host);
    if (a->kind == ADDRESS_plain && !loopback && !s->anywhere)
        return error_set(
            e, ERROR_topology,
            "listen: tcp+plain beyond loopback shows all data and lets anyone in; write "
            "tcp:// (encrypted, with keys), or tcp+insecure:// if that is what you want");
    return 0;
}

char *
address_endpoint(const struct address *a, int replica)
{
    return xprint(a->six ? "tcp://[%s]:%d" : "tcp://%s:%d", a->host, a->port + replica);
}

bool
address_overlap(const struct address *a, int a_replicas, const struct address *b, int b_replicas)
{
    return a->kind != ADDRESS_private && b->kind != ADDRESS_private &&
           strcmp(a->host, b->host) == 0 && a->port < b->port + b_replicas &&
           b->port < a->port + a_replicas;
}

/* Whoever reaches a port holds a file of ours for HANDSHAKE_MS without showing a key, and ZeroMQ
 * aborts when there is none left for its other sockets: as many as the system gives. */
static void
files_raise(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

void
address_tune(const struct address *a, void *socket)
{
    const struct {
        int option, value;
    } rows[] = {
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_LOST_MS},
        {ZMQ_HEARTBEAT_TTL, HEARTBEAT_LOST_MS},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MOST_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_IPV6, a->six},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        zmq_setsockopt(socket, rows[i].option, &rows[i].value, sizeof(rows[i].value));
    files_raise();
}

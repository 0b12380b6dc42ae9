/* rude_server: plain sockets, so that nothing keeps it from being wrong. */
#include "tests/rude_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"

#define THREADS_MAX 64
#define DRIP_MS     5
#define GOOD        "{\"choices\":[]}"

struct rude_server {
    enum manner manner;
    int listener, port, over; /* over: an eventfd, readable when the server stops */
    char location[200];
    atomic_int connections;
    pthread_t accepting, threads[THREADS_MAX];
    int thread_count;
};

struct guest {
    struct rude_server *server;
    int fd;
};

/* Waits so long, or for the other side to go, or for the end. False: it is over. */
static bool
wait_a_bit(struct guest *g, int milliseconds)
{
    struct pollfd fds[] = {{.fd = g->server->over, .events = POLLIN},
                           {.fd = g->fd, .events = POLLRDHUP}};

    return poll(fds, 2, milliseconds) == 0;
}

/* False: the other side is gone, or it is over. */
static bool
put(struct guest *g, const char *bytes, size_t length)
{
    struct pollfd fds[] = {{.fd = g->server->over, .events = POLLIN},
                           {.fd = g->fd, .events = POLLOUT}};

    while (length) {
        ssize_t n = send(g->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        } else if (poll(fds, 2, -1) < 1 || fds[0].revents || fds[1].revents & (POLLERR | POLLHUP)) {
            return false;
        }
    }
    return true;
}

static bool
say(struct guest *g, const char *text)
{
    return put(g, text, strlen(text));
}

/* The same text until nobody hears it. */
static void
say_for_ever(struct guest *g, const char *text, int milliseconds_between)
{
    while (say(g, text) && (!milliseconds_between || wait_a_bit(g, milliseconds_between)))
        continue;
}

static void
flood(struct guest *g, size_t bytes)
{
    static const char spaces[65536] = {' '};

    for (size_t sent = 0; sent < bytes && put(g, spaces, sizeof(spaces)); sent += sizeof(spaces))
        continue;
}

static void
nest(struct guest *g)
{
    char brackets[1000];

    memset(brackets, '[', sizeof(brackets));
    say(g, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 1000 && put(g, brackets, sizeof(brackets)); i++)
        continue;
}

static void
reset(struct guest *g)
{
    struct linger at_once = {1, 0};

    setsockopt(g->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static void
two(struct guest *g)
{
    static const char one[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n" GOOD;
    char both[2 * sizeof(one)];

    put(g, both, (size_t)snprintf(both, sizeof(both), "%s%s", one, one)); /* in one packet */
    wait_a_bit(g, 10000);
}

/* Those that say one thing and close. */
static const char *const sayings[RUDE_count] = {
    [RUDE_short] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choices\"",
    [RUDE_chunks] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    [RUDE_big_chunk] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "100000000000000000000\r\n{}\r\n",
    [RUDE_early] = "HTTP/1.1 200 OK\r\nContent-Le",
    [RUDE_binary] = "\x16\x03\x01\xff\xfe nothing of this is HTTP \x80\r\n\r\n",
    [RUDE_status] = "HTTP/1.1 abc Fine\r\nContent-Length: 2\r\n\r\n{}",
    [RUDE_lengths] = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nContent-Length: 3\r\n\r\n" GOOD,
    [RUDE_html] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n"
                  "<html>no</html>",
    [RUDE_gzip] =
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x01",
    [RUDE_no_content] = "HTTP/1.1 204 No Content\r\n\r\n",
};

static void
behave(struct guest *g)
{
    static const char plain[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    enum manner m = g->server->manner;
    char text[400];

    if (sayings[m]) {
        say(g, sayings[m]);
        return;
    }
    if (m == RUDE_drip || m == RUDE_headers || m == RUDE_header || m == RUDE_flood ||
        m == RUDE_body_drip)
        say(g, plain);
    switch (m) {
    case RUDE_drip:
        say(g, "X: ");
        say_for_ever(g, "a", DRIP_MS);
        break;
    case RUDE_body_drip:
        say(g, "Content-Length: 60000\r\n\r\n");
        say_for_ever(g, "{", DRIP_MS);
        break;
    case RUDE_flood:
        say(g, "\r\n");
        flood(g, (size_t)-1);
        break;
    case RUDE_length:
        say(g, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
        flood(g, 104857600);
        break;
    case RUDE_continue:
        say_for_ever(g, "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n", 0);
        break;
    case RUDE_headers:
        say_for_ever(g, "X-More: and more and more and more and more and more\r\n", 0);
        break;
    case RUDE_header:
        say(g, "X: ");
        say_for_ever(g, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0);
        break;
    case RUDE_redirect:
        snprintf(text, sizeof(text),
                 "HTTP/1.1 307 There\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                 g->server->location);
        say(g, text);
        break;
    case RUDE_two:
        two(g);
        break;
    case RUDE_nest:
        nest(g);
        break;
    default: /* RUDE_reset */
        reset(g);
        break;
    }
}

static void *
receive(void *own)
{
    struct guest *g = own;
    char bytes[16384];
    struct pollfd fds[] = {{.fd = g->server->over, .events = POLLIN},
                           {.fd = g->fd, .events = POLLIN}};

    if (poll(fds, 2, -1) > 0 && !fds[0].revents && recv(g->fd, bytes, sizeof(bytes), 0) > 0)
        behave(g);
    close(g->fd);
    free(g);
    return NULL;
}

static void *
accept_all(void *own)
{
    struct rude_server *s = own;
    struct pollfd fds[] = {{.fd = s->over, .events = POLLIN},
                           {.fd = s->listener, .events = POLLIN}};

    while (poll(fds, 2, -1) > 0 && !fds[0].revents && s->thread_count < THREADS_MAX) {
        struct guest *g = xalloc(sizeof(*g));
        *g = (struct guest){s, accept(s->listener, NULL, NULL)};
        s->connections++;
        if (g->fd < 0 || pthread_create(&s->threads[s->thread_count++], NULL, receive, g) != 0)
            abort();
    }
    return NULL;
}

struct rude_server *
rude_server_start(enum manner m)
{
    struct rude_server *s = xalloc(sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->manner = m;
    s->over = eventfd(0, EFD_CLOEXEC);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->listener, (struct sockaddr *)&address, size) != 0 || listen(s->listener, 64) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &size) != 0 ||
        pthread_create(&s->accepting, NULL, accept_all, s) != 0)
        abort();
    s->port = ntohs(address.sin_port);
    return s;
}

void
rude_server_redirect(struct rude_server *s, const char *url)
{
    snprintf(s->location, sizeof(s->location), "%s", url);
}

int
rude_server_port(const struct rude_server *s)
{
    return s->port;
}

int
rude_server_connections(struct rude_server *s)
{
    return s->connections;
}

void
rude_server_stop(struct rude_server *s)
{
    uint64_t one = 1;

    if (write(s->over, &one, sizeof(one)) != sizeof(one))
        abort();
    pthread_join(s->accepting, NULL);
    for (int i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);
    close(s->listener);
    close(s->over);
    free(s);
}

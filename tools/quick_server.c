/* quick_server: the two ends against which an HTTP judge is measured (tools/bench_judge.sh).
 *
 *   quick_server serve [--latency SECONDS] [--request FILE]
 *       answers every POST on 127.0.0.1 with the same verdict on three steps, at once or after so
 *       long, and prints its port. At SIGTERM it prints how many calls came, the seconds from the
 *       first call to the last answer, and how many were in it at once. FILE gets the last body.
 *   quick_server call URL CALLS IN_FLIGHT FILE
 *       a bare loop of libcurl's multi interface: so many calls with the body in FILE, so many at
 *       once, handles and connections used again.
 *
 * One thread, HTTP/1.1 with keep-alive, no library: what it can answer is the most that any client
 * can be given here. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/memory.h"

#define EVENTS_MAX  64
#define CLIENTS_MAX 8192
#define READ_BYTES  16384

static volatile sig_atomic_t over;

static void
end(int number)
{
    (void)number;
    over = 1;
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the server ---- */

struct client {
    int fd;
    struct buffer in;
};

struct due { /* an answer that waits: answers leave in the order of their calls */
    double at;
    struct client *client;
};

struct server {
    int listener, epoll;
    double latency, first, last;
    int64_t calls, inside, most;
    struct client *clients[CLIENTS_MAX]; /* by descriptor */
    struct due *due;
    int64_t due_first, due_count;
    struct buffer answer, request;
};

static void
write_answer(struct server *s)
{
    static const char verdict[] =
        "{\\\"steps\\\":[{\\\"i\\\":0,\\\"reason\\\":\\\"it follows\\\",\\\"label\\\":\\\"correct\\\"},"
        "{\\\"i\\\":1,\\\"reason\\\":\\\"it does not follow\\\",\\\"label\\\":\\\"incorrect\\\"},"
        "{\\\"i\\\":2,\\\"reason\\\":\\\"it follows\\\",\\\"label\\\":\\\"correct\\\"}]}";
    struct buffer body = {0};

    buffer_print(&body,
                 "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,"
                 "\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"%s\"}"
                 "}],\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":60}}",
                 verdict);
    buffer_print(&s->answer,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                 body.length);
    buffer_add(&s->answer, body.at, body.length);
    buffer_free(&body);
}

static void
drop(struct server *s, struct client *c)
{
    s->clients[c->fd] = NULL;
    close(c->fd);
    buffer_free(&c->in);
    free(c);
}

static void
send_answer(struct server *s, struct client *c)
{
    s->inside--;
    s->last = now();
    if (c && write(c->fd, s->answer.at, s->answer.length) != (ssize_t)s->answer.length)
        abort(); /* a kilobyte fits any socket's buffer */
}

/* A whole request stands at the front of what a client sent: its length, or 0. */
static size_t
whole_request(const struct client *c, size_t *head)
{
    const char *end_of_head = memmem(c->in.at, c->in.length, "\r\n\r\n", 4), *field;

    if (!end_of_head)
        return 0;
    *head = (size_t)(end_of_head - c->in.at) + 4;
    field = strcasestr(c->in.at, "content-length:");
    if (!field || field > end_of_head)
        return *head;
    return c->in.length >= *head + strtoul(field + 15, NULL, 10)
               ? *head + strtoul(field + 15, NULL, 10)
               : 0;
}

static void
take(struct server *s, struct client *c)
{
    size_t head, length;

    while (c->in.length && (length = whole_request(c, &head)) > 0) {
        buffer_clear(&s->request);
        buffer_add(&s->request, c->in.at + head, length - head);
        memmove(c->in.at, c->in.at + length, c->in.length - length);
        c->in.length -= length;
        if (s->calls++ == 0)
            s->first = now();
        s->inside++;
        s->most = s->inside > s->most ? s->inside : s->most;
        if (s->latency <= 0) {
            send_answer(s, c);
        } else if (s->due_count < CLIENTS_MAX) {
            s->due[(s->due_first + s->due_count++) % CLIENTS_MAX] =
                (struct due){now() + s->latency, c};
        }
    }
}

static void
hear(struct server *s, struct client *c)
{
    ssize_t length;

    buffer_reserve(&c->in, READ_BYTES + 1);
    length = read(c->fd, c->in.at + c->in.length, READ_BYTES);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        for (int64_t i = 0; i < s->due_count; i++)
            if (s->due[(s->due_first + i) % CLIENTS_MAX].client == c)
                s->due[(s->due_first + i) % CLIENTS_MAX].client = NULL;
        drop(s, c);
        return;
    }
    c->in.length += (size_t)length;
    c->in.at[c->in.length] = 0;
    take(s, c);
}

static void
welcome(struct server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (fd < 0 || fd >= CLIENTS_MAX) {
        if (fd >= 0)
            close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    s->clients[fd] = xalloc(sizeof(struct client));
    s->clients[fd]->fd = fd;
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int
milliseconds_to_wait(const struct server *s)
{
    double left = s->due_count ? s->due[s->due_first].at - now() : 0.2;

    return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

static void
serve_until_over(struct server *s)
{
    struct epoll_event events[EVENTS_MAX];

    while (!over) {
        int count = epoll_wait(s->epoll, events, EVENTS_MAX, milliseconds_to_wait(s));
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == s->listener)
                welcome(s);
            else if (s->clients[events[i].data.fd])
                hear(s, s->clients[events[i].data.fd]);
        }
        while (s->due_count && s->due[s->due_first].at <= now()) {
            struct client *c = s->due[s->due_first].client;
            s->due_first = (s->due_first + 1) % CLIENTS_MAX;
            s->due_count--;
            send_answer(s, c);
        }
    }
}

static int
serve(int argc, char **argv)
{
    struct server *s = xalloc(sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    struct epoll_event event = {.events = EPOLLIN};
    const char *file = NULL;

    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--latency") == 0)
            s->latency = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--request") == 0)
            file = argv[i + 1];
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->due = xarray(CLIENTS_MAX, sizeof(*s->due));
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    event.data.fd = s->listener;
    if (bind(s->listener, (struct sockaddr *)&address, size) != 0 || listen(s->listener, 4096) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &size) != 0 ||
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &event) != 0) {
        perror("quick_server");
        return 1;
    }
    write_answer(s);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    serve_until_over(s);
    printf("%lld %.6f %lld\n", (long long)s->calls, s->last - s->first, (long long)s->most);
    if (file) {
        FILE *f = fopen(file, "w");
        if (!f || fwrite(s->request.at, 1, s->request.length, f) != s->request.length ||
            fclose(f) != 0)
            return 1;
    }
    return 0;
}

/* ---- the bare loop ---- */

struct loop {
    CURLM *multi;
    int epoll, timer;
    int64_t left, done;
    char *url;
    struct buffer body;
    struct curl_slist *headers;
    size_t got;
};

static int
told_socket(CURL *easy, curl_socket_t fd, int what, void *own, void *known)
{
    struct loop *l = own;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    epoll_ctl(l->epoll,
              what == CURL_POLL_REMOVE ? EPOLL_CTL_DEL
              : known                  ? EPOLL_CTL_MOD
                                       : EPOLL_CTL_ADD,
              fd, &event);
    if (!known)
        curl_multi_assign(l->multi, fd, l);
    return 0;
}

static int
told_timer(CURLM *multi, long milliseconds, void *own)
{
    struct loop *l = own;
    struct itimerspec when = {{0}, {0}};

    (void)multi;
    if (milliseconds >= 0) {
        when.it_value.tv_sec = milliseconds / 1000;
        when.it_value.tv_nsec = milliseconds ? milliseconds % 1000 * 1000000 : 1;
    }
    timerfd_settime(l->timer, 0, &when, NULL);
    return 0;
}

static size_t
told_bytes(char *bytes, size_t one, size_t count, void *own)
{
    struct loop *l = own;

    (void)bytes;
    l->got += one * count;
    return one * count;
}

static void
begin_call(struct loop *l, CURL *easy)
{
    l->left--;
    curl_multi_add_handle(l->multi, easy);
}

static CURL *
new_handle(struct loop *l)
{
    CURL *c = curl_easy_init();

    curl_easy_setopt(c, CURLOPT_URL, l->url);
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, l->body.at);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)l->body.length);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, l->headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, told_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 60000L);
    return c;
}

static int
harvest(struct loop *l)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(l->multi, &left))) {
        CURL *easy = m->easy_handle;
        if (m->msg != CURLMSG_DONE || m->data.result != CURLE_OK)
            return -1;
        curl_multi_remove_handle(l->multi, easy);
        l->done++;
        if (l->left > 0)
            begin_call(l, easy);
        else
            curl_easy_cleanup(easy);
    }
    return 0;
}

static int
read_file(const char *path, struct buffer *out)
{
    FILE *f = fopen(path, "r");
    char bytes[4096];
    size_t n;

    if (!f)
        return -1;
    while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
        buffer_add(out, bytes, n);
    return fclose(f);
}

static int
call(char **argv)
{
    struct loop l = {.url = argv[2], .left = atoll(argv[3])};
    int64_t calls = l.left, in_flight = atoll(argv[4]);
    struct epoll_event events[EVENTS_MAX], event = {.events = EPOLLIN};
    int running;

    if (read_file(argv[5], &l.body) != 0) {
        perror(argv[5]);
        return 1;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    l.multi = curl_multi_init();
    l.epoll = epoll_create1(0);
    l.timer = event.data.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    epoll_ctl(l.epoll, EPOLL_CTL_ADD, l.timer, &event);
    l.headers = curl_slist_append(NULL, "Content-Type: application/json");
    l.headers = curl_slist_append(l.headers, "Expect:");
    curl_multi_setopt(l.multi, CURLMOPT_SOCKETFUNCTION, told_socket);
    curl_multi_setopt(l.multi, CURLMOPT_SOCKETDATA, &l);
    curl_multi_setopt(l.multi, CURLMOPT_TIMERFUNCTION, told_timer);
    curl_multi_setopt(l.multi, CURLMOPT_TIMERDATA, &l);
    curl_multi_setopt(l.multi, CURLMOPT_MAXCONNECTS, (long)in_flight);
    for (int64_t i = 0; i < in_flight && l.left > 0; i++)
        begin_call(&l, new_handle(&l));
    while (l.done < calls) {
        int count = epoll_wait(l.epoll, events, EVENTS_MAX, 1000);
        for (int i = 0; i < count; i++) {
            uint64_t times;
            if (events[i].data.fd != l.timer)
                curl_multi_socket_action(l.multi, events[i].data.fd, 0, &running);
            else if (read(l.timer, &times, sizeof(times)) > 0)
                curl_multi_socket_action(l.multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        if (harvest(&l) != 0) {
            fprintf(stderr, "quick_server: a call failed\n");
            return 1;
        }
    }
    curl_multi_cleanup(l.multi);
    curl_slist_free_all(l.headers);
    buffer_free(&l.body);
    return 0;
}

int
main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = end};

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (argc >= 2 && strcmp(argv[1], "serve") == 0)
        return serve(argc, argv);
    if (argc == 6 && strcmp(argv[1], "call") == 0)
        return call(argv);
    fprintf(stderr, "usage: quick_server serve [--latency SECONDS] [--request FILE]\n"
                    "       quick_server call URL CALLS IN_FLIGHT FILE\n");
    return 2;
}

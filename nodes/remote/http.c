/* http: libcurl's multi interface behind one epoll descriptor.
 *
 * libcurl tells which sockets it waits for (told_socket) and when it wants to be called again
 * (told_timer, a timerfd); both live in one epoll set, so that the owner watches a single
 * descriptor. */
#include "nodes/remote/http.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#define EVENTS_MAX 64 /* taken from epoll at a time ... */
#define ROUNDS_MAX 64 /* ... and so often in one step, lest a fast server starve the node */

struct request {
    struct http *http;
    CURL *easy;
    struct curl_slist *headers;
    char *sent; /* the body, until it ended */
    struct buffer got;
    int64_t got_max;
    bool too_big;
    void *own;
    char fault[CURL_ERROR_SIZE];
    struct request *next, **link;
};

struct http {
    CURLM *multi;
    int epoll, timer;
    struct http_settings settings;
    char *secret;
    struct request *requests; /* in flight */
    struct request *handed;   /* its answer is with the caller */
    int flying;
};

int
http_check(const char *url, struct error *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *user = NULL, *password = NULL;
    int rc = 0;

    if (!u)
        abort();
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        rc = error_set(e, ERROR_topology, "'%.200s' is not a URL such as http://localhost:8000/v1",
                       url);
    if (rc == 0) {
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
        curl_url_get(u, CURLUPART_HOST, &host, 0);
        curl_url_get(u, CURLUPART_USER, &user, 0);
        curl_url_get(u, CURLUPART_PASSWORD, &password, 0);
        if (!scheme || (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
            rc = error_set(e, ERROR_topology, "the URL is neither http:// nor https://");
        else if (user || password)
            rc = error_set(e, ERROR_topology,
                           "the URL holds a user name or password, which would be"
                           " written down; put the key into an environment variable (api_key_env)");
        else if (!host || !*host)
            rc = error_set(e, ERROR_topology, "the URL names no host");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_free(password);
    curl_url_cleanup(u);
    return rc;
}

static int
told_socket(CURL *easy, curl_socket_t fd, int what, void *own, void *of_socket)
{
    struct http *h = own;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    (void)of_socket;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd,
                  NULL); /* it may be closed already: nothing to undo */
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(h->epoll, EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT)
        return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
    return 0;
}

static int
told_timer(CURLM *multi, long milliseconds, void *own)
{
    struct http *h = own;
    struct itimerspec when = {{0}, {0}};

    (void)multi;
    if (milliseconds > 0) {
        when.it_value.tv_sec = milliseconds / 1000;
        when.it_value.tv_nsec = milliseconds % 1000 * 1000000;
    } else if (milliseconds == 0) {
        when.it_value.tv_nsec = 1; /* at once; zero would disarm it */
    }
    return timerfd_settime(h->timer, 0, &when, NULL) == 0 ? 0 : -1;
}

static size_t
told_bytes(char *bytes, size_t one, size_t count, void *own)
{
    struct request *r = own;
    size_t length = one * count;

    if (r->too_big || (int64_t)(r->got.length + length) > r->got_max) {
        r->too_big = true;
        return 0; /* ends the request */
    }
    buffer_add(&r->got, bytes, length);
    return length;
}

void
http_settings_change(struct http *h, const struct http_settings *s)
{
    char *secret = xtext(s->secret ? s->secret : "");

    if (h->secret)
        explicit_bzero(h->secret, strlen(h->secret));
    free(h->secret);
    h->secret = secret;
    h->settings = *s;
    h->settings.secret = secret;
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)s->connections);
}

struct http *
http_open(const struct http_settings *s, struct error *e)
{
    static bool ready;
    struct http *h;
    struct epoll_event event = {.events = EPOLLIN};

    if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        error_set(e, ERROR_remote, "libcurl does not start");
        return NULL;
    }
    ready = true;
    h = xalloc(sizeof(*h));
    h->multi = curl_multi_init();
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    event.data.fd = h->timer;
    if (!h->multi || h->epoll < 0 || h->timer < 0 ||
        epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->timer, &event) != 0) {
        error_set(e, ERROR_remote, "no descriptors for HTTP: %s", strerror(errno));
        http_close(h);
        return NULL;
    }
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, told_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, told_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    http_settings_change(h, s);
    return h;
}

static void
request_free(struct request *r)
{
    if (!r)
        return;
    if (r->link) {
        *r->link = r->next;
        if (r->next)
            r->next->link = r->link;
    }
    curl_multi_remove_handle(r->http->multi, r->easy);
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    free(r->sent);
    buffer_free(&r->got);
    free(r);
}

void
http_close(struct http *h)
{
    if (!h)
        return;
    request_free(h->handed);
    while (h->requests)
        request_free(h->requests);
    if (h->multi)
        curl_multi_cleanup(h->multi);
    if (h->timer >= 0)
        close(h->timer);
    if (h->epoll >= 0)
        close(h->epoll);
    if (h->secret)
        explicit_bzero(h->secret, strlen(h->secret));
    free(h->secret);
    free(h);
}

int
http_fd(const struct http *h)
{
    return h->epoll;
}

int
http_flying(const struct http *h)
{
    return h->flying;
}

static void
add_header(struct request *r, const char *header)
{
    struct curl_slist *list = curl_slist_append(r->headers, header);

    if (!list)
        abort();
    r->headers = list;
}

static void
set_options(struct request *r, const char *url, const struct http_settings *s, size_t length)
{
    CURL *c = r->easy;

    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)fmin(s->timeout_seconds * 1000, 2e9));
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)fmin(s->connect_seconds * 1000, 2e9));
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->sent);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, told_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->fault);
    curl_easy_setopt(c, CURLOPT_PRIVATE, r);
}

int
http_post(struct http *h, const char *url, struct span body, const char *idempotency, void *own,
          struct error *e)
{
    struct request *r = xalloc(sizeof(*r));
    CURLMcode rc;

    r->http = h;
    r->own = own;
    r->got_max = h->settings.answer_bytes_max;
    r->sent = span_copy(body);
    r->easy = curl_easy_init();
    if (!r->easy)
        abort();
    add_header(r, "Content-Type: application/json");
    add_header(r, "Accept: application/json");
    add_header(r, "Expect:"); /* no 100-continue: a judge's prompt is not worth a round trip */
    if (*h->secret) {
        char *line = xprint("Authorization: Bearer %s", h->secret);
        add_header(r, line);
        explicit_bzero(line, strlen(line));
        free(line);
    }
    if (idempotency) {
        char line[HTTP_HEADER_MAX];
        snprintf(line, sizeof(line), "Idempotency-Key: %s", idempotency);
        add_header(r, line);
    }
    set_options(r, url, &h->settings, body.length);
    rc = curl_multi_add_handle(h->multi, r->easy);
    if (rc != CURLM_OK) {
        request_free(r);
        return error_set(e, ERROR_remote, "libcurl: %s", curl_multi_strerror(rc));
    }
    r->next = h->requests;
    r->link = &h->requests;
    if (r->next)
        r->next->link = &r->next;
    h->requests = r;
    h->flying++;
    return 0;
}

int
http_step(struct http *h, struct error *e)
{
    struct epoll_event events[EVENTS_MAX];
    int running, count = EVENTS_MAX;
    CURLMcode rc = CURLM_OK;

    for (int round = 0; round < ROUNDS_MAX && count > 0 && rc == CURLM_OK; round++) {
        count = epoll_wait(h->epoll, events, EVENTS_MAX, 0);
        for (int i = 0; i < count && rc == CURLM_OK; i++) {
            int fd = events[i].data.fd, what = 0;
            if (fd == h->timer) {
                uint64_t times;
                if (read(h->timer, &times, sizeof(times)) < 0)
                    continue; /* disarmed meanwhile */
                rc = curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
                continue;
            }
            what |= events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0;
            what |= events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
            what |= events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0;
            rc = curl_multi_socket_action(h->multi, fd, what, &running);
        }
    }
    if (rc != CURLM_OK)
        return error_set(e, ERROR_remote, "libcurl: %s", curl_multi_strerror(rc));
    return 0;
}

static bool
header(struct request *r, const char *name, char *value, size_t room)
{
    struct curl_header *h;

    value[0] = 0;
    if (curl_easy_header(r->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return false;
    snprintf(value, room, "%s", h->value);
    return true;
}

/* Seconds, as the official clients read them: retry-after-ms, else retry-after as seconds or as a
 * date. */
static double
retry_after(struct request *r)
{
    char value[HTTP_HEADER_MAX], *end;
    double seconds;
    time_t date;

    if (header(r, "retry-after-ms", value, sizeof(value))) {
        seconds = strtod(value, &end) / 1000;
        if (end != value && *end == 0 && isfinite(seconds) && seconds >= 0)
            return seconds;
    }
    if (!header(r, "retry-after", value, sizeof(value)))
        return -1;
    seconds = strtod(value, &end);
    if (end != value && *end == 0)
        return isfinite(seconds) && seconds >= 0 ? seconds : -1;
    date = curl_getdate(value, NULL);
    return date > 0 ? fmax(0, difftime(date, time(NULL))) : -1;
}

/* A server that echoes the key must not get it into a log or a store. */
static void
star_out(char *text, size_t length, const char *secret)
{
    size_t n = strlen(secret);
    char *at = text;

    while (n && length >= n && (at = memmem(at, length - (size_t)(at - text), secret, n)) != NULL)
        memset(at, '*', n);
}

/* Faults that trying again does not pass: the server is not who it says, or the URL is no URL. */
static bool
is_broken(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_PINNEDPUBKEYNOTMATCH ||
           code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
}

bool
http_next(struct http *h, struct http_answer *a)
{
    CURLMsg *m;
    struct request *r = NULL;
    int left;
    long status = 0;
    char value[HTTP_HEADER_MAX];

    request_free(h->handed);
    h->handed = NULL;
    do
        m = curl_multi_info_read(h->multi, &left);
    while (m && m->msg != CURLMSG_DONE);
    if (!m)
        return false;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    *a = (struct http_answer){.own = r->own, .should_retry = -1, .too_big = r->too_big};
    if (m->data.result != CURLE_OK && !r->too_big)
        snprintf(a->failure, sizeof(a->failure), "%s",
                 r->fault[0] ? r->fault : curl_easy_strerror(m->data.result));
    else
        a->status = (int)status;
    a->broken = a->failure[0] && is_broken(m->data.result);
    a->retry_after = retry_after(r);
    if (header(r, "x-should-retry", value, sizeof(value)))
        a->should_retry = strcasecmp(value, "true") == 0    ? 1
                          : strcasecmp(value, "false") == 0 ? 0
                                                            : -1;
    header(r, "location", a->location, sizeof(a->location));
    star_out(a->location, strlen(a->location), h->secret);
    if (r->too_big)
        buffer_clear(&r->got);
    star_out(r->got.at, r->got.length, h->secret);
    a->body = buffer_span(&r->got);
    h->handed = r;
    h->flying--;
    return true;
}

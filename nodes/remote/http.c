/* http: libcurl's multi interface behind one epoll descriptor.
 *
 * libcurl tells which sockets it waits for (told_socket) and when it wants to be called again
 * (told_timer, a timerfd); both live in one epoll set, so that the owner watches a single
 * descriptor. An easy handle and its buffer serve one request after another. */
#include "nodes/remote/http.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "nodes/remote/http_headers.h"
#include "nodes/remote/redact.h"

#define EVENTS_MAX   64  /* taken from epoll at a time ... */
#define ROUNDS_MAX   64  /* ... and so often in one step, lest a fast server starve the node */
#define FILES_BESIDE 256 /* that a process has open beside its connections */
#define BUFFER_KEPT  (1 << 17) /* a larger one is not kept for the next request */

struct request {
    struct http *http;
    CURL *easy;
    struct curl_slist idempotency; /* before the shared headers */
    char name[HTTP_HEADER_MAX];
    struct buffer got;
    int64_t headers_length;
    bool too_big, flying;
    void *own;
    char fault[CURL_ERROR_SIZE];
    struct request *next, **link; /* among those in flight, or those at rest */
};

struct http {
    CURLM *multi;
    int epoll, timer;
    double due, armed; /* when libcurl and the timer want to be woken; INFINITY: never */
    struct http_settings settings; /* its texts are not kept */
    char *secret, *ca_file;
    char *former; /* the secret before: requests in flight went out with it, and may come back */
    struct curl_slist *headers; /* of every request from now on */
    struct curl_slist **worn;   /* of earlier settings: requests in flight read them */
    int worn_count;
    struct request *requests; /* in flight */
    struct request *resting;
    struct request *handed; /* its answer is with the caller */
    int flying;
};

static double
clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- what libcurl tells ---- */

static int
told_socket(CURL *easy, curl_socket_t fd, int what, void *own, void *known)
{
    struct http *h = own;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        /* it may be closed already: nothing to undo */
        epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (known)
        return epoll_ctl(h->epoll, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : -1;
    curl_multi_assign(h->multi, fd, h);
    return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
}

/* A timer set for every request would cost more than the request: it is armed when a step ends. */
static int
told_timer(CURLM *multi, long milliseconds, void *own)
{
    struct http *h = own;

    (void)multi;
    h->due = milliseconds < 0 ? INFINITY : clock_now() + (double)milliseconds / 1000;
    return 0;
}

static size_t
told_bytes(char *bytes, size_t one, size_t count, void *own)
{
    struct request *r = own;
    size_t length = one * count;

    if ((int64_t)(r->got.length + length) > r->http->settings.answer_bytes_max) {
        r->too_big = true;
        return 0; /* ends the request */
    }
    buffer_add(&r->got, bytes, length);
    return length;
}

/* libcurl keeps every header of every answer, those of 1xx too: a server could send them for ever.
 */
static size_t
told_header(char *bytes, size_t one, size_t count, void *own)
{
    struct request *r = own;

    (void)bytes;
    r->headers_length += (int64_t)(one * count);
    return r->headers_length > HTTP_HEADERS_MAX ? 0 : one * count;
}

/* ---- settings ---- */

static struct curl_slist *
add_header(struct curl_slist *list, const char *header)
{
    struct curl_slist *longer = curl_slist_append(list, header);

    if (!longer)
        abort();
    return longer;
}

static struct curl_slist *
headers_of(const struct http_settings *s)
{
    struct curl_slist *list = add_header(NULL, "Content-Type: application/json");
    bool bearer = !s->secret_header || strcasecmp(s->secret_header, "Authorization") == 0;

    list = add_header(list, "Accept: application/json");
    list = add_header(list, "Expect:"); /* no 100-continue: not worth a round trip */
    for (int i = 0; i < s->header_count; i++)
        list = add_header(list, s->headers[i]);
    if (s->secret && *s->secret) {
        char *line = xprint("%s: %s%s", bearer ? "Authorization" : s->secret_header,
                            bearer ? "Bearer " : "", s->secret);
        list = add_header(list, line);
        explicit_bzero(line, strlen(line));
        free(line);
    }
    return list;
}

static void
headers_free(struct curl_slist *list)
{
    for (struct curl_slist *l = list; l; l = l->next)
        explicit_bzero(l->data, strlen(l->data)); /* one of them holds the secret */
    curl_slist_free_all(list);
}

static void
secret_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

/* A connection is a file. The soft limit is often 1024, and the hard one far above. */
static void
want_files(int connections)
{
    struct rlimit files;
    rlim_t want = (rlim_t)connections + FILES_BESIDE;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= want)
        return;
    files.rlim_cur = files.rlim_max < want ? files.rlim_max : want;
    setrlimit(RLIMIT_NOFILE, &files);
}

void
http_settings_change(struct http *h, const struct http_settings *s)
{
    char *secret = xtext(s->secret ? s->secret : "");
    struct curl_slist *headers = headers_of(s);

    while (h->worn_count && !h->flying)
        headers_free(h->worn[--h->worn_count]);
    if (h->headers) {
        h->worn = xresize(h->worn, (size_t)(h->worn_count + 1) * sizeof(*h->worn));
        h->worn[h->worn_count++] = h->headers;
    }
    if (h->secret && strcmp(h->secret, secret) != 0) {
        secret_free(h->former);
        h->former = h->secret;
    } else {
        secret_free(h->secret);
    }
    free(h->ca_file);
    h->ca_file = s->ca_file && s->ca_file[0] ? xtext(s->ca_file) : NULL;
    h->headers = headers;
    h->secret = secret;
    h->settings = *s;
    want_files(s->connections);
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
    h->due = h->armed = INFINITY;
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

/* ---- requests ---- */

static void
move_to(struct request *r, struct request **list)
{
    if (r->link) {
        *r->link = r->next;
        if (r->next)
            r->next->link = r->link;
    }
    r->next = *list;
    r->link = list;
    if (r->next)
        r->next->link = &r->next;
    *list = r;
}

static void
request_free(struct request *r)
{
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    if (r->flying)
        curl_multi_remove_handle(r->http->multi, r->easy);
    curl_easy_cleanup(r->easy);
    buffer_free(&r->got);
    free(r);
}

/* The request is over: its handle and buffer wait for the next. */
static void
rest(struct request *r)
{
    if (r->flying)
        curl_multi_remove_handle(r->http->multi, r->easy);
    r->flying = false;
    buffer_clear(&r->got);
    if (r->got.room > BUFFER_KEPT)
        buffer_free(&r->got);
    move_to(r, &r->http->resting);
}

void
http_close(struct http *h)
{
    if (!h)
        return;
    while (h->requests)
        request_free(h->requests);
    while (h->resting)
        request_free(h->resting);
    if (h->multi)
        curl_multi_cleanup(h->multi);
    if (h->timer >= 0)
        close(h->timer);
    if (h->epoll >= 0)
        close(h->epoll);
    while (h->worn_count)
        headers_free(h->worn[--h->worn_count]);
    free(h->worn);
    headers_free(h->headers);
    secret_free(h->secret);
    secret_free(h->former);
    free(h->ca_file);
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

/* What holds for every request of a handle. */
static struct request *
request_new(struct http *h)
{
    struct request *r = xalloc(sizeof(*r));
    CURL *c = curl_easy_init();

    if (!c)
        abort();
    r->http = h;
    r->easy = c;
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "sluice"); /* some gateways want one */
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, told_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, told_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->fault);
    curl_easy_setopt(c, CURLOPT_PRIVATE, r);
    return r;
}

static struct request *
request_take(struct http *h, const char *url, void *own)
{
    const struct http_settings *s = &h->settings;
    struct request *r = h->resting ? h->resting : request_new(h);
    CURL *c = r->easy;
    bool two = s->version == HTTP_auto && strncasecmp(url, "https", 5) == 0;

    move_to(r, &h->requests);
    r->own = own;
    r->too_big = false;
    r->headers_length = 0;
    r->fault[0] = 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION,
                     two ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    /* Rather a stream of HTTP/2 than a connection: the handshake soon tells which it is. */
    curl_easy_setopt(c, CURLOPT_PIPEWAIT, (long)two);
    if (h->ca_file)
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)fmin(s->timeout_seconds * 1000, 2e9));
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)fmin(s->connect_seconds * 1000, 2e9));
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)s->answer_bytes_max);
    return r;
}

static int
fly(struct http *h, struct request *r, struct error *e)
{
    CURLMcode rc = curl_multi_add_handle(h->multi, r->easy);

    if (rc != CURLM_OK) {
        rest(r);
        return error_set(e, ERROR_remote, "libcurl: %s", curl_multi_strerror(rc));
    }
    r->flying = true;
    h->flying++;
    return 0;
}

int
http_post(struct http *h, const char *url, struct span body, const char *idempotency, void *own,
          struct error *e)
{
    struct request *r = request_take(h, url, own);
    struct curl_slist *headers = h->headers;

    if (idempotency) {
        snprintf(r->name, sizeof(r->name), "Idempotency-Key: %s", idempotency);
        r->idempotency = (struct curl_slist){r->name, headers};
        headers = &r->idempotency;
    }
    curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, body.at);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.length);
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, headers);
    return fly(h, r, e);
}

int
http_get(struct http *h, const char *url, void *own, struct error *e)
{
    struct request *r = request_take(h, url, own);

    curl_easy_setopt(r->easy, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, h->headers);
    return fly(h, r, e);
}

/* libcurl's time has come: requests begin, time-outs end. */
static CURLMcode
run_due(struct http *h, int *running)
{
    CURLMcode rc = CURLM_OK;

    for (int round = 0; round < ROUNDS_MAX && rc == CURLM_OK && h->due <= clock_now(); round++) {
        h->due = INFINITY;
        rc = curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, running);
    }
    return rc;
}

/* The timer wakes the owner in time; at once where an answer waits to be taken. Waking too early
 * does no harm, so a timer that is set earlier stays. */
static void
arm(struct http *h, int running)
{
    double now = clock_now(), when = running < h->flying ? now : h->due, wait;
    struct itimerspec spec = {{0}, {0}};

    if (!isfinite(when) || h->armed <= when)
        return;
    wait = fmin(fmax(when - now, 1e-9), 1e9);
    spec.it_value.tv_sec = (time_t)wait;
    spec.it_value.tv_nsec = (long)((wait - floor(wait)) * 1e9) + 1;
    h->armed = timerfd_settime(h->timer, 0, &spec, NULL) == 0 ? when : INFINITY;
}

int
http_begin(struct http *h, struct error *e)
{
    int running = h->flying;
    CURLMcode rc = run_due(h, &running);

    arm(h, running);
    return rc == CURLM_OK ? 0 : error_set(e, ERROR_remote, "libcurl: %s", curl_multi_strerror(rc));
}

/* One descriptor of the epoll set is ready. */
static CURLMcode
stir(struct http *h, const struct epoll_event *event, int *running)
{
    int what = 0;
    uint64_t times;

    if (event->data.fd == h->timer) {
        if (read(h->timer, &times, sizeof(times)) >= 0)
            h->armed = INFINITY;
        return CURLM_OK;
    }
    what |= event->events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0;
    what |= event->events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
    what |= event->events & EPOLLERR ? CURL_CSELECT_ERR : 0;
    return curl_multi_socket_action(h->multi, event->data.fd, what, running);
}

int
http_step(struct http *h, struct error *e)
{
    struct epoll_event events[EVENTS_MAX];
    int count = EVENTS_MAX, running = h->flying;
    CURLMcode rc = run_due(h, &running);

    for (int round = 0; round < ROUNDS_MAX && count == EVENTS_MAX && rc == CURLM_OK; round++) {
        count = epoll_wait(h->epoll, events, EVENTS_MAX, 0);
        for (int i = 0; i < count && rc == CURLM_OK; i++)
            rc = stir(h, &events[i], &running);
        if (rc == CURLM_OK)
            rc = run_due(h, &running);
    }
    if (rc != CURLM_OK)
        return error_set(e, ERROR_remote, "libcurl: %s", curl_multi_strerror(rc));
    arm(h, h->flying);
    return 0;
}

/* ---- answers ---- */

/* Faults that trying again does not pass: the server is not who it says, or the URL is no URL. */
static bool
is_broken(const struct request *r, CURLcode code)
{
    char *address = NULL;

    curl_easy_getinfo(r->easy, CURLINFO_PRIMARY_IP, &address);
    if (code == CURLE_UNSUPPORTED_PROTOCOL)
        return !address || !*address; /* else the server did not speak HTTP, this time */
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_PINNEDPUBKEYNOTMATCH ||
           code == CURLE_URL_MALFORMAT;
}

static bool
is_open_ended(const struct request *r)
{
    struct curl_header *coding;
    curl_off_t length = -1;
    long version = 0;

    curl_easy_getinfo(r->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    curl_easy_getinfo(r->easy, CURLINFO_HTTP_VERSION, &version);
    return length < 0 && version < CURL_HTTP_VERSION_2_0 &&
           curl_easy_header(r->easy, "transfer-encoding", 0, CURLH_HEADER, -1, &coding) !=
               CURLHE_OK;
}

static void
read_fault(const struct request *r, CURLcode code, struct http_answer *a)
{
    curl_off_t connected = 0, uploaded = 0;

    curl_easy_getinfo(r->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
    snprintf(a->failure, sizeof(a->failure), "%s",
             r->headers_length > HTTP_HEADERS_MAX ? "the answer's headers do not end"
             : r->fault[0]                        ? r->fault
                                                  : curl_easy_strerror(code));
    a->broken = is_broken(r, code);
    curl_easy_getinfo(r->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    a->sent = uploaded > 0;
    a->timed_out = code == CURLE_OPERATION_TIMEDOUT && connected > 0;
}

bool
http_next(struct http *h, struct http_answer *a)
{
    CURLMsg *m;
    struct request *r = NULL;
    int left;
    long status = 0;

    if (h->handed)
        rest(h->handed);
    h->handed = NULL;
    do
        m = curl_multi_info_read(h->multi, &left);
    while (m && m->msg != CURLMSG_DONE);
    if (!m)
        return false;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    r->too_big |= m->data.result == CURLE_FILESIZE_EXCEEDED;
    *a = (struct http_answer){.own = r->own, .too_big = r->too_big};
    if (m->data.result != CURLE_OK && !r->too_big)
        read_fault(r, m->data.result, a);
    else
        a->status = (int)status;
    a->open_ended = is_open_ended(r);
    http_headers_read(r->easy, a);
    if (r->too_big)
        buffer_clear(&r->got);
    for (int i = 0; i < 2; i++) {
        const char *secret = i == 0 ? h->secret : h->former ?: "";
        redact_cut(a->location, sizeof(a->location), secret);
        redact_cut(a->failure, sizeof(a->failure), secret);
        redact(r->got.at, r->got.length, secret);
    }
    a->body = buffer_span(&r->got);
    h->handed = r;
    h->flying--;
    return true;
}

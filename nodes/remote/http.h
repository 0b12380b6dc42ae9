/* http: many requests in flight at once, on one epoll descriptor, without ever blocking.
 *
 * http_fd() becomes readable when something can move; http_step() then moves it; http_next() hands
 * out what ended. Connections are kept and used again; where a server speaks HTTP/2, one connection
 * carries many requests. Limits: the body of an answer, its headers (those of 1xx answers
 * included), the time to connect, the time in all. HTTP and HTTPS only, certificates checked,
 * redirects not followed, no cookies, no compression asked for (a small body could unfold into a
 * huge one). The secret never leaves this file but in its header: its bytes are starred out of
 * every answer. */
#ifndef NODES_REMOTE_HTTP_H
#define NODES_REMOTE_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define HTTP_HEADER_MAX      256      /* bytes kept of a header's value */
#define HTTP_HEADERS_MAX     (1 << 18) /* bytes of all headers of one answer */
#define HTTP_CONNECTIONS_MAX 4096

struct http;

enum http_version {
    HTTP_auto, /* 2 where a server offers it over TLS, else 1.1 */
    HTTP_1,    /* 1.1 */
};

/* All copied. */
struct http_settings {
    const char *secret;          /* NULL or "": none */
    const char *secret_header;   /* "Authorization", sent with "Bearer", or another, without */
    const char *const *headers;  /* further ones, "Name: value" */
    int header_count;
    const char *ca_file; /* certificates to trust instead of the system's; NULL or "": those */
    double timeout_seconds;      /* of one request in all */
    double connect_seconds;
    int64_t answer_bytes_max;
    int connections; /* kept open for reuse */
    enum http_version version;
};

/* What a header of the kind x-ratelimit-* says of the calls that may still be made; < 0: nothing. */
struct http_allowance {
    double remaining;     /* requests or tokens */
    double reset_seconds; /* until there are more */
};

struct http_answer {
    void *own;          /* as given to http_post() */
    int status;         /* 0: no answer, see failure */
    bool too_big;       /* the body passed answer_bytes_max and was dropped; the status stands */
    bool sent;          /* of a failure: the request, or a part of it, had left */
    bool broken;        /* no answer can come until a person mends it: certificate, URL, proxy */
    bool open_ended;    /* only the end of the connection said that the body was whole */
    bool timed_out;     /* the failure is that time ran out after the server was reached */
    char failure[256];  /* "Connection refused"; empty when a whole answer came */
    struct span body;   /* whole, when failure is empty */
    double retry_after; /* seconds the server asks to wait; < 0: it does not say */
    int should_retry;   /* x-should-retry: 1 true, 0 false, -1 absent */
    struct http_allowance requests, tokens;
    char location[HTTP_HEADER_MAX];
};

/* NULL and ERROR_remote when libcurl or the system refuses. */
struct http *http_open(const struct http_settings *s, struct error *e);
void http_close(struct http *h); /* requests in flight are dropped */
void http_settings_change(struct http *h,
                          const struct http_settings *s); /* from the next request on */
int http_fd(const struct http *h);

/* Sends a JSON body to a URL. The body stays where it is until the request was handed out by
 * http_next(); the URL is copied. IDEMPOTENCY names the request across its retries; NULL: no such
 * header. */
int http_post(struct http *h, const char *url, struct span body, const char *idempotency, void *own,
              struct error *e);
int http_get(struct http *h, const char *url, void *own, struct error *e);

/* After one or more of these two: what was given begins, and http_fd() tells of its progress. */
int http_begin(struct http *h, struct error *e);

/* Moves what can be moved; http_next() then wants to be called until it is false.
 * -> ERROR_remote only when the machinery itself is broken. */
int http_step(struct http *h, struct error *e);

/* The next request that ended; false: none. The answer is valid until the next call of http_next.
 */
bool http_next(struct http *h, struct http_answer *a);

int http_flying(const struct http *h); /* posted, and not yet handed out */

/* Seconds in a value of x-ratelimit-reset-*: "20ms", "1m30.5s", "12", or seconds since 1970; < 0
 * where it is none of these. `now` is seconds since 1970. */
double http_seconds(const char *value, double now);

#endif

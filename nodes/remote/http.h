/* http: many POST requests in flight at once, on one epoll descriptor, without ever blocking.
 *
 * http_fd() becomes readable when something can move; http_step() then moves it; http_next() hands
 * out what ended. Limits: the body of an answer, the time to connect, the time in all. HTTP and
 * HTTPS only, certificates checked, redirects not followed, no compression asked for (a small body
 * could unfold into a huge one). The secret never leaves this file but in the Authorization header:
 * its bytes are starred out of every answer. */
#ifndef NODES_REMOTE_HTTP_H
#define NODES_REMOTE_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define HTTP_HEADER_MAX 256 /* bytes kept of a header's value */

struct http;

struct http_settings {
    const char *secret;     /* sent as "Authorization: Bearer"; NULL or "": none; copied */
    double timeout_seconds; /* of one request in all */
    double connect_seconds;
    int64_t answer_bytes_max;
    int connections; /* kept open for reuse */
};

struct http_answer {
    void *own;          /* as given to http_post() */
    int status;         /* 0: no answer, see failure */
    bool too_big;       /* the body passed answer_bytes_max and was dropped; the status stands */
    bool broken;        /* no answer can come until a person mends it: certificate, URL, proxy */
    char failure[256];  /* "Connection refused"; empty when a whole answer came */
    struct span body;   /* whole, when failure is empty */
    double retry_after; /* seconds the server asks to wait; < 0: it does not say */
    int should_retry;   /* x-should-retry: 1 true, 0 false, -1 absent */
    char location[HTTP_HEADER_MAX];
};

/* NULL and ERROR_remote when libcurl or the system refuses. */
struct http *http_open(const struct http_settings *s, struct error *e);
void http_close(struct http *h); /* requests in flight are dropped */
void http_settings_change(struct http *h,
                          const struct http_settings *s); /* from the next request on */
int http_fd(const struct http *h);

/* Sends a JSON body to a URL (both copied). IDEMPOTENCY names the request across its retries; NULL:
 * no such header. */
int http_post(struct http *h, const char *url, struct span body, const char *idempotency, void *own,
              struct error *e);

/* Moves what can be moved. -> ERROR_remote only when the machinery itself is broken. */
int http_step(struct http *h, struct error *e);

/* The next request that ended; false: none. The answer is valid until the next call of http_next.
 */
bool http_next(struct http *h, struct http_answer *a);

int http_flying(const struct http *h); /* posted, and not yet handed out */

/* Is this a URL we would call: http or https, a host, no user or password in it? -> ERROR_topology.
 */
int http_check(const char *url, struct error *e);

#endif

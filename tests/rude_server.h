/* rude_server: what no HTTP library would send. Each connection's first request is answered with the
 * bytes of one manner, by a thread of its own; the server lives until it is stopped. */
#ifndef TESTS_RUDE_SERVER_H
#define TESTS_RUDE_SERVER_H

#include <stdbool.h>

enum manner {
    RUDE_drip,         /* a header that goes on with a byte every few milliseconds */
    RUDE_body_drip,    /* a body that does */
    RUDE_flood,        /* a body without length that never ends */
    RUDE_length,       /* a body of 100 MB, announced */
    RUDE_short,        /* announces 1000 bytes, sends 10 and closes */
    RUDE_chunks,       /* a chunk whose size is no number */
    RUDE_big_chunk,    /* a chunk of 2^80 bytes */
    RUDE_early,        /* closes in the middle of a header */
    RUDE_reset,        /* resets the connection */
    RUDE_continue,     /* 1xx answers without end */
    RUDE_headers,      /* headers without end */
    RUDE_header,       /* one header without end */
    RUDE_binary,       /* bytes that are no HTTP */
    RUDE_status,       /* a status that is no number */
    RUDE_lengths,      /* two lengths that differ */
    RUDE_html,         /* 200 with a page of HTML */
    RUDE_gzip,         /* 200 with a coding that nobody asked for */
    RUDE_no_content,   /* 204 */
    RUDE_two,          /* an answer, and one more that nobody asked for */
    RUDE_redirect,     /* 307 to the url of rude_server_redirect() */
    RUDE_nest,         /* JSON nested a million deep */
    RUDE_count
};

struct rude_server;

struct rude_server *rude_server_start(enum manner m); /* on 127.0.0.1; aborts where it cannot */
void rude_server_redirect(struct rude_server *s, const char *url); /* before the first request */
int rude_server_port(const struct rude_server *s);
int rude_server_connections(struct rude_server *s); /* so far */
void rude_server_stop(struct rude_server *s);

#endif

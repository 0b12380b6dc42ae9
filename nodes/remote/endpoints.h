/* endpoints: the servers that can answer a node's calls, each with its health and its pace.
 *
 * A call goes to the server with the fewest calls in flight for its window, the first named where
 * they are equal. The window is how many calls may fly to a server: it begins at the node's
 * in_flight, is halved when a fifth of the answers say that it is too much (429, a time-out), once
 * for all calls that were out together, and grows by a 32nd of in_flight for each window of answers.
 * A server that failed three times in a row is left alone while another one is there, and tried
 * with single calls after 1, 2, 4 ... 30 s. One that refuses us gets one call at a time, after 1,
 * 2, 4 ... 60 s. One that asks for rest gets it. Times are node_now()'s. */
#ifndef NODES_REMOTE_ENDPOINTS_H
#define NODES_REMOTE_ENDPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/node.h"
#include "nodes/remote/limits.h"
#include "nodes/remote/reply.h"

#define ENDPOINTS_MAX         64
#define ENDPOINT_FAILURES_MAX 3    /* in a row before a server counts as down */
#define ENDPOINT_DOWN_MAX     30.0 /* seconds before it is tried again */
#define ENDPOINT_REFUSED_MAX  60.0

struct endpoint {
    char *url; /* as the user wrote it */
    int flying;
    double window, cut_at;
    double strain; /* answers of late that said it was too much, each worth four good ones */
    int failures;
    int downs; /* times in a row that it was found down */
    double down_until;
    int refused; /* refusals in a row; 0: none */
    double refused_until;
    double limited_until; /* it asked for rest */
    struct allowance requests, tokens;
};

struct endpoints {
    int count, in_flight;
    struct endpoint at[ENDPOINTS_MAX];
};

/* URLS: a list whose elements may hold several urls each, between spaces or commas. What is known
 * of a url that stays is kept; MOVED (may be NULL) gets for each old server its new place, -1 where
 * it is gone. -> ERROR_topology where one is no url, and then nothing changed. */
int endpoints_set(struct endpoints *s, const struct texts *urls, int in_flight,
                  int moved[ENDPOINTS_MAX], struct error *e);
void endpoints_free(struct endpoints *s);

/* The server for a call of about TOKENS tokens, not AVOID where there is another (-1: none), or -1:
 * none now, and *when (if it is sooner) gets the time at which to ask again. */
int endpoints_choose(const struct endpoints *s, double tokens, int avoid, double now, double *when);

/* Is there a server other than this one that is neither down nor refusing? */
bool endpoints_other(const struct endpoints *s, int which);

/* Do all servers refuse us? */
bool endpoints_refuse(const struct endpoints *s);

/* Do all of them rest because they asked for it? -> until when; 0: no. */
double endpoints_limited(const struct endpoints *s, double now);

void endpoint_sent(struct endpoint *p, double tokens);

/* A call sent at SENT_AT came back. TIMED_OUT: without an answer in time. */
void endpoint_answered(struct endpoints *s, int which, const struct reply *r, bool timed_out,
                       double sent_at, double now);

#endif

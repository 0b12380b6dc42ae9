/* reply: what an HTTP answer means for the call that got it, whatever was asked. Nothing here
 * touches a socket or a node.
 *
 * Which answers are tried again follows the official client (openai-python): no answer, time-outs,
 * 408, 409, 429 and 5xx; x-should-retry overrides; Retry-After counts. Beyond it, a fault that a
 * person must mend (401, 403, an unknown model, a redirect, no quota) is not the message's fault:
 * the stage waits. */
#ifndef NODES_REMOTE_REPLY_H
#define NODES_REMOTE_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "nodes/remote/http.h"

#define REPLY_WHY_MAX      400   /* bytes of an answer's explanation */
#define REPLY_ASKED_MAX    120.0 /* seconds a server may make us wait, as in the official client */
#define REPLY_BACK_OFF_MAX 8.0   /* seconds between tries when it does not say */
#define REPLY_TOKENS_MAX   100000000 /* of one answer; a server that counts more is not believed */

enum reply_outcome {
    REPLY_json,     /* a JSON object came with 200 */
    REPLY_again,    /* transient: the same call again, later */
    REPLY_refused,  /* a person must mend something: wait, and try now and then */
    REPLY_spoiled,  /* this answer is no use; the call may be tried again a few times */
    REPLY_unsupported, /* the server does not know the call's response_format */
    REPLY_too_long, /* this call can never be answered: it passes the model's context */
};

struct reply {
    enum reply_outcome outcome;
    bool limited;            /* 429: the server wants fewer calls */
    double wait_seconds;     /* asked by the server, in 0 .. REPLY_ASKED_MAX; < 0: our own back-off */
    char why[REPLY_WHY_MAX]; /* one line: "429: Rate limit reached"; empty for REPLY_json */
    json_t *json;            /* of REPLY_json, owned by who reads it; else NULL */
    uint64_t tokens_in, tokens_out; /* of its usage; both 0: it does not say, or not all */
    uint64_t tokens_cached;         /* of tokens_in, those that the server had cached */
    struct http_allowance requests, tokens; /* what may still be sent, by its headers */
};

void reply_read(const struct http_answer *a, struct reply *out);

/* Like reply_read() of a 200 with this body: for an answer that was kept. */
void reply_body(struct span body, struct reply *out);

/* The words of an error body in any of the shapes in use, on one line: {"error":{"message","code",
 * "type"}}, {"error":"text"}, {"message":...}, {"detail":...}, or plain text, where `root` is NULL.
 * `code` gets the machine's words for it, "code type". */
void reply_words(const json_t *root, struct span body, char *words, size_t room, char *code,
                 size_t code_room);

/* Seconds before try number `failures` + 1 (failures >= 1); `unit` in [0,1) spreads the calls. */
double reply_back_off(int failures, double unit);

#endif

/* chat: the OpenAI-compatible chat completion as JSON, asked and answered, and what an answer means
 * for the stage. Nothing here touches a socket or a node.
 *
 * Which answers are tried again follows the official client (openai-python): no answer, time-outs,
 * 408, 409, 429 and 5xx; x-should-retry overrides; Retry-After counts. Beyond it, a fault that a
 * person must mend (401, 403, an unknown model, a redirect, no quota) is not the message's fault:
 * the stage waits. */
#ifndef NODES_LLM_JUDGE_CHAT_H
#define NODES_LLM_JUDGE_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "nodes/llm_judge/http.h"
#include "nodes/llm_judge/prompt.h"

#define CHAT_WHY_MAX      400   /* bytes of an answer's explanation */
#define CHAT_ASKED_MAX    120.0 /* seconds a server may make us wait, as in the official client */
#define CHAT_BACK_OFF_MAX 8.0   /* seconds between tries when it does not say */
#define CHAT_REFUSED_MAX  60.0  /* seconds between tries while it refuses us */

enum chat_format { CHAT_text, CHAT_json, CHAT_schema };
enum chat_limit { CHAT_max_tokens, CHAT_max_completion_tokens };

struct chat_request {
    const char *model;
    const struct prompt_messages *messages;
    double temperature;    /* < 0: not sent */
    int64_t max_tokens;    /* 0: not sent */
    enum chat_limit limit; /* under which name */
    int64_t seed;          /* < 0: not sent */
    enum chat_format format;
};

/* Appends the request body. -> ERROR_input when a message is not UTF-8. The same request gives the
 * same bytes. */
int chat_write(const struct chat_request *r, struct buffer *out, struct error *e);

enum chat_outcome {
    CHAT_content,  /* an answer in words: content */
    CHAT_again,    /* transient: the same call again, later */
    CHAT_refused,  /* a person must mend something: wait, and try now and then */
    CHAT_spoiled,  /* this answer is no use; the call may be tried again a few times */
    CHAT_hopeless, /* this call can never be answered: context too long */
};

struct chat_answer {
    enum chat_outcome outcome;
    bool limited;           /* 429: the server wants fewer calls */
    double wait_seconds;    /* asked by the server, in 0 .. CHAT_ASKED_MAX; < 0: our own back-off */
    char why[CHAT_WHY_MAX]; /* one line: "429: Rate limit reached"; empty for CHAT_content */
    struct buffer content;  /* the words; may hold anything */
    uint64_t tokens_in, tokens_out;
};

/* Zero-initialise `out`, reuse it freely, buffer_free(&out->content) at the end. */
void chat_read(const struct http_answer *a, struct chat_answer *out);

/* Seconds before try number `failures` + 1 (failures >= 1); `unit` in [0,1) spreads the calls. */
double chat_back_off(int failures, double unit);

#endif

/* chat: the OpenAI-compatible chat completion as JSON, asked and answered. Nothing here touches a
 * socket or a node; what an HTTP status means is nodes/remote/reply.h. */
#ifndef NODES_LLM_JUDGE_CHAT_H
#define NODES_LLM_JUDGE_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "nodes/llm_judge/prompt.h"

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

/* Appends the words of a completion; they may hold anything. -> ERROR_input where there are none:
 * "the model refused", "the answer was cut at max_tokens before a word of it". */
int chat_read(const json_t *completion, struct buffer *content, struct error *e);

#endif

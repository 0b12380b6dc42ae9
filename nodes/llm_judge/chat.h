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

/* response_format: none, {"type": "json_object"}, that with a schema beside it (llama-cpp-python,
 * Anyscale), or {"type": "json_schema"} (OpenAI, vLLM, SGLang, llama.cpp). */
enum chat_format { CHAT_text, CHAT_json, CHAT_object_schema, CHAT_schema };
enum chat_limit { CHAT_max_tokens, CHAT_max_completion_tokens };

struct chat_request {
    const char *model;
    const struct prompt_messages *messages;
    double temperature;    /* < 0: not sent */
    int64_t max_tokens;    /* 0: not sent */
    enum chat_limit limit; /* under which name */
    int64_t seed;          /* < 0: not sent */
    enum chat_format format;
    enum prompt_form form; /* what the schema says ... */
    int64_t first, count;  /* ... of so many steps from this one on */
    bool goes_on;          /* a last message of the assistant is continued: vLLM, SGLang */
    int64_t top_logprobs;  /* log-probabilities of so many tokens at each place; 0: none */
};

/* Appends the request body. -> ERROR_input when a message is not UTF-8. The same request gives the
 * same bytes. */
int chat_write(const struct chat_request *r, struct buffer *out, struct error *e);

/* The schema of an answer in this form, new. */
json_t *chat_schema(enum prompt_form form, int64_t first, int64_t count);

/* Appends the words of a completion; they may hold anything. `cut`: they end where max_tokens did.
 * -> ERROR_input where there are none:
 * "the model refused", "the answer was cut at max_tokens before a word of it". */
int chat_read(const json_t *completion, struct buffer *content, bool *cut, struct error *e);

/* What a server says where prompt and max_tokens together pass its context: how many tokens its
 * context leaves for an answer, beside the prompt. 0: it does not say, or the prompt alone is too
 * long. OpenAI and llama-cpp-python ("maximum context length is 4096 tokens. However, you requested
 * 5000 tokens (904 in the messages, 4096 in the completion)"), vLLM ("maximum context length is
 * 4096 tokens and your request has 904 input tokens"). */
int64_t chat_room(const char *why);

#endif

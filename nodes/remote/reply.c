/* reply: the retry policy, and errors in every shape that servers write them. */
#include "nodes/remote/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nodes/one_line.h"

void
reply_words(const json_t *root, struct span body, char *words, size_t room, char *code,
            size_t code_room)
{
    const json_t *fault = json_is_object(root) ? json_object_get(root, "error") : NULL;
    const json_t *from = json_is_object(fault) ? fault : root;
    const char *message = json_string_value(fault);
    struct arena arena = {0};
    struct span line;

    if (!message)
        message = json_string_value(json_object_get(from, "message"));
    if (!message)
        message = json_string_value(json_object_get(root, "detail"));
    line = one_line(message ? span_text(message) : body, room - 1, &arena);
    snprintf(words, room, "%.*s", (int)line.length, line.length ? line.at : "");
    snprintf(code, code_room, "%s %s", json_string_value(json_object_get(from, "code")) ?: "",
             json_string_value(json_object_get(from, "type")) ?: "");
    arena_free(&arena);
}

static bool
any_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(text, *words))
            return true;
    return false;
}

/* What a status other than 200 means. An unknown response_format is told in all manners: 400 with
 * unsupported_parameter, 422, and 500 with the validator's words (llama-cpp-python). */
static enum reply_outcome
status_outcome(int status, int should_retry, const char *words, const char *code)
{
    static const char *const too_long[] = {"context_length_exceeded",
                                           "exceed_context_size",
                                           "context length",
                                           "maximum context",
                                           "context size",
                                           "too many tokens",
                                           "string_above_max_length",
                                           "prompt is too long",
                                           "longer than the model",
                                           NULL};
    static const char *const setting[] = {"model_not_found",   "unsupported_parameter",
                                          "unsupported_value", "invalid_model",
                                          "invalid_api_key",   NULL};
    static const char *const format[] = {"response_format",    "json_schema", "structured output",
                                         "structured_outputs", "guided_json", "grammar", NULL};

    if (status == 429 && strstr(code, "insufficient_quota"))
        return REPLY_refused;
    if (status == 413 ||
        ((status == 400 || status == 422) && (any_of(code, too_long) || any_of(words, too_long))))
        return REPLY_too_long;
    if ((status == 400 || status == 422 || status == 501) && any_of(words, format))
        return REPLY_unsupported;
    if (status == 500 && strstr(words, "response_format")) /* other words may pass */
        return REPLY_unsupported;
    if (should_retry == 1)
        return REPLY_again;
    if (status == 408 || status == 409 || status == 429 || status >= 500)
        return should_retry == 0 ? REPLY_refused : REPLY_again;
    if ((status == 400 || status == 422) && !any_of(code, setting))
        return REPLY_spoiled;
    return REPLY_refused;
}

static void
read_status(const struct http_answer *a, struct reply *out)
{
    char words[REPLY_WHY_MAX - 40], code[200];
    json_t *root = json_loadb(a->body.at ? a->body.at : "", a->body.length, JSON_ALLOW_NUL, NULL);

    reply_words(root, a->body, words, sizeof(words), code, sizeof(code));
    json_decref(root);
    out->outcome = status_outcome(a->status, a->should_retry, words, code);
    out->limited = a->status == 429;
    if (a->status >= 300 && a->status < 400)
        snprintf(out->why, sizeof(out->why),
                 "%d: the url redirects to '%.200s'; name the final one", a->status, a->location);
    else
        snprintf(out->why, sizeof(out->why), "%d%s%s", a->status, words[0] ? ": " : "", words);
}

static void
spoil(struct reply *out, const char *why)
{
    out->outcome = REPLY_spoiled;
    snprintf(out->why, sizeof(out->why), "%s", why);
}

/* A count that may be believed; -1: none. */
static int64_t
whole(const json_t *value)
{
    json_int_t n = json_integer_value(value);

    return json_is_integer(value) && n >= 0 && n <= REPLY_TOKENS_MAX ? n : -1;
}

/* All of it or nothing: half of what an answer used, taken for the whole, would be spent again. */
static void
read_usage(const json_t *usage, struct reply *out)
{
    int64_t in = whole(json_object_get(usage, "prompt_tokens"));
    int64_t written = whole(json_object_get(usage, "completion_tokens"));
    int64_t total = whole(json_object_get(usage, "total_tokens"));
    int64_t cached = whole(
        json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens"));

    if (written < 0 && in >= 0 && total >= in)
        written = total - in; /* a server that writes nothing may not say so */
    if (in < 0 || written < 0)
        return;
    out->tokens_in = (uint64_t)in;
    out->tokens_out = (uint64_t)written;
    out->tokens_cached = cached > 0 ? (uint64_t)cached : 0;
}

static void
read_body(struct span body, struct reply *out)
{
    out->json = json_loadb(body.at ? body.at : "", body.length, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(out->json)) {
        json_decref(out->json);
        out->json = NULL;
        spoil(out, "the answer is not a JSON object");
        return;
    }
    out->outcome = REPLY_json;
    read_usage(json_object_get(out->json, "usage"), out);
}

void
reply_body(struct span body, struct reply *out)
{
    *out = (struct reply){.wait_seconds = -1, .requests = {-1, -1}, .tokens = {-1, -1}};
    read_body(body, out);
}

void
reply_read(const struct http_answer *a, struct reply *out)
{
    *out = (struct reply){.wait_seconds = -1, .requests = a->requests, .tokens = a->tokens};
    if (a->failure[0]) {
        out->outcome = a->broken ? REPLY_refused : REPLY_again;
        snprintf(out->why, sizeof(out->why), "%s", a->failure);
    } else if (a->too_big) {
        spoil(out, "the answer is larger than max_response_bytes");
    } else if (a->status >= 200 && a->status < 300) {
        read_body(a->body, out);
        if (out->outcome == REPLY_spoiled && a->open_ended) {
            out->outcome = REPLY_again;
            snprintf(out->why, sizeof(out->why), "the connection closed within the answer");
        }
    } else {
        read_status(a, out);
    }
    if (a->retry_after >= 0)
        out->wait_seconds = fmin(a->retry_after, REPLY_ASKED_MAX);
}

double
reply_back_off(int failures, double unit)
{
    return fmin(0.5 * exp2(fmin(failures - 1, 30)), REPLY_BACK_OFF_MAX) * (1 - 0.25 * unit);
}

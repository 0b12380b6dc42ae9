/* chat: the request as JSON, and the meaning of every answer a server can give. */
#include "nodes/llm_judge/chat.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "nodes/llm_judge/verdict.h"

/* {"type": "json_schema", ...} for a verdict. Strict mode wants every property required and none
 * more. */
static json_t *
verdict_schema(void)
{
    json_t *label = json_pack("{s:s, s:[s,s]}", "type", "string", "enum", "correct", "incorrect");
    json_t *entry = json_pack("{s:s, s:{s:{s:s}, s:{s:s}, s:o, s:{s:s}}, s:[s,s,s,s], s:b}", "type",
                              "object", "properties", "i", "type", "integer", "reason", "type",
                              "string", "label", label, "score", "type", "number", "required", "i",
                              "reason", "label", "score", "additionalProperties", 0);
    json_t *schema =
        json_pack("{s:s, s:{s:{s:s, s:o}}, s:[s], s:b}", "type", "object", "properties", "steps",
                  "type", "array", "items", entry, "required", "steps", "additionalProperties", 0);

    return json_pack("{s:s, s:{s:s, s:b, s:o}}", "type", "json_schema", "json_schema", "name",
                     "verdict", "strict", 1, "schema", schema);
}

static json_t *
messages_json(const struct prompt_messages *messages)
{
    json_t *list = json_array();

    for (int i = 0; i < messages->count; i++) {
        const struct prompt_message *m = &messages->at[i];
        json_t *text = json_stringn(m->text.at ? m->text.at : "", m->text.length);
        if (!text) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "role", prompt_role_name(m->role), "content", text));
    }
    return list;
}

int
chat_write(const struct chat_request *r, struct buffer *out, struct error *e)
{
    json_t *messages = messages_json(r->messages), *body;
    char *text;

    if (!messages)
        return error_set(e, ERROR_input,
                         "the prompt is not UTF-8 (a step may end inside a character)");
    body = json_pack("{s:s, s:o}", "model", r->model, "messages", messages);
    if (!body)
        return error_set(e, ERROR_input, "the model's name is not UTF-8");
    if (r->temperature >= 0)
        json_object_set_new(body, "temperature", json_real(r->temperature));
    if (r->max_tokens > 0)
        json_object_set_new(body,
                            r->limit == CHAT_max_tokens ? "max_tokens" : "max_completion_tokens",
                            json_integer(r->max_tokens));
    if (r->seed >= 0)
        json_object_set_new(body, "seed", json_integer(r->seed));
    if (r->format == CHAT_json)
        json_object_set_new(body, "response_format", json_pack("{s:s}", "type", "json_object"));
    if (r->format == CHAT_schema)
        json_object_set_new(body, "response_format", verdict_schema());
    text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(body);
    if (!text)
        return error_set(e, ERROR_internal, "the request cannot be written as JSON");
    buffer_text(out, text);
    free(text);
    return 0;
}

/* The words of an error body in any of the shapes in use: {"error":{"message","code","type"}},
 * {"error":"text"},
 * {"message":...}, {"detail":...}, or plain text. `code` gets the machine's word for it. */
static void
error_words(struct span body, char *words, size_t room, char *code, size_t code_room)
{
    json_t *root = json_loadb(body.at ? body.at : "", body.length, JSON_ALLOW_NUL, NULL);
    const json_t *fault = json_is_object(root) ? json_object_get(root, "error") : NULL;
    const json_t *from = json_is_object(fault) ? fault : root;
    const char *message = json_string_value(fault);
    struct arena arena = {0};
    struct span line;

    if (!message)
        message = json_string_value(json_object_get(from, "message"));
    if (!message)
        message = json_string_value(json_object_get(root, "detail"));
    line = verdict_line(message ? span_text(message) : body, room - 1, &arena);
    snprintf(words, room, "%.*s", (int)line.length, line.length ? line.at : "");
    snprintf(code, code_room, "%s %s", json_string_value(json_object_get(from, "code")) ?: "",
             json_string_value(json_object_get(from, "type")) ?: "");
    arena_free(&arena);
    json_decref(root);
}

static bool
any_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(text, *words))
            return true;
    return false;
}

/* What a status other than 200 means. */
static enum chat_outcome
status_outcome(int status, int should_retry, const char *words, const char *code)
{
    static const char *const too_long[] = {"context_length_exceeded",
                                           "exceed_context_size",
                                           "context length",
                                           "maximum context",
                                           "context size",
                                           "too many tokens",
                                           "string_above_max_length",
                                           NULL};
    static const char *const setting[] = {"model_not_found",   "unsupported_parameter",
                                          "unsupported_value", "invalid_model",
                                          "invalid_api_key",   NULL};

    if (status == 429 && strstr(code, "insufficient_quota"))
        return CHAT_refused;
    if (status == 413 ||
        ((status == 400 || status == 422) && (any_of(code, too_long) || any_of(words, too_long))))
        return CHAT_hopeless;
    if (should_retry == 1 || status == 408 || status == 409 || status == 429)
        return CHAT_again;
    if (status >= 500)
        return should_retry == 0 ? CHAT_refused : CHAT_again;
    if ((status == 400 || status == 422) && !any_of(code, setting))
        return CHAT_spoiled;
    return CHAT_refused;
}

static void
read_status(const struct http_answer *a, struct chat_answer *out)
{
    char words[CHAT_WHY_MAX - 40], code[200];

    error_words(a->body, words, sizeof(words), code, sizeof(code));
    out->outcome = status_outcome(a->status, a->should_retry, words, code);
    out->limited = a->status == 429;
    if (a->status >= 300 && a->status < 400)
        snprintf(out->why, sizeof(out->why),
                 "%d: the url redirects to '%.200s'; name the final one", a->status, a->location);
    else
        snprintf(out->why, sizeof(out->why), "%d%s%s", a->status, words[0] ? ": " : "", words);
}

static void
spoil(struct chat_answer *out, const char *why)
{
    out->outcome = CHAT_spoiled;
    snprintf(out->why, sizeof(out->why), "%s", why);
}

static uint64_t
whole(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) > 0
               ? (uint64_t)json_integer_value(value)
               : 0;
}

/* A body that came with 200. */
static void
read_completion(struct span body, struct chat_answer *out)
{
    json_t *root = json_loadb(body.at ? body.at : "", body.length, JSON_ALLOW_NUL, NULL);
    const json_t *choice, *message, *content, *refusal;
    const char *finish;

    if (!json_is_object(root)) {
        json_decref(root);
        spoil(out, "the answer is not a JSON object");
        return;
    }
    choice = json_array_get(json_object_get(root, "choices"), 0);
    message = json_object_get(choice, "message");
    content = json_object_get(message, "content");
    refusal = json_object_get(message, "refusal");
    finish = json_string_value(json_object_get(choice, "finish_reason"));
    out->tokens_in = whole(json_object_get(json_object_get(root, "usage"), "prompt_tokens"));
    out->tokens_out = whole(json_object_get(json_object_get(root, "usage"), "completion_tokens"));
    if (json_is_string(content) && json_string_length(content) > 0) {
        out->outcome = CHAT_content;
        buffer_add(&out->content, json_string_value(content), json_string_length(content));
    } else if (json_is_string(refusal)) {
        spoil(out, "the model refused");
    } else if (finish && strcmp(finish, "length") == 0) {
        spoil(out, "the answer was cut at max_tokens before a word of it");
    } else if (finish && strcmp(finish, "content_filter") == 0) {
        spoil(out, "the server's content filter held the answer back");
    } else if (json_object_get(root, "error")) {
        char words[CHAT_WHY_MAX - 40], code[200];
        error_words(body, words, sizeof(words), code, sizeof(code));
        spoil(out, words);
    } else {
        spoil(out, "the answer is not a chat completion with words in it");
    }
    json_decref(root);
}

void
chat_read(const struct http_answer *a, struct chat_answer *out)
{
    buffer_clear(&out->content);
    out->why[0] = 0;
    out->limited = false;
    out->wait_seconds = -1;
    out->tokens_in = out->tokens_out = 0;
    if (a->failure[0]) {
        out->outcome = a->broken ? CHAT_refused : CHAT_again;
        snprintf(out->why, sizeof(out->why), "%s", a->failure);
    } else if (a->too_big) {
        spoil(out, "the answer is larger than max_response_bytes");
    } else if (a->status == 200) {
        read_completion(a->body, out);
    } else {
        read_status(a, out);
    }
    if (a->retry_after >= 0)
        out->wait_seconds = fmin(a->retry_after, CHAT_ASKED_MAX);
}

double
chat_back_off(int failures, double unit)
{
    return fmin(0.5 * exp2(fmin(failures - 1, 30)), CHAT_BACK_OFF_MAX) * (1 - 0.25 * unit);
}

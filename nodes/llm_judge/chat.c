/* chat: the request as JSON, and the words of an answer. */
#include "nodes/llm_judge/chat.h"

#include <stdlib.h>
#include <string.h>

#include "nodes/one_line.h"
#include "nodes/remote/reply.h"

/* {"role":"user","content":"..."} and so on. False: one is not UTF-8. Prompts are long, and a JSON
 * library takes its time over each of their bytes. */
static bool
write_messages(const struct prompt_messages *messages, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < messages->count; i++) {
        const struct prompt_message *m = &messages->at[i];
        buffer_print(out, "%s{\"role\":\"%s\",\"content\":", i ? "," : "",
                     prompt_role_name(m->role));
        if (!json_string_write(buffer_span(&m->text), out))
            return false;
        buffer_text(out, "}");
    }
    buffer_text(out, "]");
    return true;
}

static json_t *
response_format(const struct chat_request *r)
{
    if (r->format == CHAT_json)
        return json_pack("{s:s}", "type", "json_object");
    if (r->format == CHAT_object_schema)
        return json_pack("{s:s, s:o}", "type", "json_object", "schema",
                         chat_schema(r->form, r->first, r->count));
    return json_pack("{s:s, s:{s:s, s:b, s:o}}", "type", "json_schema", "json_schema", "name",
                     "verdict", "strict", 1, "schema", chat_schema(r->form, r->first, r->count));
}

/* The begun answer of a last assistant message is to be continued, not followed by a new one. */
static void
go_on(const struct chat_request *r, json_t *body)
{
    const struct prompt_messages *m = r->messages;

    if (!r->goes_on || m->count == 0 || m->at[m->count - 1].role != PROMPT_assistant)
        return;
    json_object_set_new(body, "continue_final_message", json_true());
    json_object_set_new(body, "add_generation_prompt", json_false());
}

/* What is asked beside model and messages. */
static json_t *
fields_of(const struct chat_request *r)
{
    json_t *body = json_object();

    if (r->temperature >= 0)
        json_object_set_new(body, "temperature", json_real(r->temperature));
    if (r->max_tokens > 0)
        json_object_set_new(body,
                            r->limit == CHAT_max_tokens ? "max_tokens" : "max_completion_tokens",
                            json_integer(r->max_tokens));
    if (r->seed >= 0)
        json_object_set_new(body, "seed", json_integer(r->seed));
    if (r->top_logprobs > 0) {
        json_object_set_new(body, "logprobs", json_true());
        json_object_set_new(body, "top_logprobs", json_integer(r->top_logprobs));
    }
    go_on(r, body);
    if (r->format != CHAT_text)
        json_object_set_new(body, "response_format", response_format(r));
    return body;
}

int
chat_write(const struct chat_request *r, struct buffer *out, struct error *e)
{
    size_t before = out->length;
    json_t *fields;
    char *text;

    buffer_text(out, "{\"model\":");
    if (!json_string_write(span_text(r->model), out)) {
        out->length = before;
        return error_set(e, ERROR_input, "the model's name is not UTF-8");
    }
    buffer_text(out, ",\"messages\":");
    if (!write_messages(r->messages, out)) {
        out->length = before;
        return error_set(e, ERROR_input,
                         "the prompt is not UTF-8 (a step may end inside a character)");
    }
    fields = fields_of(r);
    text = json_dumps(fields, JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (json_object_size(fields) > 0)
        buffer_text(out, ",");
    json_decref(fields);
    if (!text) {
        out->length = before;
        return error_set(e, ERROR_internal, "the request cannot be written as JSON");
    }
    buffer_text(out, text + 1); /* it brings the closing brace */
    free(text);
    return 0;
}

int
chat_read(const json_t *completion, struct buffer *content, bool *cut, struct error *e)
{
    const json_t *choice = json_array_get(json_object_get(completion, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    const json_t *words = json_object_get(message, "content");
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));

    *cut = finish && strcmp(finish, "length") == 0;
    if (json_is_string(words) && json_string_length(words) > 0) {
        buffer_add(content, json_string_value(words), json_string_length(words));
        return 0;
    }
    if (json_is_string(json_object_get(message, "refusal")))
        return error_set(e, ERROR_input, "the model refused");
    if (*cut)
        return error_set(e, ERROR_input, "the answer was cut at max_tokens before a word of it");
    if (finish && strcmp(finish, "content_filter") == 0)
        return error_set(e, ERROR_input, "the server's content filter held the answer back");
    if (json_object_get(completion, "error")) {
        char why[REPLY_WHY_MAX], code[200];
        reply_words(completion, (struct span){0}, why, sizeof(why), code, sizeof(code));
        return error_set(e, ERROR_input, "the answer is an error: %s", why);
    }
    return error_set(e, ERROR_input, "the answer is not a chat completion with words in it");
}

/* The number right before a word, or right behind it. -1: there is none. */
static int64_t
number_at(const char *text, const char *word, bool before)
{
    const char *at = strcasestr(text, word), *from;

    if (!at)
        return -1;
    if (!before)
        return strspn(at + strlen(word), "0123456789") ? strtoll(at + strlen(word), NULL, 10) : -1;
    for (from = at; from > text && from[-1] >= '0' && from[-1] <= '9'; from--)
        continue;
    return from < at ? strtoll(from, NULL, 10) : -1;
}

int64_t
chat_room(const char *why)
{
    int64_t context = number_at(why, "maximum context length is ", false);
    int64_t prompt = number_at(why, " in the messages", true);

    if (prompt < 0)
        prompt = number_at(why, " input tokens", true);
    return prompt >= 0 && context > prompt ? context - prompt : 0;
}

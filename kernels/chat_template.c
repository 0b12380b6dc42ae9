/* Which of the formats a model directory's chat template is. The templates are programs; this looks
 * for words that only one family's has, and for what differs inside a family. */
#include "kernels/chat.h"

#include "kernels/document.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Numbers as reals: transformers writes a tokenizer without a longest text as model_max_length
 * 1000000000000000019884624838656, which no integer holds. */
static const struct document_limits limits = {
    .bytes = 64 << 20,
    .values = 1 << 22,
    .depth = 32,
    .flags = JSON_DECODE_INT_AS_REAL,
};

static int
has(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

/* The default system message of a Qwen2 template: the literal between its marks, NULL: none. */
static char *
default_system(const char *text)
{
    static const char open[] = "'<|im_start|>system\\n", close[] = "<|im_end|>";
    const char *at = text;

    while ((at = strstr(at, open)) != NULL) {
        const char *end = strstr(at + sizeof(open) - 1, close);
        size_t length = end ? (size_t)(end - at) - (sizeof(open) - 1) : 0;

        at += sizeof(open) - 1;
        if (length && !memchr(at, '\'', length) && !memchr(at, '\n', length))
            return span_copy(span_of(at, length));
    }
    return NULL;
}

/* What Jinja's string literals write for others: backslash sequences of the message. */
static void
unescape(char *text)
{
    char *to = text;

    for (; *text; text++) {
        if (*text == '\\' && text[1]) {
            text++;
            *to++ = *text == 'n' ? '\n' : *text == 't' ? '\t' : *text;
        } else {
            *to++ = *text;
        }
    }
    *to = 0;
}

static int
recognise_qwen(struct chat_template *c, const char *text)
{
    if (has(text, "enable_thinking") && has(text, "last_query_index") &&
        has(text, "<think>\\n\\n</think>\\n\\n") && !has(text, "<|vision_start|>")) {
        c->format = CHAT_qwen3;
        return 1;
    }
    c->system = has(text, "<think>") ? NULL : default_system(text);
    if (!c->system || !has(text, "<|im_start|>assistant\\n") || has(text, "<|vision_start|>"))
        return 0;
    unescape(c->system);
    c->format = CHAT_qwen2;
    return 1;
}

static int
recognise(struct chat_template *c, const char *text)
{
    if (has(text, "<|im_start|>"))
        return recognise_qwen(c, text);
    if (has(text, "<｜User｜>") && has(text, "<｜Assistant｜>") && has(text, "ns.system_prompt") &&
        has(text, "split('</think>')[-1]")) {
        c->format = CHAT_r1;
        c->thinking =
            has(text, "<｜Assistant｜><think>") ? CHAT_thinking_default : CHAT_thinking_off;
        return 1;
    }
    if (has(text, "<|start_header_id|>") && has(text, "<|eot_id|>") && has(text, "trim")) {
        c->format = has(text, "Cutting Knowledge Date: December 2023") ? CHAT_llama31 : CHAT_llama3;
        return c->format == CHAT_llama31 ||
               (has(text, "loop.index0 == 0") && !has(text, "function"));
    }
    return 0;
}

/* The template's text, malloc'ed; NULL where the directory has none. Of a list the one named
 * "default". */
static char *
from_config(const json_t *config)
{
    const json_t *found = json_object_get(config, "chat_template");
    json_t *one;
    size_t i;

    json_array_foreach(found, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));

        if (name && strcmp(name, "default") == 0)
            return xtext(json_string_value(json_object_get(one, "template"))
                             ? json_string_value(json_object_get(one, "template"))
                             : "");
    }
    if (json_is_array(found))
        return xtext("");
    return json_is_string(found) ? xtext(json_string_value(found)) : NULL;
}

static int
load(const char *dir, char **text, struct error *e)
{
    char *jinja = xprint("%s/chat_template.jinja", dir);
    char *config = xprint("%s/tokenizer_config.json", dir);
    struct buffer b = {0};
    json_t *json = NULL;
    int rc = 0;

    *text = NULL;
    if (access(jinja, F_OK) == 0) {
        rc = document_load(jinja, CHAT_TEMPLATE_MAX, &b, e);
        if (rc == 0)
            *text = span_copy(buffer_span(&b));
    } else if (access(config, F_OK) == 0) {
        json = document_read(config, &limits, e);
        rc = json ? 0 : ERROR_model;
        *text = json ? from_config(json) : NULL;
        json_decref(json);
    }
    buffer_free(&b);
    free(jinja);
    free(config);
    return rc;
}

/* The first bytes of a text, on one line, in ASCII. */
static void
begin_of(const char *text, char begin[41])
{
    size_t length = strnlen(text, 40);

    for (size_t i = 0; i < length; i++)
        begin[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : ' ';
    begin[length] = 0;
}

int
chat_template_read(struct chat_template *c, const char *dir, struct error *e)
{
    char *text, begin[41];
    int rc = load(dir, &text, e);

    *c = (struct chat_template){0};
    if (rc < 0 || !text)
        return rc;
    if (!recognise(c, text)) {
        chat_template_free(c);
        begin_of(text, begin);
        rc =
            error_set(e, ERROR_model,
                      "%s: its chat template ('%s...') is not understood; those of Qwen2, Qwen2.5, "
                      "Qwen3, DeepSeek-R1-Distill and Llama 3 are; or prompt_format: raw",
                      dir, begin);
    }
    free(text);
    return rc;
}

void
chat_template_free(struct chat_template *c)
{
    free(c->system);
    *c = (struct chat_template){0};
}

int
chat_format_of(const char *dir, enum chat_format *format, struct error *e)
{
    struct chat_template c;
    int rc = chat_template_read(&c, dir, e);

    if (rc == 0)
        *format = c.format;
    chat_template_free(&c);
    return rc;
}

int
chat_find(const char *name)
{
    for (int i = 0; i < CHAT_FORMATS; i++)
        if (strcmp(name, chat_names[i]) == 0)
            return i;
    return -1;
}

int
chat_template_open(struct chat_template *c, const char *name, const char *dir, struct error *e)
{
    int format = chat_find(name);

    *c = (struct chat_template){0};
    if (strcmp(name, "auto") == 0)
        return chat_template_read(c, dir, e);
    if (format < 0)
        return error_set(e, ERROR_usage,
                         "prompt_format '%.40s': raw, auto, qwen2, qwen3, r1, llama3 or llama31",
                         name);
    if (format != CHAT_raw && (chat_template_read(c, dir, NULL) < 0 || (int)c->format != format))
        chat_template_free(c); /* another's template, or none: the format's own defaults */
    c->format = (enum chat_format)format;
    return 0;
}

/* convention: see convention.h. */
#include "nodes/prm_judge/convention.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/document.h"
#include "nodes/spans.h"

const char *const convention_names[] = {"auto", "plain", "qwen", "skywork", "math_shepherd", NULL};

#define CHATML_BEGIN  "<|im_start|>"
#define CHATML_END    "<|im_end|>\n"
#define CHATML_ANSWER "<|im_start|>assistant\n"

struct convention
convention_make(enum convention_kind kind, const char *system, const char *tag, const char *good,
                const char *bad)
{
    static const char *const tags[] = {"", "", "<extra_0>", "\n", "ки"};

    return (struct convention){.kind = kind,
                               .system = system,
                               .tag = tag[0] ? tag : tags[kind],
                               .good = good,
                               .bad = bad,
                               .tag_id = -1,
                               .good_id = -1,
                               .bad_id = -1,
                               .bos_id = -1};
}

/* ---- resolving ---- */

/* The last id of a text, and how many it has; -1: it has none. */
static int32_t
last_id(struct tokenizer *t, const char *text, int64_t *count)
{
    struct tokens tokens = {0};
    int32_t id = -1;

    *count = 0;
    if (tokenizer_encode(t, span_text(text), TOKENIZER_SPECIAL, &tokens, NULL) == 0 &&
        tokens.count > 0 && tokens.dropped == 0) {
        id = tokens.ids[tokens.count - 1];
        *count = tokens.count;
    }
    tokens_free(&tokens);
    return id;
}

/* The ids of "good bad", of which there must be two: so the words have the blank before them that
 * they have in the model's answers, whatever the tokenizer does with blanks. */
static void
find_words(struct convention *c, struct tokenizer *t)
{
    char *both = xprint("%s %s", c->good, c->bad);
    struct tokens tokens = {0};

    if (tokenizer_encode(t, span_text(both), 0, &tokens, NULL) == 0 && tokens.count == 2 &&
        tokens.dropped == 0) {
        c->good_id = tokens.ids[0];
        c->bad_id = tokens.ids[1];
    }
    tokens_free(&tokens);
    free(both);
}

/* A key of a file of the folder, numbers as reals (a tokenizer without a longest text says
 * model_max_length 1000000000000000019884624838656); NULL: there is none, or no such file. */
static json_t *
key_of(const char *dir, const char *file, const char *key)
{
    static const struct document_limits limits = {
        .bytes = 64 << 20, .values = 1 << 22, .depth = 64, .flags = JSON_DECODE_INT_AS_REAL};
    char *path = xprint("%s/%s", dir, file);
    json_t *json = document_read(path, &limits, NULL);
    json_t *value = json_incref(json_object_get(json, key));

    json_decref(json);
    free(path);
    return value;
}

/* What stands before everything; -1: nothing. The token is written as text or with its flags. */
static int32_t
bos_of(const char *dir, struct tokenizer *t)
{
    json_t *token = key_of(dir, "tokenizer_config.json", "bos_token"), *id;
    const char *text = json_string_value(json_is_object(token) ? json_object_get(token, "content")
                                                               : token);
    int32_t bos = text ? tokenizer_id(t, text) : -1;

    json_decref(token);
    if (bos >= 0)
        return bos;
    id = key_of(dir, "config.json", "bos_token_id");
    if (json_is_number(id) && json_number_value(id) >= 0 &&
        json_number_value(id) < (double)tokenizer_size(t))
        bos = (int32_t)json_number_value(id);
    json_decref(id);
    return bos;
}

static enum convention_kind
kind_of(const struct model_config *config, struct tokenizer *t)
{
    int64_t count;

    if (config->head == MODEL_HEAD_value)
        return CONVENTION_skywork;
    if (config->head == MODEL_HEAD_language)
        return last_id(t, "ки", &count) >= 0 && count == 1 ? CONVENTION_math_shepherd
                                                           : CONVENTION_auto;
    return config->head == MODEL_HEAD_process && tokenizer_id(t, "<extra_0>") >= 0
               ? CONVENTION_qwen
               : CONVENTION_plain;
}

/* Does the head give what the convention reads? */
static int
check_head(const struct convention *c, const struct model_config *config, struct error *e)
{
    bool language = config->head == MODEL_HEAD_language;

    if (c->kind == CONVENTION_auto)
        return error_set(e, ERROR_model,
                         "a language model, not a reward model, and its tokenizer does not make "
                         "'ки' one token, the tag of math_shepherd: say convention and "
                         "step_tag");
    if (c->kind == CONVENTION_math_shepherd && !language)
        return error_set(e, ERROR_model,
                         "convention math_shepherd reads a language model; this is a classifier "
                         "of %" PRId64 " labels",
                         config->num_labels);
    if (c->kind != CONVENTION_math_shepherd && language)
        return error_set(e, ERROR_model,
                         "convention %s reads a reward model; this is a language model",
                         convention_names[c->kind]);
    if (c->kind != CONVENTION_plain && config->head == MODEL_HEAD_sequence)
        return error_set(e, ERROR_model,
                         "convention %s reads every step; this model classifies whole sequences",
                         convention_names[c->kind]);
    return 0;
}

int
convention_resolve(struct convention *c, const char *dir, const struct model_config *config,
                   struct tokenizer *t, struct error *e)
{
    int64_t count;

    if (config && c->kind == CONVENTION_auto)
        *c = convention_make(kind_of(config, t), c->system, c->tag, c->good, c->bad);
    if (config && check_head(c, config, e) != 0)
        return ERROR_model;
    c->last_only = config && config->head == MODEL_HEAD_sequence;
    if (c->kind == CONVENTION_plain)
        return 0;
    if (c->kind == CONVENTION_skywork)
        c->bos_id = bos_of(dir, t);
    c->tag_id = last_id(t, c->tag, &count);
    if (c->tag_id < 0 || count != 1)
        return error_set(e, ERROR_model,
                         "convention %s ends every step with '%s', which this tokenizer does not "
                         "make one token",
                         convention_names[c->kind], c->kind == CONVENTION_skywork ? "\\n" : c->tag);
    if (c->kind != CONVENTION_math_shepherd)
        return 0;
    find_words(c, t);
    if (c->good_id < 0 || c->bad_id < 0 || c->good_id == c->bad_id)
        return error_set(e, ERROR_model,
                         "good_token '%s' and bad_token '%s' are not two tokens of this tokenizer",
                         c->good, c->bad);
    return 0;
}

/* ---- text ---- */

static bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct span
trim(struct span s)
{
    while (s.length > 0 && is_space(s.at[0]))
        s = span_of(s.at + 1, s.length - 1);
    while (s.length > 0 && is_space(s.at[s.length - 1]))
        s.length--;
    return s;
}

/* Appends text of others, in which nothing may be a special token. */
static void
put_foreign(struct convention_text *out, struct span s)
{
    int64_t from = (int64_t)out->text.length;

    if (s.length == 0)
        return;
    buffer_add(&out->text, s.at, s.length);
    if (out->range_count == out->range_room) {
        out->range_room = out->range_room ? 2 * out->range_room : 32;
        out->ranges = xresize(out->ranges, (size_t)out->range_room * sizeof(*out->ranges));
    }
    out->ranges[out->range_count++] =
        (struct tokenizer_range){from, (int64_t)out->text.length};
}

static bool
begins_with(struct span s, const char *text)
{
    return s.length >= strlen(text) && memcmp(s.at, text, strlen(text)) == 0;
}

static bool
ends_with(struct span s, const char *text)
{
    size_t n = strlen(text);

    return s.length >= n && memcmp(s.at + s.length - n, text, n) == 0;
}

bool
convention_is_chat(struct span prompt)
{
    return begins_with(prompt, CHATML_BEGIN);
}

/* The conversation up to where the assistant's content begins. */
static void
write_chat(const struct convention *c, struct span prompt, struct convention_text *out)
{
    if (convention_is_chat(prompt)) { /* as it stands: its special tokens are meant */
        buffer_add(&out->text, prompt.at, prompt.length);
        if (!ends_with(prompt, CHATML_ANSWER))
            buffer_text(&out->text, CHATML_ANSWER);
        return;
    }
    buffer_text(&out->text, CHATML_BEGIN "system\n");
    buffer_text(&out->text, c->system);
    buffer_text(&out->text, CHATML_END CHATML_BEGIN "user\n");
    put_foreign(out, prompt);
    buffer_text(&out->text, CHATML_END CHATML_ANSWER);
}

/* Does the step bring its own "Step 3:"? */
static bool
numbered(struct span s)
{
    size_t i = 5;

    if (!begins_with(s, "Step "))
        return false;
    while (i < s.length && isdigit((unsigned char)s.at[i]))
        i++;
    return i > 5 && i < s.length && s.at[i] == ':';
}

static void
write_numbered(const struct convention *c, struct span step, int64_t number,
               struct convention_text *out)
{
    buffer_text(&out->text, number > 1 ? "\n" : " ");
    if (!numbered(step))
        buffer_print(&out->text, "Step %" PRId64 ": ", number);
    put_foreign(out, step);
    buffer_text(&out->text, " ");
    buffer_text(&out->text, c->tag);
}

void
convention_write(const struct convention *c, const struct steps *steps,
                 struct convention_text *out, int64_t *places)
{
    const struct rollout *r = &steps->rollout;
    int64_t number = 0;

    buffer_clear(&out->text);
    out->range_count = 0;
    if (c->kind == CONVENTION_qwen)
        write_chat(c, r->prompt, out);
    else
        put_foreign(out, r->prompt);
    out->answer = (int64_t)out->text.length;
    for (int64_t i = 0; i < steps->ends.count; i++) {
        struct span step = trim(spans_at(r->response, steps->ends.at, i));

        places[i] = -1;
        if (step.length == 0)
            continue;
        number++;
        if (c->kind == CONVENTION_qwen) {
            put_foreign(out, step);
            buffer_text(&out->text, c->tag);
        } else {
            write_numbered(c, step, number, out);
        }
        places[i] = (int64_t)out->text.length - 1;
    }
    out->answer_end = (int64_t)out->text.length;
    if (c->kind == CONVENTION_qwen)
        buffer_text(&out->text, CHATML_END);
}

void
convention_text_free(struct convention_text *t)
{
    buffer_free(&t->text);
    free(t->ranges);
    memset(t, 0, sizeof(*t));
}

bool
convention_forged(const struct convention *c, const struct steps *steps)
{
    const struct rollout *r = &steps->rollout;
    size_t n = strlen(c->tag);

    return n > 0 && (memmem(r->prompt.at, r->prompt.length, c->tag, n) ||
                     memmem(r->response.at, r->response.length, c->tag, n));
}

/* ---- ids ---- */

static void
append(struct tokens *out, const int32_t *ids, int64_t count)
{
    tokens_reserve(out, count);
    for (int64_t i = 0; i < count; i++) {
        out->starts[out->count] = out->ends[out->count] = 0;
        out->ids[out->count++] = ids[i];
    }
}

static int
encode_plain(const struct convention *c, struct tokenizer *t, const struct steps *steps,
             struct tokens *piece, struct tokens *out, int64_t *places, struct error *e)
{
    const struct rollout *r = &steps->rollout;
    int64_t count = steps->ends.count, prompt;
    int rc = tokenizer_encode(t, r->prompt, SPANS_PROMPT_FLAGS, out, e);

    if (rc == 0)
        rc = tokenizer_encode(t, r->response, SPANS_RESPONSE_FLAGS, piece, e);
    if (rc != 0)
        return rc;
    prompt = out->count;
    append(out, piece->ids, piece->count);
    if (c->last_only) {
        for (int64_t i = 0; i < count; i++)
            places[i] = i == count - 1 ? out->count - 1 : -1;
        return 0;
    }
    spans_tokens(piece, steps->ends.at, count, places);
    for (int64_t i = 0; i < count; i++)
        places[i] += places[i] >= 0 ? prompt : 0;
    return 0;
}

/* The lines of one step, each with the tag after it; *place: after the last that is not empty. */
static int
encode_lines(const struct convention *c, struct tokenizer *t, struct span step,
             struct tokens *piece, struct tokens *out, int64_t *place, struct error *e)
{
    *place = -1;
    while (step.length > 0) {
        const char *found = memchr(step.at, '\n', step.length);
        struct span line = span_of(step.at, found ? (size_t)(found - step.at) : step.length);
        size_t past = line.length + (found ? 1 : 0);
        int rc = tokenizer_encode(t, line, SPANS_RESPONSE_FLAGS, piece, e);

        if (rc != 0)
            return rc;
        append(out, piece->ids, piece->count);
        append(out, &c->tag_id, 1);
        if (trim(line).length > 0)
            *place = out->count - 1;
        step = span_of(step.at + past, step.length - past);
    }
    return 0;
}

static int
encode_skywork(const struct convention *c, struct tokenizer *t, const struct steps *steps,
               struct convention_text *text, struct tokens *piece, struct tokens *out,
               int64_t *places, struct error *e)
{
    const struct rollout *r = &steps->rollout;
    int rc;

    buffer_clear(&text->text);
    buffer_add(&text->text, r->prompt.at, r->prompt.length);
    buffer_text(&text->text, "\n");
    out->count = 0;
    if (c->bos_id >= 0)
        append(out, &c->bos_id, 1);
    rc = tokenizer_encode(t, buffer_span(&text->text), SPANS_PROMPT_FLAGS, piece, e);
    if (rc == 0)
        append(out, piece->ids, piece->count);
    for (int64_t i = 0; rc == 0 && i < steps->ends.count; i++)
        rc = encode_lines(c, t, spans_at(r->response, steps->ends.at, i), piece, out, &places[i],
                          e);
    return rc;
}

/* From bytes of the text to the tokens that hold them, which must be tags. */
static int
find_tags(const struct convention *c, const struct tokens *tokens, int64_t *places, int64_t count,
          struct error *e)
{
    int64_t at = 0;

    for (int64_t i = 0; i < count; i++) {
        if (places[i] < 0)
            continue;
        while (at < tokens->count && tokens->ends[at] <= places[i])
            at++;
        if (at == tokens->count || tokens->starts[at] > places[i] || tokens->ids[at] != c->tag_id)
            return error_set(e, ERROR_input,
                             "the tag '%s' after step %" PRId64 " is not the token it is alone",
                             c->tag, i + 1);
        places[i] = at;
    }
    return 0;
}

int
convention_encode(const struct convention *c, struct tokenizer *t, const struct steps *steps,
                  struct convention_text *text, struct tokens *piece, struct tokens *out,
                  int64_t *places, struct error *e)
{
    struct tokenizer_guard guard;
    int rc;

    if (c->kind == CONVENTION_plain)
        return encode_plain(c, t, steps, piece, out, places, e);
    if (c->kind == CONVENTION_skywork)
        return encode_skywork(c, t, steps, text, piece, out, places, e);
    convention_write(c, steps, text, places);
    guard = (struct tokenizer_guard){text->ranges, text->range_count, &c->tag_id, 1};
    rc = tokenizer_encode_guarded(
        t, buffer_span(&text->text),
        TOKENIZER_SPECIAL | (c->kind == CONVENTION_math_shepherd ? TOKENIZER_TEMPLATE : 0), &guard,
        out, e);
    return rc != 0 ? rc : find_tags(c, out, places, steps->ends.count, e);
}

/* line: fields are looked up by name or by the standard names, then read as what they should be. */
#include "nodes/reader/line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <xxhash.h>

#include "kernels/verify.h"
#include "nodes/reader/given.h"
#include "nodes/reader/recorded.h"

#define PATH_BYTES_MAX 256

static const char *const prompt_fields[] = {
    "prompt",
    "problem",
    "question",
    "input",
    "query",
    "messages",
    "responses_create_params.input",
    "raw_prompt",
    "instruction",
    NULL,
};
static const char *const response_fields[] = {
    "response",    "output", "completion", "responses", "generation", "generations",
    "completions", "text",   "outputs",    "choices",   "content",    NULL,
};
static const char *const answer_fields[] = {
    "reward_model.ground_truth",
    "ground_truth",
    "gts",
    "answer",
    "label",
    "labels",
    "expected_answer",
    "verifier_metadata.expected_answer",
    "gold",
    "solution",
    "question.ground_truth_answer",
    "reference_answer",
    NULL,
};
static const char *const reward_fields[] = {
    "reward", "score", "rewards", "scores", "acc", "is_correct", "correct", NULL,
};
static const char *const id_fields[] = {"id", "uuid", "custom_id", "request_id", NULL};

const char *
line_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:  return "an object";
    case JSON_ARRAY:   return "a list";
    case JSON_STRING:  return "text";
    case JSON_INTEGER:
    case JSON_REAL:    return "a number";
    case JSON_NULL:    return "null";
    default:           return "true or false";
    }
}

/* "a.b": the field of that very name, else field b of object a. NULL when absent. */
static json_t *
field_at(const json_t *object, const char *path)
{
    json_t     *v = json_object_get(object, path);
    const char *dot = strchr(path, '.');
    char        first[PATH_BYTES_MAX];

    if (v || !dot || (size_t)(dot - path) >= sizeof(first))
        return v;
    memcpy(first, path, (size_t)(dot - path));
    first[dot - path] = 0;
    v = json_object_get(object, first);
    return json_is_object(v) ? field_at(v, dot + 1) : NULL;
}

/* The field the user named, else the first standard one that is there and not null. */
static json_t *
find(const json_t *root, const char *named, const char *const *standard, const char **name)
{
    if (named && named[0]) {
        *name = named;
        return field_at(root, named);
    }
    for (int i = 0; standard[i]; i++) {
        json_t *v = field_at(root, standard[i]);
        *name = standard[i];
        if (v && !json_is_null(v))
            return v;
    }
    *name = standard[0];
    return NULL;
}

const json_t *
line_find(const json_t *root, const char *named, const char *const *standard, const char **name)
{
    *name = named && named[0] ? named : standard[0];
    return strcmp(*name, "none") == 0 ? NULL : find(root, named, standard, name);
}

static struct span
text_of(const json_t *v)
{
    return span_of(json_string_value(v), json_string_length(v));
}

static struct span
keep(struct arena *arena, const struct buffer *b)
{
    char *copy = arena_take(arena, b->length + 1);

    if (b->length)
        memcpy(copy, b->at, b->length);
    return span_of(copy, b->length);
}

/* The content of a message: text, or a list of parts of which those with text are joined. False:
 * neither. */
static bool
content_of(const json_t *v, struct buffer *out)
{
    size_t  i;
    json_t *part;

    if (json_is_string(v)) {
        buffer_add(out, json_string_value(v), json_string_length(v));
        return true;
    }
    if (json_is_null(v))        /* a message that only calls tools */
        return true;
    if (!json_is_array(v))
        return false;
    json_array_foreach(v, i, part) {
        json_t *text = json_is_object(part) ? json_object_get(part, "text") : part;
        if (json_is_string(text))
            buffer_add(out, json_string_value(text), json_string_length(text));
    }
    return true;
}

static bool
is_conversation(const json_t *list)
{
    const json_t *first = json_array_get(list, 0);
    const char   *type = json_string_value(json_object_get(first, "type"));

    return json_object_get(first, "role") ||
           (type && (strcmp(type, "message") == 0 || strcmp(type, "reasoning") == 0));
}

static int
read_prompt(const json_t *v, const char *name, struct arena *arena, struct span *out,
            struct error *e)
{
    struct buffer b = {0};
    size_t        i, count = json_array_size(v);
    json_t       *message;

    if (json_is_string(v)) {
        *out = text_of(v);
        return 0;
    }
    if (!json_is_array(v) || count == 0)
        return error_set(e, ERROR_input, "field '%s' is %s; a prompt is text or a list of messages",
                         name, json_is_array(v) ? "an empty list" : line_kind(v));
    json_array_foreach(v, i, message) {
        const json_t *role = json_object_get(message, "role"),
                     *content = json_object_get(message, "content");
        bool          good = json_is_string(role) && content;

        if (good && count > 1)
            buffer_print(&b, "<|im_start|>%s\n", json_string_value(role));
        if (!good || !content_of(content, &b)) {
            buffer_free(&b);
            return error_set(e, ERROR_input,
                             "field '%s': message %zu has no role with text content", name, i);
        }
        if (count > 1)
            buffer_text(&b, "<|im_end|>\n");
    }
    if (count > 1)
        buffer_text(&b, "<|im_start|>assistant\n");
    *out = keep(arena, &b);
    buffer_free(&b);
    return 0;
}

/* One response: text, a message, or what the assistant says in a list of messages. False: none of
 * these. */
static bool
read_response(const json_t *v, struct arena *arena, struct span *out)
{
    static const char *const inside[] = {"message", "content",  "text", "generated_text",
                                         "output",  "response", NULL};
    struct buffer            b = {0};
    size_t                   i;
    json_t                  *message;
    bool                     good = true;

    if (json_is_string(v)) {
        *out = text_of(v);
        return true;
    }
    if (json_is_object(v)) {
        for (int k = 0; inside[k]; k++) {
            const json_t *w = json_object_get(v, inside[k]);
            if (json_is_array(w) && !is_conversation(w)) {
                good = content_of(w, &b);
                *out = keep(arena, &b);
                buffer_free(&b);
                return good;
            }
            if (w && !json_is_null(w))
                return read_response(w, arena, out);
        }
        return false;
    }
    if (!json_is_array(v) || !is_conversation(v))
        return false;
    json_array_foreach(v, i, message) {
        const char   *role = json_string_value(json_object_get(message, "role"));
        const json_t *content = json_object_get(message, "content");
        if ((role && strcmp(role, "assistant") != 0) || !content)
            continue;
        if (b.length > 0)
            buffer_text(&b, "\n");
        good = good && content_of(content, &b);
    }
    *out = keep(arena, &b);
    buffer_free(&b);
    return good;
}

const json_t *
line_unwrap(const json_t *v)
{
    const json_t *choices = json_object_get(v, "choices"), *body = json_object_get(v, "body");

    if (json_is_array(choices))
        return choices;
    if (json_is_object(body))
        return json_is_array(json_object_get(body, "choices")) ? json_object_get(body, "choices")
                                                               : body;
    return v;
}

static int
read_responses(const json_t *v, const char *name, struct arena *arena, struct line *line,
               struct error *e)
{
    bool many;

    v = line_unwrap(v);
    many = json_is_array(v) && !is_conversation(v);
    line->count = many ? (int)json_array_size(v) : 1;
    if (many && (json_array_size(v) == 0 || json_array_size(v) > LINE_RESPONSES_MAX))
        return error_set(e, ERROR_input, "field '%s' lists %zu responses; 1 to %d are possible",
                         name, json_array_size(v), LINE_RESPONSES_MAX);
    line->items = arena_take(arena, sizeof(*line->items) * (size_t)line->count);
    for (int i = 0; i < line->count; i++) {
        const json_t *one = many ? json_array_get(v, (size_t)i) : v;
        if (read_response(one, arena, &line->items[i].rollout.response))
            continue;
        if (!many)
            return error_set(e, ERROR_input, "field '%s' is %s; a response is text or messages",
                             name, line_kind(one));
        line->items[i].why = "this response is neither text nor messages";
    }
    return 0;
}

/* -> NULL and the reward, or why there is none. */
static const char *
read_reward(const json_t *v, double *reward)
{
    if (json_is_boolean(v)) {
        *reward = json_is_true(v);
        return NULL;
    }
    if (!json_is_number(v))
        return "the reward is neither a number nor true or false";
    *reward = json_number_value(v);
    return isfinite(*reward) ? NULL : "the reward is not finite";
}

/* The reward that lies in the i-th element of a list of responses. */
static const json_t *
inner_reward(const json_t *responses, int i)
{
    const json_t *one = json_array_get(line_unwrap(responses), (size_t)i);

    for (int k = 0; json_is_object(one) && reward_fields[k]; k++) {
        const json_t *v = json_object_get(one, reward_fields[k]);
        if (json_is_number(v) || json_is_boolean(v))
            return v;
    }
    return NULL;
}

static void
verify(const struct line_how *how, struct line *line, bool has_answer)
{
    enum verify_mode mode = (enum verify_mode)(how->verify - 1);

    for (int i = 0; i < line->count; i++) {
        struct line_item *item = &line->items[i];
        if (item->why)
            continue;
        item->grade = how->verify == LINE_verify_exec;
        if (item->grade)
            continue;
        if (how->verify == LINE_verify_none)
            item->why = "no reward; name its field with reward_field, or compute it with verify";
        else if (!has_answer)
            item->why = "neither a reward nor an expected answer to verify";
        else
            item->rollout.reward =
                verify_answer(mode, item->rollout.response, item->rollout.answer);
    }
}

static int
read_rewards(const struct line_how *how, const json_t *responses, bool has_answer,
             struct line *line, struct error *e)
{
    const char   *name;
    const json_t *v = find(line->root, how->reward_field, reward_fields, &name);
    bool          list = json_is_array(v);

    if (list && json_array_size(v) != (size_t)line->count)
        return error_set(e, ERROR_input, "field '%s' lists %zu rewards for %d responses", name,
                         json_array_size(v), line->count);
    if (v && !list && line->count > 1 && !json_is_null(v))
        return error_set(e, ERROR_input, "field '%s' is one reward for %d responses", name,
                         line->count);
    if (v && !json_is_null(v)) {
        for (int i = 0; i < line->count; i++) {
            const char *why = read_reward(list ? json_array_get(v, (size_t)i) : v,
                                          &line->items[i].rollout.reward);
            if (why && line->count == 1)
                return error_set(e, ERROR_input, "field '%s': %s; it is %s", name, why,
                                 line_kind(list ? json_array_get(v, 0) : v));
            if (why)
                line->items[i].why = line->items[i].why ? line->items[i].why : why;
        }
        return 0;
    }
    if (how->reward_field && how->reward_field[0] && how->verify == LINE_verify_none)
        return error_set(e, ERROR_input, "field '%s' is missing", name);
    if (json_is_array(line_unwrap(responses)) && inner_reward(responses, 0)) {
        for (int i = 0; i < line->count; i++) {
            const json_t *inner = inner_reward(responses, i);
            const char *why = inner ? read_reward(inner, &line->items[i].rollout.reward)
                                    : "this response has no reward";
            line->items[i].why = line->items[i].why ? line->items[i].why : why;
        }
        return 0;
    }
    verify(how, line, has_answer);
    return 0;
}

/* The expected answer: text, a number, or absent. A standard name of another type is not an answer;
 * a named field must be one. */
static int
read_answer(const struct line_how *how, const json_t *root, struct arena *arena, struct span *out,
            bool *has, struct error *e)
{
    bool named = how->answer_field && how->answer_field[0];

    *out = span_text("");
    *has = false;
    for (int i = 0; named ? i < 1 : answer_fields[i] != NULL; i++) {
        const char   *name = named ? how->answer_field : answer_fields[i];
        const json_t *v = field_at(root, name);
        char         *text;

        if (json_is_array(v) && json_array_size(v) == 1)
            v = json_array_get(v, 0);
        if (json_is_string(v)) {
            *out = text_of(v);
        } else if (json_is_number(v)) {
            text = arena_take(arena, 40);
            if (json_is_integer(v))
                snprintf(text, 40, "%lld", (long long)json_integer_value(v));
            else
                snprintf(text, 40, "%.17g", json_real_value(v));
            *out = span_text(text);
        } else if (named && v && !json_is_null(v)) {
            return error_set(e, ERROR_input, "field '%s' is %s; an answer is text or a number",
                             name, line_kind(v));
        } else {
            continue;
        }
        *has = true;
        return 0;
    }
    return 0;
}

static int
read_ids(const struct line_how *how, struct span source, struct arena *arena, struct line *line,
         struct error *e)
{
    const char   *name;
    const json_t *v = line_find(line->root, how->id_field, id_fields, &name);
    struct span   id = source;

    if (json_is_integer(v)) {
        char *text = arena_take(arena, 32);
        snprintf(text, 32, "%lld", (long long)json_integer_value(v));
        id = span_text(text);
    } else if (json_is_string(v)) {
        id = text_of(v);
        if (id.length == 0 || id.length > LINE_ID_BYTES_MAX)
            return error_set(e, ERROR_input, "field '%s': an id has 1 to %d bytes, this has %zu",
                             name, LINE_ID_BYTES_MAX, id.length);
    } else if (v && !json_is_null(v)) {
        return error_set(e, ERROR_input, "field '%s' is %s; an id is text or a whole number", name,
                         line_kind(v));
    } else {
        line->id_made = true;
    }
    for (int i = 0; i < line->count; i++) {
        line->items[i].rollout.id = id;
        line->items[i].rollout.source = source;
        if (line->count > 1) {
            char *text = arena_take(arena, id.length + 24);
            int   n = snprintf(text, id.length + 24, "%.*s/%d", (int)id.length, id.at, i);
            line->items[i].rollout.id = span_of(text, (size_t)n);
        }
    }
    return 0;
}

static struct line_key
key_of(const void *bytes, size_t length)
{
    XXH128_hash_t h = XXH3_128bits(bytes, length);
    return (struct line_key){h.high64, h.low64};
}

static int
read_key(const struct line_how *how, struct span prompt, struct span source, struct line *line,
         struct error *e)
{
    struct span key = how->group == LINE_group_none ? source : prompt;

    if (how->group == LINE_group_field) {
        const json_t *v = field_at(line->root, how->group_field);
        if (!v || json_is_null(v))
            return error_set(e, ERROR_input, "field '%s', which makes the groups, is missing",
                             how->group_field);
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT);
        line->key = key_of(text ? text : "", text ? strlen(text) : 0);
        free(text);
        return 0;
    }
    line->key = key_of(key.at, key.length);
    return 0;
}

static int
parse(struct span text, json_t **root, struct error *e)
{
    json_error_t why;
    size_t       flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;

    *root = json_loadb(text.at, text.length, flags, &why);
    if (!*root && json_error_code(&why) == json_error_numeric_overflow)
        *root = json_loadb(text.at, text.length, flags | JSON_DECODE_INT_AS_REAL, &why);
    if (!*root) {
        const char *what = json_error_code(&why) == json_error_invalid_utf8 ? "not UTF-8"
                           : json_error_code(&why) == json_error_premature_end_of_input
                               ? "truncated JSON"
                               : "malformed JSON";
        return error_set(e, ERROR_input, "%s at byte %d: %s", what, why.position, why.text);
    }
    if (!json_is_object(*root)) {
        error_set(e, ERROR_input, "the line is %s, not an object", line_kind(*root));
        json_decref(*root);
        *root = NULL;
        return ERROR_input;
    }
    return 0;
}

/* A preference pair: two responses, of rewards 1 and 0. */
static void
unfold_pair(const struct line_how *how, json_t *root)
{
    json_t     *better = json_object_get(root, "chosen"), *worse = json_object_get(root, "rejected");
    const char *name;

    if (!better || !worse || find(root, how->response_field, response_fields, &name))
        return;
    json_object_set_new(root, "responses", json_pack("[OO]", better, worse));
    if (!find(root, how->reward_field, reward_fields, &name))
        json_object_set_new(root, "rewards", json_pack("[ii]", 1, 0));
}

int
line_read(const struct line_how *how, struct span text, struct span source, struct arena *arena,
          struct line *line, struct error *e)
{
    const char *name;
    struct span prompt, answer;
    bool        has_answer;
    json_t     *v;
    int         rc;

    *line = (struct line){0};
    rc = parse(text, &line->root, e);
    if (rc != 0)
        return rc;
    unfold_pair(how, line->root);
    v = find(line->root, how->prompt_field, prompt_fields, &name);
    rc = v && !json_is_null(v)
             ? read_prompt(v, name, arena, &prompt, e)
             : error_set(
                   e, ERROR_input, "no prompt: field '%s' is missing%s", name,
                   how->prompt_field && how->prompt_field[0] ? "" : ", and so are its other names");
    if (rc != 0)
        goto fail;
    v = find(line->root, how->response_field, response_fields, &name);
    const json_t *steps = given_find(how, line->root, v != NULL);
    if (steps)
        v = NULL;
    rc = steps                  ? given_read(steps, arena, line, e)
         : v && !json_is_null(v) ? read_responses(v, name, arena, line, e)
             : error_set(e, ERROR_input, "no response: field '%s' is missing%s", name,
                         how->response_field && how->response_field[0]
                             ? ""
                             : ", and so are its other names");
    if (rc != 0)
        goto fail;
    rc = read_answer(how, line->root, arena, &answer, &has_answer, e);
    for (int i = 0; rc == 0 && i < line->count; i++) {
        line->items[i].rollout.prompt = prompt;
        line->items[i].rollout.answer = answer;
    }
    if (rc == 0)
        rc = read_rewards(how, v, has_answer, line, e);
    if (rc == 0)
        rc = recorded_read(how, v, arena, line, e);
    if (rc == 0)
        rc = read_ids(how, source, arena, line, e);
    if (rc == 0)
        rc = read_key(how, prompt, source, line, e);
    if (rc == 0)
        return 0;
fail:
    line_free(line);
    return rc;
}

void
line_free(struct line *line)
{
    json_decref(line->root);
    *line = (struct line){0};
}

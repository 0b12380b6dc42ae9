/* recorded: see recorded.h. One row per field: its names, and how a value becomes part of a
 * rollout. */
#include "nodes/reader/recorded.h"

#include <math.h>
#include <string.h>

#include <jansson.h>

static const char *const logps_fields[] = {
    "rollout_log_probs",   "generation_log_probs",
    "generation_logprobs", "response_logprobs",
    "old_log_probs",       "logprobs",
    "log_probs",           NULL,
};
static const char *const token_ids_fields[] = {
    "response_token_ids", "generation_token_ids", "response_ids", "token_ids", NULL,
};
static const char *const weight_fields[] = {"sample_weight", "weight", NULL};
static const char *const finish_fields[] = {"finish_reason", "stop_reason", "truncated", NULL};
static const char *const injected_fields[] = {"injected", NULL};

/* The numbers of OpenAI's two shapes, or the list itself; NULL: none of them. */
static const json_t *
logps_list(const json_t *v)
{
    const json_t *inner = json_object_get(v, "content");

    if (!json_is_array(inner))
        inner = json_object_get(v, "token_logprobs");
    if (!json_is_array(inner))
        inner = v;
    return json_is_array(inner) ? inner : NULL;
}

/* Readers: NULL when the value was taken, "" when it is no such field, else what is wrong. */
static const char *
take_logps(const json_t *v, struct arena *arena, struct rollout *r)
{
    const json_t *list = logps_list(v);
    size_t count = json_array_size(list);
    float *at;

    if (!list)
        return "";
    if (count > RECORDED_TOKENS_MAX)
        return "more log-probabilities than a response may have tokens";
    at = arena_take(arena, (count + 1) * sizeof(*at));
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        const json_t *inner = json_is_object(one) ? json_object_get(one, "logprob") : one;

        if (!json_is_number(inner))
            return json_is_array(inner) || json_is_object(inner)
                       ? ""
                       : "an element is no number; a log-probability is a number";
        at[i] = (float)json_number_value(inner);
        if (!isfinite(at[i]) || at[i] > 0)
            return "a log-probability is finite and not above 0";
    }
    r->logps = (struct f32s){(int64_t)count, at};
    return NULL;
}

static const char *
take_token_ids(const json_t *v, struct arena *arena, struct rollout *r)
{
    size_t count = json_array_size(v);
    uint32_t *at;

    if (!json_is_array(v))
        return "";
    if (count > RECORDED_TOKENS_MAX)
        return "more ids than a response may have tokens";
    at = arena_take(arena, (count + 1) * sizeof(*at));
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(v, i);

        if (!json_is_integer(one))
            return json_is_array(one) ? "" : "a token id is a whole number";
        if (json_integer_value(one) < 0 || json_integer_value(one) > INT32_MAX)
            return "a token id lies in 0 .. 2147483647";
        at[i] = (uint32_t)json_integer_value(one);
    }
    r->token_ids = (struct u32s){(int64_t)count, at};
    return NULL;
}

static const char *
take_weight(const json_t *v, struct arena *arena, struct rollout *r)
{
    double weight = json_number_value(v);

    (void)arena;
    if (!json_is_number(v))
        return "";
    if (!isfinite(weight) || weight <= 0)
        return "a weight is finite and above 0; leave the rollout away to give it none";
    r->weight = weight;
    return NULL;
}

static const char *
take_finish(const json_t *v, struct arena *arena, struct rollout *r)
{
    (void)arena;
    if (json_is_boolean(v))
        r->finish = span_text(json_is_true(v) ? "length" : "stop");
    else if (json_is_string(v))
        r->finish = span_of(json_string_value(v), json_string_length(v));
    else
        return "";
    return NULL;
}

static const char *
take_injected(const json_t *v, struct arena *arena, struct rollout *r)
{
    (void)arena;
    if (json_is_boolean(v))
        r->injected = json_is_true(v);
    else if (json_is_integer(v) && (json_integer_value(v) == 0 || json_integer_value(v) == 1))
        r->injected = (uint64_t)json_integer_value(v);
    else
        return "";
    return NULL;
}

struct row {
    const char *const *names;
    const char *(*take)(const json_t *v, struct arena *arena, struct rollout *r);
    const char *shape; /* what a named field must be */
};

/* The value of response i: from a list of the line with one per response, or from the response's
 * own object; NULL: none. */
static const json_t *
value_of(const struct row *row, const char *named, const json_t *responses, const struct line *line,
         int i, const char **name)
{
    const json_t *own = json_is_array(responses) ? json_array_get(responses, (size_t)i) : responses;
    const json_t *v;

    if (json_is_object(own)) {
        v = line_find(own, named, row->names, name);
        if (v && !json_is_null(v))
            return v;
    }
    v = line_find(line->root, named, row->names, name);
    if (!v || line->count == 1 || !json_is_array(v))
        return v;
    return json_array_size(v) == (size_t)line->count ? json_array_get(v, (size_t)i) : NULL;
}

static int
read_row(const struct row *row, const char *named, const json_t *responses, struct arena *arena,
         struct line *line, struct error *e)
{
    bool must = named && named[0] && strcmp(named, "none") != 0;

    for (int i = 0; i < line->count; i++) {
        const char *name, *why;
        const json_t *v = value_of(row, named, responses, line, i, &name);

        if (!v && must && json_is_array(line_find(line->root, named, row->names, &name)))
            return error_set(e, ERROR_input,
                             "field '%s' does not list one for each of %d responses", name,
                             line->count);
        if (!v || json_is_null(v))
            continue;
        why = row->take(v, arena, &line->items[i].rollout);
        if (why && !*why && line->count == 1 && json_array_size(v) == 1)
            why = row->take(json_array_get(v, 0), arena, &line->items[i].rollout);
        if (!why || (!*why && !must))
            continue;
        if (!*why)
            return error_set(e, ERROR_input, "field '%s' is %s; %s", name, line_kind(v),
                             row->shape);
        if (line->count == 1)
            return error_set(e, ERROR_input, "field '%s': %s", name, why);
        line->items[i].why = line->items[i].why ? line->items[i].why : why;
    }
    return 0;
}

int
recorded_read(const struct line_how *how, const json_t *responses, struct arena *arena,
              struct line *line, struct error *e)
{
    const struct row rows[] = {
        {logps_fields, take_logps, "log-probabilities are a list of numbers"},
        {token_ids_fields, take_token_ids, "token ids are a list of whole numbers"},
        {weight_fields, take_weight, "a weight is a number"},
        {finish_fields, take_finish, "why the sampler stopped is text, or true where it was cut"},
        {injected_fields, take_injected, "it is true or false"},
    };
    const char *const named[] = {how->logps_field, how->token_ids_field, how->weight_field,
                                 how->finish_field, how->injected_field};
    int rc = 0;

    responses = line_unwrap(responses);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && rc == 0; i++)
        rc = read_row(&rows[i], named[i], responses, arena, line, e);
    return rc;
}

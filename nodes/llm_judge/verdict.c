/* verdict: the tolerant reader of judges' answers; verdict.h says what is tolerated and what is
 * not. */
#include "nodes/llm_judge/verdict.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "nodes/one_line.h"

static json_t *
first_of(const json_t *object, const char *const *names)
{
    for (; *names; names++) {
        json_t *value = json_object_get(object, *names);
        if (value && !json_is_null(value))
            return value;
    }
    return NULL;
}

/* The array of steps that a parsed value holds, or NULL. */
static json_t *
steps_of(json_t *value)
{
    json_t *steps = json_is_object(value) ? json_object_get(value, "steps") : NULL;

    if (json_is_array(steps))
        return steps;
    if (json_is_array(value) && json_is_object(json_array_get(value, 0)))
        return value;
    return NULL;
}

/* The last verdict in the text; an object with "steps" beats a bare array. NULL: none. The caller
 * gives `root` back. */
static json_t *
find_steps(struct span text, json_t **root)
{
    json_t *best = NULL;
    size_t at = 0;

    *root = NULL;
    for (int tries = 0; at < text.length && tries < VERDICT_TRIES_MAX; at++) {
        json_error_t fault;
        json_t *value, *steps;
        if (text.at[at] != '{' && text.at[at] != '[')
            continue;
        tries++;
        value = json_loadb(text.at + at, text.length - at, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL,
                           &fault);
        if (!value)
            continue;
        steps = steps_of(value);
        if (steps && (json_is_object(value) || !best || json_is_array(*root))) {
            json_decref(*root);
            *root = value;
            best = steps;
        } else {
            json_decref(value);
        }
        at += (size_t)fault.position > 0 ? (size_t)fault.position - 1 : 0;
    }
    return best;
}

enum said { SAID_wrong, SAID_right, SAID_nothing, SAID_unknown };

static enum said
read_label(const json_t *value)
{
    static const struct {
        const char *word;
        enum said said;
    } labels[] = {
        {"correct", SAID_right},     {"incorrect", SAID_wrong}, {"right", SAID_right},
        {"wrong", SAID_wrong},       {"true", SAID_right},      {"false", SAID_wrong},
        {"yes", SAID_right},         {"no", SAID_wrong},        {"good", SAID_right},
        {"bad", SAID_wrong},         {"valid", SAID_right},     {"invalid", SAID_wrong},
        {"1", SAID_right},           {"0", SAID_wrong},         {"-1", SAID_wrong},
        {"neutral", SAID_nothing},   {"unknown", SAID_nothing}, {"unsure", SAID_nothing},
        {"uncertain", SAID_nothing}, {"abstain", SAID_nothing},
    };
    const char *word = json_string_value(value);

    if (json_is_boolean(value))
        return json_is_true(value) ? SAID_right : SAID_wrong;
    if (json_is_number(value)) {
        double v = json_number_value(value);
        return v == 1 ? SAID_right : v == 0 || v == -1 ? SAID_wrong : SAID_unknown;
    }
    for (size_t i = 0; word && i < sizeof(labels) / sizeof(labels[0]); i++)
        if (strcasecmp(word, labels[i].word) == 0)
            return labels[i].said;
    return SAID_unknown;
}

/* A number in [0,1], as a number or as text; false: none. */
static bool
read_score(const json_t *value, double *score)
{
    const char *text = json_string_value(value);
    char *end = NULL;

    if (json_is_number(value))
        *score = json_number_value(value);
    else if (text && *text)
        *score = strtod(text, &end);
    else
        return false;
    return (!end || *end == 0) && *score >= 0 && *score <= 1;
}

static int
read_entry(const json_t *entry, int64_t i, struct verdict *out, struct arena *arena,
           struct error *e)
{
    static const char *const label_names[] = {"label",     "verdict",  "correct",
                                              "judgement", "judgment", NULL};
    static const char *const score_names[] = {"score", "probability", "p", NULL};
    static const char *const reason_names[] = {"reason", "analysis", "explanation", NULL};
    const json_t *label = first_of(entry, label_names);
    const json_t *reason = first_of(entry, reason_names);
    enum said said = label ? read_label(label) : SAID_unknown;
    double score = 0;
    bool scored = read_score(first_of(entry, score_names), &score);

    if (json_is_string(reason))
        out->reasons[i] =
            one_line(span_of(json_string_value(reason), json_string_length(reason)),
                         VERDICT_REASON_MAX, arena);
    if (said == SAID_nothing)
        return 0;
    if (said == SAID_unknown && label)
        return error_set(e, ERROR_input,
                         "step %" PRId64 " has a label that is neither correct nor incorrect", i);
    if (said == SAID_unknown && !scored)
        return error_set(e, ERROR_input, "step %" PRId64 " has no label and no score in 0..1", i);
    if (said != SAID_unknown && (!scored || (said == SAID_right) != (score >= 0.5)))
        score = said == SAID_right;
    out->scores[i] = (float)score;
    out->said[i] = 1;
    return 0;
}

/* The step an entry names; -1: it names none; -2: something that is no index. */
static int64_t
index_of(const json_t *entry)
{
    static const char *const names[] = {"i", "index", "step", "id", NULL};
    const json_t *value = first_of(entry, names);
    const char *text = json_string_value(value);
    char *end;
    long long i;

    if (!value)
        return -1;
    if (json_is_integer(value))
        return json_integer_value(value) >= 0 ? (int64_t)json_integer_value(value) : -2;
    if (!text || !*text || strlen(text) > 18)
        return -2;
    i = strtoll(text, &end, 10);
    return *end == 0 && i >= 0 ? i : -2;
}

/* Which step each entry speaks of: by index from 0, by index from 1 (then n is among them), or by
 * place. */
static int
place_entries(const json_t *steps, int64_t count, int64_t *place, uint8_t *seen, struct error *e)
{
    int64_t named = 0, base = 1;

    for (int64_t k = 0; k < count; k++) {
        const json_t *entry = json_array_get(steps, (size_t)k);
        if (!json_is_object(entry))
            return error_set(e, ERROR_input, "entry %" PRId64 " of the verdict is not an object",
                             k);
        place[k] = index_of(entry);
        if (place[k] == -2)
            return error_set(e, ERROR_input, "entry %" PRId64 " of the verdict has a strange index",
                             k);
        named += place[k] >= 0;
        if (place[k] == 0)
            base = 0;
    }
    if (named != 0 && named != count)
        return error_set(e, ERROR_input,
                         "some entries of the verdict have an index and some have none");
    for (int64_t k = 0; k < count; k++) {
        int64_t i = named ? place[k] - base : k;
        if (i < 0 || i >= count)
            return error_set(e, ERROR_input, "the verdict names step %" PRId64 " of %" PRId64,
                             place[k], count);
        if (seen[i])
            return error_set(e, ERROR_input, "the verdict names step %" PRId64 " twice", place[k]);
        seen[i] = 1;
        place[k] = i;
    }
    return 0;
}

int
verdict_read(struct span text, int64_t count, struct verdict *out, struct arena *arena,
             struct error *e)
{
    json_t *root, *steps;
    int64_t *place;
    int rc = 0;

    if (text.length > VERDICT_BYTES_MAX)
        return error_set(e, ERROR_limit, "the answer has more than %d bytes", VERDICT_BYTES_MAX);
    steps = find_steps(text, &root);
    if (!steps)
        return error_set(e, ERROR_input, "no JSON verdict in the answer");
    if ((int64_t)json_array_size(steps) != count)
        rc = error_set(e, ERROR_input, "the verdict has %zu steps, not %" PRId64,
                       json_array_size(steps), count);
    out->scores = arena_take(arena, (size_t)count * sizeof(*out->scores) + 1);
    out->said = arena_take(arena, (size_t)count + 1);
    out->reasons = arena_take(arena, (size_t)count * sizeof(*out->reasons) + 1);
    place = arena_take(arena, (size_t)count * sizeof(*place) + 1);
    if (rc == 0)
        rc = place_entries(steps, count, place, arena_take(arena, (size_t)count + 1), e);
    for (int64_t k = 0; rc == 0 && k < count; k++)
        rc = read_entry(json_array_get(steps, (size_t)k), place[k], out, arena, e);
    json_decref(root);
    return rc;
}

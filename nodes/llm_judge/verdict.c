/* verdict: the tolerant reader of judges' answers, and what its forms share; verdict.h says what is
 * tolerated and what is not. */
#include "nodes/llm_judge/verdict.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nodes/llm_judge/verdict_parts.h"
#include "nodes/one_line.h"

json_t *
verdict_member(const json_t *object, const char *const *names)
{
    for (; *names; names++) {
        json_t *value = json_object_get(object, *names);
        if (value && !json_is_null(value))
            return value;
    }
    return NULL;
}

/* Answers are full of braces that are no JSON (LaTeX), which fail at once; the bound is for texts
 * made to fail late. */
json_t *
verdict_find(struct span text, verdict_holder holder, json_t **root)
{
    json_t *best = NULL;
    size_t work = 0;

    *root = NULL;
    for (size_t at = 0; at < text.length && work < VERDICT_WORK_MAX; at++) {
        json_error_t fault = {0};
        json_t *value, *part;
        size_t used;
        if (text.at[at] != '{' && text.at[at] != '[')
            continue;
        value = json_loadb(text.at + at, text.length - at, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL,
                           &fault);
        used = fault.position > 0 ? (size_t)fault.position : 0;
        work += used + 64;
        if (!value)
            continue;
        part = holder(value);
        if (part && (json_is_object(value) || !best || json_is_array(*root))) {
            json_decref(*root);
            *root = value;
            best = part;
        } else {
            json_decref(value);
        }
        at += used > 0 ? used - 1 : 0;
    }
    return best;
}

bool
verdict_whole(const json_t *value, int64_t *out)
{
    const char *text = json_string_value(value);
    char *end;
    long long i;

    if (json_is_number(value)) {
        double v = json_number_value(value);
        if (!(v > -1e9 && v < 1e9))
            return false;
        *out = (int64_t)v;
        return (double)*out == v;
    }
    if (!text)
        return false;
    text += strcspn(text, "+-0123456789");
    if (!*text || strlen(text) > 9)
        return false;
    i = strtoll(text, &end, 10);
    *out = i;
    return end > text && *end == 0;
}

struct span
verdict_reason(const json_t *text, struct arena *arena)
{
    if (!json_is_string(text))
        return span_of(NULL, 0);
    return one_line(span_of(json_string_value(text), json_string_length(text)), VERDICT_REASON_MAX,
                    arena);
}

const char *
verdict_last(const char *from, const char *end, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(end - from) < length)
        return NULL;
    for (const char *at = end - length; at >= from; at--)
        if (strncasecmp(at, word, length) == 0)
            return at;
    return NULL;
}

/* What is taken off an index to make it one into [0, count). */
static int64_t
base_of(const int64_t *indexes, int64_t named, const struct verdict_ask *ask)
{
    int64_t least = named ? indexes[0] : ask->first;

    for (int64_t k = 1; k < named; k++)
        least = indexes[k] < least ? indexes[k] : least;
    return least == ask->first + 1 || least == 1 || least == 0 ? least : ask->first;
}

int
verdict_place(int64_t *indexes, int64_t named, const struct verdict_ask *ask, bool exact,
              struct error *e)
{
    int64_t base = exact ? base_of(indexes, named, ask) : ask->first;
    uint8_t *seen = xalloc((size_t)ask->count + 1);
    int rc = 0;

    for (int64_t k = 0; k < named && rc == 0; k++) {
        int64_t i = indexes[k] - base;
        if (i < 0 || i >= ask->count)
            rc = error_set(e, ERROR_input, "the verdict names step %" PRId64 " of %" PRId64,
                           indexes[k], ask->first + ask->count);
        else if (exact && seen[i])
            rc = error_set(e, ERROR_input, "the verdict names step %" PRId64 " twice", indexes[k]);
        else
            seen[i] = 1;
        indexes[k] = i;
    }
    free(seen);
    return rc;
}

typedef int (*reader)(struct span text, const struct verdict_ask *ask, struct verdict *out,
                      struct arena *arena, struct error *e);

int
verdict_read(struct span text, const struct verdict_ask *ask, struct verdict *out,
             struct arena *arena, struct error *e)
{
    static const reader readers[FORM_count] = {
        [FORM_steps] = verdict_steps,           [FORM_first_error] = verdict_first_error,
        [FORM_all_errors] = verdict_all_errors, [FORM_agent] = verdict_agent,
        [FORM_score] = verdict_score,
    };
    size_t count = (size_t)ask->count;

    if (text.length > VERDICT_BYTES_MAX)
        return error_set(e, ERROR_limit, "the answer has more than %d bytes", VERDICT_BYTES_MAX);
    *out = (struct verdict){.scores = arena_take(arena, count * sizeof(*out->scores) + 1),
                            .said = arena_take(arena, count + 1),
                            .reasons = arena_take(arena, count * sizeof(*out->reasons) + 1)};
    if (!text.at)
        text.at = "";
    return readers[ask->form](text, ask, out, arena, e);
}

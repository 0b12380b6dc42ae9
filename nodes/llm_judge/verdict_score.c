/* verdict_score: marks from 1 to 5, in JSON or in lines of words. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "nodes/llm_judge/verdict_parts.h"

static json_t *
holder(json_t *value)
{
    json_t *steps = json_is_object(value) ? json_object_get(value, "steps") : NULL;

    return json_is_array(steps) ? value : NULL;
}

static float
score_of(int64_t mark)
{
    return (float)(mark - VERDICT_MARK_MIN) / (float)(VERDICT_MARK_MAX - VERDICT_MARK_MIN);
}

static bool
is_mark(int64_t mark)
{
    return mark >= VERDICT_MARK_MIN && mark <= VERDICT_MARK_MAX;
}

static int
read_object(const json_t *object, const struct verdict_ask *ask, struct verdict *out,
            struct arena *arena, struct error *e)
{
    static const char *const mark_names[] = {"score", "mark", "rating", NULL};
    static const char *const reason_names[] = {"reason", "analysis", "explanation", NULL};
    const json_t *steps = json_object_get(object, "steps");
    int64_t *place = arena_take(arena, (size_t)ask->count * sizeof(*place) + 1), mark;
    int rc = verdict_entries(steps, ask, place, e);

    for (int64_t k = 0; rc == 0 && k < ask->count; k++) {
        const json_t *entry = json_array_get(steps, (size_t)k);
        if (!verdict_whole(verdict_member(entry, mark_names), &mark) || !is_mark(mark))
            return error_set(e, ERROR_input, "entry %" PRId64 " has no mark from 1 to 5", k);
        out->said[place[k]] = 1;
        out->scores[place[k]] = score_of(mark);
        out->reasons[place[k]] = verdict_reason(verdict_member(entry, reason_names), arena);
    }
    if (rc == 0 && verdict_whole(json_object_get(object, "overall"), &mark) && is_mark(mark)) {
        out->rated = true;
        out->response = score_of(mark);
    }
    return rc;
}

/* ---- words ---- */

static const char *
skip(const char *at, const char *end, const char *set)
{
    while (at < end && *at && strchr(set, *at))
        at++;
    return at;
}

static const char *
word(const char *at, const char *end, const char *wanted)
{
    size_t length = strlen(wanted);

    if ((size_t)(end - at) >= length && strncasecmp(at, wanted, length) == 0)
        return skip(at + length, end, " \t*_:#");
    return NULL;
}

/* The place of the digit that a mark's line ends with, from `at` behind its label; NULL: none. "4",
 * ": **4**", "is 4/5", "= [4]". */
static const char *
digit_at(const char *at, const char *end)
{
    const char *is = word(skip(at, end, " \t*_:="), end, "is ");

    at = skip(is ? is : at, end, " \t*_:=[(\"`");
    if (at >= end || *at < '0' + VERDICT_MARK_MIN || *at > '0' + VERDICT_MARK_MAX)
        return NULL;
    if (at + 1 < end && (isdigit((unsigned char)at[1]) ||
                         (at + 2 < end && at[1] == '.' && isdigit((unsigned char)at[2]))))
        return NULL;
    return at;
}

/* One mark in words, read at `at`: whose it is (-1: the whole; -2: the only step) and where its
 * digit stands. false: none begins here. */
static bool
mark_at(const char *at, const char *end, int64_t *whose, const char **digit)
{
    const char *next = word(at, end, "overall score"), *step;

    *whose = -1;
    if (next)
        return (*digit = digit_at(next, end)) != NULL;
    next = word(at, end, "score");
    if (!next)
        return false;
    *whose = -2;
    step = word(next, end, "of ");
    step = word(step ? step : next, end, "step");
    if (step) {
        int64_t index = 0;
        const char *from = step;
        while (step < end && isdigit((unsigned char)*step) && step - from < 9)
            index = index * 10 + (*step++ - '0');
        if (step == from)
            return false;
        *whose = index;
        next = step;
    }
    return (*digit = digit_at(next, end)) != NULL;
}

/* An answer that is nothing but a mark, of the one step that was asked about: where its digit would
 * stand, whatever was drawn there; -1: it is more than that. */
static int64_t
bare_mark(struct span text, const struct verdict_ask *ask)
{
    const char *end = text.at + text.length, *at = skip(text.at, end, " \t\r\n*_:=[(\"`");
    const char *after = at < end ? skip(at + 1, end, " \t\r\n*_.])\"`/5") : end;

    if (at + 1 < end && isdigit((unsigned char)at[1]))
        return -1;
    return ask->count == 1 && at < end && after == end ? at - text.at : -1;
}

/* The places of the marks of the steps that were named, or of the only one. */
static int
place_marks(const struct verdict_ask *ask, const int64_t *indexes, const int64_t *places,
            int64_t named, int64_t bare, int64_t *out, struct error *e)
{
    for (int64_t k = 0; k < named; k++) {
        int64_t i = indexes[k] == -1 ? ask->count : indexes[k] == -2 ? 0 : indexes[k] - ask->first;
        if (indexes[k] == -2 && ask->count != 1)
            continue; /* "the score is 3" somewhere in the reasoning */
        if (i < 0 || i > ask->count || (i == ask->count && indexes[k] != -1))
            return error_set(e, ERROR_input, "the verdict names step %" PRId64 " of %" PRId64,
                             indexes[k], ask->first + ask->count);
        out[i] = places[k]; /* the last one counts */
    }
    if (named == 0)
        out[0] = bare;
    for (int64_t i = 0; i < ask->count; i++)
        if (out[i] < 0)
            return error_set(e, ERROR_input, "no score of step %" PRId64 " in the answer",
                             ask->first + i);
    return 0;
}

int
verdict_marks(struct span text, const struct verdict_ask *ask, int64_t **out, struct arena *arena,
              struct error *e)
{
    const char *end = text.at + text.length, *digit;
    int64_t named = 0, room = 4 * (ask->count + 16), whose;
    int64_t *indexes = arena_take(arena, (size_t)room * sizeof(*indexes));
    int64_t *places = arena_take(arena, (size_t)room * sizeof(*places));

    *out = arena_take(arena, (size_t)(ask->count + 1) * sizeof(**out));
    for (int64_t i = 0; i <= ask->count; i++)
        (*out)[i] = -1;
    for (const char *at = text.at; at < end; at++) {
        if ((*at | 0x20) != 's' && (*at | 0x20) != 'o')
            continue;
        if (at > text.at && isalpha((unsigned char)at[-1]))
            continue;
        if (!mark_at(at, end, &whose, &digit))
            continue;
        if (named == room)
            return error_set(e, ERROR_input, "the answer has more than %" PRId64 " scores", room);
        indexes[named] = whose;
        places[named++] = digit - text.at;
        at = digit;
    }
    return place_marks(ask, indexes, places, named, bare_mark(text, ask), *out, e);
}

int
verdict_score(struct span text, const struct verdict_ask *ask, struct verdict *out,
              struct arena *arena, struct error *e)
{
    json_t *root, *object = verdict_find(text, holder, &root);
    int64_t *places;
    int rc;

    if (object) {
        rc = read_object(object, ask, out, arena, e);
        json_decref(root);
        return rc;
    }
    rc = verdict_marks(text, ask, &places, arena, e);
    for (int64_t i = 0; rc == 0 && i < ask->count; i++) {
        out->said[i] = 1;
        out->scores[i] = score_of(text.at[places[i]] - '0');
        if (!is_mark(text.at[places[i]] - '0'))
            rc = error_set(e, ERROR_input, "the answer '%c' is no mark", text.at[places[i]]);
    }
    if (rc == 0 && places[ask->count] >= 0) {
        out->rated = true;
        out->response = score_of(text.at[places[ask->count]] - '0');
    }
    return rc;
}

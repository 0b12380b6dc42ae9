/* verdict_steps: one label for each step, in JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nodes/llm_judge/verdict_parts.h"

static json_t *
holder(json_t *value)
{
    json_t *steps = json_is_object(value) ? json_object_get(value, "steps") : NULL;

    if (json_is_array(steps))
        return steps;
    if (json_is_array(value) && json_is_object(json_array_get(value, 0)))
        return value;
    return NULL;
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
    const json_t *label = verdict_member(entry, label_names);
    const json_t *reason = verdict_member(entry, reason_names);
    enum said said = label ? read_label(label) : SAID_unknown;
    double score = 0;
    bool scored = read_score(verdict_member(entry, score_names), &score);

    out->reasons[i] = verdict_reason(reason, arena);
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

/* Which step each entry speaks of: as it says, or by its place. */
int
verdict_entries(const json_t *steps, const struct verdict_ask *ask, int64_t *place, struct error *e)
{
    static const char *const names[] = {"i", "index", "step", "id", NULL};
    int64_t named = 0;

    if ((int64_t)json_array_size(steps) != ask->count)
        return error_set(e, ERROR_input, "the verdict has %zu steps, not %" PRId64,
                         json_array_size(steps), ask->count);
    for (int64_t k = 0; k < ask->count; k++) {
        const json_t *entry = json_array_get(steps, (size_t)k);
        const json_t *index = verdict_member(entry, names);
        if (!json_is_object(entry))
            return error_set(e, ERROR_input, "entry %" PRId64 " of the verdict is not an object",
                             k);
        if (index && (!verdict_whole(index, &place[k]) || place[k] < 0))
            return error_set(e, ERROR_input, "entry %" PRId64 " of the verdict has a strange index",
                             k);
        named += index != NULL;
    }
    if (named != 0 && named != ask->count)
        return error_set(e, ERROR_input,
                         "some entries of the verdict have an index and some have none");
    for (int64_t k = 0; named == 0 && k < ask->count; k++)
        place[k] = ask->first + k;
    return verdict_place(place, ask->count, ask, true, e);
}

int
verdict_steps(struct span text, const struct verdict_ask *ask, struct verdict *out,
              struct arena *arena, struct error *e)
{
    json_t *root, *steps = verdict_find(text, holder, &root);
    int64_t *place = arena_take(arena, (size_t)ask->count * sizeof(*place) + 1);
    int rc;

    if (!steps)
        return error_set(e, ERROR_input, "no JSON verdict in the answer");
    rc = verdict_entries(steps, ask, place, e);
    for (int64_t k = 0; rc == 0 && k < ask->count; k++)
        rc = read_entry(json_array_get(steps, (size_t)k), place[k], out, arena, e);
    json_decref(root);
    return rc;
}

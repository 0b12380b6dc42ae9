/* verdict_agent: +1, 0 or -1 for each message of an agent, in JSON. */
#include <inttypes.h>

#include "nodes/llm_judge/verdict_parts.h"

static json_t *
holder(json_t *value)
{
    json_t *labels = json_is_object(value) ? json_object_get(value, "step_labels") : NULL;

    return json_is_object(labels) || json_is_array(labels) ? value : NULL;
}

static bool
read_label(const json_t *value, int64_t *out)
{
    return verdict_whole(value, out) && *out >= -1 && *out <= 1;
}

/* The labels as pairs of index and label; an array's indexes are places. */
static int
read_pairs(json_t *labels, const struct verdict_ask *ask, int64_t *indexes, int64_t *values,
           int64_t *count, struct error *e)
{
    const char *key;
    json_t *value;
    size_t k;

    *count = 0;
    if (json_array_size(labels) > (size_t)ask->count ||
        json_object_size(labels) > (size_t)ask->count)
        return error_set(e, ERROR_input, "the verdict has more labels than %" PRId64, ask->count);
    json_array_foreach(labels, k, value)
    {
        indexes[*count] = ask->first + (int64_t)k;
        if (!read_label(value, &values[(*count)++]))
            return error_set(e, ERROR_input, "label %zu is none of 1, 0, -1", k);
    }
    json_object_foreach(labels, key, value)
    {
        json_t *name = json_string(key);
        bool good = verdict_whole(name, &indexes[*count]);
        json_decref(name);
        if (!good || indexes[*count] < 0)
            return error_set(e, ERROR_input, "'%.40s' is no index of a message", key);
        if (!read_label(value, &values[(*count)++]))
            return error_set(e, ERROR_input, "the label of '%.40s' is none of 1, 0, -1", key);
    }
    return *count > 0 ? 0 : error_set(e, ERROR_input, "the verdict has no labels");
}

/* What is said of one message. The explanations have the keys of the labels. */
static void
put(struct verdict *out, int64_t i, int64_t label, const json_t *why, struct arena *arena)
{
    out->said[i] = label != 0;
    out->scores[i] = label > 0;
    out->reasons[i] = verdict_reason(why, arena);
}

static int
read_object(json_t *object, const struct verdict_ask *ask, struct verdict *out, struct arena *arena,
            struct error *e)
{
    size_t room = (size_t)ask->count * sizeof(int64_t) + sizeof(int64_t);
    int64_t *indexes = arena_take(arena, room), *values = arena_take(arena, room);
    json_t *labels = json_object_get(object, "step_labels");
    const json_t *why = json_object_get(json_object_get(object, "explanations"), "steps");
    const char *key = NULL;
    int64_t count, final;
    void *at;
    int rc = read_pairs(labels, ask, indexes, values, &count, e);

    if (rc == 0)
        rc = verdict_place(indexes, count, ask, count == ask->count, e);
    if (rc != 0)
        return rc;
    at = json_object_iter(labels);
    for (int64_t k = 0; k < count; k++) {
        key = at ? json_object_iter_key(at) : NULL;
        put(out, indexes[k], values[k],
            key ? json_object_get(why, key) : json_array_get(why, (size_t)k), arena);
        at = at ? json_object_iter_next(labels, at) : NULL;
    }
    if (read_label(json_object_get(object, "final_label"), &final) && final != 0) {
        out->rated = true;
        out->response = final > 0;
    }
    return 0;
}

int
verdict_agent(struct span text, const struct verdict_ask *ask, struct verdict *out,
              struct arena *arena, struct error *e)
{
    json_t *root, *object = verdict_find(text, holder, &root);
    int rc;

    if (!object)
        return error_set(e, ERROR_input, "no JSON verdict in the answer");
    rc = read_object(object, ask, out, arena, e);
    json_decref(root);
    return rc;
}

/* given: steps put together, with their ends. */
#include "nodes/reader/given.h"

#include <string.h>

#include <jansson.h>

static const char *const steps_fields[] = {"steps", NULL};

const json_t *
given_find(const struct line_how *how, const json_t *root, bool response)
{
    bool named = how->steps_field && how->steps_field[0];
    const char *name;
    const json_t *v = line_find(root, how->steps_field, steps_fields, &name);
    bool texts = json_is_array(v) && json_is_string(json_array_get(v, 0));

    if (json_is_null(v) || (!named && (response || !texts)))
        return NULL;
    return v;
}

/* What stands between a step and the next: one that ends in white space needs nothing. */
static const char *
gap_after(const json_t *step)
{
    size_t length = json_string_length(step);
    char last = length > 0 ? json_string_value(step)[length - 1] : 0;
    return last == '\n' || last == ' ' || last == '\t' ? "" : "\n\n";
}

int
given_read(const json_t *steps, struct arena *arena, struct line *line, struct error *e)
{
    size_t count = json_array_size(steps), bytes = 0, i;
    json_t *step;

    if (!json_is_array(steps) || count == 0 || count > GIVEN_STEPS_MAX)
        return error_set(e, ERROR_input, "the steps are %s; they are a list of 1 to %d texts",
                         json_is_array(steps) ? "a list of another length" : line_kind(steps),
                         GIVEN_STEPS_MAX);
    json_array_foreach(steps, i, step)
    {
        if (!json_is_string(step))
            return error_set(e, ERROR_input, "step %zu is %s, not text", i, line_kind(step));
        bytes += json_string_length(step) + 2;
    }
    if (json_string_length(json_array_get(steps, count - 1)) == 0)
        return error_set(e, ERROR_input, "the last step is empty");

    char *text = arena_take(arena, bytes);
    uint64_t *ends = arena_take(arena, sizeof(*ends) * count), at = 0;
    json_array_foreach(steps, i, step)
    {
        const char *gap = i + 1 < count ? gap_after(step) : "";
        memcpy(text + at, json_string_value(step), json_string_length(step));
        at += json_string_length(step);
        memcpy(text + at, gap, strlen(gap));
        at += strlen(gap);
        ends[i] = at;
    }
    line->count = 1;
    line->items = arena_take(arena, sizeof(*line->items));
    line->items[0].rollout.response = span_of(text, at);
    line->items[0].rollout.given_ends = (struct u64s){(int64_t)count, ends};
    return 0;
}

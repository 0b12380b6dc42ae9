/* held_out: see held_out.h. */
#include "nodes/learner/held_out.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/prompts.h"

struct reading {
    struct held_out *out;
    struct sample_rules *rules; /* NULL: check alone */
    json_t *groups;             /* prompt to group */
    int64_t room, lines;
    struct buffer record;
};

/* A list of whole numbers below `limit` into the arena; *count 0 when the key is absent. */
static int
read_numbers(const json_t *json, const char *key, json_int_t limit, struct arena *arena,
             uint64_t **out, int64_t *count, struct error *e)
{
    const json_t *list = json_object_get(json, key);
    size_t n = json_array_size(list);

    *count = 0;
    *out = NULL;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return error_set(e, ERROR_input, "'%s' must be a list", key);
    *out = arena_take(arena, (n + 1) * sizeof(**out));
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);

        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) >= limit)
            return error_set(e, ERROR_input, "'%s' holds something that is no such number", key);
        (*out)[i] = (uint64_t)json_integer_value(value);
    }
    *count = (int64_t)n;
    return 0;
}

static int64_t
group_of(struct reading *r, const char *prompt)
{
    json_t *group = json_object_get(r->groups, prompt);

    if (!group) {
        group = json_integer(r->out->groups++);
        json_object_set_new(r->groups, prompt, group);
    }
    return (int64_t)json_integer_value(group);
}

/* What the model can read becomes a sample; the rest is counted. */
static int
keep_sample(struct reading *r, const struct sample_source *source, const char *prompt,
            struct error *e)
{
    struct held_out *h = r->out;
    struct unit unit = {.ordinal = (uint64_t)h->count, .first = (uint64_t)h->count, .size = 1};
    struct error why = {0};
    int64_t gems;
    char *copy;

    buffer_clear(&r->record);
    if (sample_make(r->rules, source, &unit, &r->record, &gems, &why) < 0) {
        h->skipped++;
        return 0;
    }
    if (h->count == r->room) {
        r->room = r->room ? 2 * r->room : 256;
        h->at = xresize(h->at, (size_t)r->room * sizeof(*h->at));
        h->group = xresize(h->group, (size_t)r->room * sizeof(*h->group));
    }
    copy = arena_take(&h->arena, r->record.length);
    memcpy(copy, r->record.at, r->record.length);
    h->group[h->count] = group_of(r, prompt);
    h->count++;
    return sample_read(span_of(copy, r->record.length), unit.ordinal, &h->at[h->count - 1], e);
}

static int
take_line(struct reading *r, const json_t *json, struct error *e)
{
    const json_t *prompt = json_object_get(json, "prompt"),
                 *response = json_object_get(json, "response"),
                 *finish = json_object_get(json, "finish");
    struct rollout rollout = {0};
    struct sample_source source = {.rollout = &rollout};
    struct arena scratch = {0};
    uint64_t *ends = NULL, *wide = NULL;
    uint8_t *labels;
    int64_t count = 0;
    int rc;

    if (!json_is_string(prompt) || !json_is_string(response))
        return error_set(e, ERROR_input, "'prompt' and 'response' must be text");
    rollout.prompt = span_of(json_string_value(prompt), json_string_length(prompt));
    rollout.response = span_of(json_string_value(response), json_string_length(response));
    if (!finish)
        finish = json_object_get(json, "finish_reason"); /* as `sluice sample` has it */
    if (json_is_string(finish))
        rollout.finish = span_of(json_string_value(finish), json_string_length(finish));
    rc = prompts_reward(json, rollout.response, &rollout.reward, e);
    if (rc == 0)
        rc = read_numbers(json, "ends", (json_int_t)rollout.response.length + 1, &scratch, &ends,
                          &source.steps, e);
    if (rc == 0)
        rc = read_numbers(json, "labels", 3, &scratch, &wide, &count, e);
    if (rc == 0 && count != source.steps)
        rc = error_set(e, ERROR_input, "%lld labels for %lld steps", (long long)count,
                       (long long)source.steps);
    labels = arena_take(&scratch, (size_t)count + 1);
    for (int64_t i = 0; i < count; i++)
        labels[i] = (uint8_t)wide[i];
    source.ends = count > 0 ? ends : NULL;
    source.labels = labels;
    if (rc == 0 && r->rules)
        rc = keep_sample(r, &source, json_string_value(prompt), e);
    arena_free(&scratch);
    return rc;
}

static int
read_line(void *context, int64_t number, struct span text, struct error *e)
{
    struct reading *r = context;
    json_error_t why;
    json_t *json;
    int rc;

    (void)number;
    if (++r->lines > HELD_OUT_MAX)
        return error_set(e, ERROR_limit, "more than %d held-out rollouts", HELD_OUT_MAX);
    json = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, &why);
    rc = json ? take_line(r, json, e)
              : error_set(e, ERROR_input, "not JSON: %s (column %d)", why.text, why.column);
    json_decref(json);
    return rc;
}

static int
read_file(struct held_out *h, const char *path, struct sample_rules *rules, struct error *e)
{
    struct reading r = {.out = h, .rules = rules, .groups = json_object()};
    int rc;

    *h = (struct held_out){0};
    rc = prompts_lines(path, read_line, &r, e);
    if (rc == 0 && (r.lines == 0 || (rules && h->count == 0)))
        rc = error_set(e, ERROR_input, "%s: holds no rollout%s", path,
                       rules ? " that the model can read" : "");
    json_decref(r.groups);
    buffer_free(&r.record);
    if (rc < 0)
        held_out_free(h);
    return rc;
}

int
held_out_check(const char *path, struct error *e)
{
    struct held_out none;

    return read_file(&none, path, NULL, e);
}

int
held_out_read(struct held_out *h, const char *path, struct sample_rules *rules, struct error *e)
{
    return read_file(h, path, rules, e);
}

void
held_out_free(struct held_out *h)
{
    free(h->at);
    free(h->group);
    arena_free(&h->arena);
    *h = (struct held_out){0};
}

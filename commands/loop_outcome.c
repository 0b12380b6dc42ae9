/* loop_outcome: prompts.jsonl, a line for each prompt that was ever sampled: {"number", "id",
 * "right", "wrong", "advantage", "rounds"}, and for those of this round "correct", "attempts",
 * "stands" and "weight". Reals have 17 digits, so that they come back as they were. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/loop.h"
#include "kernels/durable.h"

void
outcome_new(struct outcome *o, int64_t count)
{
    o->draws = xarray((size_t)count, sizeof(*o->draws));
    o->correct = xarray((size_t)count, sizeof(*o->correct));
    o->attempts = xarray((size_t)count, sizeof(*o->attempts));
    o->stands = xarray((size_t)count, sizeof(*o->stands));
    o->memory = xarray((size_t)count, sizeof(*o->memory));
}

void
outcome_free(struct outcome *o)
{
    free(o->draws);
    free(o->correct);
    free(o->attempts);
    free(o->stands);
    free(o->memory);
    *o = (struct outcome){0};
}

int
records_outcome_write(const struct loop *l, int64_t round, const struct outcome *o, struct error *e)
{
    char *path = records_path(l, round, "prompts.jsonl");
    struct buffer text = {0};
    struct span part;
    int rc;

    for (int64_t i = 0; i < l->prompts.count; i++) {
        const struct choose_memory *m = &o->memory[i];
        json_t *line;
        char *dumped;

        if (!m->rounds)
            continue;
        line = json_pack("{s:I, s:s, s:f, s:f, s:f, s:I}", "number", (json_int_t)i, "id",
                         l->prompts.at[i].id, "right", m->right, "wrong", m->wrong, "advantage",
                         m->advantage, "rounds", (json_int_t)m->rounds);
        if (o->draws[i].chosen)
            json_object_update_new(line, json_pack("{s:I, s:i, s:i, s:f}", "correct",
                                                   (json_int_t)o->correct[i], "attempts",
                                                   o->attempts[i], "stands", o->stands[i],
                                                   "weight", o->draws[i].weight));
        dumped = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17));
        buffer_print(&text, "%s\n", dumped);
        free(dumped);
        json_decref(line);
    }
    part = buffer_span(&text);
    rc = durable_write(path, &part, 1, e);
    buffer_free(&text);
    free(path);
    return rc;
}

struct reading {
    const struct loop *loop;
    struct outcome *outcome;
};

static int
read_line(void *context, int64_t number, struct span text, struct error *e)
{
    struct reading *r = context;
    struct outcome *o = r->outcome;
    json_t *line = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, NULL);
    json_int_t i = -1, rounds = 0, correct = 0;
    const char *id = "";
    double right, wrong, advantage, weight = 1;
    int attempts = 0, stands = 0, rc = 0;

    (void)number;
    if (!line || json_unpack(line, "{s:I, s:s, s:F, s:F, s:F, s:I}", "number", &i, "id", &id,
                             "right", &right, "wrong", &wrong, "advantage", &advantage, "rounds",
                             &rounds) != 0)
        rc = error_set(e, ERROR_input, "not a line of a loop's prompts");
    else if (i < 0 || i >= r->loop->prompts.count || strcmp(id, r->loop->prompts.at[i].id) != 0)
        rc = error_set(e, ERROR_input, "prompt %lld is '%.200s' here and another in %s",
                       (long long)i, id, r->loop->prompts_file);
    else {
        o->memory[i] = (struct choose_memory){right, wrong, advantage, rounds};
        if (json_unpack(line, "{s:I, s:i, s:i, s:F}", "correct", &correct, "attempts", &attempts,
                        "stands", &stands, "weight", &weight) == 0) {
            if (correct < 0 || correct > r->loop->samples || attempts < 1 ||
                attempts > LOOP_EXTRA_MAX + 1 || stands < 0 || stands >= attempts)
                rc = error_set(e, ERROR_input, "prompt %lld: a count is out of range",
                               (long long)i);
            o->draws[i] = (struct choose_draw){.chosen = true, .weight = weight};
            o->correct[i] = correct;
            o->attempts[i] = attempts;
            o->stands[i] = stands;
        }
    }
    json_decref(line);
    return rc;
}

int
records_outcome_read(const struct loop *l, int64_t round, struct outcome *o, struct error *e)
{
    char *path = records_path(l, round, "prompts.jsonl");
    struct reading r = {l, o};
    int rc;

    outcome_new(o, l->prompts.count);
    rc = round > 0 ? prompts_lines(path, read_line, &r, e) : 0;
    free(path);
    if (rc)
        outcome_free(o);
    return rc;
}

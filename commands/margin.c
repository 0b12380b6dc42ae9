#include "commands/margin.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/decoder.h"
#include "kernels/head.h"

#define BATCH_TOKENS 2048 /* of one batch; a longer rollout goes alone */

struct reading {
    struct margin *margin;
    struct speaker *speaker;
    json_t *groups; /* prompt to group */
};

static int64_t
group_of(struct reading *r, const char *prompt)
{
    json_t *group = json_object_get(r->groups, prompt);

    if (!group) {
        group = json_integer(r->margin->groups++);
        json_object_set_new(r->groups, prompt, group);
    }
    return (int64_t)json_integer_value(group);
}

/* Prompt, response and stop token end to end, as the learner puts them; 0 tokens: the model cannot
 * read it. */
static int
join(struct speaker *s, struct span prompt, struct span response, struct margin_rollout *out,
     struct error *e)
{
    const struct model_config *c = &s->model.config;
    struct tokens answer = {0};
    int32_t *ids = NULL;
    int64_t count = 0, eos = c->eos_token_id >= 0;
    int rc = tokenizer_encode(s->tokenizer, response, 0, &answer, e);

    if (rc == 0 && speaker_prompt(s, prompt, &ids, &count, NULL) == 0 && answer.dropped == 0 &&
        answer.count + eos > 0 && count + answer.count + eos <= c->positions_usable) {
        out->ids = xarray((size_t)(count + answer.count + eos), sizeof(*out->ids));
        memcpy(out->ids, ids, (size_t)count * sizeof(*ids));
        if (answer.count)
            memcpy(out->ids + count, answer.ids, (size_t)answer.count * sizeof(*ids));
        if (eos)
            out->ids[count + answer.count] = (int32_t)c->eos_token_id;
        out->context = count;
        out->count = count + answer.count + eos;
        for (int64_t i = 0; i < out->count; i++)
            if (out->ids[i] < 0 || out->ids[i] >= c->vocab_size)
                out->count = 0;
    }
    tokens_free(&answer);
    free(ids);
    return rc;
}

static int
take_rollout(struct reading *r, const json_t *json, struct error *e)
{
    const json_t *prompt = json_object_get(json, "prompt"),
                 *response = json_object_get(json, "response");
    struct margin *m = r->margin;
    struct margin_rollout one = {0};
    struct span text = span_of(json_string_value(response), json_string_length(response));
    double reward;
    int rc;

    if (!json_is_string(prompt) || !json_is_string(response))
        return error_set(e, ERROR_input, "'prompt' and 'response' must be text");
    rc = prompts_reward(json, text, &reward, e);
    one.correct = rc == 0 && reward > 0.5;
    if (rc == 0)
        rc = join(r->speaker, span_of(json_string_value(prompt), json_string_length(prompt)), text,
                  &one, e);
    if (rc)
        return rc;
    if (one.count == 0) {
        free(one.ids);
        m->skipped++;
        return 0;
    }
    one.group = group_of(r, json_string_value(prompt));
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 256;
        m->at = xresize(m->at, (size_t)m->room * sizeof(*m->at));
    }
    m->at[m->count++] = one;
    return 0;
}

static int
read_rollout(void *context, int64_t number, struct span text, struct error *e)
{
    json_error_t why;
    json_t *json = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, &why);
    int rc = json ? take_rollout(context, json, e)
                  : error_set(e, ERROR_input, "not JSON: %s (column %d)", why.text, why.column);

    (void)number;
    json_decref(json);
    return rc;
}

int
margin_read(struct margin *m, struct speaker *s, const char *path, struct error *e)
{
    struct reading r = {m, s, json_object()};
    int rc;

    *m = (struct margin){0};
    rc = prompts_lines(path, read_rollout, &r, e);
    if (rc == 0 && m->count == 0)
        rc = error_set(e, ERROR_input, "%s: holds no rollout that the model can read", path);
    json_decref(r.groups);
    if (rc)
        margin_free(m);
    return rc;
}

void
margin_free(struct margin *m)
{
    for (int64_t i = 0; i < m->count; i++)
        free(m->at[i].ids);
    free(m->at);
    *m = (struct margin){0};
}

/* The rollouts [first, last) as one batch. */
static void
measure_batch(struct margin *m, int64_t first, int64_t last, struct decoder *d,
              struct head_work *work, const struct model *model)
{
    struct head head = head_of(model);
    int64_t total = 0, at = 0, *starts = xarray((size_t)(last - first + 1), sizeof(*starts));
    int32_t *ids, *targets;
    float *logp, *lse;

    for (int64_t i = first; i < last; i++)
        total += m->at[i].count;
    ids = xarray((size_t)total, sizeof(*ids));
    targets = xarray((size_t)total, sizeof(*targets));
    logp = xarray((size_t)total, sizeof(*logp));
    lse = xarray((size_t)total, sizeof(*lse));
    for (int64_t i = first; i < last; i++) {
        const struct margin_rollout *r = &m->at[i];

        for (int64_t k = 0; k < r->count; k++) {
            ids[at + k] = r->ids[k];
            targets[at + k] = k + 1 < r->count && k + 1 >= r->context ? r->ids[k + 1] : -1;
        }
        at += r->count;
        starts[i - first + 1] = at;
    }
    head_statistics(work, &head, total,
                    decoder_forward(d, model, &(struct batch){total, ids, last - first, starts, NULL}),
                    targets, logp, lse, NULL);
    for (int64_t i = first; i < last; i++) {
        struct margin_rollout *r = &m->at[i];
        double sum = 0;

        for (int64_t k = r->context - 1; k + 1 < r->count; k++)
            sum += (double)logp[starts[i - first] + k];
        r->likelihood = sum / (double)(r->count - r->context);
    }
    free(starts);
    free(ids);
    free(targets);
    free(logp);
    free(lse);
}

void
margin_measure(struct margin *m, const struct speaker *s, const char *label)
{
    struct head_work *work = head_work_new();
    struct decoder *d;
    int64_t room = BATCH_TOKENS, first = 0;

    for (int64_t i = 0; i < m->count; i++)
        room = m->at[i].count > room ? m->at[i].count : room;
    d = decoder_new(&s->model, room, 0);
    while (first < m->count) {
        int64_t last = first, tokens = 0;

        while (last < m->count && (last == first || tokens + m->at[last].count <= BATCH_TOKENS))
            tokens += m->at[last++].count;
        measure_batch(m, first, last, d, work, &s->model);
        first = last;
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[K%s: %lld of %lld rollouts", label, (long long)first,
                    (long long)m->count);
    }
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    decoder_free(d);
    head_work_free(work);
}

int64_t
margin_values(const struct margin *m, double *values)
{
    double(*sums)[2] = xarray((size_t)m->groups, sizeof(*sums));
    int64_t(*counts)[2] = xarray((size_t)m->groups, sizeof(*counts));
    int64_t n = 0;

    for (int64_t i = 0; i < m->count; i++) {
        const struct margin_rollout *r = &m->at[i];

        sums[r->group][r->correct] += r->likelihood;
        counts[r->group][r->correct]++;
    }
    for (int64_t g = 0; g < m->groups; g++)
        if (counts[g][0] && counts[g][1])
            values[n++] = sums[g][1] / (double)counts[g][1] - sums[g][0] / (double)counts[g][0];
    free(sums);
    free(counts);
    return n;
}

/* step: one batch at a time of a round: reference log-probabilities, then optimiser steps in the
 * order of the pass. Samples are read from the store when their step begins and forgotten when it
 * ends. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/learner/learner.h"

#define REFERENCE_SAMPLES_MAX 512 /* samples of one reference batch */

/* Sample i of the entries, in the arena. Its reference too, where it is stored and wanted. */
static int
load_sample(struct learner *l, int64_t i, struct sample *s, struct error *e)
{
    char room[LEARNER_KEY_MAX];
    struct span value;
    int rc = data_sample(l, i, s, e);
    char *copy;

    if (rc < 0 || !learner_needs_reference(l))
        return rc;
    if (node_get(l->node, learner_key(room, 'r', s->ordinal), &value)) {
        if (value.length != (size_t)(s->count - s->context) * sizeof(float))
            return error_set(e, ERROR_store, "reference of sample %llu is damaged in the store",
                             (unsigned long long)s->ordinal);
        copy = arena_take(&l->arena, value.length);
        memcpy(copy, value.at, value.length);
        s->reference = (const float *)(const void *)copy;
    }
    return 0;
}

static bool
has_reference(struct learner *l, int64_t i)
{
    char room[LEARNER_KEY_MAX];
    struct span value;

    return node_get(l->node, learner_key(room, 'r', l->entries.at[i].ordinal), &value);
}

/* Loads the next samples without a reference, as many as one batch takes. Returns how many. */
static int64_t
reference_load(struct learner *l, struct sample *samples, int64_t *values, struct error *e)
{
    int64_t count = 0, tokens = 0, end = l->reference_at + REFERENCE_SAMPLES_MAX;

    arena_clear(&l->arena);
    for (*values = 0; l->reference_at < l->round_count && l->reference_at < end;
         l->reference_at++) {
        int64_t length = l->entries.at[l->reference_at].tokens;
        int rc;

        if (count > 0 && tokens + length > l->options->batch_tokens)
            break;
        if (has_reference(l, l->reference_at))
            continue;
        rc = load_sample(l, l->reference_at, &samples[count], e);
        if (rc < 0)
            return rc;
        tokens += length;
        *values += samples[count].count - samples[count].context;
        count++;
    }
    return count;
}

int
step_reference(struct learner *l, struct error *e)
{
    struct sample samples[REFERENCE_SAMPLES_MAX];
    const struct model *model = l->initial ? l->initial : &l->trainer.model;
    int64_t values, count = reference_load(l, samples, &values, e);
    char room[LEARNER_KEY_MAX];
    float *logp;
    int rc;

    if (count < 0)
        return (int)count;
    if (count > 0 && !l->initial && l->progress.step > 0)
        return error_set(e, ERROR_store, "sample %llu has no reference although training began",
                         (unsigned long long)samples[0].ordinal);
    if (count > 0) {
        logp = arena_take(&l->arena, (size_t)values * sizeof(float));
        trainer_reference(&l->trainer, model, samples, count, logp);
        rc = trainer_failed(&l->trainer, e);
        if (rc == 0)
            rc = pinned_keep(l, e);
        if (rc < 0)
            return rc;
        for (int64_t i = 0; i < count; i++) {
            int64_t learnt = samples[i].count - samples[i].context;

            node_put(l->node, learner_key(room, 'r', samples[i].ordinal),
                     span_of(logp, (size_t)learnt * sizeof(float)));
            logp += learnt;
        }
    }
    node_why(l->node, "computing reference log-probabilities: %lld of %lld samples",
             (long long)l->reference_at, (long long)l->round_count);
    if (l->reference_at == l->round_count)
        l->phase = PHASE_train;
    return 0;
}

/* ---- steps ---- */

/* Advantages of steps: a row each. */
static void
step_advantages(struct learner *l, struct sample *samples, int64_t count)
{
    for (int64_t i = 0, end; i < count; i = end) {
        int64_t correct = 0;

        for (end = i; end < count && samples[end].first == samples[i].first; end++)
            correct += samples[end].correct;
        for (int64_t k = i; k < end; k++) {
            size_t learnt = (size_t)(samples[k].count - samples[k].context);
            float *advantages = arena_take(&l->arena, learnt * sizeof(*advantages));

            baselines_advantages(&l->baselines, &samples[k], (double)correct / (double)(end - i),
                                 advantages);
            samples[k].advantages = advantages;
        }
    }
}

/* What the stages left out, of all samples of the step: pruned ones have tokens too. */
static void
measure_selection(struct learner *l)
{
    int64_t tokens = 0, rows = 0, pruned = 0;

    for (int64_t i = 0; i < l->sample_count; i++) {
        tokens += l->samples[i].count - l->samples[i].context;
        rows += select_rows(&l->samples[i]);
        pruned += l->samples[i].pruned;
    }
    l->masked_share = tokens ? (double)(tokens - rows) / (double)tokens : 0;
    l->pruned_share = l->sample_count ? (double)pruned / (double)l->sample_count : 0;
}

/* Everything between the stored samples and the objective, in this order. */
static void
select_samples(struct learner *l)
{
    int64_t count = l->sample_count;
    uint64_t epoch = (uint64_t)(l->progress.rounds * round_passes(l) + l->progress.pass);
    double *sizes = arena_take(&l->arena, (size_t)(count + 1) * sizeof(*sizes));

    select_shape(&l->select, l->samples, count);
    select_mask(&l->select, l->samples, count, &l->arena);
    if (settings_process(l->options))
        step_advantages(l, l->samples, count);
    trainer_advantages(&l->trainer, l->samples, count);
    for (int64_t i = 0; i < count; i++)
        sizes[i] = l->samples[i].advantage;
    select_prune(&l->select, l->samples, sizes, count, l->progress.pass > 0, node_seed(l->node),
                 epoch);
    select_budget(&l->select, l->samples, count, &l->arena);
    measure_selection(l);
    l->sample_count = trainer_begin(&l->trainer, l->samples, count);
}

static void
plan_batches(struct learner *l)
{
    size_t count = (size_t)l->sample_count + 1;
    int64_t *tokens = arena_take(&l->arena, count * sizeof(*tokens));

    l->order = arena_take(&l->arena, count * sizeof(*l->order));
    l->starts = arena_take(&l->arena, count * sizeof(*l->starts));
    for (int64_t i = 0; i < l->sample_count; i++)
        tokens[i] = l->samples[i].count;
    l->batches = select_pack(tokens, l->sample_count, l->options->batch_tokens,
                             l->options->pack_window, l->order, l->starts);
    l->batch_at = 0;
    l->gathering = trainer_needs_statistics(&l->trainer, l->batches);
    if (l->gathering)
        trainer_gather(&l->trainer, l->samples, l->sample_count);
}

static int
open_step(struct learner *l, struct error *e)
{
    const struct pass *pass = &l->pass;
    int64_t from = pass->starts[l->progress.batch], to = pass->starts[l->progress.batch + 1];

    arena_clear(&l->arena);
    l->samples = arena_take(&l->arena, (size_t)(to - from) * sizeof(*l->samples));
    l->sample_count = 0;
    l->reward_sum = 0;
    l->computed = 0;
    l->reward_count = to - from;
    l->step_began = node_now(l->node);
    for (int64_t i = from; i < to; i++) {
        struct sample *s = &l->samples[l->sample_count++];
        int rc = load_sample(l, pass->order[i], s, e);

        if (rc == 0 && l->noise.fitted)
            rc = data_soften(l, pass->order[i], s, e);
        if (rc < 0)
            return rc;
        l->reward_sum += s->reward;
    }
    select_samples(l);
    plan_batches(l);
    return 0;
}

/* The next batch of the step: forward, or forward and backward. */
static int
step_batch(struct learner *l, struct error *e)
{
    int64_t from = l->starts[l->batch_at], to = l->starts[l->batch_at + 1];
    struct sample *samples = xarray((size_t)(to - from) + 1, sizeof(*samples));

    for (int64_t i = from; i < to; i++) {
        samples[i - from] = l->samples[l->order[i]];
        l->computed += l->gathering ? 0 : samples[i - from].count;
    }
    if (l->gathering)
        trainer_statistics(&l->trainer, samples, l->order + from, to - from);
    else
        trainer_batch(&l->trainer, samples, l->order + from, to - from);
    free(samples);
    l->batch_at++;
    if (l->gathering && l->batch_at == l->batches) {
        l->gathering = false;
        l->batch_at = 0;
    }
    return trainer_failed(&l->trainer, e);
}

/* The means of what the objective reports, over its tokens or samples. */
static void
measure_objective(const struct learner *l, struct measures *m)
{
    const struct objective_report *r = &l->trainer.report;
    double tokens = r->tokens > 0 ? r->tokens : 1, samples = r->samples > 0 ? r->samples : 1;
    unsigned needs = objective_needs(l->objective, &l->settings);

    measures_set(m, TRAINING_loss, r->loss);
    measures_set(m, TRAINING_policy, r->policy);
    measures_set(m, TRAINING_pull, r->pull);
    measures_set(m, TRAINING_logp_mean, r->logp / tokens);
    measures_set(m, TRAINING_advantage, r->advantage / samples);
    if (l->settings.kl != OBJECTIVE_no_kl && l->settings.kl_weight > 0)
        measures_set(m, TRAINING_kl_loss, r->kl_loss);
    if (needs & OBJECTIVE_needs_reference) {
        measures_set(m, TRAINING_kl, r->kl / tokens);
        measures_set(m, TRAINING_s_largest, r->ratio_largest);
    }
    if (needs & OBJECTIVE_needs_entropy)
        measures_set(m, TRAINING_entropy, r->entropy / tokens);
    if (r->importance > 0) {
        measures_set(m, TRAINING_clip_frac, r->clipped / tokens);
        measures_set(m, TRAINING_ratio_mean, r->importance / tokens);
        measures_set(m, TRAINING_ratio_max, r->importance_largest);
    }
}

static int
write_measures(struct learner *l, double norm, double lr, struct error *e)
{
    const struct trainer *t = &l->trainer;
    const struct progress *p = &l->progress;
    bool follow = l->options->follow;
    struct measures m = {0};
    double seconds = node_now(l->node) - l->step_began;

    measures_set(&m, TRAINING_step, (double)p->step);
    if (follow)
        measures_set(&m, TRAINING_window, (double)p->rounds + 1);
    measures_set(&m, follow ? TRAINING_pass : TRAINING_epoch, (double)p->pass + 1);
    if (isfinite(norm)) {
        measure_objective(l, &m);
        measures_set(&m, TRAINING_grad_norm, norm);
        measures_set(&m, TRAINING_gems_share,
                     t->learnt ? (double)t->gem_tokens / (double)t->learnt : 0);
    } else {
        measures_set(&m, TRAINING_skipped, 1);
    }
    measures_set(&m, TRAINING_lr, lr);
    measures_set(&m, TRAINING_samples, (double)l->reward_count);
    measures_set(&m, TRAINING_reward_mean, l->reward_sum / (double)l->reward_count);
    measures_set(&m, TRAINING_tokens, (double)t->learnt);
    if (select_masks(&l->select) || l->options->mask)
        measures_set(&m, TRAINING_masked_share, l->masked_share);
    if (l->options->label_noise)
        measures_set(&m, TRAINING_label_weight, l->noise.mean);
    if (select_prunes(&l->select))
        measures_set(&m, TRAINING_pruned_share, l->pruned_share);
    seconds = seconds > 1e-9 ? seconds : 1e-9;
    measures_set(&m, TRAINING_tokens_per_second, (double)l->computed / seconds);
    measures_set(&m, TRAINING_seconds, seconds);
    return output_measures(&l->output, &m, e);
}

static int
close_step(struct learner *l, struct error *e)
{
    struct progress *p = &l->progress;
    double lr = schedule_lr(&l->schedule, p->step + 1);
    double norm = trainer_end(&l->trainer, p->step + 1, lr);
    int rc = trainer_failed(&l->trainer, e);

    if (rc == 0 && !isfinite(norm))
        rc = nonfinite_step(l, e);

    if (rc < 0)
        return rc;
    l->skipped_in_a_row = isfinite(norm) ? 0 : l->skipped_in_a_row + 1;
    l->samples = NULL;
    p->step++;
    p->batch++;
    p->skipped += !isfinite(norm);
    p->trained_tokens += l->trainer.learnt;
    l->loss = l->trainer.report.loss;
    rc = write_measures(l, norm, lr, e);
    return rc == 0 && round_save_due(l) ? round_save(l, e) : rc;
}

static void
tell(struct learner *l)
{
    const struct progress *p = &l->progress;
    const char *word = l->options->follow ? "pass" : "epoch";
    char window[40] = "";

    if (l->options->follow)
        snprintf(window, sizeof(window), "window %lld, ", (long long)p->rounds + 1);
    node_why(l->node, "computing %s%s %lld/%lld, step %lld/%lld of it, loss %.4f", window, word,
             (long long)p->pass + 1, (long long)round_passes(l), (long long)p->batch + 1,
             (long long)l->pass.steps, l->loss);
    node_gauge(l->node, METRIC_epoch, l->options->follow ? p->rounds + 1 : p->pass + 1);
}

int
step_train(struct learner *l, struct error *e)
{
    struct progress *p = &l->progress;
    int rc = 0;

    if (!l->pass_open) {
        round_pass(l, &l->pass, p->pass);
        l->pass_open = true;
    }
    if (!l->samples && p->batch == l->pass.steps) {
        p->batch = 0;
        l->pass_open = false;
        return ++p->pass == round_passes(l) ? round_end(l, e) : 0;
    }
    if (!l->samples) {
        rc = open_step(l, e);
        tell(l);
    }
    if (rc == 0 && l->batch_at < l->batches)
        rc = step_batch(l, e);
    return rc == 0 && l->batch_at == l->batches ? close_step(l, e) : rc;
}

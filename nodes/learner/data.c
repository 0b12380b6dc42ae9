/* data: what the samples of a round say as a whole, before any of them is trained: whether they
 * have what the objective needs, and the baselines of their steps. */
#include <string.h>

#include "nodes/learner/learner.h"

#define SLICE_SECONDS 0.05 /* data_noise() begins no further sample after so long */

/* The sample of an entry, copied into the arena. */
int
data_sample(struct learner *l, int64_t i, struct sample *s, struct error *e)
{
    uint64_t ordinal = l->entries.at[i].ordinal;
    char room[LEARNER_KEY_MAX], *copy;
    struct span value;

    if (!node_get(l->node, learner_key(room, 's', ordinal), &value))
        return error_set(e, ERROR_store, "sample %llu is gone from the store",
                         (unsigned long long)ordinal);
    copy = arena_take(&l->arena, value.length);
    memcpy(copy, value.at, value.length);
    return sample_read(span_of(copy, value.length), ordinal, s, e);
}

/* The end of the group at entry i, and the share of its samples here that are correct. */
static int
group_look(struct learner *l, int64_t i, int64_t *end, int64_t *correct, struct error *e)
{
    uint64_t first = l->entries.at[i].first;
    struct sample s;

    *correct = 0;
    for (*end = i; *end < l->round_count && l->entries.at[*end].first == first; ++*end) {
        int rc = data_sample(l, *end, &s, e);

        if (rc < 0)
            return rc;
        *correct += s.correct;
        l->lacks_behaviour = l->lacks_behaviour || (learner_recorded(l) && !s.logps && !s.injected);
    }
    return 0;
}

/* Every step of the round, in ordinal order. */
int
data_baselines(struct learner *l, struct error *e)
{
    struct sample s;
    int64_t correct;
    int rc = 0;

    baselines_free(&l->baselines);
    l->baselines.rules = settings_baseline(l->options);
    for (int64_t i = 0, end; rc == 0 && i < l->round_count; i = end) {
        arena_clear(&l->arena);
        rc = group_look(l, i, &end, &correct, e);
        for (int64_t k = i; rc == 0 && k < end; k++) {
            rc = data_sample(l, k, &s, e);
            if (rc == 0)
                baselines_add(&l->baselines, &s, (double)correct / (double)(end - i));
        }
    }
    arena_clear(&l->arena);
    if (rc == 0 && l->baselines.kinds == BASELINE_KINDS_MAX)
        node_log(l->node, LOG_warning,
                 "more than %d kinds of steps: those met later have a baseline of 0",
                 BASELINE_KINDS_MAX);
    return rc;
}

/* The record of an entry, copied into the arena; *there: it has one. */
static int
noise_record(struct learner *l, int64_t i, struct noise_record *r, bool *there, struct error *e)
{
    char room[LEARNER_KEY_MAX], *copy;
    struct span value;

    *there = node_get(l->node, learner_key(room, 'n', l->entries.at[i].ordinal), &value);
    if (!*there)
        return 0;
    copy = arena_take(&l->arena, value.length);
    memcpy(copy, value.at, value.length);
    return noise_read(span_of(copy, value.length), r, e);
}

void
data_noise_begin(struct learner *l)
{
    noise_begin(&l->noise, (enum noise_mode)l->options->label_noise, learner_classes(l->objective));
    l->noise_at = 0;
    l->phase = PHASE_noise;
}

int
data_noise(struct learner *l, struct error *e)
{
    double from = node_now(l->node);
    const char *why;
    int rc = 0;

    for (; rc == 0 && l->noise_at < 2 * l->round_count && node_now(l->node) - from < SLICE_SECONDS;
         l->noise_at++) {
        struct noise_record r;
        bool there;

        arena_clear(&l->arena);
        rc = noise_record(l, l->noise_at % l->round_count, &r, &there, e);
        if (rc == 0 && l->noise_at < l->round_count)
            noise_look(&l->noise, there ? &r : NULL);
        else if (rc == 0)
            noise_measure(&l->noise, there ? &r : NULL);
    }
    arena_clear(&l->arena);
    if (rc < 0)
        return rc;
    node_why(l->node, "computing which labels are to be believed: %lld of %lld samples, twice",
             (long long)(l->noise_at / 2), (long long)l->round_count);
    if (l->noise_at < 2 * l->round_count)
        return 0;
    if (!noise_fit(&l->noise, &why))
        node_log(l->node, LOG_warning, "label_noise: every label is believed, for %s", why);
    l->phase = learner_needs_reference(l) ? PHASE_reference : PHASE_train;
    return 0;
}

int
data_soften(struct learner *l, int64_t i, struct sample *s, struct error *e)
{
    struct noise_record r;
    bool there;
    int rc = noise_record(l, i, &r, &there, e);

    if (rc == 0 && there)
        noise_apply(&l->noise, i, &r, s, &l->arena);
    return rc;
}

int
data_lacks_behaviour(struct learner *l, struct error *e)
{
    return error_set(
        e, ERROR_topology,
        "objective %s with behaviour: recorded needs the field 'logps' (at the reader: "
        "logps_field), which a rollout lacks; say behaviour: initial if the initial "
        "model sampled the data",
        l->objective->name);
}

/* What no later rollout could mend: refused once, before anything is trained. */
int
data_check(struct learner *l, struct error *e)
{
    unsigned needs = objective_needs(l->objective, &l->settings);
    bool pair = !(needs & OBJECTIVE_needs_pairs);
    int64_t correct;
    int rc = 0;

    for (int64_t i = 0, end; rc == 0 && i < l->round_count; i = end) {
        if (pair && !learner_recorded(l))
            break;
        arena_clear(&l->arena);
        rc = group_look(l, i, &end, &correct, e);
        pair = pair || (correct > 0 && correct < end - i);
    }
    arena_clear(&l->arena);
    if (rc == 0 && l->lacks_behaviour)
        return data_lacks_behaviour(l, e);
    if (rc == 0 && !pair && l->progress.rounds > 0)
        node_log(l->node, LOG_warning,
                 "a window without a correct and a wrong answer in any group");
    else if (rc == 0 && !pair)
        return error_set(e, ERROR_topology,
                         "objective %s needs groups with a correct and a wrong answer; no group "
                         "has both (field 'reward', correct above %g)",
                         l->objective->name, l->options->correct_above);
    return rc;
}

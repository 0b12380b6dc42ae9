/* nonfinite: a step whose loss or gradient is not finite. It changes nothing; its batch is written
 * aside for a person to look at. With `stop` the process says so in the store and ends as one that
 * no restart mends (exit 78), so that the run fails at once; whoever starts it again gets the same
 * words, and no step is computed twice. `sluice set RUN NODE.on_nonfinite=skip` lets it go on. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/learner/learner.h"

#define ORDINALS_TOLD 16 /* in the message; the file has them all */

/* The word in the store: why training stopped, after 's' (stop) or 'g' (gave up in spite of skip).
 */
static struct span
word_key(void)
{
    return span_of("b", 1);
}

int
nonfinite_check(struct learner *l, struct error *e)
{
    struct span word;

    if (!node_get(l->node, word_key(), &word) || word.length < 1)
        return 0;
    if (word.at[0] == 'g' || l->options->on_nonfinite == NONFINITE_stop)
        return error_set(e, ERROR_topology, "%.*s", (int)word.length - 1, word.at + 1);
    node_delete(l->node, word_key());
    return 0;
}

/* Training ends here, also for who starts this node again. */
static int
stop_for_good(struct learner *l, char how, struct error *e)
{
    struct buffer word = {0};
    struct error commit = {0};
    int rc;

    buffer_print(&word, "%c%s", how, e->text);
    node_put(l->node, word_key(), buffer_span(&word));
    buffer_free(&word);
    rc = node_commit(l->node, &commit);
    if (rc < 0)
        *e = commit;
    return rc < 0 ? rc : ERROR_topology;
}

/* A number as JSON has it. */
static void
put_number(struct buffer *out, const char *name, double value)
{
    if (isfinite(value))
        buffer_print(out, ",\"%s\":%.9g", name, value);
    else
        buffer_print(out, ",\"%s\":null", name);
}

/* The rollouts of the step with what the model says to each; *first becomes the first whose log p
 * is not finite. */
static void
describe(struct learner *l, struct buffer *out, uint64_t *first)
{
    struct trainer *t = &l->trainer;

    for (int64_t i = 0; i < l->sample_count; i++) {
        const struct sample *s = &l->samples[i];
        int64_t learnt = s->count - s->context, bad = -1;
        float *logp = xarray((size_t)learnt, sizeof(*logp));
        double sum = 0;

        trainer_reference(t, &t->model, s, 1, logp);
        for (int64_t k = 0; k < learnt; k++) {
            sum += (double)logp[k];
            bad = bad < 0 && !isfinite(logp[k]) ? k : bad;
        }
        free(logp);
        buffer_print(out,
                     "{\"ordinal\":%" PRIu64 ",\"first\":%" PRIu64
                     ",\"size\":%u,\"correct\":%s,\"tokens\":%" PRId64 ",\"learnt\":%" PRId64,
                     s->ordinal, s->first, s->group_size, s->correct ? "true" : "false", s->count,
                     learnt);
        put_number(out, "reward", s->reward);
        put_number(out, "group_mean", s->mean);
        put_number(out, "logp", sum);
        if (bad >= 0) {
            buffer_print(out, ",\"not_finite\":\"logp\",\"token\":%" PRId64, bad);
            *first = *first == UINT64_MAX ? s->ordinal : *first;
        }
        buffer_text(out, "}\n");
    }
}

/* "3, 4, 7 and 12 more" */
static void
list_ordinals(const struct learner *l, struct buffer *out)
{
    for (int64_t i = 0; i < l->sample_count && i < ORDINALS_TOLD; i++)
        buffer_print(out, "%s%" PRIu64, i ? ", " : "", l->samples[i].ordinal);
    if (l->sample_count > ORDINALS_TOLD)
        buffer_print(out, " and %" PRId64 " more", l->sample_count - ORDINALS_TOLD);
    buffer_add(out, "", 1);
}

int
nonfinite_step(struct learner *l, struct error *e)
{
    int64_t step = l->progress.step + 1;
    const char *why = l->trainer.fault.text;
    struct buffer file = {0}, ordinals = {0};
    uint64_t first = UINT64_MAX;
    char name[40], culprit[60] = "";
    int rc;

    snprintf(name, sizeof(name), "bad-step-%" PRId64 ".jsonl", step);
    describe(l, &file, &first);
    list_ordinals(l, &ordinals);
    if (first != UINT64_MAX)
        snprintf(culprit, sizeof(culprit), ", first in rollout %" PRIu64, first);
    rc = trainer_failed(&l->trainer, e); /* then nothing is known of the step */
    if (rc == 0)
        rc = output_aside(&l->output, name, buffer_span(&file), e);
    if (rc == 0 && l->options->on_nonfinite == NONFINITE_stop) {
        error_set(e, ERROR_topology,
                  "step %" PRId64 " was not applied: %s%s (rollouts %s: checkpoints/%s/%s);"
                  " `sluice set RUN %s.on_nonfinite=skip` and `sluice run` pass over it",
                  step, why, culprit, ordinals.at, node_id(l->node), name, node_id(l->node));
        rc = stop_for_good(l, 's', e);
    } else if (rc == 0 && l->skipped_in_a_row + 1 >= LEARNER_SKIPPED_MAX) {
        error_set(e, ERROR_topology,
                  "%d steps in a row were skipped (%s): the model is broken or lr is too high",
                  LEARNER_SKIPPED_MAX, why);
        rc = stop_for_good(l, 'g', e);
    } else if (rc == 0) {
        node_log(l->node, LOG_warning, "step %" PRId64 " was skipped: %s%s; its rollouts are %s",
                 step, why, culprit, ordinals.at);
    }
    buffer_free(&file);
    buffer_free(&ordinals);
    return rc;
}

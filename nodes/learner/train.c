/* train: see train.h. */
#include "nodes/learner/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void
trainer_init(struct trainer *t, struct model **model)
{
    t->model = **model;
    free(*model);
    *model = NULL;
    t->grads = xaligned((size_t)t->model.count * sizeof(float));
    t->m = xaligned((size_t)t->model.count * sizeof(float));
    t->v = xaligned((size_t)t->model.count * sizeof(float));
    t->work = head_work_new();
}

void
trainer_free(struct trainer *t)
{
    if (t->model.params)
        model_free(&t->model);
    free(t->grads);
    free(t->m);
    free(t->v);
    free(t->ema);
    free(t->groups);
    decoder_free(t->decoder);
    head_work_free(t->work);
    free(t->logp);
    free(t->lse);
    free(t->c);
    free(t->dhidden);
    pack_free(&t->pack);
    memset(t, 0, sizeof(*t));
}

/* Room for the rows of the batch in t->pack. A larger decoder computes the same bits. */
static void
reserve(struct trainer *t)
{
    int64_t rows = t->pack.batch.tokens;

    if (rows > t->decoder_tokens) {
        decoder_free(t->decoder);
        t->decoder_tokens = rows + rows / 8;
        t->decoder = decoder_new(&t->model, t->decoder_tokens, 1);
    }
    if (rows > t->rows_room) {
        free(t->logp);
        free(t->lse);
        free(t->c);
        free(t->dhidden);
        t->rows_room = rows + rows / 8;
        t->logp = xaligned((size_t)t->rows_room * sizeof(float));
        t->lse = xaligned((size_t)t->rows_room * sizeof(float));
        t->c = xaligned((size_t)t->rows_room * sizeof(float));
        t->dhidden =
            xaligned((size_t)t->rows_room * (size_t)t->model.config.hidden_size * sizeof(float));
    }
}

/* Fills logp and lse of the packed batch under `model`; returns its hidden states. */
static const float *
statistics(struct trainer *t, const struct model *model, struct head *head)
{
    const struct pack *p = &t->pack;
    const float *hidden = decoder_forward(t->decoder, model, &p->batch);

    *head = head_of(model);
    head_statistics(t->work, head, p->batch.tokens, hidden, p->targets, t->logp, t->lse, NULL);
    t->pack.rows.logp = t->logp;
    return hidden;
}

void
trainer_reference(struct trainer *t, const struct model *model, const struct sample *samples,
                  int64_t count, float *out)
{
    struct head head;

    pack_fill(&t->pack, &t->rules, samples, count);
    reserve(t);
    statistics(t, model, &head);
    for (int64_t i = 0; i < count; i++) {
        const struct objective_sample *s = &t->pack.samples[i];

        memcpy(out, t->logp + s->first, (size_t)s->count * sizeof(*out));
        out += s->count;
    }
}

/* A group counts once, and its G are the rollouts it emitted, however many of them were closed on
 * the way. */
static double
count_groups(const struct sample *samples, int64_t count)
{
    double groups = 0;

    for (int64_t i = 0; i < count; i++)
        groups += i == 0 || samples[i].first != samples[i - 1].first;
    return groups;
}

void
trainer_begin(struct trainer *t, const struct sample *samples, int64_t count)
{
    memset(&t->step, 0, sizeof(t->step));
    memset(&t->report, 0, sizeof(t->report));
    memset(t->grads, 0, (size_t)t->model.count * sizeof(float));
    t->gem_tokens = t->learnt = 0;
    t->broken = 0;
    for (int64_t i = 0; i < count; i++) { /* one at a time: the sum does not know the batches */
        pack_fill(&t->pack, &t->rules, &samples[i], 1);
        objective_measure(t->objective, &t->pack.rows, &t->settings, &t->step);
    }
    t->step.groups = count_groups(samples, count);
}

void
trainer_batch(struct trainer *t, const struct sample *samples, int64_t count)
{
    struct pack *p = &t->pack;
    struct objective_output out;
    struct head head;
    const float *hidden;
    float *bias;

    pack_fill(p, &t->rules, samples, count);
    reserve(t);
    hidden = statistics(t, &t->model, &head);
    out = (struct objective_output){.c = t->c};
    objective_advantages(&p->rows, &t->settings, p->samples);
    if (objective_check(t->objective, &p->rows, &t->settings, &t->fault) < 0)
        t->broken = 1;
    if (t->broken)
        return;
    objective_run(t->objective, &p->rows, &t->settings, &t->step, &out, &t->report);
    t->gem_tokens += p->gem_tokens;
    t->learnt += p->learnt;

    struct head_gradient gradient = {.c = t->c};

    bias = t->model.head_bias >= 0 ? t->grads + t->model.head_bias : NULL;
    head_backward(t->work, &head, p->batch.tokens, hidden, p->targets, t->lse, NULL, &gradient,
                  t->dhidden, t->grads + t->model.head, bias);
    decoder_backward(t->decoder, &t->model, t->dhidden, t->grads);
}

/* Says which gradient is not finite. */
static void
blame_gradient(struct trainer *t)
{
    for (int i = 0; i < t->model.tensor_count; i++) {
        const struct model_tensor *tensor = &t->model.tensors[i];

        if (!isfinite(adamw_norm(t->grads + tensor->offset, tensor->count))) {
            error_set(&t->fault, ERROR_model, "the gradient of %s is not finite", tensor->name);
            return;
        }
    }
    error_set(&t->fault, ERROR_model, "the norm of the gradient is not finite");
}

double
trainer_end(struct trainer *t, int64_t step, double lr)
{
    double norm;

    if (t->broken)
        return NAN;
    t->adamw.lr = lr;
    t->adamw.groups = t->groups;
    norm = adamw_step(&t->adamw, &t->model, step, t->grads, t->m, t->v);
    if (!isfinite(norm))
        blame_gradient(t);
    else if (t->ema)
        adamw_average(t->model.count, t->ema_decay, t->model.params, t->ema);
    return norm;
}

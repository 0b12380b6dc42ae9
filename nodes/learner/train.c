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
    head_keep(t->work, TRAINER_LOGITS_KEPT);
}

/* Hands the threads to all that computes. */
static void
share(struct trainer *t)
{
    head_threads(t->work, t->threads);
    t->adamw.threads = t->threads;
    if (t->decoder)
        decoder_threads(t->decoder, t->threads);
}

void
trainer_threads(struct trainer *t, int count)
{
    struct threads *before = t->threads;

    count = threads_wanted(count);
    if (count == threads_count(before))
        return;
    t->threads = count > 1 ? threads_new(count) : NULL;
    share(t);
    threads_free(before);
}

/* ---- the device ---- */

int
trainer_device(struct trainer *t, const char *choice, struct head_device_options *o,
               struct error *e)
{
    o->objective = t->objective;
    o->needs = objective_needs(t->objective, &t->settings);
    return head_device_open(&t->device, choice, o, &t->model, t->m, t->v, e);
}

int
trainer_failed(const struct trainer *t, struct error *e)
{
    if (t->failure.code)
        *e = t->failure;
    return t->failure.code;
}

int
trainer_moments(struct trainer *t, struct error *e)
{
    return t->device ? head_device_moments(t->device, t->m, t->v, e) : 0;
}

/* Which rollout the device's row is of, and which of its tokens. */
static void
blame_row(struct trainer *t, const struct sample *samples, const struct error *why)
{
    int64_t row = head_device_row(t->device);

    t->fault = *why;
    for (int64_t i = 0; i < t->pack.rows.samples; i++) {
        const struct objective_sample *s = &t->pack.samples[i];

        if (row >= s->first && row < s->first + s->count)
            error_wrap(&t->fault, "rollout %llu, token %lld",
                       (unsigned long long)samples[i].ordinal, (long long)(row - s->first));
    }
}

/* What a call of the device came to, for the batch of these samples: a number that is not finite
 * spoils the step, everything else is the end. */
static void
told(struct trainer *t, int rc, const struct error *why, const struct sample *samples)
{
    if (rc == ERROR_nonfinite && !t->broken) {
        t->broken = 1;
        blame_row(t, samples, why);
    } else if (rc < 0 && rc != ERROR_nonfinite && !t->failure.code) {
        t->failure = *why;
    }
}

/* ---- room ---- */

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
    head_device_close(t->device);
    threads_free(t->threads);
    rows_free(&t->rows);
    rows_free(&t->whole_rows);
    free(t->dhidden);
    free(t->named);
    free(t->whole_named);
    pack_free(&t->pack);
    pack_free(&t->whole);
    memset(t, 0, sizeof(*t));
}

static float *
named_reserve(float *named, int64_t *room, int64_t count)
{
    if (count <= *room)
        return named;
    free(named);
    *room = count;
    return xarray((size_t)count, sizeof(float));
}

/* Room for the rows of the batch in t->pack. A larger decoder computes the same bits. */
static void
reserve(struct trainer *t)
{
    int64_t rows = t->pack.batch.tokens, names = t->pack.rows.named * t->pack.rows.samples;

    if (rows > t->decoder_tokens) {
        decoder_free(t->decoder);
        t->decoder_tokens = rows + rows / 8;
        t->decoder = decoder_new(&t->model, t->decoder_tokens, 1);
        decoder_threads(t->decoder, t->threads);
    }
    if (rows > t->dhidden_room) {
        free(t->dhidden);
        t->dhidden_room = rows + rows / 8;
        t->dhidden =
            xaligned((size_t)t->dhidden_room * (size_t)t->model.config.hidden_size * sizeof(float));
    }
    rows_reserve(&t->rows, rows, names);
    t->named = named_reserve(t->named, &t->named_room, names);
}

/* ---- statistics ---- */

/* Raw logits of the names at each sample's named row. */
static void
named_logits(struct trainer *t, const struct head *head, const float *hidden,
             const struct sample *samples)
{
    const struct objective_batch *b = &t->pack.rows;
    int64_t *rows = xarray((size_t)b->samples + 1, sizeof(*rows));
    struct error e = {0};

    for (int64_t i = 0; i < b->samples; i++)
        rows[i] = b->sample[i].named_row;
    if (!t->device)
        head_named(t->work, head, b->samples, hidden, rows, b->named, b->named_columns, t->named);
    else if (!t->failure.code)
        told(t,
             head_device_named(t->device, b->samples, rows, b->named, b->named_columns, t->named,
                               &e),
             &e, samples);
    free(rows);
}

/* The objective's view of statistics that are in `r`. */
static void
show(const struct trainer *t, struct objective_batch *b, const struct rows *r, const float *named)
{
    b->logp = r->logp;
    b->lse = r->lse;
    b->entropy = t->needs & OBJECTIVE_needs_entropy ? r->entropy : NULL;
    b->named_logits = b->named > 0 ? named : NULL;
}

/* Fills the statistics of the packed batch, of `samples`, under `model`; returns its hidden states.
 */
static const float *
statistics(struct trainer *t, const struct model *model, const struct sample *samples)
{
    const struct pack *p = &t->pack;
    const float *hidden = decoder_forward(t->decoder, model, &p->batch);
    const struct head head = head_of(model);
    float *entropy = t->needs & OBJECTIVE_needs_entropy ? t->rows.entropy : NULL;
    struct error e = {0};

    if (!t->device)
        head_statistics(t->work, &head, p->batch.tokens, hidden, p->targets, t->rows.logp,
                        t->rows.lse, entropy);
    else if (!t->failure.code)
        told(t,
             head_device_statistics(t->device, model, p->batch.tokens, hidden, p->targets,
                                    t->rows.logp, t->rows.lse, entropy, &e),
             &e, samples);
    if (p->rows.named > 0)
        named_logits(t, &head, hidden, samples);
    show(t, &t->pack.rows, &t->rows, t->named);
    return hidden;
}

void
trainer_score(struct trainer *t, const struct model *model, const struct sample *samples,
              int64_t count, float *logp, float *entropy)
{
    struct pack_rules rules = {.classes = t->rules.classes};
    unsigned needs = t->needs; /* of the step, which may be under way, with its fault */
    struct error fault = t->fault;
    int broken = t->broken;

    pack_fill(&t->pack, &rules, samples, count);
    reserve(t);
    t->needs = entropy ? OBJECTIVE_needs_entropy : 0;
    statistics(t, model, samples);
    t->needs = needs;
    t->broken = broken;
    t->fault = fault;
    for (int64_t i = 0; i < count; i++) {
        const struct objective_sample *s = &t->pack.samples[i];

        memcpy(logp, t->rows.logp + s->first, (size_t)s->count * sizeof(*logp));
        logp += s->count;
        if (entropy) {
            memcpy(entropy, t->rows.entropy + s->first, (size_t)s->count * sizeof(*entropy));
            entropy += s->count;
        }
    }
}

void
trainer_reference(struct trainer *t, const struct model *model, const struct sample *samples,
                  int64_t count, float *out)
{
    trainer_score(t, model, samples, count, out, NULL);
}

/* ---- the step ---- */

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
trainer_advantages(struct trainer *t, struct sample *samples, int64_t count)
{
    pack_rows(&t->whole, &t->rules, samples, count);
    objective_advantages(&t->whole.rows, &t->settings, t->whole.samples);
    for (int64_t i = 0; i < count; i++) {
        struct sample *s = &samples[i];
        int64_t rows = s->count - s->context;
        double sum = 0;

        for (int64_t k = 0; s->advantages && k < rows; k++)
            sum += (double)s->advantages[k];
        s->advantage = s->advantages ? sum / (double)rows : t->whole.samples[i].advantage;
    }
}

static int
has_target(const struct pack *p, int64_t i)
{
    const struct objective_sample *s = &p->samples[i];

    for (int64_t row = s->first; row < s->first + s->count; row++)
        if (p->targets[row] >= 0)
            return 1;
    return 0;
}

int64_t
trainer_begin(struct trainer *t, struct sample *samples, int64_t count)
{
    struct error e = {0};
    int64_t kept = 0;

    memset(&t->step, 0, sizeof(t->step));
    memset(&t->report, 0, sizeof(t->report));
    memset(t->grads, 0, (size_t)t->model.count * sizeof(float));
    t->gem_tokens = t->learnt = t->gathered = 0;
    t->broken = 0;
    t->needs = objective_needs(t->objective, &t->settings);
    if (t->device && !t->failure.code)
        told(t, head_device_begin(t->device, &e), &e, samples);
    pack_rows(&t->whole, &t->rules, samples, count);
    objective_measure(t->objective, &t->whole.rows, &t->settings, &t->step);
    t->step.groups = count_groups(samples, count);
    for (int64_t i = 0; i < count; i++)
        if (!samples[i].pruned && has_target(&t->whole, i))
            samples[kept++] = samples[i];
    return kept;
}

int
trainer_needs_statistics(const struct trainer *t, int64_t batches)
{
    return batches > 1 && t->objective->scope >= OBJECTIVE_group;
}

void
trainer_gather(struct trainer *t, const struct sample *samples, int64_t count)
{
    pack_rows(&t->whole, &t->rules, samples, count);
    rows_reserve(&t->whole_rows, t->whole.rows.rows, t->whole.rows.named * count);
    t->whole_named =
        named_reserve(t->whole_named, &t->whole_named_room, t->whole.rows.named * count);
    show(t, &t->whole.rows, &t->whole_rows, t->whole_named);
    t->gathered = 0;
}

void
trainer_statistics(struct trainer *t, const struct sample *samples, const int64_t *place,
                   int64_t count)
{
    int64_t named;

    pack_fill(&t->pack, &t->rules, samples, count);
    reserve(t);
    statistics(t, &t->model, samples);
    named = t->pack.rows.named;
    for (int64_t i = 0; i < count; i++) {
        int64_t from = t->pack.samples[i].first, to = t->whole.samples[place[i]].first;
        size_t bytes = (size_t)t->pack.samples[i].count * sizeof(float);

        memcpy(t->whole_rows.logp + to, t->rows.logp + from, bytes);
        memcpy(t->whole_rows.lse + to, t->rows.lse + from, bytes);
        if (t->needs & OBJECTIVE_needs_entropy)
            memcpy(t->whole_rows.entropy + to, t->rows.entropy + from, bytes);
        if (named > 0)
            memcpy(t->whole_named + place[i] * named, t->named + i * named,
                   (size_t)named * sizeof(float));
    }
    t->gathered += count;
}

/* Coefficients of the rows of a batch or of the whole step; `broken` when a number is not finite.
 */
static void
solve(struct trainer *t, const struct objective_batch *b, struct rows *r)
{
    r->out = (struct objective_output){
        .c = r->c,
        .e = t->needs & (OBJECTIVE_needs_lse | OBJECTIVE_needs_named) ? r->e : NULL,
        .h = t->needs & OBJECTIVE_needs_entropy ? r->h : NULL,
        .entries = b->named > 0 ? r->entries : NULL};
    if (objective_check(t->objective, b, &t->settings, &t->fault) < 0) {
        t->broken = 1;
        return;
    }
    objective_run(t->objective, b, &t->settings, &t->step, &r->out, &t->report);
    if (objective_check_entries(t->objective, b, &r->out, &t->fault) < 0)
        t->broken = 1;
}

/* The batch's share of the whole step's coefficients, and of the statistics they were made from. */
static void
copy_solution(struct trainer *t, const int64_t *place)
{
    const struct rows *whole = &t->whole_rows;
    struct rows *r = &t->rows;
    size_t all = (size_t)t->pack.batch.tokens * sizeof(float);

    r->out = (struct objective_output){.c = r->c,
                                       .e = whole->out.e ? r->e : NULL,
                                       .h = whole->out.h ? r->h : NULL,
                                       .entries = whole->out.entries ? r->entries : NULL};
    memset(r->c, 0, all);
    memset(r->e, 0, all);
    memset(r->h, 0, all);
    for (int64_t i = 0; i < t->pack.rows.samples; i++) {
        const struct objective_sample *from = &t->whole.samples[place[i]],
                                      *to = &t->pack.samples[i];
        size_t bytes = (size_t)to->count * sizeof(float);

        memcpy(r->lse + to->first, whole->lse + from->first, bytes);
        memcpy(r->c + to->first, whole->c + from->first, bytes);
        if (t->needs & OBJECTIVE_needs_entropy)
            memcpy(r->entropy + to->first, whole->entropy + from->first, bytes);
        if (r->out.e)
            memcpy(r->e + to->first, whole->e + from->first, bytes);
        if (r->out.h)
            memcpy(r->h + to->first, whole->h + from->first, bytes);
        for (int64_t k = 0; k < whole->out.entry_count; k++) {
            struct objective_entry entry = whole->entries[k];

            if (entry.row < from->first || entry.row >= from->first + from->count)
                continue;
            entry.row += to->first - from->first;
            r->entries[r->out.entry_count++] = entry;
        }
    }
}

/* Coefficients known here: back through the head. same: the statistics were those of this batch. */
static void
head_slopes(struct trainer *t, const float *hidden, int same, const struct sample *samples)
{
    const struct pack *p = &t->pack;
    const struct head head = head_of(&t->model);
    const float *entropy = t->rows.out.h ? t->rows.entropy : NULL;
    float *bias = t->model.head_bias >= 0 ? t->grads + t->model.head_bias : NULL;
    struct error e = {0};
    struct head_gradient gradient = {
        .c = t->rows.c,
        .e = t->rows.out.e,
        .h = t->rows.out.h,
        .entries = (const struct head_entry *)(const void *)t->rows.out.entries,
        .entry_count = t->rows.out.entry_count,
        .same = same};

    if (!t->device) {
        gradient.same = same && p->rows.named == 0; /* else head_named came after them */
        head_backward(t->work, &head, p->batch.tokens, hidden, p->targets, t->rows.lse, entropy,
                      &gradient, t->dhidden, t->grads + t->model.head, bias);
    } else if (!t->failure.code) {
        told(t,
             head_device_backward(t->device, &t->model, p->batch.tokens, hidden, p->targets,
                                  t->rows.lse, entropy, &gradient, t->dhidden, &e),
             &e, samples);
    }
}

/* Statistics, objective and slopes one after the other. Of a gathered step the device needs no
 * statistics again. */
static void
learn_apart(struct trainer *t, const struct sample *samples, const int64_t *place)
{
    int known = t->device && t->gathered < 0;
    const float *hidden = known ? decoder_forward(t->decoder, &t->model, &t->pack.batch)
                                : statistics(t, &t->model, samples);

    if (t->broken || t->failure.code)
        return;
    if (t->gathered < 0)
        copy_solution(t, place);
    else
        solve(t, &t->pack.rows, &t->rows);
    if (!t->broken)
        head_slopes(t, hidden, !known, samples);
}

/* The same as one call of the device. */
static void
learn_at_once(struct trainer *t, const struct sample *samples)
{
    struct pack *p = &t->pack;
    const float *hidden = decoder_forward(t->decoder, &t->model, &p->batch);
    size_t bytes = (size_t)p->batch.tokens * sizeof(float);
    struct error e = {0};

    memset(t->rows.logp, 0, bytes); /* the check is of what is known before */
    memset(t->rows.lse, 0, bytes);
    memset(t->rows.entropy, 0, bytes);
    if (p->rows.named > 0)
        memset(t->named, 0, (size_t)(p->rows.named * p->rows.samples) * sizeof(float));
    show(t, &p->rows, &t->rows, t->named);
    if (objective_check(t->objective, &p->rows, &t->settings, &t->fault) < 0)
        t->broken = 1;
    else if (!t->failure.code)
        told(t,
             head_device_loss(t->device, &t->model, hidden, p->targets, t->objective, &t->settings,
                              &t->step, &p->rows, &t->report, t->dhidden, &e),
             &e, samples);
}

void
trainer_batch(struct trainer *t, const struct sample *samples, const int64_t *place, int64_t count)
{
    struct pack *p = &t->pack;

    if (t->gathered > 0 && t->gathered == t->whole.rows.samples && !t->broken) {
        solve(t, &t->whole.rows, &t->whole_rows);
        t->gathered = -1; /* done */
    }
    if (t->broken)
        return;
    pack_fill(p, &t->rules, samples, count);
    reserve(t);
    if (t->device && t->gathered == 0 && head_device_knows(t->objective))
        learn_at_once(t, samples);
    else
        learn_apart(t, samples, place);
    if (t->broken || t->failure.code)
        return;
    t->gem_tokens += p->gem_tokens;
    t->learnt += p->learnt;
    decoder_backward(t->decoder, &t->model, t->dhidden, t->grads);
}

/* Says which gradient is not finite. */
static void
blame_gradient(struct trainer *t)
{
    const char *there;

    for (int i = 0; i < t->model.tensor_count; i++) {
        const struct model_tensor *tensor = &t->model.tensors[i];

        if (t->groups && t->groups[i] == ADAMW_frozen)
            continue;
        if (!isfinite(adamw_norm(t->grads + tensor->offset, tensor->count))) {
            error_set(&t->fault, ERROR_model, "the gradient of %s is not finite", tensor->name);
            return;
        }
    }
    there = t->device ? head_device_blame(t->device, &t->adamw) : NULL;
    error_set(&t->fault, ERROR_model, "the %s%s is not finite",
              there ? "gradient of " : "norm of the gradient", there ? there : "");
}

/* The optimiser. */
static double
update(struct trainer *t, int64_t step)
{
    struct error e = {0};
    double norm = NAN;

    if (!t->device)
        return adamw_step(&t->adamw, &t->model, step, t->grads, t->m, t->v);
    if (!t->failure.code)
        told(t, head_device_end(t->device, &t->adamw, &t->model, step, t->grads, &norm, &e), &e,
             NULL);
    return t->failure.code ? NAN : norm;
}

/* Of a step whose numbers are all finite so far. */
static double
apply(struct trainer *t, int64_t step, double lr)
{
    double norm;

    t->adamw.lr = lr;
    t->adamw.groups = t->groups;
    norm = update(t, step);
    if (!isfinite(norm) && !t->failure.code)
        blame_gradient(t);
    else if (t->ema && !t->failure.code)
        adamw_average(t->model.count, t->ema_decay, t->model.params, t->ema);
    return norm;
}

double
trainer_end(struct trainer *t, int64_t step, double lr)
{
    struct error e = {0};
    double norm = NAN;

    if (!t->broken && isfinite(t->report.loss))
        norm = apply(t, step, lr);
    else if (!t->broken)
        error_set(&t->fault, ERROR_model, "the loss is not finite");
    if (!isfinite(norm) && t->device && !t->failure.code)
        told(t, head_device_skip(t->device, step, &e), &e, NULL);
    return norm;
}

/* evaluate: see evaluate.h. */
#include "nodes/learner/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/verify.h"
#include "kernels/model_config.h"
#include "kernels/sampler.h"
#include "nodes/learner/held_out.h"
#include "nodes/learner/learner.h"
#include "nodes/origin.h"
#include "nodes/prompts.h"

#define PIECE_SECONDS     0.05 /* of drawing answers in one call */
#define PIECE_SAMPLES_MAX 512  /* rollouts of one batch */

/* Sums over held-out rollouts, in their order. */
struct sums {
    double tokens, logp, kl, entropy, gem_tokens, gem_logp;
};

struct evaluation {
    struct held_out rollouts;
    struct prompts prompts;
    struct sampler_prompt *given; /* (prompts) */
    int32_t **ids;
    struct model_stops stops;
    struct sampler_options how;

    bool running;
    double began;
    int64_t computed; /* tokens read and drawn */
    int64_t at;       /* rollouts done */
    struct sums sums;
    double *likelihood;      /* (rollouts) mean log p per token */
    struct sampler *sampler; /* while answers are drawn */
    double *rates;           /* (prompts) */
    double answers, answer_tokens;
    int64_t reference_at;
};

/* ---- files ---- */

int
evaluate_check(struct check *c, const struct learner_options *o, bool classes, struct error *e)
{
    struct error why = {0};
    struct prompts prompts;
    bool any = o->eval_rollouts[0] || o->eval_prompts[0];

    if (o->eval_every > 0 && !any)
        return check_fail(c, "eval_every", e, "say on what: eval_rollouts or eval_prompts");
    if (any && classes)
        return check_fail(c, o->eval_rollouts[0] ? "eval_rollouts" : "eval_prompts", e,
                          "only a language model is evaluated, not a classifier");
    if (o->eval_rollouts[0] && held_out_check(o->eval_rollouts, &why) < 0)
        return check_fail(c, "eval_rollouts", e, "%s", why.text);
    if (!o->eval_prompts[0])
        return 0;
    if (prompts_read(&prompts, o->eval_prompts, 1, &why) < 0)
        return check_fail(c, "eval_prompts", e, "%s", why.text);
    prompts_free(&prompts);
    return 0;
}

/* The tokens of prompt i as a sample has them before its response. */
static int
encode_prompt(struct learner *l, struct evaluation *v, int64_t i, struct error *e)
{
    const struct prompt *p = &v->prompts.at[i];
    struct tokens tokens = {0};
    int rc = chat_prompt(l->tokenizer, &l->rules.chat, l->rules.system, p->text, &tokens, e);
    int64_t bos = tokens.count == 0 && l->config.bos_token_id >= 0;

    if (rc == 0 && tokens.dropped > 0)
        rc = error_set(e, ERROR_topology, "the tokenizer lacks %lld characters of the prompt",
                       (long long)tokens.dropped);
    if (rc == 0 && tokens.count + bos >= l->config.positions_usable)
        rc =
            error_set(e, ERROR_topology, "the prompt has %lld tokens; the model has %lld positions",
                      (long long)tokens.count, (long long)l->config.positions_usable);
    if (rc == 0) {
        v->ids[i] = xarray((size_t)tokens.count + 1, sizeof(**v->ids));
        if (bos)
            v->ids[i][0] = (int32_t)l->config.bos_token_id;
        else if (tokens.count > 0)
            memcpy(v->ids[i], tokens.ids, (size_t)tokens.count * sizeof(**v->ids));
        v->given[i] = (struct sampler_prompt){v->ids[i], tokens.count + bos, (uint64_t)i};
    }
    tokens_free(&tokens);
    if (rc == 0 && v->given[i].count == 0)
        rc =
            error_set(e, ERROR_topology, "the prompt has no tokens, and the model no bos_token_id");
    return rc < 0 ? error_wrap(e, "%s:%lld", v->prompts.path, (long long)p->line) : 0;
}

static int
open_prompts(struct learner *l, struct evaluation *v, struct error *e)
{
    const struct learner_options *o = l->options;
    int rc = prompts_read(&v->prompts, o->eval_prompts, 1, e);

    if (rc < 0)
        return rc;
    v->given = xarray((size_t)v->prompts.count, sizeof(*v->given));
    v->ids = xarray((size_t)v->prompts.count, sizeof(*v->ids));
    v->rates = xarray((size_t)v->prompts.count, sizeof(*v->rates));
    for (int64_t i = 0; i < v->prompts.count && rc == 0; i++)
        rc = encode_prompt(l, v, i, e);
    if (rc == 0 && o->model[0])
        rc = model_stops_read(&v->stops, o->model, e);
    else if (l->config.eos_token_id >= 0)
        v->stops = (struct model_stops){.ids = {l->config.eos_token_id}, .count = 1};
    v->how = (struct sampler_options){.seed = node_seed(l->node),
                                      .temperature = o->eval_temperature,
                                      .max_tokens = o->eval_max_tokens,
                                      .samples = (int)o->eval_samples,
                                      .stop_ids = v->stops.ids,
                                      .stop_count = v->stops.count};
    return rc;
}

static int
open_rollouts(struct learner *l, struct evaluation *v, struct error *e)
{
    struct sample_rules rules = l->rules; /* the text alone: nothing that a sampler recorded */
    int rc;

    rules.recorded = false;
    rules.names.kind = SAMPLE_names_none;
    rules.verify_marks = rules.retry_marks = rules.verdict_marks = NULL;
    memset(&rules.prompt, 0, sizeof(rules.prompt));
    memset(&rules.response, 0, sizeof(rules.response));
    rc = held_out_read(&v->rollouts, l->options->eval_rollouts, &rules, e);
    tokens_free(&rules.prompt); /* the rest is the learner's */
    tokens_free(&rules.response);
    v->likelihood = xarray((size_t)v->rollouts.count + 1, sizeof(*v->likelihood));
    if (rc == 0 && v->rollouts.skipped > 0)
        node_log(l->node, LOG_warning,
                 "%s: %lld rollouts are not such that the model can read them",
                 l->options->eval_rollouts, (long long)v->rollouts.skipped);
    return rc;
}

int
evaluate_open(struct learner *l, struct evaluation **out, struct error *e)
{
    const char *rollouts = l->options->eval_rollouts, *prompts = l->options->eval_prompts;
    struct evaluation *v;
    int rc = 0;

    *out = NULL;
    if (!rollouts[0] && !prompts[0])
        return 0;
    v = *out = xalloc(sizeof(*v));
    if (rollouts[0])
        rc = origin_check(l->node, rollouts, e);
    if (rc == 0 && rollouts[0])
        rc = open_rollouts(l, v, e);
    if (rc == 0 && prompts[0])
        rc = origin_check(l->node, prompts, e);
    if (rc == 0 && prompts[0])
        rc = open_prompts(l, v, e);
    return rc;
}

void
evaluate_free(struct evaluation *v)
{
    if (!v)
        return;
    sampler_free(v->sampler);
    for (int64_t i = 0; v->ids && i < v->prompts.count; i++)
        free(v->ids[i]);
    free(v->ids);
    free(v->given);
    free(v->rates);
    free(v->likelihood);
    held_out_free(&v->rollouts);
    prompts_free(&v->prompts);
    free(v);
}

/* ---- held-out rollouts ---- */

/* The rollouts from `from` on that one batch takes. */
static int64_t
batch_end(const struct learner *l, const struct held_out *h, int64_t from)
{
    int64_t to = from, tokens = 0;

    while (to < h->count && to - from < PIECE_SAMPLES_MAX &&
           (to == from || tokens + h->at[to].count <= l->options->batch_tokens))
        tokens += h->at[to++].count;
    return to;
}

static int64_t
values_of(const struct held_out *h, int64_t from, int64_t to)
{
    int64_t values = 0;

    for (int64_t i = from; i < to; i++)
        values += h->at[i].count - h->at[i].context;
    return values;
}

static void
put_reference(struct learner *l, int64_t i, const float *logp, int64_t count)
{
    char room[LEARNER_KEY_MAX];

    node_put(l->node, learner_key(room, 'e', (uint64_t)i),
             span_of(logp, (size_t)count * sizeof(*logp)));
}

/* Adds rollout i to the sums; reference: log p under the initial model. */
static void
add_rollout(struct evaluation *v, int64_t i, const float *logp, const float *entropy,
            const float *reference)
{
    const struct sample *s = &v->rollouts.at[i];
    int64_t count = s->count - s->context;
    double sum = 0;

    for (int64_t k = 0; k < count; k++) {
        double d = (double)reference[k] - (double)logp[k];

        sum += (double)logp[k];
        v->sums.kl += expm1(d) - d;
        v->sums.entropy += (double)entropy[k];
        if (!s->correct && (s->marks[k] & SAMPLE_label) == SAMPLE_correct) {
            v->sums.gem_tokens++;
            v->sums.gem_logp += (double)logp[k];
        }
    }
    v->sums.tokens += (double)count;
    v->sums.logp += sum;
    v->likelihood[i] = sum / (double)count;
}

/* The next batch. At step 0 the model is the initial one, and what it says is kept. */
static int
measure_batch(struct learner *l, struct evaluation *v, struct error *e)
{
    const struct held_out *h = &v->rollouts;
    int64_t to = batch_end(l, h, v->at), values = values_of(h, v->at, to);
    float *logp = xarray((size_t)values + 1, sizeof(*logp));
    float *entropy = xarray((size_t)values + 1, sizeof(*entropy));
    int64_t done = 0;
    int rc;

    trainer_score(&l->trainer, &l->trainer.model, h->at + v->at, to - v->at, logp, entropy);
    rc = trainer_failed(&l->trainer, e);
    if (rc == 0)
        rc = pinned_keep(l, e);
    for (int64_t i = v->at; i < to && rc == 0; i++) {
        int64_t count = h->at[i].count - h->at[i].context;
        float *reference = xarray((size_t)count, sizeof(*reference));
        char room[LEARNER_KEY_MAX];
        struct span kept;

        if (l->progress.step == 0) {
            put_reference(l, i, logp + done, count);
            memcpy(reference, logp + done, (size_t)count * sizeof(*reference));
        } else if (node_get(l->node, learner_key(room, 'e', (uint64_t)i), &kept) &&
                   kept.length == (size_t)count * sizeof(*reference)) {
            memcpy(reference, kept.at, kept.length);
        } else {
            rc = error_set(e, ERROR_store, "the reference of held-out rollout %lld is gone",
                           (long long)i);
        }
        if (rc == 0)
            add_rollout(v, i, logp + done, entropy + done, reference);
        free(reference);
        done += count;
        v->computed += h->at[i].count;
    }
    v->at = to;
    free(logp);
    free(entropy);
    return rc;
}

int
evaluate_reference(struct learner *l, struct error *e)
{
    struct evaluation *v = l->evaluation;
    const struct held_out *h = v ? &v->rollouts : NULL;
    int64_t from, to, done = 0;
    float *logp, *entropy;
    int rc;

    if (!h || v->reference_at == h->count)
        return 0;
    from = v->reference_at;
    to = v->reference_at = batch_end(l, h, from);
    logp = xarray((size_t)values_of(h, from, to) + 1, sizeof(*logp));
    entropy = xarray((size_t)values_of(h, from, to) + 1, sizeof(*entropy));
    trainer_score(&l->trainer, l->initial, h->at + from, to - from, logp, entropy);
    rc = trainer_failed(&l->trainer, e);
    for (int64_t i = from; i < to && rc == 0; i++) {
        put_reference(l, i, logp + done, h->at[i].count - h->at[i].context);
        done += h->at[i].count - h->at[i].context;
    }
    free(logp);
    free(entropy);
    return rc < 0 ? rc : 1;
}

/* Mean over prompts with both kinds of the correct responses' mean log p per token minus the
 * wrong ones'; NaN where there is none. */
static double
margin(const struct evaluation *v)
{
    const struct held_out *h = &v->rollouts;
    double(*sums)[2] = xarray((size_t)h->groups + 1, sizeof(*sums)), all = 0, groups = 0;
    double(*counts)[2] = xarray((size_t)h->groups + 1, sizeof(*counts));

    for (int64_t i = 0; i < h->count; i++) {
        sums[h->group[i]][h->at[i].correct] += v->likelihood[i];
        counts[h->group[i]][h->at[i].correct]++;
    }
    for (int64_t g = 0; g < h->groups; g++)
        if (counts[g][0] > 0 && counts[g][1] > 0) {
            all += sums[g][1] / counts[g][1] - sums[g][0] / counts[g][0];
            groups++;
        }
    free(sums);
    free(counts);
    return all / groups;
}

/* ---- drawn answers ---- */

static int
grade(void *context, const struct sampler_answer *a)
{
    struct learner *l = context;
    struct evaluation *v = l->evaluation;
    struct buffer text = {0};

    tokenizer_decode(l->tokenizer, a->ids, a->count, 1, &text);
    v->rates[a->prompt] += verify_answer((enum verify_mode)l->options->eval_verify,
                                         buffer_span(&text), v->prompts.at[a->prompt].answer);
    v->answers++;
    v->answer_tokens += (double)a->count;
    v->computed += a->count;
    buffer_free(&text);
    return 0;
}

static int
draw_answers(struct learner *l, struct evaluation *v, struct error *e)
{
    double until = node_now(l->node) + PIECE_SECONDS;
    int rc;

    if (!v->sampler)
        v->sampler =
            sampler_new(&l->trainer.model, &v->how, v->given, v->prompts.count, grade, l, e);
    if (!v->sampler)
        return e->code;
    do
        rc = sampler_turn(v->sampler, e);
    while (rc > 0 && node_now(l->node) < until);
    return rc;
}

static double
pass_rate(const struct evaluation *v)
{
    double sum = 0;

    for (int64_t i = 0; i < v->prompts.count; i++)
        sum += v->rates[i] / (double)v->how.samples;
    return sum / (double)v->prompts.count;
}

/* ---- an evaluation ---- */

bool
evaluate_due(const struct learner *l, bool last)
{
    const struct progress *p = &l->progress;
    int64_t every = l->options->eval_every;

    if (!l->evaluation || p->evaluated > p->step)
        return false;
    return last || p->step == 0 || (every > 0 && p->step % every == 0);
}

static void
begin(struct learner *l, struct evaluation *v)
{
    v->running = true;
    v->began = node_now(l->node);
    v->computed = v->at = 0;
    v->sums = (struct sums){0};
    v->answers = v->answer_tokens = 0;
    if (v->rates)
        memset(v->rates, 0, (size_t)v->prompts.count * sizeof(*v->rates));
}

static int
end(struct learner *l, struct evaluation *v, struct error *e)
{
    double seconds = node_now(l->node) - v->began;
    const struct sums *s = &v->sums;
    struct measures m = {0};

    measures_set(&m, TRAINING_step, (double)l->progress.step);
    if (v->rollouts.count > 0) {
        measures_set(&m, TRAINING_eval_rollouts, (double)v->rollouts.count);
        measures_set(&m, TRAINING_eval_margin, margin(v));
        measures_set(&m, TRAINING_eval_logp, s->logp / s->tokens);
        measures_set(&m, TRAINING_eval_kl, s->kl / s->tokens);
        measures_set(&m, TRAINING_eval_entropy, s->entropy / s->tokens);
        measures_set(&m, TRAINING_eval_gems_logp, s->gem_logp / s->gem_tokens);
    }
    if (v->prompts.count > 0) {
        measures_set(&m, TRAINING_eval_pass_rate, pass_rate(v));
        measures_set(&m, TRAINING_eval_tokens, v->answer_tokens / v->answers);
    }
    seconds = seconds > 1e-9 ? seconds : 1e-9;
    measures_set(&m, TRAINING_tokens_per_second, (double)v->computed / seconds);
    measures_set(&m, TRAINING_seconds, seconds);
    sampler_free(v->sampler);
    v->sampler = NULL;
    v->running = false;
    l->progress.evaluated = l->progress.step + 1;
    return output_measures(&l->output, &m, e);
}

int
evaluate_pump(struct learner *l, struct error *e)
{
    struct evaluation *v = l->evaluation;
    int rc;

    if (!v->running)
        begin(l, v);
    node_why(l->node,
             "computing the evaluation after step %lld: %lld of %lld rollouts, %.0f of %lld"
             " answers",
             (long long)l->progress.step, (long long)v->at, (long long)v->rollouts.count,
             v->answers, (long long)(v->prompts.count * l->options->eval_samples));
    if (v->at < v->rollouts.count)
        return measure_batch(l, v, e);
    if (v->prompts.count > 0) {
        rc = draw_answers(l, v, e);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
    return end(l, v, e);
}

#include "kernels/sampler.h"

#include "base/memory.h"
#include "kernels/decoder.h"
#include "kernels/math.h"
#include "kernels/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOGIT_ROWS 8 /* rows of logits held at a time */

enum phase { FREE, PREFILL, WAITING, READY, PENDING };

/* One answer being drawn. READY: its hidden state is that of the last token; PENDING: its last
 * token was drawn and not yet read. WAITING: its prompt is being read by the row `leader`. */
struct row {
    enum phase phase;
    int64_t prompt, leader;
    int sample;
    int64_t read; /* tokens of the prompt in the cache */
    int32_t *ids;
    int64_t count, room;
};

struct sampler {
    const struct model *model;
    const struct sampler_options *options;
    const struct sampler_prompt *prompts;
    int64_t prompt_count, rows, hidden_size, vocab;
    struct decoder_cache *cache; /* row `rows` is the stash */
    struct row *row;
    float *hidden;            /* (rows + 1, hidden) of each row's last token */
    float *fresh;             /* (rows, hidden) as cache_append gives them */
    float *gathered, *logits; /* (LOGIT_ROWS, hidden), (LOGIT_ROWS, vocab) */
    int64_t *batch_rows;
    int32_t *batch_ids;
    int64_t next_prompt; /* the next pair to start */
    int next_sample;
    int64_t leader, stashed; /* row that reads the latest prompt; prompt in the stash, -1: none */
    int (*done)(void *context, const struct sampler_answer *answer);
    void *context;
};

static int
check_options(const struct model *model, const struct sampler_options *o, struct error *e)
{
    if (model->config.num_labels)
        return error_set(e, ERROR_model,
                         "the model is a classifier; only a language model answers");
    if (!(o->temperature >= 0 && o->temperature <= SAMPLER_TEMPERATURE_MAX))
        return error_set(e, ERROR_usage, "temperature must lie between 0 and %g",
                         SAMPLER_TEMPERATURE_MAX);
    if (o->max_tokens < 1 || o->max_tokens > SAMPLER_TOKENS_MAX)
        return error_set(e, ERROR_usage, "max_tokens must lie between 1 and %d",
                         SAMPLER_TOKENS_MAX);
    if (o->samples < 1 || o->samples > SAMPLER_SAMPLES_MAX)
        return error_set(e, ERROR_usage, "samples must lie between 1 and %d", SAMPLER_SAMPLES_MAX);
    if (o->rows < 0 || o->rows > SAMPLER_ROWS_MAX)
        return error_set(e, ERROR_usage, "rows must lie between 0 and %d", SAMPLER_ROWS_MAX);
    return 0;
}

static int
check_prompts(const struct model *model, const struct sampler_options *o,
              const struct sampler_prompt *prompts, int64_t count, struct error *e)
{
    const struct model_config *c = &model->config;
    int slides = c->positions_usable < c->max_position_embeddings;


    for (int64_t i = 0; i < count; i++) {
        const struct sampler_prompt *p = &prompts[i];

        if (p->number >= SAMPLER_NUMBER_MAX)
            return error_set(e, ERROR_limit, "prompt number %llu; at most %llu",
                             (unsigned long long)p->number,
                             (unsigned long long)SAMPLER_NUMBER_MAX - 1);
        if (p->count < 1)
            return error_set(e, ERROR_input, "prompt %llu has no tokens",
                             (unsigned long long)p->number);
        if (slides && p->count + o->max_tokens > c->positions_usable)
            return error_set(e, ERROR_input,
                             "prompt %llu has %lld tokens; with max_tokens %lld that passes %lld, "
                             "where the model's attention begins to slide, which is not supported",
                             (unsigned long long)p->number, (long long)p->count,
                             (long long)o->max_tokens, (long long)c->positions_usable);
        if (p->count >= c->positions_usable)
            return error_set(e, ERROR_input,
                             "prompt %llu has %lld tokens; the model has %lld positions",
                             (unsigned long long)p->number, (long long)p->count,
                             (long long)c->positions_usable);
        for (int64_t k = 0; k < p->count; k++)
            if (p->ids[k] < 0 || p->ids[k] >= model->config.vocab_size)
                return error_set(
                    e, ERROR_input, "prompt %llu: id %d is outside the model's vocabulary of %lld",
                    (unsigned long long)p->number, p->ids[k], (long long)model->config.vocab_size);
    }
    return 0;
}

/* Tokens an answer to PROMPT may have. */
static int64_t
room_of(const struct sampler *s, int64_t prompt)
{
    int64_t left = s->model->config.positions_usable - s->prompts[prompt].count;

    return left < s->options->max_tokens ? left : s->options->max_tokens;
}

static void
set_up(struct sampler *s)
{
    const struct model_config *c = &s->model->config;
    int64_t longest = 1, row_bytes, pairs = s->prompt_count * s->options->samples;

    for (int64_t i = 0; i < s->prompt_count; i++)
        if (s->prompts[i].count + room_of(s, i) > longest)
            longest = s->prompts[i].count + room_of(s, i);
    s->rows = s->options->rows ? s->options->rows : SAMPLER_ROWS_DEFAULT;
    row_bytes = longest * c->num_hidden_layers * c->num_key_value_heads * c->head_dim * 2 * 4;
    if (s->rows > SAMPLER_CACHE_BYTES_MAX / row_bytes)
        s->rows = SAMPLER_CACHE_BYTES_MAX / row_bytes;
    if (s->rows > pairs)
        s->rows = pairs;
    if (s->rows < 1)
        s->rows = 1;
    s->hidden_size = c->hidden_size;
    s->vocab = c->vocab_size;
    s->stashed = -1;
    s->cache = cache_new(s->model, s->rows + 1, longest);
    s->row = xarray((size_t)s->rows, sizeof(*s->row));
    s->hidden = xarray((size_t)((s->rows + 1) * s->hidden_size), sizeof(float));
    s->fresh = xarray((size_t)(s->rows * s->hidden_size), sizeof(float));
    s->gathered = xarray((size_t)(LOGIT_ROWS * s->hidden_size), sizeof(float));
    s->logits = xarray((size_t)(LOGIT_ROWS * s->vocab + LANES), sizeof(float));
    s->batch_rows = xarray((size_t)s->rows, sizeof(*s->batch_rows));
    s->batch_ids = xarray((size_t)s->rows, sizeof(*s->batch_ids));
}

static void
tear_down(struct sampler *s)
{
    cache_free(s->cache);
    for (int64_t i = 0; i < s->rows; i++)
        free(s->row[i].ids);
    free(s->row);
    free(s->hidden);
    free(s->fresh);
    free(s->gathered);
    free(s->logits);
    free(s->batch_rows);
    free(s->batch_ids);
}

/* What the row FROM knows at the end of its prompt, to the row TO. */
static void
copy_state(struct sampler *s, int64_t to, int64_t from)
{
    cache_copy(s->cache, to, from);
    memcpy(s->hidden + to * s->hidden_size, s->hidden + from * s->hidden_size,
           (size_t)s->hidden_size * sizeof(float));
}

/* Free rows take the next pairs. The first sample of a prompt reads it; the others copy. */
static void
start_pairs(struct sampler *s)
{
    for (int64_t i = 0; i < s->rows && s->next_prompt < s->prompt_count; i++) {
        struct row *r = &s->row[i];

        if (r->phase != FREE)
            continue;
        r->prompt = s->next_prompt;
        r->sample = s->next_sample;
        r->count = r->read = 0;
        r->leader = s->leader;
        if (r->sample == 0) {
            cache_reset(s->cache, i);
            r->phase = PREFILL;
            s->leader = i;
        } else if (s->stashed == r->prompt) {
            copy_state(s, i, s->rows);
            r->phase = READY;
        } else {
            r->phase = WAITING;
        }
        if (++s->next_sample == s->options->samples) {
            s->next_sample = 0;
            s->next_prompt++;
        }
    }
}

/* The row AT has read its prompt: rows that waited for it are ready too, and so will be those to
 * come. */
static void
end_prefill(struct sampler *s, int64_t at)
{
    s->row[at].phase = READY;
    for (int64_t i = 0; i < s->rows; i++)
        if (s->row[i].phase == WAITING && s->row[i].leader == at &&
            s->row[i].prompt == s->row[at].prompt) {
            copy_state(s, i, at);
            s->row[i].phase = READY;
        }
    if (s->next_prompt == s->row[at].prompt && s->next_sample > 0) {
        copy_state(s, s->rows, at);
        s->stashed = s->row[at].prompt;
    }
}

/* One token for every row that has one to read. */
static void
read_tokens(struct sampler *s)
{
    int64_t n = 0;

    for (int64_t i = 0; i < s->rows; i++) {
        struct row *r = &s->row[i];

        if (r->phase != PREFILL && r->phase != PENDING)
            continue;
        s->batch_rows[n] = i;
        s->batch_ids[n++] =
            r->phase == PREFILL ? s->prompts[r->prompt].ids[r->read] : r->ids[r->count - 1];
    }
    if (n == 0)
        return;
    cache_append(s->cache, n, s->batch_rows, s->batch_ids, s->fresh);
    for (int64_t k = 0; k < n; k++) {
        int64_t i = s->batch_rows[k];
        struct row *r = &s->row[i];

        memcpy(s->hidden + i * s->hidden_size, s->fresh + k * s->hidden_size,
               (size_t)s->hidden_size * sizeof(float));
        if (r->phase == PENDING)
            r->phase = READY;
        else if (++r->read == s->prompts[r->prompt].count)
            end_prefill(s, i);
    }
}

/* exp((z - max) / temperature) in place of the logits, sixteen at a time; elements past the last
 * are 0. */
static void
weights_of(float *z, int64_t count, float max, float scale)
{
    int64_t j = 0;

    for (; j + LANES <= count; j += LANES)
        lanes_store(z + j, math_exp((lanes_load(z + j) - max) * scale));
    if (j < count)
        lanes_store_part(z + j, count - j,
                         math_exp((lanes_load_part(z + j, count - j, max) - max) * scale));
}

/* The token whose share of the sum, taken in the order of ids, holds the draw UNIT; -1: not finite.
 */
static int32_t
draw(float *z, int64_t count, double temperature, double unit)
{
    float max = -INFINITY;
    double sum = 0, target, passed = 0;
    int32_t best = 0, last = 0;

    for (int64_t j = 0; j < count; j++) {
        if (!isfinite(z[j]))
            return -1;
        if (z[j] > max) {
            max = z[j];
            best = (int32_t)j;
        }
    }
    if (temperature <= 0)
        return best;
    weights_of(z, count, max, (float)(1 / temperature));
    for (int64_t j = 0; j < count; j++)
        sum += (double)z[j];
    target = unit * sum;
    for (int64_t j = 0; j < count; j++) {
        if (!(z[j] > 0))
            continue;
        passed += (double)z[j];
        last = (int32_t)j;
        if (passed > target)
            return last;
    }
    return last;
}

static int
is_stop(const struct sampler_options *o, int32_t id)
{
    for (int i = 0; i < o->stop_count; i++)
        if (o->stop_ids[i] == id)
            return 1;
    return 0;
}

static int
finish(struct sampler *s, struct row *r, int stopped)
{
    struct sampler_answer answer = {r->prompt, r->sample, r->ids, r->count, stopped};

    r->phase = FREE;
    return s->done(s->context, &answer);
}

/* The row's next token, drawn from its logits. */
static int
take_token(struct sampler *s, int64_t at, float *logits, struct error *e)
{
    struct row *r = &s->row[at];
    uint64_t index =
        s->prompts[r->prompt].number << 36 | (uint64_t)r->sample << 20 | (uint64_t)r->count;
    int32_t id = draw(logits, s->vocab, s->options->temperature,
                      random_unit(s->options->seed, RANDOM_sample, index));

    if (id < 0)
        return error_set(
            e, ERROR_model, "prompt %llu, sample %d, token %lld: a logit is not finite",
            (unsigned long long)s->prompts[r->prompt].number, r->sample, (long long)r->count);
    if (is_stop(s->options, id))
        return finish(s, r, 1);
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        r->ids = xresize(r->ids, (size_t)r->room * sizeof(*r->ids));
    }
    r->ids[r->count++] = id;
    r->phase = PENDING;
    return r->count == room_of(s, r->prompt) ? finish(s, r, 0) : 0;
}

/* Draws for the rows that are ready, a few rows of logits at a time. */
static int
draw_tokens(struct sampler *s, struct error *e)
{
    int64_t i = 0;
    int rc = 0;

    while (i < s->rows) {
        int64_t at[LOGIT_ROWS], n = 0;

        for (; i < s->rows && n < LOGIT_ROWS; i++)
            if (s->row[i].phase == READY) {
                memcpy(s->gathered + n * s->hidden_size, s->hidden + i * s->hidden_size,
                       (size_t)s->hidden_size * sizeof(float));
                at[n++] = i;
            }
        if (n)
            cache_logits(s->cache, n, s->gathered, s->logits);
        for (int64_t k = 0; k < n; k++) {
            rc = take_token(s, at[k], s->logits + k * s->vocab, e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int
is_busy(const struct sampler *s)
{
    for (int64_t i = 0; i < s->rows; i++)
        if (s->row[i].phase != FREE)
            return 1;
    return s->next_prompt < s->prompt_count;
}

struct sampler *
sampler_new(const struct model *model, const struct sampler_options *options,
            const struct sampler_prompt *prompts, int64_t count,
            int (*done)(void *context, const struct sampler_answer *answer), void *context,
            struct error *e)
{
    struct sampler *s;

    if (check_options(model, options, e) < 0 ||
        check_prompts(model, options, prompts, count, e) < 0)
        return NULL;
    s = xalloc(sizeof(*s));
    *s = (struct sampler){.model = model,
                          .options = options,
                          .prompts = prompts,
                          .prompt_count = count,
                          .done = done,
                          .context = context};
    if (count > 0)
        set_up(s);
    return s;
}

int
sampler_turn(struct sampler *s, struct error *e)
{
    int rc;

    if (!is_busy(s))
        return 0;
    start_pairs(s);
    rc = draw_tokens(s, e);
    if (rc < 0)
        return rc;
    start_pairs(s); /* rows that ended take new pairs before the next token is read */
    read_tokens(s);
    return is_busy(s);
}

void
sampler_free(struct sampler *s)
{
    if (s && s->prompt_count > 0)
        tear_down(s);
    free(s);
}

int
sampler_run(const struct model *model, const struct sampler_options *options,
            const struct sampler_prompt *prompts, int64_t count,
            int (*done)(void *context, const struct sampler_answer *answer), void *context,
            struct error *e)
{
    struct error own = {0}, *why = e ? e : &own; /* e may be NULL */
    struct sampler *s = sampler_new(model, options, prompts, count, done, context, why);
    int rc = s ? 1 : why->code;

    while (rc > 0)
        rc = sampler_turn(s, why);
    sampler_free(s);
    return rc;
}

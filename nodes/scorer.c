/* scorer: batches of sequences through a decoder, and two rows of its head at chosen places. */
#include "nodes/scorer.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/head.h"
#include "kernels/model_config.h"
#include "kernels/model_file.h"

static int
check_labels(const struct model_config *c, int64_t wants, struct error *e)
{
    int64_t has = c->num_labels;

    if (has == wants || (wants > 0 && has == 1 &&
                         (c->head == MODEL_HEAD_sequence || c->head == MODEL_HEAD_value)))
        return 0;
    if (wants == 0)
        return error_set(e, ERROR_model,
                         "this is a classifier of %" PRId64 " labels, not a language model", has);
    return error_set(e, ERROR_model, "num_labels is %" PRId64 "; a judge of steps has %" PRId64,
                     has, wants);
}

static int
check_vocabulary(const struct model_config *c, const struct tokenizer *t, struct error *e)
{
    if (tokenizer_size(t) <= c->vocab_size)
        return 0;
    return error_set(e, ERROR_model,
                     "the tokenizer has ids up to %" PRId64 ", the model only %" PRId64
                     " embeddings",
                     tokenizer_size(t) - 1, c->vocab_size);
}

int
scorer_check(const char *dir, int64_t labels, struct tokenizer **tokenizer, struct error *e)
{
    struct model_config config;
    struct tokenizer *t;
    int rc = model_config_read(&config, dir, e);

    if (rc == 0)
        rc = check_labels(&config, labels, e);
    if (rc != 0)
        return error_wrap(e, "%s", dir);
    t = tokenizer_open(dir, e);
    if (!t)
        return ERROR_model;
    rc = check_vocabulary(&config, t, e);
    if (rc != 0)
        rc = error_wrap(e, "%s", dir);
    if (rc == 0 && tokenizer)
        *tokenizer = t;
    else
        tokenizer_close(t);
    return rc;
}

int
scorer_open(struct scorer *s, const char *dir, int64_t labels, struct error *e)
{
    int rc;

    memset(s, 0, sizeof(*s));
    rc = model_open(&s->model, dir, e);
    if (rc != 0)
        return rc;
    s->tokenizer = tokenizer_open(dir, e);
    rc = s->tokenizer ? check_labels(&s->model.config, labels, e) : ERROR_model;
    if (rc == 0)
        rc = check_vocabulary(&s->model.config, s->tokenizer, e);
    if (rc != 0)
        scorer_close(s);
    return rc;
}

void
scorer_close(struct scorer *s)
{
    if (s->decoder)
        decoder_free(s->decoder);
    if (s->tokenizer)
        tokenizer_close(s->tokenizer);
    model_free(&s->model);
    free(s->ids);
    free(s->starts);
    free(s->rows);
    memset(s, 0, sizeof(*s));
}

const float *
scorer_hidden(const struct scorer *s, int64_t i)
{
    assert(s->hidden && i >= 0 && i < s->rows_count);
    return s->hidden + s->rows[i] * s->model.config.hidden_size;
}

int64_t
scorer_length_max(const struct scorer *s)
{
    return s->model.config.positions_usable;
}

void
scorer_begin(struct scorer *s)
{
    s->tokens = s->sequences = s->rows_count = 0;
}

/* Room for `more` further elements. */
static void *
grow(void *array, int64_t *room, int64_t used, int64_t more, size_t size)
{
    if (used + more <= *room)
        return array;
    *room = (used + more) * 2;
    return xresize(array, (size_t)*room * size);
}

bool
scorer_add(struct scorer *s, const struct tokens *a, const struct tokens *b, const int64_t *places,
           int64_t place_count)
{
    int64_t count = a->count + (b ? b->count : 0);

    assert(count <= scorer_length_max(s));
    if (s->sequences > 0 && s->tokens + count > SCORER_TOKENS)
        return false;
    s->ids = grow(s->ids, &s->ids_room, s->tokens, count, sizeof(*s->ids));
    s->starts = grow(s->starts, &s->starts_room, s->sequences, 2, sizeof(*s->starts));
    s->rows = grow(s->rows, &s->rows_room, s->rows_count, place_count, sizeof(*s->rows));
    if (a->count)
        memcpy(s->ids + s->tokens, a->ids, (size_t)a->count * sizeof(*s->ids));
    if (b && b->count)
        memcpy(s->ids + s->tokens + a->count, b->ids, (size_t)b->count * sizeof(*s->ids));
    for (int64_t i = 0; i < place_count; i++) {
        assert(places[i] >= 0 && places[i] < count);
        s->rows[s->rows_count++] = s->tokens + places[i];
    }
    s->starts[s->sequences++] = s->tokens;
    s->tokens += count;
    s->starts[s->sequences] = s->tokens;
    return true;
}

static float
logit(const struct scorer *s, const float *hidden, int64_t class)
{
    const struct model *m = &s->model;
    int64_t width = m->config.hidden_size;
    const float *weight = m->params + m->head + class * width;
    float sum = 0;

    for (int64_t k = 0; k < width; k++)
        sum = fmaf(hidden[k], weight[k], sum);
    return m->head_bias >= 0 ? sum + m->params[m->head_bias + class] : sum;
}

/* The hidden states of the batch. */
static void
forward(struct scorer *s)
{
    struct batch batch = {s->tokens, s->ids, s->sequences, s->starts, NULL};

    if (s->tokens > s->room) {
        if (s->decoder)
            decoder_free(s->decoder);
        s->room = s->tokens > SCORER_TOKENS ? s->tokens + s->tokens / 2 : SCORER_TOKENS;
        s->decoder = decoder_new(&s->model, s->room, 0);
    }
    s->hidden = decoder_forward(s->decoder, &s->model, &batch);
}

void
scorer_run_among_all(struct scorer *s, const int32_t *classes, int count, double *p)
{
    struct head head = head_of(&s->model);
    struct head_work *work = head_work_new();

    if (s->rows_count > 0)
        forward(s);
    for (int64_t i = 0; i < s->rows_count; i++) {
        const float *h = scorer_hidden(s, i);
        float logp, lse;
        head_statistics(work, &head, 1, h, classes, &logp, &lse, NULL);
        for (int k = 0; k < count; k++)
            p[i * count + k] = exp((double)logit(s, h, classes[k]) - (double)lse);
    }
    head_work_free(work);
}

void
scorer_run(struct scorer *s, int64_t class_0, int64_t class_1, float *scores)
{
    assert(class_0 >= 0 && class_0 < s->model.head_rows && class_1 >= 0 &&
           class_1 < s->model.head_rows);
    if (s->rows_count == 0)
        return;
    forward(s);
    for (int64_t i = 0; i < s->rows_count; i++) {
        const float *h = scorer_hidden(s, i);
        double other = class_0 == class_1 ? 0 : (double)logit(s, h, class_0);

        scores[i] = (float)(1 / (1 + exp(other - (double)logit(s, h, class_1))));
    }
}

/* loop_start: which of several checkpoints to begin from. Ring-lite (arXiv 2506.14731) found that
 * reinforcement learning goes best from a supervised checkpoint whose entropy lies in 0.3 to 0.5:
 * below, it has collapsed; above, it learns slowly. Here the entropy is the mean of the full
 * distribution's over the tokens of answers that the checkpoint itself draws (nats, at temperature
 * 1, the stop token's place counted), to the first LOOP_ENTROPY_PROMPTS prompts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/answers.h"
#include "commands/loop.h"
#include "kernels/decoder.h"
#include "kernels/head.h"

struct measuring {
    struct loop *loop;
    const char *model;
    struct speaker speaker;
    const struct prompts *prompts;
    struct head_work *work;
    double sum;
    int64_t tokens;
};

/* Adds the entropies of the places ids[context - 1 .. count - 1]: what each answer token, and the
 * end, was drawn from. */
static void
add_entropy(struct measuring *m, const int32_t *ids, int64_t count, int64_t context)
{
    struct head head = head_of(&m->speaker.model);
    struct decoder *d = decoder_new(&m->speaker.model, count, 0);
    int32_t *targets = xarray((size_t)count, sizeof(*targets));
    float *numbers = xarray(3 * (size_t)count, sizeof(*numbers));
    int64_t starts[2] = {0, count};

    for (int64_t i = 0; i < count; i++)
        targets[i] = i >= context - 1 ? 0 : -1; /* any class: entropy does not look at it */
    head_statistics(m->work, &head, count,
                    decoder_forward(d, &m->speaker.model, &(struct batch){count, ids, 1, starts, NULL}),
                    targets, numbers, numbers + count, numbers + 2 * count);
    for (int64_t i = context - 1; i < count; i++)
        m->sum += (double)numbers[2 * count + i];
    m->tokens += count - context + 1;
    free(numbers);
    free(targets);
    decoder_free(d);
}

static int
measure_answer(void *context, const struct answer *a, struct error *e)
{
    struct measuring *m = context;
    const struct model_config *c = &m->speaker.model.config;
    struct tokens answer = {0};
    int32_t *ids = NULL;
    int64_t count = 0;
    int rc = tokenizer_encode(m->speaker.tokenizer, a->text, 0, &answer, e);

    if (rc == 0)
        rc = speaker_prompt(&m->speaker, m->prompts->at[a->prompt].text, &ids, &count, e);
    if (rc == 0 && count + answer.count <= c->max_position_embeddings) {
        ids = xresize(ids, (size_t)(count + answer.count) * sizeof(*ids));
        if (answer.count)
            memcpy(ids + count, answer.ids, (size_t)answer.count * sizeof(*ids));
        add_entropy(m, ids, count + answer.count, count);
    }
    tokens_free(&answer);
    free(ids);
    return rc;
}

static char *
entropy_path(const struct loop *l)
{
    return xprint("%s/entropy.json", l->dir);
}

/* In a process of its own: one candidate's entropy into a file. */
static int
measure(void *own, struct error *e)
{
    struct measuring *m = own;
    const struct loop *l = m->loop;
    struct prompts first = l->prompts;
    struct answers_how how = {.label = "entropy",
                              .temperature = l->temperature,
                              .samples = 1,
                              .seed = l->seed,
                              .max_tokens = l->max_tokens,
                              .rows = l->rows};
    char *path = entropy_path(l);
    json_t *json;
    int rc = loop_speaker(l, &m->speaker, m->model, e);

    if (rc == 0) {
        if (first.count > LOOP_ENTROPY_PROMPTS)
            first.count = LOOP_ENTROPY_PROMPTS;
        m->prompts = &first;
        m->work = head_work_new();
        rc = answers_make(&m->speaker, &how, &first, measure_answer, m, e);
        head_work_free(m->work);
        speaker_close(&m->speaker);
    }
    if (rc == 0) {
        json = json_pack("{s:f, s:I}", "entropy", m->sum / (double)m->tokens, "tokens",
                         (json_int_t)m->tokens);
        rc = json ? records_write(path, json, e)
                  : error_set(e, ERROR_model, "the entropy is not a finite number");
        json_decref(json);
    }
    free(path);
    return rc;
}

/* How far outside the range, then how far from its middle: smaller is better. */
static bool
better(const struct loop *l, double a, double b)
{
    double low = l->entropy_low, high = l->entropy_high, middle = (low + high) / 2;
    double out_a = fmax(0, fmax(low - a, a - high)), out_b = fmax(0, fmax(low - b, b - high));

    return out_a != out_b ? out_a < out_b : fabs(a - middle) < fabs(b - middle);
}

int
loop_start(struct loop *l, json_t **candidates, struct error *e)
{
    char *path = entropy_path(l);
    double best = 0;
    int rc = 0;

    *candidates = json_array();
    for (int i = 0; i < l->starts.count && rc == 0; i++) {
        struct measuring m = {.loop = l, .model = l->starts.at[i]};
        json_t *json = NULL;
        double entropy;

        rc = stage_work(measure, &m, e);
        if (rc == 0)
            rc = records_read(path, &json, e);
        remove(path);
        if (rc) {
            error_wrap(e, "the entropy of '%s'", l->starts.at[i]);
            break;
        }
        entropy = json_number_value(json_object_get(json, "entropy"));
        fprintf(stderr, "sluice loop: entropy %.3f of '%s'\n", entropy, l->starts.at[i]);
        json_object_set_new(json, "model", json_string(l->starts.at[i]));
        json_array_append_new(*candidates, json);
        if (!l->start || better(l, entropy, best)) {
            best = entropy;
            free(l->start);
            l->start = realpath(l->starts.at[i], NULL);
        }
    }
    free(path);
    if (rc) {
        json_decref(*candidates);
        *candidates = NULL;
        return rc;
    }
    fprintf(stderr, "sluice loop: begins from '%s', %s %g..%g\n", l->start,
            best >= l->entropy_low && best <= l->entropy_high ? "whose entropy lies in"
                                                              : "the nearest; none lies in",
            l->entropy_low, l->entropy_high);
    return 0;
}

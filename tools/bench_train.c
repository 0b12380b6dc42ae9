/* bench_train: tokens per second of whole training steps (forward, statistics, objective,
 * backward, AdamW) of a small random model on random sequences, one thread; where the time goes;
 * and how fast the key-value cache samples. Usage: bench_train [WIDTH [LAYERS [VOCAB [LENGTH
 * [TOKENS]]]]]. Prints "train R tokens/s". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/objective.h"
#include "kernels/random.h"

#define ROUNDS 15
#define HELD   (16 << 20)       /* logits that the head may hold: 64 MiB */

enum part { PART_forward, PART_statistics, PART_head, PART_backward, PART_update, PART_count };

static const char *const part_names[] = {"forward", "statistics", "head backward", "backward",
                                         "update"};

struct bench {
    struct model      model;
    struct decoder   *decoder;
    struct head_work *work;
    struct batch      batch;
    int32_t *ids, *targets;
    int64_t *starts;
    struct objective_sample *samples;
    float   *logp, *lse, *reference, *c, *dhidden, *grads, *m, *v;
    double   seconds[PART_count];
};

static double
seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
bench_begin(struct bench *b, int64_t tokens, int64_t length)
{
    int64_t sequences = tokens / length, n = sequences * length;

    b->ids = xarray((size_t)n, sizeof *b->ids);
    b->targets = xarray((size_t)n, sizeof *b->targets);
    b->starts = xarray((size_t)sequences + 1, sizeof *b->starts);
    b->samples = xarray((size_t)sequences, sizeof *b->samples);
    for (int64_t s = 0; s <= sequences; s++)
        b->starts[s] = s * length;
    for (int64_t i = 0; i < n; i++)
        b->ids[i] = (int32_t)(random_bits(1, RANDOM_test, (uint64_t)i)
                              % (uint64_t)b->model.config.vocab_size);
    for (int64_t i = 0; i < n; i++)         /* the first fifth is a prompt */
        b->targets[i] = i % length >= length / 5 && i % length < length - 1 ? b->ids[i + 1] : -1;
    for (int64_t s = 0; s < sequences; s++)
        b->samples[s] = (struct objective_sample){
            .first = s * length + length / 5, .count = length - 1 - length / 5,
            .reward = s % 2, .mean = 0.5, .group_size = 2, .group = s / 2, .weight = 1,
            .named_row = -1,
        };
    b->batch = (struct batch){n, b->ids, sequences, b->starts, NULL};
    b->decoder = decoder_new(&b->model, n, 1);
    b->work = head_work_new();
    head_keep(b->work, HELD);
    b->logp = xarray((size_t)n, sizeof(float));
    b->lse = xarray((size_t)n, sizeof(float));
    b->reference = xarray((size_t)n, sizeof(float));
    b->c = xarray((size_t)n, sizeof(float));
    b->dhidden = xarray((size_t)(n * b->model.config.hidden_size), sizeof(float));
    b->grads = xarray((size_t)b->model.count, sizeof(float));
    b->m = xarray((size_t)b->model.count, sizeof(float));
    b->v = xarray((size_t)b->model.count, sizeof(float));
}

static double
lap(struct bench *b, enum part part, double from)
{
    double now = seconds_now();

    b->seconds[part] += now - from;
    return now;
}

static void
bench_step(struct bench *b, int64_t step)
{
    struct adamw a = adamw_default();
    struct objective_settings settings = objective_settings_none();
    struct objective_output out = {.c = b->c};
    struct error e;
    struct objective_step norm = {0};
    struct objective_report report = {0};
    const struct objective *o = objective_find("bcpg_nsa");
    struct head head = head_of(&b->model);
    struct head_gradient g = {.c = b->c, .same = 1};
    double t = seconds_now();
    const float *hidden = decoder_forward(b->decoder, &b->model, &b->batch);

    t = lap(b, PART_forward, t);
    head_statistics(b->work, &head, b->batch.tokens, hidden, b->targets, b->logp, b->lse, NULL);
    t = lap(b, PART_statistics, t);
    struct objective_batch batch = {
        .rows = b->batch.tokens, .logp = b->logp, .reference = b->reference,
        .samples = b->batch.sequences, .sample = b->samples,
    };
    if (objective_settings_fill(o, &settings, &e) < 0)
        abort();
    objective_advantages(&batch, &settings, b->samples);
    objective_measure(o, &batch, &settings, &norm);
    objective_run(o, &batch, &settings, &norm, &out, &report);
    memset(b->grads, 0, (size_t)b->model.count * sizeof(float));
    head_backward(b->work, &head, b->batch.tokens, hidden, b->targets, b->lse, NULL, &g, b->dhidden,
                  b->grads + b->model.head, NULL);
    t = lap(b, PART_head, t);
    decoder_backward(b->decoder, &b->model, b->dhidden, b->grads);
    t = lap(b, PART_backward, t);
    a.lr = 1e-4;
    adamw_step(&a, &b->model, step, b->grads, b->m, b->v);
    lap(b, PART_update, t);
}

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
bench_sample(const struct bench *b, int64_t rows, int64_t length)
{
    struct decoder_cache *cache = cache_new(&b->model, rows, length);
    int64_t  *row = xarray((size_t)rows, sizeof *row);
    int32_t  *ids = xarray((size_t)rows, sizeof *ids);
    float    *hidden = xarray((size_t)(rows * b->model.config.hidden_size), sizeof *hidden);
    float    *logits = xarray((size_t)(rows * b->model.head_rows), sizeof *logits);
    double    t = seconds_now();

    for (int64_t i = 0; i < rows; i++)
        row[i] = i;
    for (int64_t p = 0; p < length; p++) {
        for (int64_t i = 0; i < rows; i++)
            ids[i] = b->ids[(i * length + p) % b->batch.tokens];
        cache_append(cache, rows, row, ids, hidden);
        cache_logits(cache, rows, hidden, logits);
    }
    printf("sample %.0f tokens/s (%lld rows)\n", (double)(rows * length) / (seconds_now() - t),
           (long long)rows);
    cache_free(cache);
    free(row);
    free(ids);
    free(hidden);
    free(logits);
}

static int64_t
number(int argc, char **argv, int index, int64_t otherwise)
{
    return argc > index ? atoll(argv[index]) : otherwise;
}

int
main(int argc, char **argv)
{
    struct model_config config = model_config_default();
    double rounds[ROUNDS], total = 0;
    int64_t length = number(argc, argv, 4, 96), tokens = number(argc, argv, 5, 8192);
    struct bench b = {0};
    struct error e;

    config.hidden_size = number(argc, argv, 1, 64);
    config.num_hidden_layers = number(argc, argv, 2, 3);
    config.vocab_size = number(argc, argv, 3, 40);
    config.intermediate_size = config.hidden_size * 3;
    config.num_attention_heads = config.num_key_value_heads = 4;
    if (model_init(&b.model, &config, &e) != 0 || length < 2 || tokens < length ||
        tokens > 1000000) {
        fprintf(stderr, "usage: bench_train [WIDTH [LAYERS [VOCAB [LENGTH [TOKENS]]]]]\n");
        return 2;
    }
    model_randomise(&b.model, 7);
    bench_begin(&b, tokens, length);
    bench_step(&b, 1);
    memset(b.seconds, 0, sizeof b.seconds);
    for (int i = 0; i < ROUNDS; i++) {
        double t = seconds_now();

        bench_step(&b, i + 2);
        rounds[i] = seconds_now() - t;
        total += rounds[i];
    }
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    printf("%lld weights, %lld tokens in sequences of %lld\n", (long long)b.model.count,
           (long long)b.batch.tokens, (long long)length);
    for (int i = 0; i < PART_count; i++)
        printf("  %-14s %4.1f %%\n", part_names[i], 100 * b.seconds[i] / total);
    bench_sample(&b, 64, length);
    printf("train %.0f tokens/s\n", (double)b.batch.tokens / rounds[ROUNDS / 2]);
    return 0;
}

/* bench_step: whole training steps (forward, statistics, backward, clipping, AdamW) of a Qwen2
 * model on packed sequences, one step for each line of its input: the child of bench_torch.py,
 * which gives PyTorch the same files.
 *
 *      bench_step make DIR WIDTH LAYERS VOCAB SEQUENCES SHORTEST LONGEST
 *          writes DIR/model, a random checkpoint (heads of 64, half as many of keys and values,
 *          four times the width inside, tied), and DIR/batch, random sequences of lengths spread
 *          evenly over SHORTEST..LONGEST, with a coefficient dL/dlog p for each token after the
 *          first fifth, as a policy gradient's, and none before.
 *      bench_step run DIR [THREADS]
 *          on one thread or so many computes batches of BATCH tokens, gradients accumulated; prints per line read "step SECONDS CPU_SECONDS LOSS NORM", and after the last "memory
 *          BYTES" at the peak and "sgemm RATE" in Gflop/s.
 *
 * DIR/batch: int64 tokens, int64 sequences, int64 starts (sequences + 1), int32 ids (tokens),
 * int32 targets (tokens; -1: none), float32 coefficients (tokens), in the machine's order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/matmul.h"
#include "kernels/model_file.h"
#include "kernels/random.h"
#include "kernels/threads.h"

#define SGEMM 1024          /* rows, columns and inner of the product whose rate is printed */
#define PATH  4096
#define TOKENS_MAX 10000000
#define HELD       (16 << 20)   /* logits that the head may hold: 64 MiB */
#define BATCH      4096         /* tokens that are computed together: the learner's batch_tokens */

struct data {
    struct batch batch;
    int32_t *ids, *targets;
    int64_t *starts;
    float   *c;
};

static double
seconds_of(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
data_new(struct data *d, int64_t tokens, int64_t sequences)
{
    size_t n = (size_t)tokens;

    d->ids = xarray(n, sizeof *d->ids);
    d->targets = xarray(n, sizeof *d->targets);
    d->c = xarray(n, sizeof *d->c);
    d->starts = xarray((size_t)sequences + 1, sizeof *d->starts);
    d->batch = (struct batch){tokens, d->ids, sequences, d->starts, NULL};
}

static void
data_free(struct data *d)
{
    free(d->ids);
    free(d->targets);
    free(d->c);
    free(d->starts);
}

/* Four rollouts of a group, right and wrong in turn: the coefficient is -(r - mean) / (groups 4
 * length). */
static void
fill_sequence(struct data *d, int64_t s, int64_t vocab)
{
    int64_t first = d->starts[s], last = d->starts[s + 1], prompt = (last - first) / 5;
    double groups = (double)d->batch.sequences / 4, count = (double)(last - first - prompt - 1);

    for (int64_t t = first; t < last; t++)
        d->ids[t] = (int32_t)(random_bits(1, RANDOM_test, (uint64_t)t) % (uint64_t)vocab);
    for (int64_t t = first; t < last; t++) {
        int learnt = t >= first + prompt && t < last - 1;

        d->targets[t] = learnt ? d->ids[t + 1] : -1;
        d->c[t] = learnt ? (float)((s % 2 == 0 ? -0.5 : 0.5) / (groups * 4 * count)) : 0.0f;
    }
}

static int
transfer(FILE *f, int write, void *at, size_t size, size_t count)
{
    return (write ? fwrite(at, size, count, f) : fread(at, size, count, f)) == count ? 0 : -1;
}

static int
data_transfer(struct data *d, FILE *f, int write)
{
    size_t n = (size_t)d->batch.tokens;

    if (transfer(f, write, d->starts, sizeof *d->starts, (size_t)d->batch.sequences + 1) < 0 ||
        transfer(f, write, d->ids, sizeof *d->ids, n) < 0 ||
        transfer(f, write, d->targets, sizeof *d->targets, n) < 0)
        return -1;
    return transfer(f, write, d->c, sizeof *d->c, n);
}

static int
make(const char *dir, const int64_t *sizes)
{
    int64_t width = sizes[0], sequences = sizes[3], tokens = 0, counts[2];
    struct model_config config = model_config_default();
    char path[PATH];
    struct model model;
    struct data d;
    struct error e;
    FILE *f;
    int rc;

    config.hidden_size = width;
    config.num_hidden_layers = sizes[1];
    config.vocab_size = sizes[2];
    config.intermediate_size = 4 * width;
    config.head_dim = 64;
    config.num_attention_heads = width / 64;
    config.num_key_value_heads = width / 128;
    config.max_position_embeddings = sizes[5];
    snprintf(path, sizeof path, "%s/model", dir);
    if (model_init(&model, &config, &e) < 0)
        goto failed;
    model_randomise(&model, 7);
    if (model_save(&model, path, NULL, &e) < 0)
        goto failed;
    model_free(&model);
    for (int64_t s = 0; s < sequences; s++)
        tokens += sizes[4] + (sizes[5] - sizes[4]) * s / (sequences - 1);
    data_new(&d, tokens, sequences);
    for (int64_t s = 0; s < sequences; s++) {       /* 7 s: short and long ones mixed */
        int64_t turn = 7 * s % sequences;

        d.starts[s + 1] =
            d.starts[s] + sizes[4] + (sizes[5] - sizes[4]) * turn / (sequences - 1);
        fill_sequence(&d, s, sizes[2]);
    }
    snprintf(path, sizeof path, "%s/batch", dir);
    counts[0] = tokens;
    counts[1] = sequences;
    f = fopen(path, "wb");
    rc = f == NULL || transfer(f, 1, counts, sizeof *counts, 2) < 0 || data_transfer(&d, f, 1) < 0;
    rc |= f == NULL || fclose(f) != 0;
    data_free(&d);
    return rc;
failed:
    fprintf(stderr, "bench_step: %s\n", e.text);
    return 1;
}

static int
data_read(struct data *d, const char *path)
{
    FILE *f = fopen(path, "rb");
    int64_t counts[2];
    int rc;

    if (f == NULL)
        return -1;
    rc = transfer(f, 0, counts, sizeof *counts, 2);
    if (rc < 0 || counts[0] < 1 || counts[0] > TOKENS_MAX || counts[1] < 1 ||
        counts[1] > counts[0]) {
        fclose(f);
        return -1;
    }
    data_new(d, counts[0], counts[1]);
    rc = data_transfer(d, f, 0);
    fclose(f);
    return rc;
}

struct bench {
    struct model      model;
    struct data       data;
    struct decoder   *decoder;
    struct head_work *work;
    struct threads   *threads;
    float   *logp, *lse, *dhidden, *grads, *m, *v;
    int64_t *starts, *from;     /* of the batch's sequences, from 0 */
    int64_t  step;
};

/* Forward and backward of the sequences [first, last); returns their part of the loss. */
static double
bench_batch(struct bench *b, int64_t first, int64_t last)
{
    const struct data *d = &b->data;
    int64_t at = d->starts[first], tokens = d->starts[last] - at;
    struct batch batch = {tokens, d->ids + at, last - first, b->starts, b->from};
    struct head head = head_of(&b->model);
    struct head_gradient g = {.c = d->c + at, .same = 1};
    const int32_t *targets = d->targets + at;
    const float *hidden;
    double loss = 0;

    for (int64_t s = first; s <= last; s++)
        b->starts[s - first] = d->starts[s] - at;
    for (int64_t s = first; s < last; s++) {
        int64_t i = d->starts[s];

        while (i < d->starts[s + 1] && d->targets[i] < 0)
            i++;
        b->from[s - first] = i - d->starts[s];
    }
    hidden = decoder_forward(b->decoder, &b->model, &batch);
    head_statistics(b->work, &head, tokens, hidden, targets, b->logp, b->lse, NULL);
    for (int64_t i = 0; i < tokens; i++)
        loss += (double)g.c[i] * (double)b->logp[i];
    head_backward(b->work, &head, tokens, hidden, targets, b->lse, NULL, &g, b->dhidden,
                  b->grads + b->model.head, NULL);
    decoder_backward(b->decoder, &b->model, b->dhidden, b->grads);
    return loss;
}

static int64_t
batch_end(const struct batch *all, int64_t first)
{
    int64_t last = first + 1;

    while (last < all->sequences && all->starts[last + 1] - all->starts[first] <= BATCH)
        last++;
    return last;
}

static void
bench_step(struct bench *b)
{
    double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    struct adamw a = adamw_default();
    double loss = 0, norm;

    memset(b->grads, 0, (size_t)b->model.count * sizeof *b->grads);
    for (int64_t first = 0, last; first < b->data.batch.sequences; first = last) {
        last = batch_end(&b->data.batch, first);
        loss += bench_batch(b, first, last);
    }
    a.lr = 1e-4;
    a.weight_decay = 0.01;
    a.threads = b->threads;
    norm = adamw_step(&a, &b->model, ++b->step, b->grads, b->m, b->v);
    printf("step %.6f %.6f %.9g %.9g\n", seconds_of(CLOCK_MONOTONIC) - wall,
           seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, loss, norm);
    fflush(stdout);
}

/* The best of some products of random numbers, by CPU time of one thread. */
static double
sgemm_rate(void)
{
    struct matmul s = {0};
    float *x = xarray(SGEMM * SGEMM, sizeof *x), *w = xarray(SGEMM * SGEMM, sizeof *w);
    float *y = xarray(SGEMM * SGEMM, sizeof *y);
    double best = 1e9;

    for (int64_t i = 0; i < SGEMM * SGEMM; i++) {
        x[i] = (float)random_unit(1, RANDOM_test, (uint64_t)i) - 0.5f;
        w[i] = (float)random_unit(2, RANDOM_test, (uint64_t)i) - 0.5f;
    }
    for (int round = 0; round < 9; round++) {
        double from = seconds_of(CLOCK_PROCESS_CPUTIME_ID), took;

        matmul_forward(&s, SGEMM, SGEMM, SGEMM, x, w, NULL, y);
        took = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - from;
        best = took < best ? took : best;
    }
    matmul_free(&s);
    free(x);
    free(w);
    free(y);
    return 2.0 * SGEMM * SGEMM * SGEMM / best * 1e-9;
}

static void
bench_begin(struct bench *b)
{
    const struct batch *all = &b->data.batch;
    size_t n = 0, count = (size_t)b->model.count;

    for (int64_t first = 0, last; first < all->sequences; first = last) {
        last = batch_end(all, first);
        if (all->starts[last] - all->starts[first] > (int64_t)n)
            n = (size_t)(all->starts[last] - all->starts[first]);
    }
    b->starts = xarray((size_t)all->sequences + 1, sizeof *b->starts);
    b->from = xarray((size_t)all->sequences, sizeof *b->from);
    b->decoder = decoder_new(&b->model, (int64_t)n, 1);
    b->work = head_work_new();
    head_keep(b->work, HELD);
    decoder_threads(b->decoder, b->threads);
    head_threads(b->work, b->threads);
    b->logp = xarray(n, sizeof(float));
    b->lse = xarray(n, sizeof(float));
    b->dhidden = xarray(n * (size_t)b->model.config.hidden_size, sizeof(float));
    b->grads = xarray(count, sizeof(float));
    b->m = xarray(count, sizeof(float));
    b->v = xarray(count, sizeof(float));
}

static int
run(const char *dir, int threads)
{
    struct bench b = {0};
    struct rusage usage;
    struct error e;
    char path[PATH], line[64];

    snprintf(path, sizeof path, "%s/model", dir);
    if (model_open(&b.model, path, &e) < 0) {
        fprintf(stderr, "bench_step: %s\n", e.text);
        return 1;
    }
    snprintf(path, sizeof path, "%s/batch", dir);
    if (data_read(&b.data, path) < 0 ||
        batch_check(&b.data.batch, &b.model, TOKENS_MAX, &e) < 0) {
        fprintf(stderr, "bench_step: %s is no batch of this model\n", path);
        return 1;
    }
    b.threads = threads_new(threads);
    bench_begin(&b);
    while (fgets(line, sizeof line, stdin) != NULL)
        bench_step(&b);
    getrusage(RUSAGE_SELF, &usage);
    printf("memory %lld\nsgemm %.1f\n", (long long)usage.ru_maxrss * 1024, sgemm_rate());
    threads_free(b.threads);
    return 0;
}

int
main(int argc, char **argv)
{
    int64_t sizes[6];

    if ((argc == 3 || argc == 4) && strcmp(argv[1], "run") == 0)
        return run(argv[2], argc == 4 ? atoi(argv[3]) : 1);
    for (int i = 0; i < 6; i++)
        sizes[i] = argc == 9 ? atoll(argv[i + 3]) : 0;
    if (argc != 9 || strcmp(argv[1], "make") != 0 || sizes[0] < 128 || sizes[0] % 128 != 0 ||
        sizes[3] < 2 || sizes[4] < 8 || sizes[5] < sizes[4] ||
        sizes[3] > TOKENS_MAX / sizes[5]) {
        fprintf(stderr, "usage: bench_step make DIR WIDTH LAYERS VOCAB SEQUENCES SHORTEST LONGEST\n"
                        "       bench_step run DIR [THREADS]\n");
        return 2;
    }
    return make(argv[2], sizes);
}

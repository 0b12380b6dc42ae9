/* The fused loss from C, by sluice_cuda.h and objective_kind.h alone: the head of a language model
 * of 61 classes learns by maximum likelihood which of them follows each of 40 hidden states. Prints
 * the loss of every fifth step.
 *
 *      make cuda && cc -I kernels examples/cuda/loss.c build/libsluice-cuda.so -o loss && ./loss
 *
 * (make simt and build/simt/libsluice-cuda.so: the same on a simulated device.) */
#include <stdio.h>
#include <stdlib.h>

#include "sluice_cuda.h"

enum { ROWS = 40, HIDDEN = 32, VOCAB = 61, COUNT = VOCAB * HIDDEN, STEPS = 20 };

static struct sluice_cuda *s;

static void
must(int status)
{
    if (status == SLUICE_ok)
        return;
    fprintf(stderr, "loss: %s\n", sluice_cuda_error());
    exit(1);
}

/* Memory of the device with the host's bytes in it; NULL: zeros. */
static void *
on_device(const void *from, int64_t bytes)
{
    void *at;

    must(sluice_cuda_alloc(s, bytes, &at));
    must(from == NULL ? sluice_cuda_zero(s, at, bytes) : sluice_cuda_upload(s, at, from, bytes));
    return at;
}

int
main(void)
{
    static float states[ROWS * HIDDEN];
    static int32_t next[ROWS];
    /* One response of all rows but the first, which belongs to its prompt. */
    struct objective_sample sample = {
        .first = 1, .count = ROWS - 1, .group_size = 1, .weight = 1, .correct = 1, .named_row = -1,
    };
    struct objective_batch batch = {.rows = ROWS, .samples = 1, .sample = &sample};
    struct objective_step normalisers = {.groups = 1, .tokens = ROWS - 1, .samples = 1};
    struct objective_settings settings = {.aggregation = OBJECTIVE_token_mean};
    struct sluice_objective sft = {"sft", &settings, &normalisers, &batch};
    struct sluice_adamw adamw = {.lr = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .scale = 1};
    struct objective_report report;
    struct sluice_outcome out = {.report = &report};

    for (int i = 0; i < ROWS * HIDDEN; i++)
        states[i] = (float)(i * 7919 % 201 - 100) / 100;
    for (int i = 0; i < ROWS; i++)
        next[i] = i == 0 ? -1 : i * 17 % VOCAB;         /* negative: no part */
    must(sluice_cuda_open(0, NULL, &s));

    /* Masters, moments and gradient in float32; what products read in bfloat16. */
    float *master = on_device(NULL, COUNT * 4), *gradient = on_device(NULL, COUNT * 4);
    float *m = on_device(NULL, COUNT * 4), *v = on_device(NULL, COUNT * 4);
    void *weight = on_device(NULL, COUNT * 2), *x = on_device(NULL, ROWS * HIDDEN * 2);
    struct sluice_head head = {HIDDEN, VOCAB, weight, HIDDEN, NULL};
    struct sluice_rows rows = {ROWS, x, HIDDEN, on_device(next, sizeof next)};
    struct sluice_slopes slopes = {.dweight = gradient, .dweight_stride = HIDDEN};

    must(sluice_cast(s, ROWS, HIDDEN, on_device(states, sizeof states), HIDDEN, x, SLUICE_nearest,
                     0, 0));
    for (adamw.step = 1; adamw.step <= STEPS; adamw.step++) {
        report = (struct objective_report){0};          /* it is added to, as is the gradient */
        must(sluice_cuda_zero(s, gradient, COUNT * 4));
        must(sluice_head_loss(s, &head, &rows, NULL, &sft, &out, &slopes));
        must(sluice_adamw_update(s, &adamw, COUNT, master, gradient, m, v));
        must(sluice_cast(s, VOCAB, HIDDEN, master, HIDDEN, weight, SLUICE_nearest, 0, 0));
        if (adamw.step % 5 == 0 || adamw.step == 1)
            printf("step %d: loss %.4f\n", (int)adamw.step, report.loss);
    }
    sluice_cuda_close(s);
    return 0;
}

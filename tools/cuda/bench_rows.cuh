/* The ceilings of the device (a copy, a large product) and the kernels that move bytes next to the
 * first: what is done to a chunk's logits, the optimiser. */
#ifndef TOOLS_CUDA_BENCH_ROWS_CUH
#define TOOLS_CUDA_BENCH_ROWS_CUH

#include "tools/cuda/bench.cuh"

/* ---- ceilings ---- */

static int
run_copy(struct bench *b, struct job *j)
{
    return fail_cuda(cudaMemcpyAsync(b->dx, b->x, (size_t)(j->bytes / 2), cudaMemcpyDeviceToDevice,
                                     b->s->stream), "copying");
}

static int
run_square(struct bench *b, struct job *j)
{
    int64_t n = j->chunk;
    struct product p = {.form = GEMM_nt, .rows = n, .columns = n, .inner = n, .left = b->x,
                        .right = b->w, .left_stride = n, .right_stride = n, .out = b->dx,
                        .out_stride = n, .out_type = SLUICE_bfloat16};

    return gemm_run(b->s, &p);
}

/* bytes: of the copy, read and written; n: the product's side. */
static void
measure_ceilings(struct bench *b, int64_t bytes, int64_t n, double until)
{
    struct job jobs[] = {
        {.name = "copy", .run = run_copy, .bytes = (double)bytes, .memory = -1},
        {.name = "bfloat16 product", .run = run_square, .flops = 2.0 * n * n * n, .chunk = n,
         .memory = -1},
    };
    int64_t most = bytes / 2 > 2 * n * n ? bytes / 2 : 2 * n * n;

    b->x = device_bytes(b, most);
    b->w = device_bytes(b, 2 * n * n);
    b->dx = device_bytes(b, most);
    must(fill(b, 1, 0, 1, most / 2, 1, b->x), "filling");
    must(fill(b, 2, 0, 1, n * n, 1, b->w), "filling");
    run_jobs(b, jobs, 2, until);
    b->copy = jobs[0].n > 0 ? 1e3 * jobs[0].bytes / median(&jobs[0]) : 0.0;
    b->product = jobs[1].n > 0 ? 1e3 * jobs[1].flops / median(&jobs[1]) : 0.0;
    b->label = "ceilings, on random data";
    tell_jobs(b, jobs, 2);
    printf("copy %.0f GB/s read and written (%.2f GB); product of %lld: %.0f TFLOP/s\n",
           1e-9 * b->copy, 1e-9 * (double)bytes, (long long)n, 1e-12 * b->product);
    sluice_cuda_free(b->s, b->x);
    sluice_cuda_free(b->s, b->w);
    sluice_cuda_free(b->s, b->dx);
}

/* ---- rows of logits ---- */

static struct row_logits
logits_of(const struct bench *b, const struct job *j)
{
    int64_t stride = (b->vocab + 7) / 8 * 8;

    return (struct row_logits){.at = b->logits, .rows = b->chunk, .vocab = b->vocab,
                               .stride = stride, .form = j->form, .chosen = b->old};
}

static struct row_arrays
arrays_of(const struct bench *b)
{
    return (struct row_arrays){.targets = b->targets, .logp = b->row[0], .lse = b->row[1],
                               .c = b->row[3]};
}

/* Logits again: the kernels write where they read. */
static int
refill(struct bench *b, struct job *j)
{
    struct row_logits z = logits_of(b, j);
    int rc = fill(b, 3, j->form == ROW_kept ? -13.0 : 0.0, 3.0, z.rows * z.stride,
                  j->form != ROW_float32, z.at);

    if (rc == 0)                    /* a sum of exp(z) of spread 3 */
        rc = fill(b, 4, log((double)b->vocab) + 4.5, 0.0, b->chunk, 0, b->row[1]);
    return rc == 0 ? fill(b, 5, 1e-4, 1e-5, b->chunk, 0, b->row[3]) : rc;
}

static int
run_statistics(struct bench *b, struct job *j)
{
    struct row_logits z = logits_of(b, j);
    struct row_arrays a = arrays_of(b);

    return rows_statistics(b->s, &z, b->place, &a);
}

static int
run_keep(struct bench *b, struct job *j)
{
    struct row_logits z = logits_of(b, j);
    struct row_arrays a = arrays_of(b);

    return rows_keep(b->s, &z, b->place, &a, z.at, 2 * z.stride);
}

static int
run_slopes(struct bench *b, struct job *j)
{
    struct row_logits z = logits_of(b, j);
    struct row_arrays a = arrays_of(b);

    return rows_slopes(b->s, &z, b->place, &a);
}

static int
run_loss(struct bench *b, struct job *j)
{
    struct row_logits z = logits_of(b, j);
    struct row_arrays a = arrays_of(b);

    return rows_loss(b->s, &z, b->place, &a, b->view);
}

static int
run_gather(struct bench *b, struct job *j)
{
    (void)j;
    return rows_gather(b->s, b->chunk, b->place, 4096, b->numbers[0], 4096, b->dx, 4096);
}

static int
run_scatter(struct bench *b, struct job *j)
{
    (void)j;
    return rows_scatter(b->s, b->chunk, b->place, 4096, b->numbers[0], 4096, b->chunk, b->dx, 4096,
                        SLUICE_bfloat16);
}

/* ---- the optimiser ---- */

static int
run_adamw(struct bench *b, struct job *j)
{
    struct sluice_adamw a = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
                             .weight_decay = 0.01, .step = 3, .scale = 0.5};

    return sluice_adamw_update(b->s, &a, (int64_t)j->chunk, b->numbers[0], b->numbers[1],
                               b->numbers[2], b->numbers[3]);
}

static int
run_norm(struct bench *b, struct job *j)
{
    double norm;

    return sluice_norm(b->s, j->chunk, b->numbers[0], &norm);
}

static int
run_cast(struct bench *b, struct job *j)
{
    return sluice_cast(b->s, j->chunk / 1024, 1024, b->numbers[0], 1024, b->dx,
                       j->half ? SLUICE_stochastic : SLUICE_nearest, 7, 0);
}

static int
run_add(struct bench *b, struct job *j)
{
    return sluice_add(b->s, j->chunk, b->numbers[1], b->numbers[0]);
}

/* A view of the likelihood: what rows_loss needs of an objective. */
static void
open_view(struct bench *b, struct objective_settings *settings, struct objective_step *step,
          struct objective_sample *sample, struct objective_batch *batch,
          struct sluice_objective *o)
{
    struct error e;
    uint8_t *wanted;

    *settings = objective_settings_none();
    must(objective_settings_fill(objective_find("sft"), settings, &e), "settings");
    *sample = (struct objective_sample){.count = b->chunk, .group_size = 1, .weight = 1.0,
                                        .named_row = -1};
    *step = (struct objective_step){1.0, (double)b->chunk, 1.0};
    *batch = (struct objective_batch){.rows = b->chunk, .samples = 1, .sample = sample};
    *o = (struct sluice_objective){"sft", settings, step, batch};
    must(objective_open(b->s, o, b->chunk, b->row[0], b->row[1], NULL, NULL, b->row[3], NULL, NULL,
                        &b->view, &wanted), "an objective");
}

/* n: numbers of each of the optimiser's arrays. */
static void
open_rows(struct bench *b, int64_t n)
{
    int64_t stride = (b->vocab + 7) / 8 * 8, rows = b->chunk;
    int64_t *order = (int64_t *)host_bytes(8 * rows);
    int32_t *targets = (int32_t *)host_bytes(4 * rows);

    b->logits = device_bytes(b, 4 * rows * stride);
    b->dx = device_bytes(b, 2 * (n > rows * 4096 ? n : rows * 4096));
    b->place = (int64_t *)device_bytes(b, 8 * rows);
    b->targets = (int32_t *)device_bytes(b, 4 * rows);
    b->old = (float *)device_bytes(b, 4 * rows);
    for (int i = 0; i < 6; i++)
        b->row[i] = (float *)device_bytes(b, 4 * rows);
    for (int i = 0; i < 4; i++) {               /* weights, gradients, two moments */
        b->numbers[i] = (float *)device_bytes(b, 4 * n);
        must(fill(b, 20 + (uint64_t)i, i == 3 ? 1e-4 : 0, i == 3 ? 1e-5 : 0.02, n, 0,
                  b->numbers[i]), "filling");
    }
    for (int64_t i = 0; i < rows; i++) {
        order[i] = i;
        targets[i] = (int32_t)(host_mixed((uint64_t)i) % (uint64_t)b->vocab);
    }
    must(sluice_cuda_upload(b->s, b->place, order, 8 * rows), "copying");
    must(sluice_cuda_upload(b->s, b->targets, targets, 4 * rows), "copying");
    must(fill(b, 6, 0, 3, rows, 0, b->old), "filling");
    must(sluice_cuda_wait(b->s), "filling");
    free(order);
    free(targets);
}

static void
close_rows(struct bench *b)
{
    void *all[] = {b->logits, b->dx, b->place, b->targets, b->old};

    objective_view_free(b->view);
    for (int i = 0; i < 4; i++)
        sluice_cuda_free(b->s, b->numbers[i]);
    for (int i = 0; i < 6; i++)
        sluice_cuda_free(b->s, b->row[i]);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sluice_cuda_free(b->s, all[i]);
}

/* n: a multiple of 1024, at least twice the chunk times 2048. */
static void
measure_rows(struct bench *b, int64_t n, double until)
{
    double z = (double)b->chunk * (double)b->vocab, x = (double)b->chunk * 4096.0, d = (double)n;
#define ROWS(name_, run_, form_, bytes_) \
    {.name = name_, .prepare = refill, .run = run_, .bytes = (bytes_) * z, .form = form_, \
     .memory = -1}
#define PLAIN(name_, run_, bytes_, half_) \
    {.name = name_, .run = run_, .bytes = bytes_, .half = half_, .chunk = n, .memory = -1}
    struct job jobs[] = {
        ROWS("statistics, float32", run_statistics, ROW_float32, 4),
        ROWS("statistics, bfloat16", run_statistics, ROW_bfloat16, 2),
        ROWS("loss, float32", run_loss, ROW_float32, 6),
        ROWS("loss, bfloat16", run_loss, ROW_bfloat16, 4),
        ROWS("slopes, float32", run_slopes, ROW_float32, 6),
        ROWS("slopes, bfloat16", run_slopes, ROW_bfloat16, 4),
        ROWS("slopes, kept log p", run_slopes, ROW_kept, 4),
        ROWS("statistics and kept log p", run_keep, ROW_float32, 6),
        PLAIN("gather of rows of 4096", run_gather, 4 * x, 0),
        PLAIN("scatter of rows of 4096", run_scatter, 6 * x, 0),
        PLAIN("AdamW", run_adamw, 28 * d, 0),
        PLAIN("norm", run_norm, 4 * d, 0),
        PLAIN("sum of two arrays", run_add, 12 * d, 0),
        PLAIN("cast, nearest", run_cast, 6 * d, 0),
        PLAIN("cast, stochastic", run_cast, 6 * d, 1),
    };
    struct objective_settings settings;
    struct objective_step step;
    struct objective_sample sample;
    struct objective_batch batch;
    struct sluice_objective objective;
    int count = (int)(sizeof jobs / sizeof *jobs);

    open_rows(b, n);
    open_view(b, &settings, &step, &sample, &batch, &objective);
    run_jobs(b, jobs, count, until);
    b->label = "kernels, bytes at the copy's speed";
    tell_jobs(b, jobs, count);
    close_rows(b);
}

#endif

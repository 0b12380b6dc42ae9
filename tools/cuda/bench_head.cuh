/* The head and the loss at one width: every job once in a context of its own, for the memory it
 * takes and for its results against float64 (bench_check.cuh), then all in turns next to the three
 * products alone, made by the library's own gemm.cuh. */
#ifndef TOOLS_CUDA_BENCH_HEAD_CUH
#define TOOLS_CUDA_BENCH_HEAD_CUH

#include "tools/cuda/bench.cuh"

#define UNITS_MAX 1024

/* ---- the products alone ---- */

/* z = X W^T, dX = Z W, dW += Z^T X, over chunks of rows. */
static int
run_products(struct bench *b, struct job *j)
{
    int64_t stride = (b->vocab + 7) / 8 * 8;
    int rc = 0;

    for (int64_t first = 0; first < b->rows && rc == 0; first += j->chunk) {
        int64_t n = b->rows - first < j->chunk ? b->rows - first : j->chunk, d = b->hidden;
        const uint16_t *x = (const uint16_t *)b->x + first * d;
        struct product nt = {.form = GEMM_nt, .rows = n, .columns = b->vocab, .inner = d, .left = x,
                             .right = b->w, .left_stride = d, .right_stride = d, .out = b->logits,
                             .out_stride = stride, .out_type = SLUICE_bfloat16};
        struct product nn = {.form = GEMM_nn, .rows = n, .columns = d, .inner = b->vocab,
                             .left = b->logits, .right = b->w, .left_stride = stride,
                             .right_stride = d, .out = (uint16_t *)b->dx + first * d,
                             .out_stride = d, .out_type = SLUICE_bfloat16, .chunk = j->chunk};
        struct product tn = {.form = GEMM_tn, .rows = b->vocab, .columns = d, .inner = n,
                             .left = b->logits, .right = x, .left_stride = stride,
                             .right_stride = d, .out = b->dw, .out_stride = d,
                             .out_type = SLUICE_float32, .add = 1, .chunk = j->chunk};

        rc = gemm_run(b->s, &nt);
        if (rc == 0 && j->product != GEMM_nt)
            rc = gemm_run(b->s, &nn);
        if (rc == 0 && j->product != GEMM_nt)
            rc = gemm_run(b->s, &tn);
    }
    return rc;
}

/* ---- the library's calls ---- */

/* What a job's objective is made of; lives as long as the call. */
struct problem {
    struct objective_settings settings;
    struct objective_step     step;
    struct objective_sample   sample[UNITS_MAX];
    struct objective_batch    batch;
    struct sluice_objective   objective;
    struct sluice_options     options;
    struct sluice_head        head;
    struct sluice_rows        rows;
    struct sluice_slopes      slopes;
    struct sluice_outcome     outcome;
    struct objective_report   report;
};

static void
make_objective(const struct bench *b, const struct job *j, struct problem *p)
{
    const int32_t *targets = j->half ? b->host_half : b->host_targets;
    int64_t count = 0;
    struct error e;

    p->settings = objective_settings_none();
    must(objective_settings_fill(objective_find(j->objective), &p->settings, &e), "settings");
    p->step = (struct objective_step){0};
    for (int64_t first = 0; first < b->rows; first += j->unit, count++) {
        int64_t n = b->rows - first < j->unit ? b->rows - first : j->unit;

        p->sample[count] = (struct objective_sample){
            .first = first, .count = n, .group = count / 2, .group_size = j->unit < b->rows ? 2 : 1,
            .advantage = count % 2 == 0 ? 0.7 : -0.7, .weight = 1.0, .correct = count % 2 == 0,
            .named_row = -1,
        };
        p->step.groups += 1.0 / (double)p->sample[count].group_size;
    }
    for (int64_t t = 0; t < b->rows; t++)
        p->step.tokens += targets[t] >= 0;
    p->step.samples = (double)count;
    p->batch = (struct objective_batch){.rows = b->rows, .reference = b->old, .behaviour = b->old,
                                        .samples = count, .sample = p->sample};
    p->objective = (struct sluice_objective){j->objective, &p->settings, &p->step, &p->batch};
}

static struct problem *
make_problem(struct bench *b, const struct job *j)
{
    static struct problem p;

    p.options = (struct sluice_options){.logits = j->logits, .chunk_rows = b->chunk_rows,
                                        .keep = j->keep};
    p.head = (struct sluice_head){b->hidden, b->vocab, b->w, b->hidden, NULL};
    p.rows = (struct sluice_rows){b->rows, b->x, b->hidden, j->half ? b->half : b->targets};
    p.slopes = (struct sluice_slopes){b->dx, b->hidden, SLUICE_bfloat16, b->dw, b->hidden, NULL};
    p.report = (struct objective_report){0};
    p.outcome = (struct sluice_outcome){.logp = b->row[0], .lse = b->row[1], .c = b->row[3],
                                        .report = &p.report};
    if (j->objective != NULL)
        make_objective(b, j, &p);
    return &p;
}

static int
run_head(struct bench *b, struct job *j)
{
    struct problem *p = make_problem(b, j);

    if (j->objective == NULL)
        return sluice_head_statistics(b->s, &p->head, &p->rows, &p->options, b->row[0], b->row[1],
                                      NULL);
    return sluice_head_loss(b->s, &p->head, &p->rows, &p->options, &p->objective, &p->outcome,
                            &p->slopes);
}

/* ---- the problem ---- */

static void
make_targets(struct bench *b)
{
    for (int64_t t = 0; t < b->rows; t++) {
        uint64_t bits = host_mixed((uint64_t)t + 77);

        b->host_targets[t] = (int32_t)((bits >> 16) % (uint64_t)b->vocab);
        b->host_half[t] = bits & 1 ? b->host_targets[t] : -1;
    }
}

/* log p under the policy that sampled: this one's, a little off. */
static void
make_old(struct bench *b)
{
    struct job statistics = {.name = "log p", .logits = SLUICE_logits_float32};

    must(run_head(b, &statistics), "log p");
    must(sluice_cuda_download(b->s, b->host_old, b->row[0], 4 * b->rows), "copying");
    for (int64_t t = 0; t < b->rows; t++)
        b->host_old[t] += 0.1f * ((float)(host_mixed((uint64_t)t) >> 40) / 16777216.0f - 0.5f);
    must(sluice_cuda_upload(b->s, b->old, b->host_old, 4 * b->rows), "copying");
    must(sluice_cuda_wait(b->s), "copying");
}

static void
open_problem(struct bench *b)
{
    int64_t n = b->rows, d = b->hidden, v = b->vocab;

    b->x = device_bytes(b, 2 * n * d);
    b->w = device_bytes(b, 2 * v * d);
    b->dx = device_bytes(b, 2 * n * d);
    b->dw = (float *)device_bytes(b, 4 * v * d);
    b->targets = (int32_t *)device_bytes(b, 4 * n);
    b->half = (int32_t *)device_bytes(b, 4 * n);
    b->old = (float *)device_bytes(b, 4 * n);
    for (int i = 0; i < 6; i++)
        b->row[i] = (float *)device_bytes(b, 4 * n);
    b->host_x = (uint16_t *)host_bytes(2 * n * d);
    b->host_w = (uint16_t *)host_bytes(2 * v * d);
    b->host_targets = (int32_t *)host_bytes(4 * n);
    b->host_half = (int32_t *)host_bytes(4 * n);
    b->host_old = (float *)host_bytes(4 * n);
    make_targets(b);
    must(fill(b, 11, 0, 1, n * d, 1, b->x), "filling");         /* logits of spread 3 */
    must(fill(b, 12, 0, 3 / sqrt((double)d), v * d, 1, b->w), "filling");
    must(sluice_cuda_zero(b->s, b->dw, 4 * v * d), "filling");
    must(sluice_cuda_upload(b->s, b->targets, b->host_targets, 4 * n), "copying");
    must(sluice_cuda_upload(b->s, b->half, b->host_half, 4 * n), "copying");
    must(sluice_cuda_download(b->s, b->host_x, b->x, 2 * n * d), "copying");
    must(sluice_cuda_download(b->s, b->host_w, b->w, 2 * v * d), "copying");
    make_old(b);
}

static void
close_problem(struct bench *b)
{
    void *device[] = {b->x, b->w, b->dx, b->dw, b->targets, b->half, b->old, b->logits};
    void *host[] = {b->host_x, b->host_w, b->host_targets, b->host_half, b->host_old};

    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        sluice_cuda_free(b->s, device[i]);
    for (int i = 0; i < 6; i++)
        sluice_cuda_free(b->s, b->row[i]);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        free(host[i]);
}

/* ---- memory ---- */

static void
run_alone(struct bench *b, struct job *j)
{
    size_t before = 0, after = 0, all = 0;

    cudaMemGetInfo(&before, &all);
    j->rc = sluice_head_plan(b->s, b->rows, b->hidden, b->vocab, j->objective, j->unit,
                             &make_problem(b, j)->options, &j->plan);
    if (j->rc == 0)
        j->rc = sluice_cuda_zero(b->s, b->dw, 4 * b->vocab * b->hidden);
    if (j->rc == 0)
        j->rc = run_head(b, j);
    if (j->rc != 0)
        snprintf(j->why, sizeof j->why, "%s", sluice_cuda_error());
    cudaMemGetInfo(&after, &all);
    j->memory = (int64_t)before - (int64_t)after;
}

/* The job once in a context of its own: what the device has less of afterwards is what the call
 * took, since work space stays until the context is closed. Before that once in another, since
 * kernels are loaded when they are first used. */
static void
look_at_memory(struct bench *b, struct job *j, void (*check)(struct bench *, struct job *))
{
    struct sluice_cuda *kept = b->s;

    for (int again = 0; again < 2; again++) {
        must(sluice_cuda_open(kept->device, NULL, &b->s), "a context");
        run_alone(b, j);
        if (again)
            check(b, j);
        sluice_cuda_close(b->s);
    }
    b->s = kept;
}

/* ---- the jobs ---- */

/* Rows of a chunk of the float32 path: its logits take twice the memory. */
static int64_t
wide_chunk(struct bench *b, int64_t unit)
{
    struct sluice_options o = {.logits = SLUICE_logits_float32, .chunk_rows = b->chunk_rows};
    struct sluice_plan p;

    must(sluice_head_plan(b->s, b->rows, b->hidden, b->vocab, "grpo", unit, &o, &p), "a plan");
    return p.chunk_rows;
}

static int
head_jobs(struct bench *b, int64_t unit, struct job *jobs)
{
    int64_t n = b->rows;
    double one = 2.0 * (double)n * (double)b->vocab * (double)b->hidden;
#define PRODUCT(name_, chunk_, over_, form_, flops_) \
    {.name = name_, .run = run_products, .flops = flops_, .over = over_, .product = form_, \
     .chunk = chunk_, .memory = -1}
#define LOSS(name_, objective_, logits_, unit_, keep_, half_, over_, limit_) \
    {.name = name_, .run = run_head, .flops = (half_) ? 1.5 * one : 3 * one, \
     .objective = objective_, .logits = SLUICE_logits_##logits_, .unit = unit_, .keep = keep_, \
     .half = half_, .over = over_, .limit = limit_, .memory = -1}
    double most = b->hidden < 2048 ? 1.14 : 1.11;
    const char *three = "products in chunks", *logits = "logits product alone";
    const struct job all[] = {
        PRODUCT(three, b->chunk, NULL, GEMM_tn, 3 * one),
        PRODUCT("products in the float32 path's", wide_chunk(b, unit), three, GEMM_tn, 3 * one),
        PRODUCT("products, whole", n, three, GEMM_tn, 3 * one),
        PRODUCT(logits, n, NULL, GEMM_nt, one),
        LOSS("sft", "sft", automatic, unit, 0, 0, three, most),
        LOSS("sft, float32 logits", "sft", float32, unit, 0, 0, three, most),
        LOSS("sft, fused logits", "sft", fused, unit, 0, 0, three, most),
        LOSS("grpo", "grpo", automatic, unit, 0, 0, three, most),
        LOSS("grpo, fused logits", "grpo", fused, unit, 0, 0, three, most),
        LOSS("bcpg_nsa, responses fit a chunk", "bcpg_nsa", automatic, unit, 0, 0, three, 1.16),
        LOSS("bcpg_nsa, the same, fused logits", "bcpg_nsa", fused, unit, 0, 0, three, 1.16),
        LOSS("bcpg_nsa, one response, two passes", "bcpg_nsa", automatic, n, 0, 0, three, 1.45),
        LOSS("bcpg_nsa, one response, kept", "bcpg_nsa", automatic, n, 1, 0, three, 1.16),
        LOSS("bcpg_nsa, one response, kept, fused", "bcpg_nsa", fused, n, 1, 0, three, 1.16),
        LOSS("sft, half the rows", "sft", automatic, unit, 0, 1, "sft", 0.6),
        LOSS("grpo, half the rows", "grpo", automatic, unit, 0, 1, "grpo", 0.6),
        {.name = "log p alone", .run = run_head, .flops = one, .over = logits, .limit = 1.3,
         .memory = -1},
        {.name = "log p alone, fused", .run = run_head, .flops = one,
         .logits = SLUICE_logits_fused, .over = logits, .limit = 1.3, .memory = -1},
    };

    memcpy(jobs, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

#endif

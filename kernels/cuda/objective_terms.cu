/* The terms of rows and of named logits, and the report: run_sample(), run_named() and
 * count_sample() of kernels/objective_run.c. */
#include "kernels/cuda/objective_kernels.cuh"

#define ROW_THREADS   256
#define NAMED_THREADS 32

/* ---- terms ---- */

/* A thread for each row. */
static __global__ void
terms_kernel(const struct objective_view_device *v, int64_t first, int64_t rows)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, row = first + t, i;
    const struct objective_sample *sample;
    struct objective_token x;
    struct objective_counted n;
    struct objective_solved r = {};

    if (t >= rows || !v->counts[row])
        return;
    i = v->row_sample[row];
    sample = &v->batch.sample[i];
    n = objective_count_row(&v->batch, row);
    if (v->known[i].shares.share != 0.0) {
        x = objective_token_at(&v->batch, sample, row);
        x.step = v->step_mean != NULL ? v->step_mean[row] : 0.0;
        r = objective_solve_row(v->index, OBJECTIVE_step, objective_injects(v->own, sample),
                                &v->settings, v->known[i].shares, &v->sums[i], &x);
        v->c[row] = r.c;
        if (v->settings.entropy_weight != 0.0)
            v->h[row] = r.h;
        if (row == v->known[i].first_row && r.e != 0.0f)
            v->e[row] = r.e;
    }
    if (!isfinite(n.logp) || !isfinite(n.entropy) || !isfinite(r.c) || !isfinite(r.e)
        || !isfinite(r.h))
        fault_tell(v->fault, FAULT_coefficient, row);
    v->terms.loss[row] = r.loss;
    v->terms.pull[row] = r.pull;
    v->terms.kl[row] = r.kl;
    v->terms.clipped[row] = (uint8_t)r.clipped;
    v->terms.k3[row] = n.kl;
    v->terms.importance[row] = n.importance;
}

/* A thread for each sample. After terms_kernel: e of its named row is written again. */
static __global__ void
named_kernel(const struct objective_view_device *v, int64_t first, int64_t samples)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i = first + t;
    const struct objective_sample *sample;
    double slope[OBJECTIVE_NAMED_MAX], lse, share;
    struct objective_names names;
    int bad = 0;

    if (t >= samples || v->known[i].entry < 0)
        return;
    sample = &v->batch.sample[i];
    share = objective_named_share(&v->settings, &v->step, sample);
    names.count = v->batch.named;
    names.logits = v->batch.named_logits + i * v->batch.named;
    names.values = v->batch.named_values;
    names.rank = sample->rank;
    names.lse = objective_value(v->batch.lse, sample->named_row);
    names.score = sample->score;
    v->losses[i].named = share * objective_named_of(v->index, &names, &v->settings, slope, &lse);
    for (int64_t k = 0; k < names.count; k++) {
        struct objective_entry entry = {sample->named_row, v->batch.named_columns[k],
                                        (float)(share * slope[k])};

        v->entries[v->known[i].entry + k] = entry;
        bad = bad || !isfinite(names.logits[k]) || !isfinite(entry.value);
    }
    if (lse != 0.0)
        v->e[sample->named_row] = (float)(share * lse);
    if (bad || !isfinite(share * lse)
        || ((v->needs & OBJECTIVE_needs_lse) && !isfinite(names.lse)))
        fault_tell(v->fault, FAULT_coefficient, sample->named_row);
}

int
objective_launch_terms(struct sluice_cuda *s, const struct objective_launch *l)
{
    struct launch rows = {.blocks = (l->rows + ROW_THREADS - 1) / ROW_THREADS,
                          .threads = ROW_THREADS};
    struct launch samples = {.blocks = (l->samples + NAMED_THREADS - 1) / NAMED_THREADS,
                             .threads = NAMED_THREADS};
    int rc = launch(s, "terms of rows", rows, terms_kernel, l->view, l->row, l->rows);

    if (rc == 0 && l->named)
        rc = launch(s, "terms of named logits", samples, named_kernel, l->view, l->first,
                    l->samples);
    return rc;
}

/* ---- the report ---- */

enum loss { LOSS_loss, LOSS_pull, LOSS_kl, LOSS_entropy, LOSS_ratio, LOSS_clipped, LOSSES };

static __device__ inline double
loss_row(const struct objective_view_device *v, int64_t i, int64_t at, double *to)
{
    const float *reference = v->batch.reference;
    int64_t row = v->batch.sample[i].first + at;

    for (int k = 0; k < LOSSES; k++)
        to[k] = -0.0;
    if (!v->counts[row])
        return -INFINITY;
    to[LOSS_loss] = v->terms.loss[row];
    to[LOSS_pull] = v->terms.pull[row];
    to[LOSS_kl] = v->terms.kl[row];
    if (v->settings.entropy_weight != 0.0)
        to[LOSS_entropy] = objective_value(v->batch.entropy, row);
    to[LOSS_clipped] = v->terms.clipped[row];
    if (reference != NULL)
        to[LOSS_ratio] = (double)v->batch.logp[row] - (double)reference[row];
    return -INFINITY;
}

/* The chains of a sample. A sample whose share is 0 has losses of 0, but is counted. */
static __device__ inline void
add_losses(const struct objective_view_device *v, int64_t i, double *tiles)
{
    struct objective_losses *to = &v->losses[i];
    int none = v->known[i].shares.share == 0.0;
    double largest = -INFINITY;
    double sum = chain_rows<loss_row>(v, i, v->batch.sample[i].count, LOSSES, tiles, 0.0, &largest);

    chain_share(sum, LOSSES, tiles);
    if (threadIdx.x != 0)
        return;
    to->loss = none ? 0.0 : tiles[LOSS_loss];
    to->pull = none ? 0.0 : tiles[LOSS_pull];
    to->kl = none ? 0.0 : tiles[LOSS_kl];
    to->entropy = none ? 0.0 : tiles[LOSS_entropy];
    to->clipped = none ? 0.0 : tiles[LOSS_clipped];
    to->ratio = tiles[LOSS_ratio];
}

enum row_sum { ROW_logp, ROW_entropy, ROW_kl, ROW_importance, ROW_SUMS };

static __device__ inline double
report_row(const struct objective_view_device *v, int64_t i, int64_t row, double *to)
{
    int here = v->counts[row];

    (void)i;
    to[ROW_logp] = here ? (double)v->batch.logp[row] : -0.0;
    to[ROW_entropy] = here ? objective_value(v->batch.entropy, row) : -0.0;
    to[ROW_kl] = here ? v->terms.k3[row] : -0.0;
    to[ROW_importance] = here ? v->terms.importance[row] : -0.0;
    return here ? v->terms.importance[row] : -INFINITY;
}

/* The chains over all rows. */
static __device__ inline void
add_rows(const struct objective_view_device *v, double *tiles)
{
    struct objective_report *report = v->report;
    double sum = threadIdx.x == ROW_logp         ? report->logp
                 : threadIdx.x == ROW_entropy    ? report->entropy
                 : threadIdx.x == ROW_kl         ? report->kl
                 : threadIdx.x == ROW_importance ? report->importance
                                                 : 0.0;
    double largest = report->importance_largest;

    sum = chain_rows<report_row>(v, 0, v->batch.rows, ROW_SUMS, tiles, sum, &largest);
    largest = block_largest(largest, tiles);
    switch (threadIdx.x) {
    case ROW_logp: report->logp = sum; break;
    case ROW_entropy: report->entropy = sum; break;
    case ROW_kl: report->kl = sum; break;
    case ROW_importance: report->importance = sum; break;
    case ROW_SUMS: report->importance_largest = largest; break;
    default: break;
    }
}

/* A block for all rows, which has the longest way, and then one for each sample. */
static __global__ void
count_kernel(const struct objective_view_device *v)
{
    double *tiles = (double *)shared_memory();

    if (blockIdx.x == 0)
        add_rows(v, tiles);
    else
        add_losses(v, (int64_t)blockIdx.x - 1, tiles);
}

enum step_sum {
    STEP_policy, STEP_pull, STEP_kl, STEP_entropy, STEP_clipped, STEP_samples, STEP_tokens,
    STEP_advantage, STEP_ratio, STEP_SUMS,
};
static_assert(STEP_SUMS <= TILE_WIDTH, "a tile holds them");

/* Two rows for each sample: what it adds, and what its named logits add to policy. */
static __device__ inline double
report_sample(const struct objective_view_device *v, int64_t unused, int64_t at, double *to)
{
    int64_t i = at / 2;
    const struct objective_known *known = &v->known[i];
    const struct objective_losses *from = &v->losses[i];

    (void)unused;
    for (int k = 0; k < STEP_SUMS; k++)
        to[k] = -0.0;
    if (at % 2 == 1) {
        if (known->entry >= 0)
            to[STEP_policy] = from->named;
        return -INFINITY;
    }
    if (!known->runs)
        return -INFINITY;
    to[STEP_policy] = known->shares.share * from->loss;
    to[STEP_pull] = known->shares.share * from->pull;
    to[STEP_kl] = known->shares.extra * v->settings.kl_weight * from->kl;
    to[STEP_entropy] = -(known->shares.extra * v->settings.entropy_weight * from->entropy);
    to[STEP_clipped] = from->clipped;
    if (known->length == 0.0)
        return -INFINITY;
    to[STEP_samples] = 1.0;
    to[STEP_tokens] = known->length;
    to[STEP_advantage] = fabs(v->batch.sample[i].advantage);
    to[STEP_ratio] = from->ratio;
    return fabs(from->ratio);
}

static __device__ inline double *
report_field(struct objective_report *report, unsigned which)
{
    switch (which) {
    case STEP_policy: return &report->policy;
    case STEP_pull: return &report->pull;
    case STEP_kl: return &report->kl_loss;
    case STEP_entropy: return &report->entropy_loss;
    case STEP_clipped: return &report->clipped;
    case STEP_samples: return &report->samples;
    case STEP_tokens: return &report->tokens;
    case STEP_advantage: return &report->advantage;
    default: return &report->ratio;
    }
}

/* One block: the chains over samples. */
static __global__ void
report_kernel(const struct objective_view_device *v)
{
    double *tiles = (double *)shared_memory(), *field = report_field(v->report, threadIdx.x);
    double sum = *field, largest = v->report->ratio_largest;

    sum = chain_rows<report_sample>(v, 0, 2 * v->batch.samples, STEP_SUMS, tiles, sum, &largest);
    largest = block_largest(largest, tiles);
    if (threadIdx.x < STEP_SUMS)
        *field = sum;
    if (threadIdx.x == 0)
        v->report->ratio_largest = largest;
}

int
objective_launch_report(struct sluice_cuda *s, const struct objective_launch *l)
{
    struct launch all = {.blocks = l->samples + 1, .threads = tile_threads(l->longest),
                         .shared = TILE_BYTES};
    struct launch one = {.blocks = 1, .threads = tile_threads(2 * l->samples),
                         .shared = TILE_BYTES};
    int rc = launch(s, "sums of losses", all, count_kernel, l->view);

    return rc == 0 ? launch(s, "the report", one, report_kernel, l->view) : rc;
}

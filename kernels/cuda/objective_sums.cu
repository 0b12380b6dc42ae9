/* What is known of samples and rows before any statistic, and the sums that an objective's terms
 * need: of samples, steps of reasoning, groups and the step, as sum_sample() ... sum_step() of
 * kernels/objective_run.c have them. */
#include "kernels/cuda/objective_kernels.cuh"

#define ROW_THREADS 256             /* of kernels with a thread for each row */
#define NO_ROW      (~0ull)

/* ---- before any statistic ---- */

/* A block for each sample. */
static __global__ void
known_kernel(const struct objective_view_device *v)
{
    int64_t i = blockIdx.x;
    const struct objective_sample *sample = &v->batch.sample[i];
    struct objective_known *known = &v->known[i];
    unsigned long long *shared = (unsigned long long *)shared_memory();     /* length, first row */
    unsigned long long length = 0, first = NO_ROW;
    int counts = known->runs || v->scope >= OBJECTIVE_group;
    int64_t named = known->entry >= 0 ? sample->named_row : -1;

    if (threadIdx.x == 0) {
        shared[0] = 0;
        shared[1] = NO_ROW;
    }
    __syncthreads();
    for (int64_t t = threadIdx.x; t < sample->count; t += blockDim.x) {
        int64_t row = sample->first + t;
        int part = objective_has_part(v->own, &v->batch, sample, row);

        if (part && first == NO_ROW)
            first = (unsigned long long)row;
        length += (unsigned)part;
        v->row_sample[row] = i;
        v->counts[row] = part && known->runs;
        v->wanted[row] = (part && counts) || row == named;
    }
    atomicAdd(&shared[0], length);
    atomicMin(&shared[1], first);
    __syncthreads();
    if (threadIdx.x == 0) {
        known->length = (double)shared[0];
        known->first_row = shared[1] == NO_ROW ? -1 : (int64_t)shared[1];
        known->shares = objective_shares_of(v->index, &v->settings, &v->step, sample,
                                            known->length);
    }
}

static __device__ inline int
bad_at(const float *values, int64_t row)
{
    return values != NULL && !isfinite(values[row]);
}

/* Is one of the row's numbers that come with the batch not finite? As objective_check(). */
static __device__ inline int
bad_given(const struct objective_view_device *v, int64_t row)
{
    return bad_at(v->batch.weight, row) || bad_at(v->batch.advantage, row)
           || ((v->needs & OBJECTIVE_needs_reference) && bad_at(v->batch.reference, row))
           || ((v->needs & OBJECTIVE_needs_behaviour) && bad_at(v->batch.behaviour, row));
}

/* Is one of its statistics? */
static __device__ inline int
bad_statistics(const struct objective_view_device *v, int64_t row)
{
    return bad_at(v->batch.logp, row)
           || ((v->needs & OBJECTIVE_needs_entropy) && bad_at(v->batch.entropy, row))
           || ((v->needs & OBJECTIVE_needs_lse) && bad_at(v->batch.lse, row));
}

/* A thread for each row. */
static __global__ void
ready_kernel(const struct objective_view_device *v, struct objective_ready *ready)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i;
    struct objective_ready r = {};

    if (row >= v->batch.rows)
        return;
    i = v->row_sample[row];
    if (v->counts[row]) {
        r.share = v->known[i].shares.share;
        r.extra = v->known[i].shares.extra;
        r.advantage = objective_advantage(&v->batch, &v->batch.sample[i], row);
        r.weight = objective_weight(&v->batch, row);
        r.reference = v->batch.reference != NULL ? v->batch.reference[row] : 0.0f;
        r.behaviour = v->batch.behaviour != NULL ? v->batch.behaviour[row] : 0.0f;
        r.part = r.share != 0.0;
        r.injected = objective_injects(v->own, &v->batch.sample[i]);
        if (bad_given(v, row))
            fault_tell(v->fault, FAULT_coefficient, row);
    }
    ready[row] = r;
}

/* A thread for each row and one more: how many entries rows before it have. */
static __global__ void
entry_first_kernel(const struct objective_view_device *v)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t low = 0, high = v->named_samples;       /* of named rows: the first from `row` on */

    if (row > v->batch.rows)
        return;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;

        if (v->named_rows[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    v->entry_first[row] = low * v->batch.named;
}

int
objective_launch_known(struct sluice_cuda *s, const struct objective_launch *l)
{
    struct launch samples = {.blocks = l->samples, .threads = tile_threads(l->longest),
                             .shared = 16};
    struct launch rows = {.blocks = (l->rows + ROW_THREADS - 1) / ROW_THREADS,
                          .threads = ROW_THREADS};
    struct launch entries = {.blocks = l->rows / ROW_THREADS + 1, .threads = ROW_THREADS};
    int rc = launch(s, "looking at samples", samples, known_kernel, l->view);

    if (rc == 0 && l->ready != NULL)
        rc = launch(s, "looking at rows", rows, ready_kernel, l->view, l->ready);
    if (rc == 0 && l->named)
        rc = launch(s, "placing named logits", entries, entry_first_kernel, l->view);
    return rc;
}

/* ---- of samples ---- */

enum sum { SUM_advantage, SUM_reference, SUM_behaviour, SUM_own, SUMS };

static __device__ inline double
sum_row(const struct objective_view_device *v, int64_t i, int64_t at, double *to)
{
    const struct objective_sample *sample = &v->batch.sample[i];
    int64_t row = sample->first + at;
    struct objective_token x;
    struct objective_parts p;

    if (!objective_has_part(v->own, &v->batch, sample, row)) {
        to[SUM_advantage] = to[SUM_reference] = to[SUM_behaviour] = to[SUM_own] = -0.0;
        return -INFINITY;
    }
    if (bad_given(v, row) || bad_statistics(v, row))
        fault_tell(v->fault, FAULT_coefficient, row);
    x = objective_token_at(&v->batch, sample, row);
    p = objective_parts_of(v->index, &v->batch, &v->settings, &x);
    to[SUM_advantage] = p.advantage;
    to[SUM_reference] = p.reference;
    to[SUM_behaviour] = p.behaviour;
    to[SUM_own] = p.own;
    return -INFINITY;
}

/* A block for each sample. */
static __global__ void
sums_kernel(const struct objective_view_device *v, int64_t from)
{
    int64_t i = from + blockIdx.x;
    const struct objective_sample *sample = &v->batch.sample[i];
    const struct objective_known *known = &v->known[i];
    double *tiles = (double *)shared_memory(), largest = -INFINITY;
    double sum = chain_rows<sum_row>(v, i, sample->count, SUMS, tiles, 0.0, &largest);
    struct objective_sums *q = &v->sums[i];

    chain_share(sum, SUMS, tiles);
    if (threadIdx.x != 0)
        return;
    *q = {};
    q->length = known->length;
    q->advantage = tiles[SUM_advantage];
    q->reference = tiles[SUM_reference];
    q->behaviour = tiles[SUM_behaviour];
    q->own = tiles[SUM_own];
    q->lse = known->first_row >= 0 ? objective_value(v->batch.lse, known->first_row) : 0.0;
    q->reward = sample->reward;
    q->group_size = (double)sample->group_size;
    q->correct = sample->correct;
}

/* ---- the quantile of a sample's entropies ---- */

/* In the order of the numbers. */
static __device__ inline unsigned
ordered_bits(float value)
{
    unsigned bits;

    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static __device__ inline double
from_ordered(unsigned bits)
{
    float value;

    bits = bits >> 31 ? bits & 0x7fffffffu : ~bits;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

struct quantile {                   /* in shared memory */
    unsigned long long bins[256];
    unsigned long long place;       /* of what is looked for, among those that agree so far */
    unsigned prefix, next;
};

/* Bin by bin from the highest eight bits, as many as the sample's tokens: exact, and the same
 * whatever order threads count in. */
static __device__ inline void
choose_bin(struct quantile *found, int shift)
{
    int bin = 0;

    for (; bin < 255 && found->bins[bin] <= found->place; bin++)
        found->place -= found->bins[bin];
    found->prefix |= (unsigned)bin << shift;
    if (shift == 0 && found->place + 1 < found->bins[bin])
        found->next = found->prefix;            /* the next one is as large */
}

static __device__ inline void
select_pass(const struct objective_view_device *v, const struct objective_sample *sample,
            struct quantile *found, int shift)
{
    unsigned agreed = shift == 24 ? 0 : 0xffffffffu << (shift + 8);

    for (int bin = (int)threadIdx.x; bin < 256; bin += (int)blockDim.x)
        found->bins[bin] = 0;
    __syncthreads();
    for (int64_t t = threadIdx.x; t < sample->count; t += blockDim.x) {
        int64_t row = sample->first + t;
        unsigned bits = ordered_bits(v->batch.entropy[row]);

        if (objective_has_part(v->own, &v->batch, sample, row)
            && (bits & agreed) == found->prefix)
            atomicAdd(&found->bins[bits >> shift & 255], 1ull);
    }
    __syncthreads();
    if (threadIdx.x == 0)
        choose_bin(found, shift);
    __syncthreads();
}

/* A block for each sample. */
static __global__ void
surprise_kernel(const struct objective_view_device *v, int64_t from)
{
    int64_t i = from + blockIdx.x, count = (int64_t)v->known[i].length;
    const struct objective_sample *sample = &v->batch.sample[i];
    struct quantile *found = (struct quantile *)shared_memory();
    unsigned next = 0xffffffffu;

    if (count == 0)
        return;
    if (threadIdx.x == 0) {
        found->place = (unsigned long long)objective_surprise_below(count);
        found->prefix = 0;
        found->next = 0xffffffffu;
    }
    __syncthreads();
    for (int shift = 24; shift >= 0; shift -= 8)
        select_pass(v, sample, found, shift);
    for (int64_t t = threadIdx.x; t < sample->count; t += blockDim.x) {
        int64_t row = sample->first + t;
        unsigned bits = ordered_bits(v->batch.entropy[row]);

        if (objective_has_part(v->own, &v->batch, sample, row) && bits > found->prefix)
            next = bits < next ? bits : next;
    }
    atomicMin(&found->next, next);
    __syncthreads();
    if (threadIdx.x == 0)
        v->sums[i].surprise = objective_surprise_of(count, from_ordered(found->prefix),
                                                    from_ordered(found->next));
}

/* ---- of steps of reasoning ---- */

#define STEP_TURNS 8                /* rows that a lane loads before they are added */

struct step_rows {                  /* of a lane */
    double   apart[STEP_TURNS];     /* lp - lo; -0.0 without a part */
    unsigned parts[STEP_TURNS];     /* lanes that have one */
    unsigned ends[STEP_TURNS];      /* lanes where another step, or nothing of the sample, begins */
};

static __device__ inline void
load_step(const struct objective_view_device *v, const struct objective_sample *sample,
          int64_t start, int64_t at, struct step_rows *r)
{
#pragma unroll
    for (int k = 0; k < STEP_TURNS; k++) {
        int64_t row = at + k * WARP + threadIdx.x % WARP;
        int inside = row < sample->first + sample->count;
        int part = inside && objective_has_part(v->own, &v->batch, sample, row);
        int begins = inside && row > start && v->batch.begins != NULL && v->batch.begins[row];

        r->apart[k] = part ? (double)v->batch.logp[row] - objective_value(v->batch.behaviour, row)
                           : -0.0;
        r->parts[k] = __ballot_sync(FULL, part);
        r->ends[k] = __ballot_sync(FULL, begins || !inside);
    }
}

/* The step that begins at row start: all lanes add the same numbers in row order. */
static __device__ inline void
mean_of_step(const struct objective_view_device *v, const struct objective_sample *sample,
             int64_t start)
{
    struct step_rows r;
    double sum = 0.0, mean;
    int64_t count = 0, end = start;
    int open = 1;

    for (int64_t at = start; open; at += STEP_TURNS * WARP) {
        load_step(v, sample, start, at, &r);
#pragma unroll
        for (int k = 0; k < STEP_TURNS; k++) {
            int most = !open ? 0 : r.ends[k] != 0 ? __ffs((int)r.ends[k]) - 1 : WARP;
            unsigned within = most == WARP ? FULL : (1u << most) - 1;

            for (int lane = 0; lane < most; lane++)
                sum += __shfl_sync(FULL, r.apart[k], lane);
            count += __popc(r.parts[k] & within);
            end += most;
            open = open && r.ends[k] == 0;
        }
    }
    mean = count > 0 ? sum / (double)count : 0.0;
    for (int64_t row = start + threadIdx.x % WARP; row < end; row += WARP)
        v->step_mean[row] = mean;
}

/* A warp for each WARP rows: the steps that begin there. */
static __global__ void
steps_kernel(const struct objective_view_device *v, int64_t first, int64_t rows)
{
    int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP * WARP;
    int64_t row = first + at + threadIdx.x % WARP;
    int64_t i = at + threadIdx.x % WARP < rows ? v->row_sample[row] : -1;
    int begins = i >= 0 && (row == v->batch.sample[i].first
                            || (v->batch.begins != NULL && v->batch.begins[row]));
    unsigned left = __ballot_sync(FULL, begins);

    while (left != 0) {
        int lane = __ffs((int)left) - 1;
        int64_t whose = __shfl_sync(FULL, i, lane);

        mean_of_step(v, &v->batch.sample[whose], first + at + lane);
        left &= left - 1;
    }
}

/* ---- of groups ---- */

enum group { GROUP_members, GROUP_weights, GROUP_reference, GROUP_behaviour, GROUP_reward, GROUPS };

/* i: the group's first sample. */
static __device__ inline double
member_row(const struct objective_view_device *v, int64_t i, int64_t at, double *to)
{
    const struct objective_sums *q = &v->sums[i + at];
    struct objective_group_sums g = objective_member_of(v->batch.sample[i + at].weight, q);
    int here = q->length != 0.0;

    to[GROUP_members] = here ? g.members : -0.0;
    to[GROUP_weights] = here ? g.weights : -0.0;
    to[GROUP_reference] = here ? g.reference : -0.0;
    to[GROUP_behaviour] = here ? g.behaviour : -0.0;
    to[GROUP_reward] = here ? g.reward : -0.0;
    return here ? q->reward : -INFINITY;
}

/* The members' sums; every thread has *g after. */
static __device__ inline void
add_members(const struct objective_view_device *v, int64_t from, int64_t to, double *tiles,
            struct objective_group_sums *g)
{
    double largest = -INFINITY;
    double sum = chain_rows<member_row>(v, from, to - from, GROUPS, tiles, 0.0, &largest);

    g->largest = block_largest(largest, tiles);
    chain_share(sum, GROUPS, tiles);
    g->members = tiles[GROUP_members];
    g->weights = tiles[GROUP_weights];
    g->reference = tiles[GROUP_reference];
    g->behaviour = tiles[GROUP_behaviour];
    g->reward = tiles[GROUP_reward];
    __syncthreads();
}

/* After member_row: the group's largest reward is its first sample's soft_reward. */
static __device__ inline double
soft_row(const struct objective_view_device *v, int64_t i, int64_t at, double *to)
{
    to[0] = objective_soft_of(&v->settings, v->sums[i].soft_reward, &v->sums[i + at]);
    return -INFINITY;
}

/* A block for each sample; those that are the first of a group work. */
static __global__ void
groups_kernel(const struct objective_view_device *v, int64_t first)
{
    int64_t from = v->known[first + blockIdx.x].from, to = v->known[first + blockIdx.x].to;
    double *tiles = (double *)shared_memory(), largest = -INFINITY, soft;
    struct objective_group_sums g = {};

    if (from != first + blockIdx.x)
        return;
    add_members(v, from, to, tiles, &g);
    if (threadIdx.x == 0)
        v->sums[from].soft_reward = g.largest;
    __syncthreads();
    if (v->settings.tau > 0) {
        soft = chain_rows<soft_row>(v, from, to - from, 1, tiles, 0.0, &largest);
        chain_share(soft, 1, tiles);
        g.soft = tiles[0];
    }
    if (threadIdx.x == 0)
        v->sums[from].soft_reward = 0.0;
    for (int64_t i = from + threadIdx.x; i < to && g.weights > 0; i += blockDim.x)
        objective_group_give(&v->settings, &g, &v->sums[i]);
}

/* What sample i has of its group's pairs, with each other one in order. */
static __device__ inline void
pairs_of(const struct objective_view_device *v, int64_t i, double correct, double wrong)
{
    const struct objective_known *known = &v->known[i];
    struct objective_sums *q = &v->sums[i];
    double loss = 0.0, slope = 0.0, one;

    for (int64_t j = known->from; j < known->to; j++) {
        const struct objective_sums *other = &v->sums[j];

        if (objective_is_pair(q, other)) {
            loss += objective_pair_parts(v->index, &v->settings, correct, wrong,
                                         v->batch.sample[i].weight, v->batch.sample[j].weight, q,
                                         other, &one);
            slope += one;
        } else if (objective_is_pair(other, q)) {
            objective_pair_parts(v->index, &v->settings, correct, wrong,
                                 v->batch.sample[j].weight, v->batch.sample[i].weight, other, q,
                                 &one);
            slope -= one;
        }
    }
    q->pair_loss = loss;
    q->pair_slope = slope;
}

/* A thread for each sample. */
static __global__ void
pairs_kernel(const struct objective_view_device *v, int64_t from, int64_t samples)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    double correct = 0.0, wrong = 0.0;

    if (t >= samples)
        return;
    for (int64_t j = v->known[from + t].from; j < v->known[from + t].to; j++) {
        correct += v->sums[j].length > 0 && v->sums[j].correct;
        wrong += v->sums[j].length > 0 && !v->sums[j].correct;
    }
    pairs_of(v, from + t, correct, wrong);
}

/* ---- of the step: one block ---- */

static __device__ inline double
anchor_row(const struct objective_view_device *v, int64_t i, int64_t at, double *to)
{
    const struct objective_sums *q = &v->sums[i + at];

    to[0] = q->length > 0 ? q->reference : 0.0;
    to[1] = q->length > 0;
    return -INFINITY;
}

static __global__ void
anchor_kernel(const struct objective_view_device *v)
{
    int64_t samples = v->batch.samples;
    double *tiles = (double *)shared_memory(), largest = -INFINITY;
    double sum = chain_rows<anchor_row>(v, 0, samples, 2, tiles, 0.0, &largest);

    chain_share(sum, 2, tiles);
    for (int64_t i = threadIdx.x; i < samples && tiles[1] > 0; i += blockDim.x)
        v->sums[i].anchor = objective_anchor_of(tiles[0], tiles[1]);
}

int
objective_launch_sums(struct sluice_cuda *s, const struct objective_launch *l)
{
    struct launch tiles = {.blocks = l->samples, .threads = tile_threads(l->longest),
                           .shared = TILE_BYTES};
    struct launch entropies = {.blocks = l->samples, .threads = tile_threads(l->longest),
                               .shared = sizeof(struct quantile)};
    struct launch rows = {.blocks = (l->rows + ROW_THREADS - 1) / ROW_THREADS,
                          .threads = ROW_THREADS};
    struct launch groups = {.blocks = l->samples, .threads = tile_threads(l->largest),
                            .shared = TILE_BYTES};
    struct launch samples = {.blocks = (l->samples + WARP - 1) / WARP, .threads = WARP};
    struct launch one = {.blocks = l->samples > 0, .threads = tile_threads(l->samples),
                         .shared = TILE_BYTES};
    int rc = launch(s, "sums of samples", tiles, sums_kernel, l->view, l->first);

    if (rc == 0 && l->surprise)
        rc = launch(s, "quantiles of entropies", entropies, surprise_kernel, l->view, l->first);
    if (rc == 0 && l->steps)
        rc = launch(s, "means of steps", rows, steps_kernel, l->view, l->row, l->rows);
    if (rc == 0 && l->scope >= OBJECTIVE_group)
        rc = launch(s, "sums of groups", groups, groups_kernel, l->view, l->first);
    if (rc == 0 && l->pairs)
        rc = launch(s, "sums of pairs", samples, pairs_kernel, l->view, l->first, l->samples);
    if (rc == 0 && l->scope == OBJECTIVE_step)
        rc = launch(s, "sums of the step", one, anchor_kernel, l->view);
    return rc;
}

/* Results of the head's jobs against float64 on the processor, at a few rows and classes: log p,
 * lse, c by the objective's formula, the rows' dX and the classes' dW. Without an entropy and named
 * logits dX of a row is c (W_y - sum_v p_v W_v), so the long sums are made once for all jobs. And
 * the same call again: the same bits. */
#ifndef TOOLS_CUDA_BENCH_CHECK_CUH
#define TOOLS_CUDA_BENCH_CHECK_CUH

#include "tools/cuda/bench_head.cuh"

#define CHECK_ROWS    3
#define CHECK_CLASSES 2

struct truth {
    int64_t row[CHECK_ROWS];
    double  logp[CHECK_ROWS], lse[CHECK_ROWS], largest[CHECK_ROWS], size[CHECK_ROWS];
    double *slope[CHECK_ROWS];          /* (hidden): W_y - sum_v p_v W_v */
    int64_t column[CHECK_CLASSES];
    double *z[CHECK_CLASSES];           /* (rows): x_t . W_v */
};

static struct truth truth;              /* of the width at hand */

static double
dot(const uint16_t *a, const uint16_t *b, int64_t n, double *size)
{
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double term = (double)of_bfloat16(a[i]) * (double)of_bfloat16(b[i]);

        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static void
true_row(const struct bench *b, int which)
{
    int64_t row = truth.row[which], d = b->hidden, y = b->host_targets[row];
    const uint16_t *x = b->host_x + row * d;
    double *z = (double *)host_bytes(8 * b->vocab), largest = -INFINITY, sum = 0.0, size = 0.0;

    truth.size[which] = 0.0;
    for (int64_t v = 0; v < b->vocab; v++) {
        size = 0.0;
        z[v] = dot(x, b->host_w + v * d, d, &size);
        largest = fmax(largest, fabs(z[v]));
        truth.size[which] = fmax(truth.size[which], size);
    }
    for (int64_t v = 0; v < b->vocab; v++)
        sum += exp(z[v] - largest);
    truth.largest[which] = largest;
    truth.lse[which] = largest + log(sum);
    truth.logp[which] = z[y] - truth.lse[which];
    truth.slope[which] = (double *)host_bytes(8 * d);
    for (int64_t k = 0; k < d; k++)
        truth.slope[which][k] = (double)of_bfloat16(b->host_w[y * d + k]);
    for (int64_t v = 0; v < b->vocab; v++) {
        double p = exp(z[v] - truth.lse[which]);

        for (int64_t k = 0; k < d; k++)
            truth.slope[which][k] -= p * (double)of_bfloat16(b->host_w[v * d + k]);
    }
    free(z);
}

static void
make_truth(const struct bench *b)
{
    double size = 0.0;
    int found = 0;

    for (int64_t t = b->rows / 7; t < b->rows && found < CHECK_ROWS; t++)
        if (b->host_half[t] >= 0) {             /* one that no job masks */
            truth.row[found] = t;
            true_row(b, found++);
            t += b->rows / 4;
        }
    truth.column[0] = b->host_targets[truth.row[0]];
    truth.column[1] = (truth.column[0] + b->vocab / 2) % b->vocab;
    for (int i = 0; i < CHECK_CLASSES; i++) {
        truth.z[i] = (double *)host_bytes(8 * b->rows);
        for (int64_t t = 0; t < b->rows; t++)
            truth.z[i][t] = dot(b->host_x + t * b->hidden, b->host_w + truth.column[i] * b->hidden,
                                b->hidden, &size);
    }
}

static void
drop_truth(void)
{
    for (int i = 0; i < CHECK_ROWS; i++)
        free(truth.slope[i]);
    for (int i = 0; i < CHECK_CLASSES; i++)
        free(truth.z[i]);
}

/* ---- the coefficient ---- */

/* c of row t by the formulas, from log p as the library has it. */
static double
true_c(const struct bench *b, const struct problem *p, const char *objective, int64_t t,
       const float *logp)
{
    const struct objective_sample *s = p->sample;
    double share, sum = 0.0, r;

    while (t >= s->first + s->count)
        s++;
    if (strcmp(objective, "sft") == 0)
        return -1.0 / p->step.tokens;
    share = 1.0 / (p->step.groups * (double)s->group_size * (double)s->count);
    if (strcmp(objective, "grpo") == 0) {
        r = exp((double)logp[t] - (double)b->host_old[t]);
        if (s->advantage > 0 ? r > 1.2 : r < 0.8)
            return 0.0;
        return -share * s->advantage * r;
    }
    for (int64_t i = s->first; i < s->first + s->count; i++)
        sum += (double)logp[i] - (double)b->host_old[i];
    return -share * (s->advantage - p->settings.tau * sum);
}

/* ---- comparing ---- */

/* The length of the difference over the length of the truth. */
static double
apart(int64_t n, const double *ours, const double *theirs)
{
    double off = 0.0, length = 0.0;

    for (int64_t k = 0; k < n; k++) {
        off += (ours[k] - theirs[k]) * (ours[k] - theirs[k]);
        length += theirs[k] * theirs[k];
    }
    return length > 0 ? sqrt(off / length) : sqrt(off);
}

static double
dx_apart(struct bench *b, int which, double c)
{
    int64_t d = b->hidden;
    uint16_t *raw = (uint16_t *)host_bytes(2 * d);
    double *ours = (double *)host_bytes(8 * d), *theirs = (double *)host_bytes(8 * d), off;

    must(sluice_cuda_download(b->s, raw, (uint16_t *)b->dx + truth.row[which] * d, 2 * d),
         "copying");
    for (int64_t k = 0; k < d; k++) {
        ours[k] = (double)of_bfloat16(raw[k]);
        theirs[k] = c * truth.slope[which][k];
    }
    off = apart(d, ours, theirs);
    free(raw);
    free(ours);
    free(theirs);
    return off;
}

static double
dw_apart(struct bench *b, const struct job *j, int which, const float *lse, const float *c)
{
    int64_t d = b->hidden, v = truth.column[which];
    const int32_t *targets = j->half ? b->host_half : b->host_targets;
    float *raw = (float *)host_bytes(4 * d);
    double *ours = (double *)host_bytes(8 * d), *theirs = (double *)host_bytes(8 * d), off;

    must(sluice_cuda_download(b->s, raw, b->dw + v * d, 4 * d), "copying");
    memset(theirs, 0, (size_t)d * 8);
    for (int64_t t = 0; t < b->rows; t++) {
        double dz;

        if (targets[t] < 0)
            continue;
        dz = (double)c[t] * ((targets[t] == v) - exp(truth.z[which][t] - (double)lse[t]));
        for (int64_t k = 0; k < d; k++)
            theirs[k] += dz * (double)of_bfloat16(b->host_x[t * d + k]);
    }
    for (int64_t k = 0; k < d; k++)
        ours[k] = (double)raw[k];
    off = apart(d, ours, theirs);
    free(raw);
    free(ours);
    free(theirs);
    return off;
}

/* ---- bits ---- */

/* A sum that knows places but no order. */
static __global__ void
sum_bits(int64_t n, const uint32_t *words, unsigned long long *sum)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    unsigned long long mine = 0;

    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        mine += mixed((uint64_t)words[i] << 32 ^ (uint64_t)i);
    atomicAdd(sum, mine);
}

static uint64_t
bits_of(struct bench *b, const void *at, int64_t bytes)
{
    unsigned long long *sum = (unsigned long long *)b->row[5];
    struct launch l = {.blocks = 1024, .threads = 256};
    uint64_t value = 0;

    must(sluice_cuda_zero(b->s, sum, 8), "bits");
    must(launch(b->s, "bits", l, sum_bits, bytes / 4, (const uint32_t *)at, sum), "bits");
    must(sluice_cuda_download(b->s, &value, sum, 8), "bits");
    return value;
}

static void
check_bits(struct bench *b, struct job *j)
{
    uint64_t bits[2][3];
    int64_t wide = 4 * b->vocab * b->hidden;

    for (int i = 0; i < 2; i++) {
        must(sluice_cuda_zero(b->s, b->dw, wide), "bits");
        if (run_head(b, j) != 0) {
            tell_result(b, 0, j->name, sluice_cuda_error());
            return;
        }
        bits[i][0] = bits_of(b, b->row[0], 4 * b->rows);
        bits[i][1] = bits_of(b, b->dx, 2 * b->rows * b->hidden);
        bits[i][2] = bits_of(b, b->dw, wide);
    }
    if (memcmp(bits[0], bits[1], sizeof bits[0]) != 0)
        tell_result(b, 0, j->name, "twice the same call, other bits");
}

/* ---- a job ---- */

/* Limits: a float32 sum of products is off by at most 2^-18 of their sizes here; a bfloat16 logit
 * by 2^-8 of it; slopes of logits and a dX are rounded to bfloat16, off by less than that in
 * length, and where they come from bfloat16 logits by what those are off. */
static int
compare_job(struct bench *b, struct job *j, const float *logp, const float *lse, const float *c,
            char detail[256])
{
    struct problem *p = make_problem(b, j);
    int rounded = j->logits == SLUICE_logits_bfloat16
                  || (j->logits == SLUICE_logits_automatic && j->objective != NULL
                      && strcmp(j->objective, "sft") == 0);
    int softer = rounded || j->logits == SLUICE_logits_fused;
    double worst[4] = {0}, limits[4] = {1.0, 1e-3, softer ? 0.03 : 0.01, softer ? 0.03 : 0.01};

    for (int i = 0; i < CHECK_ROWS; i++) {
        int64_t t = truth.row[i];
        double limit = ldexp(truth.size[i], -18) + ldexp(1 + fabs(truth.lse[i]), -20)
                       + (rounded ? ldexp(truth.largest[i], -8) : 0);

        worst[0] = fmax(worst[0], fabs((double)logp[t] - truth.logp[i]) / limit);
        worst[0] = fmax(worst[0], fabs((double)lse[t] - truth.lse[i]) / limit);
        if (!isfinite(logp[t]) || !isfinite(lse[t]))
            worst[0] = INFINITY;
        if (j->objective == NULL)
            continue;
        double expected = true_c(b, p, j->objective, t, logp);

        worst[1] = fmax(worst[1], fabs((double)c[t] - expected) / fmax(fabs(expected), 1e-12));
        worst[2] = fmax(worst[2], expected == 0 ? 0 : dx_apart(b, i, expected));
    }
    for (int i = 0; i < CHECK_CLASSES && j->objective != NULL; i++)
        worst[3] = fmax(worst[3], dw_apart(b, j, i, lse, c));
    snprintf(detail, 256, "log p %.2f of its bound, c %.1e, dX %.1e and dW %.1e of their lengths",
             worst[0], worst[1], worst[2], worst[3]);
    for (int i = 0; i < 4; i++)
        if (!(worst[i] <= limits[i]))
            return 0;
    return 1;
}

static void
check_job(struct bench *b, struct job *j)
{
    float *host[3];
    char detail[256];
    int good;

    if (j->rc != 0) {
        if (j->logits == SLUICE_logits_fused && b->s->major != 9)
            printf("ok - %s: %s # SKIP %s\n", b->label, j->name, j->why);
        else
            tell_result(b, 0, j->name, j->why);
        return;
    }
    for (int i = 0; i < 3; i++) {
        host[i] = (float *)host_bytes(4 * b->rows);
        must(sluice_cuda_download(b->s, host[i], b->row[i == 2 ? 3 : i], 4 * b->rows),
             "copying");
    }
    good = compare_job(b, j, host[0], host[1], host[2], detail);
    tell_result(b, good, j->name, detail);
    if (j->objective != NULL)
        check_bits(b, j);
    for (int i = 0; i < 3; i++)
        free(host[i]);
}

#endif

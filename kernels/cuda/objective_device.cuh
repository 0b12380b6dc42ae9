/* objective_device: the objective as kernels see it, and the coefficients of one row of an
 * objective of scope token, which the row kernels call between a row's statistics and its slopes.
 *
 * The view lies in device memory (objective_view_on_device() of objective.cuh) and is plain data: a
 * block may copy it to its shared memory and give that copy. */
#ifndef KERNELS_CUDA_OBJECTIVE_DEVICE_CUH
#define KERNELS_CUDA_OBJECTIVE_DEVICE_CUH

#include "kernels/cuda/context.cuh"

/* a / k, rounded as IEEE's, where the quotient is a normal number, for the constants that exp
 * divides by, in a third of the time (an exp has thirteen, one after the other). y = 1/k rounded,
 * q = a y, r = a - k q, q + r y.
 *      Whole numbers 2 to 16: q is within 2 ulp, so that r is exact, for k has 5 bits at most, and
 * q + r y is wrong by less than 2^-50 ulp before it is rounded, whereas a / k is at least 1/(2k)
 * ulp away from the middle of two numbers or is a number: k (2n + 1) / 2 ulp needs more bits than a
 * has.
 *      ln 2: y is within 0.86 2^-54 of 1/k, relatively, so q within 0.93 ulp: Markstein's theorem
 * (IBM J. Res. Dev. 34, 1990) says that the result is right.
 *      Where a quotient is smaller than normal numbers are, exp adds it to 1 or 1/2. */
static __host__ __device__ inline double
objective_divide(double a, double k)
{
    double y = 1.0 / k, q = a * y;

    return fma(fma(-k, q, a), y, q);
}

#define OBJECTIVE_DIVIDE(a, k) objective_divide(a, k)
#include "kernels/objective_body.h"

/* All that is known of a row before its statistics; made by objective_open() for objectives of
 * scope token. A row kernel may copy it to shared memory while the statistics are still summed. */
struct __align__(16) objective_ready {
    double  share, extra;           /* struct objective_shares */
    double  advantage, weight;      /* of the token */
    float   reference, behaviour;
    int32_t part;                   /* 0: no part: c = e = h = 0 */
    int32_t injected;
};

/* What of a sample is known before its statistics. */
struct objective_known {
    int64_t from, to;               /* its group */
    int64_t first_row;              /* its first row with a part; -1: none */
    int64_t entry;                  /* where its named logits' entries begin; -1: it has none */
    double  length;                 /* rows with a part */
    struct objective_shares shares;
    int     runs;                   /* has it a part at all? */
};

/* What a sample's rows add up to, for the report. */
struct objective_losses {
    double loss, pull, kl, entropy, ratio, clipped;
    double named;                   /* the named logits' share of policy; -0.0: none */
};

/* Of a row, for the report, arrays of (rows). */
struct objective_terms {
    double *loss, *pull, *kl, *k3, *importance;
    uint8_t *clipped;
};

struct objective_view_device {
    struct objective_settings settings;
    int             index;          /* enum objective_row_index */
    unsigned        own, needs;     /* of the table; under the settings */
    enum objective_scope scope;
    const struct objective_ready *ready;    /* (rows) or NULL: not of scope token */
    unsigned long long *fault;
    struct objective_batch batch;   /* every array the device's */
    struct objective_step step;
    float *c, *e, *h;               /* (rows); e, h may be NULL */
    int64_t                 *row_sample;    /* (rows): whose row; -1: nobody's */
    uint8_t                 *wanted;        /* (rows) */
    uint8_t                 *counts;        /* (rows): has it a part in the loss and the report? */
    double                  *step_mean;     /* (rows): mean of lp - lo of its step; or NULL */
    struct objective_known  *known;         /* (samples) */
    struct objective_sums   *sums;          /* (samples) */
    struct objective_losses *losses;        /* (samples) */
    struct objective_terms   terms;
    const int64_t           *named_rows;    /* (named_samples): those with named logits, in order */
    int64_t                  named_samples;
    struct objective_entry  *entries;       /* (named_samples, named) */
    int64_t                 *entry_first;   /* (rows + 1) */
    struct objective_report *report;
};

/* c, e and h of a row of an objective of scope token, from its statistics: bit for bit those of
 * objective_run(). Written where c, e, h point (shared or device memory; e and h may be NULL). A
 * number that is not finite is told (FAULT_coefficient). For one thread a row. ready: the row's, or
 * a copy. */
static __device__ __noinline__ void
objective_coefficients_of(const struct objective_view_device *v,
                          const struct objective_ready *ready, int64_t row, float logp,
                          float entropy, float *c, float *e, float *h)
{
    struct objective_sums none = {0};
    struct objective_token x = {0};
    struct objective_solved r = {0};
    struct objective_shares shares = {ready->share, ready->extra};

    x.logp = (double)logp;
    x.reference = (double)ready->reference;
    x.behaviour = (double)ready->behaviour;
    x.entropy = (double)entropy;
    x.weight = ready->weight;
    x.advantage = ready->advantage;
    if (ready->part) {
        r = objective_solve_row(v->index, OBJECTIVE_token, ready->injected, &v->settings, shares,
                                &none, &x);
        if (!isfinite(logp) || !isfinite(r.c) || !isfinite(r.h)
            || ((v->needs & OBJECTIVE_needs_entropy) && !isfinite(entropy)))
            fault_tell(v->fault, FAULT_coefficient, row);
    }
    *c = r.c;
    if (e != NULL)
        *e = r.e;
    if (h != NULL)
        *h = r.h;
}

/* entropy: 0 where the objective does not need it. */
static __device__ inline void
objective_coefficients(const struct objective_view_device *v, int64_t row, float logp, float lse,
                       float entropy, float *c, float *e, float *h)
{
    (void)lse;                      /* no objective of scope token without named logits has one */
    objective_coefficients_of(v, &v->ready[row], row, logp, entropy, c, e, h);
}

#endif

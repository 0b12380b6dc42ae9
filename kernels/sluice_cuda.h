/* sluice_cuda: what libsluice-cuda.so offers: the head and the loss of a language model on a CUDA
 * device, fused, deterministic, with a coefficient for every token. Sluice's learner calls it
 * through this header alone, and so may any other trainer: C, raw device pointers, a stream. With
 * objective_kind.h beside it, it includes nothing else of Sluice.
 *
 * The mathematics is that of kernels/head.h and kernels/objective_kind.h:
 *
 *      z = x W^T (+ bias), p = softmax(z);  log p(y), lse, H = -sum p log p
 *      dL/dz_v = c (1[v = y] - p_v)  +  e p_v  +  h (-p_v (log p_v + H))  +  g_v
 *
 * x and W are bfloat16, products are accumulated in float32, dW in float32 in place (beta = 1).
 * The logits of all rows are never held: rows go in chunks. No sum depends on timing: the same
 * call on the same device and library gives the same bits. A row's log p, lse and H are the same
 * bits at any chunk size and beside any other rows, so where policy and reference are the same
 * weights every importance ratio is exactly 1.
 *
 * Pointers are of the context's device unless a comment says host. Calls are queued on the
 * context's stream; those that give an answer to the host (marked: waits) wait for the stream.
 * A context belongs to one thread at a time, whose current device becomes its own; its work space
 * serves one call after the other. What is copied from the host stays as it is until a call that
 * waits has come back. */
#ifndef SLUICE_CUDA_H
#define SLUICE_CUDA_H

#include <stddef.h>
#include <stdint.h>

#include "objective_kind.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_CUDA_ABI 1           /* changes with every struct or function of this file */
#define SLUICE_TEXT_MAX 512

enum sluice_status {
    SLUICE_ok = 0,
    SLUICE_argument,                /* refused before anything was queued */
    SLUICE_no_device,               /* no driver, or no such device */
    SLUICE_old_driver,              /* older than this library's CUDA */
    SLUICE_old_device,              /* compute capability below 8.0 */
    SLUICE_no_library,              /* cuBLASLt is missing or too old; the environment's
                                     * SLUICE_CUBLASLT names its file */
    SLUICE_memory,                  /* the device has not enough free memory */
    SLUICE_nonfinite,               /* a logit, statistic or coefficient is NaN or infinite; dx and
                                     * dweight are not looked at: sluice_norm() shows them */
    SLUICE_lost,                    /* the device failed: nothing on it can be trusted any more */
    SLUICE_failed,                  /* cuBLASLt refused a product, and other failures */
};

enum sluice_type { SLUICE_float32, SLUICE_bfloat16 };

int         sluice_cuda_abi(void);          /* SLUICE_CUDA_ABI of the library */
/* Why this thread's last call failed, one line; "" where none has. Valid until its next call. */
const char *sluice_cuda_error(void);
/* The row that SLUICE_nonfinite is about, in rows of that call; -1: not a row's. */
int64_t     sluice_cuda_error_row(void);

/* ---- devices and memory ---- */

struct sluice_device {
    char    name[256];
    int     major, minor;           /* compute capability */
    int     multiprocessors;
    int     driver, runtime;        /* 13000 is 13.0 */
    int64_t cublaslt;               /* cublasLtGetVersion(); 0: not found */
    int64_t memory, memory_free;    /* bytes */
};

int sluice_cuda_count(int *count);          /* 0 devices is no error; SLUICE_old_driver may be */
/* Where cublaslt is 0, sluice_cuda_error() says why. */
int sluice_cuda_describe(int device, struct sluice_device *out);

struct sluice_cuda;                         /* a context: device, stream, products, work space */

/* stream: a cudaStream_t of that device that outlives the context, or NULL: one of its own. (The
 * default stream is cudaStreamLegacy, the handle 1.) */
int  sluice_cuda_open(int device, void *stream, struct sluice_cuda **out);
void sluice_cuda_close(struct sluice_cuda *s);      /* NULL: nothing */
int  sluice_cuda_wait(struct sluice_cuda *s);       /* waits; tells of what was queued and failed */

int  sluice_cuda_alloc(struct sluice_cuda *s, int64_t bytes, void **out);  /* 256-byte aligned */
void sluice_cuda_free(struct sluice_cuda *s, void *at);
int  sluice_cuda_zero(struct sluice_cuda *s, void *at, int64_t bytes);
int  sluice_cuda_upload(struct sluice_cuda *s, void *to, const void *from_host, int64_t bytes);
/* Waits. */
int  sluice_cuda_download(struct sluice_cuda *s, void *to_host, const void *from, int64_t bytes);

/* ---- the head ---- */

struct sluice_head {
    int64_t      hidden, vocab;     /* each 1 to 2^31 - 1; vocab: classes */
    const void  *weight;            /* bfloat16 (vocab, weight_stride) */
    int64_t      weight_stride;     /* >= hidden; fastest where a multiple of 8 */
    const float *bias;              /* (vocab) or NULL */
};

struct sluice_rows {
    int64_t        rows;            /* 0 to 2^28 */
    const void    *x;               /* bfloat16 (rows, x_stride) */
    int64_t        x_stride;        /* >= hidden; fastest where a multiple of 8 */
    const int32_t *targets;         /* (rows): the class y, in [0, vocab), or negative: no part */
};

/* How logits are made.
 * float32:  by cuBLASLt, stored in float32: statistics and gradients from float32 accumulators.
 * bfloat16: by cuBLASLt, stored in bfloat16; z_y again in float32 and put in the sum in place of
 *           the rounded one. |log p error| <= d (1 - p_y) to first order, d half a unit in the last
 *           place of max|z|, at most 2^-8 max|z|: not for importance ratios.
 * fused:    by a product of our own (compute capability 9.0 alone) that takes the statistics from
 *           its float32 accumulators and stores bfloat16(z - largest of the tile).
 * automatic: float32 for objectives with ratios (to a reference or a behaviour) and for statistics
 *           and backward alone, else bfloat16.
 * A head with a bias has float32 where bfloat16 is asked for, and so have rows that are kept. */
enum sluice_logits {
    SLUICE_logits_automatic, SLUICE_logits_float32, SLUICE_logits_bfloat16, SLUICE_logits_fused,
};

struct sluice_options {             /* zero: as said */
    enum sluice_logits logits;
    int64_t chunk_rows;             /* rows of a chunk; 0: as many as memory holds, at most 4096 */
    int64_t memory;                 /* bytes for logits (fused: and their tiles'); 0: 1.28e9 */
    int     keep;                   /* where a unit of the objective is longer than a chunk: keep
                                     * every row's bfloat16(log p_v), rows x vocab x 2 bytes beside
                                     * `memory`, in place of computing the logits twice */
};

/* What a call of that size takes beside its arguments. */
struct sluice_plan {
    int64_t chunk_rows, chunks;
    int64_t logits_bytes, kept_bytes, other_bytes, total_bytes;
    enum sluice_logits logits;
    int     passes;                 /* times the logits are computed: 1 or 2 */
};

/* objective: a name of objective.def, or NULL: statistics alone. unit_rows: the most rows of one
 * unit of the objective's scope (a sample, a group, the step); 0: rows. The head is planned without
 * a bias, the objective without a KL term: with either, automatic logits are float32, and o->logits
 * has to say so here. */
int sluice_head_plan(struct sluice_cuda *s, int64_t rows, int64_t hidden, int64_t vocab,
                     const char *objective, int64_t unit_rows, const struct sluice_options *o,
                     struct sluice_plan *out);
/* Takes the plan's memory now: SLUICE_memory says what was planned, what is free and what to
 * change. Calls that need no more than was reserved allocate nothing for the head; an objective
 * takes some 130 bytes for each row and 500 for each sample of its own. */
int sluice_head_reserve(struct sluice_cuda *s, const struct sluice_plan *p);

/* logp, lse (rows) and, unless NULL, entropy (rows) are written: zeros where the target is
 * negative. Waits. SLUICE_argument where a target is not below vocab; SLUICE_nonfinite. */
int sluice_head_statistics(struct sluice_cuda *s, const struct sluice_head *head,
                           const struct sluice_rows *rows, const struct sluice_options *o,
                           float *logp, float *lse, float *entropy);

/* Raw logits z of `named` columns at `count` rows: out (count, named), zeros where row[i] < 0.
 * row (count), column (named): host. Waits. */
int sluice_head_named(struct sluice_cuda *s, const struct sluice_head *head,
                      const struct sluice_rows *rows, int64_t count, const int64_t *row,
                      int64_t named, const int32_t *column, float *out);

struct sluice_gradient {            /* as struct head_gradient */
    const float *c;                 /* (rows) */
    const float *e, *h;             /* (rows) or NULL: all zero */
    const struct objective_entry *entries;  /* host; sorted by row; NULL where there are none */
    int64_t      entry_count;
};

struct sluice_slopes {              /* where gradients go; NULL: not wanted */
    void            *dx;            /* (rows, dx_stride), written; zeros where a row had no part */
    int64_t          dx_stride;     /* >= hidden */
    enum sluice_type dx_type;
    float           *dweight;       /* (vocab, dweight_stride), added to */
    int64_t          dweight_stride;
    float           *dbias;         /* (vocab), added to */
};

/* From coefficients that are known: computes the logits again. Rows whose c, e, h are all zero and
 * that have no entry are left out. lse, and entropy where g->h is given, from head_statistics with
 * the same form of logits. After SLUICE_nonfinite the slopes are no gradient. Waits. */
int sluice_head_backward(struct sluice_cuda *s, const struct sluice_head *head,
                         const struct sluice_rows *rows, const struct sluice_options *o,
                         const float *lse, const float *entropy, const struct sluice_gradient *g,
                         const struct sluice_slopes *slopes);

/* ---- the loss: statistics, objective and gradients in one call ---- */

struct sluice_objective {
    const char                      *name;      /* a row of objective.def */
    /* host; filled: nothing "not given". objective.def has every objective's own numbers. A zero is
     * a number: clip_low = clip_high = 0 leaves a ratio no room. */
    const struct objective_settings *settings;
    const struct objective_step     *step;      /* host; the step's normalisers */
    /* host struct. Its arrays of rows (reference, behaviour, weight, advantage, mask, begins) are
     * the device's; sample, named_columns and named_values the host's; logp, lse, entropy and
     * named_logits are not read. rows is that of sluice_rows. sample[i].advantage is there, where
     * the rows have none of their own. */
    const struct objective_batch    *batch;
};

struct sluice_outcome {             /* arrays (rows) or NULL: not wanted */
    float *logp, *lse, *entropy;    /* statistics; entropy where the objective needs it */
    float *c, *e, *h;               /* coefficients, before gradients */
    struct objective_report *report;    /* host; added to */
};

/* Fused loss and gradients of a batch that holds whole units of the objective's scope. Waits. */
int sluice_head_loss(struct sluice_cuda *s, const struct sluice_head *head,
                     const struct sluice_rows *rows, const struct sluice_options *o,
                     const struct sluice_objective *objective, const struct sluice_outcome *out,
                     const struct sluice_slopes *slopes);

/* The objective alone, from statistics that are on the device (statistics of all of batch->rows):
 * writes c, e, h (rows; e and h may be NULL where the objective has none) and entries (host, room
 * for samples x named), adds to the report. named_logits (samples, named): the device's. The bits
 * are those of objective_run() on the same statistics. Waits. */
int sluice_objective_run(struct sluice_cuda *s, const struct sluice_objective *objective,
                         const float *logp, const float *lse, const float *entropy,
                         const float *named_logits, float *c, float *e, float *h,
                         struct objective_entry *entries, int64_t *entry_count,
                         struct objective_report *report);

/* ---- pinned products ---- */

/* Which algorithm of cuBLASLt serves each shape is chosen once in a context. Text, one line for
 * each, that a later context may be given before its first product so that it computes the same
 * bits: SLUICE_argument where device or cuBLASLt are not those of the text. room: bytes at text;
 * *length: bytes it takes, without the 0 at the end (written where it is more than room, too). */
int sluice_cuda_algorithms(struct sluice_cuda *s, char *text, size_t room, size_t *length);
int sluice_cuda_algorithms_set(struct sluice_cuda *s, const char *text);

/* ---- the optimiser, kernels/adamw.h ---- */

enum sluice_rounding { SLUICE_nearest, SLUICE_stochastic };

/* sqrt of the sum of squares of n numbers, in double, in one order that n alone fixes. Infinite or
 * NaN where one of them is: no failure. Waits. */
int sluice_norm(struct sluice_cuda *s, int64_t n, const float *grads, double *norm);

struct sluice_adamw {
    double  lr, beta1, beta2, eps, weight_decay;    /* weight_decay 0: none */
    int64_t step;                   /* from 1 */
    double  scale;                  /* of the gradient: clipping */
};

/* params, m, v (n) are updated from grads (n): the bits are those of kernels/adamw.h. Whether they
 * are finite is not looked at: the norm has said it. */
int sluice_adamw_update(struct sluice_cuda *s, const struct sluice_adamw *a, int64_t n,
                        float *params, const float *grads, float *m, float *v);

/* to (n) += from (n). */
int sluice_add(struct sluice_cuda *s, int64_t n, const float *from, float *to);

/* out (rows, out_stride) bfloat16 = from (rows, columns) float32; the columns up to out_stride are
 * zeros. stochastic: up with the probability that keeps the mean, by a draw that is a pure function
 * of seed and first + r columns + c: kernels/cast.h. */
int sluice_cast(struct sluice_cuda *s, int64_t rows, int64_t columns, const float *from,
                int64_t out_stride, void *out, enum sluice_rounding rounding, uint64_t seed,
                uint64_t first);

#ifdef __cplusplus
}
#endif

#endif

/* rows: what is done to rows of logits. One read and, where slopes are wanted, one write: a cluster
 * of blocks holds a row in its shared memory (compute capability 9.0 and later); elsewhere, and for
 * rows of a few thousand classes, one block reads it again. Sums have one order, fixed by the
 * number of classes alone; a row's bits do not depend on the others.
 *
 * Row i of the logits is row place[i] of everything else (targets, statistics, coefficients). */
#ifndef KERNELS_CUDA_ROWS_CUH
#define KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/context.cuh"

enum row_form {
    ROW_float32,                    /* z */
    ROW_bfloat16,                   /* z, rounded; `chosen` has z_y in float32 */
    ROW_kept,                       /* bfloat16(log p_v) */
    ROW_shifted,                    /* bfloat16(z - tile_largest[row, v / tile_columns]) */
};

struct row_logits {
    void         *at;               /* (rows, stride) of the form's type, 16-byte aligned rows */
    int64_t       rows, vocab, stride;  /* stride in elements of the form's type */
    enum row_form form;
    const float  *chosen;           /* (rows): z_y; ROW_bfloat16 */
    const float  *tile_largest;     /* (rows, tiles); ROW_shifted */
    int64_t       tile_columns, tiles;  /* tile_columns: a power of two, at least 8 */
};

struct row_arrays {                 /* by place */
    const int32_t *targets;
    float *logp, *lse, *entropy;    /* entropy NULL: not wanted */
    float *c, *e, *h;               /* e, h NULL: zero */
    const struct objective_entry *entries;  /* device; sorted by row */
    const int64_t *entry_first;     /* (rows of the call + 1): where a row's entries begin */
};

struct objective_view;              /* objective.cuh */

/* -> statistics. float32, bfloat16. */
int rows_statistics(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
                    const struct row_arrays *a);
/* -> statistics, and bfloat16(log p_v) in place: row i then begins at out + i out_stride (elements of
 * bfloat16), which may be z->at itself with out_stride = 2 stride. float32. */
int rows_keep(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
              const struct row_arrays *a, void *out, int64_t out_stride);
/* statistics and coefficients -> slopes, bfloat16, in place: row i begins where row i of the logits
 * did, columns from vocab to the next multiple of 8 are zeros. All forms. */
int rows_slopes(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
                const struct row_arrays *a);
/* logits -> statistics -> the objective's coefficients -> slopes in place: one read, one write. For
 * objectives of scope token without named logits. float32, bfloat16; shifted, whose statistics have
 * been written (fused.cuh). c, e, h are written too. */
int rows_loss(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
              const struct row_arrays *a, const struct objective_view *objective);

/* place (rows): the rows, in order, with a part: target >= 0 and, unless wanted is NULL, wanted[row]
 * != 0. Waits. SLUICE_argument names the first row whose target is not below vocab. */
int rows_place(struct sluice_cuda *s, int64_t rows, int64_t vocab, const int32_t *targets,
               const uint8_t *wanted, int64_t *place, int64_t *count);
/* wanted (rows) = 1 where c, e or h is not 0 or the row has an entry. */
int rows_wanted(struct sluice_cuda *s, int64_t rows, const struct row_arrays *a, uint8_t *wanted);
/* out (count, stride) = x[place], bfloat16. */
int rows_gather(struct sluice_cuda *s, int64_t count, const int64_t *place, int64_t width,
                const void *x, int64_t x_stride, void *out, int64_t out_stride);
/* out[place] = from (count, width) float32. rows > 0: every other row of out (rows) becomes zeros;
 * rows = 0: the others are left as they are (chunks after the first). */
int rows_scatter(struct sluice_cuda *s, int64_t count, const int64_t *place, int64_t width,
                 const float *from, int64_t from_stride, int64_t rows, void *out,
                 int64_t out_stride, enum sluice_type out_type);
/* chosen (count) = x[i] . weight[target of place[i]] (+ bias), float32. */
int rows_chosen(struct sluice_cuda *s, int64_t count, const int64_t *place, const void *x,
                int64_t x_stride, const struct sluice_head *head, const int32_t *targets,
                float *chosen);
/* dbias (vocab) += the columns' sums of slopes (count, vocab), in row order. */
int rows_bias(struct sluice_cuda *s, int64_t count, int64_t vocab, const void *slopes,
              int64_t stride, float *dbias);

#endif

/* isa: the inner loops, compiled for each instruction set and chosen at run time. All rows of the
 * table compute the same bits; the choice is only speed. */
#ifndef KERNELS_ISA_H
#define KERNELS_ISA_H

#include <stdint.h>

enum isa_start { ISA_START_zero, ISA_START_bias, ISA_START_add };

/* One tile of a product: c(rows, columns) over `inner`, columns a multiple of 16 and at most
 * isa->columns, rows at most isa->rows. a(i,p) = a[i * a_row + p * a_inner]; b(p,j) = b[p *
 * b_inner + j]. */
struct isa_tile {
    int64_t rows, columns, inner;
    const float *a;
    int64_t a_row, a_inner;
    const float *b;
    int64_t b_inner;
    float *c;
    int64_t c_row;
    const float *ahead;             /* where the next tile's c will be, as many rows; or NULL */
    const float *soon;              /* what another tile will read of b: fetched, soon_step floats */
    int64_t soon_step;              /* at each of the inner steps */
    const float *bias;              /* (columns), for ISA_START_bias */
    enum isa_start start;
};

struct isa {
    const char *name;               /* "avx512", "avx2", "scalar" */
    int rows, columns;              /* of the largest tile */
    void (*tile)(const struct isa_tile *t);

    /* y = x / sqrt(mean(x^2) + eps) * w per row; inverse (rows) gets the factor. */
    void (*norm)(int64_t rows, int64_t width, float eps, const float *x, const float *w, float *y,
                 float *inverse);
    /* The same y from a kept factor. */
    void (*norm_again)(int64_t rows, int64_t width, const float *x, const float *w,
                       const float *inverse, float *y);
    /* dx += the input's gradient; dw += the weight's, in row order. */
    void (*norm_back)(int64_t rows, int64_t width, const float *x, const float *w,
                      const float *inverse, const float *dy, float *dx, float *dw);
    void (*add)(int64_t n, const float *x, float *y);                      /* y += x */
    void (*sum)(int64_t n, const float *a, const float *b, float *y);      /* y = a + b */

    /* Rotates `heads` heads of `dim` (half-split) at x by cos, sin (dim / 2); sign -1 turns back.
     */
    void (*rotate)(int64_t heads, int64_t dim, float sign, const float *cosine, const float *sine,
                   float *x);

    /* y(rows, width) = silu(g) u with g, u the halves of gu(rows, 2 width); and back: dgu from dy,
     * and the same y once more. */
    void (*swiglu)(int64_t rows, int64_t width, const float *gu, float *y);
    void (*swiglu_back)(int64_t rows, int64_t width, const float *gu, const float *dy, float *dgu,
                        float *y);

    /* s[0..valid) := exp(scale s - m), the rest up to room := 0; m is the largest scaled score,
     * *inverse one over the sum. */
    void (*attend)(int64_t valid, int64_t room, float scale, float *s, float *largest,
                   float *inverse);
    /* s := the probabilities, from m and the inverse as attend gave them. */
    void (*attend_again)(int64_t valid, int64_t room, float scale, float largest, float inverse,
                         float *s);
    /* dp := scale p (dp - sum p dp) over valid, zeros up to room. */
    void (*attend_back)(int64_t valid, int64_t room, float scale, const float *p, float *dp);
    /* x(length, dim), rows `stride` apart, as panels: element d of row j goes to
     * to[j / wide * wide * dim + d * wide + j % wide]; zeros up to a whole panel. */
    void (*panels)(int64_t length, int64_t dim, int64_t wide, const float *x, int64_t stride,
                   float *to);
    /* x(length, rows), rows `stride` apart, as strips: element i of row p goes to
     * to[i / high * high * length + p * high + i % high], high at most 16; no more is read than is
     * there, and what is not there is left as it is. */
    void (*strips)(int64_t rows, int64_t length, int64_t high, const float *x, int64_t stride,
                   float *to);
    void (*scale)(int64_t n, float factor, float *x);                      /* x = x factor + 0 */

    /* Goes on with a running softmax over n more logits: m, sum of exp(z - m), sum of exp(z - m)(z
     * - m). */
    void (*softmax)(int64_t n, const float *z, float *largest, float *sum, float *moment);
    /* dz := (e - c) p - h p (log p + entropy), p = exp(z - lse); dz may be z. */
    void (*softmax_back)(int64_t n, float lse, float entropy, float c, float e, float h,
                         const float *z, float *dz);

    /* AdamW, one tensor: see adamw.h. keep = 1 - lr decay; step = lr / (1 - beta1^t);
     * root = 1 / sqrt(1 - beta2^t). */
    void (*adamw)(int64_t n, float beta1, float beta2, float keep, float step, float root,
                  float eps, float scale, float *p, const float *g, float *m, float *v);
};

/* The widest one that this machine has, or the one chosen by isa_use(). */
const struct isa *isa_now(void);

/* 0, or -1 where the name is unknown or the machine lacks it. For tests; not while others compute.
 * Packed weights (matmul_pack, cache_new) belong to the set they were packed with. */
int isa_use(const char *name);

extern const struct isa isa_scalar, isa_avx2, isa_avx512;

#endif

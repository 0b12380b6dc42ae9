/* head: from hidden states to token statistics and back, without ever holding rows x vocabulary
 * logits.
 *
 * With z = x W^T (+ bias), p = softmax(z), y the target of the row:
 *      lse = m + log sum exp(z - m),   log p = (z_y - m) - log sum exp(z - m)   (never positive)
 *      H = -sum p log p
 * and every objective acts on the logits as (architecture, "Kernels: one shape for every
 * objective")
 *      dL/dz_v = c (1[v = y] - p_v)  +  e p_v  +  h (-p_v (log p_v + H))  +  g_v
 * with c = dL/d log p, e = dL/d lse, h = dL/dH and up to HEAD_ENTRIES_MAX named logits g.
 *
 * A row whose target is negative has no statistics (zeros are written) and no gradient; rows with
 * c = e = h = 0 and no entries are left out of the backward products. The same functions serve the
 * language model's head (no bias) and a class head (num_labels classes, bias). */
#ifndef KERNELS_HEAD_H
#define KERNELS_HEAD_H

#include <stdint.h>

#include "kernels/model.h"

#define HEAD_ENTRIES_MAX 32         /* per row */
#define HEAD_ROWS        192        /* rows of logits held at a time ... */
#define HEAD_COLUMNS     1024       /* ... and columns */

struct head {
    int64_t      hidden, vocab;     /* vocab: classes */
    const float *weight;            /* (vocab, hidden) */
    const float *bias;              /* (vocab) or NULL */
};

struct head head_of(const struct model *m);     /* the model's own: tied, lm_head or score */

/* A named logit: dL/dz[row, column] has `value` added. Sorted by row. */
struct head_entry {
    int64_t row;
    int32_t column;
    float   value;
};

struct head_work;                               /* scratch, reused between calls */
struct head_work *head_work_new(void);
void              head_work_free(struct head_work *w);

/* Lets these threads (threads.h; borrowed) share the work; NULL: the caller alone, as at first. The
 * bits are the same. */
struct threads;
void head_threads(struct head_work *w, struct threads *t);

/* Lets head_statistics hold up to so many logits (4 bytes each) for the head_backward that follows,
 * which then need not compute them again; at first none. As many whole tiles of HEAD_COLUMNS
 * classes as fit are held. The bits are the same with and without. */
void head_keep(struct head_work *w, int64_t logits);

/* targets (rows): the class y of each row, in [0, vocab), or negative. x (rows, hidden). Writes
 * logp, lse (rows) and, unless NULL, entropy (rows). A row's bits depend on the row, its target
 * and the weights. */
void head_statistics(struct head_work *w, const struct head *head, int64_t rows, const float *x,
                     const int32_t *targets, float *logp, float *lse, float *entropy);

/* Raw logits z of `named` columns at `count` rows of x: out (count, named), out[i, k] is z of row
 * rows[i], class columns[k]; zeros where rows[i] is negative. The bits are those that
 * head_statistics has for them. */
void head_named(struct head_work *w, const struct head *head, int64_t count, const float *x,
                const int64_t *rows, int64_t named, const int32_t *columns, float *out);

struct head_gradient {
    const float *c;                     /* (rows) */
    const float *e, *h;                 /* (rows) or NULL: all zero */
    const struct head_entry *entries;   /* sorted by row; NULL where there are none */
    int64_t      entry_count;
    int          same;                  /* head, rows, x and targets are those of the last call of
                                         * head_statistics: what it held (head_keep) is used */
};

/* lse from head_statistics; entropy too where g->h is given. dx (rows, hidden) is written, zeros
 * where a row was left out; dweight (vocab, hidden) and dbias (vocab) are added to (NULL: not
 * wanted). */
void head_backward(struct head_work *w, const struct head *head, int64_t rows, const float *x,
                   const int32_t *targets, const float *lse, const float *entropy,
                   const struct head_gradient *g, float *dx, float *dweight, float *dbias);

#endif

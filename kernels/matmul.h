/* matmul: float32 products with one order of summation. Every output element is one chain
 *
 *      c = start;  for (p = 0; p < inner; p++)  c = fmaf(a(i,p), b(p,j), c);
 *
 * whatever the tile, the instruction set or the row's place, so a row's bits depend on that row
 * and the other factor alone. matmul_naive() is that loop and shares no code with the fast one;
 * the two are equal bit for bit on every instruction set. Row-major everywhere; counts are in
 * elements, any count may be 0. Not reentrant over one struct matmul: a thread owns its own. With
 * `threads` (threads.h; NULL: none; borrowed) a large product is shared by them, the same bits. */
#ifndef KERNELS_MATMUL_H
#define KERNELS_MATMUL_H

#include <stdint.h>

struct threads;

/* Scratch for packed panels; grows to what the largest product needs and is then reused.
 * Zero-initialise. */
struct matmul {
    float  *panels;             /* the right factor, by columns of a tile */
    float  *strips;             /* the left factor, by rows of a tile */
    int64_t panels_room;        /* floats */
    int64_t strips_room;        /* floats */
    struct threads *threads;
    struct matmul  *each;       /* (each_count): scratch of the threads */
    int     each_count;
};

void matmul_free(struct matmul *s);

/* y(n,m) = x(n,k) w(m,k)^T; the chain over k starts at bias[j], or 0 where bias is NULL. */
void matmul_forward(struct matmul *s, int64_t n, int64_t m, int64_t k, const float *x,
                    const float *w, const float *bias, float *y);

/* dx(n,k) = dy(n,m) w(m,k), a chain over m from 0; with `add` from dx's own value. */
void matmul_backward_x(struct matmul *s, int64_t n, int64_t m, int64_t k, const float *dy,
                       const float *w, int add, float *dx);

/* dw(m,k) += dy(n,m)^T x(n,k): the chain over n, in row order, goes on from dw's value. */
void matmul_backward_w(struct matmul *s, int64_t n, int64_t m, int64_t k, const float *dy,
                       const float *x, float *dw);

/* db(m) += the rows of dy(n,m), in row order. */
void matmul_backward_bias(int64_t n, int64_t m, const float *dy, float *db);

/* A weight packed once for many products. The bits are those of the products that pack by
 * themselves. */
struct matmul_weight {
    int64_t columns, inner;     /* of the right factor: m and k, or k and m */
    float  *panels;
    int64_t room;               /* floats */
    struct threads *threads;    /* of its packing and its products */
};

/* Each refills p: the right factor of matmul_forward, and of matmul_backward_x. */
void matmul_pack(struct matmul_weight *p, int64_t m, int64_t k, const float *w);
void matmul_pack_backward(struct matmul_weight *p, int64_t m, int64_t k, const float *w);

/* y(n,columns) from x(n,inner), as matmul_forward or matmul_backward_x; the second goes on from
 * y's value. */
void matmul_packed(int64_t n, const struct matmul_weight *p, const float *x, const float *bias,
                   float *y);
void matmul_packed_add(int64_t n, const struct matmul_weight *p, const float *x, float *y);
void matmul_weight_free(struct matmul_weight *p);

/* The general form: strides in elements, a_row or a_inner being 1; start: NULL and !add is 0, else
 * bias per column, else c itself. */
struct matmul_shape {
    int64_t rows, columns, inner;
    int64_t a_row, a_inner;     /* a(i,p) = a[i * a_row + p * a_inner] */
    int64_t b_inner, b_column;  /* b(p,j) = b[p * b_inner + j * b_column] */
    int64_t c_row;              /* c(i,j) = c[i * c_row + j] */
    const float *bias;          /* (columns) or NULL */
    int add;                    /* go on from c's value; bias is then ignored */
};

void matmul_run(struct matmul *s, const struct matmul_shape *q, const float *a, const float *b,
                float *c);

/* The definition: the loop above, one element at a time. */
void matmul_naive(const struct matmul_shape *q, const float *a, const float *b, float *c);

#endif

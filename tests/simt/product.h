/* product: the sums of cublaslt.cc. m x n elements, each the sum over k of a(i, k) b(k, j) in
 * float32, in one order, whatever m and n are. */
#ifndef SIMT_PRODUCT_H
#define SIMT_PRODUCT_H

#include <stdint.h>

enum product_order {
    PRODUCT_chain = 1,              /* one sum from the first k to the last */
    PRODUCT_groups = 2,             /* sums of 16, added up: as tensor cores do */
    PRODUCT_split = 3,              /* two chains of half of k, then added */
};

struct product_matrix {             /* element (i, j): at[i by_row + j by_column] */
    const void *at;
    int64_t     by_row, by_column;
    int         is_float;           /* float32, or else bfloat16 */
};

/* out (m, n) float32, n contiguous for each i of m: out[j m + i]. 0, or -1: out of memory. */
int product(enum product_order order, int64_t m, int64_t n, int64_t k,
            const struct product_matrix *a, const struct product_matrix *b, float *out);

#endif

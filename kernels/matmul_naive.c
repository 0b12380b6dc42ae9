/* The definition of a product, for tests: one element at a time, no code in common with matmul.c.
 */
#include "kernels/matmul.h"

#include <math.h>
#include <stddef.h>

void
matmul_naive(const struct matmul_shape *q, const float *a, const float *b, float *c)
{
    for (int64_t i = 0; i < q->rows; i++)
        for (int64_t j = 0; j < q->columns; j++) {
            float chain = q->add ? c[i * q->c_row + j] : q->bias != NULL ? q->bias[j] : 0.0f;

            for (int64_t p = 0; p < q->inner; p++)
                chain = fmaf(a[i * q->a_row + p * q->a_inner], b[p * q->b_inner + j * q->b_column],
                             chain);
            c[i * q->c_row + j] = chain;
        }
}

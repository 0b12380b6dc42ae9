/* The inner loops for any machine: what the compiler makes of plain C, and fmaf() from the C
 * library. */
#include "kernels/isa.h"

#include <math.h>
#include <string.h>

#include "kernels/math.h"

#define TILE_ROWS    4
#define TILE_COLUMNS 16

static void
tile(const struct isa_tile *t)
{
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->columns; j++) {
            float *c = t->c + i * t->c_row + j;
            float chain = t->start == ISA_START_zero   ? 0.0f
                          : t->start == ISA_START_bias ? t->bias[j]
                                                       : *c;

            for (int64_t p = 0; p < t->inner; p++)
                chain = fmaf(t->a[i * t->a_row + p * t->a_inner], t->b[p * t->b_inner + j], chain);
            *c = chain;
        }
}

#include "kernels/ops_body.h"

ISA_TABLE(scalar, TILE_ROWS, TILE_COLUMNS);

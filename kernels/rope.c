/* The table of rotary positions. */
#include "kernels/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/isa.h"

void
rope_init(struct rope *r, int64_t positions, int64_t dim, double theta)
{
    int64_t half = dim / 2;

    r->positions = positions;
    r->dim = dim;
    r->cosine = xarray((size_t)(positions * half), sizeof *r->cosine);
    r->sine = xarray((size_t)(positions * half), sizeof *r->sine);
    for (int64_t j = 0; j < half; j++) {
        float frequency = (float)pow(theta, -2.0 * (double)j / (double)dim);

        for (int64_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;

            r->cosine[p * half + j] = (float)cos((double)angle);
            r->sine[p * half + j] = (float)sin((double)angle);
        }
    }
}

void
rope_free(struct rope *r)
{
    free(r->cosine);
    free(r->sine);
    *r = (struct rope){0};
}

void
rope_turn(const struct rope *r, int64_t position, int64_t heads, int back, float *x)
{
    int64_t at = position * (r->dim / 2);

    isa_now()->rotate(heads, r->dim, back ? -1.0f : 1.0f, r->cosine + at, r->sine + at, x);
}

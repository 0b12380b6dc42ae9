/* The fused logits product. */
#include "kernels/cuda/fused.cuh"

#include <stdio.h>

int
fused_fits(struct sluice_cuda *s, const struct sluice_head *head)
{
    (void)head;
    snprintf(s->fused_why, sizeof s->fused_why, "fused logits are not built into this library");
    return 0;
}

const char *
fused_why(const struct sluice_cuda *s)
{
    return s->fused_why;
}

int64_t
fused_tiles_bytes(int64_t rows, int64_t vocab)
{
    int64_t tiles = (vocab + FUSED_COLUMNS - 1) / FUSED_COLUMNS;

    return 3 * rows * tiles * (int64_t)sizeof(float);
}

int
fused_logits(struct sluice_cuda *s, const struct sluice_head *head, int64_t count,
             const int64_t *place, const void *x, int64_t x_stride, struct row_logits *z,
             const struct row_arrays *a)
{
    (void)head, (void)count, (void)place, (void)x, (void)x_stride, (void)z, (void)a;
    return fail(SLUICE_failed, "%s", s->fused_why);
}

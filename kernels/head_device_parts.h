/* head_device_parts: what the files of head_device share. */
#ifndef KERNELS_HEAD_DEVICE_PARTS_H
#define KERNELS_HEAD_DEVICE_PARTS_H

#include "kernels/adamw_device.h"
#include "kernels/device.h"
#include "kernels/head_device.h"

/* Numbers of a row, float32, on the device. */
enum row_array {
    ROW_logp, ROW_lse, ROW_entropy, ROW_c, ROW_e, ROW_h,
    ROW_reference, ROW_behaviour, ROW_weight, ROW_advantage, ROW_arrays,
};

struct head_device {
    struct device             *device;
    const struct device_calls *call;    /* the library ... */
    struct sluice_cuda        *cuda;    /* ... and what its functions want first */
    char                       name[HEAD_DEVICE_NAME_MAX];
    struct sluice_options options;
    enum sluice_rounding rounding;
    uint64_t             seed;

    int64_t hidden, vocab, stride;      /* stride of x and weights: hidden up to a multiple of 8 */
    int64_t head, head_bias;            /* where they are in params; no bias: -1 */

    struct adamw_device *adamw;         /* of the model that is trained, ... */
    const float *own;                   /* ... whose params these are */
    const float *loaded;                /* params of the other model that lies in: ... */
    uint16_t    *other;                 /* bfloat16 (vocab, stride); NULL: none came yet */
    float       *other_bias;            /* (vocab) */
    struct sluice_head now;             /* of the last call */

    /* On the device. */
    float  *stage;                      /* (rows_room, hidden): hidden states up, gradients down */
    void   *x;                          /* bfloat16 (rows_room, stride) */
    int32_t *targets;
    float  *arrays[ROW_arrays];
    uint8_t *mask, *begins;
    float  *named;                      /* (named_room) */
    int64_t rows_room, named_room;

    int64_t rows;                       /* whose x and targets lie there */
    int64_t bad_row;                    /* of the last ERROR_nonfinite */
};

/* What a call returned: device_fail, and the row that ERROR_nonfinite is about. */
int head_device_check(struct head_device *d, int status, const char *doing, struct error *e);
/* Room for batches of so many rows; what lay there is gone. */
int head_device_rows(struct head_device *d, int64_t rows, struct error *e);
/* Room for another model's head. */
int head_device_other(struct head_device *d, struct error *e);

#endif

/* decoder_parts: what the files of the decoder share: its memory. For decoder.c and decoder_room.c
 * alone. */
#ifndef KERNELS_DECODER_PARTS_H
#define KERNELS_DECODER_PARTS_H

#include <stdint.h>

#include "kernels/attention.h"
#include "kernels/decoder.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"

/* Whole sequences of about DECODER_CHUNK tokens go through all layers before the next ones begin:
 * what one operation writes is still near when the next reads it. Nothing crosses a sequence, so
 * no bit changes. */
#define DECODER_CHUNK 512

struct kept {
    float *x;                   /* (tokens, hidden): input of the layer */
    float *factor;              /* (tokens): of the first norm */
    float *raw;                 /* (tokens, q + kv): q and k before their norms, where there are */
    float *factor_qk;           /* (tokens, q and kv heads): of those norms */
    float *qkv;                 /* (tokens, q + 2 kv): rotated */
    float *largest, *inverse;   /* (tokens, heads): of the softmax */
    float *mixed;               /* (tokens, q): attention's output; in the last layer this and what
                                   follows of the rows that are read, at the front of each chunk */
    float *middle;              /* (tokens, hidden): after attention */
    float *factor2;             /* (tokens): of the second norm */
    float *gu;                  /* (tokens, 2 inner): gate and up */
};

struct packed {     /* a layer's weights as forward products want them, or as backward ones do */
    struct matmul_weight qkv, o, gu, down;
};

struct decoder {
    int64_t          tokens_max, layers;
    int64_t          chunk_max; /* rows that go through the layers together */
    int64_t          hidden, q, kv, inner, heads, kv_heads;
    int              backward, qk_norm;
    struct matmul_weight top_weight;    /* of the head's first layer, where it has two */
    struct kept     *kept;      /* (layers) */
    struct packed   *packed;    /* (layers) */
    float           *slab;      /* all the floats of kept and of what follows */
    float           *last;      /* (tokens, hidden): before the final norm, of the read rows */
    float           *factor;    /* (tokens): of the final norm, of the read rows */
    float           *out;       /* (tokens, hidden): after it */
    float           *top;       /* (tokens, hidden): after the head's first layer; or out */
    float           *normed;    /* (chunk, hidden): a norm's output */
    float           *part;      /* (chunk, hidden): what is added to the stream */
    float           *act;       /* (chunk, inner): silu(gate) up */
    float           *dx, *dnormed, *dqkv, *dmixed, *dgu, *dact;     /* (chunk, ...) */
    float           *draw;      /* (q + kv): one token's */
    float           *dtop, *dout;   /* (chunk, hidden) */
    struct batch     batch;     /* of the last forward, with its own copies */
    int32_t         *ids;
    int64_t         *starts, *from;
    int64_t          starts_room;
    struct rope      rope;
    struct threads  *threads;
    struct attention *attention;    /* (attentions): of each thread */
    int              attentions;
    struct matmul    matmul;
};

#endif

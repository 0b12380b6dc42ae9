/* encoder_parts: what an encoder is made of; for encoder.c and encoder_file.c alone. */
#ifndef KERNELS_ENCODER_PARTS_H
#define KERNELS_ENCODER_PARTS_H

#include "kernels/attention.h"
#include "kernels/encoder.h"
#include "kernels/matmul.h"
#include "kernels/model_shards.h"

struct encoder_norm {
    float *weight, *bias; /* (hidden) */
};

struct encoder_layer {
    struct matmul_weight qkv, out, up, down;
    float *qkv_bias, *out_bias, *up_bias, *down_bias;
    struct encoder_norm attention_norm, output_norm;
};

struct encoder {
    struct encoder_config config;
    struct model_shards shards;             /* open for the word embeddings */
    const struct safetensors_entry *words;  /* (vocab, hidden), in the file */
    float *positions, *type;                /* (positions, hidden), (hidden) */
    struct encoder_norm norm;
    struct encoder_layer *layers;
    float *classifier, *classifier_bias;    /* (labels, hidden), (labels) */
    struct threads *threads;
    struct matmul scratch;                  /* of the classifier */
    struct attention *attention;            /* (attentions): one for each thread */
    int attentions;
    int64_t room;                           /* tokens the arrays below hold */
    float *x, *qkv, *mixed, *inner;         /* (room, hidden), (room, 3 hidden), ... */
    float *largest, *inverse;               /* (room, heads) */
};

#endif

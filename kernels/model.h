/* model: the weights of a decoder (Qwen2 family) and where each tensor lies.
 *
 * One allocation holds all weights; a tensor is a name, a shape and an offset into it, and
 * gradients and moments are arrays of the same layout. Names and shapes are those of Hugging Face
 * checkpoints: row-major (out, in), y = x W^T + b. Per layer: input_layernorm, q/k/v_proj with
 * bias, o_proj without, post_attention_layernorm, gate/up/down_proj. Head: `lm_head.weight`
 * (vocab, hidden), or the embedding itself where tied; with num_labels > 0 instead `score.weight`
 * (num_labels, hidden) and `score.bias`. */
#ifndef KERNELS_MODEL_H
#define KERNELS_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define MODEL_NAME_MAX      96
#define MODEL_FAMILY_MAX    16
#define MODEL_LAYERS_MAX    512
#define MODEL_WIDTH_MAX     65536           /* hidden_size, and heads times head_dim */
#define MODEL_INNER_MAX     262144          /* intermediate_size */
#define MODEL_VOCAB_MAX     4194304
#define MODEL_POSITIONS_MAX 16777216
#define MODEL_LABELS_MAX    65536
#define MODEL_PARAMS_MAX    (INT64_C(1) << 36)

struct model_config {
    char    family[MODEL_FAMILY_MAX];       /* "qwen2", the only one so far */
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t intermediate_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads;            /* divides num_attention_heads */
    int64_t head_dim;                       /* even; 0: hidden_size / num_attention_heads */
    int64_t max_position_embeddings;
    int64_t num_labels;                     /* 0: a language model; else a token classifier */
    double  rms_norm_eps;
    double  rope_theta;
    double  initializer_range;              /* standard deviation of initial matrices */
    int     tie_word_embeddings;
    int64_t bos_token_id;                   /* -1: none */
    int64_t eos_token_id;                   /* -1: none */
    int64_t pad_token_id;                   /* -1: none */
};

struct model_tensor {
    char    name[MODEL_NAME_MAX];
    int     dims;                           /* 1 or 2 */
    int64_t shape[2];                       /* shape[1] is 1 where dims is 1 */
    int64_t offset, count;                  /* in floats, into params */
    int     decay;                          /* weight decay applies: to matrices */
};

/* Offsets into params. q, k, v lie next to each other, as do their biases, and gate and up: each
 * set is one product. */
struct model_layer {
    int64_t input_norm, q, k, v, q_bias, k_bias, v_bias, o, post_norm, gate, up, down;
};

struct model {
    struct model_config  config;
    struct model_tensor *tensors;           /* in order of offset, without gaps */
    int                  tensor_count;
    struct model_layer  *layers;            /* (num_hidden_layers) */
    int64_t              embed, final_norm; /* offsets */
    int64_t              head;              /* lm_head, or embed where tied, or score.weight */
    int64_t              head_bias;         /* score.bias; -1 for a language model */
    int64_t              head_rows;         /* vocab_size or num_labels */
    int64_t              count;             /* floats in params */
    float               *params;            /* owned; 64-byte aligned */
};

/* Small Qwen2 values: tied, theta 10000, eps 1e-6, range 0.02, head_dim 0 (derived), ids -1; sizes
 * 0. */
struct model_config model_config_default(void);

/* Is every size in bounds and consistent? head_dim 0 is derived. ERROR_model with the key's name.
 */
int model_config_check(struct model_config *config, struct error *e);

/* Checks the config, lays the tensors out and allocates params, all zero. model_free() at the end.
 */
int  model_init(struct model *m, const struct model_config *config, struct error *e);
/* The table of tensors alone, without params. model_free() at the end. */
int  model_lay(struct model *m, const struct model_config *config, struct error *e);
void model_free(struct model *m);

/* Matrices and embeddings normal with initializer_range, norms 1, biases 0. A weight is a function
 * of (seed, tensor name, place in the tensor). */
void model_randomise(struct model *m, uint64_t seed);

/* A second model with the same weights. */
void model_copy(struct model *to, const struct model *from);

/* NULL: no such tensor. */
const struct model_tensor *model_find(const struct model *m, const char *name);

#endif

/* model: the weights of a decoder and where each tensor lies.
 *
 * One allocation holds all weights; a tensor is a name, a shape and an offset into it, and
 * gradients and moments are arrays of the same layout. Names and shapes are those of Hugging Face
 * checkpoints: row-major (out, in), y = x W^T + b. Per layer: input_layernorm, q/k/v_proj, o_proj,
 * q/k_norm (one weight per element of a head, Qwen3), post_attention_layernorm, gate/up/down_proj;
 * which of them have a bias is the family's matter (model_family.def). Head: `lm_head.weight`
 * (vocab, hidden), or the embedding itself where tied; a classifier of tokens `score.weight`
 * (num_labels, hidden) and `score.bias`, of sequences without the bias; a process reward model
 * `score.0` (hidden, hidden), ReLU, `score.2` (num_labels, hidden), both with bias; a value model
 * (Skywork-o1 PRM) `v_head.summary` (1, hidden) with bias. */
#ifndef KERNELS_MODEL_H
#define KERNELS_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/rope.h"

#define MODEL_NAME_MAX      96
#define MODEL_FAMILY_MAX    16
#define MODEL_LAYERS_MAX    512
#define MODEL_WIDTH_MAX     65536           /* hidden_size, and heads times head_dim */
#define MODEL_INNER_MAX     262144          /* intermediate_size */
#define MODEL_VOCAB_MAX     4194304
#define MODEL_POSITIONS_MAX 16777216
#define MODEL_LABELS_MAX    65536
#define MODEL_PARAMS_MAX    (INT64_C(1) << 36)

enum model_head {
    MODEL_HEAD_language,
    MODEL_HEAD_token,                       /* labels of every token */
    MODEL_HEAD_sequence,                    /* labels of a sequence, read at its last token */
    MODEL_HEAD_process,                     /* labels of every token, through a hidden layer */
    MODEL_HEAD_value                        /* one number of every token */
};

struct model_config {
    char    family[MODEL_FAMILY_MAX];       /* a row of model_family.def: "qwen2" */
    enum model_head head;                   /* language with num_labels > 0 is taken for token */
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t intermediate_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads;            /* divides num_attention_heads */
    int64_t head_dim;                       /* even; 0: hidden_size / num_attention_heads */
    int64_t max_position_embeddings;
    int64_t sliding_window;                 /* of some layer's attention; 0: all is full */
    int64_t positions_usable;               /* set by the check: a sequence may be as long */
    int64_t num_labels;                     /* 0: a language model; else a classifier */
    double  rms_norm_eps;
    double  rope_theta;
    struct rope_scaling rope_scaling;       /* zero: none */
    double  initializer_range;              /* standard deviation of initial matrices */
    int     tie_word_embeddings;
    int     attention_bias;                 /* of q, k and v; the check sets it where the family */
    int     output_bias;                    /* leaves no choice, and these two */
    int     mlp_bias;
    int     qk_norm;                        /* set by the check */
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

/* Offsets into params; -1: the family has none. q, k, v lie next to each other, as do their biases,
 * and gate and up with theirs: each set is one product. */
struct model_layer {
    int64_t input_norm, q, k, v, q_bias, k_bias, v_bias, o, o_bias, q_norm, k_norm;
    int64_t post_norm, gate, up, gate_bias, up_bias, down, down_bias;
};

struct model_source;                        /* model_source.h: the files a model was read from */

struct model {
    struct model_config  config;
    struct model_tensor *tensors;           /* in order of offset, without gaps */
    int                  tensor_count;
    struct model_layer  *layers;            /* (num_hidden_layers) */
    int64_t              embed, final_norm; /* offsets */
    int64_t              head;              /* lm_head, embed where tied, or the last of score */
    int64_t              head_bias;         /* of score; -1: none */
    int64_t              inner, inner_bias; /* score.0, the decoder's last step; -1: none */
    int64_t              head_rows;         /* vocab_size or num_labels */
    int64_t              count;             /* floats in params */
    float               *params;            /* owned; 64-byte aligned */
    struct model_source *source;            /* owned; NULL: made here, not read */
};

/* Small Qwen2 values: tied, theta 10000, eps 1e-6, range 0.02, head_dim 0 (derived), ids -1; sizes
 * 0. */
struct model_config model_config_default(void);

/* Is every size in bounds and consistent, and is all of it in the family? head_dim 0 is derived.
 * positions_usable becomes max_position_embeddings, or the sliding window where that is shorter: up
 * to it, sliding attention is full attention. ERROR_model with the key's name. */
int model_config_check(struct model_config *config, struct error *e);

/* Checks the config, lays the tensors out and allocates params, all zero. model_free() at the end.
 */
int  model_init(struct model *m, const struct model_config *config, struct error *e);

/* The same in two steps: the table of tensors, and params. model_free() after the first. */
int  model_lay(struct model *m, const struct model_config *config, struct error *e);
int  model_allocate(struct model *m, struct error *e);
void model_free(struct model *m);

/* Matrices and embeddings normal with initializer_range, norms 1, biases 0. A weight is a function
 * of (seed, tensor name, place in the tensor). */
void model_randomise(struct model *m, uint64_t seed);

/* A second model with the same weights, of the same source. */
void model_copy(struct model *to, const struct model *from);

/* Is every tensor stored as float32, so that saving and opening gives the same bits? */
int model_exact(const struct model *m);

/* The parameter at OFFSET, or NULL where the offset is -1. */
static inline const float *
model_at(const float *params, int64_t offset)
{
    return offset < 0 ? NULL : params + offset;
}

/* NULL: no such tensor. */
const struct model_tensor *model_find(const struct model *m, const char *name);

#endif

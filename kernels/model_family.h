/* model_family: what differs between the families of decoders that are understood, one row each
 * (model_family.def), and the heads, one row each. */
#ifndef KERNELS_MODEL_FAMILY_H
#define KERNELS_MODEL_FAMILY_H

#include <stdint.h>

#include "kernels/model.h"

enum family_bias {
    FAMILY_BIAS_never,
    FAMILY_BIAS_always,
    FAMILY_BIAS_key /* attention_bias or mlp_bias of config.json says it */
};

enum family_window {
    FAMILY_WINDOW_none, /* always full attention */
    FAMILY_WINDOW_flag, /* use_sliding_window, max_window_layers, layer_types */
    FAMILY_WINDOW_plain /* sliding_window alone: every layer slides unless it is null */
};

struct model_family {
    const char *name;   /* model_type */
    const char *prefix; /* of its classes: prefix "ForCausalLM" */
    enum family_bias attention_bias, output_bias, mlp_bias;
    int qk_norm;
    enum family_window window;
    int64_t head_dim, positions, window_default;
};

/* NULL: not understood. */
const struct model_family *model_family_find(const char *name);

#define MODEL_FAMILIES "qwen2, qwen3, llama, mistral" /* for messages */

/* The suffix of the class that has this head: "ForCausalLM". */
const char *model_head_suffix(enum model_head head);

/* The head of a class of this family; -1: not understood. */
int model_head_find(const struct model_family *family, const char *class_name);

#endif

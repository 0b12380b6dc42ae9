/* model_config: the shape of a decoder, as a Hugging Face config.json says it.
 *
 * One family is understood, "qwen2" (model_type qwen2: Qwen2ForCausalLM, or Qwen2ForTokenClassification
 * for judges), in the keys of transformers 4 (rope_theta at the top level) and 5 (rope_parameters).
 * Everything else is refused by name: another model_type, a quantised checkpoint, a rope scaling,
 * sliding attention. A config that was read is complete and its numbers fit together, so nothing
 * downstream checks again. */
#ifndef KERNELS_MODEL_CONFIG_H
#define KERNELS_MODEL_CONFIG_H

#include "base/error.h"
#include "base/memory.h"

#include <stdint.h>

#define MODEL_EOS_MAX            8              /* stop tokens one config may name */
#define MODEL_DIMENSION_MAX      (1 << 20)      /* of hidden, intermediate, heads times head_dim */
#define MODEL_VOCAB_MAX          (1 << 22)
#define MODEL_LAYERS_MAX         1024
#define MODEL_LABELS_MAX         4096
#define MODEL_CONFIG_BYTES_MAX   (16 << 20)     /* of a config.json */

struct model_config {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int64_t num_attention_heads, num_key_value_heads;   /* the second divides the first */
    int64_t head_dim;                   /* even; hidden_size / num_attention_heads unless given */
    int64_t max_position_embeddings;
    double  rms_norm_eps, rope_theta;
    int     tie_word_embeddings;        /* 1: the head is the embedding; no lm_head.weight in the file */
    int64_t num_labels;                 /* 0: a language model; else score.weight [labels, hidden] and score.bias */
    int64_t bos_token_id;               /* -1: none */
    int64_t eos_token_ids[MODEL_EOS_MAX];
    int     eos_count;
};

/* The defaults of a Qwen2 config (theta 10000, eps 1e-6, 32768 positions, no tokens); sizes stay 0. */
void model_config_default(struct model_config *c);

/* Fills head_dim and num_key_value_heads where they are 0 and checks that the numbers fit together;
 * a fault names its key. For configs made in memory (tests, a model trained from nothing). */
int model_config_check(struct model_config *c, struct error *e);

/* Reads config.json text, and the file DIR/config.json with the stop tokens of DIR/generation_config.json
 * added when that exists. ERROR_model names the key, its value and what would be accepted. */
int model_config_parse(struct model_config *c, struct span text, struct error *e);
int model_config_read(struct model_config *c, const char *dir, struct error *e);

/* Appends config.json text that transformers 4 and 5 load; the same config gives the same bytes. */
void model_config_write(const struct model_config *c, struct buffer *out);

#endif

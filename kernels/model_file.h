/* model_file: a Hugging Face model directory to a struct model and back.
 *
 * Read: config.json, generation_config.json, and model.safetensors or the shards that
 * model.safetensors.index.json names. Every tensor of the model must be there with the shape that
 * the config implies; a contradiction names the tensor and both shapes. Numbers are float32 in
 * memory whatever the file holds (F32, F16, BF16). */
#ifndef KERNELS_MODEL_FILE_H
#define KERNELS_MODEL_FILE_H

#include "base/error.h"

struct model;

/* Fills MODEL (its config, table and parameters) from the directory DIR. A tensor the model does
 * not know is refused too, but for those that a checkpoint may carry beside it: a lm_head.weight
 * next to a tied embedding or under a classification head, and rotary_emb.inv_freq. */
int model_open(struct model *model, const char *dir, struct error *e);

/* Writes MODEL to the directory DIR: made aside as DIR.part, its files and itself synced, then
 * renamed. A DIR that exists is exchanged in one step and the old one removed. The tokenizer's
 * files (tokenizer.json, tokenizer_config.json, ...) are copied from COPY_TOKENIZER_FROM unless
 * that is NULL. The same model and tokenizer give the same bytes. */
int model_save(const struct model *model, const char *dir, const char *copy_tokenizer_from,
               struct error *e);

#endif

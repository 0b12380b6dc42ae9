/* model_file: a Hugging Face model directory to a struct model and back.
 *
 * Read: config.json, and model.safetensors or the shards that model.safetensors.index.json names.
 * Every tensor of the model must be there with the shape that the config implies; a contradiction
 * names the tensor and both shapes. Names may lack "model." (the export of a base model), a head
 * may be called classifier instead of score. Numbers are float32 in memory whatever the file holds
 * (F32, F16, BF16): each tensor is converted from the mapped file into its place, and the file's
 * pages are given back, so no second copy is held. */
#ifndef KERNELS_MODEL_FILE_H
#define KERNELS_MODEL_FILE_H

#include "base/error.h"

struct model;

/* Fills MODEL (its config, table and parameters) from the directory DIR. A tensor the model does
 * not know is refused too, but for those that a checkpoint may carry beside it: a lm_head.weight
 * next to a tied embedding or under a classification head, and rotary_emb.inv_freq. The model
 * remembers how its files lay (model_source.h). */
int model_open(struct model *model, const char *dir, struct error *e);

/* A model that was opened is written as its files lay: config.json and the index with the same text,
 * every tensor in the same file under the same name in the same type (BF16 and F16 rounded to
 * nearest even, so that only with model_exact() the numbers come back as they were), and
 * generation_config.json. Not written back: a lm_head.weight under a classification head,
 * rotary_emb.inv_freq. A model that was made here is one file in float32.
 *
 * Writes MODEL to the directory DIR: made aside as DIR.part, its files and itself synced, then
 * renamed. A DIR that exists is exchanged in one step and the old one removed. The tokenizer's
 * files (tokenizer.json, tokenizer_config.json, ...) are copied from COPY_TOKENIZER_FROM unless
 * that is NULL. The same model and tokenizer give the same bytes. */
int model_save(const struct model *model, const char *dir, const char *copy_tokenizer_from,
               struct error *e);

#endif

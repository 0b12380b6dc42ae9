/* model_source: how the files lay that a model was read from, so that it is written back the same:
 * which file holds each tensor, under which name and in which type, and the texts beside them. */
#ifndef KERNELS_MODEL_SOURCE_H
#define KERNELS_MODEL_SOURCE_H

#include "kernels/safetensors.h"

struct model_stored {
    char *name;                 /* in the file */
    int file;                   /* index into files */
    int tensor;                 /* index into the model's tensors */
    enum safetensors_type type; /* F32, F16 or BF16 */
};

/* Owned by a struct model. A tensor of the model may be stored twice: a tied embedding, as
 * lm_head.weight too. */
struct model_source {
    struct model_stored *tensors; /* (count) */
    int count;
    char **files; /* (file_count): names in the directory */
    int file_count;
    char *index;      /* model.safetensors.index.json, or NULL: one file */
    char *config;     /* config.json */
    char *generation; /* generation_config.json, or NULL */
};

struct model_source *model_source_copy(const struct model_source *from); /* NULL of NULL */
void model_source_free(struct model_source *s);

#endif

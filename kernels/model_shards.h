/* model_shards: the weight files of a model directory: model.safetensors, or as many as
 * model.safetensors.index.json names, mapped and checked against it. */
#ifndef KERNELS_MODEL_SHARDS_H
#define KERNELS_MODEL_SHARDS_H

#include <jansson.h>

#include "kernels/safetensors.h"

struct model_shards {
    struct safetensors *files; /* (count) */
    char **names;              /* (count): without the directory */
    int count;
    json_t *map;         /* tensor name to file name; NULL without an index */
    struct buffer index; /* the index's text */
};

/* Every tensor that the index names is in its file, and no other file holds one. ERROR_model,
 * ERROR_file or ERROR_limit, and nothing is left open. */
int model_shards_open(struct model_shards *s, const char *dir, struct error *e);
void model_shards_close(struct model_shards *s);

/* The tensor and the number of its file; NULL: there is none. */
const struct safetensors_entry *model_shards_find(const struct model_shards *s, const char *tensor,
                                                  int *file);

#endif

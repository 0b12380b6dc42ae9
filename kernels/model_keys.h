/* model_keys: values of a config.json by their keys, with errors that name the key. For the files
 * model_config*.c. */
#ifndef KERNELS_MODEL_KEYS_H
#define KERNELS_MODEL_KEYS_H

#include <jansson.h>

#include "base/error.h"
#include "kernels/model.h"

/* Is there a value, and not null? */
int keys_set(const json_t *value);

/* An integer, number or flag KEY; where it is absent or null *OUT stays, unless it is required. */
int keys_integer(const json_t *json, const char *key, int required, int64_t *out, struct error *e);
int keys_number(const json_t *json, const char *key, double *out, struct error *e);
int keys_flag(const json_t *json, const char *key, int *out, struct error *e);

/* rope_theta and rope_scaling of C from rope_scaling (transformers 4) or rope_parameters (5); C has
 * its other sizes already. */
int model_rope_read(const json_t *json, struct model_config *c, struct error *e);

#endif

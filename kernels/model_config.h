/* model_config: config.json of a Hugging Face model directory, to a struct model_config and back.
 *
 * The families of model_family.def are understood, with the heads of kernels/model.h, in the keys
 * of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters). Everything else is refused
 * by name: another model_type or class, a quantised checkpoint, another rope type or activation.
 * The struct and its check are in kernels/model.h. */
#ifndef KERNELS_MODEL_CONFIG_H
#define KERNELS_MODEL_CONFIG_H

#include "base/error.h"
#include "base/memory.h"
#include "kernels/model.h"

#define MODEL_CONFIG_BYTES_MAX (16 << 20) /* of a config.json */
#define MODEL_STOPS_MAX        16         /* stop tokens a model may name */

/* Reads config.json text, or the file DIR/config.json, and checks it (model_config_check).
 * ERROR_model names the key, its value and what would be accepted. Of several eos ids the first is
 * kept; see model_stops. */
int model_config_parse(struct model_config *c, struct span text, struct error *e);
int model_config_read(struct model_config *c, const char *dir, struct error *e);

/* Appends config.json text of a model in float32 that transformers 4 and 5 load; the same config gives the same bytes. */
void model_config_write(const struct model_config *c, struct buffer *out);

/* The tokens that end an answer: eos_token_id of config.json and of generation_config.json, which
 * may each be a number or a list, without repetitions. No id at all is not an error. */
struct model_stops {
    int64_t ids[MODEL_STOPS_MAX];
    int count;
};

int model_stops_read(struct model_stops *stops, const char *dir, struct error *e);

#endif

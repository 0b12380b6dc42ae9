/* Typed reads of one key, and the keys of rotary positions. */
#include "kernels/model_keys.h"

#include <math.h>
#include <string.h>

int
keys_set(const json_t *value)
{
    return value && !json_is_null(value);
}

int
keys_integer(const json_t *json, const char *key, int required, int64_t *out, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!keys_set(value))
        return required ? error_set(e, ERROR_model, "'%s' is missing", key) : 0;
    if (!json_is_integer(value))
        return error_set(e, ERROR_model, "'%s' must be an integer", key);
    *out = json_integer_value(value);
    return 0;
}

int
keys_number(const json_t *json, const char *key, double *out, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!keys_set(value))
        return 0;
    if (!json_is_number(value))
        return error_set(e, ERROR_model, "'%s' must be a number", key);
    *out = json_number_value(value);
    return 0;
}

int
keys_flag(const json_t *json, const char *key, int *out, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!keys_set(value))
        return 0;
    if (!json_is_boolean(value))
        return error_set(e, ERROR_model, "'%s' must be true or false", key);
    *out = json_is_true(value);
    return 0;
}

/* The type by its name: rope_type, or the older key type. */
static int
read_type(const json_t *rope, const char *key, enum rope_type *type, struct error *e)
{
    const json_t *value = json_object_get(rope, "rope_type");
    const char *name;

    *type = ROPE_default;
    if (!keys_set(value))
        value = json_object_get(rope, "type");
    if (!keys_set(value))
        return 0;
    name = json_string_value(value);
    if (!name)
        return error_set(e, ERROR_model, "'%s': rope_type must be a string", key);
    if (strcmp(name, "dynamic") == 0)
        return 0; /* within max_position_embeddings, where we stay, dynamic is default */
    for (int i = ROPE_default; i <= ROPE_yarn; i++)
        if (strcmp(name, rope_type_name((enum rope_type)i)) == 0) {
            *type = (enum rope_type)i;
            return 0;
        }
    return error_set(e, ERROR_model,
                     "'%s': rope type '%.40s' is not understood; default, linear, dynamic, llama3 "
                     "and yarn are",
                     key, name);
}

static double
yarn_scale(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

/* attention_factor as given, or as the paper suggests. */
static int
read_yarn(const json_t *rope, int64_t positions, struct rope_scaling *s, struct error *e)
{
    double mscale = 0, all = 0, given = 0;
    int truncate = 1;

    if (keys_number(rope, "beta_fast", &s->beta_fast, e) ||
        keys_number(rope, "beta_slow", &s->beta_slow, e) ||
        keys_number(rope, "mscale", &mscale, e) || keys_number(rope, "mscale_all_dim", &all, e) ||
        keys_number(rope, "attention_factor", &given, e) ||
        keys_flag(rope, "truncate", &truncate, e))
        return ERROR_model;
    if (!keys_set(json_object_get(rope, "factor")) && s->original > 0)
        s->factor = (double)positions / s->original;
    s->beta_fast = s->beta_fast > 0 ? s->beta_fast : 32;
    s->beta_slow = s->beta_slow > 0 ? s->beta_slow : 1;
    s->exact_range = !truncate;
    s->attention_factor = yarn_scale(s->factor, 1);
    if (keys_set(json_object_get(rope, "attention_factor")))
        s->attention_factor = given;
    else if (mscale > 0 && all > 0)
        s->attention_factor = yarn_scale(s->factor, mscale) / yarn_scale(s->factor, all);
    return 0;
}

static int
read_scaling(const json_t *json, const json_t *rope, struct model_config *c, struct error *e)
{
    struct rope_scaling *s = &c->rope_scaling;

    if (s->type == ROPE_default)
        return 0;
    s->original = (double)c->max_position_embeddings;
    if (keys_number(rope, "factor", &s->factor, e))
        return ERROR_model;
    if (s->type == ROPE_linear)
        return 0;
    /* beside rope_scaling it goes before the one within, as in transformers 5 */
    if (keys_number(rope, "original_max_position_embeddings", &s->original, e) ||
        keys_number(json, "original_max_position_embeddings", &s->original, e))
        return ERROR_model;
    if (s->type == ROPE_yarn)
        return read_yarn(rope, c->max_position_embeddings, s, e);
    return keys_number(rope, "low_freq_factor", &s->low_freq_factor, e) ||
                   keys_number(rope, "high_freq_factor", &s->high_freq_factor, e)
               ? ERROR_model
               : 0;
}

static int
refuse_partial(const json_t *json, struct error *e)
{
    double partial = 1;

    if (keys_number(json, "partial_rotary_factor", &partial, e))
        return ERROR_model;
    if (partial < 1 || partial > 1)
        return error_set(e, ERROR_model, "partial_rotary_factor %g is not understood; 1 is",
                         partial);
    return 0;
}

/* rope_scaling that is not empty goes before rope_parameters, as in transformers 5; rope_theta
 * within before the one beside. */
int
model_rope_read(const json_t *json, struct model_config *c, struct error *e)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};

    c->rope_scaling = (struct rope_scaling){0};
    if (keys_number(json, "rope_theta", &c->rope_theta, e) || refuse_partial(json, e))
        return ERROR_model;
    for (int i = 0; i < 2; i++) {
        const json_t *rope = json_object_get(json, keys[i]);

        if (!keys_set(rope) || (json_is_object(rope) && json_object_size(rope) == 0))
            continue;
        if (!json_is_object(rope))
            return error_set(e, ERROR_model, "'%s' must be an object", keys[i]);
        if (read_type(rope, keys[i], &c->rope_scaling.type, e))
            return ERROR_model;
        if (refuse_partial(rope, e) || keys_number(rope, "rope_theta", &c->rope_theta, e) ||
            read_scaling(json, rope, c, e))
            return error_wrap(e, "'%s'", keys[i]);
    }
    return 0;
}

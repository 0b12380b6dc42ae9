#include "kernels/model_config.h"

#include "kernels/document.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABELS_DEFAULT 2 /* of transformers, where a config says nothing */

static const struct document_limits limits = {
    .bytes = MODEL_CONFIG_BYTES_MAX,
    .values = 1 << 20,
    .depth = 64,
};

static int
is_set(const json_t *value)
{
    return value && !json_is_null(value);
}

/* An integer KEY; where it is absent or null *OUT stays, unless it is required. */
static int
read_integer(const json_t *json, const char *key, int required, int64_t *out, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!is_set(value))
        return required ? error_set(e, ERROR_model, "'%s' is missing", key) : 0;
    if (!json_is_integer(value))
        return error_set(e, ERROR_model, "'%s' must be an integer", key);
    *out = json_integer_value(value);
    return 0;
}

static int
read_number(const json_t *json, const char *key, double *out, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!is_set(value))
        return 0;
    if (!json_is_number(value))
        return error_set(e, ERROR_model, "'%s' must be a number", key);
    *out = json_number_value(value);
    return 0;
}

static int
read_flag(const json_t *json, const char *key, int *out, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!is_set(value))
        return 0;
    if (!json_is_boolean(value))
        return error_set(e, ERROR_model, "'%s' must be true or false", key);
    *out = json_is_true(value);
    return 0;
}

/* KEY as one id or a list of ids, added to STOPS without repetition. */
static int
read_ids(const json_t *json, const char *key, struct model_stops *stops, struct error *e)
{
    const json_t *value = json_object_get(json, key);
    size_t count = json_is_array(value) ? json_array_size(value) : is_set(value) ? 1 : 0;

    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        int64_t id = json_integer_value(one);
        int known = 0;

        if (!json_is_integer(one) || id < 0)
            return error_set(e, ERROR_model, "'%s' must be a token id or a list of them", key);
        for (int k = 0; k < stops->count; k++)
            known |= stops->ids[k] == id;
        if (known)
            continue;
        if (stops->count == MODEL_STOPS_MAX)
            return error_set(e, ERROR_limit, "'%s' names more than %d tokens", key,
                             MODEL_STOPS_MAX);
        stops->ids[stops->count++] = id;
    }
    return 0;
}

static int
read_first_id(const json_t *json, const char *key, int64_t *out, struct error *e)
{
    struct model_stops ids = {0};

    if (read_ids(json, key, &ids, e))
        return ERROR_model;
    if (ids.count)
        *out = ids.ids[0];
    return 0;
}

static int
refuse_rope(const json_t *rope, const char *key, struct error *e)
{
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    double partial = 1;

    if (!type)
        type = json_string_value(json_object_get(rope, "type"));
    if (type && strcmp(type, "default"))
        return error_set(e, ERROR_model, "'%s': rope type '%.40s' is not understood; 'default' is",
                         key, type);
    if (read_number(rope, "partial_rotary_factor", &partial, e))
        return error_wrap(e, "'%s'", key);
    if (partial < 1 || partial > 1)
        return error_set(e, ERROR_model, "'%s': partial_rotary_factor %g is not understood", key,
                         partial);
    return 0;
}

/* rope_parameters (transformers 5) goes before rope_theta and rope_scaling (4). */
static int
read_rope(const json_t *json, double *theta, struct error *e)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};

    if (read_number(json, "rope_theta", theta, e) || refuse_rope(json, "config", e))
        return ERROR_model;
    for (int i = 0; i < 2; i++) {
        const json_t *rope = json_object_get(json, keys[i]);

        if (!is_set(rope))
            continue;
        if (!json_is_object(rope))
            return error_set(e, ERROR_model, "'%s' must be an object", keys[i]);
        if (refuse_rope(rope, keys[i], e))
            return ERROR_model;
        if (i == 0 && read_number(rope, "rope_theta", theta, e))
            return error_wrap(e, "'rope_parameters'");
    }
    return 0;
}

/* Sliding attention counts only where use_sliding_window or a row of layer_types says so. */
static int
refuse_sliding(const json_t *json, const struct model_config *c, struct error *e)
{
    const json_t *types = json_object_get(json, "layer_types"), *type;
    int64_t full_layers = 28;
    int sliding = 0;
    size_t i;

    if (read_flag(json, "use_sliding_window", &sliding, e) ||
        read_integer(json, "max_window_layers", 0, &full_layers, e))
        return ERROR_model;
    if (json_is_array(types)) {
        sliding = 0;
        json_array_foreach(
            types, i,
            type) if (!json_is_string(type) ||
                      strcmp(json_string_value(type),
                             "full_attention")) return error_set(e, ERROR_model,
                                                                 "'layer_types': only "
                                                                 "'full_attention' is understood");
    }
    if (sliding && full_layers < c->num_hidden_layers)
        return error_set(e, ERROR_model,
                         "'use_sliding_window' is true; only full attention is understood");
    return 0;
}

static int
refuse_others(const json_t *json, struct error *e)
{
    const json_t *type = json_object_get(json, "model_type"),
                 *act = json_object_get(json, "hidden_act");
    int bias = 0;

    if (!json_is_string(type))
        return error_set(e, ERROR_model, "'model_type' is missing; 'qwen2' is understood");
    if (strcmp(json_string_value(type), "qwen2"))
        return error_set(e, ERROR_model, "model_type '%.60s' is not understood; 'qwen2' is",
                         json_string_value(type));
    if (is_set(json_object_get(json, "quantization_config")))
        return error_set(e, ERROR_model,
                         "'quantization_config': quantised checkpoints are not understood");
    if (is_set(act) && (!json_is_string(act) || strcmp(json_string_value(act), "silu")))
        return error_set(e, ERROR_model, "hidden_act '%.40s' is not understood; 'silu' is",
                         json_is_string(act) ? json_string_value(act) : "?");
    if (read_flag(json, "mlp_bias", &bias, e))
        return ERROR_model;
    return bias ? error_set(e, ERROR_model, "'mlp_bias' is true; qwen2 has none") : 0;
}

/* The class decides the head: a language model, or labels for every token. */
static int
read_head(const json_t *json, struct model_config *c, struct error *e)
{
    const json_t *classes = json_object_get(json, "architectures");
    const json_t *labels = json_object_get(json, "id2label");
    const char *class = json_string_value(json_array_get(classes, 0));
    int bias = 1;

    c->num_labels = 0;
    if (!class || strcmp(class, "Qwen2ForCausalLM") == 0)
        return 0;
    if (strcmp(class, "Qwen2ForTokenClassification"))
        return error_set(e, ERROR_model,
                         "architecture '%.80s' is not understood; Qwen2ForCausalLM and "
                         "Qwen2ForTokenClassification are",
                         class);
    c->num_labels = LABELS_DEFAULT;
    if (read_integer(json, "num_labels", 0, &c->num_labels, e) ||
        read_flag(json, "token_classification_bias", &bias, e))
        return ERROR_model;
    if (json_is_object(labels))
        c->num_labels = (int64_t)json_object_size(labels);
    if (c->num_labels < 1)
        return error_set(e, ERROR_model, "a token classifier needs at least one label");
    return bias ? 0
                : error_set(e, ERROR_model,
                            "'token_classification_bias' is false; only a head with "
                            "bias is understood");
}

static int
read_json(struct model_config *c, const json_t *json, struct error *e)
{
    int rc;

    *c = model_config_default();
    c->max_position_embeddings = 32768;
    c->tie_word_embeddings = 0; /* the class's own default */
    if (!json_is_object(json))
        return error_set(e, ERROR_model, "must be an object");
    if (refuse_others(json, e) || read_head(json, c, e) ||
        read_integer(json, "vocab_size", 1, &c->vocab_size, e) ||
        read_integer(json, "hidden_size", 1, &c->hidden_size, e) ||
        read_integer(json, "intermediate_size", 1, &c->intermediate_size, e) ||
        read_integer(json, "num_hidden_layers", 1, &c->num_hidden_layers, e) ||
        read_integer(json, "num_attention_heads", 1, &c->num_attention_heads, e))
        return ERROR_model;
    c->num_key_value_heads = c->num_attention_heads;
    c->head_dim = 0;
    rc = read_integer(json, "num_key_value_heads", 0, &c->num_key_value_heads, e);
    if (rc || read_integer(json, "head_dim", 0, &c->head_dim, e) ||
        read_integer(json, "max_position_embeddings", 0, &c->max_position_embeddings, e) ||
        read_number(json, "rms_norm_eps", &c->rms_norm_eps, e) ||
        read_number(json, "initializer_range", &c->initializer_range, e) ||
        read_flag(json, "tie_word_embeddings", &c->tie_word_embeddings, e) ||
        read_rope(json, &c->rope_theta, e) || refuse_sliding(json, c, e) ||
        read_first_id(json, "bos_token_id", &c->bos_token_id, e) ||
        read_first_id(json, "eos_token_id", &c->eos_token_id, e) ||
        read_first_id(json, "pad_token_id", &c->pad_token_id, e))
        return ERROR_model;
    return model_config_check(c, e);
}

int
model_config_parse(struct model_config *c, struct span text, struct error *e)
{
    json_t *json = document_parse(text, &limits, e);
    int rc = json ? read_json(c, json, e) : ERROR_model;

    json_decref(json);
    return rc;
}

int
model_config_read(struct model_config *c, const char *dir, struct error *e)
{
    char *path = xprint("%s/config.json", dir);
    json_t *json = document_read(path, &limits, e);
    int rc = json ? read_json(c, json, e) : ERROR_model;

    if (json && rc)
        error_wrap(e, "%s", path);
    json_decref(json);
    free(path);
    return rc;
}

int
model_stops_read(struct model_stops *stops, const char *dir, struct error *e)
{
    static const char *const files[] = {"config.json", "generation_config.json"};
    int rc = 0;

    *stops = (struct model_stops){0};
    for (int i = 0; i < 2 && rc == 0; i++) {
        char *path = xprint("%s/%s", dir, files[i]);
        json_t *json = NULL;

        if (i == 0 || access(path, F_OK) == 0) {
            json = document_read(path, &limits, e);
            rc = json ? read_ids(json, "eos_token_id", stops, e) : ERROR_model;
            if (json && rc)
                error_wrap(e, "%s", path);
        }
        json_decref(json);
        free(path);
    }
    return rc;
}

/* The shortest decimal that reads back as VALUE, with a point or an exponent as Python writes
 * floats. */
static void
write_real(struct buffer *out, const char *key, double value)
{
    char text[40];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (fabs(strtod(text, NULL) - value) <= 0)
            break;
    }
    buffer_print(out, "  \"%s\": %s%s,\n", key, text, strpbrk(text, ".e") ? "" : ".0");
}

static void
write_integer(struct buffer *out, const char *key, int64_t value)
{
    buffer_print(out, "  \"%s\": %lld,\n", key, (long long)value);
}

static void
write_id(struct buffer *out, const char *key, int64_t id)
{
    if (id >= 0)
        write_integer(out, key, id);
}

static void
write_labels(struct buffer *out, int64_t count)
{
    buffer_text(out, "  \"id2label\": {");
    for (int64_t i = 0; i < count; i++)
        buffer_print(out, "%s\"%lld\": \"LABEL_%lld\"", i ? ", " : "", (long long)i, (long long)i);
    buffer_text(out, "},\n  \"label2id\": {");
    for (int64_t i = 0; i < count; i++)
        buffer_print(out, "%s\"LABEL_%lld\": %lld", i ? ", " : "", (long long)i, (long long)i);
    buffer_text(out, "},\n");
}

void
model_config_write(const struct model_config *c, struct buffer *out)
{
    buffer_print(out, "{\n  \"architectures\": [\"%s\"],\n  \"attention_dropout\": 0.0,\n",
                 c->num_labels ? "Qwen2ForTokenClassification" : "Qwen2ForCausalLM");
    write_id(out, "bos_token_id", c->bos_token_id);
    write_id(out, "eos_token_id", c->eos_token_id);
    if (c->head_dim * c->num_attention_heads != c->hidden_size)
        write_integer(out, "head_dim", c->head_dim);
    buffer_text(out, "  \"hidden_act\": \"silu\",\n");
    write_integer(out, "hidden_size", c->hidden_size);
    if (c->num_labels)
        write_labels(out, c->num_labels);
    write_real(out, "initializer_range", c->initializer_range);
    write_integer(out, "intermediate_size", c->intermediate_size);
    write_integer(out, "max_position_embeddings", c->max_position_embeddings);
    write_integer(out, "max_window_layers", c->num_hidden_layers);
    buffer_text(out, "  \"model_type\": \"qwen2\",\n");
    write_integer(out, "num_attention_heads", c->num_attention_heads);
    write_integer(out, "num_hidden_layers", c->num_hidden_layers);
    write_integer(out, "num_key_value_heads", c->num_key_value_heads);
    write_id(out, "pad_token_id", c->pad_token_id);
    write_real(out, "rms_norm_eps", c->rms_norm_eps);
    /* transformers 4 reads rope_theta, 5 rope_parameters */
    buffer_text(out, "  \"rope_parameters\": {\n  ");
    write_real(out, "rope_theta", c->rope_theta);
    buffer_text(out, "    \"rope_type\": \"default\"\n  },\n");
    write_real(out, "rope_theta", c->rope_theta);
    buffer_print(out, "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"float32\",\n",
                 c->tie_word_embeddings ? "true" : "false");
    buffer_text(out, "  \"use_cache\": true,\n  \"use_sliding_window\": false,\n");
    buffer_print(out, "  \"vocab_size\": %lld\n}\n", (long long)c->vocab_size);
}

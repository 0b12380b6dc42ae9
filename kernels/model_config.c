#include "kernels/model_config.h"

#include "kernels/document.h"
#include "kernels/model_family.h"
#include "kernels/model_keys.h"

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

/* KEY as one id or a list of ids, added to STOPS without repetition. */
static int
read_ids(const json_t *json, const char *key, struct model_stops *stops, struct error *e)
{
    const json_t *value = json_object_get(json, key);
    size_t count = json_is_array(value) ? json_array_size(value) : keys_set(value) ? 1 : 0;

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

/* Does some layer's attention slide? layer_types goes before the flag. */
static int
read_layer_types(const json_t *types, int *slides, struct error *e)
{
    const json_t *type;
    size_t i;

    if (!json_is_array(types))
        return error_set(e, ERROR_model, "'layer_types' must be a list");
    *slides = 0;
    json_array_foreach(types, i, type)
    {
        const char *name = json_string_value(type);

        if (!name || (strcmp(name, "full_attention") && strcmp(name, "sliding_attention")))
            return error_set(e, ERROR_model,
                             "'layer_types': '%.40s' is not understood; full_attention and "
                             "sliding_attention are",
                             name ? name : "?");
        *slides |= strcmp(name, "sliding_attention") == 0;
    }
    return 0;
}

/* sliding_window of C: 0 unless some layer slides. */
static int
read_window(const json_t *json, const struct model_family *f, struct model_config *c,
            struct error *e)
{
    const json_t *types = json_object_get(json, "layer_types"),
                 *window = json_object_get(json, "sliding_window");
    int64_t full_layers = 28;
    int slides = 0;

    c->sliding_window = json_is_null(window) ? 0 : f->window_default;
    if (keys_integer(json, "sliding_window", 0, &c->sliding_window, e))
        return ERROR_model;
    if (f->window == FAMILY_WINDOW_flag) {
        if (keys_flag(json, "use_sliding_window", &slides, e) ||
            keys_integer(json, "max_window_layers", 0, &full_layers, e))
            return ERROR_model;
        slides = slides && full_layers < c->num_hidden_layers;
    }
    if (f->window == FAMILY_WINDOW_plain)
        slides = c->sliding_window > 0;
    else if (keys_set(types) && read_layer_types(types, &slides, e))
        return ERROR_model;
    if (slides && c->sliding_window < 1)
        return error_set(e, ERROR_model, "'sliding_window' must say how far attention slides");
    if (!slides)
        c->sliding_window = 0;
    return 0;
}

/* attention_bias and mlp_bias, where the family leaves them open. */
static int
read_biases(const json_t *json, const struct model_family *f, struct model_config *c,
            struct error *e)
{
    int attention = 0, mlp = 0;

    if (keys_flag(json, "attention_bias", &attention, e) || keys_flag(json, "mlp_bias", &mlp, e))
        return ERROR_model;
    c->attention_bias = f->attention_bias == FAMILY_BIAS_key && attention;
    c->output_bias = f->output_bias == FAMILY_BIAS_key && attention;
    c->mlp_bias = mlp; /* the check refuses it where the family has none */
    return 0;
}

static int
read_family(const json_t *json, const struct model_family **family, struct error *e)
{
    const json_t *type = json_object_get(json, "model_type"),
                 *act = json_object_get(json, "hidden_act");

    if (!json_is_string(type))
        return error_set(e, ERROR_model, "'model_type' is missing; %s are understood",
                         MODEL_FAMILIES);
    *family = model_family_find(json_string_value(type));
    if (!*family)
        return error_set(e, ERROR_model, "model_type '%.60s' is not understood; %s are",
                         json_string_value(type), MODEL_FAMILIES);
    if (keys_set(json_object_get(json, "quantization_config")))
        return error_set(e, ERROR_model,
                         "'quantization_config': quantised checkpoints are not understood; one in "
                         "BF16, F16 or F32 is");
    if (keys_set(act) && (!json_is_string(act) || strcmp(json_string_value(act), "silu")))
        return error_set(e, ERROR_model, "hidden_act '%.40s' is not understood; 'silu' is",
                         json_is_string(act) ? json_string_value(act) : "?");
    return 0;
}

/* The class decides the head. */
static int
read_head(const json_t *json, const struct model_family *f, struct model_config *c, struct error *e)
{
    const json_t *classes = json_object_get(json, "architectures");
    const json_t *labels = json_object_get(json, "id2label");
    const char *class = json_string_value(json_array_get(classes, 0));
    int head = class ? model_head_find(f, class) : MODEL_HEAD_language, bias = 1;

    c->num_labels = 0;
    if (head < 0)
        return error_set(e, ERROR_model,
                         "architecture '%.80s' is not understood; %s followed by ForCausalLM, "
                         "ForTokenClassification, ForSequenceClassification, "
                         "ForProcessRewardModel or ForPrmModel is",
                         class, f->prefix);
    c->head = (enum model_head)head;
    if (head == MODEL_HEAD_language)
        return 0;
    c->num_labels = head == MODEL_HEAD_value ? 1 : LABELS_DEFAULT;
    if (head == MODEL_HEAD_value)
        return 0; /* whatever the backbone's file says of labels */
    if (keys_integer(json, "num_labels", 0, &c->num_labels, e) ||
        keys_flag(json, "token_classification_bias", &bias, e))
        return ERROR_model;
    if (json_is_object(labels))
        c->num_labels = (int64_t)json_object_size(labels);
    if (c->num_labels < 1)
        return error_set(e, ERROR_model, "a classifier needs at least one label");
    return bias || head != MODEL_HEAD_token
               ? 0
               : error_set(e, ERROR_model,
                           "'token_classification_bias' is false; only a head with bias is "
                           "understood");
}

static int
read_sizes(const json_t *json, const struct model_family *f, struct model_config *c,
           struct error *e)
{
    if (keys_integer(json, "vocab_size", 1, &c->vocab_size, e) ||
        keys_integer(json, "hidden_size", 1, &c->hidden_size, e) ||
        keys_integer(json, "intermediate_size", 1, &c->intermediate_size, e) ||
        keys_integer(json, "num_hidden_layers", 1, &c->num_hidden_layers, e) ||
        keys_integer(json, "num_attention_heads", 1, &c->num_attention_heads, e))
        return ERROR_model;
    c->num_key_value_heads = c->num_attention_heads;
    c->head_dim = json_is_null(json_object_get(json, "head_dim")) ? 0 : f->head_dim;
    c->max_position_embeddings = f->positions;
    return keys_integer(json, "num_key_value_heads", 0, &c->num_key_value_heads, e) ||
                   keys_integer(json, "head_dim", 0, &c->head_dim, e) ||
                   keys_integer(json, "max_position_embeddings", 0, &c->max_position_embeddings, e)
               ? ERROR_model
               : 0;
}

static int
read_json(struct model_config *c, const json_t *json, struct error *e)
{
    const struct model_family *f = NULL;

    *c = model_config_default();
    c->tie_word_embeddings = 0; /* the class's own default */
    if (!json_is_object(json))
        return error_set(e, ERROR_model, "must be an object");
    if (read_family(json, &f, e))
        return ERROR_model;
    snprintf(c->family, sizeof(c->family), "%s", f->name);
    if (read_head(json, f, c, e) || read_sizes(json, f, c, e) ||
        keys_number(json, "rms_norm_eps", &c->rms_norm_eps, e) ||
        keys_number(json, "initializer_range", &c->initializer_range, e) ||
        keys_flag(json, "tie_word_embeddings", &c->tie_word_embeddings, e) ||
        read_biases(json, f, c, e) || model_rope_read(json, c, e) || read_window(json, f, c, e) ||
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


/* The directory of an encoder: its config.json, and every tensor by its name and shape. */
#include "kernels/encoder_parts.h"

#include "kernels/document.h"
#include "kernels/model_config.h"
#include "kernels/model_keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_DEFAULT 2 /* of transformers, where a config says nothing */

static const struct document_limits limits = {
    .bytes = MODEL_CONFIG_BYTES_MAX,
    .values = 1 << 20,
    .depth = 64,
};

/* KEY must be WANTED where it is there. */
static int
read_word(const json_t *json, const char *key, const char *wanted, struct error *e)
{
    const json_t *value = json_object_get(json, key);

    if (!keys_set(value) || (json_is_string(value) && !strcmp(json_string_value(value), wanted)))
        return 0;
    return error_set(e, ERROR_model, "'%s': '%.40s' is not understood; '%s' is", key,
                     json_is_string(value) ? json_string_value(value) : "?", wanted);
}

static int
read_class(const json_t *json, struct error *e)
{
    const char *type = json_string_value(json_object_get(json, "model_type"));
    const char *class =
        json_string_value(json_array_get(json_object_get(json, "architectures"), 0));
    int decodes = 0;

    if (!type || (strcmp(type, "xlm-roberta") && strcmp(type, "xlm-token")))
        return error_set(e, ERROR_model,
                         "model_type '%.60s' is not understood; xlm-roberta and xlm-token are",
                         type ? type : "");
    if (!class || (strcmp(class, "XLMRobertaForTokenClassification") &&
                   strcmp(class, "SubwordXLMForTokenClassification")))
        return error_set(e, ERROR_model,
                         "architecture '%.80s' is not understood; XLMRobertaForTokenClassification "
                         "and SubwordXLMForTokenClassification are",
                         class ? class : "");
    if (read_word(json, "hidden_act", "gelu", e) ||
        read_word(json, "position_embedding_type", "absolute", e) ||
        keys_flag(json, "is_decoder", &decodes, e))
        return ERROR_model;
    if (decodes)
        return error_set(e, ERROR_model, "'is_decoder' is true; an encoder is wanted");
    return 0;
}

static int
in_range(const char *key, int64_t value, int64_t low, int64_t high, struct error *e)
{
    if (value >= low && value <= high)
        return 0;
    return error_set(e, ERROR_model, "'%s' is %lld; it must be from %lld to %lld", key,
                     (long long)value, (long long)low, (long long)high);
}

static int
check_sizes(const struct encoder_config *c, struct error *e)
{
    if (in_range("vocab_size", c->vocab_size, 1, MODEL_VOCAB_MAX, e) ||
        in_range("hidden_size", c->hidden_size, 1, MODEL_WIDTH_MAX, e) ||
        in_range("intermediate_size", c->intermediate_size, 1, MODEL_INNER_MAX, e) ||
        in_range("num_hidden_layers", c->layers, 1, MODEL_LAYERS_MAX, e) ||
        in_range("num_attention_heads", c->heads, 1, c->hidden_size, e) ||
        in_range("pad_token_id", c->pad, 0, c->vocab_size - 1, e) ||
        in_range("max_position_embeddings", c->positions, c->pad + 4, MODEL_POSITIONS_MAX, e) ||
        in_range("type_vocab_size", c->types, 1, MODEL_LABELS_MAX, e) ||
        in_range("num_labels", c->labels, 1, MODEL_LABELS_MAX, e) ||
        in_range("lookahead", c->lookahead, -1, MODEL_POSITIONS_MAX, e))
        return ERROR_model;
    if (c->lookahead_layers != -1 &&
        in_range("lookahead_split_layers", c->lookahead_layers, 1, c->layers, e))
        return ERROR_model;
    if (c->hidden_size % c->heads)
        return error_set(e, ERROR_model, "'num_attention_heads' must divide 'hidden_size'");
    if (!(c->eps > 0) || !isfinite(c->eps))
        return error_set(e, ERROR_model, "'layer_norm_eps' must be a number above 0");
    return 0;
}

static int
read_config(const json_t *json, struct encoder_config *c, struct error *e)
{
    const json_t *labels = json_object_get(json, "id2label");

    *c = (struct encoder_config){.positions = 512, .types = 2, .labels = LABELS_DEFAULT, .pad = 1,
                                 .lookahead = -1, .lookahead_layers = -1, .eps = 1e-12};
    if (!json_is_object(json))
        return error_set(e, ERROR_model, "must be an object");
    if (read_class(json, e) || keys_integer(json, "vocab_size", 1, &c->vocab_size, e) ||
        keys_integer(json, "hidden_size", 1, &c->hidden_size, e) ||
        keys_integer(json, "intermediate_size", 1, &c->intermediate_size, e) ||
        keys_integer(json, "num_hidden_layers", 1, &c->layers, e) ||
        keys_integer(json, "num_attention_heads", 1, &c->heads, e) ||
        keys_integer(json, "max_position_embeddings", 0, &c->positions, e) ||
        keys_integer(json, "type_vocab_size", 0, &c->types, e) ||
        keys_integer(json, "pad_token_id", 0, &c->pad, e) ||
        keys_integer(json, "num_labels", 0, &c->labels, e) ||
        keys_integer(json, "lookahead", 0, &c->lookahead, e) ||
        keys_integer(json, "lookahead_split_layers", 0, &c->lookahead_layers, e) ||
        keys_number(json, "layer_norm_eps", &c->eps, e))
        return ERROR_model;
    if (json_is_object(labels) && json_object_size(labels) > 0)
        c->labels = (int64_t)json_object_size(labels);
    return check_sizes(c, e);
}

static int
config_read(const char *dir, struct encoder_config *c, struct error *e)
{
    char *path = xprint("%s/config.json", dir);
    json_t *json = document_read(path, &limits, e);
    int rc = json ? read_config(json, c, e) : ERROR_model;

    if (json && rc)
        error_wrap(e, "%s", path);
    json_decref(json);
    free(path);
    return rc;
}

/* Tensors of a directory being opened. An export of the bare encoder has no "roberta.", but then it
 * has no classifier either and is refused. */
struct reading {
    const struct model_shards *shards;
    int load;       /* 0: look only */
    int64_t found;
    struct error *e;
    int rc;
};

/* The tensor NAME with shape (rows, columns), columns 0: (rows). NULL where it is not so. */
static const struct safetensors_entry *
require(struct reading *r, const char *name, int64_t rows, int64_t columns)
{
    int64_t shape[2] = {rows, columns};
    const struct safetensors_entry *entry = model_shards_find(r->shards, name, &(int){0});
    char wanted[100], held[200];

    if (r->rc)
        return NULL;
    safetensors_shape(shape, columns ? 2 : 1, wanted, sizeof(wanted));
    if (!entry) {
        r->rc = error_set(r->e, ERROR_model,
                          "tensor '%s' is missing; the config implies it with shape %s", name,
                          wanted);
        return NULL;
    }
    safetensors_shape(entry->shape, entry->rank, held, sizeof(held));
    if (strcmp(wanted, held))
        r->rc = error_set(r->e, ERROR_model, "tensor '%s' has shape %s; the config implies %s",
                          name, held, wanted);
    else if (entry->type != SAFETENSORS_F32 && entry->type != SAFETENSORS_F16 &&
             entry->type != SAFETENSORS_BF16)
        r->rc = error_set(r->e, ERROR_model,
                          "tensor '%s' holds %s; F32, F16 and BF16 are understood", name,
                          safetensors_type_name(entry->type));
    r->found++;
    return r->rc ? NULL : entry;
}

/* The tensor NAME into OUT, or into an array that is made for it. */
static float *
floats(struct reading *r, const char *name, int64_t rows, int64_t columns, float *out)
{
    const struct safetensors_entry *entry = require(r, name, rows, columns);

    if (!entry || !r->load)
        return NULL;
    if (!out)
        out = xaligned((size_t)entry->elements * sizeof(float));
    r->rc = safetensors_floats(entry, out, r->e);
    return out;
}

static void
read_norm(struct reading *r, const char *prefix, int64_t width, struct encoder_norm *n)
{
    char name[MODEL_NAME_MAX];

    snprintf(name, sizeof(name), "%s.LayerNorm.weight", prefix);
    n->weight = floats(r, name, width, 0, NULL);
    snprintf(name, sizeof(name), "%s.LayerNorm.bias", prefix);
    n->bias = floats(r, name, width, 0, NULL);
}

/* COUNT linear layers of the same input as one: weights packed, biases side by side. */
static void
read_linear(struct reading *r, const char *prefix, const char *const *parts, int count, int64_t out,
            int64_t in, struct matmul_weight *weight, float **bias)
{
    char name[MODEL_NAME_MAX];
    float *w = r->load ? xaligned((size_t)(count * out * in) * sizeof(float)) : NULL;

    *bias = r->load ? xaligned((size_t)(count * out) * sizeof(float)) : NULL;
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s.%s.weight", prefix, parts[i]);
        floats(r, name, out, in, w ? w + i * out * in : NULL);
        snprintf(name, sizeof(name), "%s.%s.bias", prefix, parts[i]);
        floats(r, name, out, 0, *bias ? *bias + i * out : NULL);
    }
    if (w && r->rc == 0)
        matmul_pack(weight, count * out, in, w);
    free(w);
}

static void
read_layer(struct reading *r, const struct encoder_config *c, int64_t i, struct encoder_layer *l)
{
    static const char *const qkv[] = {"attention.self.query", "attention.self.key",
                                      "attention.self.value"};
    static const char *const out[] = {"attention.output.dense"}, *const up[] = {"intermediate.dense"},
                             *const down[] = {"output.dense"};
    int64_t h = c->hidden_size, inner = c->intermediate_size;
    char prefix[64], name[96];

    snprintf(prefix, sizeof(prefix), "roberta.encoder.layer.%d", (int)i);
    read_linear(r, prefix, qkv, 3, h, h, &l->qkv, &l->qkv_bias);
    read_linear(r, prefix, out, 1, h, h, &l->out, &l->out_bias);
    read_linear(r, prefix, up, 1, inner, h, &l->up, &l->up_bias);
    read_linear(r, prefix, down, 1, h, inner, &l->down, &l->down_bias);
    snprintf(name, sizeof(name), "%s.attention.output", prefix);
    read_norm(r, name, h, &l->attention_norm);
    snprintf(name, sizeof(name), "%s.output", prefix);
    read_norm(r, name, h, &l->output_norm);
}

/* May a checkpoint carry this beside the encoder's own? */
static int
is_aside(const char *name)
{
    return strncmp(name, "roberta.pooler.", 15) == 0 ||
           strcmp(name, "roberta.embeddings.position_ids") == 0 ||
           strcmp(name, "roberta.embeddings.token_type_ids") == 0;
}

static int
check_all_used(struct reading *r, const struct encoder_config *c)
{
    int64_t held = 0, layer;
    const char *stranger = "";

    for (int f = 0; f < r->shards->count; f++)
        for (int i = 0; i < r->shards->files[f].count; i++) {
            const char *name = r->shards->files[f].entries[i].name;

            held += !is_aside(name);
            if (sscanf(name, "roberta.encoder.layer.%lld.", (long long *)&layer) == 1 &&
                layer >= c->layers)
                stranger = name;
        }
    if (held == r->found)
        return 0;
    return error_set(r->e, ERROR_model,
                     "the files hold %lld tensors, the config implies %lld%s%.90s",
                     (long long)held, (long long)r->found, *stranger ? "; too many is " : "",
                     stranger);
}

static int
read_tensors(struct encoder *m, int load, struct error *e)
{
    const struct encoder_config *c = &m->config;
    struct reading r = {.shards = &m->shards, .load = load, .e = e};
    const char *const embeddings = "roberta.embeddings";
    float *types;

    m->words =
        require(&r, "roberta.embeddings.word_embeddings.weight", c->vocab_size, c->hidden_size);
    m->positions = floats(&r, "roberta.embeddings.position_embeddings.weight", c->positions,
                          c->hidden_size, NULL);
    types = floats(&r, "roberta.embeddings.token_type_embeddings.weight", c->types, c->hidden_size,
                   NULL);
    m->type = types; /* its first row is what is used */
    read_norm(&r, embeddings, c->hidden_size, &m->norm);
    for (int64_t i = 0; i < c->layers && r.rc == 0; i++) {
        struct encoder_layer none = {0};

        read_layer(&r, c, i, load ? &m->layers[i] : &none);
    }
    m->classifier = floats(&r, "classifier.weight", c->labels, c->hidden_size, NULL);
    m->classifier_bias = floats(&r, "classifier.bias", c->labels, 0, NULL);
    return r.rc ? r.rc : check_all_used(&r, c);
}

int
encoder_check(const char *dir, struct encoder_config *config, struct error *e)
{
    struct encoder m = {0};
    int rc = config_read(dir, config, e);

    if (rc)
        return rc;
    m.config = *config;
    rc = model_shards_open(&m.shards, dir, e);
    if (rc)
        return rc;
    rc = read_tensors(&m, 0, e);
    model_shards_close(&m.shards);
    return rc;
}

struct encoder *
encoder_open(const char *dir, struct error *e)
{
    struct encoder_config config;
    struct encoder *m;

    if (encoder_check(dir, &config, e)) { /* before the config may ask for memory */
        error_wrap(e, "%s", dir);
        return NULL;
    }
    m = xalloc(sizeof(*m));
    m->config = config;
    m->layers = xarray((size_t)config.layers, sizeof(*m->layers));
    if (model_shards_open(&m->shards, dir, e) == 0 && read_tensors(m, 1, e) == 0)
        return m;
    error_wrap(e, "%s", dir);
    encoder_close(m);
    return NULL;
}

static void
free_layer(struct encoder_layer *l)
{
    matmul_weight_free(&l->qkv);
    matmul_weight_free(&l->out);
    matmul_weight_free(&l->up);
    matmul_weight_free(&l->down);
    free(l->qkv_bias);
    free(l->out_bias);
    free(l->up_bias);
    free(l->down_bias);
    free(l->attention_norm.weight);
    free(l->attention_norm.bias);
    free(l->output_norm.weight);
    free(l->output_norm.bias);
}

void
encoder_close(struct encoder *m)
{
    if (!m)
        return;
    for (int64_t i = 0; i < m->config.layers; i++)
        free_layer(&m->layers[i]);
    for (int i = 0; i < m->attentions; i++)
        attention_free(&m->attention[i]);
    free(m->attention);
    free(m->layers);
    free(m->positions);
    free(m->type);
    free(m->norm.weight);
    free(m->norm.bias);
    free(m->classifier);
    free(m->classifier_bias);
    matmul_free(&m->scratch);
    free(m->x);
    free(m->qkv);
    free(m->mixed);
    free(m->inner);
    free(m->largest);
    free(m->inverse);
    model_shards_close(&m->shards);
    free(m);
}

int64_t
encoder_length_max(const struct encoder_config *c)
{
    return c->positions - c->pad - 1;
}

const struct encoder_config *
encoder_configuration(const struct encoder *m)
{
    return &m->config;
}

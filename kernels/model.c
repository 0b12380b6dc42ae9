/* The layout of a model's weights, and its first values. */
#include "kernels/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/model_family.h"
#include "kernels/model_source.h"
#include "kernels/random.h"

struct model_config
model_config_default(void)
{
    return (struct model_config){
        .family = "qwen2",
        .max_position_embeddings = 32768,
        .rms_norm_eps = 1e-6,
        .rope_theta = 10000.0,
        .initializer_range = 0.02,
        .tie_word_embeddings = 1,
        .bos_token_id = -1,
        .eos_token_id = -1,
        .pad_token_id = -1,
    };
}

static int
check_size(const char *key, int64_t value, int64_t low, int64_t high, struct error *e)
{
    if (value >= low && value <= high)
        return 0;
    return error_set(e, ERROR_model, "%s: %lld is not in %lld..%lld", key, (long long)value,
                     (long long)low, (long long)high);
}

static int
check_id(const char *key, int64_t id, int64_t vocab, struct error *e)
{
    return id == -1 ? 0 : check_size(key, id, 0, vocab - 1, e);
}

static int
check_numbers(const struct model_config *c, struct error *e)
{
    if (!(c->rms_norm_eps > 0 && c->rms_norm_eps < 1))
        return error_set(e, ERROR_model, "rms_norm_eps: %g is not in (0, 1)", c->rms_norm_eps);
    if (!(c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return error_set(e, ERROR_model, "rope_theta: %g is not in 1..1e12", c->rope_theta);
    if (!(c->initializer_range > 0 && c->initializer_range <= 10))
        return error_set(e, ERROR_model, "initializer_range: %g is not in (0, 10]",
                         c->initializer_range);
    return 0;
}

static int
check_heads(struct model_config *c, struct error *e)
{
    int status;

    if (c->num_attention_heads % c->num_key_value_heads != 0)
        return error_set(e, ERROR_model, "num_key_value_heads: %lld does not divide %lld heads",
                         (long long)c->num_key_value_heads, (long long)c->num_attention_heads);
    if (c->head_dim == 0) {
        if (c->hidden_size % c->num_attention_heads != 0)
            return error_set(e, ERROR_model,
                             "num_attention_heads: %lld does not divide hidden_size %lld",
                             (long long)c->num_attention_heads, (long long)c->hidden_size);
        c->head_dim = c->hidden_size / c->num_attention_heads;
    }
    if ((status = check_size("head_dim", c->head_dim, 2,
                             MODEL_WIDTH_MAX / c->num_attention_heads, e)) != 0)
        return status;
    if (c->head_dim % 2 != 0)
        return error_set(e, ERROR_model, "head_dim: %lld is odd", (long long)c->head_dim);
    return 0;
}

static int
check_bias(enum family_bias rule, const char *what, const char *family, int *flag, struct error *e)
{
    if (rule == FAMILY_BIAS_never && *flag)
        return error_set(e, ERROR_model, "%s: %s has no such bias", what, family);
    *flag = rule == FAMILY_BIAS_always || *flag;
    return 0;
}

/* What the family leaves no choice in. */
static int
check_family(struct model_config *c, struct error *e)
{
    const struct model_family *f;
    int status;

    c->family[MODEL_FAMILY_MAX - 1] = 0;
    f = model_family_find(c->family);
    if (f == NULL)
        return error_set(e, ERROR_model, "model_type: '%s' is not supported (%s are)", c->family,
                         MODEL_FAMILIES);
    c->qk_norm = f->qk_norm;
    if ((status = check_bias(f->attention_bias, "attention_bias", f->name, &c->attention_bias, e))
        != 0
        || (status = check_bias(f->output_bias, "attention_bias", f->name, &c->output_bias, e)) != 0)
        return status;
    return check_bias(f->mlp_bias, "mlp_bias", f->name, &c->mlp_bias, e);
}

/* One of the two may be left to the other: labels say that it is a classifier. */
static int
check_head(struct model_config *c, struct error *e)
{
    if (c->head == MODEL_HEAD_language && c->num_labels > 0)
        c->head = MODEL_HEAD_token;
    if (c->head != MODEL_HEAD_language && c->num_labels == 0)
        return error_set(e, ERROR_model, "num_labels: a classifier needs at least one label");
    return 0;
}

int
model_config_check(struct model_config *c, struct error *e)
{
    const struct {
        const char *key;
        int64_t     value, low, high;
    } sizes[] = {
        {"vocab_size", c->vocab_size, 1, MODEL_VOCAB_MAX},
        {"hidden_size", c->hidden_size, 1, MODEL_WIDTH_MAX},
        {"intermediate_size", c->intermediate_size, 1, MODEL_INNER_MAX},
        {"num_hidden_layers", c->num_hidden_layers, 1, MODEL_LAYERS_MAX},
        {"max_position_embeddings", c->max_position_embeddings, 1, MODEL_POSITIONS_MAX},
        {"num_labels", c->num_labels, 0, MODEL_LABELS_MAX},
        {"sliding_window", c->sliding_window, 0, MODEL_POSITIONS_MAX},
        {"num_attention_heads", c->num_attention_heads, 1, MODEL_WIDTH_MAX},
        {"num_key_value_heads", c->num_key_value_heads, 1, c->num_attention_heads},
    };
    int status;

    if ((status = check_family(c, e)) != 0 || (status = check_head(c, e)) != 0)
        return status;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((status = check_size(sizes[i].key, sizes[i].value, sizes[i].low, sizes[i].high, e)) != 0)
            return status;
    if ((status = check_heads(c, e)) != 0
        || (status = check_id("bos_token_id", c->bos_token_id, c->vocab_size, e)) != 0
        || (status = check_id("eos_token_id", c->eos_token_id, c->vocab_size, e)) != 0
        || (status = check_id("pad_token_id", c->pad_token_id, c->vocab_size, e)) != 0)
        return status;
    c->positions_usable = c->max_position_embeddings;
    if (c->sliding_window > 0 && c->sliding_window < c->positions_usable)
        c->positions_usable = c->sliding_window;
    if ((status = check_numbers(c, e)) != 0)
        return status;
    return rope_scaling_check(&c->rope_scaling, e);
}

#define TENSORS_PER_LAYER 18
#define TENSORS_BESIDE    6     /* embedding, final norm, head, its bias, the layer before it */

static int64_t
add_tensor(struct model *m, const char *name, int64_t rows, int64_t columns, int decay)
{
    struct model_tensor *t = &m->tensors[m->tensor_count++];

    snprintf(t->name, sizeof t->name, "%s", name);
    t->dims = columns == 0 ? 1 : 2;
    t->shape[0] = rows;
    t->shape[1] = columns == 0 ? 1 : columns;
    t->offset = m->count;
    t->count = t->shape[0] * t->shape[1];
    t->decay = decay;
    m->count += t->count;
    return t->offset;
}

static int64_t
add_part(struct model *m, int64_t layer, const char *part, int64_t rows, int64_t columns, int decay)
{
    char name[MODEL_NAME_MAX];

    snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, part);
    return add_tensor(m, name, rows, columns, decay);
}

/* A bias or norm that this model may lack. */
static int64_t
add_vector(struct model *m, int64_t layer, const char *part, int64_t rows, int there)
{
    return there ? add_part(m, layer, part, rows, 0, 0) : -1;
}

static void
lay_layer(struct model *m, int64_t i)
{
    const struct model_config *c = &m->config;
    struct model_layer *l = &m->layers[i];
    int64_t h = c->hidden_size, q = c->num_attention_heads * c->head_dim;
    int64_t kv = c->num_key_value_heads * c->head_dim, inner = c->intermediate_size;

    l->input_norm = add_part(m, i, "input_layernorm.weight", h, 0, 0);
    l->q = add_part(m, i, "self_attn.q_proj.weight", q, h, 1);
    l->k = add_part(m, i, "self_attn.k_proj.weight", kv, h, 1);
    l->v = add_part(m, i, "self_attn.v_proj.weight", kv, h, 1);
    l->q_bias = add_vector(m, i, "self_attn.q_proj.bias", q, c->attention_bias);
    l->k_bias = add_vector(m, i, "self_attn.k_proj.bias", kv, c->attention_bias);
    l->v_bias = add_vector(m, i, "self_attn.v_proj.bias", kv, c->attention_bias);
    l->o = add_part(m, i, "self_attn.o_proj.weight", h, q, 1);
    l->o_bias = add_vector(m, i, "self_attn.o_proj.bias", h, c->output_bias);
    l->q_norm = add_vector(m, i, "self_attn.q_norm.weight", c->head_dim, c->qk_norm);
    l->k_norm = add_vector(m, i, "self_attn.k_norm.weight", c->head_dim, c->qk_norm);
    l->post_norm = add_part(m, i, "post_attention_layernorm.weight", h, 0, 0);
    l->gate = add_part(m, i, "mlp.gate_proj.weight", inner, h, 1);
    l->up = add_part(m, i, "mlp.up_proj.weight", inner, h, 1);
    l->gate_bias = add_vector(m, i, "mlp.gate_proj.bias", inner, c->mlp_bias);
    l->up_bias = add_vector(m, i, "mlp.up_proj.bias", inner, c->mlp_bias);
    l->down = add_part(m, i, "mlp.down_proj.weight", h, inner, 1);
    l->down_bias = add_vector(m, i, "mlp.down_proj.bias", h, c->mlp_bias);
}

static void
lay_head(struct model *m)
{
    const struct model_config *c = &m->config;
    int64_t h = c->hidden_size;

    m->inner = m->inner_bias = m->head_bias = -1;
    m->head_rows = c->num_labels > 0 ? c->num_labels : c->vocab_size;
    switch (c->head) {
    case MODEL_HEAD_language:
        m->head = c->tie_word_embeddings ? m->embed
                                         : add_tensor(m, "lm_head.weight", c->vocab_size, h, 1);
        break;
    case MODEL_HEAD_token:
        m->head = add_tensor(m, "score.weight", c->num_labels, h, 1);
        m->head_bias = add_tensor(m, "score.bias", c->num_labels, 0, 0);
        break;
    case MODEL_HEAD_sequence:
        m->head = add_tensor(m, "score.weight", c->num_labels, h, 1);
        break;
    case MODEL_HEAD_process:
        m->inner = add_tensor(m, "score.0.weight", h, h, 1);
        m->inner_bias = add_tensor(m, "score.0.bias", h, 0, 0);
        m->head = add_tensor(m, "score.2.weight", c->num_labels, h, 1);
        m->head_bias = add_tensor(m, "score.2.bias", c->num_labels, 0, 0);
        break;
    case MODEL_HEAD_value:
        m->head = add_tensor(m, "v_head.summary.weight", c->num_labels, h, 1);
        m->head_bias = add_tensor(m, "v_head.summary.bias", c->num_labels, 0, 0);
        break;
    }
}

static void
lay_all(struct model *m)
{
    const struct model_config *c = &m->config;

    m->embed = add_tensor(m, "model.embed_tokens.weight", c->vocab_size, c->hidden_size, 1);
    for (int64_t i = 0; i < c->num_hidden_layers; i++)
        lay_layer(m, i);
    m->final_norm = add_tensor(m, "model.norm.weight", c->hidden_size, 0, 0);
    lay_head(m);
}

/* An upper bound in double: the sizes are each in bounds, their products need not be. */
static double
params_of(const struct model_config *c)
{
    double h = (double)c->hidden_size, d = (double)c->head_dim;
    double q = (double)c->num_attention_heads * d, kv = (double)c->num_key_value_heads * d;
    double inner = (double)c->intermediate_size;
    double layer = (q + 2 * kv) * (h + 1) + q * h + 3 * (h + 1) * inner + 4 * h + 2 * d;

    return layer * (double)c->num_hidden_layers + 2 * h * (double)c->vocab_size + h
         + (h + 1) * (double)c->num_labels + h * (h + 1);
}

int
model_lay(struct model *m, const struct model_config *config, struct error *e)
{
    struct model_config c = *config;
    int status = model_config_check(&c, e);

    if (status != 0)
        return status;
    *m = (struct model){.config = c};
    m->tensors = xarray((size_t)(TENSORS_BESIDE + TENSORS_PER_LAYER * c.num_hidden_layers),
                        sizeof *m->tensors);
    m->layers = xarray((size_t)c.num_hidden_layers, sizeof *m->layers);
    lay_all(m);
    return 0;
}

int
model_allocate(struct model *m, struct error *e)
{
    if (params_of(&m->config) > (double)MODEL_PARAMS_MAX)
        return error_set(e, ERROR_limit, "the model would have %.3g weights; the limit is %lld",
                         params_of(&m->config), (long long)MODEL_PARAMS_MAX);
    m->params = xaligned((size_t)m->count * sizeof *m->params);
    return 0;
}

int
model_init(struct model *m, const struct model_config *config, struct error *e)
{
    int status = model_lay(m, config, e);

    if (status != 0)
        return status;
    if ((status = model_allocate(m, e)) != 0)
        model_free(m);
    return status;
}

void
model_free(struct model *m)
{
    free(m->tensors);
    free(m->layers);
    free(m->params);
    model_source_free(m->source);
    *m = (struct model){0};
}

static uint64_t
hash_name(const char *name)         /* FNV-1a */
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return h;
}

void
model_randomise(struct model *m, uint64_t seed)
{
    for (int i = 0; i < m->tensor_count; i++) {
        const struct model_tensor *t = &m->tensors[i];
        uint64_t key = random_bits(seed, RANDOM_init, hash_name(t->name));
        double range = m->config.initializer_range;
        int is_norm = t->dims == 1 && strstr(t->name, "norm") != NULL;

        for (int64_t j = 0; j < t->count; j++)
            m->params[t->offset + j] = t->dims == 1 ? (float)is_norm
                : (float)(range * random_normal(key, RANDOM_init, (uint64_t)j));
    }
}

void
model_copy(struct model *to, const struct model *from)
{
    struct error e;

    if (model_init(to, &from->config, &e) != 0)
        abort();        /* a model that exists has a config that passed */
    memcpy(to->params, from->params, (size_t)from->count * sizeof *from->params);
    to->source = model_source_copy(from->source);
}

int
model_exact(const struct model *m)
{
    for (int i = 0; m->source != NULL && i < m->source->count; i++)
        if (m->source->tensors[i].type != SAFETENSORS_F32)
            return 0;
    return 1;
}

const struct model_tensor *
model_find(const struct model *m, const char *name)
{
    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

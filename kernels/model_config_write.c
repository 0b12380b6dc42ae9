/* config.json of a model that was made here. One that was read keeps the text it came with. */
#include "kernels/model_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/model_family.h"

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

static void
write_flag(struct buffer *out, const char *key, int value)
{
    buffer_print(out, "  \"%s\": %s,\n", key, value ? "true" : "false");
}

/* The keys of a scaling other than default, within rope_parameters or rope_scaling. */
static void
write_scaling(const struct rope_scaling *s, struct buffer *out)
{
    if (s->type == ROPE_default)
        return;
    write_real(out, "factor", s->factor);
    if (s->type == ROPE_linear)
        return;
    write_integer(out, "original_max_position_embeddings", (int64_t)s->original);
    if (s->type == ROPE_llama3) {
        write_real(out, "low_freq_factor", s->low_freq_factor);
        write_real(out, "high_freq_factor", s->high_freq_factor);
        return;
    }
    write_real(out, "beta_fast", s->beta_fast);
    write_real(out, "beta_slow", s->beta_slow);
    write_real(out, "attention_factor", s->attention_factor);
    write_flag(out, "truncate", !s->exact_range);
}

/* transformers 4 reads rope_theta and rope_scaling, 5 rope_parameters. */
static void
write_rope(const struct model_config *c, struct buffer *out)
{
    const char *type = rope_type_name(c->rope_scaling.type);

    buffer_text(out, "  \"rope_parameters\": {\n  ");
    write_real(out, "rope_theta", c->rope_theta);
    write_scaling(&c->rope_scaling, out);
    buffer_print(out, "    \"rope_type\": \"%s\"\n  },\n", type);
    if (c->rope_scaling.type != ROPE_default) {
        buffer_text(out, "  \"rope_scaling\": {\n");
        write_scaling(&c->rope_scaling, out);
        buffer_print(out, "    \"rope_type\": \"%s\"\n  },\n", type);
    }
    write_real(out, "rope_theta", c->rope_theta);
}

/* Which layers slide is not kept: all do, to the same effect within the window. */
static void
write_window(const struct model_config *c, const struct model_family *f, struct buffer *out)
{
    if (f->window == FAMILY_WINDOW_none)
        return;
    if (c->sliding_window > 0)
        write_integer(out, "sliding_window", c->sliding_window);
    else if (f->window == FAMILY_WINDOW_plain)
        buffer_text(out, "  \"sliding_window\": null,\n");
    if (f->window == FAMILY_WINDOW_flag)
        write_flag(out, "use_sliding_window", c->sliding_window > 0);
}

static void
write_biases(const struct model_config *c, const struct model_family *f, struct buffer *out)
{
    if (f->attention_bias == FAMILY_BIAS_key)
        write_flag(out, "attention_bias", c->attention_bias);
    if (f->mlp_bias == FAMILY_BIAS_key)
        write_flag(out, "mlp_bias", c->mlp_bias);
}

void
model_config_write(const struct model_config *c, struct buffer *out)
{
    const struct model_family *f = model_family_find(c->family);

    buffer_print(out, "{\n  \"architectures\": [\"%s%s\"],\n  \"attention_dropout\": 0.0,\n",
                 f->prefix, model_head_suffix(c->head));
    write_biases(c, f, out);
    write_id(out, "bos_token_id", c->bos_token_id);
    write_id(out, "eos_token_id", c->eos_token_id);
    if (f->head_dim || c->head_dim * c->num_attention_heads != c->hidden_size)
        write_integer(out, "head_dim", c->head_dim);
    buffer_text(out, "  \"hidden_act\": \"silu\",\n");
    write_integer(out, "hidden_size", c->hidden_size);
    if (c->num_labels)
        write_labels(out, c->num_labels);
    write_real(out, "initializer_range", c->initializer_range);
    write_integer(out, "intermediate_size", c->intermediate_size);
    write_integer(out, "max_position_embeddings", c->max_position_embeddings);
    if (f->window == FAMILY_WINDOW_flag)
        write_integer(out, "max_window_layers", c->sliding_window ? 0 : c->num_hidden_layers);
    buffer_print(out, "  \"model_type\": \"%s\",\n", f->name);
    write_integer(out, "num_attention_heads", c->num_attention_heads);
    write_integer(out, "num_hidden_layers", c->num_hidden_layers);
    write_integer(out, "num_key_value_heads", c->num_key_value_heads);
    write_id(out, "pad_token_id", c->pad_token_id);
    write_real(out, "rms_norm_eps", c->rms_norm_eps);
    write_rope(c, out);
    write_flag(out, "tie_word_embeddings", c->tie_word_embeddings);
    buffer_text(out, "  \"torch_dtype\": \"float32\",\n  \"use_cache\": true,\n");
    write_window(c, f, out);
    buffer_print(out, "  \"vocab_size\": %lld\n}\n", (long long)c->vocab_size);
}

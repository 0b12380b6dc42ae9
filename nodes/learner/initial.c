/* initial: the model that training begins from: a Hugging Face directory as it is, the same with a
 * new class head, or a fresh decoder of the sizes in the options. A function of the options and the
 * seed. */
#include <stdlib.h>
#include <string.h>

#include "kernels/model_config.h"
#include "kernels/model_file.h"
#include "nodes/learner/learner.h"

const char *
initial_tokenizer(const struct learner_options *o)
{
    return o->tokenizer[0] ? o->tokenizer : o->model;
}

static int
fresh_config(const struct learner_options *o, struct model_config *config, struct error *e)
{
    struct tokenizer *t = tokenizer_open(o->tokenizer, e);

    if (!t)
        return error_wrap(e, "tokenizer '%s'", o->tokenizer);
    *config = model_config_default();
    strcpy(config->family, "qwen2");
    config->vocab_size = tokenizer_size(t);
    config->hidden_size = o->width;
    config->num_hidden_layers = o->layers;
    config->num_attention_heads = o->heads;
    config->num_key_value_heads = o->kv_heads ? o->kv_heads : o->heads;
    config->intermediate_size = o->intermediate ? o->intermediate : 4 * o->width;
    config->max_position_embeddings = o->positions;
    config->tie_word_embeddings = 1;
    config->eos_token_id = o->eos_token[0] ? tokenizer_id(t, o->eos_token) : -1;
    tokenizer_close(t);
    return 0;
}

int
initial_config(const struct learner_options *o, struct model_config *config, struct error *e)
{
    const struct objective *objective = settings_objective(o, e);
    int classes = objective && learner_classes(objective);
    int rc = o->model[0] ? model_config_read(config, o->model, e) : fresh_config(o, config, e);

    if (rc < 0 || !objective)
        return rc < 0 ? rc : e->code;
    if (classes && config->num_labels == 0)
        config->num_labels = o->num_labels;
    if (!classes && config->num_labels > 0)
        return error_set(e, ERROR_model,
                         "'%s' is a classifier; objective '%s' trains a language model", o->model,
                         objective->name);
    if (config->head == MODEL_HEAD_sequence || config->head == MODEL_HEAD_value)
        return error_set(e, ERROR_model,
                         "'%s' %s; a classifier of tokens or a process reward model can be trained",
                         o->model,
                         config->head == MODEL_HEAD_value ? "gives one value for each token"
                                                          : "classifies whole sequences");
    rc = model_config_check(config, e);
    if (rc == 0 && config->positions_usable < config->max_position_embeddings &&
        o->max_tokens > config->positions_usable)
        rc = error_set(e, ERROR_model,
                       "the attention of '%s' slides after %lld tokens, which is not supported; "
                       "max_tokens is %lld: say at most the former",
                       o->model, (long long)config->positions_usable, (long long)o->max_tokens);
    return rc;
}

/* The decoder of `from`, whose head does not fit, with the new head that `to` already has. */
static void
copy_decoder(struct model *to, const struct model *from)
{
    for (int i = 0; i < to->tensor_count; i++) {
        const struct model_tensor *mine = &to->tensors[i], *theirs = model_find(from, mine->name);

        if (theirs && theirs->count == mine->count)
            memcpy(to->params + mine->offset, from->params + theirs->offset,
                   (size_t)mine->count * sizeof(float));
    }
}

int
initial_model(const struct learner_options *o, uint64_t seed, struct model **model, struct error *e)
{
    struct model_config config;
    struct model *m = xalloc(sizeof(*m)), base = {0};
    int rc = initial_config(o, &config, e);

    if (rc == 0 && o->model[0])
        rc = model_open(&base, o->model, e);
    if (rc < 0) {
        free(m);
        return rc;
    }
    if (o->model[0] && base.config.num_labels == config.num_labels) {
        *m = base;
        *model = m;
        return 0;
    }
    rc = model_init(m, &config, e);
    if (rc == 0) {
        model_randomise(m, seed);
        if (o->model[0])
            copy_decoder(m, &base);
        *model = m;
    } else {
        free(m);
    }
    if (o->model[0])
        model_free(&base);
    return rc;
}

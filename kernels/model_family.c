#include "kernels/model_family.h"

#include <string.h>

static const struct model_family families[] = {
#define MODEL_FAMILY(name, prefix, attention, output, mlp, qk_norm, window, head_dim, positions,   \
                     window_default)                                                               \
    {#name,                                                                                        \
     #prefix,                                                                                      \
     FAMILY_BIAS_##attention,                                                                      \
     FAMILY_BIAS_##output,                                                                         \
     FAMILY_BIAS_##mlp,                                                                            \
     qk_norm,                                                                                      \
     FAMILY_WINDOW_##window,                                                                       \
     head_dim,                                                                                     \
     positions,                                                                                    \
     window_default},
#include "kernels/model_family.def"
#undef MODEL_FAMILY
};

static const struct head_row {
    const char *suffix;
    enum model_head head;
} heads[] = {
    {"ForCausalLM", MODEL_HEAD_language},
    {"ForTokenClassification", MODEL_HEAD_token},
    {"ForSequenceClassification", MODEL_HEAD_sequence},
    {"ForProcessRewardModel", MODEL_HEAD_process},
    {"ForPrmModel", MODEL_HEAD_value},
    {"Model", MODEL_HEAD_language}, /* a base model's export: its embedding must be the head */
};

const struct model_family *
model_family_find(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

const char *
model_head_suffix(enum model_head head)
{
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (heads[i].head == head)
            return heads[i].suffix;
    return "";
}

int
model_head_find(const struct model_family *family, const char *class_name)
{
    size_t length = strlen(family->prefix);

    if (strncmp(class_name, family->prefix, length) != 0)
        return -1;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (strcmp(class_name + length, heads[i].suffix) == 0)
            return (int)heads[i].head;
    return -1;
}

/* A tokenizer.json into its parts; what is not understood is refused by its name. */
#include "kernels/tokenizer_parts.h"

#include <string.h>

static const char *
type_of(const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "type"));

    return type ? type : "";
}

/* The ids of one special token of a template, onto LIST. */
static int
read_template_token(const json_t *json, const json_t *name, int32_t *list, int *count,
                    struct error *e)
{
    const char *key = json_string_value(json_object_get(name, "id"));
    const json_t *ids = json_object_get(
        json_object_get(json_object_get(json, "special_tokens"), key ? key : ""), "ids");
    json_t *id;
    size_t i;

    if (!json_is_array(ids))
        return error_set(e, ERROR_model, "TemplateProcessing: token '%.80s' has no ids",
                         key ? key : "");
    json_array_foreach(ids, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= TOKENIZER_VOCAB_MAX)
            return error_set(e, ERROR_model, "TemplateProcessing: '%.80s': not a token id", key);
        if (*count == TOKENIZER_TEMPLATE_MAX)
            return error_set(e, ERROR_limit, "TemplateProcessing: more than %d tokens",
                             TOKENIZER_TEMPLATE_MAX);
        list[(*count)++] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int
read_template(struct tokenizer *t, const json_t *json, struct error *e)
{
    json_t *item;
    size_t i;
    int seen = 0;

    json_array_foreach(json_object_get(json, "single"), i, item)
    {
        const json_t *name = json_object_get(item, "SpecialToken");

        if (json_object_get(item, "Sequence"))
            seen++;
        else if (seen ? read_template_token(json, name, t->after, &t->after_count, e)
                      : read_template_token(json, name, t->before, &t->before_count, e))
            return ERROR_model;
    }
    return seen == 1
               ? 0
               : error_set(e, ERROR_model, "TemplateProcessing: 'single' must hold one Sequence");
}

/* RobertaProcessing and BertProcessing: "cls" before, "sep" after, each [token, id]. */
static int
read_pair(struct tokenizer *t, const char *type, const json_t *json, struct error *e)
{
    const json_t *before = json_array_get(json_object_get(json, "cls"), 1);
    const json_t *after = json_array_get(json_object_get(json, "sep"), 1);

    if (!json_is_integer(before) || !json_is_integer(after) || json_integer_value(before) < 0 ||
        json_integer_value(after) < 0 || json_integer_value(before) >= TOKENIZER_VOCAB_MAX ||
        json_integer_value(after) >= TOKENIZER_VOCAB_MAX)
        return error_set(e, ERROR_model, "%s: 'cls' and 'sep' must be a token and its id", type);
    if (t->before_count == TOKENIZER_TEMPLATE_MAX || t->after_count == TOKENIZER_TEMPLATE_MAX)
        return error_set(e, ERROR_limit, "%s: more than %d tokens", type, TOKENIZER_TEMPLATE_MAX);
    t->before[t->before_count++] = (int32_t)json_integer_value(before);
    t->after[t->after_count++] = (int32_t)json_integer_value(after);
    return 0;
}

static int
read_processor(struct tokenizer *t, const json_t *json, struct error *e)
{
    json_t *part;
    size_t i;

    if (!json || json_is_null(json) || strcmp(type_of(json), "ByteLevel") == 0)
        return 0; /* offsets are never trimmed here */
    if (strcmp(type_of(json), "TemplateProcessing") == 0)
        return read_template(t, json, e);
    if (strcmp(type_of(json), "RobertaProcessing") == 0 ||
        strcmp(type_of(json), "BertProcessing") == 0)
        return read_pair(t, type_of(json), json, e);
    if (strcmp(type_of(json), "Sequence"))
        return error_set(e, ERROR_model,
                         "type '%.60s' is not understood; ByteLevel, TemplateProcessing, "
                         "RobertaProcessing, BertProcessing and Sequence are",
                         type_of(json));
    json_array_foreach(json_object_get(json, "processors"), i,
                       part) if (read_processor(t, part, e)) return ERROR_model;
    return 0;
}

/* Added tokens take their ids; one that contradicts the vocabulary is refused. */
static int
join_added(struct tokenizer *t, struct error *e)
{
    for (int i = 0; i < t->added.count; i++) {
        const struct added_token *a = &t->added.all[i];
        int32_t id = bpe_id(&t->bpe, a->content);
        struct span held = a->id < t->bpe.size ? t->bpe.tokens[a->id] : (struct span){NULL, 0};

        if (id >= 0 && id != a->id)
            return error_set(e, ERROR_model,
                             "added token '%.80s' has id %d, in the vocabulary it has %d",
                             a->content.at, a->id, id);
        if (id < 0 && held.at)
            return error_set(e, ERROR_model, "added token '%.80s' has id %d, which is '%.80s'",
                             a->content.at, a->id, held.at);
        if (id < 0)
            bpe_add(&t->bpe, a->content, a->id);
    }
    for (int i = 0; i < t->before_count + t->after_count; i++) {
        int32_t id = i < t->before_count ? t->before[i] : t->after[i - t->before_count];

        if (id >= t->bpe.size || !t->bpe.tokens[id].at)
            return error_set(e, ERROR_model, "post_processor: no token has id %d", id);
    }
    return 0;
}

/* What a token is to the decoder. */
static struct span
plain_text(struct tokenizer *t, struct span token)
{
    return t->decoder.byte_level
               ? token_decoder_bytes(token, arena_take(&t->strings, token.length + 1))
               : token;
}

static void
prepare_decoding(struct tokenizer *t)
{
    t->plain = xarray((size_t)t->bpe.size + 1, sizeof(*t->plain));
    t->special = xalloc((size_t)t->bpe.size + 1);
    for (int32_t id = 0; id < t->bpe.size; id++)
        if (t->bpe.tokens[id].at)
            t->plain[id] = plain_text(t, t->bpe.tokens[id]);
    for (int i = 0; i < t->added.count; i++) { /* an added token decodes to what was matched */
        const struct added_token *a = &t->added.all[i];

        t->plain[a->id] = plain_text(t, a->pattern);
        t->special[a->id] = (unsigned char)a->special;
    }
}

static int
read_model(struct tokenizer *t, const json_t *model, struct error *e)
{
    if (strcmp(type_of(model), "Unigram"))
        return bpe_read(&t->bpe, model, t->pretokenizer.byte_level, e);
    if (t->pretokenizer.byte_level)
        return error_set(e, ERROR_model, "Unigram after ByteLevel is not understood");
    return unigram_read(&t->unigram, &t->bpe, model, e);
}

int
tokenizer_read(struct tokenizer *t, const json_t *json, struct error *e)
{
    if (!json_is_object(json))
        return error_set(e, ERROR_model, "must be an object");
    if (normalizer_read(&t->normalizer, json_object_get(json, "normalizer"), e))
        return error_wrap(e, "normalizer");
    if (pretokenizer_read(&t->pretokenizer, json_object_get(json, "pre_tokenizer"), e))
        return error_wrap(e, "pre_tokenizer");
    if (read_processor(t, json_object_get(json, "post_processor"), e))
        return error_wrap(e, "post_processor");
    if (token_decoder_read(&t->decoder, json_object_get(json, "decoder"), e))
        return error_wrap(e, "decoder");
    if (read_model(t, json_object_get(json, "model"), e))
        return error_wrap(e, "model");
    if (added_tokens_read(&t->added, json_object_get(json, "added_tokens"), &t->normalizer, e) ||
        join_added(t, e))
        return ERROR_model;
    prepare_decoding(t);
    return 0;
}

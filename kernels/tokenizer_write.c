/* A tokenizer.json of single bytes, for models trained from nothing on a small alphabet. */
#include "kernels/tokenizer.h"

#include "kernels/bpe.h"
#include "kernels/document.h"
#include "kernels/durable.h"

#include <stdlib.h>
#include <string.h>

static void
write_added(struct buffer *out, const char *const *specials, int count)
{
    buffer_text(out, "  \"added_tokens\": [");
    for (int i = 0; i < count; i++) {
        buffer_print(out, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", i);
        document_quote(out, span_text(specials[i]));
        buffer_text(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                         "\"normalized\": false, \"special\": true}");
    }
    buffer_text(out, count ? "\n  ],\n" : "],\n");
}

static void
write_vocab(struct buffer *out, struct span characters, const char *const *specials, int count)
{
    buffer_text(out, "    \"vocab\": {");
    for (int i = 0; i < count; i++) {
        buffer_text(out, i ? ", " : "");
        document_quote(out, span_text(specials[i]));
        buffer_print(out, ": %d", i);
    }
    for (size_t i = 0; i < characters.length; i++) {
        char text[2];

        buffer_text(out, count || i ? ", " : "");
        document_quote(
            out, span_of(text, (size_t)bpe_byte_character((unsigned char)characters.at[i], text)));
        buffer_print(out, ": %zu", (size_t)count + i);
    }
    buffer_text(out, "},\n");
}

static void
write_tokenizer(struct buffer *out, struct span characters, const char *const *specials, int count)
{
    static const char level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                                "\"trim_offsets\": false, \"use_regex\": false}";

    buffer_text(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    write_added(out, specials, count);
    buffer_print(out,
                 "  \"normalizer\": null,\n  \"pre_tokenizer\": %s,\n  \"post_processor\": null,\n"
                 "  \"decoder\": %s,\n",
                 level, level);
    buffer_text(out, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
                     "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
                     "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
                     "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n");
    write_vocab(out, characters, specials, count);
    buffer_text(out, "    \"merges\": []\n  }\n}\n");
}

static int
write_file(const char *dir, const char *name, const struct buffer *text, struct error *e)
{
    char *path = xprint("%s/%s", dir, name);
    struct span part = buffer_span(text);
    int rc = durable_write(path, &part, 1, e);

    free(path);
    return rc;
}

static int
check(struct span characters, const char *const *specials, int count, const char *eos,
      struct error *e)
{
    unsigned char seen[256] = {0};
    int found = eos == NULL;

    for (size_t i = 0; i < characters.length; i++)
        if (seen[(unsigned char)characters.at[i]]++)
            return error_set(e, ERROR_usage, "byte 0x%02x is given twice",
                             (unsigned char)characters.at[i]);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < i; k++)
            if (strcmp(specials[i], specials[k]) == 0)
                return error_set(e, ERROR_usage, "special token '%s' is given twice", specials[i]);
        if (strlen(specials[i]) < 2)
            return error_set(e, ERROR_usage, "special token '%s' must be longer than a character",
                             specials[i]);
        found |= eos && strcmp(specials[i], eos) == 0;
    }
    return found ? 0 : error_set(e, ERROR_usage, "'%s' is not one of the special tokens", eos);
}

int
tokenizer_write_bytes(const char *dir, struct span characters, const char *const *specials,
                      int special_count, const char *eos, struct error *e)
{
    struct buffer tokenizer = {0}, config = {0};
    int rc = check(characters, specials, special_count, eos, e);

    if (rc)
        return rc;
    write_tokenizer(&tokenizer, characters, specials, special_count);
    buffer_text(&config,
                "{\n  \"add_bos_token\": false,\n  \"clean_up_tokenization_spaces\": false,\n");
    if (eos) {
        buffer_text(&config, "  \"eos_token\": ");
        document_quote(&config, span_text(eos));
        buffer_text(&config, ",\n");
    }
    buffer_text(&config, "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
    rc = write_file(dir, "tokenizer.json", &tokenizer, e);
    if (rc == 0)
        rc = write_file(dir, "tokenizer_config.json", &config, e);
    buffer_free(&tokenizer);
    buffer_free(&config);
    return rc;
}

/* tokenize TOKENIZER.json: texts in, tokens out, for tools that compare with another tokenizer.
 * Standard input: texts, each a 32-bit length and its bytes. Standard output, for each: the number
 * of tokens, then id, start, end of each (bytes of the text), then the length and the bytes of what
 * the ids decode to. All numbers are 32-bit little-endian; special tokens are matched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/document.h"
#include "kernels/tokenizer.h"

#define TEXT_MAX (1 << 28)

static struct tokenizer *
load(const char *path, struct error *e)
{
    struct buffer text = {0};
    struct tokenizer *t = NULL;

    if (document_load(path, TOKENIZER_BYTES_MAX, &text, e) == 0)
        t = tokenizer_parse(buffer_span(&text), e);
    buffer_free(&text);
    return t;
}

static void
put(uint32_t value)
{
    fwrite(&value, sizeof(value), 1, stdout);
}

static int
show(struct tokenizer *t, struct span text, struct tokens *tokens, struct error *e)
{
    struct buffer decoded = {0};
    int rc = tokenizer_encode(t, text, TOKENIZER_SPECIAL, tokens, e);

    if (rc)
        return rc;
    put((uint32_t)tokens->count);
    for (int64_t i = 0; i < tokens->count; i++) {
        put((uint32_t)tokens->ids[i]);
        put((uint32_t)tokens->starts[i]);
        put((uint32_t)tokens->ends[i]);
    }
    tokenizer_decode(t, tokens->ids, tokens->count, 0, &decoded);
    put((uint32_t)decoded.length);
    fwrite(decoded.at, 1, decoded.length, stdout);
    buffer_free(&decoded);
    return 0;
}

int
main(int argc, char **argv)
{
    struct error e = {0};
    struct tokenizer *t = argc == 2 ? load(argv[1], &e) : NULL;
    struct tokens tokens = {0};
    char *text = NULL;
    uint32_t length;
    int rc = 0;

    if (!t) {
        fprintf(stderr, "tokenize: %s\n", argc == 2 ? e.text : "usage: tokenize TOKENIZER.json");
        return 2;
    }
    while (rc == 0 && fread(&length, sizeof(length), 1, stdin) == 1) {
        if (length > TEXT_MAX) {
            rc = error_set(&e, ERROR_limit, "a text of %u bytes", length);
            break;
        }
        text = xresize(text, (size_t)length + 1);
        if (fread(text, 1, length, stdin) != length)
            rc = error_set(&e, ERROR_input, "the input ends inside a text");
        else
            rc = show(t, span_of(text, length), &tokens, &e);
    }
    if (rc)
        fprintf(stderr, "tokenize: %s\n", e.text);
    free(text);
    tokens_free(&tokens);
    tokenizer_close(t);
    return rc ? 1 : 0;
}

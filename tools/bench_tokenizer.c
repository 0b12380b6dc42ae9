/* bench_tokenizer TOKENIZER.json TEXTS [SECONDS]: how fast texts are encoded, one thread. TEXTS
 * holds them as a 32-bit length and its bytes each. Prints the best whole pass as one JSON object:
 * bytes, texts, tokens, seconds, passes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/document.h"
#include "kernels/tokenizer.h"

#define TEXTS_MAX (1 << 30)

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One pass over all texts: tokens, -1 on failure. */
static int64_t
pass(struct tokenizer *t, const struct buffer *texts, int64_t *count, struct error *e)
{
    struct tokens out = {0};
    int64_t tokens = 0;
    uint32_t length;

    *count = 0;
    for (size_t at = 0; tokens >= 0 && at + 4 <= texts->length; at += length + 4) {
        memcpy(&length, texts->at + at, 4);
        if (length > texts->length - at - 4)
            tokens = error_set(e, ERROR_input, "the file ends inside a text");
        else if (tokenizer_encode(t, span_of(texts->at + at + 4, length), TOKENIZER_SPECIAL, &out,
                                  e))
            tokens = -1;
        else
            tokens += out.count;
        (*count)++;
    }
    tokens_free(&out);
    return tokens;
}

int
main(int argc, char **argv)
{
    struct buffer json = {0}, texts = {0};
    struct error e = {0};
    struct tokenizer *t = NULL;
    double limit = argc > 3 ? atof(argv[3]) : 3, began = now(), best = 1e9;
    int64_t tokens = -1, count = 0, passes = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER.json TEXTS [SECONDS]\n");
        return 2;
    }
    if (document_load(argv[1], TOKENIZER_BYTES_MAX, &json, &e) == 0 &&
        document_load(argv[2], TEXTS_MAX, &texts, &e) == 0)
        t = tokenizer_parse(buffer_span(&json), &e);
    while (t && (passes < 2 || now() - began < limit)) {
        double start = now();

        tokens = pass(t, &texts, &count, &e);
        best = now() - start < best ? now() - start : best;
        passes++;
        if (tokens < 0)
            break;
    }
    if (tokens < 0)
        fprintf(stderr, "bench_tokenizer: %s\n", e.text);
    else
        printf("{\"bytes\": %zu, \"texts\": %lld, \"tokens\": %lld, \"seconds\": %.6f, "
               "\"passes\": %lld}\n",
               texts.length - 4 * (size_t)count, (long long)count, (long long)tokens, best,
               (long long)passes);
    tokenizer_close(t);
    buffer_free(&json);
    buffer_free(&texts);
    return tokens < 0;
}

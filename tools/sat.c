/* sat MODEL TOKENIZER THREADS OPTION=NUMBER ...: texts in, where a Segment-any-Text model cuts them
 * out, for tools that compare with another implementation or measure. Options are the fields of
 * struct sat_options by name, enums as numbers. Standard input: texts, each a 32-bit length and its
 * bytes. Standard output, for each: the number of ends, then the ends (bytes). All numbers are
 * 32-bit little-endian. Standard error says at last what it cost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nodes/segmenter/sat.h"

#define TEXT_MAX (1 << 28)

static int
set(struct sat_options *o, const char *text)
{
    const char *equals = strchr(text, '=');
    double value = equals ? atof(equals + 1) : 0;
    struct span name = span_of(text, equals ? (size_t)(equals - text) : 0);

#define NUMBER(field, type)                                                                        \
    if (span_is(name, #field)) {                                                                   \
        o->field = (type)value;                                                                    \
        return 0;                                                                                  \
    }
    NUMBER(threshold, double)
    NUMBER(paragraph_threshold, double)
    NUMBER(stride, int64_t)
    NUMBER(block, int64_t)
    NUMBER(weighting, enum sat_weighting)
    NUMBER(paragraphs, enum sat_paragraphs)
    NUMBER(line_feeds, bool)
    NUMBER(drop_spaces, bool)
    NUMBER(min_length, int64_t)
    NUMBER(max_length, int64_t)
    NUMBER(prior, enum sat_prior)
    NUMBER(target, double)
    NUMBER(spread, double)
#undef NUMBER
    return -1;
}

static void
put(uint32_t value)
{
    fwrite(&value, sizeof(value), 1, stdout);
}

static int
show(struct sat *s, struct span text, struct error *e)
{
    struct buffer ends = {0};
    int rc = sat_cut(s, text, &ends, e);
    const uint64_t *at = (const uint64_t *)(const void *)ends.at;

    if (rc == 0) {
        put((uint32_t)(ends.length / sizeof(*at)));
        for (size_t i = 0; i < ends.length / sizeof(*at); i++)
            put((uint32_t)at[i]);
    }
    buffer_free(&ends);
    return rc;
}

static double
now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int
run(struct sat *s, struct error *e)
{
    char *text = NULL;
    uint32_t length;
    double start = now(CLOCK_MONOTONIC), busy = now(CLOCK_PROCESS_CPUTIME_ID), bytes = 0;
    int rc = 0;

    while (rc == 0 && fread(&length, sizeof(length), 1, stdin) == 1) {
        if (length > TEXT_MAX) {
            rc = error_set(e, ERROR_limit, "a text of %u bytes", length);
            break;
        }
        text = xresize(text, (size_t)length + 1);
        if (fread(text, 1, length, stdin) != length)
            rc = error_set(e, ERROR_input, "the input ends inside a text");
        else
            rc = show(s, span_of(text, length), e);
        bytes += length;
    }
    free(text);
    start = now(CLOCK_MONOTONIC) - start;
    busy = now(CLOCK_PROCESS_CPUTIME_ID) - busy;
    fprintf(stderr, "%.0f bytes, %lld tokens of the texts, %lld tokens read, %.2f s, %.2f of CPU\n",
            bytes, (long long)sat_tokens(s), (long long)sat_tokens_read(s), start, busy);
    return rc;
}

int
main(int argc, char **argv)
{
    struct sat_options o = {.paragraph_threshold = 0.5, .stride = 256, .block = 510,
                            .line_feeds = true, .target = 70, .spread = 25};
    struct error e = {0};
    struct sat *s;
    int rc, bad = argc < 4;

    for (int i = 4; i < argc && !bad; i++)
        bad = set(&o, argv[i]) != 0;
    if (bad) {
        fprintf(stderr, "usage: sat MODEL TOKENIZER THREADS OPTION=NUMBER ...\n");
        return 2;
    }
    s = sat_open(argv[1], argv[2], &o, atoi(argv[3]), &e);
    rc = s ? run(s, &e) : -1;
    if (rc)
        fprintf(stderr, "sat: %s\n", e.text);
    sat_close(s);
    return rc ? 1 : 0;
}

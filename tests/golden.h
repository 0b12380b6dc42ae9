/* golden: reads tests/golden/decoder.bin (made by tools/golden_decoder.py). */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <stdint.h>

struct golden_part {
    char    name[128];
    char    kind;               /* 'i', 'f' or 'd' */
    int64_t count;
    double *values;             /* whatever the kind */
};

struct golden {
    struct golden_part *parts;
    int count;
};

/* Fails the test where the file is missing or cut short. */
void golden_open(struct golden *g, const char *path);
void golden_close(struct golden *g);

/* The section of that name (printf style); fails the test where there is none. */
const struct golden_part *golden_find(const struct golden *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

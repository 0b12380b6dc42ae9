/* events: prints the scalars of a TensorBoard event file, one a line: step, tag, value. Every
 * checksum is checked. With
 * --steady times and what depends on them (seconds, tokens_per_second) are left out: two runs on
 * the same input print the same.
 *
 *      build/tools/events [--steady] FILE */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "nodes/learner/events.h"

struct reader {
    const unsigned char *at, *end;
};

static unsigned long long
little(const unsigned char *p, int bytes)
{
    unsigned long long value = 0;

    for (int i = 0; i < bytes; i++)
        value |= (unsigned long long)p[i] << 8 * i;
    return value;
}

static void
broken(const char *what, size_t at)
{
    fprintf(stderr, "events: %s at byte %zu\n", what, at);
    exit(1);
}

/* One field: its key, and its value as a number or as bytes. False at the end. */
static bool
field(struct reader *r, unsigned *key, unsigned long long *value, struct reader *bytes)
{
    unsigned long long parts[2] = {0, 0};

    if (r->at >= r->end)
        return false;
    for (int i = 0; i < 2; i++) { /* the key; then a varint or a length, where there is one */
        int shift = 0;

        if (i == 1 && ((parts[0] & 7) == 1 || (parts[0] & 7) == 5))
            break;
        do {
            if (r->at >= r->end || shift > 63)
                return false;
            parts[i] |= (unsigned long long)(*r->at & 127) << shift;
            shift += 7;
        } while (*r->at++ & 128);
    }
    *key = (unsigned)parts[0];
    *value = parts[1];
    switch (parts[0] & 7) {
    case 0:
        return true;
    case 1:
    case 5: {
        int width = (parts[0] & 7) == 1 ? 8 : 4;

        if (r->end - r->at < width)
            return false;
        *value = little(r->at, width);
        r->at += width;
        return true;
    }
    case 2:
        if ((unsigned long long)(r->end - r->at) < parts[1])
            return false;
        *bytes = (struct reader){r->at, r->at + parts[1]};
        r->at += parts[1];
        return true;
    default:
        return false;
    }
}

static void
print_value(struct reader r, unsigned long long step, bool steady)
{
    unsigned key;
    unsigned long long value;
    struct reader bytes, tag = {NULL, NULL};
    unsigned bits = 0;
    float number;
    char name[200] = "";

    while (field(&r, &key, &value, &bytes))
        if (key == (1 << 3 | 2))
            tag = bytes;
        else if (key == (2 << 3 | 5))
            bits = (unsigned)value;
    memcpy(&number, &bits, sizeof(number));
    snprintf(name, sizeof(name), "%.*s", (int)(tag.end - tag.at),
             tag.at ? (const char *)tag.at : "");
    if (!steady || (strcmp(name, "seconds") != 0 && strcmp(name, "tokens_per_second") != 0))
        printf("%llu %s %.9g\n", step, name, (double)number);
}

static void
print_event(struct reader r, bool steady)
{
    unsigned key;
    unsigned long long value, step = 0;
    struct reader bytes, summary = {NULL, NULL};

    while (field(&r, &key, &value, &bytes))
        if (key == (2 << 3 | 0))
            step = value;
        else if (key == (5 << 3 | 2))
            summary = bytes;
    while (field(&summary, &key, &value, &bytes))
        if (key == (1 << 3 | 2))
            print_value(bytes, step, steady);
}

int
main(int argc, char **argv)
{
    bool steady = argc > 2 && strcmp(argv[1], "--steady") == 0;
    FILE *file = argc > 1 ? fopen(argv[argc - 1], "rb") : NULL;
    struct buffer all = {0};
    char room[4096];
    size_t n, at = 0;

    if (!file) {
        fprintf(stderr, "usage: events [--steady] FILE\n");
        return 2;
    }
    while ((n = fread(room, 1, sizeof(room), file)) > 0)
        buffer_add(&all, room, n);
    fclose(file);
    while (at < all.length) {
        const unsigned char *p = (const unsigned char *)all.at + at;
        size_t left = all.length - at, length;

        if (left < 16 || little(p + 8, 4) != events_crc_masked(p, 8))
            broken("no record", at);
        length = (size_t)little(p, 8);
        if (length > left - 16 || little(p + 12 + length, 4) != events_crc_masked(p + 12, length))
            broken("a damaged record", at);
        print_event((struct reader){p + 12, p + 12 + length}, steady);
        at += 16 + length;
    }
    buffer_free(&all);
    return 0;
}

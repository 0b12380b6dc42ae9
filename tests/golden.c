/* Sections of a golden file: name length, name, type, count, values. */
#include "tests/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

static void
read_bytes(FILE *file, void *at, size_t bytes)
{
    assert_int_equal(fread(at, 1, bytes, file), bytes);
}

static void
read_values(FILE *file, struct golden_part *p)
{
    for (int64_t i = 0; i < p->count; i++)
        if (p->kind == 'd') {
            read_bytes(file, &p->values[i], sizeof(double));
        } else if (p->kind == 'f') {
            float value;

            read_bytes(file, &value, sizeof value);
            p->values[i] = (double)value;
        } else {
            int32_t value;

            read_bytes(file, &value, sizeof value);
            p->values[i] = value;
        }
}

void
golden_open(struct golden *g, const char *path)
{
    FILE    *file = fopen(path, "rb");
    uint32_t length;

    assert_non_null(file);
    *g = (struct golden){0};
    while (fread(&length, sizeof length, 1, file) == 1) {
        struct golden_part *p;
        uint64_t count;

        g->parts = xresize(g->parts, (size_t)(g->count + 1) * sizeof *g->parts);
        p = &g->parts[g->count++];
        *p = (struct golden_part){0};
        assert_true(length < sizeof p->name);
        read_bytes(file, p->name, length);
        read_bytes(file, &p->kind, 1);
        read_bytes(file, &count, sizeof count);
        assert_true(count < 1000000);
        p->count = (int64_t)count;
        p->values = xarray((size_t)count, sizeof *p->values);
        read_values(file, p);
    }
    fclose(file);
}

void
golden_close(struct golden *g)
{
    for (int i = 0; i < g->count; i++)
        free(g->parts[i].values);
    free(g->parts);
    *g = (struct golden){0};
}

const struct golden_part *
golden_find(const struct golden *g, const char *format, ...)
{
    char    name[256];
    va_list list;

    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->parts[i].name, name) == 0)
            return &g->parts[i];
    fail_msg("the golden file has no section %s", name);
    return NULL;
}

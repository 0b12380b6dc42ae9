#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES (64 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t              used, room;
    _Alignas(16) char   bytes[];
};

static void *
must(void *p, size_t bytes)
{
    if (!p) {
        fprintf(stderr, "sluice: out of memory (%zu bytes)\n", bytes);
        abort();
    }
    return p;
}

void *
xalloc(size_t bytes)
{
    return must(calloc(1, bytes ? bytes : 1), bytes);
}

void *
xresize(void *p, size_t bytes)
{
    return must(realloc(p, bytes ? bytes : 1), bytes);
}

void *
xarray(size_t count, size_t bytes)
{
    return must(calloc(count ? count : 1, bytes ? bytes : 1), bytes);
}

void *
xaligned(size_t bytes)
{
    size_t size = (bytes + 63) / 64 * 64;
    void  *p = must(aligned_alloc(64, size ? size : 64), bytes);

    memset(p, 0, size);
    return p;
}

char *
xtext(const char *text)
{
    size_t length = strlen(text) + 1;
    return memcpy(xalloc(length), text, length);
}

char *
xprint(const char *format, ...)
{
    va_list args;
    char   *text;
    int     n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    return must(n < 0 ? NULL : text, 0);
}

struct span
span_text(const char *text)
{
    return span_of(text ? text : "", text ? strlen(text) : 0);
}

int
span_is(struct span s, const char *text)
{
    size_t n = strlen(text);
    return s.length == n && (n == 0 || memcmp(s.at, text, n) == 0);
}

char *
span_copy(struct span s)
{
    char *p = xalloc(s.length + 1);

    if (s.length)
        memcpy(p, s.at, s.length);
    return p;
}

void
buffer_reserve(struct buffer *b, size_t more)
{
    size_t need = b->length + more;

    if (need <= b->room)
        return;
    if (need < more)
        must(NULL, more);
    b->room = need < 64 ? 64 : need + need / 2;
    b->at = xresize(b->at, b->room);
}

void
buffer_add(struct buffer *b, const void *bytes, size_t length)
{
    if (length == 0)
        return;
    buffer_reserve(b, length);
    memcpy(b->at + b->length, bytes, length);
    b->length += length;
}

void
buffer_text(struct buffer *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}

void
buffer_print(struct buffer *b, const char *format, ...)
{
    va_list args;
    char   *text;
    int     n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    must(n < 0 ? NULL : text, 0);
    buffer_add(b, text, (size_t)n);
    free(text);
}

void
buffer_clear(struct buffer *b)
{
    b->length = 0;
}

void
buffer_free(struct buffer *b)
{
    free(b->at);
    *b = (struct buffer){0};
}

struct span
buffer_span(const struct buffer *b)
{
    return span_of(b->at ? b->at : "", b->length);
}

void *
arena_take(struct arena *a, size_t bytes)
{
    size_t              size = (bytes + 15) / 16 * 16;
    struct arena_block *k = a->blocks;

    if (!k || k->room - k->used < size) {
        size_t room = size > ARENA_BLOCK_BYTES ? size : ARENA_BLOCK_BYTES;

        k = must(malloc(sizeof(*k) + room), room);
        k->used = 0;
        k->room = room;
        k->next = a->blocks;
        a->blocks = k;
    }
    char *p = k->bytes + k->used;
    k->used += size;
    return memset(p, 0, size);
}

void
arena_clear(struct arena *a)
{
    while (a->blocks && a->blocks->next) {
        struct arena_block *k = a->blocks;
        a->blocks = k->next;
        free(k);
    }
    if (a->blocks)
        a->blocks->used = 0;
}

void
arena_free(struct arena *a)
{
    arena_clear(a);
    free(a->blocks);
    a->blocks = NULL;
}

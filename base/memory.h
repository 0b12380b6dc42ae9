/* memory: allocation that cannot fail (it aborts; the supervisor restarts from the store), growing
 * buffers, and an arena whose parts are all freed together. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *xalloc(size_t bytes);                         /* zeroed; free() it */
void *xresize(void *p, size_t bytes);               /* not zeroed */
void *xarray(size_t count, size_t bytes);           /* zeroed, overflow checked */
void *xaligned(size_t bytes);                       /* zeroed, 64-byte aligned; free() it */
char *xtext(const char *text);                      /* a copy; free() it */
char *xprint(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Borrowed bytes: never owned, never terminated. */
struct span {
    const char *at;
    size_t      length;
};

static inline struct span
span_of(const void *at, size_t length)
{
    return (struct span){(const char *)at, length};
}

struct span span_text(const char *text);            /* of a terminated string; NULL gives an empty one */
int         span_is(struct span s, const char *text);
char       *span_copy(struct span s);               /* terminated copy; free() it */

/* Bytes that grow. Zero-initialise; buffer_free() at the end. */
struct buffer {
    char  *at;
    size_t length, room;
};

void buffer_add(struct buffer *b, const void *bytes, size_t length);
void buffer_text(struct buffer *b, const char *text);
void buffer_print(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_reserve(struct buffer *b, size_t more); /* room for so many more bytes */
void buffer_clear(struct buffer *b);                /* length 0, keeps the room */
void buffer_free(struct buffer *b);
struct span buffer_span(const struct buffer *b);

/* Many small allocations with one lifetime. Zero-initialise. */
struct arena {
    struct arena_block *blocks;
};

void *arena_take(struct arena *a, size_t bytes);    /* zeroed, 16-byte aligned; until clear or free */
void  arena_clear(struct arena *a);                 /* keeps one block */
void  arena_free(struct arena *a);

#endif

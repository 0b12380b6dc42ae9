/* extract_parts: what extract.c and extract_box.c share: small looks at bytes. */
#ifndef KERNELS_ANSWER_EXTRACT_PARTS_H
#define KERNELS_ANSWER_EXTRACT_PARTS_H

#include <string.h>
#include <strings.h>

#include "kernels/answer/extract.h"

static inline bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
starts(struct span text, size_t at, const char *with)
{
    size_t length;

    if (at >= text.length || text.at[at] != with[0])
        return false;
    length = strlen(with);
    return text.length - at >= length && memcmp(text.at + at, with, length) == 0;
}

static inline bool
starts_word(struct span text, size_t at, const char *with)
{
    size_t length;

    if (at >= text.length || (text.at[at] | 32) != (with[0] | 32))
        return false;
    length = strlen(with);
    return text.length - at >= length &&
           strncasecmp(text.at + at, with, length) == 0;
}

static inline struct span
part(struct span text, size_t from, size_t to)
{
    return span_of(text.at + from, to - from);
}

static inline struct span
trim(struct span s)
{
    while (s.length && is_space(s.at[0]))
        s.at++, s.length--;
    while (s.length && is_space(s.at[s.length - 1]))
        s.length--;
    return s;
}

/* The last box and those it is one answer with, joined by commas in the arena. */
bool extract_boxed(struct span text, struct span *content, struct arena *arena);

#endif

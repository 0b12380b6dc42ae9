/* characters: ASCII at a place of a text, for number.c and token.c; past its end stands 0. */
#ifndef NODES_ARITHMETIC_CHARACTERS_H
#define NODES_ARITHMETIC_CHARACTERS_H

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

static inline char
byte(struct span text, size_t at)
{
    return at < text.length ? text.at[at] : 0;
}

static inline bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
starts(struct span text, size_t at, const char *word)
{
    size_t n = strlen(word);
    return at <= text.length && text.length - at >= n && memcmp(text.at + at, word, n) == 0;
}

#endif

/* pattern_set: what an escape of a pattern stands for, and classes with other classes inside. For
 * pattern_translate.c alone. */
#ifndef KERNELS_PATTERN_SET_H
#define KERNELS_PATTERN_SET_H

#include "base/error.h"
#include "base/memory.h"

#define PATTERN_CLASS_DEPTH 8

/* Code points whose category is one of the wanted, or that have the flag, or are white space, or
 * hexadecimal digits. */
struct pattern_set {
    uint32_t categories; /* bits by enum unicode_category */
    uint16_t flag;
    int space, hex;
};

int pattern_set_holds(const struct pattern_set *s, uint32_t c, uint16_t flags);

/* Categories of "L" or "Lu", any case; 0: no such name. */
uint32_t pattern_categories(const char *name);

/* \s \S \w \W \d \D \h \H: the set into *S, whether it is the negative; 0 for any other letter. */
int pattern_escape(char letter, int in_class, struct pattern_set *s, int *negative);

/* The name of \p{Name} at TEXT[*at] == '\\' into WORD, without its '^'; *at moves behind it. */
int pattern_property(const char *text, size_t *at, char word[64], int *negative, struct error *e);

/* A named set: a category, or Han. 0: it is neither. */
int pattern_named(const char *word, struct pattern_set *s);

/* Does the class that begins at TEXT[at] == '[' hold another, or "&&"? */
int pattern_class_nests(const char *text, size_t at);

/* Such a class, evaluated and appended to OUT as plain ranges; *at moves behind its ']'. */
int pattern_class(const char *text, size_t *at, struct buffer *out, struct error *e);

#endif

/* unicode: what the reference takes each code point for.
 *
 * The reference (tokenizers 0.23.3) mixes Unicode versions: 16 in its regular expressions, about 9
 * in its normaliser, 8 in its punctuation, 17 in Rust's character methods. So this is one table of
 * its answers, asked of the library itself by tools/unicode_tables.py, and neither libutf8proc's
 * nor PCRE2's version shows in a token id. */
#ifndef KERNELS_UNICODE_H
#define KERNELS_UNICODE_H

#include "base/memory.h"

#include <stdint.h>

#define UNICODE_END 0x110000 /* code points lie below it */

enum unicode_category {
    UNICODE_Cn,
    UNICODE_Cc,
    UNICODE_Cf,
    UNICODE_Co,
    UNICODE_Cs,
    UNICODE_Ll,
    UNICODE_Lm,
    UNICODE_Lo,
    UNICODE_Lt,
    UNICODE_Lu,
    UNICODE_Mc,
    UNICODE_Me,
    UNICODE_Mn,
    UNICODE_Nd,
    UNICODE_Nl,
    UNICODE_No,
    UNICODE_Pc,
    UNICODE_Pd,
    UNICODE_Pe,
    UNICODE_Pf,
    UNICODE_Pi,
    UNICODE_Po,
    UNICODE_Ps,
    UNICODE_Sc,
    UNICODE_Sk,
    UNICODE_Sm,
    UNICODE_So,
    UNICODE_Zl,
    UNICODE_Zp,
    UNICODE_Zs,
    UNICODE_CATEGORIES
};

enum unicode_flag {
    UNICODE_category = 31,        /* the category's bits */
    UNICODE_word = 1 << 5,        /* Oniguruma's \w */
    UNICODE_word_inside = 1 << 6, /* ... inside brackets: without six superscripts and fractions */
    UNICODE_rust_word = 1 << 7,   /* \w of single_word and of the Whitespace pre-tokenizer */
    UNICODE_numeric = 1 << 8,     /* of Digits */
    UNICODE_punctuation = 1 << 9, /* of Punctuation */
    UNICODE_mark = 1 << 10,       /* what StripAccents drops */
    UNICODE_inert = 1 << 11,      /* normalisation leaves it alone, whatever newer versions say */
    UNICODE_newer = 1 << 12,      /* assigned after Unicode 14, PCRE2 10.42's */
    UNICODE_han = 1 << 13,         /* the script Han */
};

/* The flags of every code point below UNICODE_END; made at the first call, from any thread. */
const uint16_t *unicode_flags(void);

const char *unicode_category_name(enum unicode_category c); /* "Lu" */

int unicode_is_space(uint32_t c); /* White_Space: the 25 that all its parts agree on */

/* Lower case of one character: 1 or 2 code points into OUT, their number returned. */
int unicode_lower(uint32_t c, uint32_t out[2]);

/* UTF-8: shortest forms, no surrogates. */
int unicode_is_utf8(struct span text);

/* The code point at TEXT[at], valid UTF-8; *LENGTH is its bytes. */
uint32_t unicode_at(struct span text, size_t at, size_t *length);

/* The code point that ends at TEXT[end], END > 0; *START is where it begins. */
uint32_t unicode_before(struct span text, size_t end, size_t *start);

/* Appends C's UTF-8. */
void unicode_add(struct buffer *out, uint32_t c);

#endif

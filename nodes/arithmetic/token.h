/* token: the words, numbers and signs of a text, read one at a time from any place in it.
 *
 * Reading has no state, so a parser may go back to where it was. A token has at most
 * TOKEN_BYTES_MAX bytes: of something longer the rest is another one, so that no text makes reading
 * again slow.
 *
 * What LaTeX and Markdown add for the eye is passed over like white space (\, \; \left & ** __);
 * \text{...} and its like are one word, or one phrase when there is more in them; \frac is a token
 * of its own; braces are parentheses. */
#ifndef NODES_ARITHMETIC_TOKEN_H
#define NODES_ARITHMETIC_TOKEN_H

#include <stdbool.h>

#include "base/memory.h"
#include "nodes/arithmetic/fraction.h"

#define TOKEN_BYTES_MAX 256

enum token_kind {
    TOKEN_end,
    TOKEN_number,
    TOKEN_word,     /* letters, with apostrophes and hyphens within; all of \text{...} */
    TOKEN_phrase,   /* of \text{...}: more than a word, without digits and '=' */
    TOKEN_operator, /* sign: + - * / */
    TOKEN_relation, /* sign: = < > l (at most) g (at least) n (not equal) a (about) */
    TOKEN_open,     /* ( [ { and \boxed{ */
    TOKEN_close,
    TOKEN_fraction, /* \frac: two groups follow */
    TOKEN_power,    /* ^ or ** */
    TOKEN_percent,  /* a sign that stands alone: that of a number belongs to it */
    TOKEN_degree,   /* ° and currency signs behind a number */
    TOKEN_line,     /* the end of a line, also \\ */
    TOKEN_math,     /* \( \) $, with sign d \[ \] $$: where formulas begin and end */
    TOKEN_stop,     /* ends what can be one calculation: , ; : . ? ! " << >> arrows ... */
    TOKEN_other     /* what no calculation of ours can hold: 3x, 9:30, 1st, _ ... */
};

struct number {
    struct fraction value;
    int decimals;  /* digits after the point */
    bool currency; /* a sign in front */
    bool percent;  /* a sign behind; value is what is written */
};

struct token {
    enum token_kind kind;
    size_t start, end; /* bytes of the text */
    bool spaced;       /* white space before it, or nothing */
    bool first;        /* of its line */
    char sign;
    struct span word; /* TOKEN_word, TOKEN_phrase: what is said */
    struct number number;
};

/* The token at or after `at`; TOKEN_end past the last. Always ends behind `at`, unless at the end.
 */
void token_read(struct span text, size_t at, struct token *t);

/* A word, whatever its case. */
bool token_is(const struct token *t, const char *word);
/* One of a NULL-terminated list. */
bool token_among(const struct token *t, const char *const *words);

#endif

/* latex: an answer's text as tokens. LaTeX, plain text and the usual Unicode signs give the same
 * tokens: \dfrac is \frac, \cdot and U+00D7 are *, \left and spacing vanish, 1{,}000 is a number.
 * Any bytes are safe; what no rule knows becomes TOKEN_unknown, which no parser accepts. */
#ifndef KERNELS_ANSWER_LATEX_H
#define KERNELS_ANSWER_LATEX_H

#include <stdbool.h>

#include "base/memory.h"

#define LATEX_TOKENS_MAX 4096
#define LATEX_AHEAD      8 /* tokens a parser may look at beyond the end */

/* Other kinds are the character itself: + - * / ^ _ ( ) [ ] { } , ; : ! & | ' = */
enum token_kind {
    TOKEN_end = 0,
    TOKEN_number = 256, /* text: digits with or without separators and a point; repeat; exponent */
    TOKEN_letter,       /* text: the name of a symbol, "x" or "theta" */
    TOKEN_word,         /* text: two or more plain letters in a row */
    TOKEN_text,         /* text: inside of a \text{} */
    TOKEN_function,     /* value: enum function */
    TOKEN_constant,     /* value: enum constant */
    TOKEN_frac,
    TOKEN_relation,     /* value: enum relation */
    TOKEN_plus_minus,   /* value: 1, or -1 for \mp */
    TOKEN_join,
    TOKEN_meet,
    TOKEN_without,
    TOKEN_empty,        /* the empty set */
    TOKEN_degree,
    TOKEN_percent,
    TOKEN_raised,       /* value: a superscript number */
    TOKEN_open_set,
    TOKEN_close_set,
    TOKEN_open_floor,
    TOKEN_close_floor,
    TOKEN_open_ceil,
    TOKEN_close_ceil,
    TOKEN_open_angle,
    TOKEN_close_angle,
    TOKEN_begin,        /* text: the environment's name */
    TOKEN_finish,
    TOKEN_row,          /* \\ */
    TOKEN_ellipsis,
    TOKEN_and,          /* "and" or (value 1) "or" between items */
    TOKEN_such,         /* \mid, \colon: "such that" */
    TOKEN_currency,     /* text: its sign */
    TOKEN_unknown,
};

struct token {
    int kind;
    int value;
    int over;           /* a number: its denominator, for the one-letter fractions; else 0 */
    bool spaced;        /* white space before it */
    struct span text;
    struct span repeat; /* a number: digits that recur after those of `text` */
    long exponent;      /* a number: of ten */
};

struct latex {
    struct token *at; /* the last ones are TOKEN_end, so that a parser may look ahead */
    int count, room;
};

/* The tokens lie in the arena, their spans in the text. false: there are too many. */
bool latex_read(struct latex *l, struct span text, struct arena *arena);

#endif

/* words: the words around numbers that matter to a calculation, as lists; and units of which two
 * of one family mean a conversion ("1 hour - 20 minutes = 40 minutes"). */
#ifndef NODES_ARITHMETIC_WORDS_H
#define NODES_ARITHMETIC_WORDS_H

#include <stdint.h>

#include "nodes/arithmetic/token.h"

/* A number behind one of these is part of something larger: of, times, half ... */
bool words_quantity(const struct token *t);
/* A lone number behind one of these is a name: Week 2, Step 3 ... */
bool words_index(const struct token *t);
/* A letter alone, of any alphabet: a variable. */
bool words_letter(const struct token *t);
/* A unit that changes what the number counts: dozen, pair, am ... */
bool words_doubt(const struct token *t);
/* It ends the words that may stand behind a number as its unit. */
bool words_end_unit(const struct token *t);
/* The value is said to be near: about, approximately, rounded ... */
bool words_about(const struct token *t);
/* "rounds to", "round up" ...; rounds alone may be counted: 3 rounds of 5. */
bool words_rounds(const struct token *t, const struct token *next);
/* What its clause says is not claimed: if, suppose, not ... */
bool words_deny(const struct token *t);
/* What is no result when it stands behind it: 5 more than, 3 times ... */
bool words_goes_on(const struct token *t);
/* more, less, fewer: a difference, where "than" follows. */
bool words_more(const struct token *t);
/* million -> 1000000; 0: no such word. */
int64_t words_scale(const struct token *t);
/* A sign that is written out: plus minus times, "divided by", "multiplied by" (two words: *two).
 * 0: none. */
char words_operator(const struct token *t, const struct token *next, bool *two);
/* half, "one third", two-thirds. *two: the second word belongs to it. */
bool words_fraction(const struct token *t, const struct token *next, int *numerator,
                    int *denominator, bool *two);

#define UNITS_FAMILIES 8

struct units {
    unsigned char seen[UNITS_FAMILIES]; /* 1 + place in its family; 0: none */
    bool mixed;                         /* two of one family */
};

void units_add(struct units *u, const struct token *t);
void units_add_currency(struct units *u);
void units_merge(struct units *into, const struct units *from);

#endif

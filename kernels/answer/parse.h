/* parse: tokens to a tree, by recursive descent.
 *
 *   list      relation {("," | ";" | "and" | "or") relation}
 *   relation  sets {("=" | "<" | "\in" ...) sets}          a chain stays a chain
 *   sets      sum {("\cup" | "\cap" | "\setminus") sum}
 *   sum       product {("+" | "-" | "\pm") product} [unit]
 *   product   unary {["*" | "/" | "mod"] unary}            juxtaposition multiplies
 *   unary     ("-" | "+" | "\pm") unary | postfix
 *   postfix   primary {"^" exponent | "!" | "%" | degree | "_" name}
 *   primary   number, mixed number, name, fraction, root, f(x), (...), [...), {...}, |x|, matrix
 *
 * Where notations clash: 1\frac{1}{2} and 1 1/2 are mixed numbers when the fraction is proper and
 * both parts are whole; (1, 2) stays a tuple, which compares as a point or as an open interval as
 * the other side asks; "a:b" is a ratio; i and e are the constants; \sin 2x is \sin(2x). */
#ifndef KERNELS_ANSWER_PARSE_H
#define KERNELS_ANSWER_PARSE_H

#include "kernels/answer/expression.h"
#include "kernels/answer/latex.h"

#define PARSE_DEPTH_MAX 60 /* groups in groups */
#define PARSE_RATIO     4  /* a tuple's op: a:b:c */
#define PARSE_SYSTEM    2  /* a list's op: equations in rows */

/* The longest answer that the tokens begin with; NULL: none, or a bound was met. *TAKEN: how many
 * tokens it is. Fractions written \frac12 split their token, so `l` is used up. */
struct expression *parse_answer(struct expressions *all, struct latex *l, int *taken);

#endif

/* verify: is the answer in a response the gold answer?
 *
 * exact    the response and the gold are the same text, white space at both ends aside.
 * numeric  the number of the response equals the number of the gold, as decimals, exactly: 5 = 5.0
 * = +5.00, 1,000 = 1000. The number is that of the last closed \boxed{}; else the first after the
 * last ####; else the last in the text. A currency sign before, and a percent sign, unit or full
 * stop after it, are ignored. No exponents: "1e5" holds the numbers 1 and 5. A thousands comma
 * (also {,} and ,\!) must be followed by three digits; the exponent of a unit (25 m^2) is not the
 * last number of a text; digits are compared as text, so length costs nothing but its bytes.
 * math     the answers are the same mathematics: kernels/answer/answer.h.
 * choice   the gold is a letter A to J, and the response chooses it: kernels/answer/words.h.
 * hendrycks, dapo  graders that papers report with, string by string: kernels/answer/classic.h.
 */
#ifndef KERNELS_VERIFY_H
#define KERNELS_VERIFY_H

#include "base/memory.h"

enum verify_mode {
#define VERIFY(name, meaning) VERIFY_##name,
#include "kernels/verify.def"
#undef VERIFY
    VERIFY_modes
};

/* 1: right, 0: wrong (also when either side holds no answer). Any bytes are safe. */
int verify_answer(enum verify_mode mode, struct span response, struct span gold);

/* The part of TEXT that `numeric` compares, for messages: empty (at NULL) when there is none. */
struct span verify_number(struct span text);

/* A mode's name to the mode; -1 for another word. */
int verify_mode_of(const char *word);

/* The names, for messages. */
#define VERIFY_WORDS "exact, numeric, math, choice, hendrycks or dapo"

#endif

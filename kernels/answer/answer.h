/* answer: is the answer of a response the gold one, as mathematics?
 *
 * The answer is found (extract.h), read (latex.h, parse.h) and compared (compare.h); a gold that is
 * no mathematics is compared as words (words.h), and a gold that is one letter A to J as a choice.
 * This follows the spirit of Math-Verify (github.com/huggingface/Math-Verify); what it takes for
 * the same and we do not, and the reverse, is listed in tools/check_verifier.py.
 *
 * It lies in kernels and not in base because it computes (exact rationals, values at random points,
 * kernels/random.h), and because every room that needs a verdict includes kernels. GMP and MPFR do
 * the arithmetic: exact, or rounded alike everywhere. A verdict depends on the two texts alone;
 * work is bounded by counts (expression.h), never by time, and any bytes are safe. */
#ifndef KERNELS_ANSWER_ANSWER_H
#define KERNELS_ANSWER_ANSWER_H

#include <stdbool.h>

#include "base/memory.h"

#define ANSWER_BYTES_MAX 16384 /* a longer answer is not read, only compared as words */

bool answer_same(struct span response, struct span gold);

/* Whether the response chooses the letter that the gold is; false where the gold is none. */
bool answer_choice(struct span response, struct span gold);

/* The text in the response that answer_same() would read first; at NULL: there is none. Borrowed
 * from the response or, where it was put together, from the arena. */
struct span answer_text(struct span response, struct arena *arena);

#endif

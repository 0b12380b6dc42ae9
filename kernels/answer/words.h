/* words: an answer as text, for what is no mathematics (yes, east, Tuesday) and for the letters of
 * a multiple choice. */
#ifndef KERNELS_ANSWER_WORDS_H
#define KERNELS_ANSWER_WORDS_H

#include <stdbool.h>

#include "base/memory.h"

/* The text without LaTeX's wrappers (\text{}, \mathrm{}, $), spaces and quotes at its ends, a full
 * stop, in lower case (ASCII), each white space one blank. In the arena. */
struct span words_of(struct span text, struct arena *arena);

/* 'A' to 'J' where the text is a choice: A, (A), A., \text{(A)}, "B) 12", "option C"; 0: none.
 * `bare`: nothing but the letter and its brackets. */
char words_choice(struct span text, bool bare, struct arena *arena);

/* The choice a response ends in where it announces none: its last "(C)", or a last line like it. */
char words_last_choice(struct span text, struct arena *arena);

#endif

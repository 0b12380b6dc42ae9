/* openers: the words with which a step turns to verifying, or to solving once more (openers.def). */
#ifndef NODES_OPENERS_H
#define NODES_OPENERS_H

#include <stdint.h>

#include "base/memory.h"

#define OPENERS_LEADS_MAX 2 /* words like "So" or "But" before an opener */

#define OPENERS_SIGNS_MAX 64 /* bytes of Markdown's signs and white space before one */

/* What a step does; the numbers are those of messages. */
enum step_kind { STEP_solve, STEP_verify, STEP_retry };

/* What the step in TEXT does, by its first words: white space, quotation marks and the signs of
 * Markdown (* _ # > -) before them do not count. */
enum step_kind openers_kind(struct span text);

/* Appends the places (uint64_t) in TEXT before which a step begins: where a sentence or a line
 * begins, after the first, with an opener. */
void openers_find(struct span text, struct buffer *places);

#endif

/* verbatim: the parts of a response that no step may be cut within: code and formulas.
 *
 *   fence         from a line of three or more ` or ~, indented as it may be, to a line of at least
 *                 as many of the same; without one, to the end of the text (CommonMark 4.5)
 *   inline code   from a run of ` to the next run of as many, in one paragraph (CommonMark 6.1)
 *   environment   from \begin{name} to its \end{name}, others within it or not
 *   formula       $$ to $$, \[ to \]; \( to \) and $ to $ in one paragraph. A $ opens before what is
 *                 no white space; the next $ closes it after what is none and before what is no
 *                 digit, or the first was a dollar (pandoc's rule): "$5 and $10" holds no formula.
 *
 * What is opened and never closed is text, but for a fence. Code is not looked into; formulas and
 * environments may hold each other. The time is linear in the text. */
#ifndef NODES_VERBATIM_H
#define NODES_VERBATIM_H

#include <stdbool.h>

#include "base/memory.h"

#define VERBATIM_TICKS_MAX 64 /* of an inline run; a longer one is text */
#define VERBATIM_DEPTH_MAX 64 /* environments open at a time; deeper ones are text */
#define VERBATIM_NAME_MAX  64 /* bytes of an environment's name */

/* Bytes [start, end). */
struct verbatim_part {
    size_t start, end;
};

/* Rising, apart from each other. Zero-initialise; reuse freely; verbatim_free() at the end. */
struct verbatim {
    struct verbatim_part *at;
    size_t count, room;
};

void verbatim_find(struct verbatim *v, struct span text);
void verbatim_free(struct verbatim *v);

/* Would a cut at OFFSET be within a part? */
bool verbatim_holds(const struct verbatim *v, size_t offset);

#endif

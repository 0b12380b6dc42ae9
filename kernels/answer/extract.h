/* extract: where in a response its answer stands. The places, most explicit first; the first that
 * exists is the only one that counts, except that an announced or last expression which turns out
 * to be no mathematics gives way to the next:
 *
 *   0. "the final answer is X. I hope it is correct."
 *   1. the last closed \boxed{} or \fbox{}; boxes right before it, or parted from it by a few words
 *      with "and", "or", a comma, are one list with it, so that naming many answers names a set
 *   2. behind the last ####, to the end of the line
 *   3. behind the last "answer is", "answer:" and the like, to the end of the sentence
 *   4. the last formula ($...$, $$...$$, \(...\), \[...\]) or number, whichever ends later
 *
 * What a model thinks before </think> is not looked at, and a <think> that never closes answers
 * nothing. Of a long response only the last EXTRACT_TAIL bytes are searched. */
#ifndef KERNELS_ANSWER_EXTRACT_H
#define KERNELS_ANSWER_EXTRACT_H

#include <stdbool.h>

#include "base/memory.h"

#define EXTRACT_TAIL       (256 << 10)
#define EXTRACT_PLACES_MAX 8
#define EXTRACT_BOXES_MAX  16

struct extract_place {
    struct span text;
    bool whole; /* all of it is the answer: what only begins with one is words */
    bool last;  /* no later place counts, whatever this one holds */
};

struct extract {
    struct extract_place at[EXTRACT_PLACES_MAX];
    int count;
};

/* Text that is put together (several boxes) lies in the arena. */
void extract_answer(struct extract *x, struct span response, struct arena *arena);

/* The same of a gold: a box or ####, else all of it. */
struct span extract_gold(struct span gold, struct arena *arena);

/* Without white space, $ or \( \) around, markdown's stars, and a full stop at the end. */
struct span extract_bare(struct span text);

#endif

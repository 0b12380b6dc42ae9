/* given: a response whose steps the input lists: labelled solutions (ProcessBench, PRM data), and
 * whoever cuts responses before us.
 *
 *   {"prompt": "...", "steps": ["first", "second"], ...}
 *
 * The response is the steps put together, with a blank line after each but the last that does not
 * end in white space itself; the ends of the steps go into the rollout (given_ends), for a
 * segmenter with method given. A last step that is empty is refused: a step has a byte. */
#ifndef NODES_READER_GIVEN_H
#define NODES_READER_GIVEN_H

#include "nodes/reader/line.h"

#define GIVEN_STEPS_MAX 65536 /* of one response */

/* The list of steps, or what was named for it; NULL: there is none. RESPONSE: the line has a
 * response, so "steps" is looked at only when it was named. */
const struct json_t *given_find(const struct line_how *how, const struct json_t *root,
                                bool response);
/* Makes the line one item of them. -> ERROR_input. */
int given_read(const struct json_t *steps, struct arena *arena, struct line *line, struct error *e);

#endif

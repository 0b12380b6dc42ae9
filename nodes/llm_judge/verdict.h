/* verdict: what a language model wrote, read as one label per step.
 *
 * Asked for: {"steps": [{"i": 0, "label": "correct", "score": 0.97, "reason": "..."}, ...]}. Models
 * wrap it in chatter, code fences or thoughts, so the last JSON object that has "steps" (or else
 * the last array of objects) counts. Tolerated: labels as right/wrong/true/false/yes/no/1/0/-1 in
 * any case, under "label", "verdict", "correct" or "judgement"; indexes under "i", "index" or
 * "step", from 0 or from 1, in any order, or none at all; scores as text. Never guessed: a step
 * left out, named twice or one too many, an entry that says nothing we know, a score outside [0,1]
 * without a label. Those fail the verdict as a whole.
 *
 * A score that contradicts its label (correct with 0.2) gives way to the label: models often mean
 * how sure they are. A label of neutral or unknown abstains on the step. */
#ifndef NODES_LLM_JUDGE_VERDICT_H
#define NODES_LLM_JUDGE_VERDICT_H

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define VERDICT_BYTES_MAX  (4 << 20) /* of an answer that is searched */
#define VERDICT_TRIES_MAX  64        /* places in an answer where JSON may begin */
#define VERDICT_REASON_MAX 400       /* bytes kept of a reason, cut at a character */

struct verdict {
    float *scores;        /* (count) in [0,1]; 0 where nothing was said */
    uint8_t *said;        /* (count) */
    struct span *reasons; /* (count) valid UTF-8, one line; may be empty */
};

/* TEXT is any bytes. Fills arrays of COUNT from the arena. -> ERROR_input: "no JSON verdict in the
 * answer", "the verdict has 3 steps, not 5", "step 2 has no label". */
int verdict_read(struct span text, int64_t count, struct verdict *out, struct arena *arena,
                 struct error *e);

#endif

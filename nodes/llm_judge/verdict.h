/* verdict: what a language model wrote, read as one score per step asked about, [first, first +
 * count) of a response. Each form of answer (prompt.h) is read as JSON where the answer holds a
 * fitting value, else by its words; models wrap both in chatter, code fences or thoughts, so the
 * last value or word that fits counts.
 *
 *   steps        {"steps": [{"i": 0, "label": 1, "reason": "...", "score": 0.97}, ...]}, or the
 *                array alone. Labels as 1/0/-1, correct/incorrect, right/wrong, true/false, yes/no
 *                in any case, under "label", "verdict", "correct" or "judgement"; scores as numbers
 *                or text. A score that contradicts its label gives way to the label: models often
 *                mean how sure they are. A label of neutral or unknown abstains on the step.
 *   first_error  {"first_error": 2}, or the last \boxed{2}; -1: none. Steps before are correct,
 *                that one is wrong, nothing is said of those after it.
 *   all_errors   {"errors": [{"section": 3, "explanation": "..."}, ...]}, or "Conclusion: no
 *                error", or "Conclusion: yes" and lines "Error Section Number: 3" (counted from 1)
 *                with "Explanation: ..." lines. All other steps are correct.
 *   agent        {"step_labels": {"0": 1, "1": -1}, "final_label": -1, "explanations": {"steps":
 *                {...}}}. 1 is a score of 1, -1 of 0; of a step with 0 or left out nothing is said
 *                (AgentProcessBench takes what is left out as 0). The final label is the
 *                response's.
 *   score        {"steps": [{"i": 0, "score": 4, "reason": "..."}], "overall": 4}, or lines "Score
 *                of step 0: 4" and "Overall score: 4"; where one step is asked about, also "Score:
 *                4" or the mark alone. A mark k of 1 .. 5 is a score of (k - 1)/4.
 *
 * Indexes may count from `first` or 0, or be one higher throughout, and entries may come in any
 * order, or without an index. Never guessed: a step left out, named twice or one too many, an entry
 * that says nothing we know. Those fail the verdict as a whole. */
#ifndef NODES_LLM_JUDGE_VERDICT_H
#define NODES_LLM_JUDGE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "nodes/llm_judge/prompt.h"

#define VERDICT_BYTES_MAX  (4 << 20)  /* of an answer that is searched */
#define VERDICT_WORK_MAX   (8 << 20)  /* bytes read in search for JSON, each try from its start */
#define VERDICT_REASON_MAX 400        /* bytes kept of a reason, cut at a character */
#define VERDICT_MARK_MIN   1          /* of the form score */
#define VERDICT_MARK_MAX   5

struct verdict {
    float *scores;        /* (count) in [0,1]; 0 where nothing was said */
    uint8_t *said;        /* (count) */
    struct span *reasons; /* (count) valid UTF-8, one line; may be empty */
    bool rated;           /* the response as a whole has a score: */
    float response;       /* in [0,1] */
};

struct verdict_ask {
    enum prompt_form form; /* not FORM_rank */
    int64_t first, count;
    bool cut; /* the answer ends where max_tokens cut it: words may be missing */
};

/* TEXT is any bytes. Fills arrays of COUNT from the arena. -> ERROR_input: "no JSON verdict in the
 * answer", "the verdict has 3 steps, not 5", "step 2 has no label". */
int verdict_read(struct span text, const struct verdict_ask *ask, struct verdict *out,
                 struct arena *arena, struct error *e);

/* Where the marks of the form score stand in an answer's words: byte offsets of the digits (of an
 * answer that is one mark alone, of what was drawn as such), -1 where there is none, for the steps
 * asked about and (at index count) the whole. Fills an array of COUNT + 1 from the arena. ->
 * ERROR_input where a step has no mark. */
int verdict_marks(struct span text, const struct verdict_ask *ask, int64_t **places,
                  struct arena *arena, struct error *e);

#endif

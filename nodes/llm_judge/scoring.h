/* scoring: scores from the probabilities that a server gives with its tokens.
 *
 * Expected mark (RAIL inference of TRACT, arXiv 2503.04381): at the place of the mark's token,
 *     yhat = sum over k in MIN .. MAX of k p(k),
 * with p of the whole vocabulary, not renormalised, so that yhat may fall below MIN where mass lies
 * outside the marks; `outside` = 1 - sum p(k) says how much. With `renormalise`, yhat is divided by
 * sum p(k). The score is (yhat - MIN)/(MAX - MIN), held in [0,1]. A server lists the likeliest
 * tokens only: what it leaves out counts as outside.
 *
 * Listwise ranking by one token (FIRST, arXiv 2406.15657): responses are listed under letters, and
 * are ordered by the log-probabilities of the letters at the first token of the answer. More than
 * fit one list are ranked in windows that slide from the end of the list to its front, as
 * castorini/rank_llm (1b3cabb) does: each of WINDOW responses, STEP before the last one; the one at
 * the front may be smaller.
 *
 * Several tokens may stand for one mark or letter ("4", " 4"): their probabilities are added. */
#ifndef NODES_LLM_JUDGE_SCORING_H
#define NODES_LLM_JUDGE_SCORING_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "nodes/llm_judge/prompt.h"

#define SCORING_TOP         20 /* tokens asked for at each place: what OpenAI and vLLM allow */
#define SCORING_RANK_WINDOW PROMPT_LETTERS
#define SCORING_RANK_STEP   (PROMPT_LETTERS / 2)

struct scoring_candidate {
    struct span text;
    double probability;
};

struct scoring_token {
    struct span text; /* what was chosen */
    size_t at;        /* where it begins in the words of all tokens together */
    int count;
    const struct scoring_candidate *candidates; /* (count) what was chosen is one of them */
};

struct scoring_tokens {
    int64_t count;
    const struct scoring_token *at;
    struct span words; /* all of them joined */
};

/* Reads choices[0].logprobs.content of a completion; texts by their bytes where the server gives
 * bytes. All in the arena. -> ERROR_input: "the server gave no log-probabilities". */
int scoring_read(const json_t *completion, struct scoring_tokens *out, struct arena *arena,
                 struct error *e);

/* The expected mark where the mark's digit stands at this byte of the words. `score` in [0,1],
 * `outside` in [0,1]. -> ERROR_input where no candidate is a mark. */
int scoring_expected(const struct scoring_tokens *t, int64_t place, bool renormalise, double *score,
                     double *outside, struct error *e);

/* p(k) of COUNT marks from VERDICT_MARK_MIN on, as above. */
void scoring_mark(const double *p, int count, bool renormalise, double *score, double *outside);

/* The order of COUNT <= PROMPT_LETTERS listed responses, best first: order[0] is the index of the
 * best. Letters that no candidate names come last, in the order they were listed. -> ERROR_input
 * where no letter is named. */
int scoring_order(const struct scoring_tokens *t, int count, int *order, struct error *e);

/* A ranking of `count` responses under way. */
struct scoring_ranking {
    int count;
    int from, to; /* the window at hand: these places of `order` */
    bool done;    /* every window was ordered */
    int *order;   /* (count) best first; borrowed */
};

/* `order` holds the responses as they are to be listed at first. */
void scoring_rank_begin(struct scoring_ranking *r, int count, int *order);
/* The window at hand comes into this order (scoring_order() of its list). */
void scoring_rank_put(struct scoring_ranking *r, const int *order);

#endif

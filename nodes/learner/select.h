/* select: the stages between the stored samples of an optimiser step and its objective: rewards
 * that depend on length, masks of tokens, unbiased pruning, a token budget, and which samples share
 * a batch. Each is a pure function of the step's samples in the order of the step, the rules and
 * the seed; masks live in the caller's arena.
 *
 * Order: shape, masks, advantages (the objective's), prune, budget. So advantages are those of all
 * samples, and what pruning leaves out still counts in what the loss is divided by. */
#ifndef NODES_LEARNER_SELECT_H
#define NODES_LEARNER_SELECT_H

#include "nodes/learner/sample.h"

#define SELECT_PRUNE_MAX  0.95 /* largest probability of being left out: a weight of at most 20 */
#define SELECT_WINDOW_MAX 4096 /* samples that packing looks at */

struct select_rules {
    /* Overlong shaping (DAPO, arXiv 2503.14476, Eq 13; verl's recipe, whose answers never pass
     * `length`): r -= clamp((|y| - (length - buffer)) / buffer, 0, 1) * factor. length 0: off. */
    int64_t overlong_length, overlong_buffer;
    double overlong_factor;
    /* Relative length reward (arXiv 2506.04913): in a group with accuracy >= ratio each correct
     * response gets clip((mean length of its correct ones - |y|) / base, low, high). base 0: off.
     */
    double rlr_ratio, rlr_base, rlr_low, rlr_high;
    /* Repetition (2506.04913): a wrong response gets (1 - distinct / all n-grams) * penalty; here
     * over tokens of the response, there over words of the whole text. penalty 0: off. */
    double repetition_penalty;
    int64_t repetition_ngram;
    /* Selective token masking (arXiv 2501.14315): a token whose perplexity exp(-log p) under the
     * initial model is above the threshold is left out. 0: off. */
    double stm_threshold;
    bool stm_positive_only; /* only in responses that are correct */
    bool mask_truncated;    /* answers that were cut off are not learnt */
    /* Unbiased pruning (arXiv 2603.04135): P from the rank of |A|, Bernoulli, weight 1 / (1 - P).
     * The rates are the mean P. 0: off. */
    double prune_prompts, prune_completions;
    int64_t token_budget; /* C3PO (arXiv 2506.14731, eq. 2 and 3); 0: off */
};

/* Changes rewards; where one changed, so do its group's mean and spread, which stay those of all
 * rollouts the group emitted: ones that were dropped on the way keep the reward they had. Samples
 * of a group are neighbours. */
void select_shape(const struct select_rules *rules, struct sample *samples, int64_t count);

/* Masks by perplexity and by the flag of the record; samples without either keep mask NULL. A
 * sample needs its reference for the first. A named token is never masked. */
void select_mask(const struct select_rules *rules, struct sample *samples, int64_t count,
                 struct arena *arena);

/* Can the rules mask tokens, by perplexity, truncation or the budget; can they prune samples? */
bool select_masks(const struct select_rules *rules);
bool select_prunes(const struct select_rules *rules);

int64_t select_rows(const struct sample *s); /* learnt tokens that the mask leaves */

/* Pruned ones get `pruned`, the others their weight times 1 / (1 - P). advantages (count): the
 * size of each sample's. `epoch` < 2^24 and ordinals < 2^40 name the draws. history: the prompts'
 * own |A| is known (an earlier pass of this round saw it), so whole prompts may go. */
void select_prune(const struct select_rules *rules, struct sample *samples,
                  const double *advantages, int64_t count, bool history, uint64_t seed,
                  uint64_t epoch);

/* The probability of leaving out element `rank` of n in rising order, with mean `rate`: falls
 * linearly; RECONSTRUCTED (the paper's P was not seen). rank may be half way between two. */
double select_probability(double rate, double rank, int64_t n);

/* Keeps the first token_budget rows in the order of the step, the last sample cut to fit; the rest
 * are masked. */
void select_budget(const struct select_rules *rules, struct sample *samples, int64_t count,
                   struct arena *arena);

/* Which samples share a batch of `tokens`: order (count) lists them, starts (count + 1) where each
 * batch begins; -> batches. tokens_of: length of each. window 0: as they come, as many as fit.
 * Else (RECONSTRUCTED from 2603.04135, 4.3) of the next `window` the longest that fits is taken,
 * again and again; in a batch they stand in the order of the step. */
int64_t select_pack(const int64_t *tokens_of, int64_t count, int64_t tokens, int64_t window,
                    int64_t *order, int64_t *starts);

#endif

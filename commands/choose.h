/* choose: which prompts the next round of `sluice loop` samples, from what earlier rounds showed.
 *
 * Every draw is a pure function of (seed, round, the prompt's place in its file, what is remembered
 * of it): the same records give the same choice, whatever was killed in between.
 *
 * uniform  B prompts, each equally likely, without replacement.
 * vade     VADE (arXiv 2511.18902): p ~ Beta(a + 1, b + 1), a and b the faded counts of right and
 *          wrong answers; the B prompts with the largest p (1 - p)^2, which peaks at p = 1/3.
 *          After a round, chosen: a <- l1 a + right, b <- l1 b + wrong; others: a <- l2 a, b <- l2
 *          b. l1 = 0.2 and l2 = 0.999 are inferred from the project page's figure; a = b = 0 at the
 *          start is our reading.
 * mopps    MoPPS (thu-rllab/MoPPS): p ~ Beta(a, b); the B prompts whose p is nearest a target.
 *          After a round, chosen: a <- l a + (1 - l) + right, b likewise, from a = b = 1; others
 *          stay. Kept here less the prior, a - 1 and b - 1, which makes both updates those of vade.
 *          l has no default in what we saw: 0.5 is ours.
 * dppo     Prompt-level pruning of arXiv 2603.04135 ("DPPO") by low historical |advantage|. Its
 *          formulas are not public to us, so this is a reconstruction: with A the mean over
 *          earlier rounds of mean |r - mean r| of the prompt's group, w = 1 / (1 + A / mean A), a
 *          prompt is left out with probability P = min(CHOOSE_PRUNE_MOST, c w), c such that the
 *          mean of P over the prompts with a history is the rate asked for; one without is never
 *          left out. Draws are Bernoulli, since the proof of unbiasedness needs P < 1 everywhere.
 *          A prompt that stays has the weight (kept / pool) / (1 - P): the mean over the groups
 *          that were kept is then an estimate of the mean over the pool without bias. */
#ifndef COMMANDS_CHOOSE_H
#define COMMANDS_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

#define CHOOSE_ROUNDS_MAX  65535 /* 16 + 24 + 24 bits of one index: round, prompt, draw */
#define CHOOSE_PROMPTS_MAX (1 << 24)
#define CHOOSE_PRUNE_MOST  0.95 /* no prompt is left out more surely: weights stay below 20 */
#define CHOOSE_RATE_MAX    0.9

enum choose_method { CHOOSE_all, CHOOSE_uniform, CHOOSE_vade, CHOOSE_mopps, CHOOSE_dppo };

/* "vade" to its method; -1 for another word. */
int choose_method_of(const char *word);

struct choose_how {
    enum choose_method method;
    uint64_t seed;
    int64_t count;  /* B, prompts of a round; 0, or more than there are: all */
    double decay;   /* l1, l: what a chosen prompt's counts keep, in [0, 1] */
    double target;  /* mopps: the pass rate sought, in [0, 1] */
    double rate;    /* dppo: share left out, in [0, CHOOSE_RATE_MAX] */
};

/* What is remembered of a prompt. All zero: never sampled. */
struct choose_memory {
    double right, wrong; /* faded counts of answers (vade, mopps) */
    double advantage;    /* sum over its rounds of the mean |r - mean r| of its group */
    int64_t rounds;      /* in which it was sampled */
};

struct choose_draw {
    bool chosen;
    double weight;  /* of its rollouts; 1 but for dppo */
    double value;   /* what the method ranked it by; dppo: P */
};

/* Fills draws (count). At least one prompt is chosen. round counts from 1. */
void choose_draw(const struct choose_how *how, int64_t round, const struct choose_memory *memory,
                 int64_t count, struct choose_draw *draws);

/* Remembers a round: correct (count) of `samples` answers were right where draws say chosen. */
void choose_remember(const struct choose_how *how, const struct choose_draw *draws,
                     const int64_t *correct, int64_t samples, struct choose_memory *memory,
                     int64_t count);

/* A draw of Beta(a, b), a and b at least 1, as X / (X + Y) of two gamma draws by Marsaglia and
 * Tsang's method ("A simple method for generating gamma variables", ACM TOMS 26, 2000). */
double choose_beta(uint64_t seed, int64_t round, int64_t prompt, double a, double b);

#endif

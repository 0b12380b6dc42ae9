/* consensus: how scores become labels. Pure, so that tests and readers see the rule alone.
 *
 * Per step, with v the voters that gave a score, in voter-id order: below quorum (or v = 0) the
 * label is unknown. Else, a score >= the voter's threshold being a yes:
 *
 *   all         every one says yes
 *   any         at least one does
 *   majority    more say yes than no; as many: a tie, and unknown
 *   weighted    the weights of those that say yes are more than those of no; as much: a tie.
 *               Weights are whole millionths, so that 0.1 + 0.2 is level with 0.3
 *   mean>=t     the mean score is at least t; `mean` alone: at least the threshold
 *
 * first_error_match looks at the whole response, as the consensus filtering of Qwen2.5-Math-PRM
 * does (arXiv 2501.07301: judge and Monte Carlo estimation must agree on where the first error is).
 * A voter's first error is its first no; it is known where the voter gave a score to every step up
 * to it, or to every step and each a yes. Where those voters are fewer than the quorum, or their
 * first errors differ, all steps are unknown. Else steps before it are correct, it is incorrect,
 * and steps after it unknown (there the steps after the first error are taken away). */
#ifndef NODES_CONSENSUS_H
#define NODES_CONSENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define CONSENSUS_WEIGHT_ONE 1000000 /* a weight of 1 */
#define CONSENSUS_WEIGHT_MAX 1000000 /* the largest weight, as written */

enum consensus_rule {
    CONSENSUS_all,
    CONSENSUS_any,
    CONSENSUS_majority,
    CONSENSUS_weighted,
    CONSENSUS_first_error_match,
    CONSENSUS_mean
};
enum consensus_label { LABEL_incorrect = 0, LABEL_correct = 1, LABEL_unknown = 2 };

struct consensus_how {
    enum consensus_rule rule;
    double              mean_min;   /* CONSENSUS_mean: t; NaN: the threshold */
    double              threshold;  /* a score at or above it is a yes */
    int                 quorum;     /* voters that must have given a score */
    const double       *thresholds; /* (voters) in its place; NULL: one for all */
    const int64_t      *weights;    /* (voters) in CONSENSUS_WEIGHT_ONE; NULL: all 1 */
};

/* What the voters said of one response, in voter-id order. */
struct consensus_votes {
    int            voters;
    int64_t        steps;
    const float  **scores; /* (voters) each (steps); NULL: this voter says nothing at all */
    const uint8_t **said;  /* (voters) each (steps): 0: nothing of this step; NULL: of all steps */
};

/* What came of it; the caller's arrays of `steps`. */
struct consensus_labels {
    uint8_t  *labels;   /* enum consensus_label */
    uint8_t  *ties;     /* 1: yes and no were level under a rule that counts them */
    uint32_t *agree;    /* voters that said yes */
    uint32_t *counted;  /* voters that gave a score */
    float    *agreement; /* share of those on the larger side, 0.5 to 1; 0: none */
    float    *means;    /* of their scores, added in double in voter-id order; 0: none */
    int64_t   tied;     /* how many ties */
};

/* "all", "any", "majority", "weighted", "first_error_match", "mean", "mean>=0.5". ->
 * ERROR_topology. */
int consensus_rule_read(const char *text, struct consensus_how *h, struct error *e);
/* "all" or a number of voters, 1 to voters. -> ERROR_topology. */
int consensus_quorum_read(const char *text, int voters, struct consensus_how *h, struct error *e);
/* One value of a voter: "critic=0.5", 0 to `most`. *voter: its index among `names`. ->
 * ERROR_topology: no such voter, no such number. */
int consensus_value_read(const char *text, const char *const *names, int voters, double most,
                         int *voter, double *value, struct error *e);

/* What a voter said of a step: a score in [0, 1], or nothing (NaN and numbers outside are nothing).
 */
bool consensus_said(const struct consensus_votes *in, int voter, int64_t step, float *score);
/* Is this score of this voter a yes? */
bool consensus_yes(const struct consensus_how *h, int voter, float score);

/* Label one step from `count` scores (those that were given, in voter-id order), of voters of equal
 * weight and one threshold. Writes how many said yes and the mean (0 when none). For
 * first_error_match a step is a response of one step. */
enum consensus_label consensus_label(const struct consensus_how *h, const float *scores, int count,
                                     uint32_t *agree, float *mean);

/* Label every step of a response. */
void consensus_judge(const struct consensus_how *h, const struct consensus_votes *in,
                     struct consensus_labels *out);

#endif

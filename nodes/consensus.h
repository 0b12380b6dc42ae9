/* consensus: how scores become labels. Pure, so that tests and readers see the rule alone.
 *
 * Per step, with v the voters that gave a score, in voter-id order: below quorum (or v = 0) the
 * label is unknown. Else, a score >= threshold being a yes: all: every one says yes; any: at least
 * one does; majority: more than half do; mean>=t: the mean score is at least t. */
#ifndef NODES_CONSENSUS_H
#define NODES_CONSENSUS_H

#include <stdint.h>

#include "base/error.h"

enum consensus_rule { CONSENSUS_all, CONSENSUS_any, CONSENSUS_majority, CONSENSUS_mean };
enum consensus_label { LABEL_incorrect = 0, LABEL_correct = 1, LABEL_unknown = 2 };

struct consensus_how {
    enum consensus_rule rule;
    double              mean_min;   /* CONSENSUS_mean: t */
    double              threshold;  /* a score at or above it is a yes */
    int                 quorum;     /* voters that must have given a score */
};

/* "all", "any", "majority", "mean>=0.5". -> ERROR_topology. */
int consensus_rule_read(const char *text, struct consensus_how *h, struct error *e);
/* "all" or a number of voters, 1 to voters. -> ERROR_topology. */
int consensus_quorum_read(const char *text, int voters, struct consensus_how *h, struct error *e);

/* Label one step from `count` scores (those that were given, in voter-id order). Writes how many
 * said yes and the mean (0 when none). Sums in double, in the order given. */
enum consensus_label consensus_label(const struct consensus_how *h, const float *scores, int count,
                                     uint32_t *agree, float *mean);

#endif

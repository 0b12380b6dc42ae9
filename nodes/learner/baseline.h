/* baseline: advantages of steps from their labels (S2R, arXiv 2502.12853, appendix F). A step has
 * R = +1 where it is labelled correct, -1 where incorrect, a verify where its verdict is right or
 * wrong (nodes/learner/s2r.h); its advantage is R - b, b the mean R of all steps of the round that
 * are like it: by the R before it (ctx), by the accuracy of its group and its place (acc_pos) or by
 * that accuracy and those R (acc_ctx). Fewer than `least` of a kind, or a kind beyond the named
 * limits: b = 0.
 *
 * A step of label unknown is left out: it has advantage 0 and no part in what is before others. A
 * response without steps is one step, correct or not as the response is. All tokens of a step, up
 * to the first of the next, have its advantage; a step that owns no token is not seen. */
#ifndef NODES_LEARNER_BASELINE_H
#define NODES_LEARNER_BASELINE_H

#include "nodes/learner/sample.h"

#define BASELINE_BINS_MAX  100
#define BASELINE_DEPTH_MAX 50    /* steps of a context; later ones have that of the first 50 */
#define BASELINE_KINDS_MAX 65536 /* of steps; ones met later have b = 0 */

enum baseline_kind { BASELINE_ctx, BASELINE_acc_pos, BASELINE_acc_ctx };

struct baseline_rules {
    enum baseline_kind kind;
    int64_t bins, least;
    bool once; /* scaled so that under sequence_mean each step of a response counts once */
};

struct baseline_row {
    uint64_t key; /* 0: empty */
    int64_t count;
    double sum;
};

/* Zero-initialise. Filled in ordinal order, so the same samples fill it alike. */
struct baselines {
    struct baseline_rules rules;
    struct baseline_row *rows; /* (2 * BASELINE_KINDS_MAX) */
    int64_t kinds;
};

/* Adds the steps of a sample; accuracy: of its group, in [0, 1]. */
void baselines_add(struct baselines *b, const struct sample *s, double accuracy);

/* advantage (count - context): of every learnt token. With `once` that of a step of n tokens, one
 * of k with a label in a response of m, is times m / (k n), tokens and steps counted that the mask
 * leaves: the mean over tokens that the objective takes is then S2R's mean over actions. */
void baselines_advantages(const struct baselines *b, const struct sample *s, double accuracy,
                          float *advantage);
void baselines_free(struct baselines *b);

#endif

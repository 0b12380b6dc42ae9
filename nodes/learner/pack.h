/* pack: samples end to end as one batch of the kernels: ids, targets, weights and reference values
 * per row.
 *
 * A language model's row t predicts token t + 1, so a sample at [s, s + n) with k context tokens
 * owns the rows [s + k - 1, s + n - 1). A class head looks at the token itself: rows [s + k, s +
 * n), of which those at step ends have a target. */
#ifndef NODES_LEARNER_PACK_H
#define NODES_LEARNER_PACK_H

#include "kernels/decoder.h"
#include "kernels/objective.h"
#include "nodes/learner/sample.h"

struct pack_rules {
    int classes;      /* targets are the classes of steps */
    int correct_only; /* weight 0 on wrong responses */
    double beta;      /* weight of a token in a correct step of a wrong response */
};

/* One batch. Zero-initialise; grows; reused. */
struct pack {
    struct batch batch;
    struct objective_batch
        rows; /* weight and samples filled; logp is the trainer's; reference when all have it */
    int32_t *ids;
    int64_t *starts;
    int32_t *targets; /* (tokens): -1 where nothing is learnt */
    float *weight, *reference;
    struct objective_sample *samples;
    int64_t token_room, sample_room;
    int64_t learnt;     /* rows with a target */
    int64_t gem_tokens; /* rows whose weight is beta */
};

/* Lays out samples[0 .. count) (those without a row to learn too: the objective counts them). */
void pack_fill(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
               int64_t count);
void pack_free(struct pack *p);

/* Has the sample any row with weight? One that has none is not worth a forward pass. */
int pack_learns(const struct pack_rules *rules, const struct sample *s);

#endif

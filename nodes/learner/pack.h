/* pack: samples end to end as one batch of the kernels: ids, targets, weights and reference values
 * per row.
 *
 * A language model's row t predicts token t + 1, so a sample at [s, s + n) with k context tokens
 * owns the rows [s + k - 1, s + n - 1). A class head looks at the token itself: rows [s + k, s +
 * n), of which those at step ends have a target. pack_rows() lays out the rows to learn alone, for
 * what needs no forward pass.
 *
 * A recorded log mu that an injected sample lacks (no policy of ours sampled it) is log pi_ref
 * where that is known, else 0.
 *
 * The weight of a token: beta in a correct step of a wrong response (a gem), `wrong` in an
 * incorrect step of one, else 1; times `correction` in a step labelled correct right after an
 * incorrect one, and times what the label noise filter makes of its step (noise.h), which is also
 * the weight of a class.
 */
#ifndef NODES_LEARNER_PACK_H
#define NODES_LEARNER_PACK_H

#include "kernels/decoder.h"
#include "kernels/objective.h"
#include "nodes/learner/sample.h"

struct pack_rules {
    int classes;      /* targets are the classes of steps */
    int correct_only; /* weight 0 on wrong responses */
    double beta, wrong, correction;
    bool behaviour; /* the objective compares with the policy that sampled ... */
    bool recorded;  /* ... which is what the sampler wrote down, else the initial model */
    const struct sample_names *names; /* NULL: none */
};

/* One batch. Zero-initialise; grows; reused. */
struct pack {
    struct batch batch;
    /* weight, mask, begins, samples and names filled; logp is the trainer's; reference, behaviour
     * and advantage where all samples have them */
    struct objective_batch rows;
    int32_t *ids;
    int64_t *starts, *from;
    int32_t *targets; /* (tokens): -1 where nothing is learnt */
    float *weight, *reference, *behaviour, *advantage;
    uint8_t *mask, *begins;
    struct objective_sample *samples;
    int64_t token_room, sample_room;
    int64_t learnt;     /* rows with a target */
    int64_t gem_tokens; /* rows whose weight is beta */
};

/* Lays out samples[0 .. count) (those without a row to learn too: the objective counts them). */
void pack_fill(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
               int64_t count);
/* The same without ids and contexts: the rows to learn, one sample after the other. */
void pack_rows(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
               int64_t count);
void pack_free(struct pack *p);

#endif

/* noise: which labels of steps are to be believed. The two-dimensional split of PLReMix (arXiv
 * 2402.17589, its code; judge_and_other_methods 8) over the labelled steps of a round that come
 * with a vector (labelled.embeddings). With y a step's label, v its votes' mean score and q its
 * vector, of length 1, each step has two losses,
 *
 *      vote        -log max(v, 1e-6) where y is correct, -log max(1 - v, 1e-6) where incorrect
 *      prototype   -log softmax(C q / 0.1)_y,  C_c the mean of the q of label c, of length 1
 *
 * each brought to [0, 1] by the least and the largest of the round; two Gaussians are fitted to the
 * pairs (mixture.h), and the weight of a step is the posterior of the one nearer to 0: of being
 * clean. `hard`: 1 above a half, else 0. Steps without a label or a vector keep the weight 1; so do
 * all where the split is not defined: few steps, a label that none has, a loss that is alike
 * everywhere. PLReMix's moving averages over epochs have no place: vectors do not change here.
 *
 * A policy's labels count in wrong responses alone, a class head's in all: only those have a
 * record. Steps are looked at in ordinal order, sums are in double and in that order. */
#ifndef NODES_LEARNER_NOISE_H
#define NODES_LEARNER_NOISE_H

#include <stdbool.h>

#include "nodes/learner/mixture.h"
#include "nodes/learner/sample.h"

#define NOISE_VERSION     1
#define NOISE_TEMPERATURE 0.1
#define NOISE_SCORE_MIN   1e-6
#define NOISE_STEPS_MIN   16        /* fewer steps have no split */
#define NOISE_STEPS_MAX   (1 << 22) /* of a round; those met later keep the weight 1 */
#define NOISE_WIDTH_MAX   65536

enum noise_mode { NOISE_none, NOISE_soft, NOISE_hard };

/* What is kept of one response: borrows from the bytes it was read from. */
struct noise_record {
    int64_t steps, width;
    const int32_t *first, *count; /* (steps) learnt tokens [first, first + count) of the step */
    const int32_t *judged;        /* (steps) the learnt token that is the step's; -1: none */
    const float *means;           /* (steps) */
    const float *vectors;         /* (steps, width) */
    const uint8_t *labels;        /* (steps) */
};

/* Zero-initialise; noise_free() at the end. */
struct noise {
    enum noise_mode mode;
    bool classes;
    int64_t width;      /* of the first vector; others are passed over */
    double *prototypes; /* (2, width) */
    int64_t counted[2]; /* steps of each label that count */
    int64_t *starts;    /* (samples + 1) places in weights */
    int64_t samples, samples_room;
    double *losses;     /* (steps, 2); NaN: the step does not count */
    float *weights;     /* (steps) */
    int64_t steps, room;
    struct mixture mixture;
    bool fitted;
    double mean; /* of the weights of the steps that count */
};

/* Appends the record; nothing where the message brings no vectors that fit its steps. `tokens`: of
 * the response, of which the first `skip` are not learnt. */
void noise_write(const struct labelled *l, const struct tokens *tokens, int64_t skip,
                 struct buffer *out);
/* From 8-byte aligned bytes. -> ERROR_store: damaged. */
int noise_read(struct span bytes, struct noise_record *r, struct error *e);

/* A round: begin; look at every record once, then measure each once (NULL: a sample has none), in
 * the same order; fit. False: the split is not defined, *why says why, and every weight is 1. */
void noise_begin(struct noise *n, enum noise_mode mode, bool classes);
void noise_look(struct noise *n, const struct noise_record *r);
void noise_measure(struct noise *n, const struct noise_record *r);
bool noise_fit(struct noise *n, const char **why);

/* Weights of the tokens of sample number `at`, where some are not 1. */
void noise_apply(const struct noise *n, int64_t at, const struct noise_record *r, struct sample *s,
                 struct arena *arena);
void noise_free(struct noise *n);

#endif

/* steps: a trainer of a model of a few hundred weights and the samples of a step, made here, for
 * tests of train.h. Every call fails the test on an error. */
#ifndef TESTS_STEPS_H
#define TESTS_STEPS_H

#include "nodes/learner/train.h"

#define STEPS_SAMPLES 6
#define STEPS_LENGTH  12

struct steps_made {
    int32_t ids[STEPS_LENGTH];
    uint8_t marks[STEPS_LENGTH];
    float reference[STEPS_LENGTH], logps[STEPS_LENGTH];
};

/* Two groups of three that emitted four; every second answer is right; labels on every token. */
void steps_samples(struct steps_made *made, struct sample *samples);

/* The settings are the objective's own, tau 0.3 where it has one; beta: pack_rules'. */
void steps_open(struct trainer *t, const char *objective, double beta);

/* One step's loss and gradients, in batches of so many samples. */
double steps_loss(struct trainer *t, const struct sample *samples, int64_t count, int64_t batch);

#endif

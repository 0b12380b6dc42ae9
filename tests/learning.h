/* learning: a learner over rollouts made here, for tests of what reaches the objective: a model of
 * a few thousand weights over characters, sums whose answers are right or wrong, labels on the
 * steps of the wrong ones. Every call fails the test on an error unless it says otherwise. */
#ifndef TESTS_LEARNING_H
#define TESTS_LEARNING_H

#include "tests/harness.h"

#define LEARNING_GROUP      4
#define LEARNING_SECONDS    30.0
#define LEARNING_CHARACTERS "0123456789+-= \nax[]>ABC." /* ids from 1; 0 is the stop token */
#define LEARNING_LONGEST    40

extern char learning_base[128];             /* the model's folder; the head is not tied */
extern const char *const learning_both[];   /* links labelled and passed */
extern const char *const learning_passed[]; /* passed alone */

int learning_begin(void **state); /* makes the model */
int learning_end(void **state);   /* removes it */

/* lr 3e-3, 8 rollouts a step, and `more` (name, value, NULL). With `e` as harness_open. */
struct harness *learning_open(const char *const *links, const char *objective,
                              const char *const *more, struct error *e);

struct learning_made {
    char prompt[16], response[32], id[24];
    float logps[LEARNING_LONGEST];
    uint32_t ids[LEARNING_LONGEST];
    uint64_t ends[2];
    uint8_t labels[2];
    struct labelled labelled;
};

/* Rollout i: "a+a=", answered in two lines; two of four are right, the first line always is. */
struct rollout *learning_make(struct learning_made *m, uint64_t i);
/* With labels wrong ones come on link 0 and correct ones on link 1, else all as they are. */
void learning_give(struct harness *h, struct learning_made *m, uint64_t i, bool labels);
void learning_run(struct harness *h);
void learning_dead(struct harness *h, int index, const char *words); /* its reason has them */

/* A file of the final checkpoint's folder; free it. */
char *learning_file(struct harness *h, const char *name, size_t *length);
double learning_metric(struct harness *h, const char *name); /* of the first step that has it */

struct learning_bytes {
    char *at;
    size_t length;
};
struct learning_bytes learning_weights(struct harness *h); /* the final ones; free .at */
bool learning_same(struct learning_bytes a, struct learning_bytes b);

/* Trains on so many rollouts; *kept: the harness, else it is closed. */
struct learning_bytes learning_trained(const char *objective, const char *const *options,
                                       uint64_t count, struct harness **kept);

#endif

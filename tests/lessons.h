/* lessons: a learner over rollouts made here, for tests of what reaches the objective: a model of
 * a few thousand weights over characters, sums whose answers are right or wrong, labels on the
 * steps of the wrong ones. Every call fails the test on an error unless it says otherwise. */
#ifndef TESTS_LESSON_H
#define TESTS_LESSON_H

#include "tests/harness.h"

#define LESSON_GROUP      4
#define LESSON_SECONDS    30.0
#define LESSON_CHARACTERS "0123456789+-= \nax[]>ABC." /* ids from 1; 0 is the stop token */
#define LESSON_LONGEST    40

extern char lesson_base[128];             /* the model's folder; the head is not tied */
extern const char *const lesson_both[];   /* links labelled and passed */
extern const char *const lesson_passed[]; /* passed alone */

int lesson_begin(void **state); /* makes the model */
int lesson_end(void **state);   /* removes it */

/* lr 3e-3, 8 rollouts a step, and `more` (name, value, NULL). With `e` as harness_open. */
struct harness *lesson_open(const char *const *links, const char *objective,
                            const char *const *more, struct error *e);

struct lesson_made {
    char prompt[16], response[32], id[24];
    float logps[LESSON_LONGEST];
    uint32_t ids[LESSON_LONGEST];
    uint64_t ends[2];
    uint8_t labels[2];
    struct labelled labelled;
};

/* Rollout i: "a+a=", answered in two lines; two of four are right, the first line always is. */
struct rollout *lesson_make(struct lesson_made *m, uint64_t i);
/* With labels wrong ones come on link 0 and correct ones on link 1, else all as they are. */
void lesson_give(struct harness *h, struct lesson_made *m, uint64_t i, bool labels);
void lesson_run(struct harness *h);
void lesson_dead(struct harness *h, int index, const char *words); /* its reason has them */

/* A file of the final checkpoint's folder; free it. */
char *lesson_file(struct harness *h, const char *name, size_t *length);
bool lesson_measures(struct harness *h, const char *name); /* a step has it */
double lesson_metric(struct harness *h, const char *name); /* of the first step that has it */

struct lesson_bytes {
    char *at;
    size_t length;
};
struct lesson_bytes lesson_weights(struct harness *h); /* the final ones; free .at */
bool lesson_same(struct lesson_bytes a, struct lesson_bytes b);

/* Trains on so many rollouts; *kept: the harness, else it is closed. */
struct lesson_bytes lesson_trained(const char *objective, const char *const *options,
                                   uint64_t count, struct harness **kept);

#endif

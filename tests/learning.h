/* learning: a learner alone on made-up rollouts, and what it leaves: for tests of training. */
#ifndef TESTS_LEARNING_H
#define TESTS_LEARNING_H

#include <jansson.h>

#include "kernels/model.h"
#include "tests/harness.h"

#define LEARNING_GROUP   4
#define LEARNING_SECONDS 30.0

/* A folder of the test's own under /tmp, with a tiny base model that has a stop token. */
extern char learning_folder[], learning_base[];
int learning_setup(void **state);
int learning_teardown(void **state);
void learning_model(const char *dir); /* such a model */

/* bcpg on the base model at lr 3e-3, 8 rollouts a step, and what `more` says (name, value pairs);
 * a `model` named first takes the base model's place. With e: NULL and the error when refused. */
struct harness *learning_start(const char *const *more, struct error *e);
void learning_refused(const char *const *more, const char *words);

/* ... fed with `count` rollouts in groups of four, two of them wrong, and the end of the input. */
struct harness *learning_fed(const char *const *more, uint64_t count);
void learning_run(struct harness *h); /* until nothing moves */
struct harness *learning_trained(const char *const *more, uint64_t count);
/* Kills it again and again, ever later, until it has finished; returns how often. */
int learning_killed(struct harness *h);

/* Below checkpoints/NODE of a learner that wrote its final model. */
char *learning_path(struct harness *h, const char *name);
char *learning_text(struct harness *h, const char *name, size_t *length);
bool learning_has(struct harness *h, const char *name);
void learning_same(struct harness *a, struct harness *b, const char *name); /* files, bytewise */
void learning_open(struct harness *h, const char *name, struct model *m);

#endif

/* trainee: a learner alone on made-up rollouts, and what it leaves: for tests of training. */
#ifndef TESTS_TRAINEE_H
#define TESTS_TRAINEE_H

#include <jansson.h>

#include "kernels/model.h"
#include "tests/harness.h"

#define TRAINEE_GROUP   4
#define TRAINEE_SECONDS 30.0

/* A folder of the test's own under /tmp, with a tiny base model that has a stop token. */
extern char trainee_folder[], trainee_base[];
int trainee_setup(void **state);
int trainee_teardown(void **state);
void trainee_model(const char *dir); /* such a model */

/* bcpg on the base model at lr 3e-3, 8 rollouts a step, and what `more` says (name, value pairs);
 * a `model` named first takes the base model's place. With e: NULL and the error when refused. */
struct harness *trainee_start(const char *const *more, struct error *e);
void trainee_refused(const char *const *more, const char *words);

/* ... fed with `count` rollouts in groups of four, two of them wrong, and the end of the input. */
struct harness *trainee_fed(const char *const *more, uint64_t count);
void trainee_run(struct harness *h); /* until nothing moves */
struct harness *trainee_trained(const char *const *more, uint64_t count);
/* Kills it again and again, ever later, until it has finished; returns how often. */
int trainee_killed(struct harness *h);

/* Below checkpoints/NODE of a learner that wrote its final model. */
char *trainee_path(struct harness *h, const char *name);
char *trainee_text(struct harness *h, const char *name, size_t *length);
bool trainee_has(struct harness *h, const char *name);
void trainee_same(struct harness *a, struct harness *b, const char *name); /* files, bytewise */
void trainee_open(struct harness *h, const char *name, struct model *m);

#endif

/* evaluate: what the policy is worth on data it does not learn from: before the first step, every
 * eval_every steps and at the end.
 *
 *   eval_rollouts   margin, log p, entropy, KL to the initial model (k3), log p of gems
 *   eval_prompts    the share of drawn answers that are right
 *
 * An evaluation is a function of the weights, the files and the seed. It is done in pieces, a batch
 * or some 50 ms of drawing a call, keeps nothing when the process dies, and is written, once, as a
 * line and a record like a step's. */
#ifndef NODES_LEARNER_EVALUATE_H
#define NODES_LEARNER_EVALUATE_H

#include "graph/node.h"

struct learner;
struct learner_options;
struct evaluation;

/* Files and options, before anything runs. */
int evaluate_check(struct check *c, const struct learner_options *o, bool classes, struct error *e);

/* Reads the files; NULL in *v where there is nothing to evaluate on. */
int evaluate_open(struct learner *l, struct evaluation **v, struct error *e);
void evaluate_free(struct evaluation *v);

/* Is one due now, between two steps, or is one under way? `last`: no step follows. */
bool evaluate_due(const struct learner *l, bool last);

/* The next piece of it; writes it down after the last. */
int evaluate_pump(struct learner *l, struct error *e);

/* Of a checkpoint taken over from another run: the initial model's log p of held-out rollouts, a
 * batch a call. 1: there is more to do; 0: all are there. */
int evaluate_reference(struct learner *l, struct error *e);

#endif

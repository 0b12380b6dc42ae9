/* groups: which tensors are trained, and which of them decay, from patterns of names as the shell
 * matches them: "model.embed_tokens*", "model.layers.0.*". */
#ifndef NODES_LEARNER_GROUPS_H
#define NODES_LEARNER_GROUPS_H

#include "graph/node.h"
#include "kernels/adamw.h"

/* Fills groups (tensor_count, enum adamw_group): norms, biases and what `no_decay` matches do not
 * decay; what `freeze` matches is not trained at all. A pattern that matches nothing, and a model
 * of which nothing is left to train, are ERROR_topology; *frozen then tells which of the two lists
 * is to blame. */
int groups_make(const struct model *model, const struct texts *no_decay, const struct texts *freeze,
                unsigned char *groups, bool *frozen, struct error *e);

#endif

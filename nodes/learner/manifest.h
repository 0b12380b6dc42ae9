/* manifest: manifest.json of a final checkpoint: what made it. Nothing in it differs between two
 * runs of the same topology on the same input: no times, no pids, no paths. */
#ifndef NODES_LEARNER_MANIFEST_H
#define NODES_LEARNER_MANIFEST_H

#include "nodes/learner/learner.h"

extern const struct option learner_option_table[];

void manifest_write(struct learner *l, struct buffer *out);

#endif

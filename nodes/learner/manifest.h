/* manifest: manifest.json of a checkpoint: what made it, and where in training it stands. A
 * function of the topology, the input, the options and the program: no times, no pids, nothing that
 * a kill or another machine's speed could change. What it says of progress is enough to go on. */
#ifndef NODES_LEARNER_MANIFEST_H
#define NODES_LEARNER_MANIFEST_H

#include "nodes/learner/learner.h"

extern const struct option learner_option_table[];

/* Fails where the device does. */
int manifest_write(struct learner *l, struct buffer *out, struct error *e);

/* The progress of the checkpoint DIR into *p: as written, without files' lengths and kept steps; what
 * the products of its device were pinned to into l->pinned. ERROR_topology when it is none, or when
 * the options that decide the order of samples, or the seed, are not those of l. */
int manifest_read(struct learner *l, const char *dir, struct progress *p, struct error *e);

#endif

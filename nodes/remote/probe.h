/* probe: do the servers answer, and do they know the model? For `sluice check --online`. */
#ifndef NODES_REMOTE_PROBE_H
#define NODES_REMOTE_PROBE_H

#include "nodes/remote/remote_options.h"

#define PROBE_SECONDS    30.0 /* for one server at most */
#define PROBE_MODELS_MAX 8    /* named where the model is not among them */

/* Asks each server for its list of models (GET /models), which costs nothing, with the key that
 * calls would carry. Appends a line for each to `told`. -> 0, or ERROR_remote with the first server
 * that does not answer, refuses the key, or lists its models and not this one. */
int remote_probe(const struct remote_options *o, const char *model, struct buffer *told,
                 struct error *e);

#endif

/* replant: the plan and the stores of a replay, made from those of another run. */
#ifndef COMMANDS_REPLANT_H
#define COMMANDS_REPLANT_H

#include <stdbool.h>

#include "commands/talk.h"

/* The plan of the new run: `node` and all below it with the sets applied and checked; those that
 * feed them serve; nothing else. Their `cut` is 0 still. run_id is the caller's to make. ->
 * ERROR_usage, ERROR_topology */
int replant_plan(const struct plan *old, int node, int set_count, char *const *sets,
                 struct plan *made, struct error *e);

/* The plan of a part: the nodes with `keep`, which hold all that feeds them, with one replica each
 * and private links. run_id is the caller's to make. */
void replant_part(const struct plan *old, const bool *keep, struct plan *made);

/* Copy the stores of the serving nodes into `dir` (by their process while it lives), work out the
 * cut, which goes into the plan, and give them to the new run. -> ERROR_store naming the first
 * ordinal that is no longer kept; ERROR_remote, ERROR_file. */
int replant_stores(struct talk *from, struct plan *made, const char *dir, struct error *e);

#endif

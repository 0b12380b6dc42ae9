/* inject: correct rollouts from elsewhere that stand in for wrong ones of groups that were nearly
 * all wrong (offline sample injection, arXiv 2506.04913; dissect's ray_trainer, fe466d7). The file
 * is JSON lines in the shapes of nodes/reader/line.h, plain text; only its correct rollouts count.
 * A group finds those of its own key, in the order of the file. */
#ifndef NODES_READER_INJECT_H
#define NODES_READER_INJECT_H

#include "nodes/reader/line.h"

#define INJECT_BYTES_MAX (1LL << 30) /* of rollouts held in memory */
#define INJECT_FILE_MAX  (8LL << 30) /* of the file, wrong rollouts too */

struct inject;

/* Reads the whole file. -> ERROR_file, or ERROR_input with path and line. */
int inject_open(const char *path, const struct line_how *how, double above, struct inject **inject,
                struct error *e);
void inject_free(struct inject *inject);

/* Number `k` of the key's rollouts: packed, and its reward. False: it has no more. */
bool inject_find(const struct inject *inject, struct line_key key, int64_t k, struct span *body,
                 double *reward);

#endif

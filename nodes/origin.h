/* origin: the files a node's work depends on beside its inputs (models, templates) are, for the
 * life of a run, the ones it began with: their sizes and XXH3 are written to the node's store at its
 * first start, and another content is refused. */
#ifndef NODES_ORIGIN_H
#define NODES_ORIGIN_H

#include "graph/node.h"

#define ORIGIN_FILES_MAX 4096       /* files of one folder that are looked at */

/* `path` is a file or a folder (its .json, .jinja and .safetensors; no folders below). Reads them
 * once per change of size or time: a restart of a large model costs nothing. Call it in start().
 * -> ERROR_file, ERROR_model: it is not what the run began with. */
int origin_check(struct node *n, const char *path, struct error *e);

#endif

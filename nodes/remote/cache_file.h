/* cache_file: a cache as a text file, to be kept, looked at, and carried to another machine: JSON
 * lines. The first is {"sluice_cache":1}; each further one is an answer:
 *
 *   {"key":"<64 hex digits>","model":"m","time":1764000000,"tokens_in":812,"tokens_out":95,
 *    "usd":0.000179,"answer":"<the body as the server sent it>"}
 *
 * The key is a hash of what was asked (nodes/remote/cache.h), which is not in the file: whoever
 * imports a file trusts whoever wrote it to have asked that. Everything else is checked, in the
 * whole file, before the first line of it is taken. */
#ifndef NODES_REMOTE_CACHE_FILE_H
#define NODES_REMOTE_CACHE_FILE_H

#include <stdio.h>

#include "nodes/remote/cache.h"

#define CACHE_LINE_MAX (256LL << 20) /* bytes of a line */

/* Oldest first. -> ERROR_file, ERROR_space when `out` cannot be written. */
int cache_export(struct cache *c, FILE *out, int64_t *answers, struct error *e);

/* `in` is read twice, so it is a file, `name` in errors. Keys that are there keep their answers;
 * the oldest are pruned beyond `limit` bytes. *answers: lines in the file. -> ERROR_input with the
 * number of the line, and nothing was taken; ERROR_file, ERROR_space, ERROR_store. */
int cache_import(struct cache *c, FILE *in, const char *name, int64_t limit,
                 int64_t *answers, struct error *e);

#endif

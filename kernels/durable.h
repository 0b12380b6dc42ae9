/* durable: a file that is either the old one or the new one after a power failure, never half. */
#ifndef KERNELS_DURABLE_H
#define KERNELS_DURABLE_H

#include "base/error.h"
#include "base/memory.h"

/* Writes the COUNT parts one after another to PATH.part, syncs, renames onto PATH and syncs the
 * directory. On failure PATH is untouched and PATH.part removed. ERROR_space when the disk is full,
 * else ERROR_file. */
int durable_write(const char *path, const struct span *parts, int count, struct error *e);

/* The same of parts that are made one after another: NEXT fills *PART, borrowed until its next call,
 * and returns 1; 0 at the end; a negative error ends the write and is returned. */
int durable_write_parts(const char *path,
                        int (*next)(void *context, struct span *part, struct error *e),
                        void *context, struct error *e);

/* Syncs a directory, so that names made or renamed in it last. */
int durable_sync(const char *dir, struct error *e);

/* Syncs the directory that holds PATH. */
int durable_sync_parent(const char *path, struct error *e);

#endif

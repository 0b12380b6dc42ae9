/* spool: standard input or a named pipe, kept in a file of the run before any of it is used.
 *
 * Bytes move with splice(2), never through the reader's memory, and are synced before
 * spool_length() counts them. What was spooled survives any kill; a pipe is read once, the spool as
 * often as it takes.
 *
 * The end of a pipe ends the input (a followed named pipe waits for its next writer instead). When
 * the reader starts again and standard input is another pipe than before, it is taken as the same
 * stream given again from its beginning: what was spooled is compared and passed over. Where there
 * is no pipe to read, the input waits for one, or for the end. */
#ifndef NODES_READER_SPOOL_H
#define NODES_READER_SPOOL_H

#include "graph/node.h"

#define SPOOL_MOVE_BYTES  (1 << 20)             /* at a time */
#define SPOOL_AHEAD_BYTES                                                                          \
    (64LL << 20) /* spooled and not yet used: beyond this the writer has to wait */

struct spool;

/* Is `path` standard input ("-" in the topology's folder, or /dev/stdin) or a named pipe? */
bool spool_is_pipe(const char *path);

/* The spool file is <run>/<node>.spool. -> ERROR_file. */
int spool_open(struct spool **s, struct node *n, const char *path, bool follow, struct error *e);
void        spool_close(struct spool *s);
const char *spool_file(const struct spool *s);
/* Move what waits; `used` bytes were consumed. -> 1 when something moved or the input ended, 0 when
 * not, or an error. */
int         spool_pump(struct spool *s, struct node *n, uint64_t used, struct error *e);
uint64_t    spool_length(const struct spool *s);        /* synced bytes */
bool        spool_ended(const struct spool *s);
int         spool_fd(const struct spool *s);            /* to watch; -1: nothing to wait for */
const char *spool_why(const struct spool *s);           /* why nothing can come, or NULL */

#endif

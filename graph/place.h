/* place: where everything of a run lies: the paths below RUN and the short private folder of its sockets.
 *
 *   RUN/stores/<id>.<r>/        LMDB            RUN/logs/<id>.<r>.log
 *   RUN/stores/<id>.<r>.lock    owner's lock    RUN/lock, RUN/supervisor.log
 *   RUN/keys/                   of tcp:// links, see graph/curve.h
 *   $XDG_RUNTIME_DIR or /tmp + "/sluice-<uid>/<16 hex of the run's real path>/": <index>.<r>.d (data),
 *   <index>.<r>.c (control), supervisor.c. A socket path holds at most 107 bytes, so it cannot lie in RUN.
 * Functions that return char * give a new string: free() it. */
#ifndef GRAPH_PLACE_H
#define GRAPH_PLACE_H

#include <stdbool.h>

#include "base/error.h"

#define PLACE_SOCKET_MAX 107    /* sizeof sun_path - 1 */

struct place {
    char *run;          /* absolute, links resolved */
    char *sockets;      /* absolute folder, mode 0700, ours */
};

/* `run_dir` must exist. Makes the socket folder (0700) and refuses one that is not ours or open to others.
 * -> ERROR_file. place_close() also after a failure. */
int  place_open(struct place *p, const char *run_dir, struct error *e);
void place_close(struct place *p);

char *place_store(const struct place *p, const char *id, int replica);      /* RUN/stores/<id>.<r> */
char *place_store_lock(const struct place *p, const char *id, int replica); /* RUN/stores/<id>.<r>.lock */
char *place_log(const struct place *p, const char *id, int replica);        /* RUN/logs/<id>.<r>.log */
char *place_supervisor_lock(const struct place *p);                         /* RUN/lock */
char *place_supervisor_log(const struct place *p);                          /* RUN/supervisor.log */

/* Paths of sockets (not endpoints: put "ipc://" in front for ZeroMQ). `index` is the node's in the plan. */
char *place_data(const struct place *p, int index, int replica);
char *place_control(const struct place *p, int index, int replica);
char *place_supervisor(const struct place *p);

/* mkdir -p for one more level: makes `path` (0777 & ~umask) unless it is there. -> ERROR_file */
int place_folder(const char *path, struct error *e);
#endif

/* curve: the keys of a run's tcp links: RUN/keys/ (0700), for each node that listens at tcp:// and
 * each of its consumers <id>.secret (0600) and <id>.public, one line of 40 characters (Z85). A key
 * names a node of one run: a producer shows its own and lets in the keys of its consumers
 * (graph/guard.h). */
#ifndef GRAPH_CURVE_H
#define GRAPH_CURVE_H

#include "graph/plan.h"

#define CURVE_KEY 41 /* characters of a key, with the terminating 0 */

/* Make what keys the plan needs and RUN lacks; written aside, fsynced, renamed. A secret that
 * others may read is refused, never mended: who read it keeps it. -> ERROR_file, ERROR_space. */
int curve_make(const struct plan *p, const char *run_dir, struct error *e);
/* -> ERROR_file */
int curve_public(const char *run_dir, const char *id, char key[CURVE_KEY], struct error *e);
/* Before bind: this socket shows the key of node `id` and asks for keys. -> ERROR_file, ERROR_wire.
 */
int curve_serve(void *socket, const char *run_dir, const char *id, struct error *e);
/* Before connect: show the key of node `id`, talk to nobody but `producer`. -> ERROR_file,
 * ERROR_wire. */
int curve_connect(void *socket, const char *run_dir, const char *id, const char *producer,
                  struct error *e);
#endif

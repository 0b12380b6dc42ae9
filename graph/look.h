/* look: what is known of the processes of a run, from whoever knows: the process itself over its
 * control socket while it lives, its store under its lock when it is down. Works without a
 * supervisor and on a finished run. */
#ifndef GRAPH_LOOK_H
#define GRAPH_LOOK_H

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"
#include "graph/place.h"
#include "graph/plan.h"
#include "graph/store.h"

#define LOOK_ASK_MS                                                                                \
    3000 /* a process has to answer; one that computes may need longer and is shown as silent */

struct look {
    const char   *id;
    int           replica;
    const char   *kind;
    pid_t         pid;          /* 0: none; null in JSON, so that no script kills process group 0 */
    const char   *state, *why;
    int64_t       restarts;
    const json_t *status;       /* answer to "status" or look_peek(); NULL: nothing known */
};

/* {"id","replica","kind","pid","state","why","epoch","restarts","in","out","in_flight","dead"},
 * and "report" where there is one: new. */
json_t *look_row(const struct look *l);

/* Puts what node_tell() left in a store into a status, as "report"; nothing where there is none. */
void look_report(struct store *s, json_t *status);

/* What the store of a process that is down tells, in the shape of a status answer: epoch, in, out,
 * in_flight, dead, position, emitted, metrics, finished. NULL when it lives or has no store yet. */
json_t *look_peek(const struct place *place, const struct plan *plan, int node, int replica);

/* A whole run: {"run","state","supervisor":{"pid","epoch"},"nodes":[rows]}, and "why". `dir` as of
 * run_find(). New. */
int look_run(const char *dir, json_t **status, struct error *e);

#endif

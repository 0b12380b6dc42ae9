/* runner: the event loop of one process: sockets, the kind's fd, timers, signals; one thread. */
#ifndef GRAPH_RUNNER_H
#define GRAPH_RUNNER_H

#include "graph/core.h"
#include "graph/place.h"

struct runner_setup {
    const struct plan  *plan;
    int                 index, replica;
    const struct place *place;
    struct log         *log;        /* may be NULL */
    bool                crashed;    /* the previous incarnation ended by a crash of its own */
};

/* Run until SIGTERM, "stop" or "leave". -> 0 in good order, else the error that ended it (error_exit() gives the
 * exit code). Blocks SIGTERM and ignores SIGINT and SIGPIPE for the whole process. */
int runner_run(const struct runner_setup *setup, struct error *e);
#endif

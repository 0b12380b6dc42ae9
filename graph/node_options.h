/* node_options: the settings every node has whatever its kind, written in `with:` beside the kind's
 * own. The runtime reads them (plan_common()); a kind never sees them. */
#ifndef GRAPH_NODE_OPTIONS_H
#define GRAPH_NODE_OPTIONS_H

#include <stdint.h>

#include "graph/option.h"

enum on_dead { ON_DEAD_close, ON_DEAD_hold };

struct node_common {
    int64_t commit_count;       /* messages in one synced transaction at most */
    double  commit_interval;    /* seconds a handled message waits for its commit at most */
    int64_t credit_bytes;       /* bytes in flight to this node per link */
    int64_t quota;              /* bytes of each process's store; full: pause */
    int     on_dead;            /* enum on_dead */
    int     log_level;          /* enum log_level: lines below it are not written */
};

extern const struct option node_common_options[];

#endif

/* node_options: the one table of options common to all kinds. */
#include "graph/node_options.h"

#include "graph/log.h"

static const char *const on_dead_names[] = {"close", "hold", NULL};

const struct option node_common_options[] = {
    OPT_INT(struct node_common, commit_count, LIVE, "1000", 1, 1e6,
            "messages in one synced commit at most"),
    OPT_TIME(struct node_common, commit_interval, LIVE, "20ms", 0, 60,
             "longest wait of a handled message for its commit"),
    OPT_SIZE(struct node_common, credit_bytes, LIVE, "8MiB", 4096, 1LL << 40,
             "bytes in flight to this node on one link; a larger message goes alone"),
    OPT_SIZE(struct node_common, quota, LIVE, "64GiB", 1 << 20, 1LL << 46,
             "bytes of one process's store; when full the stream pauses"),
    OPT_CHOICE(
        struct node_common, on_dead, FIXED, "close", on_dead_names,
        "for a message that cannot be handled: close its ordinal, or hold its place for a retry"),
    OPT_CHOICE(struct node_common, log_level, LIVE, "info", log_level_names,
               "least level that is logged"),
    OPT_END,
};

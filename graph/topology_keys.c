/* topology_keys: every key of a topology file that holds one value, as rows. */
#include "graph/topology.h"

const struct option topology_key_options[] = {
    OPT_TEXT(struct topology_keys, name, LIVE, "",
             "what status and logs call it; else the file's name"),
    OPT_INT(struct topology_keys, seed, FIXED, "0", 0, 9.2e18, "of every random choice in the run"),
    OPT_INT(struct topology_keys, max_lead, LIVE, "4096", 1, 1e12,
            "rollouts a reader may be ahead of the slowest terminal; one whole group always may"),
    OPT_END,
};

const struct option node_key_options[] = {
    OPT_TEXT(struct node_keys, id, FIXED, NULL,
             "name of the node: a-z, 0-9, _ and -, begins with a letter, at most 40 characters"),
    OPT_TEXT(struct node_keys, kind, FIXED, NULL, "what the node does; see sluice help"),
    OPT_TEXT(
        struct node_keys, when, FIXED, "yes",
        "no, false, 0 or nothing: the node is absent and its links vanish; e.g. ${JUDGE_URL:+yes}"),
    OPT_INT(struct node_keys, replicas, LIVE, "1", 1, PLAN_REPLICAS_MAX,
            "processes that share the node's work"),
    OPT_TEXT(struct node_keys, listen, LIVE, "",
             "where consumers connect, instead of a private socket: tcp://ADDRESS:PORT (replica r: "
             "PORT + r), encrypted, the keys in RUN/keys; tcp+plain:// without keys, loopback only; "
             "tcp+insecure:// the same on any interface"),
    OPT_END,
};

const char *const topology_structured[] = {"nodes", NULL};
const char *const node_structured[] = {"inputs", "with", NULL};

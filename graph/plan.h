/* plan: a topology after every check: what the supervisor starts and what each process is told.
 *
 * topology.c makes it from YAML; `RUN/plan.json` holds it (written aside, fsynced, renamed); every process of
 * the run reads it at start. Option values stay text, as the user wrote them: the kind's own table reads them. */
#ifndef GRAPH_PLAN_H
#define GRAPH_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "graph/node.h"
#include "graph/node_options.h"

#define PLAN_VERSION      1
#define PLAN_NODES_MAX    256
#define PLAN_LINKS_MAX    64        /* of one node */
#define PLAN_REPLICAS_MAX 64
#define PLAN_ROWS_MAX     256       /* replica rows of one node */

struct plan_option {
    char  *name;
    int    count;       /* elements: 1 unless a list */
    char **values;
    int    line, column;/* where it was written; 0 when given by --set */
};

struct plan_link {
    int port;           /* index into the kind's ports: an input */
    int node;           /* index of the producing node in the plan */
    int output;         /* index into the producer's ports: an output */
};

/* Groups whose first ordinal is >= first (and below the next row's) go to one of count replicas. */
struct plan_row {
    uint64_t first;
    int      count;
};

struct plan_node {
    char                   *id;
    const struct node_kind *kind;           /* of the registry, or `declared` */
    struct node_kind       *declared;       /* a kind with this node's own ports, owned; NULL: the kind's hold */
    int                     option_count;
    struct plan_option     *options;        /* given ones only; defaults come from the kind */
    int                     link_count;
    struct plan_link       *links;          /* topology order; PORT_MANY links sorted by producer id */
    int                     row_count;
    struct plan_row        *rows;           /* ascending first; rows[0].first == 0 */
    uint64_t                generation;     /* of what this node sends */
    bool                    serve;          /* replay: runs no kind, sends its stored outputs below `cut` ... */
    uint64_t                cut;            /* ... then END */
    char                   *listen;         /* "" = private socket; else see graph/address.h */
    int                     line, column;   /* in the topology file */
};

struct plan {
    char              *name;
    uint64_t           seed;
    char              *run_id;          /* random, made with the run; in every HELLO and store */
    char              *file;            /* absolute path of the topology file */
    char              *folder;          /* its folder: relative paths start here */
    uint64_t           max_lead;        /* ordinals the reader may be ahead of the slowest terminal */
    uint64_t           revision;        /* grows with every change of the plan (replicas, live options) */
    int                node_count;
    struct plan_node  *nodes;           /* topological order: producers before consumers */
};

/* Read and check a topology file completely (P5). Each --set is "node.option=value". Writes every problem found to
 * `problems` ("file:line:column: ..." lines, at most 100), and returns ERROR_topology with the first as e->text.
 * On success the plan owns everything; plan_free(). */
int  topology_read(const char *path, int set_count, char *const *sets, struct plan *p,
                   struct buffer *problems, struct error *e);
void plan_free(struct plan *p);
void plan_node_free(struct plan_node *n);       /* what it holds, not the struct */

int  plan_write(const struct plan *p, const char *run_dir, struct error *e);    /* RUN/plan.json, atomically, fsynced */
int  plan_load(struct plan *p, const char *run_dir, struct error *e);
/* What differs between two plans in a way that needs a replay: one line per difference appended to `out`; 0 when none. */
int  plan_difference(const struct plan *a, const struct plan *b, struct buffer *out);

int  plan_find(const struct plan *p, const char *node_id);      /* index or -1 */
/* Replicas ever used by a node: the largest count of its rows. */
int  plan_replicas(const struct plan_node *n);
/* Which replica handles the group that begins at `first`. Deterministic; a message never moves. */
int  plan_route(const struct plan_node *n, uint64_t first);
bool plan_is_terminal(const struct plan *p, int node);          /* no one reads its outputs */
/* A node of a kind that declares its ports gets them: from the options struct in `c`, or from the node's own text.
 * Nothing for other kinds. -> ERROR_topology. */
int  plan_node_declare(struct plan_node *n, struct check *c, struct error *e);
int  plan_declare(struct plan *p, int node, struct error *e);
/* Fill a kind's options struct from the plan's text (paths resolved against folder); options_fini() it. */
int  plan_options(const struct plan *p, int node, void *options, struct error *e);
/* Make relative OPTION_path fields absolute; "" and "-" (standard input) stay. */
void plan_resolve_paths(const struct option *table, void *options, const char *folder);
/* The options every node has (graph/node_options.h); nothing to free. */
int  plan_common(const struct plan *p, int node, struct node_common *common, struct error *e);

#endif

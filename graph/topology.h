/* topology: the working state of one reading of a topology file, shared by its stages only:
 * topology.c (keys, nodes, options), topology_links.c (ports, links, cycles, order) and
 * topology_keys.c (the keys as rows). What others call is topology_read() in plan.h. Stages report
 * every problem and go on; a node marked broken is spared the checks that would only repeat what is
 * known. */
#ifndef GRAPH_TOPOLOGY_H
#define GRAPH_TOPOLOGY_H

#include "graph/plan.h"
#include "graph/outline.h"

#define TOPOLOGY_PROBLEMS_MAX   100
#define TOPOLOGY_ID_BYTES_MAX   40
#define TOPOLOGY_NAME_BYTES_MAX 80

/* The keys of a topology and of a node, as option rows, so that reading, manual and schema agree.
 * The structured ones (nodes, inputs, with) are not among them. */
struct topology_keys {
    const char *name;
    int64_t     seed, max_lead;
};

struct node_keys {
    const char *id, *kind, *when, *listen;
    int64_t     replicas;
};

extern const struct option topology_key_options[];
extern const struct option node_key_options[];
extern const char *const   topology_structured[];   /* "nodes", NULL */
extern const char *const   node_structured[];       /* "inputs", "with", NULL */

struct draft {
    struct outline     *yaml;
    const char      *id;            /* of the yaml tree; "" when there is none */
    bool             absent;        /* `when` said no */
    bool             broken;        /* a problem was reported: spare it checks that build on this */
    bool             read;          /* someone names one of its outputs */
    struct node_keys keys;
    struct plan_node node;          /* links lead to drafts until the end */
    void            *options;       /* the kind's, paths resolved; NULL when broken */
    bool             endless;       /* a source that follows its input */
    int              place;         /* in the plan; -1 until known */
};

struct problem {
    int   line, column;
    char *text;
};

struct topology {
    const char   *path;             /* as given: errors begin with it */
    struct outline  *root;
    char         *folder;
    struct topology_keys keys;
    int           set_count;
    char *const  *sets;
    bool          links_broken;     /* who reads whom is not known: leaves are not told */
    int           count;
    struct draft *drafts;           /* file order */
    int           problem_count;    /* all, also those above the maximum */
    struct problem problems[TOPOLOGY_PROBLEMS_MAX];
};

/* Are the draft's ports known? Not where its kind reads them from options that are wrong or of an absent node. */
bool topology_ports_known(const struct draft *d);
/* Report what a kind blames: at the option it named, else at the node. */
void topology_blame(struct topology *t, struct draft *d, const struct check *c, const struct error *e);

/* Report a problem; line 0: it has no place in the file. */
void topology_problem(struct topology *t, int line, int column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* ... of a node, which is broken from now on. `at` NULL: the node as a whole. */
void topology_fault(struct topology *t, struct draft *d, const struct outline *at,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The expanded text of a scalar, or NULL with a problem reported; `what` names it. */
const char *topology_text(struct topology *t, struct draft *d, struct outline *y, const char *what);

const char *topology_value_kind(const struct outline *y); /* "one value", "a list", "a mapping" */

struct draft *topology_find(struct topology *t, const char *id);

/* Stages. */
void topology_read_with(struct topology *t, struct draft *d);
/* One --set. *fresh: the option the --set before this one gave (-1 none), so that lists can grow. */
void topology_set(struct topology *t, const char *set, int *fresh);
void topology_read_options(struct topology *t, struct draft *d);
void topology_declare(struct topology *t, struct draft *d);     /* ports that stand in options */
void topology_read_nodes(struct topology *t);
void topology_link(struct topology *t);         /* resolve inputs, check ports and leaves */
bool topology_order(struct topology *t);        /* places; false: a cycle */
void topology_check_kinds(struct topology *t);  /* each kind's own check() */

#endif

/* linked: a small graph of real processes for tests of the link: numbers -> relay (replicas) -> tally, and numbers
 * -> tally directly, so that tally merges. Each process is this test program started again. */
#ifndef TESTS_LINKED_H
#define TESTS_LINKED_H

#include <jansson.h>
#include <sys/types.h>

#include "graph/place.h"
#include "graph/plan.h"

enum { LINKED_numbers, LINKED_relay, LINKED_tally, LINKED_nodes };
#define LINKED_REPLICAS_MAX 4

struct linked {
    char         dir[64];
    struct place place;
    int          total, replicas;       /* ordinals; replicas of relay */
    int          later_first, later;    /* a second row of relay: replicas from an ordinal on; later 0: none */
    int          cut;                   /* numbers serves what it stored below it, generation 1; 0: it runs */
    int          lead;                  /* max_lead; 0: 5000 */
    int          port;                  /* numbers listens there at tcp://, relay above it; 0: private sockets */
    pid_t        pids[LINKED_nodes][LINKED_REPLICAS_MAX];
};

/* Runs one process of the graph when argv asks for it: call first in main(). Returns -1 when it does not. */
int  linked_main(int argc, char **argv);
void linked_open(struct linked *l, int total, int replicas);
void linked_close(struct linked *l);        /* kills what lives, removes the folder */
void linked_start(struct linked *l, int node, int replica);
void linked_start_all(struct linked *l);
void linked_kill(struct linked *l, int node, int replica);
int  linked_wait(struct linked *l, int node, int replica);     /* exit status as of waitpid */
int  linked_replicas(const struct linked *l, int node);
/* Ask until the process answers (at most 20 s, then the test fails). The reply is new. */
json_t *linked_ask(struct linked *l, int node, int replica, const char *ask);
int64_t linked_status(struct linked *l, int node, int replica, const char *field);
void linked_plan(struct plan *p, struct plan_node *nodes, const struct linked *l);
void linked_finish(struct linked *l);       /* wait until every process finished, then let them leave */
bool linked_alive(struct linked *l, int node, int replica);
void linked_why(struct linked *l, int node, int replica, const char *part);   /* waits until status says `part` */
/* Every ordinal exactly once in tally's committed store, with the right bytes. */
void linked_verify(struct linked *l);
#endif

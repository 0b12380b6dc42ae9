/* harness: one node alone, with a real store in a temporary folder, no socket, and a clock the test turns. */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include "graph/node.h"

struct harness;

/* One link per (port name, producer id) pair in `links`, e.g. {"steps", "steps", "votes", "critic", NULL}; options as
 * name, value pairs, NULL-terminated. Fails the test (cmocka) when the kind's options, check() or start() refuse, unless
 * `e` is given: then returns NULL with the error. */
struct harness *harness_open(const char *kind, const char *const *links, const char *const *options, struct error *e);
void harness_close(struct harness *h);      /* stop(), and removes the folder */

/* A message (struct of messages.def) or a closing arrives on link `link` (index into the pairs). */
void harness_give(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size, const void *message);
void harness_give_closing(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size, const char *reason);
void harness_end(struct harness *h);        /* every input has ended */

/* Run the loop (take, ready, pump, commit) until nothing moves or `seconds` of real time passed. */
int  harness_run(struct harness *h, double seconds, struct error *e);
void harness_clock(struct harness *h, double seconds);      /* turn the clock forward */

struct harness_message {
    uint64_t    ordinal, first;
    uint32_t    size;
    bool        closing;
    char        reason[64];
    struct span body;           /* until the next harness call */
};
/* The next committed message on an output port, in the order of commits; false: none. */
bool harness_take(struct harness *h, const char *port, struct harness_message *m);

void harness_restart(struct harness *h);    /* in good order: commit, stop, start again */
void harness_crash(struct harness *h);      /* what was not committed is gone; units not done are given again */
bool harness_finished(struct harness *h);   /* node_finish() was called and committed */
int  harness_dead_count(struct harness *h); /* rows in the dead letters */
void harness_dead_text(struct harness *h, int index, char *text, size_t room);     /* the reason of one */
const char *harness_dir(struct harness *h); /* the run's folder */
void *harness_state(struct harness *h);

/* ---- for tests of the runtime and of nodes that take any message ---- */
/* As harness_open with a kind of the test's own; fails the test when `fails`, else returns NULL with the error. */
struct harness *harness_open_kind(const struct node_kind *kind, const char *const *links, const char *const *options,
                                  struct error *e, bool fails);
/* What harness_give() packs on a link whose port takes any message (a rollout unless said here). */
void harness_message(struct harness *h, int link, enum message m);
void harness_give_bytes(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size, struct span body);
/* As harness_restart for a source that may refuse to start: its error, after which only harness_close() may follow. */
int  harness_restart_try(struct harness *h, struct error *e);
void harness_crash_own(struct harness *h);  /* as harness_crash, and the node caused it itself (SIGSEGV, abort) */
struct node *harness_node(struct harness *h);

#endif

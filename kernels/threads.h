/* threads: a small pool that shares the parts of one operation. What the parts are follows from
 * the operation's shapes alone, never from the number of threads, and each part writes outputs of
 * its own, every one of them whole: the bits are then the same for every number of threads.
 *
 * The threads begin with the first operation that has several parts. Idle ones look for work a few
 * microseconds longer and then sleep. They take no signals. A fork() leaves them behind: a child
 * may free nothing and run nothing here, which suits one that execs. */
#ifndef KERNELS_THREADS_H
#define KERNELS_THREADS_H

#include <stdint.h>

#define THREADS_MAX 256

struct threads;

/* part: in [0, parts). who: which thread of the pool this is, in [0, threads_count()): for scratch
 * of its own; 0 is the caller of threads_run. */
typedef void threads_function(void *context, int64_t part, int who);

/* count: of threads with the caller, in [1, THREADS_MAX]; 0: one for each core that this process
 * may use. */
struct threads *threads_new(int count);
void            threads_free(struct threads *t);    /* ends them; NULL is none */

/* How many with the caller; 1 where t is NULL. */
int threads_count(const struct threads *t);

/* What threads_new makes of a count. */
int threads_wanted(int count);

/* Calls function(context, part, who) for every part, each exactly once, in any order and on any
 * thread; returns when all are done, and their writes are then seen. t NULL: in order, here. One
 * caller at a time, and not from within a part. Where the system gives fewer threads, those that
 * are there do everything. */
void threads_run(struct threads *t, int64_t parts, threads_function *function, void *context);

#endif

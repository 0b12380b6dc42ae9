/* grade: rewards from a program of the user's (`verify: exec`), for answers that only running them can judge.
 *
 * The program is run once for each response that has no reward, several at a time. It gets one JSON object on standard
 * input, {"id","prompt","response","answer"}, and prints its verdict on standard output: one finite number, the
 * reward, and nothing else. It runs under limits of processor time, time, memory, output and file size, without a network where the
 * system allows that, and with an environment of a few harmless variables.
 *
 *   a number and exit code 0                   that is the reward
 *   too slow, too much output, too large a file  reward 0: what it ran did that, and would do it again
 *   anything else, a crash too                 no verdict: a dead letter with its last words, for it may be the program's
 *                                              own fault; it should run what it does not trust in a child of its own
 *   killed from outside                        it is run again, GRADE_KILLS_MAX times
 *   cannot be started                          tried again for ever; the reader says so and waits
 *
 * Lines leave in the order they came, whatever program was fast: the order of the input is the order of
 * everything. A verdict is recorded as the rollout's reward, in the transaction that emits it; what was not emitted before a
 * crash is graded again. */
#ifndef NODES_READER_GRADE_H
#define NODES_READER_GRADE_H

#include "nodes/child.h"
#include "nodes/reader/line.h"
#include "nodes/reader/stream.h"

#define GRADE_JOBS_MAX   64
#define GRADE_LINES_MAX  256            /* lines ahead of the slowest verdict ... */
#define GRADE_BYTES_MAX  (64LL << 20)   /* ... and bytes of them; one line always may */
#define GRADE_OUTPUT_MAX (64 << 10)     /* bytes the program may print */
#define GRADE_FILE_MAX   (64LL << 20)   /* bytes of a file it may write */
#define GRADE_WALL       4              /* times its processor time it may take by the clock */
#define GRADE_KILLS_MAX  3
#define GRADE_WORDS_MAX  300            /* bytes of its last words */

struct grade_how {
    struct child_how child;             /* limits but memory and cpu are set here */
    int              jobs;              /* at once */
};

/* A line on its way. */
struct graded {
    struct graded     *next;
    int                event;           /* STREAM_line, or what else it is: nothing to grade */
    int                file;            /* index into files */
    struct stream_line text;            /* its bytes are its own */
    bool               usable;          /* `line` could be read, else `why` */
    struct line        line;
    struct error       why;
    struct arena       arena;
    char              *bytes;
    int                begun;           /* the next item whose program is to be started */
    int                wanted, done;    /* verdicts */
};

struct grader;

/* `n` outlives it. -> ERROR_internal. */
int  grader_open(struct grader **g, struct node *n, const struct grade_how *how, struct error *e);
void grader_close(struct grader *g);    /* NULL: nothing; programs that run are ended */

bool   grader_room(const struct grader *g);
int    grader_lines(const struct grader *g);
/* Takes a copy of the line and parses it; nothing to grade in it is fine too. */
void   grader_add(struct grader *g, int event, int file, const struct stream_line *text, const struct line_how *how,
                  struct span source);
/* The oldest line, once all its verdicts are there; NULL: not yet. */
struct graded *grader_first(struct grader *g);
void   grader_drop(struct grader *g);   /* ... and done with */

/* Start, feed, read and end programs; never blocks. Call it when grader_fd() is readable or grader_due() has passed. */
void   grader_pump(struct grader *g);
int    grader_fd(const struct grader *g);
/* Also readable when this descriptor is; -1: no longer. */
void   grader_beside(struct grader *g, int fd);
double grader_due(const struct grader *g);      /* seconds; < 0: nothing to wait for */
void   grader_jobs(struct grader *g, int jobs); /* a live change */

#endif

/* child: a user's program behind pipes: started with only what it was given, ended for sure.
 *
 * It gets three pipes as standard input, output and error and no other descriptor of ours; the
 * environment holds PATH, HOME, USER, LANG, LC_ALL, TZ and TMPDIR as far as we have them, PYTHONUNBUFFERED=1, and what
 * was asked for by name. It leads a process group of its own, so that its own children end with it, and the kernel
 * kills it when the process that started it dies (PR_SET_PDEATHSIG). Resource limits are set before
 * the program begins. */
#ifndef NODES_CHILD_H
#define NODES_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "graph/node.h"

#define CHILD_WORDS_MAX 256         /* of a command line, and names of the environment */

struct child_how {
    struct texts command;           /* program and arguments */
    const char  *folder;            /* its working directory; a program with a / in its name starts there */
    struct texts env;               /* NAME: as we have it; NAME=value */
    int64_t      memory;            /* bytes of address space; 0: no limit */
    int64_t      file_bytes;        /* of a file it writes; 0: no limit */
    int64_t      processes;         /* of its user, where the system counts them; 0: no limit */
    double       cpu;               /* seconds of processor time; 0: no limit */
    bool         no_network;        /* in a network of its own, without interfaces; see child_can_isolate() */
};

struct child {
    pid_t pid;                      /* 0: none */
    int   pidfd;                    /* readable once it ended */
    int   input, output, errors;    /* our ends, non-blocking, close-on-exec; -1: closed */
};

/* Can the program be started: is it there and executable? Relative to how->folder. -> ERROR_file. */
int child_check(const struct child_how *how, struct error *e);

/* *c is overwritten. -> ERROR_file: it cannot be started; nothing is left of the attempt. */
int child_open(struct child *c, const struct child_how *how, struct error *e);

/* Has it ended? Then *status is its wait status and it is reaped (pid 0); pipes stay open for what they still
 * hold, and the rest of its process group is killed. */
bool child_ended(struct child *c, int *status);

/* Kills it and its group if it lives, reaps it and closes the pipes. */
void child_close(struct child *c);

/* Stars in place of the values of those variables that it was given by name and that are named like
 * secrets, in what it wrote: before that is logged, stored or told. */
void child_redact(const struct child_how *how, char *text, size_t length);

/* A wait status in words: "exit code 3", "SIGSEGV". */
void child_words(int status, char *text, size_t room);

/* Was it ended from outside (SIGKILL, SIGTERM, SIGINT, SIGHUP), as the out-of-memory killer does? */
bool child_was_killed(int status);

/* Does this system let us give a program a network of its own? Tried once by a short process; then remembered. */
bool child_can_isolate(void);

#endif

/* appended: a file that only grows, under the law of appended files: it is synced, then its length
 * goes into the store with what it belongs to; at start the file is cut to the length recorded. So
 * what a killed process wrote after its last commit is gone, and is written again once. */
#ifndef NODES_LEARNER_APPENDED_H
#define NODES_LEARNER_APPENDED_H

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

struct appended {
    char *path;
    int fd;         /* -1: not open */
    int64_t length; /* bytes written, also those not yet synced */
};

/* Opens or makes DIR/NAME, cut to `length`. A shorter file is refused: bytes that the store vouches
 * for are gone. */
int appended_open(struct appended *a, const char *dir, const char *name, int64_t length,
                  struct error *e);
void appended_close(struct appended *a);

int appended_write(struct appended *a, struct span bytes, struct error *e);
int appended_sync(struct appended *a, struct error *e);

#endif

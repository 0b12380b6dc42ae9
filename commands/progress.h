/* progress: what `sluice run` shows while it runs: a table drawn over itself on a terminal, plain
 * lines otherwise, JSON lines when asked for. */
#ifndef COMMANDS_PROGRESS_H
#define COMMANDS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/supervisor.h"

#define PROGRESS_TERMINAL 0.25  /* seconds between two drawings */
#define PROGRESS_LINES    5.0   /* seconds between two plain lines, in the first minute ... */
#define PROGRESS_EARLY    60.0
#define PROGRESS_LATER    30.0  /* ... and later */
#define PROGRESS_RATE     30.0  /* seconds the rate behind the ETA is taken over, about */

struct progress {
    bool     json, quiet, terminal;
    int      drawn;             /* lines on the screen */
    double   began, shown_at;
    char     shown_state[16];
    double   rate;              /* ordinals settled per second, smoothed */
    double   rate_at;
    uint64_t rate_settled;
};

void progress_open(struct progress *p, bool json, bool quiet);
/* Show if it is time to; `last`: always. */
void progress_show(struct progress *p, const struct supervisor *s, bool last);
void progress_close(struct progress *p);

/* The table of `sluice status` and of the progress: rows of {"nodes"}. Returns the lines printed.
 */
int progress_table(const json_t *status, bool colour);

#endif

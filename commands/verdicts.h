/* verdicts: what judges and consensus said of labelled solutions, read from the lines of a sink.
 *
 * Lines stand in the order of arrival; a solution is found by the id that judge-eval gave it (its
 * number), which only the consensus's line names, and by the ordinal that all lines of it share. */
#ifndef COMMANDS_VERDICTS_H
#define COMMANDS_VERDICTS_H

#include "commands/cases.h"
#include "commands/panel.h"
#include "commands/scores.h"

struct verdicts {
    int voters; /* judges, then the consensus */
    int64_t solutions;
    struct opinion *at; /* [voter * solutions + solution]; the consensus costs
                         * what its judges do */
    int64_t answered;   /* solutions that came out of the graph */
    struct arena arena;
};

/* THRESHOLD: a judge's score at or above it is a verdict of correct. -> ERROR_input, ERROR_file. */
int verdicts_read(struct verdicts *v, const char *path, const struct cases *c,
                  const struct panel *p, double threshold, struct error *e);
void verdicts_free(struct verdicts *v);

#endif

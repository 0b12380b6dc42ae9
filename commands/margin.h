/* margin: does a model find correct solutions more likely than wrong ones?
 *
 * For every rollout the mean log-probability of its response's tokens (and of the stop token after
 * them) given its prompt; for every prompt with both kinds, the mean over its correct rollouts
 * minus the mean over its wrong ones, in nats per token. */
#ifndef COMMANDS_MARGIN_H
#define COMMANDS_MARGIN_H

#include "commands/answers.h"

struct margin_rollout {
    int32_t *ids;
    int64_t count, context; /* tokens; the first `context` are the prompt */
    int64_t group;          /* rollouts of one prompt */
    int correct;
    double likelihood; /* mean log p per token of the response, by margin_measure */
};

struct margin {
    struct margin_rollout *at;
    int64_t count, room, groups,
        skipped; /* skipped: longer than the model's positions, or not in its vocabulary */
};

/* Reads rollouts {"prompt", "response", "reward"} (or "answer", checked numerically where there is
 * no reward), JSON lines, .gz, .zst, into tokens of S. -> ERROR_input as "path:line: reason". */
int margin_read(struct margin *m, struct speaker *s, const char *path, struct error *e);
void margin_free(struct margin *m);

/* Fills likelihood of every rollout. */
void margin_measure(struct margin *m, const struct speaker *s, const char *label);

/* The margin of every group that has both kinds into VALUES (groups), in order; returns how many.
 */
int64_t margin_values(const struct margin *m, double *values);

#endif

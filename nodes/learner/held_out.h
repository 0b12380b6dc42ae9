/* held_out: rollouts that are never trained on: a file of JSON lines as a reader takes and a sink
 * of labelled rollouts writes them, as samples in memory.
 *
 *   {"prompt": text, "response": text, "reward": number or boolean}   or "answer" in place of the
 * reward, compared as numbers; "ends" and "labels" of steps as a sink writes them, where there are
 * any. Plain, gzip or zstd. Rollouts of one prompt are a group. */
#ifndef NODES_LEARNER_HELD_OUT_H
#define NODES_LEARNER_HELD_OUT_H

#include "nodes/learner/sample.h"

#define HELD_OUT_MAX 65536 /* rollouts: they stay in memory */

struct held_out {
    struct sample *at;
    int64_t *group; /* of each sample, from 0 in order of appearance */
    int64_t count, groups;
    int64_t skipped; /* what the model cannot read: too long, characters it lacks */
    struct arena arena;
};

/* Checks every line, without a tokenizer. -> ERROR_input as "path:line: reason". */
int held_out_check(const char *path, struct error *e);

int held_out_read(struct held_out *h, const char *path, struct sample_rules *rules,
                  struct error *e);
void held_out_free(struct held_out *h);

#endif

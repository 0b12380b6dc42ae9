/* output: what a learner leaves in RUN/checkpoints/NODE: step-N directories to go on from, `final`
 * with its manifest, and metrics.jsonl. A directory is made aside, synced and renamed; it counts
 * from the moment the learner's progress, committed after, names it. What no progress names is an
 * orphan, removed at start. */
#ifndef NODES_LEARNER_OUTPUT_H
#define NODES_LEARNER_OUTPUT_H

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernels/model.h"

struct output {
    char *root; /* RUN/checkpoints */
    char *dir;  /* RUN/checkpoints/NODE */
    const char *node;
    const char *tokenizer_dir; /* whose tokenizer files go along */
    int metrics;               /* descriptor of metrics.jsonl */
    int64_t metrics_length;
};

/* Makes the folders, cuts metrics.jsonl to its recorded length. node and tokenizer_dir are
 * borrowed. */
int output_open(struct output *o, const char *run_dir, const char *node, const char *tokenizer_dir,
                int64_t metrics_length, struct error *e);
void output_close(struct output *o);

/* Removes every step-N but the kept ones, and everything left half made. */
int output_clean(struct output *o, const int64_t *kept, int64_t count, struct error *e);

/* step-N: the model with its tokenizer, and the optimiser's moments. */
int output_save(struct output *o, int64_t step, const struct model *model, const float *m,
                const float *v, struct error *e);
int output_load(struct output *o, int64_t step, struct model *model, float **m, float **v,
                struct error *e);
int output_remove(struct output *o, int64_t step, struct error *e);

/* final/, and RUN/checkpoints/final -> NODE/final where this is the only learner of the run. */
int output_final(struct output *o, const struct model *model, struct span manifest,
                 struct error *e);

/* Appends a line to metrics.jsonl; output_sync makes it durable. */
int output_metrics(struct output *o, struct span line, struct error *e);
int output_sync(struct output *o, struct error *e);

#endif

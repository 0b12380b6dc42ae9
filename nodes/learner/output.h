/* output: what a learner leaves in RUN/checkpoints/NODE: step-N directories to go on from, `final`
 * with its manifest (and `final-ema`), metrics.jsonl and a TensorBoard event file. A directory is
 * made aside, synced and renamed; it counts from the moment the learner's progress, committed
 * after, names it. What no progress names is an orphan, removed at start. */
#ifndef NODES_LEARNER_OUTPUT_H
#define NODES_LEARNER_OUTPUT_H

#include "nodes/learner/appended.h"
#include "nodes/learner/checkpoint.h"
#include "nodes/learner/measures.h"

struct output {
    char *root; /* RUN/checkpoints */
    char *dir;  /* RUN/checkpoints/NODE */
    const char *node;
    const char *tokenizer_dir;       /* whose tokenizer files go along */
    struct appended metrics, events; /* cut at start to what progress says */
};

/* Makes the folders, cuts metrics.jsonl and (where `events` is not negative) the event file to
 * their recorded lengths. node and tokenizer_dir are borrowed. */
int output_open(struct output *o, const char *run_dir, const char *node, const char *tokenizer_dir,
                int64_t metrics, int64_t events, struct error *e);
void output_close(struct output *o);

/* Removes every step-N but the kept ones, and everything left half made. */
int output_clean(struct output *o, const int64_t *kept, int64_t count, struct error *e);

/* step-N. */
int output_save(struct output *o, int64_t step, const struct weights *w, struct span manifest,
                struct error *e);
int output_load(struct output *o, int64_t step, struct weights *w, bool ema, struct error *e);
int output_remove(struct output *o, int64_t step, struct error *e);

/* final/ and, where an average is kept, final-ema/; RUN/checkpoints/final -> NODE/final where this
 * is the only learner of the run. */
int output_final(struct output *o, const struct weights *w, struct span manifest, struct error *e);

/* Appends a line to metrics.jsonl and a record to the event file; output_sync makes them durable.
 */
int output_measures(struct output *o, const struct measures *m, struct error *e);
int output_sync(struct output *o, struct error *e);

/* A file of its own beside them, whole or not at all. */
int output_aside(struct output *o, const char *name, struct span bytes, struct error *e);

#endif

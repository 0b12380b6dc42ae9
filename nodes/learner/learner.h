/* learner: what the files of this folder share: the options, the progress that a checkpoint
 * records, and the state of the process. learner.c takes samples in, round.c trains on them,
 * output.c writes what came out. */
#ifndef NODES_LEARNER_LEARNER_H
#define NODES_LEARNER_LEARNER_H

#include "graph/node.h"
#include "kernels/schedule.h"
#include "nodes/learner/order.h"
#include "nodes/learner/output.h"
#include "nodes/learner/sample.h"
#include "nodes/learner/train.h"

#define LEARNER_PROGRESS_VERSION 1
#define LEARNER_KEEP_MAX         64 /* checkpoint directories that stay */
#define LEARNER_SKIPPED_MAX                                                                        \
    20 /* steps in a row without a finite gradient before the node gives up */
#define LEARNER_IN_FLIGHT 256 /* units in hand */

enum learner_port { LEARNER_labelled, LEARNER_passed };

struct learner_options {
    const char *model, *tokenizer, *eos_token, *system;
    int prompt_format; /* index into prompt_format_names */
    int64_t width, layers, heads, kv_heads, intermediate, positions;
    int objective; /* index: objective_at() */
    int64_t num_labels;
    double beta, tau, correct_above;
    int64_t epochs, passes, batch_rollouts, batch_tokens, max_tokens;
    bool shuffle, eos;
    double lr, lr_min, weight_decay, beta1, beta2, eps, clip;
    int64_t warmup_steps, schedule_steps;
    int schedule; /* enum schedule_kind */
    int64_t checkpoint_steps, keep;
    double checkpoint_every;
    bool follow;
    int64_t window, max_windows;
    int device;
};

/* Where training stands. The stored one always describes the newest checkpoint directory. */
struct progress {
    uint32_t version, final_written;
    int64_t step;          /* optimiser steps done; also the name of the checkpoint */
    int64_t rounds;        /* windows done */
    int64_t pass, batch;   /* passes of this round done, steps of this pass done */
    uint64_t window_end;   /* ordinal after the window under way; 0: none */
    uint64_t input_hash;   /* of the samples of the rounds begun, in ordinal order */
    uint64_t initial_hash; /* of the weights training began from */
    int64_t input_samples, input_groups;
    int64_t trained_tokens; /* response tokens with a part in the loss, all passes */
    int64_t skipped;        /* steps whose gradient was not finite */
    int64_t metrics_length; /* bytes of metrics.jsonl */
    int64_t kept_count;
    int64_t kept[LEARNER_KEEP_MAX]; /* steps whose directories stay, oldest first */
};

enum phase { PHASE_wait, PHASE_reference, PHASE_train, PHASE_final, PHASE_done };

struct learner {
    struct node *node;
    const struct learner_options *options;
    const struct objective *objective;
    struct model_config config;
    struct tokenizer *tokenizer;
    struct sample_rules rules;
    struct arena messages; /* of the unit being taken */
    struct buffer record;
    struct entries entries; /* samples not yet trained for good */
    struct progress progress, saved;
    struct output output;
    bool ended; /* no sample will follow */

    enum phase phase;
    struct trainer trainer; /* open once training began */
    bool training;
    struct model *initial; /* the reference, while it may be needed */
    struct schedule schedule;
    int64_t round_count; /* entries of the round under way */
    int64_t reference_at;
    struct pass pass;
    bool pass_open;
    struct arena arena;     /* samples of the step under way */
    struct sample *samples; /* those that learn; NULL between steps */
    int64_t sample_count, sample_at;
    double reward_sum;
    int64_t reward_count;
    double loss; /* of the last step */
    double step_began, saved_at;
    int skipped_in_a_row;
};

/* initial.c: the model training begins from. */
int initial_config(const struct learner_options *o, struct model_config *config, struct error *e);
int initial_model(const struct learner_options *o, uint64_t seed, struct model **model,
                  struct error *e);
const char *initial_tokenizer(const struct learner_options *o); /* its directory */

/* round.c: what is trained together, and the checkpoints. */
int round_pump(struct learner *l, struct error *e);
int round_scan(struct learner *l, struct error *e); /* fills entries from the store */
int round_end(struct learner *l, struct error *e);  /* every pass is done */
int round_save(struct learner *l,
               struct error *e); /* a checkpoint, and the progress that names it */
bool round_save_due(const struct learner *l);
int64_t round_passes(const struct learner *l);
/* The steps of pass `which` of this round. */
void round_pass(struct learner *l, struct pass *pass, int64_t which);

/* step.c: one batch of work. */
int step_reference(struct learner *l, struct error *e); /* log-probabilities of the initial model */
/* Of the step under way; opens and closes steps, passes and the round as they come. */
int step_train(struct learner *l, struct error *e);

void round_withhold(struct learner *l); /* of a stream without end: enough windows wait? */
void round_free(struct learner *l);
bool round_follow_waits(const struct learner *l);

/* Keys of the store. */
#define LEARNER_KEY_MAX 9
struct span learner_key(char *room, char kind,
                        uint64_t ordinal); /* kind: 's' sample, 'r' reference, 'p' progress */

#endif

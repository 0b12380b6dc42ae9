/* learner: what the files of this folder share: the options, the progress that a checkpoint
 * records, and the state of the process. learner.c takes samples in, round.c trains on them,
 * output.c writes what came out. */
#ifndef NODES_LEARNER_LEARNER_H
#define NODES_LEARNER_LEARNER_H

#include "graph/node.h"
#include "kernels/schedule.h"
#include "nodes/learner/evaluate.h"
#include "nodes/learner/noise.h"
#include "nodes/learner/order.h"
#include "nodes/learner/output.h"
#include "nodes/learner/sample.h"
#include "nodes/learner/settings.h"
#include "nodes/learner/train.h"

#define LEARNER_PROGRESS_VERSION 2
#define LEARNER_KEEP_MAX         64 /* checkpoint directories that stay */
#define LEARNER_SKIPPED_MAX                                                                        \
    20 /* steps in a row without a finite gradient before the node gives up */
#define LEARNER_IN_FLIGHT 256 /* units in hand */

enum learner_port { LEARNER_labelled, LEARNER_passed };

extern const char *const learner_prompt_formats[]; /* enum chat_format, then auto */

struct learner_options {
    const char *model, *tokenizer, *eos_token, *system;
    int prompt_format; /* index into learner_prompt_formats */
    int64_t width, layers, heads, kv_heads, intermediate, positions;
    int objective; /* index: objective_at() */
    int64_t num_labels;
    double correct_above;
    SETTINGS_FIELDS
    int64_t epochs, passes, batch_rollouts, batch_tokens, max_tokens;
    bool shuffle, eos;
    double lr, lr_min, weight_decay, beta1, beta2, eps, clip;
    int64_t warmup_steps, schedule_steps;
    int schedule; /* enum schedule_kind */
    int64_t decay_steps;
    double decay_share;
    int decay_shape; /* enum schedule_decay */
    struct texts no_decay, freeze;
    double ema;
    int on_nonfinite; /* enum on_nonfinite */
    bool tensorboard;
    const char *resume_from;
    const char *eval_rollouts, *eval_prompts;
    int64_t eval_every, eval_samples, eval_max_tokens;
    double eval_temperature;
    int eval_verify; /* enum verify_mode */
    int64_t checkpoint_steps, keep;
    double checkpoint_every;
    bool follow;
    int64_t window, max_windows;
    int64_t threads;
    const char *device;
    int64_t head_memory;
    int logits, rounding; /* enum sluice_logits, enum sluice_rounding */
    bool keep_logits;
};

enum on_nonfinite { NONFINITE_stop, NONFINITE_skip };

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
    int64_t evaluated;      /* 1 + the step of the last evaluation; 0: none yet */
    int64_t metrics_length; /* bytes of metrics.jsonl ... */
    int64_t events_length;  /* ... and of the event file */
    int64_t kept_count;
    int64_t kept[LEARNER_KEEP_MAX]; /* steps whose directories stay, oldest first */
};

enum phase { PHASE_wait, PHASE_noise, PHASE_reference, PHASE_train, PHASE_final, PHASE_done };

struct learner {
    struct node *node;
    const struct learner_options *options;
    const struct objective *objective;
    struct objective_settings settings; /* of the objective, nothing left open */
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
    bool resuming; /* from a folder of another run: nothing of it is in the store yet */
    struct buffer pinned; /* pinned.c: as it is in the store */
    struct evaluation *evaluation; /* NULL: nothing to evaluate on */
    struct model *initial; /* the reference, while it may be needed */
    struct schedule schedule;
    int64_t round_count; /* entries of the round under way */
    int64_t reference_at;
    struct select_rules select;
    struct noise noise;         /* of the labels of the round */
    int64_t noise_at;           /* samples of both its looks that were looked at */
    struct buffer vectors;      /* of the unit being taken */
    struct baselines baselines; /* of the steps of the round, where advantages are of steps */
    bool lacks_behaviour;       /* a sample came without the log-probabilities that are needed */
    struct pass pass;
    bool pass_open;
    struct arena arena;     /* samples of the step under way */
    struct sample *samples; /* those that learn; NULL between steps */
    int64_t sample_count;
    int64_t *order, *starts; /* their batches: indices of samples, in the arena */
    int64_t batches, batch_at;
    bool gathering;          /* the batches go through the statistics first */
    double reward_sum;
    int64_t reward_count, computed; /* rollouts of the step; tokens of its batches so far */
    double masked_share, pruned_share; /* of the step's response tokens, of its rollouts */
    double loss; /* of the last step */
    double step_began, saved_at;
    int skipped_in_a_row;
};

static inline int
learner_classes(const struct objective *o)
{
    return (o->needs & OBJECTIVE_needs_classes) != 0;
}

static inline bool
learner_needs_behaviour(const struct learner *l)
{
    return (objective_needs(l->objective, &l->settings) & OBJECTIVE_needs_behaviour) != 0;
}

static inline bool
learner_recorded(const struct learner *l)
{
    return l->options->behaviour == SETTINGS_recorded;
}

static inline bool
learner_needs_reference(const struct learner *l)
{
    return (objective_needs(l->objective, &l->settings) & OBJECTIVE_needs_reference) ||
           (learner_needs_behaviour(l) && !learner_recorded(l)) || l->options->stm_threshold > 0;
}

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
struct weights round_weights(const struct learner *l); /* a view: owns nothing */
int64_t round_passes(const struct learner *l);
/* The steps of pass `which` of this round. */
void round_pass(struct learner *l, struct pass *pass, int64_t which);

/* data.c: what the samples of the round have. */
/* The sample of entry i, copied into the arena. */
int data_sample(struct learner *l, int64_t i, struct sample *s, struct error *e);
int data_baselines(struct learner *l, struct error *e); /* fills them from every step of the round */
/* The noise of the round: begins PHASE_noise, and looks at some more samples, until it is fitted to
 * every step and training goes on. */
void data_noise_begin(struct learner *l);
int data_noise(struct learner *l, struct error *e);
/* Gives sample i of the entries the weights that came of it. */
int data_soften(struct learner *l, int64_t i, struct sample *s, struct error *e);
/* ERROR_topology: what the objective needs and no later rollout could mend. */
int data_check(struct learner *l, struct error *e);
int data_lacks_behaviour(struct learner *l, struct error *e); /* that error */

/* pinned.c: the device and the algorithms that the bits depend on. */
/* Gives the trainer its device, and that the algorithms of before; one warning where it was another. */
int pinned_open(struct learner *l, struct error *e);
int pinned_keep(struct learner *l, struct error *e); /* into the store, where it changed */
int pinned_text(struct learner *l, struct buffer *out, struct error *e); /* as it is now */

/* nonfinite.c: a step that a number which is not finite has spoilt. */
/* At start: has training stopped at one, and may it go on? */
int nonfinite_check(struct learner *l, struct error *e);
/* Writes the step's batch aside. Then training goes on without the step, or stops: an error, and a
 * word in the store so that a restart does not come this far again. */
int nonfinite_step(struct learner *l, struct error *e);

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
                        uint64_t ordinal); /* kind: 's' sample, 'r' reference, 'n' noise_record, 'p' progress */

#endif

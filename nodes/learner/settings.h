/* settings: the options of a learner about its objective and about the stages before it, read into
 * what those take. Their rows stand in options.c. */
#ifndef NODES_LEARNER_SETTINGS_H
#define NODES_LEARNER_SETTINGS_H

#include "graph/node.h"
#include "kernels/objective.h"
#include "nodes/learner/baseline.h"
#include "nodes/learner/select.h"

struct learner_options;

enum settings_behaviour { SETTINGS_initial, SETTINGS_recorded };
enum settings_mask { SETTINGS_mask_none, SETTINGS_mask_s2r };

/* Of struct learner_options. */
#define SETTINGS_FIELDS                                                                            \
    int aggregation, advantages, ratio, kl, kl_in, variant, behaviour, baseline, mask,             \
        label_noise;                                                                               \
    double tau, clip_low, clip_high, clip_dual, soften_positive, soften_negative, lambda;          \
    double kl_weight, entropy_weight, beta, wrong_weight, correction_weight;                       \
    int64_t constant_tokens, baseline_bins, baseline_min;                                          \
    const char *objective_file, *score_digits, *s2r_verify, *s2r_retry;                            \
    double stm_threshold, prune_prompts, prune_completions;                                        \
    bool stm_positive_only, mask_truncated, step_once;                                             \
    int64_t token_budget, pack_window;                                                             \
    int64_t overlong_length, overlong_buffer, repetition_ngram;                                    \
    double overlong_factor, rlr_ratio, rlr_base, rlr_low, rlr_high, repetition_penalty;

extern const char *const settings_aggregation_names[], *const settings_advantages_names[],
    *const settings_ratio_names[], *const settings_kl_names[], *const settings_kl_in_names[],
    *const settings_variant_names[], *const settings_behaviour_names[],
    *const settings_baseline_names[], *const settings_mask_names[], *const settings_noise_names[];


/* The objective chosen by name or by file; NULL and an error where the file is none. */
const struct objective *settings_objective(const struct learner_options *o, struct error *e);

/* Does each choice belong to the objective and do they fit each other? Blames the option. */
int settings_check(struct check *c, const struct learner_options *o,
                   const struct objective *objective, bool labelled, struct error *e);

/* The objective's settings: what the topology says, else its own; nothing left open. */
int settings_read(const struct learner_options *o, const struct objective *objective,
                  struct objective_settings *s, struct error *e);

/* The names that the objective's named logits are of; none where it has none. */
int settings_names(const struct learner_options *o, const struct objective *objective,
                   struct tokenizer *t, struct sample_names *names, struct error *e);

struct select_rules settings_select(const struct learner_options *o);
struct baseline_rules settings_baseline(const struct learner_options *o);
bool settings_process(const struct learner_options *o);     /* advantages of steps */
double settings_beta(const struct learner_options *o, const struct objective *objective);

#endif

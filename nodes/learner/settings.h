/* settings: the options of a learner about its objective and about the stages before it, read into
 * what those take. Their rows stand here, beside the rules they obey. */
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
    int aggregation, advantages, ratio, kl, kl_in, variant, behaviour, baseline, mask;             \
    double tau, clip_low, clip_high, clip_dual, soften_positive, soften_negative, lambda;          \
    double kl_weight, entropy_weight, beta, wrong_weight, correction_weight;                       \
    int64_t constant_tokens, baseline_bins, baseline_min;                                          \
    const char *objective_file, *score_digits, *s2r_verify, *s2r_retry;                            \
    double stm_threshold, prune_prompts, prune_completions;                                        \
    bool stm_positive_only, mask_truncated, step_once;                                                        \
    int64_t token_budget, pack_window;                                                             \
    int64_t overlong_length, overlong_buffer, repetition_ngram;                                    \
    double overlong_factor, rlr_ratio, rlr_base, rlr_low, rlr_high, repetition_penalty;

extern const char *const settings_aggregation_names[], *const settings_advantages_names[],
    *const settings_ratio_names[], *const settings_kl_names[], *const settings_kl_in_names[],
    *const settings_variant_names[], *const settings_behaviour_names[],
    *const settings_baseline_names[], *const settings_mask_names[];

#define SETTINGS_ROWS                                                                              \
    OPT_PATH(struct learner_options, objective_file, FIXED, "",                                    \
             "shared object with an objective of one's own, in place of objective (see "           \
             "kernels/objective_kind.h)"),                                                         \
    OPT_FLOAT(struct learner_options, tau, FIXED, "auto", 0, 1e6,                                  \
              "pull towards the initial model: tau of bcpg, bcpg_nsa and kimi, beta of dpo, ipo, " \
              "kto, copg, gvpo and tbrm; auto: the objective's own"),                              \
    OPT_FLOAT(struct learner_options, beta, FIXED, "auto", -1, 1,                                  \
              "weight of tokens in correct steps of wrong answers; auto: 0.5 for bcpg_nsa, else "  \
              "1"),                                                                                \
    OPT_FLOAT(struct learner_options, wrong_weight, FIXED, "1", -1e3, 1e3,                         \
              "weight of tokens in incorrect steps of wrong answers"),                             \
    OPT_FLOAT(struct learner_options, correction_weight, FIXED, "1", -1e3, 1e3,                    \
              "further factor of tokens in a correct step right after an incorrect one (a "        \
              "self-correction); beta and it multiply"),                                           \
    OPT_CHOICE(struct learner_options, advantages, FIXED, "auto", settings_advantages_names,       \
               "reward: as given; mean: minus the group's mean; mean_std: divided by its spread "  \
               "too; leave_one_out: minus the mean of the others; gdepo: sign from correctness, "  \
               "size from the rewards (RECONSTRUCTED from the abstract of 2601.06795); process: "  \
               "labels of steps against a baseline of like steps (S2R, 2502.12853, offline; its "  \
               "actions are steps here, with the ratios of their tokens; a step that begins with " \
               "an s2r_verify text is right where its verdict is the label of the step before)"),  \
    OPT_CHOICE(struct learner_options, baseline, FIXED, "acc_pos", settings_baseline_names,        \
               "steps that process compares: of the same labels before them (ctx), of groups of "  \
               "like accuracy at the same place (acc_pos) or with the same labels (acc_ctx)"),     \
    OPT_INT(struct learner_options, baseline_bins, FIXED, "10", 1, BASELINE_BINS_MAX,              \
            "ranges of group accuracy that process tells apart (RECONSTRUCTED: the paper gives no "\
            "width)"),                                                                             \
    OPT_INT(struct learner_options, baseline_min, FIXED, "10", 1, 1e9,                             \
            "fewer steps than this have a baseline of 0"),                                         \
    OPT_BOOL(struct learner_options, step_once, FIXED, "true",                                     \
             "process: a step counts once in its answer's mean, as in S2R; false: each token does"),\
    OPT_CHOICE(struct learner_options, aggregation, FIXED, "auto", settings_aggregation_names,     \
               "sequence_mean: a response counts once; sequence_sum: each token of it once; "      \
               "token_mean: each token of the step once; constant: tokens over constant_tokens"),  \
    OPT_INT(struct learner_options, constant_tokens, FIXED, "0", 0, 1e12,                          \
            "what constant divides a response's sum by; 0: max_tokens"),                           \
    OPT_CHOICE(struct learner_options, ratio, FIXED, "auto", settings_ratio_names,                 \
               "importance ratio of a token, of the whole answer, or its geometric mean"),         \
    OPT_FLOAT(struct learner_options, clip_low, FIXED, "auto", 0, 1e6,                             \
              "how far an importance ratio may fall below 1"),                                     \
    OPT_FLOAT(struct learner_options, clip_high, FIXED, "auto", 0, 1e6,                            \
              "how far an importance ratio may rise above 1"),                                     \
    OPT_FLOAT(struct learner_options, clip_dual, FIXED, "auto", 0, 1e6,                            \
              "largest ratio of a negative advantage; 0: none"),                                   \
    OPT_FLOAT(struct learner_options, soften_positive, FIXED, "auto", 1e-6, 1e6,                   \
              "sapo's tau of positive advantages"),                                                \
    OPT_FLOAT(struct learner_options, soften_negative, FIXED, "auto", 1e-6, 1e6,                   \
              "sapo's tau of negative advantages"),                                                \
    OPT_FLOAT(struct learner_options, lambda, FIXED, "auto", 0, 1e6,                               \
              "weight of tract's squared error or of ranknet's ranking loss"),                     \
    OPT_CHOICE(struct learner_options, variant, FIXED, "auto", settings_variant_names,             \
               "ranknet: weighted, plain, listnet, lambdarank; aspo: paper, code; opmd: mean, "    \
               "log_mean_exp"),                                                                    \
    OPT_CHOICE(struct learner_options, kl, FIXED, "none", settings_kl_names,                       \
               "estimate of the KL divergence from the initial model that is held down"),          \
    OPT_FLOAT(struct learner_options, kl_weight, FIXED, "auto", 0, 1e6,                            \
              "weight of the KL; auto: 1e-3"),                                                     \
    OPT_CHOICE(struct learner_options, kl_in, FIXED, "loss", settings_kl_in_names,                 \
               "a term of the loss, or taken off the reward before advantages are made"),          \
    OPT_FLOAT(struct learner_options, entropy_weight, FIXED, "0", -1e3, 1e3,                       \
              "weight of the entropy bonus: the loss falls by it times the mean entropy"),         \
    OPT_CHOICE(struct learner_options, behaviour, FIXED, "initial", settings_behaviour_names,      \
               "the policy that sampled: the initial model, or as the input recorded it in logps " \
               "(then token_ids of the input are the tokens, and both must fit)"),                 \
    OPT_TEXT(struct learner_options, score_digits, FIXED, "12345",                                 \
             "tract: the scores, each one token; an answer ends with one, its reward is the gold " \
             "score"),                                                                             \
    OPT_CHOICE(struct learner_options, mask, FIXED, "none", settings_mask_names,                   \
               "s2r: of solve, verify, solve ... only verify, the last solve and the end are "     \
               "learnt (2502.12853, behaviour initialisation)"),                                   \
    OPT_TEXT(struct learner_options, s2r_verify, FIXED, "Wait,|Let me recheck my solution.",       \
             "mask s2r, advantages process: texts that begin a verify, parted by |; empty: none"), \
    OPT_TEXT(struct learner_options, s2r_retry, FIXED, "Let me try again.",                        \
             "mask s2r: texts that begin a solve, parted by |"),                                   \
    OPT_FLOAT(struct learner_options, stm_threshold, FIXED, "0", 0, 1e9,                           \
              "tokens with a perplexity under the initial model above it are not learnt "          \
              "(2501.14315: 2.5); 0: all are"),                                                    \
    OPT_BOOL(struct learner_options, stm_positive_only, FIXED, "false",                            \
             "stm_threshold in correct answers only"),                                             \
    OPT_BOOL(struct learner_options, mask_truncated, FIXED, "false",                               \
             "answers that were cut off (finish: length) are not learnt; they count in their "     \
             "group"),                                                                             \
    OPT_INT(struct learner_options, token_budget, FIXED, "0", 0, 1e12,                             \
            "C3PO (2506.14731): tokens of a step that are learnt, the first in its order, the "    \
            "last answer cut; also what the loss is divided by; 0: all"),                          \
    OPT_FLOAT(struct learner_options, prune_prompts, FIXED, "0", 0, 0.9,                           \
              "share of prompts left out of a step, those of small advantages rather, the others " \
              "weighted up; from the second pass on (2603.04135; probabilities RECONSTRUCTED)"),   \
    OPT_FLOAT(struct learner_options, prune_completions, FIXED, "0", 0, 0.9,                       \
              "the same of the answers of a group, from the first pass on (2603.04135; "           \
              "probabilities RECONSTRUCTED)"),                                                     \
    OPT_INT(struct learner_options, pack_window, FIXED, "0", 0, SELECT_WINDOW_MAX,                 \
            "samples among which the longest that fits into a batch is taken (2603.04135, 4.3, "   \
            "RECONSTRUCTED); 0: they share batches as they come. Sums of a step follow its "       \
            "batches, so it may change last bits"),                                                \
    OPT_INT(struct learner_options, overlong_length, FIXED, "0", 0, 1 << 24,                       \
            "DAPO's overlong shaping: tokens of an answer at which the penalty is full; 0: off"),  \
    OPT_INT(struct learner_options, overlong_buffer, FIXED, "4096", 1, 1 << 24,                    \
            "tokens before overlong_length in which the penalty rises from 0"),                    \
    OPT_FLOAT(struct learner_options, overlong_factor, FIXED, "1", 0, 1e6,                         \
              "the full penalty, taken off the reward"),                                           \
    OPT_FLOAT(struct learner_options, rlr_base, FIXED, "0", 0, 1e9,                                \
              "relative length reward (2506.04913): tokens that a correct answer must be shorter " \
              "than its group's correct ones for a reward of 1 more; 0: off, its script: 500"),    \
    OPT_FLOAT(struct learner_options, rlr_ratio, FIXED, "0.5", 0, 1,                               \
              "least accuracy of a group with a relative length reward"),                          \
    OPT_FLOAT(struct learner_options, rlr_low, FIXED, "-0.5", -1e6, 0,                             \
              "least relative length reward"),                                                     \
    OPT_FLOAT(struct learner_options, rlr_high, FIXED, "0.5", 0, 1e6,                              \
              "largest relative length reward"),                                                   \
    OPT_FLOAT(struct learner_options, repetition_penalty, FIXED, "0", -1e6, 0,                     \
              "added to the reward of a wrong answer times its share of repeated n-grams of "      \
              "tokens (2506.04913 counts words; its script: -2); 0: off"),                         \
    OPT_INT(struct learner_options, repetition_ngram, FIXED, "40", 1, 4096,                        \
            "tokens of an n-gram")

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

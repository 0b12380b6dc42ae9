/* options: every option of a learner, under the headings its help and manual show. What rows mean
 * together is checked in settings.c and learner.c. An alias is the name other trainers have for a
 * row: no value may be given by it, but who types it is told ours. */
#include "kernels/sampler.h"
#include "nodes/learner/learner.h"
#include "nodes/learner/manifest.h"

static const char *const objective_names[] = {
#define OBJECTIVE(name, ...) #name,
#include "kernels/objective.def"
#undef OBJECTIVE
    NULL,
};
static const char *const verify_names[] = { /* enum verify_mode */
#define VERIFY(name, meaning) #name,
#include "kernels/verify.def"
#undef VERIFY
    NULL,
};
static const char *const nonfinite_names[] = {"stop", "skip", NULL};
/* enum chat_format, and after it the model's own. */
const char *const learner_prompt_formats[] = {
    "raw", "qwen2", "qwen3", "r1", "llama3", "llama31", "auto", NULL,
};
static const char *const logits_names[] = { /* enum sluice_logits */
    "auto", "float32", "bfloat16", "fused", NULL,
};
static const char *const rounding_names[] = {"nearest", "stochastic", NULL}; /* enum sluice_rounding */

const struct option learner_option_table[] = {
    OPT_GROUP("model and tokenizer"),
    OPT_PATH(struct learner_options, model, FIXED, "",
             "Hugging Face folder training begins from, also the reference; empty: a fresh model "
             "of the sizes below"),
    OPT_ALIAS("model_name_or_path", "model"),
    OPT_ALIAS("ref_model", "model"),
    OPT_PATH(struct learner_options, tokenizer, FIXED, "",
             "folder with the tokenizer.json of a fresh model; empty: the model's own"),
    OPT_CHOICE(
        struct learner_options, prompt_format, FIXED, "raw", learner_prompt_formats,
        "raw: a prompt is what the model is given, as it stands; else it is one user message in a "
        "chat template; auto: the model's own, raw where it has none. A list of several messages in the "
        "input is made ChatML text: leave it raw"),
    OPT_ALIAS("chat_template", "prompt_format"),
    OPT_TEXT(struct learner_options, system, FIXED, "",
             "system message before every prompt; needs a prompt_format"),
    OPT_BOOL(struct learner_options, eos, FIXED, "true",
             "teach the end of an answer: its stop token is put after it"),
    OPT_TEXT(struct learner_options, eos_token, FIXED, "<|endoftext|>",
             "token that ends an answer of a fresh model"),
    OPT_INT(struct learner_options, max_tokens, FIXED, "4096", 2, 1 << 24,
            "prompt and answer; longer ones are dead letters"),
    OPT_ALIAS("max_length", "max_tokens"),
    OPT_ALIAS("max_seq_length", "max_tokens"),
    OPT_ALIAS("max_completion_length", "max_tokens"),
    OPT_ALIAS("max_response_length", "max_tokens"),
    OPT_INT(struct learner_options, width, FIXED, "0", 0, 65536, "hidden size of a fresh model"),
    OPT_INT(struct learner_options, layers, FIXED, "0", 0, 512, "layers of a fresh model"),
    OPT_INT(struct learner_options, heads, FIXED, "0", 0, 4096, "attention heads of a fresh model"),
    OPT_INT(struct learner_options, kv_heads, FIXED, "0", 0, 4096,
            "key-value heads of a fresh model; 0: as many as heads"),
    OPT_INT(struct learner_options, intermediate, FIXED, "0", 0, 262144,
            "inner size of a fresh model; 0: 4 x width"),
    OPT_INT(struct learner_options, positions, FIXED, "4096", 1, 16777216,
            "longest sequence of a fresh model, tokens"),
    OPT_INT(struct learner_options, num_labels, FIXED, "2", 2, 3,
            "classes of token_class when the model has no class head"),
    OPT_INT(struct learner_options, threads, LIVE, "1", 0, THREADS_MAX,
            "threads that compute, the same bytes for every number; 0: one for each core, where this"
            " node has the machine to itself"),
    OPT_GROUP("device"),
    OPT_TEXT(struct learner_options, device, FIXED, "auto",
             "where the head, the loss and the optimiser compute: cpu, cuda:N (the N-th CUDA device, "
             "from 0), auto: cuda:0 where there is one, else cpu. The decoder computes on the cpu. On "
             "a device the head's products take bfloat16 factors and float32 sums: numbers differ "
             "from those of cpu in the third digit, and are the same bits at each run on the same device, "
             "driver and cuBLASLt (batch_tokens and head_memory may change the last ones)"),
    OPT_SIZE(struct learner_options, head_memory, FIXED, "1280MB", 1 << 20, 1LL << 40,
             "memory of the device for the logits of one chunk of rows; lower it where the device is "
             "short of memory; each chunk reads and writes the head's gradient, 8 bytes x vocabulary x "
             "hidden, which by arithmetic costs speed below some 1000 rows (4 bytes x vocabulary x rows)"),
    OPT_CHOICE(struct learner_options, logits, FIXED, "auto", logits_names,
               "how logits are made on a device. float32: exact enough for ratios; bfloat16: half the "
               "memory and traffic, log p is off by up to 2^-8 of the largest logit, not for ratios; "
               "fused: statistics out of the product itself (compute capability 9.0 alone); auto: "
               "float32 where the objective compares log p with a reference, a recorded policy or "
               "other answers, else bfloat16"),
    OPT_BOOL(struct learner_options, keep_logits, FIXED, "false",
             "on a device, where one unit of the objective (an answer, a group, a step) is longer than "
             "a chunk of rows: keep its logits in bfloat16, 2 bytes x vocabulary x batch_tokens more "
             "memory, in place of computing them twice"),
    OPT_CHOICE(struct learner_options, rounding, FIXED, "nearest", rounding_names,
               "of the head's float32 weights to the bfloat16 that a device multiplies with; "
               "stochastic: up or down by chance (of the seed and the step), so that updates too small "
               "for bfloat16 count on average. Then equal weights of different steps differ a little"),
    OPT_GROUP("objective"),
    OPT_CHOICE(struct learner_options, objective, FIXED, "bcpg_nsa", objective_names,
               "what is minimised: the list of objectives (under this table) says what each does, "
               "which data it needs and its own settings"),
    OPT_ALIAS("loss_type", "objective"),
    OPT_ALIAS("adv_estimator", "objective"),
    OPT_ALIAS("loss_mode", "objective"),
    OPT_PATH(struct learner_options, objective_file, FIXED, "",
             "shared object with an objective of one's own, in place of objective (see "
             "kernels/objective_kind.h)"),
    OPT_FLOAT(struct learner_options, tau, FIXED, "auto", 0, 1e6,
              "pull towards the initial model: tau of bcpg, bcpg_nsa, kimi and opmd, beta of dpo, "
              "ipo, kto, copg, gvpo and tbrm; auto: the objective's own"),
    OPT_CHOICE(struct learner_options, ratio, FIXED, "auto", settings_ratio_names,
               "importance ratio of a token, of the whole answer, its geometric mean, or step: "
               "that of the token's step (rloo; S2R's process-level loss is rloo with advantages: "
               "process, ratio: step, aggregation: sequence_mean)"),
    OPT_ALIAS("importance_sampling_level", "ratio"),
    OPT_FLOAT(struct learner_options, clip_low, FIXED, "auto", 0, 1e6,
              "how far an importance ratio may fall below 1"),
    OPT_ALIAS("epsilon", "clip_low"),
    OPT_ALIAS("clip_ratio_low", "clip_low"),
    OPT_ALIAS("clip_ratio", "clip_low"),
    OPT_ALIAS("cliprange", "clip_low"),
    OPT_FLOAT(struct learner_options, clip_high, FIXED, "auto", 0, 1e6,
              "how far an importance ratio may rise above 1"),
    OPT_ALIAS("epsilon_high", "clip_high"),
    OPT_ALIAS("clip_ratio_high", "clip_high"),
    OPT_FLOAT(struct learner_options, clip_dual, FIXED, "auto", 0, 1e6,
              "largest ratio of a negative advantage; 0: none"),
    OPT_ALIAS("clip_ratio_c", "clip_dual"),
    OPT_ALIAS("delta", "clip_dual"),
    OPT_FLOAT(struct learner_options, soften_positive, FIXED, "auto", 1e-6, 1e6,
              "sapo's tau of positive advantages"),
    OPT_FLOAT(struct learner_options, soften_negative, FIXED, "auto", 1e-6, 1e6,
              "sapo's tau of negative advantages"),
    OPT_FLOAT(struct learner_options, lambda, FIXED, "auto", 0, 1e6,
              "weight of tract's squared error or of ranknet's ranking loss"),
    OPT_CHOICE(struct learner_options, variant, FIXED, "auto", settings_variant_names,
               "ranknet: weighted, plain, listnet, lambdarank; aspo: paper, code; opmd: mean, "
               "log_mean_exp"),
    OPT_TEXT(struct learner_options, score_digits, FIXED, "12345",
             "tract: the scores, each one token; an answer ends with one, its reward is the gold "
             "score"),
    OPT_CHOICE(struct learner_options, aggregation, FIXED, "auto", settings_aggregation_names,
               "sequence_mean: a response counts once; sequence_sum: each token of it once; "
               "token_mean: each token of the step once; constant: tokens over constant_tokens"),
    OPT_ALIAS("loss_agg_mode", "aggregation"),
    OPT_INT(struct learner_options, constant_tokens, FIXED, "0", 0, 1e12,
            "what constant divides a response's sum by; 0: max_tokens"),
    OPT_CHOICE(struct learner_options, kl, FIXED, "none", settings_kl_names,
               "estimate of the KL divergence from the initial model that is held down"),
    OPT_ALIAS("kl_loss_type", "kl"),
    OPT_ALIAS("kl_estimator", "kl"),
    OPT_ALIAS("use_kl_loss", "kl"),
    OPT_FLOAT(struct learner_options, kl_weight, FIXED, "auto", 0, 1e6,
              "weight of the KL; auto: 0.04 for grpo, 0.05 for rloo, else 1e-3"),
    OPT_ALIAS("kl_coef", "kl_weight"),
    OPT_ALIAS("kl_loss_coef", "kl_weight"),
    OPT_CHOICE(struct learner_options, kl_in, FIXED, "loss", settings_kl_in_names,
               "a term of the loss, or taken off the reward before advantages are made"),
    OPT_FLOAT(struct learner_options, entropy_weight, FIXED, "0", -1e3, 1e3,
              "weight of the entropy bonus: the loss falls by it times the mean entropy"),
    OPT_ALIAS("entropy_coeff", "entropy_weight"),
    OPT_CHOICE(struct learner_options, behaviour, FIXED, "initial", settings_behaviour_names,
               "the policy that sampled: the initial model, or as the input recorded it in logps "
               "(then token_ids of the input are the tokens, and both must fit)"),
    OPT_GROUP("rewards and advantages"),
    OPT_CHOICE(struct learner_options, advantages, FIXED, "auto", settings_advantages_names,
               "reward: as given; mean: minus the group's mean; mean_std: divided by its spread "
               "too; leave_one_out: minus the mean of the others; gdepo: sign from correctness, "
               "size from the rewards (RECONSTRUCTED from the abstract of 2601.06795); process: "
               "labels of steps against a baseline of like steps (S2R, 2502.12853, offline; its "
               "actions are steps here; a step that begins with an s2r_verify text is right where its "
               "verdict is the label of the step before; without its KL in the reward, its bonuses "
               "and its balance of wrong and correct answers)"),
    OPT_ALIAS("scale_rewards", "advantages"),
    OPT_ALIAS("norm_adv_by_std_in_grpo", "advantages"),
    OPT_CHOICE(struct learner_options, baseline, FIXED, "acc_pos", settings_baseline_names,
               "steps that process compares: of the same labels before them (ctx), of groups of "
               "like accuracy at the same place (acc_pos) or with the same labels (acc_ctx)"),
    OPT_INT(struct learner_options, baseline_bins, FIXED, "10", 1, BASELINE_BINS_MAX,
            "ranges of group accuracy that process tells apart (RECONSTRUCTED: the paper gives no "
            "width)"),
    OPT_INT(struct learner_options, baseline_min, FIXED, "10", 1, 1e9,
            "fewer steps than this have a baseline of 0"),
    OPT_BOOL(struct learner_options, step_once, FIXED, "true",
             "process: a step counts once in its answer's mean (S2R); false: each token does"),
    OPT_FLOAT(struct learner_options, correct_above, FIXED, "0.5", -1e9, 1e9,
              "a rollout with a reward above it counts as correct"),
    OPT_INT(struct learner_options, overlong_length, FIXED, "0", 0, 1 << 24,
            "DAPO's overlong shaping: tokens of an answer at which the penalty is full; 0: off"),
    OPT_ALIAS("max_resp_len", "overlong_length"),
    OPT_INT(struct learner_options, overlong_buffer, FIXED, "4096", 1, 1 << 24,
            "tokens before overlong_length in which the penalty rises from 0"),
    OPT_ALIAS("overlong_buffer_len", "overlong_buffer"),
    OPT_FLOAT(struct learner_options, overlong_factor, FIXED, "1", 0, 1e6,
              "the full penalty, taken off the reward; a longer answer loses no more"),
    OPT_ALIAS("overlong_penalty_factor", "overlong_factor"),
    OPT_FLOAT(struct learner_options, rlr_base, FIXED, "0", 0, 1e9,
              "relative length reward (2506.04913): tokens that a correct answer must be shorter "
              "than its group's correct ones for a reward of 1 more; 0: off, its script: 500"),
    OPT_FLOAT(struct learner_options, rlr_ratio, FIXED, "0.5", 0, 1,
              "least accuracy of a group with a relative length reward"),
    OPT_FLOAT(struct learner_options, rlr_low, FIXED, "-0.5", -1e6, 0,
              "least relative length reward"),
    OPT_FLOAT(struct learner_options, rlr_high, FIXED, "0.5", 0, 1e6,
              "largest relative length reward"),
    OPT_FLOAT(struct learner_options, repetition_penalty, FIXED, "0", -1e6, 0,
              "added to the reward of a wrong answer times its share of repeated n-grams of "
              "tokens (2506.04913 counts words; its script: -2); 0: off"),
    OPT_INT(struct learner_options, repetition_ngram, FIXED, "40", 1, 4096, "tokens of an n-gram"),
    OPT_GROUP("weights of tokens"),
    OPT_FLOAT(struct learner_options, beta, FIXED, "auto", -1, 1,
              "weight of tokens in correct steps of wrong answers (gems); auto: 0.5 for bcpg_nsa, "
              "else 1. The beta of DPO is tau here, the beta of a KL kl_weight"),
    OPT_FLOAT(struct learner_options, wrong_weight, FIXED, "1", -1e3, 1e3,
              "weight of tokens in incorrect steps of wrong answers"),
    OPT_FLOAT(struct learner_options, correction_weight, FIXED, "1", -1e3, 1e3,
              "further factor of tokens in a correct step right after an incorrect one (a "
              "self-correction); beta and it multiply"),
    OPT_CHOICE(struct learner_options, label_noise, FIXED, "none", settings_noise_names,
               "PLReMix's filter (2402.17589) of labels that votes and vectors of steps doubt (needs "
               "embeddings: true at a prm_judge); soft: the weight of a step's tokens is multiplied "
               "by how probably its label is clean, hard: by 0 where that is at most a half; fitted "
               "to each window, or to everything"),
    OPT_GROUP("selection"),
    OPT_FLOAT(struct learner_options, stm_threshold, FIXED, "0", 0, 1e9,
              "tokens with a perplexity under the initial model above it are not learnt "
              "(2501.14315: 2.5); 0: all are"),
    OPT_BOOL(struct learner_options, stm_positive_only, FIXED, "false",
             "stm_threshold in correct answers only"),
    OPT_CHOICE(struct learner_options, mask, FIXED, "none", settings_mask_names,
               "s2r: of solve, verify, solve ... only verify, the last solve and the end are "
               "learnt (2502.12853, behaviour initialisation)"),
    OPT_TEXT(struct learner_options, s2r_verify, FIXED, "Wait,|Let me recheck my solution.",
             "mask s2r, advantages process: texts that begin a verify, parted by |; empty: none"),
    OPT_TEXT(struct learner_options, s2r_retry, FIXED, "Let me try again.",
             "mask s2r: texts that begin a solve, parted by |"),
    OPT_BOOL(struct learner_options, mask_truncated, FIXED, "false",
             "answers that were cut off (finish: length) are not learnt; they count in their "
             "group"),
    OPT_ALIAS("mask_truncated_completions", "mask_truncated"),
    OPT_INT(struct learner_options, token_budget, FIXED, "0", 0, 1e12,
            "C3PO (2506.14731): tokens of a step that are learnt, the last answer cut; also what "
            "the loss is divided by, fewer tokens too (this, and that the first in the step's "
            "order are taken: RECONSTRUCTED); 0: all"),
    OPT_FLOAT(struct learner_options, prune_prompts, FIXED, "0", 0, 0.9,
              "share of prompts left out of a step, those of small advantages rather, the others "
              "weighted up; from the second pass on (2603.04135; probabilities RECONSTRUCTED)"),
    OPT_FLOAT(struct learner_options, prune_completions, FIXED, "0", 0, 0.9,
              "the same of the answers of a group, from the first pass on (2603.04135; "
              "probabilities RECONSTRUCTED)"),
    OPT_GROUP("optimiser and schedule"),
    OPT_FLOAT(struct learner_options, lr, FIXED, "1e-5", 0, 1, "learning rate, at its peak"),
    OPT_ALIAS("learning_rate", "lr"),
    OPT_CHOICE(struct learner_options, schedule, FIXED, "constant", schedule_names,
               "course of lr after the warm-up; wsd: stable, then a decay over the last steps"),
    OPT_ALIAS("lr_scheduler_type", "schedule"),
    OPT_INT(struct learner_options, schedule_steps, FIXED, "0", 0, 1e12,
            "steps until lr reaches lr_min; 0: those of all epochs (follow has no such number)"),
    OPT_FLOAT(struct learner_options, lr_min, FIXED, "0", 0, 1,
              "where a cosine, linear or wsd schedule ends"),
    OPT_INT(struct learner_options, warmup_steps, FIXED, "0", 0, 1e9,
            "steps in which lr rises from 0"),
    OPT_ALIAS("num_warmup_steps", "warmup_steps"),
    OPT_ALIAS("warmup_ratio", "warmup_steps"),
    OPT_ALIAS("lr_warmup_steps", "warmup_steps"),
    OPT_INT(struct learner_options, decay_steps, FIXED, "0", 0, 1e12,
            "wsd: last steps, in which lr falls; 0: decay_share of all"),
    OPT_FLOAT(struct learner_options, decay_share, FIXED, "0.1", 0, 1,
              "wsd: share of all steps in which lr falls, where decay_steps does not say"),
    OPT_CHOICE(struct learner_options, decay_shape, FIXED, "linear", schedule_decay_names,
               "wsd: how lr falls; sqrt: as 1 - sqrt(u)"),
    OPT_FLOAT(struct learner_options, weight_decay, FIXED, "0", 0, 10, "AdamW's decay of matrices"),
    OPT_TEXTS(struct learner_options, no_decay, FIXED, "",
              "tensors without weight decay beside norms and biases, as patterns of names:"
              " \"model.embed_tokens*\""),
    OPT_TEXTS(struct learner_options, freeze, FIXED, "",
              "tensors that are not trained, as patterns of names: \"model.layers.0.*\""),
    OPT_FLOAT(struct learner_options, beta1, FIXED, "0.9", 0, 0.999999,
              "AdamW's memory of gradients"),
    OPT_ALIAS("adam_beta1", "beta1"),
    OPT_FLOAT(struct learner_options, beta2, FIXED, "0.999", 0, 0.999999,
              "AdamW's memory of squared gradients"),
    OPT_ALIAS("adam_beta2", "beta2"),
    OPT_FLOAT(struct learner_options, eps, FIXED, "1e-8", 1e-30, 1, "AdamW's smallest denominator"),
    OPT_ALIAS("adam_epsilon", "eps"),
    OPT_FLOAT(struct learner_options, clip, FIXED, "1", 0, 1e9,
              "largest norm of a step's gradient; 0: any"),
    OPT_ALIAS("max_grad_norm", "clip"),
    OPT_ALIAS("grad_clip", "clip"),
    OPT_FLOAT(struct learner_options, ema, FIXED, "0", 0, 0.9999999,
              "decay of an average of the weights over steps, written to final-ema beside final;"
              " 0: none"),
    OPT_CHOICE(struct learner_options, on_nonfinite, LIVE, "stop", nonfinite_names,
               "a step whose loss or gradient is not finite changes nothing and is written to"
               " bad-step-N.jsonl; stop: training ends there until this is set to skip"),
    OPT_GROUP("batches and epochs"),
    OPT_INT(struct learner_options, epochs, FIXED, "0", 0, 1e6,
            "passes over everything once the input has ended; 0: one"),
    OPT_ALIAS("num_train_epochs", "epochs"),
    OPT_ALIAS("total_epochs", "epochs"),
    OPT_ALIAS("ppo_epochs", "epochs"),
    OPT_INT(struct learner_options, batch_rollouts, FIXED, "128", 1, 1e6,
            "rollouts of one optimiser step: whole groups until there are so many"),
    OPT_ALIAS("train_batch_size", "batch_rollouts"),
    OPT_ALIAS("batch_size", "batch_rollouts"),
    OPT_ALIAS("ppo_mini_batch_size", "batch_rollouts"),
    OPT_ALIAS("per_device_train_batch_size", "batch_rollouts"),
    OPT_INT(
        struct learner_options, batch_tokens, FIXED, "4096", 1, 1 << 24,
        "tokens computed at a time; gradients of a step add up over as many batches as it needs"),
    OPT_ALIAS("ppo_max_token_len_per_gpu", "batch_tokens"),
    OPT_ALIAS("ppo_micro_batch_size_per_gpu", "batch_tokens"),
    OPT_ALIAS("gradient_accumulation_steps", "batch_tokens"),
    OPT_INT(struct learner_options, pack_window, FIXED, "0", 0, SELECT_WINDOW_MAX,
            "samples among which the longest that fits into a batch is taken (2603.04135, 4.3, "
            "RECONSTRUCTED); 0: they share batches as they come. Sums of a step follow its "
            "batches, so it may change last bits"),
    OPT_BOOL(struct learner_options, shuffle, FIXED, "true",
             "draw the order of groups from the seed in each pass"),
    OPT_GROUP("checkpoints and logs"),
    OPT_INT(struct learner_options, checkpoint_steps, LIVE, "20", 0, 1e9,
            "steps between checkpoints; 0: by time alone"),
    OPT_ALIAS("save_steps", "checkpoint_steps"),
    OPT_ALIAS("save_freq", "checkpoint_steps"),
    OPT_TIME(struct learner_options, checkpoint_every, LIVE, "60s", 0.1, 86400,
             "training time a kill may cost at most"),
    OPT_INT(struct learner_options, keep, LIVE, "2", 1, LEARNER_KEEP_MAX,
            "checkpoints that stay beside the final one"),
    OPT_ALIAS("save_total_limit", "keep"),
    OPT_PATH(struct learner_options, resume_from, FIXED, "",
             "step-N folder of a learner on the same input that training goes on from: weights,"
             " moments and place in the order"),
    OPT_ALIAS("resume_from_checkpoint", "resume_from"),
    OPT_BOOL(struct learner_options, tensorboard, LIVE, "true",
             "write an event file for TensorBoard beside metrics.jsonl (from the next start on)"),
    OPT_ALIAS("report_to", "tensorboard"),
    OPT_GROUP("evaluation"),
    OPT_PATH(
        struct learner_options, eval_rollouts, FIXED, "",
        "held-out rollouts, JSON lines with prompt, response, reward (ends and labels as a sink"
        " writes them): margin, KL to the initial model, entropy, likelihood of gems"),
    OPT_PATH(struct learner_options, eval_prompts, FIXED, "",
             "prompts with answers, JSON lines: pass rate of answers drawn from the policy"),
    OPT_INT(struct learner_options, eval_every, FIXED, "0", 0, 1e9,
            "steps between evaluations; 0: before the first step and at the end alone"),
    OPT_ALIAS("eval_steps", "eval_every"),
    OPT_ALIAS("test_freq", "eval_every"),
    OPT_INT(struct learner_options, eval_samples, FIXED, "1", 1, SAMPLER_SAMPLES_MAX,
            "answers drawn of each prompt"),
    OPT_FLOAT(struct learner_options, eval_temperature, FIXED, "1", 0, SAMPLER_TEMPERATURE_MAX,
              "of the draws; 0: the most probable token"),
    OPT_INT(struct learner_options, eval_max_tokens, FIXED, "512", 1, SAMPLER_TOKENS_MAX,
            "tokens of a drawn answer"),
    OPT_CHOICE(struct learner_options, eval_verify, FIXED, "numeric", verify_names,
               "when an answer is right; the reader's option verify says how"),
    OPT_GROUP("streams"),
    OPT_BOOL(struct learner_options, follow, FIXED, "false",
             "train in windows before the input ends"),
    OPT_INT(struct learner_options, window, FIXED, "0", 0, 1e9,
            "with follow: samples of a window, in whole groups"),
    OPT_INT(struct learner_options, passes, FIXED, "0", 0, 1e6,
            "with follow: passes over each window; 0: one"),
    OPT_INT(struct learner_options, max_windows, LIVE, "2", 1, 1e6,
            "with follow: untrained windows held before input waits"),
    OPT_END};

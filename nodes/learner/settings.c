/* settings: see settings.h. */
#include "nodes/learner/settings.h"

#include <math.h>
#include <string.h>

#include "nodes/learner/learner.h"

/* The order of the enums of kernels/objective_kind.h after "auto". */
const char *const settings_aggregation_names[] = {"auto",       "sequence_mean", "sequence_sum",
                                                  "token_mean", "constant",      NULL};
const char *const settings_advantages_names[] = {"auto",          "reward", "mean",    "mean_std",
                                                 "leave_one_out", "gdepo",  "process", NULL};
const char *const settings_ratio_names[] = {"auto",      "token", "sequence",
                                            "geometric", "step",  NULL};
const char *const settings_kl_names[] = {"none", "k1", "k2", "k3", NULL};
const char *const settings_kl_in_names[] = {"loss", "reward", NULL};
const char *const settings_behaviour_names[] = {"initial", "recorded", NULL};
const char *const settings_baseline_names[] = {"ctx", "acc_pos", "acc_ctx", NULL};
const char *const settings_mask_names[] = {"none", "s2r", NULL};
const char *const settings_noise_names[] = {"none", "soft", "hard", NULL}; /* enum noise_mode */

/* The order of objective_variants. */
const char *const settings_variant_names[] = {"auto",         "weighted", "plain", "listnet",
                                              "lambdarank",   "paper",    "code",  "mean",
                                              "log_mean_exp", NULL};

const struct objective *
settings_objective(const struct learner_options *o, struct error *e)
{
    const struct objective *objective = objective_at(o->objective);

    if (o->objective_file[0] && objective_load(o->objective_file, &objective, e) < 0)
        return NULL;
    return objective;
}

bool
settings_process(const struct learner_options *o)
{
    return o->advantages == OBJECTIVE_given + 1;
}

double
settings_beta(const struct learner_options *o, const struct objective *objective)
{
    if (!isnan(o->beta))
        return o->beta;
    return objective->needs & OBJECTIVE_needs_labels ? 0.5 : 1;
}

int
settings_read(const struct learner_options *o, const struct objective *objective,
              struct objective_settings *s, struct error *e)
{
    *s = objective_settings_none();
    s->aggregation = (enum objective_aggregation)(o->aggregation - 1);
    s->advantages = (enum objective_advantages)(o->advantages - 1);
    s->ratio = (enum objective_ratio)(o->ratio - 1);
    s->variant = objective_variants[o->variant].number;
    s->tau = o->tau;
    s->clip_low = o->clip_low;
    s->clip_high = o->clip_high;
    s->clip_dual = o->clip_dual;
    s->soften_positive = o->soften_positive;
    s->soften_negative = o->soften_negative;
    s->lambda = o->lambda;
    s->kl = (enum objective_kl)o->kl;
    s->kl_weight = o->kl_weight;
    s->kl_in_reward = o->kl_in;
    s->entropy_weight = o->entropy_weight;
    s->constant = (double)(o->constant_tokens ? o->constant_tokens : o->max_tokens);
    if (o->token_budget > 0) {
        s->aggregation = OBJECTIVE_constant;
        s->budget = (double)o->token_budget;
    }
    return objective_settings_fill(objective, s, e);
}

int
settings_names(const struct learner_options *o, const struct objective *objective,
               struct tokenizer *t, struct sample_names *names, struct error *e)
{
    struct sample_names room = {0};
    int rc = 0;

    if (objective->needs & OBJECTIVE_needs_named)
        rc = sample_names_find(
            t, strcmp(objective->name, "ranknet") == 0 ? SAMPLE_names_rank : SAMPLE_names_score,
            o->score_digits, &room, e);
    if (names)
        *names = room;
    return rc < 0 ? error_wrap(e, "objective %s", objective->name) : 0;
}

struct select_rules
settings_select(const struct learner_options *o)
{
    return (struct select_rules){.overlong_length = o->overlong_length,
                                 .overlong_buffer = o->overlong_buffer,
                                 .overlong_factor = o->overlong_factor,
                                 .rlr_ratio = o->rlr_ratio,
                                 .rlr_base = o->rlr_base,
                                 .rlr_low = o->rlr_low,
                                 .rlr_high = o->rlr_high,
                                 .repetition_penalty = o->repetition_penalty,
                                 .repetition_ngram = o->repetition_ngram,
                                 .stm_threshold = o->stm_threshold,
                                 .stm_positive_only = o->stm_positive_only,
                                 .mask_truncated = o->mask_truncated,
                                 .prune_prompts = o->prune_prompts,
                                 .prune_completions = o->prune_completions,
                                 .token_budget = o->token_budget};
}

struct baseline_rules
settings_baseline(const struct learner_options *o)
{
    return (struct baseline_rules){.kind = (enum baseline_kind)o->baseline,
                                   .bins = o->baseline_bins,
                                   .least = o->baseline_min,
                                   .once = o->step_once};
}

/* ---- check ---- */

static int
check_numbers(struct check *c, const struct learner_options *o, const struct objective *objective,
              struct error *e)
{
    const struct objective_settings *own = &objective->standard;
    const struct {
        const char *name;
        double given, own;
    } rows[] = {
        {"tau", o->tau, own->tau},
        {"clip_low", o->clip_low, own->clip_low},
        {"clip_high", o->clip_high, own->clip_high},
        {"clip_dual", o->clip_dual, own->clip_dual},
        {"soften_positive", o->soften_positive, own->soften_positive},
        {"soften_negative", o->soften_negative, own->soften_negative},
        {"lambda", o->lambda, own->lambda},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!isnan(rows[i].given) && isnan(rows[i].own))
            return check_fail(c, rows[i].name, e, "%s has no %s", objective->name, rows[i].name);
    if (!isnan(o->kl_weight) && o->kl == OBJECTIVE_no_kl)
        return check_fail(c, "kl_weight", e, "it weighs a KL: say which, kl: k1, k2 or k3");
    if (o->kl_in && o->kl == OBJECTIVE_no_kl)
        return check_fail(c, "kl_in", e, "there is no KL: say which, kl: k1, k2 or k3");
    if (o->kl_in && !o->behaviour)
        return check_fail(c, "kl_in", e,
                          "it is the KL of the policy that sampled, here the initial model itself: "
                          "always 0; say behaviour: recorded, or kl_in: loss");
    if (o->constant_tokens && o->aggregation != OBJECTIVE_constant + 1 &&
        (o->aggregation || own->aggregation != OBJECTIVE_constant))
        return check_fail(c, "constant_tokens", e, "it belongs to aggregation: constant");
    return 0;
}

static int
check_choices(struct check *c, const struct learner_options *o, const struct objective *objective,
              struct error *e)
{
    const struct objective_settings *own = &objective->standard;
    int aggregation = o->aggregation - 1;

    if (aggregation >= 0 && aggregation != (int)own->aggregation &&
        !(objective->aggregations >> aggregation & 1))
        return check_fail(c, "aggregation", e, "%s is not aggregated as %s", objective->name,
                          settings_aggregation_names[o->aggregation]);
    if (o->advantages && (int)own->advantages < 0)
        return check_fail(c, "advantages", e, "%s has no advantages", objective->name);
    if (o->ratio && (int)own->ratio < 0)
        return check_fail(c, "ratio", e, "%s has no choice of ratio", objective->name);
    if (o->ratio == OBJECTIVE_ratio_step + 1 && !(objective->needs & OBJECTIVE_takes_steps))
        return check_fail(c, "ratio", e, "%s has no ratio of steps", objective->name);
    if (o->ratio == OBJECTIVE_ratio_token + 1 && (objective->needs & OBJECTIVE_needs_pairs))
        return check_fail(c, "ratio", e, "%s compares whole answers", objective->name);
    if (o->variant && strcmp(objective_variants[o->variant].objective, objective->name) != 0)
        return check_fail(c, "variant", e, "%s is a variant of %s, not of %s",
                          objective_variants[o->variant].name, objective_variants[o->variant].objective,
                          objective->name);
    if (strcmp(objective_variants[o->variant].name, "log_mean_exp") == 0 && (o->advantages || o->kl_in))
        return check_fail(c, o->advantages ? "advantages" : "kl_in", e,
                          "log_mean_exp makes opmd's advantages from the rewards as they are");
    return 0;
}

static int
check_weights(struct check *c, const struct learner_options *o, const struct objective *objective,
              bool labelled, struct error *e)
{
    const struct {
        const char *name;
        bool given;
    } rows[] = {
        {"beta", !isnan(o->beta)},
        {"wrong_weight", o->wrong_weight != 1},
        {"correction_weight", o->correction_weight != 1},
    };
    bool takes = (objective->needs & OBJECTIVE_takes_weights) &&
                 !(objective->needs & OBJECTIVE_needs_classes);
    /* Who comes from elsewhere means another beta. */
    const char *other = isnan(o->beta)                       ? ""
                        : !isnan(objective->standard.tau) ? "; is tau meant?"
                                                             : "; is kl_weight meant?";

    if (o->label_noise && !(objective->needs & OBJECTIVE_takes_weights))
        return check_fail(c, "label_noise", e, "%s weighs no tokens", objective->name);
    if (o->label_noise && !labelled)
        return check_fail(c, "label_noise", e,
                          "only labelled answers have labels to doubt: link labelled");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].given && !takes)
            return check_fail(c, rows[i].name, e, "%s weighs no tokens%s", objective->name,
                              i == 0 ? other : "");
        if ((rows[i].given || o->label_noise) && strcmp(objective->name, "bcpg") == 0)
            return check_fail(c, rows[i].name, e, "bcpg takes every token alike: say bcpg_nsa");
        if (rows[i].given && !labelled)
            return check_fail(c, rows[i].name, e,
                              "it weighs tokens by labels of steps: link labelled, e.g. to a "
                              "consensus%s", i == 0 ? other : "");
    }
    if (o->ratio == OBJECTIVE_ratio_step + 1 && !labelled)
        return check_fail(c, "ratio", e, "only labelled answers have steps: link labelled");
    if (settings_process(o) && !labelled)
        return check_fail(c, "advantages", e, "process learns from labels of steps: link labelled, e.g. to a consensus");
    if (settings_process(o) && o->kl && o->kl_in)
        return check_fail(c, "kl_in", e, "process has no reward of an answer to lower");
    return 0;
}

static int
check_stages(struct check *c, const struct learner_options *o, const struct objective *objective,
             struct error *e)
{
    bool classes = objective->needs & OBJECTIVE_needs_classes;
    bool couples = objective->scope >= OBJECTIVE_group;

    if (o->token_budget && o->aggregation && o->aggregation != OBJECTIVE_constant + 1)
        return check_fail(c, "aggregation", e, "a token_budget divides by itself: constant");
    if (o->token_budget && !(objective->aggregations >> OBJECTIVE_constant & 1))
        return check_fail(c, "token_budget", e, "%s cannot divide by a constant", objective->name);
    if (o->prune_completions > 0 && couples)
        return check_fail(
            c, "prune_completions", e,
            "%s compares the answers of a group; prune_prompts leaves whole groups out",
            objective->name);
    if (classes && (o->stm_threshold > 0 || o->mask || o->token_budget))
        return check_fail(c,
                          o->mask           ? "mask"
                          : o->token_budget ? "token_budget"
                                            : "stm_threshold",
                          e, "%s learns classes of steps, not tokens", objective->name);
    if (o->overlong_length && o->overlong_length < o->overlong_buffer)
        return check_fail(c, "overlong_buffer", e, "%lld is above overlong_length, %lld",
                          (long long)o->overlong_buffer, (long long)o->overlong_length);
    return 0;
}

/* A number that says more about a stage that is off. */
static int
check_companions(struct check *c, const struct learner_options *o,
                 const struct objective *objective, struct error *e)
{
    const bool rlr = o->rlr_base > 0, named = objective->needs & OBJECTIVE_needs_named;
    const struct {
        const char *name, *of;
        bool given, on;
    } rows[] = {
        {"baseline", "advantages: process", o->baseline != BASELINE_acc_pos, settings_process(o)},
        {"baseline_bins", "advantages: process", o->baseline_bins != 10, settings_process(o)},
        {"baseline_min", "advantages: process", o->baseline_min != 10, settings_process(o)},
        {"step_once", "advantages: process", !o->step_once, settings_process(o)},
        {"score_digits", "objective: tract", strcmp(o->score_digits, "12345") != 0, named},
        {"stm_positive_only", "stm_threshold", o->stm_positive_only, o->stm_threshold > 0},
        {"overlong_factor", "overlong_length", o->overlong_factor != 1, o->overlong_length > 0},
        {"rlr_ratio", "rlr_base", o->rlr_ratio != 0.5, rlr},
        {"rlr_low", "rlr_base", o->rlr_low != -0.5, rlr},
        {"rlr_high", "rlr_base", o->rlr_high != 0.5, rlr},
        {"repetition_ngram", "repetition_penalty", o->repetition_ngram != 40,
         o->repetition_penalty != 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].given && !rows[i].on)
            return check_fail(c, rows[i].name, e, "it belongs to %s, which is not there",
                              rows[i].of);
    return 0;
}

int
settings_check(struct check *c, const struct learner_options *o, const struct objective *objective,
               bool labelled, struct error *e)
{
    struct objective_settings s;
    struct error why = {0};
    int rc = check_numbers(c, o, objective, e);

    if (rc == 0)
        rc = check_choices(c, o, objective, e);
    if (rc == 0)
        rc = check_weights(c, o, objective, labelled, e);
    if (rc == 0)
        rc = check_stages(c, o, objective, e);
    if (rc == 0)
        rc = check_companions(c, o, objective, e);
    if (rc < 0)
        return rc;
    if (settings_read(o, objective, &s, &why) < 0)
        return check_fail(c, "objective", e, "%s", why.text);
    if (o->behaviour && !(objective_needs(objective, &s) & OBJECTIVE_needs_behaviour))
        return check_fail(c, "behaviour", e, "%s does not compare with the policy that sampled",
                          objective->name);
    return 0;
}

/* The table of objectives, and what is chosen for one. The functions are in objectives/, what they
 * have in common in objective_run.c. */
#include "kernels/objective.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "kernels/objective_body.h"

#define NONE NAN
#define OWN(aggregation_, advantages_, ratio_, tau_, low_, high_, dual_, positive_, negative_, \
            lambda_, kl_weight_, variant_) \
    {.aggregation = OBJECTIVE_##aggregation_, .advantages = OBJECTIVE_##advantages_, \
     .ratio = OBJECTIVE_ratio_##ratio_, .tau = tau_, .clip_low = low_, .clip_high = high_, \
     .clip_dual = dual_, .soften_positive = positive_, .soften_negative = negative_, \
     .lambda = lambda_, .kl = OBJECTIVE_no_kl, .kl_weight = kl_weight_, .constant = NAN, \
     .variant = variant_}
#define OBJECTIVE_none  OBJECTIVE_advantages_none
#define NEEDS(what)     OBJECTIVE_needs_##what
#define TAKES(what)     OBJECTIVE_takes_##what
#define EVERY           15      /* aggregations */

/* run() of the public struct does not know its row: one for each. */
#define OBJECTIVE(name_, ...) \
    static void run_##name_(const struct objective_batch *b, const struct objective_settings *s, \
                            const struct objective_step *step, struct objective_output *out, \
                            struct objective_report *report);
#include "kernels/objective.def"
#undef OBJECTIVE

static const struct objective rows[] = {
#define OBJECTIVE(name_, term_, gather_, pair_, named_, scope_, needs_, aggregations_, own_, \
                  evidence_, summary_, source_) \
    {.abi = OBJECTIVE_ABI, .name = #name_, .summary = summary_, .source = source_, \
     .evidence = evidence_, .needs = (needs_) | OBJECTIVE_adds_terms, .scope = OBJECTIVE_##scope_, \
     .standard = own_, .aggregations = aggregations_, .run = run_##name_},
#include "kernels/objective.def"
#undef OBJECTIVE
};

#define OBJECTIVE(name_, ...) \
    static void run_##name_(const struct objective_batch *b, const struct objective_settings *s, \
                            const struct objective_step *step, struct objective_output *out, \
                            struct objective_report *report) \
    { \
        objective_run_row(&rows[OBJECTIVE_ROW_##name_], OBJECTIVE_ROW_##name_, b, s, step, out, \
                          report); \
    }
#include "kernels/objective.def"
#undef OBJECTIVE

const struct objective *
objective_find(const char *name)
{
    for (int i = 0; i < OBJECTIVE_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

const struct objective *
objective_at(int index)
{
    return index >= 0 && index < OBJECTIVE_ROWS ? &rows[index] : NULL;
}

/* ---- settings ---- */

struct objective_settings
objective_settings_none(void)
{
    return (struct objective_settings){
        .aggregation = OBJECTIVE_aggregation_none, .advantages = OBJECTIVE_advantages_none,
        .ratio = OBJECTIVE_ratio_none, .tau = NAN, .clip_low = NAN, .clip_high = NAN,
        .clip_dual = NAN, .soften_positive = NAN, .soften_negative = NAN, .lambda = NAN,
        .kl_weight = NAN, .entropy_weight = NAN, .constant = NAN, .budget = NAN, .variant = -1,
    };
}

/* A number the objective has no use for may not be given. */
static int
fill_number(const struct objective *o, const char *name, double own, double *given, struct error *e)
{
    if (isnan(*given))
        *given = isnan(own) ? 0.0 : own;
    else if (isnan(own))
        return error_set(e, ERROR_model, "objective %s has no %s", o->name, name);
    return 0;
}

static int
fill_numbers(const struct objective *o, struct objective_settings *s, struct error *e)
{
    const struct objective_settings *own = &o->standard;
    const struct { const char *name; double own, *given; } numbers[] = {
        {"tau", own->tau, &s->tau},
        {"clip_low", own->clip_low, &s->clip_low},
        {"clip_high", own->clip_high, &s->clip_high},
        {"clip_dual", own->clip_dual, &s->clip_dual},
        {"soften_positive", own->soften_positive, &s->soften_positive},
        {"soften_negative", own->soften_negative, &s->soften_negative},
        {"lambda", own->lambda, &s->lambda},
    };
    double given_lambda = s->lambda;
    int rc = 0;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && rc == 0; i++)
        rc = fill_number(o, numbers[i].name, numbers[i].own, numbers[i].given, e);
    /* FIRST's trainers weigh each ranking loss in its own way. */
    if (isnan(given_lambda) && !isnan(own->lambda) && s->variant > 0)
        s->lambda = s->variant == 2 ? 0.1 : 1.0;
    s->kl_weight = isnan(s->kl_weight) ? own->kl_weight : s->kl_weight;
    s->entropy_weight = isnan(s->entropy_weight) ? 0.0 : s->entropy_weight;
    s->budget = isnan(s->budget) ? 0.0 : s->budget;
    return rc;
}

static int
fill_choices(const struct objective *o, struct objective_settings *s, struct error *e)
{
    const struct objective_settings *own = &o->standard;

    if ((int)s->aggregation < 0)
        s->aggregation = own->aggregation;
    else if (s->aggregation != own->aggregation && !(o->aggregations >> s->aggregation & 1))
        return error_set(e, ERROR_model, "objective %s is not aggregated in this way", o->name);
    if ((int)s->advantages < 0)
        s->advantages = own->advantages;
    else if ((int)own->advantages < 0)
        return error_set(e, ERROR_model, "objective %s has no advantages", o->name);
    if ((int)s->ratio < 0)
        s->ratio = own->ratio;
    else if ((int)own->ratio < 0)
        return error_set(e, ERROR_model, "objective %s has no choice of ratio", o->name);
    if (s->ratio == OBJECTIVE_ratio_step && !(o->needs & OBJECTIVE_takes_steps))
        return error_set(e, ERROR_model, "objective %s has no ratio of steps", o->name);
    if (s->ratio == OBJECTIVE_ratio_token && (o->needs & OBJECTIVE_needs_pairs))
        return error_set(e, ERROR_model, "objective %s compares whole responses", o->name);
    if (s->variant < 0)
        s->variant = own->variant;
    else if (own->variant < 0)
        return error_set(e, ERROR_model, "objective %s has no variants", o->name);
    if (s->budget > 0 && s->aggregation != OBJECTIVE_constant)
        return error_set(e, ERROR_model, "a budget of tokens belongs to aggregation constant");
    return 0;
}

/* Numbers a formula cannot have. */
static int
check_numbers(const struct objective *o, const struct objective_settings *s, struct error *e)
{
    const struct { const char *name; double value, least, most; } numbers[] = {
        /* Only a policy gradient may go without its pull. */
        {"tau", s->tau, isnan(o->standard.tau) || (int)s->advantages >= 0 ? 0.0 : 1e-12, 1e12},
        {"clip_low", s->clip_low, 0.0, 1e3},
        {"clip_high", s->clip_high, 0.0, 1e12},
        {"clip_dual", s->clip_dual, 0.0, 1e12},
        {"soften_positive", s->soften_positive, isnan(o->standard.soften_positive) ? 0 : 1e-6, 1e6},
        {"soften_negative", s->soften_negative, isnan(o->standard.soften_negative) ? 0 : 1e-6, 1e6},
        {"lambda", s->lambda, 0.0, 1e12},
        {"kl_weight", s->kl_weight, 0.0, 1e12},
        {"entropy_weight", s->entropy_weight, -1e12, 1e12},
        {"budget", s->budget, 0.0, 1e18},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(numbers[i].value >= numbers[i].least && numbers[i].value <= numbers[i].most))
            return error_set(e, ERROR_model, "objective %s: %s %g is not in %g to %g", o->name,
                             numbers[i].name, numbers[i].value, numbers[i].least, numbers[i].most);
    return 0;
}

int
objective_settings_fill(const struct objective *o, struct objective_settings *s, struct error *e)
{
    int rc = fill_choices(o, s, e);

    if (rc == 0)
        rc = fill_numbers(o, s, e);
    if (rc == 0)
        rc = check_numbers(o, s, e);
    if (rc < 0)
        return rc;
    if ((o->needs & OBJECTIVE_needs_classes)
        && (s->kl != OBJECTIVE_no_kl || s->entropy_weight != 0.0))
        return error_set(e, ERROR_model, "objective %s trains classes: no KL, no entropy bonus",
                         o->name);
    if (s->kl != OBJECTIVE_no_kl && s->kl_in_reward && (int)s->advantages < 0)
        return error_set(e, ERROR_model, "objective %s has no reward to lower by a KL", o->name);
    if (s->aggregation == OBJECTIVE_constant && !(s->budget > 0) && !(s->constant > 0))
        return error_set(e, ERROR_model, "objective %s divides by a constant: say how many tokens",
                         o->name);
    return 0;
}

unsigned
objective_needs(const struct objective *o, const struct objective_settings *s)
{
    return objective_needs_of(o->needs, s);
}

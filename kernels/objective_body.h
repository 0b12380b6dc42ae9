/* objective_body: the arithmetic of objective_run.c, row by row and sample by sample, for every
 * device: what a row adds to its sample's sums, a group's and the step's, a row's coefficients, and
 * what it adds to the numbers to log. No memory, no loops over rows: each side walks them in its
 * own way, adding in row order, so that both have the same bits. */
#ifndef KERNELS_OBJECTIVE_BODY_H
#define KERNELS_OBJECTIVE_BODY_H

#include <math.h>
#include <stddef.h>

#include "kernels/objective_term.h"
#include "kernels/objectives/clip.h"
#include "kernels/objectives/gradient.h"
#include "kernels/objectives/kl.h"
#include "kernels/objectives/likelihood.h"
#include "kernels/objectives/named.h"
#include "kernels/objectives/preference.h"
#include "kernels/objectives/pull.h"

enum objective_row_index {
#define OBJECTIVE(name_, ...) OBJECTIVE_ROW_##name_,
#include "kernels/objective.def"
#undef OBJECTIVE
    OBJECTIVE_ROWS,
};

/* ---- the table's functions: a device has no pointers to them ---- */

/* Objectives of a scope beyond `most` are left out: a caller that has none need not hold them. */
OBJECTIVE_FUNCTION struct objective_term
objective_term_of(int index, enum objective_scope most, const struct objective_token *x,
                  const struct objective_sums *q, const struct objective_settings *s)
{
    struct objective_term none = {0};

    switch (index) {
#define OBJECTIVE(name_, term_, gather_, pair_, named_, scope_, ...) \
    case OBJECTIVE_ROW_##name_: \
        return OBJECTIVE_##scope_ <= most ? term_(x, q, s) : none;
#include "kernels/objective.def"
#undef OBJECTIVE
    default:
        return none;
    }
}

OBJECTIVE_FUNCTION double
objective_gather_of(int index, const struct objective_token *x, const struct objective_settings *s)
{
    objective_gather_function *gather = NULL;

    switch (index) {
#define OBJECTIVE(name_, term_, gather_, ...) \
    case OBJECTIVE_ROW_##name_: \
        gather = gather_; \
        return gather != NULL ? gather(x, s) : 0.0;
#include "kernels/objective.def"
#undef OBJECTIVE
    default:
        return 0.0;
    }
}

OBJECTIVE_FUNCTION double
objective_pair_of(int index, double difference, const struct objective_settings *s, double *slope)
{
    objective_pair_function *pair = NULL;

    *slope = 0.0;
    switch (index) {
#define OBJECTIVE(name_, term_, gather_, pair_, ...) \
    case OBJECTIVE_ROW_##name_: \
        pair = pair_; \
        return pair != NULL ? pair(difference, s, slope) : 0.0;
#include "kernels/objective.def"
#undef OBJECTIVE
    default:
        return 0.0;
    }
}

OBJECTIVE_FUNCTION double
objective_named_of(int index, const struct objective_names *n, const struct objective_settings *s,
                   double *slope, double *lse)
{
    objective_named_function *named = NULL;

    *lse = 0.0;
    switch (index) {
#define OBJECTIVE(name_, term_, gather_, pair_, named_, ...) \
    case OBJECTIVE_ROW_##name_: \
        named = named_; \
        return named != NULL ? named(n, s, slope, lse) : 0.0;
#include "kernels/objective.def"
#undef OBJECTIVE
    default:
        return 0.0;
    }
}

OBJECTIVE_FUNCTION int
objective_has_pairs(int index)
{
    objective_pair_function *pair = NULL;

    switch (index) {
#define OBJECTIVE(name_, term_, gather_, pair_, ...) \
    case OBJECTIVE_ROW_##name_: \
        pair = pair_; \
        break;
#include "kernels/objective.def"
#undef OBJECTIVE
    default:
        break;
    }
    return pair != NULL;
}

/* ---- a row ---- */

/* Has row, one of the sample's, a part in the loss? needs: the objective's own. */
OBJECTIVE_FUNCTION int
objective_has_part(unsigned needs, const struct objective_batch *b,
                   const struct objective_sample *sample, int64_t row)
{
    if (!objective_counts(b, row))
        return 0;
    if ((needs & OBJECTIVE_named_apart) && row == sample->named_row)
        return 0;
    return !(needs & OBJECTIVE_likelihood) || objective_weight(b, row) != 0.0;
}

OBJECTIVE_FUNCTION double
objective_value(const float *values, int64_t row)
{
    return values == NULL ? 0.0 : (double)values[row];
}

OBJECTIVE_FUNCTION struct objective_token
objective_token_at(const struct objective_batch *b, const struct objective_sample *s, int64_t row)
{
    struct objective_token x = {0};

    x.logp = (double)b->logp[row];
    x.reference = objective_value(b->reference, row);
    x.behaviour = objective_value(b->behaviour, row);
    x.entropy = objective_value(b->entropy, row);
    x.weight = objective_weight(b, row);
    x.advantage = objective_advantage(b, s, row);
    return x;
}

/* ---- sums ---- */

/* What a row with a part adds to its sample's sums, beside 1 to its length. */
struct objective_parts {
    double advantage, reference, behaviour, own;
};

OBJECTIVE_FUNCTION struct objective_parts
objective_parts_of(int index, const struct objective_batch *b, const struct objective_settings *s,
                   const struct objective_token *x)
{
    struct objective_parts p = {0};

    p.advantage = x->advantage;
    if (b->reference != NULL)
        p.reference = x->logp - x->reference;
    if (b->behaviour != NULL)
        p.behaviour = x->logp - x->behaviour;
    p.own = objective_gather_of(index, x, s);
    return p;
}

/* Which entropies the 0.8 quantile of `count` > 0 is between: the below-th and, where there is one,
 * the next, from the smallest. */
OBJECTIVE_FUNCTION int64_t
objective_surprise_below(int64_t count)
{
    return (int64_t)(0.8 * (double)(count - 1));
}

OBJECTIVE_FUNCTION double
objective_surprise_of(int64_t count, double below, double next)
{
    double  at = 0.8 * (double)(count - 1);
    int64_t place = objective_surprise_below(count);

    return place + 1 < count ? below + (at - (double)place) * (next - below) : below;
}

/* Of a group: its members' sums, in their order. */
struct objective_group_sums {
    double members, weights, reference, behaviour, reward;
    double largest, soft;       /* reward; sum of exp((r - largest) / tau) */
};

/* What a sample with a token adds to the first five. */
OBJECTIVE_FUNCTION struct objective_group_sums
objective_member_of(double weight, const struct objective_sums *q)
{
    struct objective_group_sums g = {0};

    g.members = 1.0;
    g.weights = weight;
    g.reference = weight * q->reference;
    g.behaviour = weight * q->behaviour;
    g.reward = weight * q->reward;
    return g;
}

OBJECTIVE_FUNCTION double
objective_soft_of(const struct objective_settings *s, double largest,
                  const struct objective_sums *q)
{
    return q->length > 0 ? objective_exp((q->reward - largest) / s->tau) : 0.0;
}

OBJECTIVE_FUNCTION void
objective_group_give(const struct objective_settings *s, const struct objective_group_sums *g,
                     struct objective_sums *q)
{
    q->members = g->members;
    q->mean_reference = g->reference / g->weights;
    q->mean_behaviour = g->behaviour / g->weights;
    q->mean_reward = g->reward / g->weights;
    q->soft_reward = g->largest;
    if (s->tau > 0)
        q->soft_reward += s->tau * objective_log(g->soft / g->members);
}

OBJECTIVE_FUNCTION double
objective_pair_ratio(const struct objective_settings *s, const struct objective_sums *q)
{
    return s->ratio == OBJECTIVE_ratio_geometric ? q->reference / q->length : q->reference;
}

/* Are these two of a group a pair, the first the correct one? */
OBJECTIVE_FUNCTION int
objective_is_pair(const struct objective_sums *i, const struct objective_sums *j)
{
    return i->correct && !j->correct && i->length != 0 && j->length != 0;
}

/* What a pair adds to pair_loss and, negative for the wrong one, pair_slope; correct and wrong
 * count those of the group that have a token, v is the samples' weight. */
OBJECTIVE_FUNCTION double
objective_pair_parts(int index, const struct objective_settings *s, double correct, double wrong,
                     double v_correct, double v_wrong, const struct objective_sums *i,
                     const struct objective_sums *j, double *slope)
{
    double share = 0.5 * (v_correct + v_wrong) * i->group_size / (correct * wrong);
    double loss = objective_pair_of(index, objective_pair_ratio(s, i) - objective_pair_ratio(s, j),
                                    s, slope);

    *slope = share * *slope;
    return share * loss;
}

/* kto's z0, from the sum of S over the samples with a token and their count > 0. */
OBJECTIVE_FUNCTION double
objective_anchor_of(double sum, double count)
{
    return fmax(sum / count, 0.0);
}

/* ---- terms ---- */

/* What a sample's rows are multiplied by: the objective's own term, and KL and entropy. */
struct objective_shares {
    double share, extra;
};

OBJECTIVE_FUNCTION struct objective_shares
objective_shares_of(int index, const struct objective_settings *s,
                    const struct objective_step *step, const struct objective_sample *sample,
                    double length)
{
    struct objective_shares both = {0};
    struct objective_sample plain = {0};        /* a pair has its weights within */

    both.extra = both.share = objective_share(s, step, sample, length);
    if (!objective_has_pairs(index))
        return both;
    plain.group_size = sample->group_size;
    plain.weight = 1.0;
    both.share = objective_share(s, step, &plain, length);
    return both;
}

/* The loss's KL estimate and its slope to log p, unweighted, and the entropy. */
struct objective_extra {
    double kl, kl_slope, entropy;
};

OBJECTIVE_FUNCTION struct objective_extra
objective_extra_of(const struct objective_settings *s, const struct objective_token *x)
{
    struct objective_extra more = {0};

    if (s->kl != OBJECTIVE_no_kl && !s->kl_in_reward)
        more.kl = objective_kl_term(s->kl, x->reference - x->logp, &more.kl_slope);
    if (s->entropy_weight != 0.0)
        more.entropy = x->entropy;
    return more;
}

/* A row's coefficients, and what it adds to its sample's losses. e is of the sample's first row
 * with a part alone; 0 where the objective has none. */
struct objective_solved {
    float  c, e, h;
    int    clipped;
    double loss, pull, kl, entropy;
};

OBJECTIVE_FUNCTION struct objective_solved
objective_solve_row(int index, enum objective_scope most, int injected,
                    const struct objective_settings *s, struct objective_shares shares,
                    const struct objective_sums *q, const struct objective_token *x)
{
    struct objective_term now = injected ? objective_term_injected(x, q, s)
                                         : objective_term_of(index, most, x, q, s);
    struct objective_extra more = objective_extra_of(s, x);
    struct objective_solved r = {0};

    r.c = (float)(shares.share * now.slope + shares.extra * s->kl_weight * more.kl_slope);
    if (now.first != 0.0)
        r.e = (float)(shares.share * now.first);
    if (s->entropy_weight != 0.0)
        r.h = (float)(-shares.extra * s->entropy_weight);
    r.clipped = now.clipped;
    r.loss = now.loss;
    r.pull = now.pull;
    r.kl = more.kl;
    r.entropy = more.entropy;
    return r;
}

/* Has the sample its own loss, as an injected one? needs: the objective's own. */
OBJECTIVE_FUNCTION int
objective_injects(unsigned needs, const struct objective_sample *sample)
{
    return sample->injected && (needs & OBJECTIVE_shapes_injected);
}

/* Has the sample a part? */
OBJECTIVE_FUNCTION int
objective_runs(unsigned needs, const struct objective_sample *sample)
{
    return !(needs & OBJECTIVE_correct_only) || sample->correct;
}

/* What the loss on the named logits of a sample is multiplied by. */
OBJECTIVE_FUNCTION double
objective_named_share(const struct objective_settings *s, const struct objective_step *step,
                      const struct objective_sample *sample)
{
    return step->samples > 0 ? sample->weight * s->lambda / step->samples : 0.0;
}

/* ---- the numbers to log ---- */

/* What a row with a part adds: to the report, and `ratio` to its sample's. */
struct objective_counted {
    double logp, entropy, kl, ratio, importance;
};

OBJECTIVE_FUNCTION struct objective_counted
objective_count_row(const struct objective_batch *b, int64_t row)
{
    struct objective_counted n = {0};
    double slope;

    n.logp = (double)b->logp[row];
    n.entropy = objective_value(b->entropy, row);
    if (b->reference != NULL) {
        n.ratio = n.logp - (double)b->reference[row];
        n.kl = objective_kl_term(OBJECTIVE_k3, (double)b->reference[row] - n.logp, &slope);
    }
    if (b->behaviour != NULL)
        n.importance = objective_exp(fmin(n.logp - (double)b->behaviour[row], 700.0));
    return n;
}

/* The objective's needs under the settings; own: those of the table. */
OBJECTIVE_FUNCTION unsigned
objective_needs_of(unsigned own, const struct objective_settings *s)
{
    unsigned needs = own;

    if (s->kl != OBJECTIVE_no_kl)
        needs |= OBJECTIVE_needs_reference;
    if (s->kl != OBJECTIVE_no_kl && s->kl_in_reward)
        needs |= OBJECTIVE_needs_behaviour | OBJECTIVE_needs_group;
    if (s->entropy_weight != 0.0)
        needs |= OBJECTIVE_needs_entropy;
    if ((int)s->advantages > OBJECTIVE_reward && s->advantages != OBJECTIVE_given)
        needs |= OBJECTIVE_needs_group;
    return needs;
}

#endif

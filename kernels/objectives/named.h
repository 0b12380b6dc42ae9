/* Losses on a few named logits of one row: tract (digits of a score), ranknet (identifiers of what
 * is ranked). Both add lambda times their loss, a mean over samples, to a likelihood. */
#ifndef KERNELS_OBJECTIVES_NAMED_H
#define KERNELS_OBJECTIVES_NAMED_H

#include "kernels/objective_term.h"
#include "kernels/objectives/math.h"

#define OBJECTIVE_RANK_SMALL 1e-10

/* tract (arXiv 2503.04381; read in its released code): (yhat - y)^2, yhat = sum_k value_k p_k with
 * p the softmax over the whole vocabulary, not renormalised; dyhat/dz_v = p_v (k_v 1[v named] -
 * yhat). lambda 1. The likelihood leaves the score's token out, as that code does; the squared
 * error is a plain mean over samples (the code divides once more, which its authors mark). */
OBJECTIVE_FUNCTION double
objective_named_tract(const struct objective_names *n, const struct objective_settings *s,
                      double *slope, double *lse)
{
    double guess = 0.0, apart;

    (void)s;
    for (int64_t k = 0; k < n->count; k++)
        guess += n->values[k] * objective_exp(fmin((double)n->logits[k] - n->lse, 0.0));
    apart = guess - n->score;
    for (int64_t k = 0; k < n->count; k++)
        slope[k] = 2.0 * apart * n->values[k]
                   * objective_exp(fmin((double)n->logits[k] - n->lse, 0.0));
    *lse = -2.0 * apart * guess;
    return apart * apart;
}

/* What is ranked: the listed names, their scores s, and their targets y: the rank-th largest of
 * the model's own scores, taken from name `source`. */
struct objective_ranking {
    int    count;
    int    name[OBJECTIVE_NAMED_MAX];       /* which name item i is */
    int    order[OBJECTIVE_NAMED_MAX];      /* items by falling score; ties keep their order */
    int    place[OBJECTIVE_NAMED_MAX];      /* of item i in that order, from 0 */
    int    source[OBJECTIVE_NAMED_MAX];     /* the item whose score is the target of item i */
    int    rank[OBJECTIVE_NAMED_MAX];       /* from 1 */
    double score[OBJECTIVE_NAMED_MAX];
};

OBJECTIVE_FUNCTION void
objective_rank_items(const struct objective_names *n, struct objective_ranking *r)
{
    r->count = 0;
    for (int k = 0; k < (int)n->count; k++) {
        if (n->rank[k] < 1)
            continue;
        r->name[r->count] = k;
        r->rank[r->count] = n->rank[k];
        r->score[r->count] = (double)n->logits[k];
        r->count++;
    }
    for (int i = 0; i < r->count; i++) {
        int place = 0;

        for (int j = 0; j < r->count; j++)
            place += r->score[j] > r->score[i] || (r->score[j] == r->score[i] && j < i);
        r->place[i] = place;
        r->order[place] = i;
    }
    for (int i = 0; i < r->count; i++)
        r->source[i] = r->order[(r->rank[i] < r->count ? r->rank[i] : r->count) - 1];
}

OBJECTIVE_FUNCTION double
objective_rank_target(const struct objective_ranking *r, int item)
{
    return r->score[r->source[item]];
}

/* RankNet (FIRST, arXiv 2406.15657; both released trainers): the mean over ordered pairs, i better
 * than j, of w log(1 + exp(-(s_i - s_j))), w = 1 or 1 / (rank_i + rank_j); divided by the pairs. */
OBJECTIVE_FUNCTION double
objective_rank_pairs(const struct objective_ranking *r, int weighted, double *slope)
{
    double loss = 0.0, pairs = 0.0;

    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < r->count; j++)
            pairs += objective_rank_target(r, i) > objective_rank_target(r, j);
    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < r->count; j++) {
            double x = r->score[i] - r->score[j];
            double w = (weighted ? 1.0 / (r->rank[i] + r->rank[j]) : 1.0) / pairs;

            if (!(objective_rank_target(r, i) > objective_rank_target(r, j)))
                continue;
            loss += w * objective_log_sigmoid(x);
            slope[r->name[i]] -= w * objective_sigmoid(-x);
            slope[r->name[j]] += w * objective_sigmoid(-x);
        }
    return loss;
}

/* ListNet (same): -sum_i softmax(y)_i log(softmax(s)_i + 1e-10); y's slope is kept, as there. */
OBJECTIVE_FUNCTION double
objective_rank_list(const struct objective_ranking *r, double *slope)
{
    double most, sum = 0.0, loss = 0.0, kept = 0.0;
    double p[OBJECTIVE_NAMED_MAX];

    if (r->count == 0)
        return 0.0;
    most = r->score[r->order[0]];
    for (int i = 0; i < r->count; i++)
        sum += p[i] = objective_exp(r->score[i] - most);
    for (int i = 0; i < r->count; i++)
        p[i] /= sum;
    /* softmax(y): over the targets, which ties of ranks may repeat. */
    double own = 0.0, q[OBJECTIVE_NAMED_MAX];

    for (int i = 0; i < r->count; i++)
        own += q[i] = objective_exp(objective_rank_target(r, i) - most);
    for (int i = 0; i < r->count; i++) {
        q[i] /= own;
        loss -= q[i] * objective_log(p[i] + OBJECTIVE_RANK_SMALL);
        kept += q[i] * p[i] / (p[i] + OBJECTIVE_RANK_SMALL);
    }
    for (int i = 0; i < r->count; i++) {
        slope[r->name[i]] -= q[i] * p[i] / (p[i] + OBJECTIVE_RANK_SMALL) - p[i] * kept;
        slope[r->name[r->source[i]]] -= q[i] * (objective_log(p[i] + OBJECTIVE_RANK_SMALL) + loss);
    }
    return loss;
}

/* 1 / D_k = 1 / log2(1 + k) */
OBJECTIVE_FUNCTION double
objective_rank_discount(int k)
{
    return 1.0 / objective_log2(1.0 + k);
}

/* Gains (2^y - 1) / maxDCG of the items, all times 2^-largest so that none overflows; negative
 * targets gain nothing. most[i]: dmaxDCG/dy_i; grow[i]: d(2^y - 1)/dy_i. Returns maxDCG. */
OBJECTIVE_FUNCTION double
objective_rank_gains(const struct objective_ranking *r, double *gain, double *grow, double *most)
{
    double largest = 0.0, dcg = 0.0, least;

    for (int i = 0; i < r->count; i++)
        largest = fmax(largest, objective_rank_target(r, i));
    for (int i = 0; i < r->count; i++) {
        double y = objective_rank_target(r, i);
        int    place = 1;           /* among the targets, from the largest */

        for (int j = 0; j < r->count; j++) {
            double other = objective_rank_target(r, j);

            place += other > y || (other == y && j < i);
        }
        gain[i] = y > 0 ? objective_exp2(y - largest) - objective_exp2(-largest) : 0.0;
        grow[i] = y > 0 ? OBJECTIVE_LN2 * objective_exp2(y - largest) : 0.0;
        most[i] = grow[i] * objective_rank_discount(place);
        dcg += gain[i] * objective_rank_discount(place);
    }
    least = OBJECTIVE_RANK_SMALL * objective_exp2(-largest);
    for (int i = 0; i < r->count && !(dcg > least); i++)
        most[i] = 0.0;
    return fmax(dcg, least);
}

/* LambdaRank as FIRST names it: LambdaLoss's NDCG-Loss2 (same code): -mean over pairs with y_i >
 * y_j of log2(sigmoid(s_i - s_j)^w), w = |1/D_d - 1/D_(d+1)| |G_i - G_j|, d the distance of their
 * places by score, G = (2^y - 1) / maxDCG; sigmoid and its power at least 1e-10, |s_i - s_j| at
 * most 1e8, y at least 0 in the gains. The targets' slope is kept. */
OBJECTIVE_FUNCTION double
objective_rank_lambda(const struct objective_ranking *r, double *slope)
{
    double gain[OBJECTIVE_NAMED_MAX], grow[OBJECTIVE_NAMED_MAX], most[OBJECTIVE_NAMED_MAX];
    double to_gain[OBJECTIVE_NAMED_MAX] = {0};
    double dcg = objective_rank_gains(r, gain, grow, most), pairs = 0.0, loss = 0.0, to_dcg = 0.0;

    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < r->count; j++)
            pairs += objective_rank_target(r, i) > objective_rank_target(r, j);
    for (int i = 0; i < r->count; i++)
        for (int j = 0; j < r->count; j++) {
            int    d = r->place[i] > r->place[j] ? r->place[i] - r->place[j]
                                                 : r->place[j] - r->place[i];
            double x, near, w, p, bits;

            if (!(objective_rank_target(r, i) > objective_rank_target(r, j)))
                continue;
            x = fmin(fmax(r->score[i] - r->score[j], -1e8), 1e8);
            near = objective_rank_discount(d) - objective_rank_discount(d + 1);
            w = near * (gain[i] - gain[j]) / dcg;
            p = fmax(objective_sigmoid(x), OBJECTIVE_RANK_SMALL);
            bits = w * objective_log2(p);
            if (bits < objective_log2(OBJECTIVE_RANK_SMALL)) {
                loss -= objective_log2(OBJECTIVE_RANK_SMALL) / pairs;
                continue;
            }
            loss -= bits / pairs;
            if (p > OBJECTIVE_RANK_SMALL) {
                slope[r->name[i]] -= w * (1.0 - p) / OBJECTIVE_LN2 / pairs;
                slope[r->name[j]] += w * (1.0 - p) / OBJECTIVE_LN2 / pairs;
            }
            to_gain[i] -= near * objective_log2(p) / pairs;
            to_gain[j] += near * objective_log2(p) / pairs;
        }
    for (int i = 0; i < r->count; i++)
        to_dcg -= to_gain[i] * gain[i] / (dcg * dcg);
    for (int i = 0; i < r->count; i++)
        slope[r->name[r->source[i]]] += to_gain[i] * grow[i] / dcg + to_dcg * most[i];
    return loss;
}

/* variant 0: weighted RankNet (lambda 10), 1: RankNet (1), 2: ListNet (0.1), 3: LambdaRank (1). */
OBJECTIVE_FUNCTION double
objective_named_ranknet(const struct objective_names *n, const struct objective_settings *s,
                        double *slope, double *lse)
{
    struct objective_ranking r;

    *lse = 0.0;
    for (int64_t k = 0; k < n->count; k++)
        slope[k] = 0.0;
    objective_rank_items(n, &r);
    switch (s->variant) {
    case 2: return objective_rank_list(&r, slope);
    case 3: return objective_rank_lambda(&r, slope);
    default: return objective_rank_pairs(&r, s->variant == 0, slope);
    }
}

#endif

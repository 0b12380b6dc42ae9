/* See naive_objective.h. Token losses first, then those of groups, of named logits, and the sum. */
#include "tests/naive_objective.h"

#include <math.h>
#include <string.h>

/* ---- parts ---- */

static int
is(const char *name, const char *other)
{
    return strcmp(name, other) == 0;
}

static int
likelihood(const char *name)
{
    return is(name, "sft") || is(name, "rft") || is(name, "token_class") || is(name, "tract")
           || is(name, "ranknet");
}

/* Is row t of sample i in the sums? */
static int
in(const struct naive *n, const char *name, int i, int64_t t)
{
    const struct objective_sample *s = &n->sample[i];

    if (t < s->first || t >= s->first + s->count || !n->mask[t])
        return 0;
    if (is(name, "tract") && t == s->named_row)
        return 0;
    if (is(name, "rft") && !s->correct)
        return 0;
    return !likelihood(name) || n->weight[t] != 0;
}

static double
length(const struct naive *n, const char *name, int i)
{
    double count = 0;

    for (int64_t t = 0; t < NAIVE_ROWS; t++)
        count += in(n, name, i, t);
    return count;
}

static double
sum_of(const struct naive *n, const char *name, int i, const double *a, const double *b)
{
    double sum = 0;

    for (int64_t t = 0; t < NAIVE_ROWS; t++)
        if (in(n, name, i, t))
            sum += a[t] - b[t];
    return sum;
}

static double
clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double
ratio(double log_ratio)
{
    return exp(clamp(log_ratio, -20, 20));
}

static double
sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double
kl_in_reward(const struct naive *n, int i, const struct objective_settings *s)
{
    const struct objective_sample *a = &n->sample[i];
    double sum = 0;

    for (int64_t t = a->first; t < a->first + a->count; t++) {
        double d = n->reference[t] - n->behaviour[t];

        if (n->mask[t])
            sum += s->kl == OBJECTIVE_k1   ? n->behaviour[t] - n->reference[t]
                   : s->kl == OBJECTIVE_k2 ? d * d / 2
                                           : exp(d) - 1 - d;
    }
    return s->kl_weight * sum;
}

static double
sample_advantage(const struct naive *n, int i, const struct objective_settings *s)
{
    const struct objective_sample *a = &n->sample[i];
    double r = a->reward, mean = a->mean, std = a->std, size = (double)a->group_size;

    if (s->kl != OBJECTIVE_no_kl && s->kl_in_reward) {
        double sum = 0, square = 0;

        size = 0;
        for (int j = 0; j < NAIVE_SAMPLES; j++)
            if (n->sample[j].group == a->group) {
                double x = n->sample[j].reward - kl_in_reward(n, j, s);

                sum += x;
                square += x * x;
                size++;
            }
        mean = sum / size;
        std = sqrt(fmax(square / size - mean * mean, 0));
        r -= kl_in_reward(n, i, s);
    }
    switch (s->advantages) {
    case OBJECTIVE_reward: return r;
    case OBJECTIVE_mean: return r - mean;
    case OBJECTIVE_leave_one_out: return size == 1 ? r : r - (size * mean - r) / (size - 1);
    case OBJECTIVE_given: return a->advantage;
    default: break;
    }
    double z = size == 1 ? r : (r - mean) / (std * sqrt(size / (size - 1)) + 1e-6);

    return s->advantages == OBJECTIVE_mean_std ? z : (a->correct ? 1 : -1) * fabs(z);
}

static double
advantage(const struct naive *n, int i, int64_t t, const struct objective_settings *s)
{
    return n->weight[t] * (n->with_rows ? n->row_advantage[t] : sample_advantage(n, i, s));
}

static double
mean_advantage(const struct naive *n, const char *name, int i, const struct objective_settings *s)
{
    double sum = 0;

    for (int64_t t = 0; t < NAIVE_ROWS; t++)
        if (in(n, name, i, t))
            sum += advantage(n, i, t, s);
    return sum / length(n, name, i);
}

/* The 0.8 quantile as numpy has it. */
static double
quantile(const struct naive *n, const char *name, int i)
{
    double sorted[NAIVE_ROWS], at;
    int count = 0;

    for (int64_t t = 0; t < NAIVE_ROWS; t++)
        if (in(n, name, i, t)) {
            int k = count++;

            for (; k > 0 && sorted[k - 1] > n->entropy[t]; k--)
                sorted[k] = sorted[k - 1];
            sorted[k] = n->entropy[t];
        }
    at = 0.8 * (count - 1);
    int low = (int)floor(at), high = (int)ceil(at);

    return sorted[low] * (1 - (at - low)) + sorted[high] * (at - low);
}

/* PPO: -min(r A, clip(r) A), for A < 0 at most -A dual. */
static double
surrogate(double r, double a, const struct objective_settings *s)
{
    double loss = -fmin(r * a, clamp(r, 1 - s->clip_low, 1 + s->clip_high) * a);

    return a < 0 && s->clip_dual > 0 ? fmin(loss, -a * s->clip_dual) : loss;
}

/* ---- l_t ---- */

static double
token_aspo(const struct naive *n, int i, int64_t t, double a, const struct objective_settings *s)
{
    double wide = s->variant == 1 && n->entropy[t] > quantile(n, "aspo", i) ? 2 : 1;
    double r = ratio(n->logp[t] - n->behaviour[t]), r0 = ratio(n->frozen[t] - n->behaviour[t]);
    double flipped = r / (r0 * r0);             /* mu pi / sg(pi^2) */

    if (a < 0 && r0 < 1 - wide * s->clip_low)
        return s->variant ? -a * (1 - wide * s->clip_low) : 0;
    if (a > 0 && r0 > 1 + wide * s->clip_high)
        return s->variant ? -a / (1 + wide * s->clip_high) : 0;
    if (a < 0)
        return r0 <= s->clip_dual ? -a * r : -a * s->clip_dual * n->logp[t];
    return 1 / r0 <= s->clip_dual ? -a * flipped : -a * s->clip_dual * n->logp[t];
}

/* Mean over the tokens of t's step of frozen lp - lo. */
static double
step_mean(const struct naive *n, const char *name, int i, int64_t t)
{
    int64_t from = t, to = t + 1, end = n->sample[i].first + n->sample[i].count;
    double sum = 0, count = 0;

    while (from > n->sample[i].first && !n->begins[from])
        from--;
    while (to < end && !n->begins[to])
        to++;
    for (int64_t u = from; u < to; u++)
        if (in(n, name, i, u)) {
            sum += n->frozen[u] - n->behaviour[u];
            count++;
        }
    return sum / count;
}

static double
token_sequence(const struct naive *n, const char *name, int i, int64_t t, double a,
               const struct objective_settings *s)
{
    double size = length(n, name, i), sum = sum_of(n, name, i, n->logp, n->behaviour);
    double mean = 0, frozen = sum_of(n, name, i, n->frozen, n->behaviour);

    if (is(name, "gspo"))
        return surrogate(ratio(n->logp[t] - n->frozen[t] + frozen / size), a, s);
    if (is(name, "topr"))
        return -(a >= 0 ? 1
                        : fmin(1, s->ratio == OBJECTIVE_ratio_sequence ? exp(frozen)
                                  : s->ratio == OBJECTIVE_ratio_geometric
                                      ? exp(frozen / size)
                                      : exp(n->frozen[t] - n->behaviour[t])))
               * a * n->logp[t];
    if (is(name, "rloo") && s->ratio == OBJECTIVE_ratio_token)
        return surrogate(ratio(n->logp[t] - n->behaviour[t]), a, s);
    if (is(name, "rloo") && s->ratio == OBJECTIVE_ratio_step)
        return surrogate(ratio(n->logp[t] - n->frozen[t] + step_mean(n, name, i, t)), a, s);
    if (is(name, "rloo"))
        return surrogate(ratio(s->ratio == OBJECTIVE_ratio_sequence ? sum : sum / size),
                         mean_advantage(n, name, i, s), s) / size;
    for (int64_t u = 0; u < NAIVE_ROWS; u++)    /* gmpo */
        if (in(n, name, i, u)) {
            double b = advantage(n, i, u, s), x = n->logp[u] - n->behaviour[u];

            mean += b == 0 ? 0 : b > 0 ? fmin(x, s->clip_high) : fmax(x, -s->clip_low);
        }
    return -mean_advantage(n, name, i, s) * ratio(mean / size);
}

static double
log_mean_exp(const struct naive *n, const char *name, int i, double tau)
{
    double sum = 0, count = 0;

    for (int j = 0; j < NAIVE_SAMPLES; j++)
        if (n->sample[j].group == n->sample[i].group && length(n, name, j) > 0) {
            sum += exp(n->sample[j].reward / tau);
            count++;
        }
    return tau * log(sum / count);
}

static double
token(const struct naive *n, const char *name, int i, int64_t t, const struct objective_settings *s)
{
    double a = advantage(n, i, t, s), lp = n->logp[t], d = lp - n->behaviour[t], r = ratio(d), k, S;

    if (likelihood(name))
        return -n->weight[t] * lp;
    if (n->sample[i].injected && !is(name, "rloo") && !is(name, "topr") && !is(name, "kimi")
        && !is(name, "bcpg") && !is(name, "bcpg_nsa"))
        return -a * exp(lp) / (exp(lp) + 0.1);
    if (is(name, "reinforce"))
        return -a * lp;
    if (is(name, "grpo") || is(name, "dr_grpo") || is(name, "dapo"))
        return surrogate(r, a, s);
    if (is(name, "cispo"))
        return -clamp(ratio(n->frozen[t] - n->behaviour[t]), 1 - s->clip_low, 1 + s->clip_high) * a
               * lp;
    if (is(name, "sapo")) {
        k = a > 0 ? s->soften_positive : s->soften_negative;
        return -a * 4 / k * sigmoid(k * (r - 1));
    }
    if (is(name, "aspo"))
        return token_aspo(n, i, t, a, s);
    if (is(name, "kimi"))
        return -a * lp + s->tau / 2 * d * d;
    if (is(name, "opmd")) {
        if (s->variant == 1)
            a = n->weight[t] * (n->sample[i].reward - log_mean_exp(n, name, i, s->tau));
        return -a * lp / (1 + s->tau);
    }
    if (is(name, "bcpg") || is(name, "bcpg_nsa")) {
        S = sum_of(n, name, i, n->logp, n->reference);
        return -a * lp + s->tau / 2 * S * S / length(n, name, i);
    }
    return token_sequence(n, name, i, t, a, s);
}

/* ---- losses of a sample or a group ---- */

static double
first_lse(const struct naive *n, const char *name, int i)
{
    for (int64_t t = 0; t < NAIVE_ROWS; t++)
        if (in(n, name, i, t))
            return n->lse[t];
    return 0;
}

/* What a whole response loses: tbrm, kto; over (groups, G). */
static double
whole(const struct naive *n, const char *name, int i, const struct objective_settings *s)
{
    double S = sum_of(n, name, i, n->logp, n->reference), anchor = 0, count = 0, delta;

    if (is(name, "tbrm")) {
        delta = first_lse(n, name, i) + S - n->sample[i].reward / s->tau;
        return delta * delta;
    }
    for (int j = 0; j < NAIVE_SAMPLES; j++)
        if (length(n, name, j) > 0) {
            anchor += sum_of(n, name, j, n->frozen, n->reference);
            count++;
        }
    anchor = fmax(anchor / count, 0);
    return 1 - sigmoid((n->sample[i].correct ? 1 : -1) * s->tau * (S - anchor));
}

static double
preference(const struct naive *n, const char *name, int i, int j,
           const struct objective_settings *s)
{
    double w = sum_of(n, name, i, n->logp, n->reference);
    double l = sum_of(n, name, j, n->logp, n->reference);

    if (is(name, "dpo"))
        return -log(sigmoid(s->tau * (w - l)));
    if (s->ratio == OBJECTIVE_ratio_geometric) {
        w /= length(n, name, i);
        l /= length(n, name, j);
    }
    return pow(w - l - 1 / (2 * s->tau), 2);
}

/* dpo, ipo: the mean over pairs; copg: over ordered pairs; gvpo: as printed. */
static double
group(const struct naive *n, const char *name, int64_t g, const struct objective_settings *s)
{
    double sum = 0, pairs = 0, members = 0, mean_R = 0, mean_r = 0, weights = 0;

    for (int i = 0; i < NAIVE_SAMPLES; i++) {
        const struct objective_sample *a = &n->sample[i];
        double S = sum_of(n, name, i, n->logp, is(name, "gvpo") ? n->behaviour : n->reference);

        if (a->group != g || length(n, name, i) == 0)
            continue;
        members++;
        weights += a->weight;
        mean_R += a->weight * (is(name, "gvpo") ? s->tau * S : a->reward - s->tau * S);
        mean_r += a->weight * a->reward;
        for (int j = 0; j < NAIVE_SAMPLES; j++)
            if (n->sample[j].group == g && length(n, name, j) > 0 && a->correct
                && !n->sample[j].correct && (is(name, "dpo") || is(name, "ipo"))) {
                sum += (a->weight + n->sample[j].weight) / 2 * preference(n, name, i, j, s);
                pairs++;
            }
    }
    if (is(name, "dpo") || is(name, "ipo"))
        return pairs > 0 ? sum / pairs : 0;
    for (int i = 0; i < NAIVE_SAMPLES && members > 1; i++) {
        const struct objective_sample *a = &n->sample[i];
        double S = sum_of(n, name, i, n->logp, is(name, "gvpo") ? n->behaviour : n->reference);

        if (a->group != g || length(n, name, i) == 0)
            continue;
        if (is(name, "gvpo"))
            sum += a->weight / (2 * (members - 1))
                   * pow(s->tau * S - mean_R / weights - (a->reward - mean_r / weights), 2);
        else
            sum += a->weight * members / (members - 1)
                   * pow(a->reward - s->tau * S - mean_R / weights, 2);
    }
    return sum;
}

/* ---- named logits ---- */

static int
targets(const struct naive *n, int i, double *score, double *target, int *rank)
{
    double sorted[NAIVE_NAMES];
    int count = 0;

    for (int k = 0; k < NAIVE_NAMES; k++)
        if (n->sample[i].rank[k] > 0) {
            rank[count] = n->sample[i].rank[k];
            score[count] = sorted[count] = n->named[i][k];
            count++;
        }
    for (int a = 0; a < count; a++)
        for (int b = a + 1; b < count; b++)
            if (sorted[b] > sorted[a]) {
                double kept = sorted[a];

                sorted[a] = sorted[b];
                sorted[b] = kept;
            }
    for (int k = 0; k < count; k++)
        target[k] = sorted[rank[k] - 1];
    return count;
}

static double
log_softmax(const double *x, int count, int k)
{
    double sum = 0;

    for (int i = 0; i < count; i++)
        sum += exp(x[i]);
    return x[k] - log(sum);
}

static double
lambda_weight(const double *s, const double *y, int count, int i, int j)
{
    double dcg = 0, pi = 1, pj = 1, gi = pow(2, fmax(y[i], 0)) - 1, gj = pow(2, fmax(y[j], 0)) - 1;

    for (int k = 0; k < count; k++) {
        double place = 1;

        pi += s[k] > s[i];
        pj += s[k] > s[j];
        for (int l = 0; l < count; l++)
            place += y[l] > y[k] || (y[l] == y[k] && l < k);
        dcg += (pow(2, fmax(y[k], 0)) - 1) / log2(1 + place);
    }
    double d = fabs(pi - pj);

    return fabs(1 / log2(1 + d) - 1 / log2(2 + d)) * fabs(gi - gj) / fmax(dcg, 1e-10);
}

static double
ranking(const struct naive *n, int i, int variant)
{
    double s[NAIVE_NAMES], y[NAIVE_NAMES], sum = 0, pairs = 0;
    int rank[NAIVE_NAMES], count = targets(n, i, s, y, rank);

    for (int a = 0; a < count && variant == 2; a++)
        sum -= exp(log_softmax(y, count, a)) * log(exp(log_softmax(s, count, a)) + 1e-10);
    for (int a = 0; a < count && variant != 2; a++)
        for (int b = 0; b < count; b++) {
            if (!(y[a] > y[b]))
                continue;
            pairs++;
            if (variant == 3)
                sum -= log2(fmax(pow(fmax(sigmoid(s[a] - s[b]), 1e-10),
                                     lambda_weight(s, y, count, a, b)), 1e-10));
            else
                sum += (variant == 0 ? 1.0 / (rank[a] + rank[b]) : 1)
                       * log(1 + exp(s[b] - s[a]));
        }
    return variant == 2 ? sum : pairs > 0 ? sum / pairs : 0;
}

static double
named(const struct naive *n, const char *name, int i, const struct objective_settings *s)
{
    double guess = 0;

    if (is(name, "ranknet"))
        return ranking(n, i, s->variant);
    for (int k = 0; k < NAIVE_NAMES; k++)
        guess += n->values[k] * exp(n->named[i][k] - n->lse[n->sample[i].named_row]);
    return pow(guess - n->sample[i].score, 2);
}

/* ---- the step ---- */

static double
penalty(const struct naive *n, int64_t t, const struct objective_settings *s)
{
    double d = n->reference[t] - n->logp[t], kl = 0;

    if (s->kl_in_reward || s->kl == OBJECTIVE_no_kl)
        kl = 0;
    else if (s->kl == OBJECTIVE_k1)
        kl = -d;
    else if (s->kl == OBJECTIVE_k2)
        kl = d * d / 2;
    else
        kl = exp(d) - 1 - d;
    return s->kl_weight * kl - s->entropy_weight * n->entropy[t];
}

static int
of_groups(const char *name)
{
    return is(name, "dpo") || is(name, "ipo") || is(name, "copg") || is(name, "gvpo");
}

/* A sample's loss, with the pull to the reference by KL and entropy, before it is divided. */
static double
sample_sum(const struct naive *n, const char *name, int i, const struct objective_settings *s)
{
    double sum = 0;

    for (int64_t t = 0; t < NAIVE_ROWS; t++)
        if (in(n, name, i, t))
            sum += penalty(n, t, s)
                   + (of_groups(name) || is(name, "tbrm") || is(name, "kto")
                          ? 0 : token(n, name, i, t, s));
    if (is(name, "tbrm") || is(name, "kto"))
        sum += whole(n, name, i, s);
    return sum;
}

double
naive_loss(const struct naive *n, const char *name, const struct objective_settings *s)
{
    double loss = 0, tokens = 0, groups = 0, read = 0;

    for (int i = 0; i < NAIVE_SAMPLES; i++) {
        groups += i == 0 || n->sample[i].group != n->sample[i - 1].group;
        read += length(n, name, i) > 0
                || ((is(name, "tract") || is(name, "ranknet")) && n->sample[i].named_row >= 0);
        for (int64_t t = 0; t < NAIVE_ROWS; t++)
            if (in(n, name, i, t))
                tokens += likelihood(name) ? n->weight[t] : 1;
    }
    for (int i = 0; i < NAIVE_SAMPLES; i++) {
        const struct objective_sample *a = &n->sample[i];
        double size = length(n, name, i), over = groups * (double)a->group_size;

        if ((is(name, "tract") || is(name, "ranknet")) && a->named_row >= 0)
            loss += a->weight * s->lambda * named(n, name, i, s) / read;
        if (size == 0)
            continue;
        over = s->aggregation == OBJECTIVE_sequence_mean  ? over * size
               : s->aggregation == OBJECTIVE_sequence_sum ? over
               : s->aggregation == OBJECTIVE_token_mean   ? tokens
               : s->budget > 0                            ? s->budget
                                                          : over * s->constant;
        loss += a->weight * sample_sum(n, name, i, s) / over;
    }
    for (int64_t g = 0; g < 8 && of_groups(name); g++)
        loss += group(n, name, g, s) / groups;
    return loss;
}

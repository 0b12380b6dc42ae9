/* Clipped importance ratios: rloo, grpo, dr_grpo, dapo, gspo, gmpo; softened or reweighted: cispo,
 * sapo, aspo. r = exp(lp - lo), lo the log probability under the policy that sampled. As in verl
 * (core_algos.py at 1dda039) a log ratio is held within +-20 and has no slope beyond, so that no
 * number overflows; TRL does not hold it.
 *
 * PPO's clip (rl_methods 9.2; read in TRL f2cd577 grpo_trainer.py and verl 1dda039):
 *      l = max(-A r, -A clip(r, 1 - low, 1 + high)),  for A < 0 also min(., -A dual) where dual > 0
 *      dl/dlog r = -A r inside, 0 where the clip binds */
#ifndef KERNELS_OBJECTIVES_CLIP_H
#define KERNELS_OBJECTIVES_CLIP_H

#include "kernels/objective_term.h"
#include "kernels/objectives/math.h"

#define OBJECTIVE_LOG_RATIO_MAX 20.0

/* exp of the log ratio, held; *moves: 0 where it has no slope. */
OBJECTIVE_FUNCTION double
objective_importance(double log_ratio, int *moves)
{
    *moves = fabs(log_ratio) <= OBJECTIVE_LOG_RATIO_MAX;
    return objective_exp(fmin(fmax(log_ratio, -OBJECTIVE_LOG_RATIO_MAX), OBJECTIVE_LOG_RATIO_MAX));
}

OBJECTIVE_FUNCTION struct objective_term
objective_clip(double log_ratio, double a, const struct objective_settings *s)
{
    int    moves;
    double r = objective_importance(log_ratio, &moves);
    double held = fmin(fmax(r, 1.0 - s->clip_low), 1.0 + s->clip_high);
    struct objective_term term = {.loss = fmax(-a * r, -a * held)};

    if (a > 0 ? r <= 1.0 + s->clip_high : r >= 1.0 - s->clip_low)
        term.slope = -a * r;
    if (a < 0 && s->clip_dual > 0 && r >= s->clip_dual && -a * s->clip_dual <= term.loss) {
        term.loss = -a * s->clip_dual;
        term.slope = 0.0;
    }
    if (!moves)
        term.slope = 0.0;
    term.clipped = a != 0 && term.slope == 0.0;
    return term;
}

/* grpo (DeepSeekMath, arXiv 2402.03300): sequence_mean, A = (r - mean) / std, clip 0.2, its KL 0.04
 * in the loss as k3 is off unless asked for. dr_grpo (arXiv 2503.20783): constant, A = r - mean.
 * dapo (arXiv 2503.14476): token_mean, clip 0.2 below, 0.28 above. Both trainers' formula; with
 * `constant` and a budget it is Ring-lite's C3PO (arXiv 2506.14731, Eq 2). */
OBJECTIVE_TERM(grpo)
{
    (void)q;
    return objective_clip(x->logp - x->behaviour, x->advantage, s);
}

/* rloo (TRL f2cd577, rloo_trainer.py): the clip on the ratio of the whole sequence, L_i without a
 * length; clip 0.2, A = r - mean of the others, KL (k1, 0.05) in the reward when asked for.
 * geometric: S2R's ratio (arXiv 2502.12853, released code), its |y|-th root. token: r_t. Where
 * advantages differ within a response (S2R's process-level), a sequence's is their mean. step: the
 * geometric ratio of each step with its tokens' own advantage and slope, S2R's action by action; a
 * step's mean token then has the loss and the slopes of the step. */
OBJECTIVE_TERM(rloo)
{
    struct objective_term term;
    int geometric = s->ratio == OBJECTIVE_ratio_geometric;

    if (s->ratio == OBJECTIVE_ratio_token)
        return objective_clip(x->logp - x->behaviour, x->advantage, s);
    if (s->ratio == OBJECTIVE_ratio_step)
        return objective_clip(x->step, x->advantage, s);
    term = objective_clip(geometric ? q->behaviour / q->length : q->behaviour,
                          q->advantage / q->length, s);
    term.loss /= q->length;
    if (geometric)
        term.slope /= q->length;
    return term;
}

/* gspo (arXiv 2507.18071; verl gspo): s_i = exp(mean_t (lp - lo)), each token's own slope
 * (GSPO-token), sequence_mean, clip 3e-4 and 4e-4. */
OBJECTIVE_TERM(gspo)
{
    return objective_clip(q->behaviour / q->length, x->advantage, s);
}

/* gmpo (arXiv 2507.20673; verl geo_mean): log ratios bounded on the side where A pushes, by -low
 * and +high in the logarithm; rho = exp(mean of them), L_i = -mean(A) rho; 0.4 and 0.4. */
OBJECTIVE_FUNCTION double
objective_gather_gmpo(const struct objective_token *x, const struct objective_settings *s)
{
    double log_ratio = x->logp - x->behaviour;

    if (x->advantage == 0)
        return 0.0;
    return x->advantage > 0 ? fmin(log_ratio, s->clip_high) : fmax(log_ratio, -s->clip_low);
}

OBJECTIVE_TERM(gmpo)
{
    double log_ratio = x->logp - x->behaviour;
    int    moves;
    double rho = objective_importance(q->own / q->length, &moves), a = q->advantage / q->length;
    int    clipped = x->advantage > 0 ? log_ratio > s->clip_high : log_ratio < -s->clip_low;

    return (struct objective_term){
        .loss = -a * rho,
        .slope = clipped || !moves || x->advantage == 0 ? 0.0 : -a * rho,
        .clipped = clipped && x->advantage != 0,
    };
}

/* cispo (MiniMax-M1, arXiv 2506.13585; verl cispo): l = -sg(clip(r, 1 - low, 1 + high)) A lp;
 * token_mean, 0.2 and 0.2 as verl. TRL's epsilon_high is an absolute cap: low 1, high cap - 1. */
OBJECTIVE_TERM(cispo)
{
    int    moves;
    double r = objective_importance(x->logp - x->behaviour, &moves);
    double w = fmin(fmax(r, 1.0 - s->clip_low), 1.0 + s->clip_high);

    (void)q;
    return (struct objective_term){
        .loss = -w * x->advantage * x->logp,
        .slope = -w * x->advantage,
        .clipped = w != r && x->advantage != 0,
    };
}

/* sapo (arXiv 2511.20347; TRL and verl sapo): l = -A (4 / t) sigma(t (r - 1)), t = 1.0 for A > 0,
 * 1.05 else; slope -4 A sigma (1 - sigma) r; sequence_mean. */
OBJECTIVE_TERM(sapo)
{
    int    moves;
    double r = objective_importance(x->logp - x->behaviour, &moves);
    double t = x->advantage > 0 ? s->soften_positive : s->soften_negative;
    double gate = objective_sigmoid(t * (r - 1.0));

    (void)q;
    return (struct objective_term){
        .loss = -x->advantage * 4.0 / t * gate,
        .slope = moves ? -4.0 * x->advantage * gate * (1.0 - gate) * r : 0.0,
    };
}

/* aspo (arXiv 2510.06062; code Archer2.0 b08d963, core_algos.py): positive advantages take 1/r in
 * place of r; tokens outside the clip drop out but stay in |y|; the weight is held at dual (3.0 in
 * the code, no number in the paper) with its slope kept. variant 0, paper: one clip, 0.2.
 * variant 1, code: tokens with more entropy than the 0.8 quantile of their response have twice the
 * clip (0.4).
 *      A > 0:  c = -A min(1/r, dual) if r <= 1 + eps else 0
 *      A < 0:  c = -A min(r, dual)   if r >= 1 - eps else 0
 * token_mean. The value of a token is that of its branch in the code. */
OBJECTIVE_TERM(aspo)
{
    double scale = s->variant == 1 && x->entropy > q->surprise ? 2.0 : 1.0, a = x->advantage;
    int    moves;
    double r = objective_importance(x->logp - x->behaviour, &moves);
    double edge = a < 0 ? 1.0 - scale * s->clip_low : 1.0 + scale * s->clip_high;
    double w = a < 0 ? r : 1.0 / r;
    struct objective_term term = {0};

    if (a == 0)
        return term;
    if (a < 0 ? r < edge : r > edge) {
        term.loss = s->variant == 0 ? 0.0 : a < 0 ? -a * edge : -a / edge;
        term.clipped = 1;
        return term;
    }
    term.clipped = s->clip_dual > 0 && w > s->clip_dual;
    if (term.clipped) {
        term.slope = -a * s->clip_dual;
        term.loss = term.slope * x->logp;
        return term;
    }
    term.loss = -a * w;
    term.slope = moves ? -a * w : 0.0;
    return term;
}

/* An injected sample (LUFFY's shaping as in Dissect-Long-Reason-Models fe466d7, arXiv 2506.04913;
 * rl_methods 10): l = -A p / (p + 0.1), p = exp(lp); slope -0.1 A p / (p + 0.1)^2. That code leaves
 * the other samples' ratios unclipped; here they keep their objective's own formula. */
OBJECTIVE_TERM(injected)
{
    double p = objective_exp(x->logp), shape = p + 0.1;

    (void)q;
    (void)s;
    return (struct objective_term){
        .loss = -x->advantage * p / shape,
        .slope = -0.1 * x->advantage * p / (shape * shape),
    };
}

#endif

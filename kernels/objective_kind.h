/* objective_kind: what an objective is. An objective turns token statistics, rewards, groups,
 * weights and reference values into the coefficients of head.h,
 *
 *      dL/dz_v = c (1[v = y] - p_v)  +  e p_v  +  h (-p_v (log p_v + H))  +  g_v,
 *
 * and the scalars to log. No model, no device. This header alone is enough to write an objective of
 * one's own: it includes nothing of Sluice (see examples/objective).
 *
 * Rows are the rows of a packed batch: row t holds the statistics of the token that position t
 * predicts. A sample owns the rows [first, first + count): its response. Every other row gets
 * zeros. A row whose mask is 0 is as if its token were not in the response: it is in no sum, no
 * count, no ratio, and gets zeros. |y| is the number of rows that are left.
 *
 * Normalisers. A step may be cut into batches; objective_measure() over all its samples gives what
 * the loss is divided by, so that the sum of the batches' losses and gradients is the step's. The
 * loss is a mean over groups, with G the rollouts a group emitted, also where some were dropped on
 * the way (dropped ones count 0). With l_t the loss of a token and v_i the sample's weight:
 *
 *      sequence_mean   (1/groups) sum_g (1/G) sum_i v_i (1/|y_i|) sum_t l_t
 *      sequence_sum    (1/groups) sum_g (1/G) sum_i v_i sum_t l_t
 *      token_mean      (1/tokens) sum_i v_i sum_t l_t       tokens: rows of the step with a part
 *      constant        (1/groups) sum_g (1/G) sum_i v_i (1/constant) sum_t l_t, or, where a token
 *                      budget was given (C3PO), (1/budget) sum_i v_i sum_t l_t
 *
 * Scope. What one call of run() must hold: any rows (token), whole samples (sequence), whole groups
 * (group) or the whole step (step). Samples of a group are neighbours in ordinal order. */
#ifndef SLUICE_OBJECTIVE_KIND_H
#define SLUICE_OBJECTIVE_KIND_H

#include <stdint.h>

#define OBJECTIVE_ABI         2     /* changes with every struct of this file */
#ifndef OBJECTIVE_FUNCTION
#define OBJECTIVE_FUNCTION    static inline     /* a device compiler says what its functions are */
#endif
#define OBJECTIVE_NAMED_MAX   32    /* named logits of a row */
#define OBJECTIVE_FILE_SYMBOL "sluice_objective"

enum objective_scope { OBJECTIVE_token, OBJECTIVE_sequence, OBJECTIVE_group, OBJECTIVE_step };

/* -1 in each: not given, or, among an objective's own settings, that it has no such choice. */
enum objective_aggregation {
    OBJECTIVE_aggregation_none = -1,
    OBJECTIVE_sequence_mean,
    OBJECTIVE_sequence_sum,
    OBJECTIVE_token_mean,
    OBJECTIVE_constant,
};

enum objective_advantages {
    OBJECTIVE_advantages_none = -1,
    OBJECTIVE_reward,           /* the reward as given */
    OBJECTIVE_mean,             /* r - rbar */
    OBJECTIVE_mean_std,         /* (r - rbar) / (std + 1e-6), std with G - 1; G = 1: r */
    OBJECTIVE_leave_one_out,    /* r - mean of the others; G = 1: r */
    OBJECTIVE_gdepo,            /* sign from correctness, size |mean_std| */
    OBJECTIVE_given,            /* made before: sample.advantage or the rows' */
};

enum objective_kl { OBJECTIVE_no_kl, OBJECTIVE_k1, OBJECTIVE_k2, OBJECTIVE_k3 };

enum objective_ratio {
    OBJECTIVE_ratio_none = -1,
    OBJECTIVE_ratio_token,      /* r_t */
    OBJECTIVE_ratio_sequence,   /* the product of r_t over a response */
    OBJECTIVE_ratio_geometric,  /* its |y|-th root */
    OBJECTIVE_ratio_step,       /* the same of the tokens of a step alone */
};

/* Bits of `needs`. */
enum objective_need {
    OBJECTIVE_needs_reference = 1,  /* log pi_ref of every row */
    OBJECTIVE_needs_behaviour = 2,  /* log mu of every row: the policy that sampled */
    OBJECTIVE_needs_entropy   = 4,
    OBJECTIVE_needs_lse       = 8,
    OBJECTIVE_needs_group     = 16, /* more than one rollout in a group */
    OBJECTIVE_needs_pairs     = 32, /* a correct and a wrong rollout in a group */
    OBJECTIVE_needs_classes   = 64, /* acts on a class head; targets are labels */
    OBJECTIVE_needs_named     = 128, /* named logits of one row of each sample */
    OBJECTIVE_needs_labels    = 256, /* labels of steps: `weight` is made from them */
    OBJECTIVE_correct_only    = 512, /* wrong responses have no part */
    OBJECTIVE_takes_weights   = 1024, /* batch.weight matters to it */
    OBJECTIVE_likelihood      = 2048, /* rows of weight 0 are as if masked; tokens: their sum */
    OBJECTIVE_shapes_injected = 4096, /* an injected sample has a loss of its own, see clip.h */
    OBJECTIVE_named_apart     = 8192, /* the named row's token has no part in the likelihood */
    OBJECTIVE_adds_terms      = 16384, /* its run() adds the KL term and the entropy bonus itself */
    OBJECTIVE_takes_steps     = 32768, /* batch.begins matters to it: it has a ratio of steps */
};

struct objective_sample {
    int64_t first, count;       /* its rows: the tokens of the response; count may be 0 */
    int64_t group;              /* which group of the step, from 0, not falling */
    int64_t group_size;         /* G >= 1: rollouts the group emitted */
    double  reward;             /* r_i */
    double  mean, std;          /* of the emitted group's rewards; std divides by G */
    double  advantage;          /* A_i; objective_advantages() fills it */
    double  weight;             /* v_i, of its whole loss: 1, or 1 / (1 - P) of unbiased pruning */
    int     correct;
    int     injected;           /* a stored answer put in place of one of the policy's own */
    int64_t named_row;          /* the row whose named logits count; -1: none */
    double  score;              /* tract: the gold score y */
    int32_t rank[OBJECTIVE_NAMED_MAX];  /* ranknet: true rank of each name, from 1; 0: not listed */
};

struct objective_batch {
    int64_t        rows;
    const float   *logp;        /* (rows) log p of the row's target */
    const float   *lse;         /* (rows) logsumexp of the row's logits; NULL where not needed */
    const float   *entropy;     /* (rows) H; NULL where not needed */
    const float   *reference;   /* (rows) log pi_ref; NULL where not needed */
    const float   *behaviour;   /* (rows) log mu; NULL where not needed */
    const float   *weight;      /* (rows) b of the policy term: A_t = b_t A; NULL: all 1 */
    const float   *advantage;   /* (rows) A of each token, in place of the sample's; NULL */
    const uint8_t *mask;        /* (rows) 0: as if the token were not there; NULL: all 1 */
    const uint8_t *begins;      /* (rows) 1: the first token of a step; NULL: a response is one */
    int64_t        named;       /* names; 0 where not needed */
    const float   *named_logits;    /* (samples, named) raw logits z at the sample's named_row */
    const int32_t *named_columns;   /* (named) their columns: token ids */
    const double  *named_values;    /* (named) tract: what each digit is worth */
    int64_t        samples;
    const struct objective_sample *sample;  /* (samples), in row order, not overlapping */
};

/* What the user chose; a number that was not given is NaN, a choice -1, and each becomes the
 * objective's own. In an objective's own settings they say that it has no use for one. */
struct objective_settings {
    enum objective_aggregation aggregation;
    enum objective_advantages  advantages;
    enum objective_ratio       ratio;   /* topr, reinforce with ratios, S2R */
    double tau;                 /* strength of the pull to the reference: tau of bcpg and kimi, beta
                                 * of dpo, ipo, kto, copg, gvpo, tbrm; see each objective */
    double clip_low, clip_high; /* epsilon below and above 1 of the importance ratio; gmpo: of its
                                 * logarithm */
    double clip_dual;           /* largest ratio of a negative advantage; 0: none */
    double soften_positive, soften_negative;    /* sapo's tau */
    double lambda;              /* tract: of the squared error; ranknet: of the ranking loss */
    enum objective_kl kl;
    double kl_weight;           /* of the KL term */
    int    kl_in_reward;        /* else in the loss */
    double entropy_weight;      /* of the entropy bonus: L - weight mean H */
    double constant;            /* tokens: divisor of `constant` */
    double budget;              /* tokens: C3PO's divisor; 0: none */
    int    variant;             /* ranknet: 0 weighted, 1 plain, 2 listnet, 3 lambdarank; aspo: 0
                                 * paper, 1 code; opmd: baseline 0 mean, 1 log mean exp; -1: none */
};

/* Normalisers of a step; zero-initialise, then objective_measure() each batch. */
struct objective_step {
    double groups;              /* sum of 1/G over the samples, or their count (the caller's) */
    double tokens;              /* rows that count; for likelihoods the sum of their weights */
    double samples;             /* samples with a row that counts */
};

/* A named logit: dL/dz[row, column] has `value` added. Sorted by row. The same shape as
 * struct head_entry. */
struct objective_entry {
    int64_t row;
    int32_t column;
    float   value;
};

struct objective_output {
    float *c;                   /* (rows), written */
    float *e;                   /* (rows), written; NULL unless it needs lse or named logits */
    float *h;                   /* (rows), written; NULL unless it needs entropy */
    struct objective_entry *entries;    /* room for samples x named; NULL where there are none */
    int64_t entry_count;        /* written */
};

/* Sums over the batches of a step; zero-initialise. run() adds to policy, pull and clipped; the
 * caller fills in the rest. */
struct objective_report {
    double loss;                /* policy + pull + kl + entropy */
    double policy;              /* the likelihood part of the loss */
    double pull;                /* the quadratic or other pull to the reference */
    double kl_loss;             /* the KL part of the loss */
    double entropy_loss;        /* the entropy part of the loss */
    double samples, tokens;     /* that had a part in the loss */
    double logp;                /* sum of lp over those tokens */
    double kl;                  /* sum of k3 against the reference over those tokens */
    double entropy;             /* sum of H over those tokens; 0 where H was not needed */
    double clipped;             /* tokens whose gradient a clip has taken or bounded */
    double ratio;               /* sum of S_i = sum (lp - reference) over those samples */
    double ratio_largest;       /* largest |S_i| */
    double importance;          /* sum of the importance ratios pi / mu of those tokens */
    double importance_largest;
    double advantage;           /* sum of |A_i| over those samples */
};

struct objective {
    int         abi;            /* OBJECTIVE_ABI */
    const char *name, *summary, *source;    /* source: paper and equation */
    const char *evidence;       /* NULL, or what of it is reconstructed rather than read */
    unsigned    needs;          /* enum objective_need */
    enum objective_scope scope;
    struct objective_settings standard;     /* its own: the paper's defaults; NaN and -1: none */
    int         aggregations;   /* bits 1 << enum objective_aggregation; 0: its own only */
    /* Adds to step what the samples of a batch count for; NULL: rows, samples and 1/G. */
    void (*measure)(const struct objective_batch *b, const struct objective_settings *s,
                    struct objective_step *step);
    /* Adds to out, which begins as zeros, and to report. Deterministic: sums in row order, in
     * double. KL terms and the entropy bonus are the caller's unless it adds_terms. */
    void (*run)(const struct objective_batch *b, const struct objective_settings *s,
                const struct objective_step *step, struct objective_output *out,
                struct objective_report *report);
};

/* Is the row's token in the response? Rows of weight 0 are in it. */
OBJECTIVE_FUNCTION int
objective_counts(const struct objective_batch *b, int64_t row)
{
    return b->mask == 0 || b->mask[row] != 0;
}

OBJECTIVE_FUNCTION double
objective_weight(const struct objective_batch *b, int64_t row)
{
    return b->weight == 0 ? 1.0 : (double)b->weight[row];
}

/* A_t: the row's own advantage, or the sample's, times the row's weight. */
OBJECTIVE_FUNCTION double
objective_advantage(const struct objective_batch *b, const struct objective_sample *s, int64_t row)
{
    double a = b->advantage == 0 ? s->advantage : (double)b->advantage[row];

    return objective_weight(b, row) * a;
}

/* |y| */
OBJECTIVE_FUNCTION int64_t
objective_length(const struct objective_batch *b, const struct objective_sample *s)
{
    int64_t length = 0;

    for (int64_t row = s->first; row < s->first + s->count; row++)
        length += objective_counts(b, row);
    return length;
}

/* What l_t of a token of a sample is multiplied by; `length` is its |y|. 0 where there is nothing
 * to divide by. */
OBJECTIVE_FUNCTION double
objective_share(const struct objective_settings *s, const struct objective_step *step,
                const struct objective_sample *sample, double length)
{
    double groups = step->groups * (double)sample->group_size, divisor = 0.0;

    switch (s->aggregation) {
    case OBJECTIVE_sequence_mean: divisor = groups * length; break;
    case OBJECTIVE_sequence_sum: divisor = groups; break;
    case OBJECTIVE_token_mean: divisor = step->tokens; break;
    case OBJECTIVE_constant: divisor = s->budget > 0 ? s->budget : groups * s->constant; break;
    default: break;
    }
    return divisor > 0 ? sample->weight / divisor : 0.0;
}

#endif

/* The step of naive_objective.h. */
#include <string.h>

#include "kernels/random.h"
#include "tests/naive_objective.h"

static double
unit(uint64_t seed, uint64_t what, uint64_t i)
{
    return random_unit(seed * 100 + what, RANDOM_test, i);
}

static double
single(double x)
{
    return (double)(float)x;
}

static void
make_samples(struct naive *n, uint64_t seed)
{
    static const int counts[NAIVE_SAMPLES] = {6, 1, 9, 5, 4, 0, 7, 5, 8, 7, 6, 3, 5};
    static const int groups[NAIVE_SAMPLES] = {0, 0, 0, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4};
    static const int sizes[] = {4, 1, 3, 2, 4};
    static const double rewards[NAIVE_SAMPLES] = {1, 0, 0.25, 1,    0.5, 0.5, 0.5,
                                                  0, 1, -1,   0.75, 0.5, 1};
    static const int correct[NAIVE_SAMPLES] = {1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1};
    int64_t row = 2;

    for (int i = 0; i < NAIVE_SAMPLES; i++) {
        n->sample[i] = (struct objective_sample){
            .first = row, .count = counts[i], .group = groups[i], .group_size = sizes[groups[i]],
            .reward = rewards[i], .mean = groups[i] == 2 ? 0.5 : 0.3 + 0.05 * groups[i],
            .std = groups[i] == 2 ? 0 : 0.4, .weight = i % 4 == 2 ? 2.5 : 1,
            .correct = correct[i], .injected = i == 10,
            .named_row = counts[i] > 1 && i != 3 ? row + counts[i] - 2 : -1, .score = 1 + i % 5,
        };
        for (int k = 0; k < NAIVE_NAMES; k++)
            n->sample[i].rank[k] = (k * 2 + i) % NAIVE_NAMES + 1;
        if (i == 8) {                   /* three listed of five, two of one rank */
            memset(n->sample[i].rank, 0, sizeof n->sample[i].rank);
            n->sample[i].rank[1] = n->sample[i].rank[4] = 1;
            n->sample[i].rank[2] = 3;
        }
        for (int k = 0; k < NAIVE_NAMES; k++)
            n->named[i][k] = single(4 * unit(seed, 9, (uint64_t)(i * NAIVE_NAMES + k)) - 1);
        row += counts[i] + i % 2;
    }
}

void
naive_make(struct naive *n, double spread, uint64_t seed)
{
    memset(n, 0, sizeof *n);
    for (uint64_t i = 0; i < NAIVE_ROWS; i++) {
        double far = i % 11 == 7 ? 10 : 1;

        n->logp[i] = n->frozen[i] = single(-3 * unit(seed, 1, i) - 0.01);
        n->reference[i] = single(n->logp[i] + spread * (unit(seed, 2, i) - 0.5));
        n->behaviour[i] = single(n->logp[i] + spread * far * (unit(seed, 3, i) - 0.5));
        n->entropy[i] = single(2 * unit(seed, 4, i));
        n->lse[i] = single(3 + 2 * unit(seed, 5, i));
        n->weight[i] = unit(seed, 6, i) < 0.3 ? -0.5 : unit(seed, 7, i) < 0.2 ? 0 : 1;
        n->row_advantage[i] = single(2 * unit(seed, 8, i) - 1);
        n->mask[i] = i % 6 != 4;
        n->begins[i] = i % 4 == 0;      /* of a step, also where the token is masked */
    }
    for (int k = 0; k < NAIVE_NAMES; k++) {
        n->values[k] = k + 1;
        n->columns[k] = 10 + 3 * k;
    }
    make_samples(n, seed);
    for (int64_t row = n->sample[7].first; row < n->sample[7].first + n->sample[7].count; row++)
        n->mask[row] = 0;
}

void
naive_plain(struct naive *n)
{
    for (int i = 0; i < NAIVE_ROWS; i++) {
        n->weight[i] = 1;
        n->mask[i] = 1;
    }
    for (int i = 0; i < NAIVE_SAMPLES; i++) {
        n->sample[i].weight = 1;
        n->sample[i].injected = 0;
    }
}

void
naive_batch(struct naive *n)
{
    for (int i = 0; i < NAIVE_ROWS; i++) {
        n->f_logp[i] = (float)n->logp[i];
        n->f_lse[i] = (float)n->lse[i];
        n->f_entropy[i] = (float)n->entropy[i];
        n->f_reference[i] = (float)n->reference[i];
        n->f_behaviour[i] = (float)n->behaviour[i];
        n->f_weight[i] = (float)n->weight[i];
        n->f_advantage[i] = (float)n->row_advantage[i];
        n->f_mask[i] = (uint8_t)n->mask[i];
        n->f_begins[i] = (uint8_t)n->begins[i];
    }
    for (int i = 0; i < NAIVE_SAMPLES; i++)
        for (int k = 0; k < NAIVE_NAMES; k++)
            n->f_named[i * NAIVE_NAMES + k] = (float)n->named[i][k];
    n->batch = (struct objective_batch){
        .rows = NAIVE_ROWS, .logp = n->f_logp, .lse = n->f_lse, .entropy = n->f_entropy,
        .reference = n->f_reference, .behaviour = n->f_behaviour, .weight = n->f_weight,
        .advantage = n->with_rows ? n->f_advantage : NULL, .mask = n->f_mask,
        .begins = n->f_begins,
        .named = NAIVE_NAMES, .named_logits = n->f_named, .named_columns = n->columns,
        .named_values = n->values, .samples = NAIVE_SAMPLES, .sample = n->sample,
    };
}

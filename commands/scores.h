/* scores: how well a judge's verdicts agree with people's labels.
 *
 * A verdict on a step is incorrect, correct or nothing said. The judge's first error is the first
 * step it calls incorrect; it finds a solution correct when it calls none so. Then, over solutions
 * whose first error is known (ProcessBench, arXiv 2412.06559):
 *
 *   acc_error    of solutions with an error, the share whose first error the judge names exactly
 *   acc_correct  of solutions without, the share in which it calls no step incorrect
 *   f1           2 acc_error acc_correct / (acc_error + acc_correct)
 *
 * A judge that abstains on a whole solution names nothing: it is counted as missed in both.
 * Over steps whose label is known, with "incorrect" as the class that is looked for:
 *
 *   step_precision  of the steps called incorrect, the share that is
 *   step_recall     of the steps that are incorrect, the share called so
 *   coverage        the share of steps on which a verdict was given
 *   brier, ece      of the scores as probabilities that the step is correct: mean squared error,
 *                   and |mean score - share correct| over ten bins of equal width, weighed by the
 *                   steps in them (a score on a bin's edge is in the upper one, 1 in the last)
 *
 * Over solutions: flagged are those with a step called incorrect; flagged_precision is the share of
 * them that has an error, flagged_recall the share of solutions with an error that is flagged. */
#ifndef COMMANDS_SCORES_H
#define COMMANDS_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "commands/cases.h"

#define SCORES_BINS 10

/* What one judge says of one solution; count 0: nothing came, or it abstained. */
struct opinion {
    int64_t count;
    float *scores;     /* in [0,1]; NaN or outside: of no use, but the verdict stands */
    uint8_t *verdicts; /* enum case_label */
    double usd;        /* what it cost */
    int64_t tokens_in, tokens_out;
};

struct scores {
    int64_t solutions, abstained;
    int64_t erroneous, named, correct,
        spared;                     /* with an error, named exactly; without, none said */
    int64_t flagged, flagged_wrong; /* of the solutions whose first error is known */
    int64_t steps, said;            /* with a known label; of these, with a verdict */
    int64_t table[2][3];            /* [label][verdict] over these */
    int64_t beyond;                 /* called incorrect where no label is known */
    int64_t scored;
    double squares, bin_score[SCORES_BINS];
    int64_t bin_count[SCORES_BINS], bin_correct[SCORES_BINS];
    double usd;
    int64_t tokens_in, tokens_out;
};

/* Adds one solution; call in the order of the file, so that sums are made in one order. */
void scores_add(struct scores *s, const struct labelled_case *c, const struct opinion *o);

/* NaN where there is nothing to divide by; f1 is 0 where both accuracies are. */
double scores_acc_error(const struct scores *s);
double scores_acc_correct(const struct scores *s);
double scores_f1(const struct scores *s);
double scores_step_precision(const struct scores *s);
double scores_step_recall(const struct scores *s);
double scores_coverage(const struct scores *s);
double scores_flagged_precision(const struct scores *s);
double scores_flagged_recall(const struct scores *s);
double scores_brier(const struct scores *s);
double scores_ece(const struct scores *s);

#endif

/* scores: counts, and the quotients made of them. */
#include "commands/scores.h"

#include <math.h>

static void
add_step(struct scores *s, enum case_label label, const struct opinion *o, int64_t i)
{
    enum case_label verdict = i < o->count ? (enum case_label)o->verdicts[i] : CASE_unknown;
    double score = i < o->count ? (double)o->scores[i] : NAN;

    if (label == CASE_unknown) {
        s->beyond += verdict == CASE_incorrect;
        return;
    }
    s->steps++;
    s->table[label][verdict]++;
    if (verdict == CASE_unknown)
        return;
    s->said++;
    if (!(score >= 0 && score <= 1))
        return;
    int bin = score >= 1 ? SCORES_BINS - 1 : (int)(score * SCORES_BINS);
    double off = score - (label == CASE_correct);
    s->scored++;
    s->squares += off * off;
    s->bin_score[bin] += score;
    s->bin_count[bin]++;
    s->bin_correct[bin] += label == CASE_correct;
}

void
scores_add(struct scores *s, const struct labelled_case *c, const struct opinion *o)
{
    int64_t first = CASE_NONE;

    s->solutions++;
    s->abstained += o->count == 0;
    s->usd += o->usd;
    s->tokens_in += o->tokens_in;
    s->tokens_out += o->tokens_out;
    for (int64_t i = 0; i < c->count; i++)
        add_step(s, (enum case_label)c->labels[i], o, i);
    for (int64_t i = 0; i < o->count && i < c->count && first == CASE_NONE; i++)
        if (o->verdicts[i] == CASE_incorrect)
            first = i;
    if (c->first_error == CASE_UNSET)
        return;
    if (c->first_error == CASE_NONE) {
        s->correct++;
        s->spared += o->count > 0 && first == CASE_NONE;
    } else {
        s->erroneous++;
        s->named += first == c->first_error;
        s->flagged_wrong += first != CASE_NONE;
    }
    s->flagged += first != CASE_NONE;
}

static double
share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : NAN;
}

double
scores_acc_error(const struct scores *s)
{
    return share(s->named, s->erroneous);
}

double
scores_acc_correct(const struct scores *s)
{
    return share(s->spared, s->correct);
}

double
scores_f1(const struct scores *s)
{
    double a = scores_acc_error(s), b = scores_acc_correct(s);
    return a + b == 0 ? 0 : 2 * a * b / (a + b);
}

double
scores_step_precision(const struct scores *s)
{
    int64_t right = s->table[CASE_incorrect][CASE_incorrect];
    return share(right, right + s->table[CASE_correct][CASE_incorrect]);
}

double
scores_step_recall(const struct scores *s)
{
    const int64_t *row = s->table[CASE_incorrect];
    return share(row[CASE_incorrect], row[CASE_incorrect] + row[CASE_correct] + row[CASE_unknown]);
}

double
scores_coverage(const struct scores *s)
{
    return share(s->said, s->steps);
}

double
scores_flagged_precision(const struct scores *s)
{
    return share(s->flagged_wrong, s->flagged);
}

double
scores_flagged_recall(const struct scores *s)
{
    return share(s->flagged_wrong, s->erroneous);
}

double
scores_brier(const struct scores *s)
{
    return s->scored > 0 ? s->squares / (double)s->scored : NAN;
}

double
scores_ece(const struct scores *s)
{
    double sum = 0;

    for (int b = 0; b < SCORES_BINS; b++)
        sum += fabs(s->bin_score[b] - (double)s->bin_correct[b]);
    return s->scored > 0 ? sum / (double)s->scored : NAN;
}

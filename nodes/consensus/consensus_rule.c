/* consensus_rule: the rules of consensus.h, as they are written and as they label. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/consensus/consensus.h"

#define RULES "all, any, majority, weighted, first_error_match, mean or mean>=T"

/* ---- reading ---- */

int
consensus_rule_read(const char *text, struct consensus_how *h, struct error *e)
{
    static const char *const names[] = {"all",      "any",  "majority",
                                        "weighted", "first_error_match", "mean"};
    char                     word[64], *end;
    size_t                   n = 0;

    for (const char *p = text; *p && n + 1 < sizeof(word); p++)
        if (*p != ' ')
            word[n++] = *p;
    word[n] = 0;
    h->mean_min = NAN;
    for (int i = 0; i <= CONSENSUS_mean; i++) {
        if (strcmp(word, names[i]) == 0) {
            h->rule = (enum consensus_rule)i;
            return 0;
        }
    }
    if (strncmp(word, "mean>=", 6) == 0 && word[6]) {
        h->rule = CONSENSUS_mean;
        h->mean_min = strtod(word + 6, &end);
        if (!*end && h->mean_min >= 0 && h->mean_min <= 1)
            return 0;
        return error_set(e, ERROR_topology, "'%s': the mean is compared with a number from 0 to 1",
                         text);
    }
    return error_set(e, ERROR_topology, "'%s' is no rule; it is " RULES, text);
}

int
consensus_quorum_read(const char *text, int voters, struct consensus_how *h, struct error *e)
{
    char *end;
    long  n;

    if (strcmp(text, "all") == 0) {
        h->quorum = voters;
        return 0;
    }
    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end)
        return error_set(e, ERROR_topology, "'%s' is neither a number of voters nor 'all'", text);
    if (n < 1 || n > voters)
        return error_set(e, ERROR_topology, "%ld is outside 1 to %d, the number of voters", n,
                         voters);
    h->quorum = (int)n;
    return 0;
}

int
consensus_value_read(const char *text, const char *const *names, int voters, double most,
                     int *voter, double *value, struct error *e)
{
    const char *equals = strchr(text, '=');
    size_t      length = equals ? (size_t)(equals - text) : 0;
    char       *end;

    if (!equals || !length)
        return error_set(e, ERROR_topology, "'%s' is not VOTER=NUMBER", text);
    for (*voter = 0; *voter < voters; ++*voter)
        if (strlen(names[*voter]) == length && strncmp(names[*voter], text, length) == 0)
            break;
    if (*voter == voters)
        return error_set(e, ERROR_topology, "'%s': no voter is named '%.*s'", text, (int)length,
                         text);
    *value = strtod(equals + 1, &end);
    if (end == equals + 1 || *end || !(*value >= 0 && *value <= most))
        return error_set(e, ERROR_topology, "'%s': the number goes from 0 to %g", text, most);
    return 0;
}

/* ---- labelling ---- */

bool
consensus_said(const struct consensus_votes *in, int voter, int64_t step, float *score)
{
    if (!in->scores[voter] || (in->said[voter] && !in->said[voter][step]))
        return false;
    *score = in->scores[voter][step];
    return *score >= 0 && *score <= 1;
}

bool
consensus_yes(const struct consensus_how *h, int voter, float score)
{
    return (double)score >= (h->thresholds ? h->thresholds[voter] : h->threshold);
}

/* The sums over the voters that gave a score on one step. */
struct count {
    int     given, yes;
    int64_t yes_weight, no_weight;
    double  sum;
};

static void
count_score(const struct consensus_how *h, int voter, float score, struct count *c)
{
    int64_t weight = h->weights ? h->weights[voter] : CONSENSUS_WEIGHT_ONE;

    c->given++;
    c->sum += (double)score;
    if (consensus_yes(h, voter, score)) {
        c->yes++;
        c->yes_weight += weight;
    } else {
        c->no_weight += weight;
    }
}

static enum consensus_label
label_of(const struct consensus_how *h, const struct count *c, bool *tie)
{
    int no = c->given - c->yes;
    bool correct = false;

    *tie = false;
    if (c->given == 0 || c->given < h->quorum)
        return LABEL_unknown;
    switch (h->rule) {
    case CONSENSUS_first_error_match: /* of one step: do all say the same? */
        if (c->yes > 0 && no > 0)
            return LABEL_unknown;
        correct = no == 0;
        break;
    case CONSENSUS_all: correct = no == 0; break;
    case CONSENSUS_any: correct = c->yes > 0; break;
    case CONSENSUS_majority:
        *tie = c->yes == no;
        correct = c->yes > no;
        break;
    case CONSENSUS_weighted:
        *tie = c->yes_weight == c->no_weight;
        correct = c->yes_weight > c->no_weight;
        break;
    case CONSENSUS_mean:
        correct = c->sum / c->given >= (isnan(h->mean_min) ? h->threshold : h->mean_min);
        break;
    }
    return *tie ? LABEL_unknown : correct ? LABEL_correct : LABEL_incorrect;
}

enum consensus_label
consensus_label(const struct consensus_how *h, const float *scores, int count, uint32_t *agree,
                float *mean)
{
    struct consensus_how alike = *h;
    struct count         c = {0};
    bool                 tie;

    alike.thresholds = NULL;
    alike.weights = NULL;
    for (int i = 0; i < count; i++)
        count_score(&alike, i, scores[i], &c);
    *agree = (uint32_t)c.yes;
    *mean = count > 0 ? (float)(c.sum / count) : 0;
    return label_of(&alike, &c, &tie);
}

/* Where a voter's first error is: a step, `steps` for none, -1: not known. */
static int64_t
first_error(const struct consensus_how *h, const struct consensus_votes *in, int voter)
{
    float score;

    for (int64_t j = 0; j < in->steps; j++) {
        if (!consensus_said(in, voter, j, &score))
            return -1;
        if (!consensus_yes(h, voter, score))
            return j;
    }
    return in->steps;
}

static void
label_by_first_error(const struct consensus_how *h, const struct consensus_votes *in,
                     uint8_t *labels)
{
    int64_t at = -1;
    int     known = 0;
    bool    match = true;

    for (int v = 0; v < in->voters; v++) {
        int64_t found = first_error(h, in, v);

        if (found < 0)
            continue;
        match = match && (known == 0 || found == at);
        at = found;
        known++;
    }
    match = match && known > 0 && known >= h->quorum;
    for (int64_t j = 0; j < in->steps; j++)
        labels[j] = !match || j > at ? LABEL_unknown : j == at ? LABEL_incorrect : LABEL_correct;
}

void
consensus_judge(const struct consensus_how *h, const struct consensus_votes *in,
                struct consensus_labels *out)
{
    float score;
    bool  tie;

    out->tied = 0;
    for (int64_t j = 0; j < in->steps; j++) {
        struct count c = {0};

        for (int v = 0; v < in->voters; v++)
            if (consensus_said(in, v, j, &score))
                count_score(h, v, score, &c);
        out->labels[j] = (uint8_t)label_of(h, &c, &tie);
        out->ties[j] = tie;
        out->agree[j] = (uint32_t)c.yes;
        out->counted[j] = (uint32_t)c.given;
        out->agreement[j] = c.given == 0 ? 0
                            : 2 * c.yes > c.given ? (float)c.yes / (float)c.given
                                                  : (float)(c.given - c.yes) / (float)c.given;
        out->means[j] = c.given > 0 ? (float)(c.sum / c.given) : 0;
        out->tied += tie;
    }
    if (h->rule == CONSENSUS_first_error_match)
        label_by_first_error(h, in, out->labels);
}

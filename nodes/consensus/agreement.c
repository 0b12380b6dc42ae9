/* agreement: see agreement.h. */
#include "nodes/consensus/agreement.h"

#include <math.h>
#include <string.h>

void
agreement_init(struct agreement *g, int voters)
{
    memset(g, 0, sizeof(*g));
    g->version = AGREEMENT_VERSION;
    g->voters = (uint32_t)(voters < AGREEMENT_VOTERS_MAX ? voters : AGREEMENT_VOTERS_MAX);
}

/* Pairs stand by their later voter: those of voters 0 to k come before any of k + 1. */
int
agreement_pair(const struct agreement *g, int a, int b)
{
    (void)g;
    return b * (b - 1) / 2 + a;
}

void
agreement_add(struct agreement *g, const uint8_t *words)
{
    int voters = (int)g->voters, said[AGREEMENT_WORDS] = {0};

    for (int b = 0; b < voters; b++) {
        said[words[b]]++;
        for (int a = 0; a < b; a++)
            g->pairs[agreement_pair(g, a, b)][words[a]][words[b]]++;
    }
    g->profile[said[AGREEMENT_correct]][said[AGREEMENT_wrong]]++;
    g->steps++;
}

void
agreement_merge(struct agreement *g, const struct agreement *other)
{
    g->steps += other->steps;
    for (int p = 0; p < AGREEMENT_PAIRS_MAX; p++)
        for (int a = 0; a < AGREEMENT_WORDS; a++)
            for (int b = 0; b < AGREEMENT_WORDS; b++)
                g->pairs[p][a][b] += other->pairs[p][a][b];
    for (int c = 0; c <= AGREEMENT_VOTERS_MAX; c++)
        for (int w = 0; w <= AGREEMENT_VOTERS_MAX; w++)
            g->profile[c][w] += other->profile[c][w];
}

/* ---- what is made of the counters ---- */

double
agreement_observed(const struct agreement *g, int a, int b)
{
    const uint64_t(*t)[AGREEMENT_WORDS] = g->pairs[agreement_pair(g, a, b)];
    double both = (double)(t[0][0] + t[0][1] + t[1][0] + t[1][1]);

    return (double)(t[0][0] + t[1][1]) / both;
}

double
agreement_cohen(const struct agreement *g, int a, int b)
{
    const uint64_t(*t)[AGREEMENT_WORDS] = g->pairs[agreement_pair(g, a, b)];
    double both = (double)(t[0][0] + t[0][1] + t[1][0] + t[1][1]);
    double observed = agreement_observed(g, a, b), expected = 0;

    for (int w = 0; w < 2; w++)
        expected += (double)(t[w][0] + t[w][1]) / both * ((double)(t[0][w] + t[1][w]) / both);
    return (observed - expected) / (1 - expected);
}

double
agreement_fleiss(const struct agreement *g)
{
    int    n = (int)g->voters;
    double steps = 0, correct = 0, agreeing = 0, share, expected;

    if (n < 2)
        return NAN;
    for (int c = 0; c <= n; c++) {
        double here = (double)g->profile[c][n - c];

        steps += here;
        correct += here * c;
        agreeing += here * (c * (c - 1.0) + (n - c) * (n - c - 1.0)) / (n * (n - 1.0));
    }
    share = correct / (steps * n);
    expected = share * share + (1 - share) * (1 - share);
    return (agreeing / steps - expected) / (1 - expected);
}

/* With m words on a step every ordered pair of them counts 1 / (m - 1); D_o is the share of pairs
 * that differ, D_e what it were if words were drawn from all of them without putting back. */
double
agreement_alpha(const struct agreement *g)
{
    double correct = 0, wrong = 0, differ = 0, all;

    for (int c = 0; c <= (int)g->voters; c++)
        for (int w = 0; w + c <= (int)g->voters; w++) {
            double here = (double)g->profile[c][w];

            if (c + w < 2)
                continue;
            correct += here * c;
            wrong += here * w;
            differ += here * 2 * c * w / (c + w - 1);
        }
    all = correct + wrong;
    return 1 - differ * (all - 1) / (2 * correct * wrong);
}

/* ---- as JSON ---- */

static json_t *
real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *
pair_json(const struct agreement *g, const char *const *names, int a, int b)
{
    const uint64_t(*t)[AGREEMENT_WORDS] = g->pairs[agreement_pair(g, a, b)];
    json_t *table = json_array();

    for (int w = 0; w < AGREEMENT_WORDS; w++)
        json_array_append_new(table,
                              json_pack("[I,I,I]", (json_int_t)t[w][0], (json_int_t)t[w][1],
                                        (json_int_t)t[w][2]));
    return json_pack("{s:s,s:s,s:o,s:o,s:o}", "a", names[a], "b", names[b], "table", table,
                     "observed", real_or_null(agreement_observed(g, a, b)), "cohen",
                     real_or_null(agreement_cohen(g, a, b)));
}

json_t *
agreement_json(const struct agreement *g, const char *const *names)
{
    json_t *voters = json_array(), *pairs = json_array(), *profile = json_array();

    for (int b = 0; b < (int)g->voters; b++) {
        json_array_append_new(voters, json_string(names[b]));
        for (int a = 0; a < b; a++)
            json_array_append_new(pairs, pair_json(g, names, a, b));
    }
    for (int c = 0; c <= (int)g->voters; c++)
        for (int w = 0; w + c <= (int)g->voters; w++)
            if (g->profile[c][w])
                json_array_append_new(profile,
                                      json_pack("[i,i,I]", c, w, (json_int_t)g->profile[c][w]));
    return json_pack("{s:o,s:I,s:o,s:o,s:o,s:o}", "voters", voters, "steps", (json_int_t)g->steps,
                     "fleiss", real_or_null(agreement_fleiss(g)), "alpha",
                     real_or_null(agreement_alpha(g)), "pairs", pairs, "profile", profile);
}

/* A counter of 0 or more; -1: it is none. */
static int64_t
counter_of(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0
               ? (int64_t)json_integer_value(value)
               : -1;
}

static int
parse_pairs(struct agreement *g, const json_t *pairs)
{
    size_t count = (size_t)g->voters * (g->voters - 1) / 2;

    if (json_array_size(pairs) != count)
        return -1;
    for (size_t p = 0; p < count; p++)
        for (size_t i = 0; i < AGREEMENT_WORDS * AGREEMENT_WORDS; i++) {
            const json_t *table = json_object_get(json_array_get(pairs, p), "table");
            const json_t *row = json_array_get(table, i / AGREEMENT_WORDS);
            int64_t value = counter_of(json_array_get(row, i % AGREEMENT_WORDS));

            if (value < 0)
                return -1;
            g->pairs[p][i / AGREEMENT_WORDS][i % AGREEMENT_WORDS] = (uint64_t)value;
        }
    return 0;
}

int
agreement_parse(struct agreement *g, const json_t *json, struct error *e)
{
    const json_t *voters = json_object_get(json, "voters"), *row;
    int64_t       steps = counter_of(json_object_get(json, "steps"));
    size_t        i;

    agreement_init(g, (int)json_array_size(voters));
    if (steps < 0 || g->voters < 1 || g->voters != json_array_size(voters) ||
        parse_pairs(g, json_object_get(json, "pairs")) != 0)
        return error_set(e, ERROR_input, "not the agreement of voters");
    g->steps = (uint64_t)steps;
    json_array_foreach(json_object_get(json, "profile"), i, row)
    {
        int64_t c = counter_of(json_array_get(row, 0)), w = counter_of(json_array_get(row, 1));
        int64_t count = counter_of(json_array_get(row, 2));

        if (c < 0 || w < 0 || count < 0 || c + w > (int64_t)g->voters)
            return error_set(e, ERROR_input, "not the agreement of voters");
        g->profile[c][w] = (uint64_t)count;
    }
    return 0;
}

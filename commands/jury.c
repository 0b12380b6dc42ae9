/* jury: see jury.h. */
#include "commands/jury.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "nodes/consensus/agreement.h"

static const char *
id_of(const json_t *row)
{
    const char *id = json_string_value(json_object_get(row, "id"));
    return id ? id : "";
}

static json_t *
agreement_of(const json_t *row)
{
    return json_object_get(json_object_get(row, "report"), "agreement");
}

/* A number of two decimals, or a dash where it is not defined. */
static void
print_value(const char *name, double value)
{
    if (isfinite(value))
        printf("%s %.2f", name, value);
    else
        printf("%s -", name);
}

static void
print_pair(const struct agreement *g, const json_t *voters, int a, int b, int width)
{
    const uint64_t(*t)[AGREEMENT_WORDS] = g->pairs[agreement_pair(g, a, b)];
    char pair[2 * 64 + 8];

    snprintf(pair, sizeof pair, "%.64s, %.64s",
             json_string_value(json_array_get(voters, (size_t)a)),
             json_string_value(json_array_get(voters, (size_t)b)));
    printf("  %-*s %9llu %9llu %9llu %9llu  ", width, pair, (unsigned long long)t[1][1],
           (unsigned long long)t[1][0], (unsigned long long)t[0][1], (unsigned long long)t[0][0]);
    print_value("agree", agreement_observed(g, a, b));
    print_value(", kappa", agreement_cohen(g, a, b));
    putchar('\n');
}

static void
print_node(const char *id, const struct agreement *g, const json_t *voters)
{
    size_t longest = 4;

    for (size_t b = 1; b < g->voters; b++)
        for (size_t a = 0; a < b; a++) {
            size_t n = strlen(json_string_value(json_array_get(voters, a))) +
                       strlen(json_string_value(json_array_get(voters, b))) + 2;
            longest = n > longest && n < 60 ? n : longest;
        }
    printf("\n%s: %u voters on %llu steps", id, g->voters, (unsigned long long)g->steps);
    print_value("; Fleiss' kappa", agreement_fleiss(g));
    print_value(", Krippendorff's alpha", agreement_alpha(g));
    printf("\n  %-*s %9s %9s %9s %9s  (what the first and the second say)\n", (int)longest, "pair",
           "both yes", "yes, no", "no, yes", "both no");
    for (int b = 1; b < (int)g->voters; b++)
        for (int a = 0; a < b; a++)
            print_pair(g, voters, a, b, (int)longest);
}

/* The counters of a node's processes from row `from` on, added up; false: none has any, or they
 * have other voters. */
static bool
collect(const json_t *rows, size_t from, struct agreement *g)
{
    const json_t *voters = json_object_get(agreement_of(json_array_get(rows, from)), "voters");
    const char *id = id_of(json_array_get(rows, from));
    bool any = false;

    for (size_t i = from; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *found = agreement_of(row);
        struct agreement one;

        if (strcmp(id_of(row), id) != 0 || !found ||
            !json_equal(json_object_get(found, "voters"), voters) ||
            agreement_parse(&one, found, NULL) != 0)
            continue;
        if (any)
            agreement_merge(g, &one);
        else
            *g = one;
        any = true;
    }
    return any;
}

void
jury_print(const json_t *status)
{
    const json_t *rows = json_object_get(status, "nodes");
    struct agreement g;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *name;
        const json_t *voters = json_object_get(agreement_of(row), "voters");
        bool seen = false, named = json_array_size(voters) > 1;
        size_t k;

        for (k = 0; k < i; k++)
            seen = seen || (agreement_of(json_array_get(rows, k)) &&
                            strcmp(id_of(json_array_get(rows, k)), id_of(row)) == 0);
        json_array_foreach(voters, k, name)
            named = named && json_is_string(name);
        if (!seen && named && collect(rows, i, &g))
            print_node(id_of(row), &g, voters);
    }
}

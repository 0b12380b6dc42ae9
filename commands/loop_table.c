/* loop_table: what a loop shows: a row for each round, from round.json alone. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/loop.h"

static double
number_at(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void
print_count(const json_t *row, const char *key, int width)
{
    const json_t *value = json_object_get(row, key);

    if (json_is_integer(value))
        printf("  %*" JSON_INTEGER_FORMAT, width, json_integer_value(value));
    else
        printf("  %*s", width, "");
}

/* "0.456 [0.412, 0.500]", or nothing as wide. */
static void
print_interval(const json_t *of, const char *key, bool sign)
{
    const json_t *ends = json_object_get(of, "interval");
    double mean = number_at(of, key);
    char text[64] = "";

    if (isfinite(mean) && json_array_size(ends) == 2)
        snprintf(text, sizeof(text), sign ? "%+.3f [%+.3f, %+.3f]" : "%.3f [%.3f, %.3f]", mean,
                 json_number_value(json_array_get(ends, 0)),
                 json_number_value(json_array_get(ends, 1)));
    else if (isfinite(mean))
        snprintf(text, sizeof(text), sign ? "%+.3f" : "%.3f", mean);
    printf(sign ? "%s%s" : "%s%-20s", *text || !sign ? "  " : "", text);
}

static void
print_row(const json_t *row)
{
    const json_t *held = json_object_get(row, "held_out"), *t = json_object_get(row, "seconds");
    double seconds = number_at(t, "sampling") + number_at(t, "training") +
                     number_at(t, "evaluation");
    double loss = number_at(row, "loss_last");

    printf("%5" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(row, "round")));
    print_count(row, "prompts", 7);
    print_count(row, "rollouts", 8);
    print_interval(row, "pass_rate", false);
    print_count(row, "solved", 6);
    print_count(row, "steps", 5);
    if (isfinite(loss))
        printf("  %9.4f", loss);
    else
        printf("  %9s", "");
    if (isfinite(seconds))
        printf("  %7.0f", seconds);
    else
        printf("  %7s", "");
    if (held) {
        print_interval(held, "pass_rate", false);
        print_interval(json_object_get(held, "gain"), "mean", true); /* the last column */
    }
    putchar('\n');
}

void
table_head(bool held)
{
    printf("round  prompts  rollouts  %-20s  solved  steps       loss  seconds%s\n",
           "pass rate of samples", held ? "  held out              gain since the start" : "");
}

int
table_show(const char *dir, int64_t round, bool text, bool *there, struct error *e)
{
    char *path = xprint("%s/round-%lld/round.json", dir, (long long)round);
    json_t *row = NULL;
    int rc = 0;

    *there = records_is(path);
    if (*there)
        rc = records_read(path, &row, e);
    if (row && text) {
        print_row(row);
    } else if (row) {
        json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
        putchar('\n');
    }
    json_decref(row);
    free(path);
    fflush(stdout);
    return rc;
}

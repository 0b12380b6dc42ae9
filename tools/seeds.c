/* seeds: what `make table` prints: objectives over several seeds.
 *
 *   seeds best GRID METHOD      the rate and tau of the best pass rate among
 * GRID/METHOD,RATE,TAU.json seeds table RUN EPOCHS RATE TAU for each point (best; common: at RATE;
 * weak: at RATE and TAU) a line per method: the mean pass rate over the seeds after each epoch,
 * with its interval, and the difference to bcpg, paired by seed
 *
 * Files are those of `sluice eval --json`: RUN/eval/POINT,METHOD,SEED,EPOCH.json. An interval is
 * mean +- t s / sqrt(n) over the n seeds, t of Student with n - 1 degrees. RUN/best.txt has a line
 * METHOD RATE TAU each, in the order of the table. */
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS_MAX   32
#define METHODS_MAX 32
#define WORD_MAX    64

struct method {
    char name[WORD_MAX], rate[WORD_MAX], tau[WORD_MAX];
};

/* 97.5 % quantiles of Student's t, by degrees of freedom 1 .. 31. */
static const double student[SEEDS_MAX] = {0,     12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                          2.306, 2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
                                          2.120, 2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069,
                                          2.064, 2.060,  2.056, 2.052, 2.048, 2.045, 2.042, 2.040};

/* NaN where there is no such file. */
static double
pass_rate(const char *path)
{
    json_t *row = json_load_file(path, 0, NULL);
    json_t *value = json_object_get(row, "pass_rate");
    double rate = json_is_number(value) ? json_number_value(value) : NAN;

    json_decref(row);
    return rate;
}

static int
command_best(const char *grid, const char *method)
{
    char pattern[4096], rate[WORD_MAX], tau[WORD_MAX];
    char best_rate[WORD_MAX] = "", best_tau[WORD_MAX] = "";
    double best = -1;
    glob_t g = {0};

    snprintf(pattern, sizeof(pattern), "%s/%s,*.json", grid, method);
    if (glob(pattern, 0, NULL, &g) != 0) {
        fprintf(stderr, "seeds: nothing at %s\n", pattern);
        return 1;
    }
    for (size_t i = 0; i < g.gl_pathc; i++) {
        const char *words = g.gl_pathv[i] + strlen(grid) + 1 + strlen(method) + 1;
        double value = pass_rate(g.gl_pathv[i]);

        if (sscanf(words, "%63[^,],%63s", rate, tau) != 2 || !(value > best))
            continue;
        tau[strlen(tau) - strlen(".json")] = 0;
        best = value;
        strcpy(best_rate, rate);
        strcpy(best_tau, tau);
    }
    globfree(&g);
    printf("%s %s\n", best_rate, best_tau);
    return best < 0;
}

/* Pass rates of one cell, seed by seed from 1. */
static int
read_cell(const char *run, const char *point, const char *method, int epoch, double *rates)
{
    int count = 0;

    for (; count < SEEDS_MAX; count++) {
        char path[4096];

        snprintf(path, sizeof(path), "%s/eval/%s,%s,%d,%d.json", run, point, method, count + 1,
                 epoch);
        rates[count] = pass_rate(path);
        if (isnan(rates[count]))
            break;
    }
    return count;
}

static void
mean_and_half(const double *x, int n, double *mean, double *half)
{
    double sum = 0, square = 0;

    for (int i = 0; i < n; i++)
        sum += x[i];
    *mean = n ? sum / n : NAN;
    for (int i = 0; i < n; i++)
        square += (x[i] - *mean) * (x[i] - *mean);
    *half = n > 1 ? student[n - 1] * sqrt(square / (n - 1) / n) : NAN;
}

static void
print_method(const char *run, const char *point, const struct method *m, int epochs)
{
    double rates[SEEDS_MAX], others[SEEDS_MAX], mean, half;
    int n = read_cell(run, point, m->name, epochs, rates);

    if (n == 0)
        return; /* not asked for at this point */
    printf("%-10s %6s %6s ", m->name, m->rate, m->tau);
    for (int e = 1; e <= epochs; e++) {
        n = read_cell(run, point, m->name, e, rates);
        mean_and_half(rates, n, &mean, &half);
        if (n > 1)
            printf("  %.3f +-%.3f", mean, half);
        else
            printf("  %.3f        ", mean);
    }
    if (n > 1 && strcmp(m->name, "bcpg") != 0 &&
        read_cell(run, point, "bcpg", epochs, others) == n) {
        for (int i = 0; i < n; i++)
            rates[i] -= others[i];
        mean_and_half(rates, n, &mean, &half);
        printf("   %+.3f [%+.3f, %+.3f]", mean, mean - half, mean + half);
    }
    printf("\n");
}

static int
command_table(const char *run, int epochs, const char *rate, const char *weak)
{
    static const char *const points[] = {"best", "common", "weak"};
    static const char *const heads[] = {"each at its best point of the grid",
                                        "all at one rate, tau as in table.yaml",
                                        "the same rate with a weak pull"};
    struct method methods[METHODS_MAX];
    char path[4096];
    int count = 0;
    FILE *in;

    snprintf(path, sizeof(path), "%s/best.txt", run);
    in = fopen(path, "re");
    if (!in) {
        perror(path);
        return 1;
    }
    while (count < METHODS_MAX && fscanf(in, "%63s %63s %63s", methods[count].name,
                                         methods[count].rate, methods[count].tau) == 3)
        count++;
    fclose(in);
    snprintf(path, sizeof(path), "%s/base.json", run);
    printf("the base policy: %.3f\n", pass_rate(path));
    for (int p = 0; p < 3; p++) {
        printf("\n%s\n%-10s %6s %6s ", heads[p], "objective", "lr", "tau");
        for (int i = 1; i <= epochs; i++)
            printf("  epoch %d      ", i);
        printf("  against bcpg, paired by seed\n");
        for (int i = 0; i < count; i++) {
            struct method m = methods[i];

            if (p > 0) {
                strcpy(m.rate, rate);
                strcpy(m.tau, p == 2 ? weak : "");
            }
            print_method(run, points[p], &m, epochs);
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "best") == 0)
        return command_best(argv[2], argv[3]);
    if (argc == 6 && strcmp(argv[1], "table") == 0 && atoi(argv[3]) > 0 &&
        strlen(argv[4]) < WORD_MAX && strlen(argv[5]) < WORD_MAX)
        return command_table(argv[2], atoi(argv[3]), argv[4], argv[5]);
    fprintf(stderr, "usage: seeds best GRID METHOD | table RUN EPOCHS RATE TAU\n");
    return 2;
}

/* table: the figures of a finished run, for the scripts of the examples.
 *
 *   table run RUN AUDIT SECONDS     rollouts, wrong answers, steps, gems, tokens trained, seconds, memory
 *   table gains EVAL ...            one line per objective; then, if both are there, bcpg_nsa against bcpg
 *
 * AUDIT holds the JSON of `sluice audit`, EVAL that of `sluice eval --against` (a line each; the name is the folder
 * above "final", and a model evaluated against such a folder is a comparison of two objectives). Tokens are in the
 * learners' metrics.jsonl, memory in the stop events of the logs, steps and gems in RUN/labelled.jsonl, if the
 * topology has that sink. */
#include <glob.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_HERE 4096
#define NAME_MAX_HERE 64
#define GAINS_MAX 32

/* Every JSON line of a file; what is no JSON is passed over (a log's last line may be cut). False: no such file. */
static bool
each_line(const char *path, void (*take)(const json_t *row, void *into), void *into)
{
    FILE  *in = fopen(path, "re");
    char  *line = NULL;
    size_t room = 0;

    if (!in)
        return false;
    while (getline(&line, &room, in) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        if (row)
            take(row, into);
        json_decref(row);
    }
    free(line);
    fclose(in);
    return true;
}

static glob_t
paths_of(const char *run, const char *pattern)
{
    char   path[PATH_MAX_HERE];
    glob_t g = {0};

    snprintf(path, sizeof(path), "%s/%s", run, pattern);
    if (glob(path, 0, NULL, &g) != 0)
        g.gl_pathc = 0;
    return g;
}

/* The name of the folder `up` levels above the path's last part. */
static void
folder_name(const char *path, int up, char *name)
{
    const char *end = path + strlen(path), *begin = end;

    for (int i = 0; i <= up; i++) {
        for (begin = end; begin > path && begin[-1] != '/'; begin--)
            ;
        if (i < up)
            end = begin > path ? begin - 1 : path;
    }
    snprintf(name, NAME_MAX_HERE, "%.*s", (int)(end - begin), begin);
}

struct labels {
    long long responses, steps, gems, with;
};

static void
take_labels(const json_t *row, void *into)
{
    struct labels *l = into;
    const json_t  *labels = json_object_get(row, "labels");
    long long      gems = 0;

    for (size_t k = 0; k < json_array_size(labels); k++)
        gems += json_integer_value(json_array_get(labels, k)) == 1;
    l->responses++;
    l->steps += (long long)json_array_size(labels);
    l->gems += gems;
    l->with += gems > 0;
}

/* Steps are numbered in order; one done again after a kill is written again. */
struct trained {
    long long step, tokens;
};

static void
take_step(const json_t *row, void *into)
{
    struct trained *t = into;
    long long       step = (long long)json_integer_value(json_object_get(row, "step"));

    if (step <= t->step)
        return;
    t->step = step;
    t->tokens += (long long)json_integer_value(json_object_get(row, "tokens"));
}

static void
take_stop(const json_t *row, void *into)
{
    long long  *most = into, kib;
    const char *event = json_string_value(json_object_get(row, "event"));
    const char *text = json_string_value(json_object_get(row, "text"));
    const char *at = event && text && strcmp(event, "stop") == 0 ? strstr(text, "; at most ") : NULL;

    if (at && sscanf(at, "; at most %lld KiB", &kib) == 1 && kib > *most)
        *most = kib;
}

static void
print_tokens(const char *run)
{
    glob_t    g = paths_of(run, "checkpoints/*/metrics.jsonl");
    long long all = 0;
    char      list[1024] = "";
    int       n = 0;

    for (size_t i = 0; i < g.gl_pathc; i++) {
        struct trained t = {0};
        char           name[NAME_MAX_HERE];

        folder_name(g.gl_pathv[i], 1, name);
        each_line(g.gl_pathv[i], take_step, &t);
        all += t.tokens;
        if (n < (int)sizeof(list))
            n += snprintf(list + n, sizeof(list) - (size_t)n, "%s%s %lld in %lld steps", i ? ", " : "", name, t.tokens,
                          t.step);
    }
    printf("%-16s %9lld   %s\n", "tokens trained", all, list);
    globfree(&g);
}

static void
print_memory(const char *run)
{
    glob_t    g = paths_of(run, "logs/*.log");
    long long most = 0, sum = 0;
    char      who[NAME_MAX_HERE] = "";

    for (size_t i = 0; i < g.gl_pathc; i++) {
        long long kib = 0;

        each_line(g.gl_pathv[i], take_stop, &kib);
        sum += kib;
        if (kib > most) {
            most = kib;
            folder_name(g.gl_pathv[i], 0, who);
            who[strcspn(who, ".")] = 0;
        }
    }
    printf("%-16s %5lld MiB   resident in the largest process (%s) at its peak; %lld MiB in all %zu\n", "memory",
           (most + 1023) / 1024, who, (sum + 1023) / 1024, g.gl_pathc);
    globfree(&g);
}

/* Rollouts that the reader closed because their group had no contrast. */
static void
print_equal(const json_t *report)
{
    const char *id;
    json_t     *node;
    long long   most = 0;

    json_object_foreach(json_object_get(report, "nodes"), id, node) {
        long long n = (long long)json_integer_value(json_object_get(json_object_get(node, "closed"), "equal"));
        most = n > most ? n : most;
    }
    if (most > 0)
        printf("%-16s %9lld   in groups of equal rewards, which teach nothing (drop_equal)\n", "closed", most);
}

static int
command_run(const char *run, const char *audit, const char *seconds)
{
    char          path[PATH_MAX_HERE];
    struct labels l = {0};
    json_t       *report = json_load_file(audit, 0, NULL);

    if (!report || !json_is_true(json_object_get(report, "ok"))) {
        fprintf(stderr, "table: %s is not the report of an audit that is ok\n", audit);
        json_decref(report);
        return 1;
    }
    printf("%-16s %9lld   every one accounted for (sluice audit)\n", "rollouts",
           (long long)json_integer_value(json_object_get(report, "read")));
    print_equal(report);
    json_decref(report);
    snprintf(path, sizeof(path), "%s/labelled.jsonl", run);
    if (each_line(path, take_labels, &l)) {
        printf("%-16s %9lld   wrong answers that were judged\n", "negatives", l.responses);
        printf("%-16s %9lld   of the wrong answers\n", "steps", l.steps);
        printf("%-16s %9lld   steps labelled correct, in %lld of the wrong answers\n", "gems", l.gems, l.with);
    }
    print_tokens(run);
    printf("%-16s %9s   from the first rollout to the last checkpoint\n", "seconds", seconds);
    print_memory(run);
    return 0;
}

struct gain {
    char   name[NAME_MAX_HERE], against[NAME_MAX_HERE];
    double before, after, mean, low, high;
};

struct gains {
    int         count;
    struct gain at[GAINS_MAX];
};

/* "checkpoints/bcpg/final" -> "bcpg"; "models/base" -> "base". */
static void
model_name(const char *path, char *name)
{
    folder_name(path, 0, name);
    if (strcmp(name, "final") == 0)
        folder_name(path, 1, name);
}

static void
take_gain(const json_t *row, void *into)
{
    struct gains *all = into;
    struct gain  *g = &all->at[all->count];
    const json_t *against = json_object_get(row, "against"), *gain = json_object_get(row, "gain");
    const json_t *interval = json_object_get(gain, "interval");
    const char   *model = json_string_value(json_object_get(row, "model"));
    const char   *other = json_string_value(json_object_get(against, "model"));

    if (!model || !other || all->count == GAINS_MAX)
        return;
    model_name(model, g->name);
    model_name(other, g->against);
    g->after = json_number_value(json_object_get(row, "pass_rate"));
    g->before = json_number_value(json_object_get(against, "pass_rate"));
    g->mean = json_number_value(json_object_get(gain, "mean"));
    g->low = json_number_value(json_array_get(interval, 0));
    g->high = json_number_value(json_array_get(interval, 1));
    all->count++;
}

static int
command_gains(int count, char **paths)
{
    struct gains all = {0};

    for (int i = 0; i < count; i++)
        if (!each_line(paths[i], take_gain, &all)) {
            perror(paths[i]);
            return 1;
        }
    printf("%-16s %8s %8s %8s   %s\n", "objective", "before", "after", "gain", "95 % interval of the gain, paired");
    for (int i = 0; i < all.count; i++) {
        const struct gain *g = &all.at[i];
        if (strcmp(g->against, "base") == 0)
            printf("%-16s %8.3f %8.3f %+8.3f   [%+.3f, %+.3f]\n", g->name, g->before, g->after, g->mean, g->low, g->high);
    }
    for (int i = 0; i < all.count; i++) {
        const struct gain *g = &all.at[i];
        if (strcmp(g->against, "base") == 0)
            continue;
        printf("\n%s came out %s %s: %.3f and %.3f, a difference of %+.3f [%+.3f, %+.3f]%s\n", g->name,
               g->mean > 0 ? "above" : g->mean < 0 ? "below" : "at", g->against, g->after, g->before, g->mean, g->low,
               g->high, g->low <= 0 && g->high >= 0 ? ", whose interval holds 0." : ".");
    }
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "run") == 0)
        return command_run(argv[2], argv[3], argv[4]);
    if (argc >= 3 && strcmp(argv[1], "gains") == 0)
        return command_gains(argc - 2, argv + 2);
    fprintf(stderr, "usage: table run RUN AUDIT SECONDS | gains EVAL ...\n");
    return 2;
}

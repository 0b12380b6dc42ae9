/* gems: what a sink of labelled messages holds: counts, and a few gems in colour.
 *
 *   gems LABELLED.jsonl [SHOW]      SHOW answers that hold gems (default 3), first those with a mistake beside them;
 *                                   colours on a terminal or with FORCE_COLOR */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const colours[] = {"\033[31m", "\033[32m", "\033[33m"};  /* incorrect, correct, unknown */
static const char *const marks[] = {"x", "+", "?"};

static void
show(json_t *o, bool colour)
{
    json_t     *rollout = json_object_get(o, "rollout"), *ends = json_object_get(o, "ends");
    const char *response = json_string_value(json_object_get(rollout, "response"));
    size_t      from = 0;

    printf("\n%s (ordinal %lld, reward %g)\n%s", json_string_value(json_object_get(rollout, "id")),
           (long long)json_integer_value(json_object_get(o, "ordinal")),
           json_number_value(json_object_get(rollout, "reward")),
           json_string_value(json_object_get(rollout, "prompt")));
    for (size_t k = 0; k < json_array_size(ends); k++) {
        size_t to = (size_t)json_integer_value(json_array_get(ends, k)), end = to;
        int    label = (int)json_integer_value(json_array_get(json_object_get(o, "labels"), k));

        label = label < 0 || label > 2 ? 2 : label;
        while (end > from && response[end - 1] == '\n')
            end--;
        printf("  %s %s%.*s%s\n", marks[label], colour ? colours[label] : "", (int)(end - from),
               response + from, colour ? "\033[0m" : "");
        from = to;
    }
}

struct count {
    long responses, steps, by[3], with;
};

/* How often each label occurs in a response. */
static void
labels_count(const json_t *labels, long by[3])
{
    by[0] = by[1] = by[2] = 0;
    for (size_t k = 0; k < json_array_size(labels); k++) {
        int label = (int)json_integer_value(json_array_get(labels, k));
        by[label < 0 || label > 2 ? 2 : label]++;
    }
}

/* One pass over the file: counts, and shows responses that hold gems (and a mistake, if `mistakes`), one to a prompt,
 * until `left` is used up. */
static void
pass(FILE *in, bool mistakes, bool colour, long *left, struct count *c)
{
    char  *line = NULL, *last = strdup("");
    size_t room = 0;

    memset(c, 0, sizeof(*c));
    rewind(in);
    while (getline(&line, &room, in) > 0) {
        json_t     *o = json_loads(line, 0, NULL), *labels = json_object_get(o, "labels");
        const char *prompt = json_string_value(json_object_get(json_object_get(o, "rollout"), "prompt"));
        long        by[3];

        labels_count(labels, by);
        c->responses += labels != NULL;
        c->with += by[1] > 0;
        for (int i = 0; i < 3; i++) {
            c->by[i] += by[i];
            c->steps += by[i];
        }
        if (*left > 0 && by[1] > 0 && (by[0] > 0) == mistakes && prompt && strcmp(prompt, last) != 0) {
            show(o, colour);
            free(last);
            last = strdup(prompt);
            --*left;
        }
        json_decref(o);
    }
    free(last);
    free(line);
}

int
main(int argc, char **argv)
{
    FILE        *in = argc > 1 ? fopen(argv[1], "r") : NULL;
    long         left = argc > 2 ? strtol(argv[2], NULL, 10) : 3;
    bool         colour = isatty(1) || getenv("FORCE_COLOR");
    struct count c;

    if (!in) {
        fprintf(stderr, "usage: gems LABELLED.jsonl [SHOW]\n");
        return 2;
    }
    pass(in, true, colour, &left, &c);
    if (left > 0)
        pass(in, false, colour, &left, &c);
    printf("\n%ld wrong answers, %ld steps: %ld gems (in %ld answers), %ld incorrect, %ld unknown\n", c.responses,
           c.steps, c.by[1], c.with, c.by[0], c.by[2]);
    fclose(in);
    return 0;
}

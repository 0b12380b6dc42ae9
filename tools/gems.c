/* gems: what a sink of labelled messages holds: counts, and a few gems in colour.
 *
 *   gems LABELLED.jsonl [SHOW]      SHOW rollouts that hold gems (default 3); colours on a terminal or with FORCE_COLOR */
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

int
main(int argc, char **argv)
{
    FILE  *in = argc > 1 ? fopen(argv[1], "r") : NULL;
    long   wanted = argc > 2 ? strtol(argv[2], NULL, 10) : 3, shown = 0;
    long   responses = 0, steps = 0, by[3] = {0}, with = 0;
    bool   colour = isatty(1) || getenv("FORCE_COLOR");
    char  *line = NULL;
    size_t room = 0;

    if (!in) {
        fprintf(stderr, "usage: gems LABELLED.jsonl [SHOW]\n");
        return 2;
    }
    while (getline(&line, &room, in) > 0) {
        json_t *o = json_loads(line, 0, NULL), *labels = json_object_get(o, "labels");
        long    gems = 0;

        for (size_t k = 0; k < json_array_size(labels); k++) {
            int label = (int)json_integer_value(json_array_get(labels, k));
            by[label < 0 || label > 2 ? 2 : label]++;
            gems += label == 1;
            steps++;
        }
        responses += labels != NULL;
        with += gems > 0;
        if (gems > 0 && shown < wanted && gems < (long)json_array_size(labels)) {
            show(o, colour);
            shown++;
        }
        json_decref(o);
    }
    printf("\n%ld wrong responses, %ld steps: %ld gems (in %ld responses), %ld incorrect, %ld unknown\n",
           responses, steps, by[1], with, by[0], by[2]);
    free(line);
    fclose(in);
    return 0;
}

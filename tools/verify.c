/* Verdicts for scripts: reads JSON lines {"gold": text, "response": text} and writes a line "1" or
 * "0" for each. With --seconds it says to stderr what the verdicts alone took, the input read once
 * and judged N times. Usage: build/tools/verify MODE [--seconds N] <lines */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "kernels/verify.h"

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct span
text_of(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);

    return span_of(json_string_value(v), json_string_length(v));
}

int
main(int argc, char **argv)
{
    int mode = argc > 1 ? verify_mode_of(argv[1]) : -1;
    int times = argc > 3 && strcmp(argv[2], "--seconds") == 0 ? atoi(argv[3]) : 0;
    json_t *lines = json_array(), *line;
    size_t i, right = 0;
    double start;

    if (mode < 0) {
        fprintf(stderr, "usage: verify %s [--seconds N] <lines\n", VERIFY_WORDS);
        return 2;
    }
    while ((line = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL)))
        json_array_append_new(lines, line);
    json_array_foreach(lines, i, line)
        printf("%d\n", verify_answer((enum verify_mode)mode, text_of(line, "response"),
                                     text_of(line, "gold")));
    start = now();
    for (int k = 0; k < times; k++)
        json_array_foreach(lines, i, line)
            right += (size_t)verify_answer((enum verify_mode)mode, text_of(line, "response"),
                                           text_of(line, "gold"));
    if (times)
        fprintf(stderr, "%.0f verdicts/s, %zu right\n",
                (double)json_array_size(lines) * times / (now() - start), right);
    json_decref(lines);
    return 0;
}

/* gold: the second stage of TRACT (arXiv 2503.04381): answers that a judge wrote itself keep their
 * reasoning and get the gold score in place of the one it predicted.
 *
 *      sluice sample STAGE1 --prompts prompts.jsonl --samples 1 --out own.jsonl
 *      gold <own.jsonl >gold.jsonl         then train tract on gold.jsonl, from the first base
 * again
 *
 * A line is a rollout with `response` and, in `answer`, the gold score. The digits at the
 * response's end are the predicted score; what stands before them stays, also where there are none
 * (an answer that was cut off). `reward` becomes the gold score, as objective tract wants it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* NULL, or why the line is of no use. */
static const char *
attach(json_t *line)
{
    json_t *answer = json_object_get(line, "answer");
    const char *response = json_string_value(json_object_get(line, "response"));
    char number[40], *end;
    size_t length = response ? strlen(response) : 0;
    double score;

    if (!response)
        return "no response";
    if (json_is_string(answer))
        snprintf(number, sizeof(number), "%s", json_string_value(answer));
    else if (json_is_integer(answer))
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(answer));
    else
        return "no answer, which holds the gold score";
    score = strtod(number, &end);
    if (end == number || *end)
        return "the answer is no score";
    while (length > 0 && isdigit((unsigned char)response[length - 1]))
        length--;
    json_object_set_new(line, "response", json_sprintf("%.*s%s", (int)length, response, number));
    json_object_set_new(line, "reward", json_real(score));
    return NULL;
}

int
main(void)
{
    char *text = NULL;
    size_t room = 0;
    long number = 0;
    int bad = 0;

    while (getline(&text, &room, stdin) > 0) {
        json_error_t e;
        json_t *line = json_loads(text, 0, &e);
        const char *why = line ? attach(line) : e.text;

        number++;
        if (why) {
            fprintf(stderr, "gold: line %ld: %s\n", number, why);
            bad = 1;
        } else {
            json_dumpf(line, stdout, JSON_COMPACT);
            putchar('\n');
        }
        json_decref(line);
    }
    free(text);
    return bad;
}

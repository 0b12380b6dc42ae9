/* prompts: a file of prompts, one JSON object a line: {"prompt": text, "answer": text or number,
 * "id": text or number}. Plain, gzip or zstd. Only prompt is required; other keys are ignored.
 * Everything is checked before the first is used. */
#ifndef NODES_PROMPTS_H
#define NODES_PROMPTS_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define PROMPTS_MAX      (1 << 24)
#define PROMPTS_LINE_MAX (16 << 20) /* bytes of a line */

struct prompt {
    const char *id; /* its own, or its number from 0 */
    struct span text;
    struct span answer; /* at NULL: none */
    int64_t line;       /* from 1 */
    int64_t number;     /* its place in the file, from 0: keys what is drawn for it */
};

struct prompts {
    const char *path;
    struct prompt *at;
    int64_t count, room;
    struct arena arena;
};

/* -> ERROR_input as "path:line: reason", ERROR_file. `answers`: every prompt must have one. */
int prompts_read(struct prompts *p, const char *path, int answers, struct error *e);
void prompts_free(struct prompts *p);

/* Calls `each` for every line that is not empty, with its number; a negative return ends it, with
 * "path:line" put in front. */
int prompts_lines(const char *path,
                  int (*each)(void *context, int64_t number, struct span text, struct error *e),
                  void *context, struct error *e);

/* The reward of a held-out response, whose line is JSON: "reward", a number or a truth, or whether
 * the response holds the number of "answer". ERROR_input where the line has neither. */
int prompts_reward(const json_t *json, struct span response, double *reward, struct error *e);

#endif

/* cases: solutions whose steps somebody has labelled, out of the shapes such sets have.
 *
 * A file is JSON lines (plain, gzip or zstd) or one JSON array. An element is one of
 *
 *   ProcessBench   {"problem", "steps": [text], "label": n, "final_answer_correct"}: the first
 * wrong step, counted from 0; -1: none. What follows it is unknown. PRM800K        {"question":
 * {"problem"}, "label": {"steps": [{"completions": [{"text", "rating"}], "human_completion",
 * "chosen_completion"}]}}: of each step what was chosen, else what a person wrote, else the first;
 * rating -1 is incorrect, 0 and 1 are correct. Elements that ended as a bad problem or were given
 * up are left out. stepwise       {"prompt", "completions": [text], "labels": [true or false]}, as
 * TRL has them; or "steps" for "completions", and 0 incorrect, 1 correct, 2 or null unknown. ours
 * {"rollout": {"prompt", "response", "answer"}, "ends", "labels"}, as a sink writes what a
 * consensus sends.
 *
 * "problem", "prompt" or "question" names what was asked; "answer" the expected answer, where there
 * is one. */
#ifndef COMMANDS_CASES_H
#define COMMANDS_CASES_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define CASES_MAX       (1 << 24)
#define CASES_STEPS_MAX 65536              /* of one solution */
#define CASES_ARRAY_MAX ((int64_t)1 << 30) /* bytes of a file that is one JSON array */

enum case_label { CASE_incorrect, CASE_correct, CASE_unknown };

#define CASE_NONE  (-1) /* first_error: every step is correct */
#define CASE_UNSET (-2) /* first_error: no step is known to be wrong, and not all are known */

struct labelled_case {
    struct span problem, answer;
    int64_t count;
    struct span *steps;
    uint8_t *labels;     /* enum case_label */
    int64_t first_error; /* the first incorrect step, or one of the two above */
    int answer_right;    /* 1, 0; -1: not known */
};

struct cases {
    int64_t count, room;
    int64_t skipped; /* elements that say nothing of steps */
    struct labelled_case *at;
    struct arena arena;
};

/* -> ERROR_input as "path:line: reason" ("path: element n: reason" of an array), ERROR_file. */
int cases_read(struct cases *c, const char *path, struct error *e);
void cases_free(struct cases *c);

/* One element, already parsed, is added. -> ERROR_input. */
int cases_add(struct cases *c, const json_t *element, struct error *e);

/* As one line of JSON that the reader of a topology understands, with `id` and a line feed. */
void case_write(const struct labelled_case *c, int64_t id, struct buffer *out);

#endif

/* line: one JSON line of an input as rollouts, in the shapes people have.
 *
 * A line is one rollout, or one prompt with many responses. Where no field was named, the first of
 * these that is present is taken (a dot goes into an object):
 *
 *   prompt    prompt, problem, question, input, query, messages, responses_create_params.input,
 *             raw_prompt, instruction
 *   response  response, output, completion, responses, generation, generations, completions, text,
 *             outputs, choices, content
 *   answer    reward_model.ground_truth, ground_truth, gts, answer, label, labels,
 *             expected_answer, verifier_metadata.expected_answer, gold, solution,
 *             question.ground_truth_answer, reference_answer
 *   reward    reward, score, rewards, scores, acc, is_correct, correct
 *   id        id, uuid, custom_id, request_id
 *
 * A line without a response but with "chosen" and "rejected" is two responses, of rewards 1 and 0.
 *
 * What a sampler may have recorded beside them, and where several responses are listed, in lists of
 * equal length or in the responses' own objects (nodes/reader/recorded.h):
 *
 *   logps     rollout_log_probs, generation_log_probs, generation_logprobs, response_logprobs,
 *             old_log_probs, logprobs, log_probs
 *   ids       response_token_ids, generation_token_ids, response_ids, token_ids
 *   weight    sample_weight, weight
 *   finish    finish_reason, stop_reason, truncated (true is "length")
 *   injected  injected
 *
 * A response may be given as steps instead (nodes/reader/given.h): the field "steps" where there is no
 * response, or any field that is named for it.
 *
 * A prompt is text, or a list of {role, content}: a lone message is its content, several are
 * written as ChatML up to the assistant's turn. A response is text, a message, a list of messages
 * (what the assistant says in them), or a list of such; then rewards are a list of equal length,
 * or lie in the elements. A reward is a finite number, or true or false. */
#ifndef NODES_READER_LINE_H
#define NODES_READER_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "graph/node.h"

#define LINE_RESPONSES_MAX 65536        /* on one line */
#define LINE_ID_BYTES_MAX  4096

/* The modes of kernels/verify.def, each one above its enum verify_mode. */
enum line_verify {
    LINE_verify_none,
#define VERIFY(name, meaning) LINE_verify_##name,
#include "kernels/verify.def"
#undef VERIFY
    LINE_verify_exec, /* by a program of the user's */
};
enum line_group { LINE_group_prompt, LINE_group_none, LINE_group_field };

struct line_how {
    const char *prompt_field, *response_field, *answer_field;   /* "": the standard names */
    const char *reward_field, *id_field;
    const char *logps_field, *token_ids_field, *weight_field, *finish_field, *injected_field;
    const char *steps_field;
    enum line_verify verify;
    enum line_group  group;
    const char      *group_field;   /* LINE_group_field */
};

struct line_key {
    uint64_t a, b;      /* of the group: 128 bits of hash; equal keys are one group */
};

struct line_item {
    struct rollout rollout;     /* borrowed from the line and the arena */
    const char    *why;         /* this response cannot be used, and why; else NULL */
    bool           grade;       /* LINE_verify_exec: its reward is still to come from a program (grade.h) */
};

struct line {
    struct json_t    *root;
    struct line_key   key;
    bool              id_made;      /* ids are made from file and offset, so they are unique */
    int               count;
    struct line_item *items;
};

/* `source`: "file:offset" of the line. -> ERROR_input with what is wrong, in words about fields.
 * line_free() after success. */
int line_read(const struct line_how *how, struct span text, struct span source, struct arena *arena,
              struct line *line, struct error *e);
void line_free(struct line *line);

/* The field the user named ("none": no field), else the first standard one that is there and not
 * null; *name is the one looked at. NULL: absent. */
const struct json_t *line_find(const struct json_t *root, const char *named,
                               const char *const *standard, const char **name);
const char *line_kind(const struct json_t *v);      /* "an object", "a list" ... */
/* A whole server's answer as a list of responses: its choices, or its body. */
const struct json_t *line_unwrap(const struct json_t *v);

#endif

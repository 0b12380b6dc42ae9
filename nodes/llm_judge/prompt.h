/* prompt: a template file and one rollout make the text a judge reads.
 *
 * The language. Text is copied as it stands; tags stand in double braces.
 *
 *   {{problem}}   what the model was asked            {{count}}    number of steps
 *   {{response}}  the whole answer                    {{answer}}   the expected answer, or nothing
 *   {{step}}      the bytes of a step                 {{index}}    its number, counted from 0
 *   {{previous}}  the response up to that step        {{number}}   its number, counted from 1
 *   {{brace}}     two opening braces                  {{! words}}  a comment
 *
 *   {{#steps}} ... {{/steps}}            once for every step
 *   {{#previous}} ... {{/previous}}      once for every step before the judged one
 *   {{#answer}} ... {{/answer}}          only where there is an expected answer
 *   {{#system}} ... {{/system}}          a chat message; also user, assistant
 *
 * Inside a loop, step, previous, index and number are those of the loop's step. Outside one they
 * are those of the judged step, and mean something only where a rendering judges one step
 * (PROMPT_step); a rendering for all steps at once (PROMPT_all) refuses them. A template without
 * chat messages is one user message; in one that has them, nothing but white space may stand
 * outside. PROMPT_step knows no chat messages. A line that holds only one {{#...}}, {{/...}} or
 * comment vanishes whole, and so
 * does one line end at the very end of the template, which editors put there. Values are never read
 * for tags. */
#ifndef NODES_LLM_JUDGE_PROMPT_H
#define NODES_LLM_JUDGE_PROMPT_H

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define PROMPT_BYTES_MAX    (1 << 20) /* of a template */
#define PROMPT_PARTS_MAX    4096      /* tags and texts of a template */
#define PROMPT_DEPTH_MAX    4         /* sections in sections */
#define PROMPT_MESSAGES_MAX 16

enum prompt_scope { PROMPT_all, PROMPT_step };
enum prompt_role { PROMPT_system, PROMPT_user, PROMPT_assistant };

struct prompt;

/* NULL and ERROR_input ("line 12: {{setp}} is unknown; did you mean {{step}}?"). prompt_open reads
 * a file: ERROR_file too, and the path in front. TEXT is copied. */
struct prompt *prompt_new(struct span text, enum prompt_scope scope, struct error *e);
struct prompt *prompt_open(const char *path, enum prompt_scope scope, struct error *e);
void prompt_free(struct prompt *p);

/* The templates used where the user names none: a taxonomy of errors in reasoning after arXiv
 * 2505.14391 (error propagation, error cessation) for all steps, and one question on one step. */
extern const char prompt_default_all[];
extern const char prompt_default_step[];

struct prompt_values {
    struct span problem, response, answer;
    const uint64_t *ends; /* (count) tile the response: spans_check() */
    int64_t count;
    int64_t step; /* the judged one; ignored for PROMPT_all */
};

struct prompt_message {
    enum prompt_role role;
    struct buffer text;
};

/* Zero-initialise; prompt_messages_free() at the end; reused freely. */
struct prompt_messages {
    int count;
    struct prompt_message at[PROMPT_MESSAGES_MAX];
};

/* The same values give the same bytes. At least one message; exactly one for PROMPT_step. */
void prompt_render(const struct prompt *p, const struct prompt_values *v,
                   struct prompt_messages *out);
void prompt_messages_free(struct prompt_messages *m);

const char *prompt_role_name(enum prompt_role role); /* "system" */

#endif

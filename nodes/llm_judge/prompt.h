/* prompt: a template file and one rollout make the text a judge reads.
 *
 * The language. Text is copied as it stands; tags stand in double braces.
 *
 *   {{problem}}   what the model was asked            {{count}}    number of steps asked about
 *   {{response}}  the whole answer                    {{answer}}   the expected answer, or nothing
 *   {{step}}      the bytes of a step                 {{index}}    its number, counted from 0
 *   {{previous}}  the response up to that step        {{number}}   its number, counted from 1
 *   {{omitted}}   steps left out before those shown   {{letter}}   a response's letter, from A
 *   {{brace}}     two opening braces                  {{! words}}  a comment
 *
 *   {{#steps}} ... {{/steps}}            once for every step asked about
 *   {{#previous}} ... {{/previous}}      once for every step shown before those
 *   {{#responses}} ... {{/responses}}    once for every response that is to be ranked
 *   {{#answer}} ... {{/answer}}          only where there is an expected answer
 *   {{#context}} ... {{/context}}        only where steps are shown before those asked about
 *   {{#omitted}} ... {{/omitted}}        only where steps before those shown are left out
 *   {{#json}} ... {{/json}}              only where the server is told to answer in JSON
 *   {{^answer}} ... {{/answer}}          only where there is none; so with the other conditions
 *   {{#system}} ... {{/system}}          a chat message; also user, assistant
 *   {{@form NAME}}                       the form in which answers come; the first tag of all
 *
 * What is asked about. PROMPT_all: the steps [from, to) of a response, all of it or a window; up to
 * step `from` as many are shown as fit. PROMPT_step: one step. PROMPT_group, which the form rank
 * makes of PROMPT_all: the order of several responses; {{response}} and {{letter}} then stand
 * inside {{#responses}}, and nothing speaks of steps.
 *
 * Inside a loop, step, previous, index and number are those of the loop's step; indexes count from
 * the start of the response, whatever is shown. Outside one they are those of the judged step, and
 * mean something only where a rendering judges one step (PROMPT_step); PROMPT_all knows only
 * {{previous}} there, the steps shown before those asked about.
 *
 * A template without chat messages is one user message; in one that has them, nothing but white
 * space may stand outside. A message of the assistant at the end is the beginning of the answer.
 * PROMPT_step knows no chat messages. A line that holds only one {{#...}}, {{^...}}, {{/...}},
 * {{@...}} or comment vanishes whole, and so does one line end at the very end of the template,
 * which editors put there. Values are never read for tags. */
#ifndef NODES_LLM_JUDGE_PROMPT_H
#define NODES_LLM_JUDGE_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define PROMPT_BYTES_MAX    (1 << 20) /* of a template */
#define PROMPT_PARTS_MAX    4096      /* tags and texts of a template */
#define PROMPT_DEPTH_MAX    4         /* sections in sections */
#define PROMPT_MESSAGES_MAX 16
#define PROMPT_LETTERS      20 /* responses that one call can rank: A to T, as FIRST lists them */

enum prompt_scope { PROMPT_all, PROMPT_step, PROMPT_group };
enum prompt_role { PROMPT_system, PROMPT_user, PROMPT_assistant };

/* What an answer says; verdict.h has the words of each. */
enum prompt_form {
    FORM_steps,       /* a label for each step */
    FORM_first_error, /* the first wrong step, or none */
    FORM_all_errors,  /* the wrong steps */
    FORM_agent,       /* +1, 0 or -1 for each step, and for the whole */
    FORM_score,       /* 1 to 5 for each step, and for the whole */
    FORM_rank,        /* the letter of the best response */
    FORM_count
};

struct prompt;

/* NULL and ERROR_input: "line 12, column 3: {{setp}} is unknown; did you mean {{step}}?"; columns
 * count characters from 1. prompt_open reads a file: ERROR_file too, and the path in front. TEXT is
 * copied. */
struct prompt *prompt_new(struct span text, enum prompt_scope scope, struct error *e);
struct prompt *prompt_open(const char *path, enum prompt_scope scope, struct error *e);
void prompt_free(struct prompt *p);

enum prompt_form prompt_form(const struct prompt *p);
enum prompt_scope prompt_scope(const struct prompt *p);
bool prompt_shows_previous(const struct prompt *p); /* does fewer earlier steps make it shorter? */
const char *prompt_form_name(enum prompt_form form);

/* The templates of examples/prompts by their names there, without ".txt"; at NULL: none of that
 * name. `names` is NULL-terminated. */
struct span prompt_shipped(const char *name);
extern const char *const prompt_shipped_names[];

struct prompt_values {
    struct span problem, response, answer;
    const uint64_t *ends; /* (count) tile the response: spans_check() */
    int64_t count;
    int64_t step;     /* PROMPT_step: the judged one */
    int64_t from, to; /* PROMPT_all: the steps asked about; to = 0: all of them */
    int64_t shown;    /* the first step shown, <= from and <= step */
    bool json;
    const struct span *responses; /* PROMPT_group: (response_count) in the order of their letters */
    int response_count;
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

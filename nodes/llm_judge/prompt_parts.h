/* prompt_parts: a template as its reader (prompt.c) leaves it to its renderer (prompt_render.c).
 *
 * A template is a flat list of parts. A section's opening part knows its closing part, so rendering
 * is one walk with jumps: a loop goes back from its closing part until its steps are done. */
#ifndef NODES_LLM_JUDGE_PROMPT_PARTS_H
#define NODES_LLM_JUDGE_PROMPT_PARTS_H

#include "nodes/llm_judge/prompt.h"

enum word {
    WORD_problem,
    WORD_response,
    WORD_answer,
    WORD_count,
    WORD_step,
    WORD_index,
    WORD_number,
    WORD_omitted,
    WORD_letter,
    WORD_brace,
    WORD_steps,
    WORD_previous,
    WORD_responses,
    WORD_context,
    WORD_json,
    WORD_system,
    WORD_user,
    WORD_assistant,
    WORD_none
};

enum word_use {
    USE_value = 1,      /* {{name}} */
    USE_section = 2,    /* {{#name}} */
    USE_loop = 4,       /* a section that is repeated */
    USE_role = 8,       /* a section that is a chat message */
    USE_condition = 16, /* a section that may be left out: {{^name}} too */
    USE_judged = 32,    /* a value that means something only with a step at hand */
    USE_steps = 64,     /* speaks of the steps of one response */
    USE_listed = 128,   /* speaks of several responses */
};

struct word_row {
    const char *name;
    unsigned use;
};
extern const struct word_row prompt_words[WORD_none];

enum part_kind { PART_text, PART_value, PART_open, PART_close };

struct part {
    enum part_kind kind;
    enum word word;
    bool absent;      /* opened by {{^...}} */
    struct span text; /* PART_text: into the template's copy */
    int other;        /* index of the section's other end */
    size_t at;        /* where it stands in the template */
};

struct prompt {
    char *text;
    enum prompt_scope scope;
    enum prompt_form form;
    bool roles; /* has chat messages */
    int count;
    struct part parts[PROMPT_PARTS_MAX];
};

#endif

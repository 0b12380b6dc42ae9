/* prompt_render: a template and its values become text. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "nodes/llm_judge/prompt_parts.h"

/* Where the walk is: in which message, and at which turn of the loop around it. */
struct walk {
    const struct prompt_values *v;
    enum prompt_scope scope;
    struct prompt_messages *out;
    struct buffer *to;  /* NULL: outside every message */
    int64_t turn, last; /* of the loop we are in; loops do not nest */
    bool looping;
};

static int64_t
asked_to(const struct prompt_values *v)
{
    return v->to > 0 ? v->to : v->count;
}

/* Byte offset where a step begins; of step `count`, where the response ends. */
static uint64_t
start_of(const struct prompt_values *v, int64_t step)
{
    return step > 0 && v->count > 0 ? v->ends[(step < v->count ? step : v->count) - 1] : 0;
}

static void
add(struct buffer *to, struct span s)
{
    buffer_add(to, s.at, s.length);
}

static void
add_part_of(struct walk *w, int64_t from, int64_t to)
{
    uint64_t a = start_of(w->v, from), b = start_of(w->v, to);

    if (b > a)
        buffer_add(w->to, w->v->response.at + a, (size_t)(b - a));
}

static int64_t
count_of(const struct walk *w)
{
    if (w->scope == PROMPT_group)
        return w->v->response_count;
    return w->scope == PROMPT_all ? asked_to(w->v) - w->v->from : w->v->count;
}

/* The step that words speak of here. */
static int64_t
step_of(const struct walk *w)
{
    if (w->looping)
        return w->turn;
    return w->scope == PROMPT_all ? w->v->from : w->v->step;
}

static void
add_value(struct walk *w, enum word word)
{
    const struct prompt_values *v = w->v;
    int64_t step = step_of(w);

    switch (word) {
    case WORD_problem:
        add(w->to, v->problem);
        break;
    case WORD_response:
        add(w->to, w->scope == PROMPT_group ? v->responses[w->turn] : v->response);
        break;
    case WORD_answer:
        add(w->to, v->answer);
        break;
    case WORD_count:
        buffer_print(w->to, "%" PRId64, count_of(w));
        break;
    case WORD_step:
        add_part_of(w, step, step + 1);
        break;
    case WORD_previous:
        add_part_of(w, v->shown, step);
        break;
    case WORD_index:
        buffer_print(w->to, "%" PRId64, step);
        break;
    case WORD_number:
        buffer_print(w->to, "%" PRId64, step + 1);
        break;
    case WORD_omitted:
        buffer_print(w->to, "%" PRId64, v->shown);
        break;
    case WORD_letter:
        buffer_print(w->to, "%c", (int)('A' + w->turn));
        break;
    case WORD_brace:
        buffer_text(w->to, "{{");
        break;
    default:
        assert(!"a word without a value");
    }
}

static struct buffer *
begin_message(struct prompt_messages *out, enum prompt_role role)
{
    struct prompt_message *m = &out->at[out->count++];

    m->role = role;
    buffer_clear(&m->text);
    return &m->text;
}

static bool
holds(const struct walk *w, enum word word)
{
    const struct prompt_values *v = w->v;

    switch (word) {
    case WORD_answer:
        return v->answer.length > 0;
    case WORD_omitted:
        return v->shown > 0;
    case WORD_context:
        return v->shown < (w->scope == PROMPT_all ? v->from : v->step);
    default:
        return v->json;
    }
}

/* The first turn of a loop, and where it ends. */
static void
begin_loop(struct walk *w, enum word word)
{
    const struct prompt_values *v = w->v;

    w->looping = true;
    if (word == WORD_responses) {
        w->turn = 0;
        w->last = v->response_count;
    } else if (word == WORD_previous) {
        w->turn = v->shown;
        w->last = w->scope == PROMPT_all ? v->from : v->step;
    } else {
        w->turn = w->scope == PROMPT_all ? v->from : 0;
        w->last = w->scope == PROMPT_all ? asked_to(v) : v->count;
    }
}

/* A section opens at part `i`: the part after which the walk goes on. */
static int
open_section(struct walk *w, const struct part *part, int i)
{
    unsigned use = prompt_words[part->word].use;

    if (use & USE_role) {
        w->to = begin_message(w->out, (enum prompt_role)(part->word - WORD_system));
    } else if (use & USE_loop) {
        begin_loop(w, part->word);
        w->looping = w->turn < w->last;
        if (!w->looping)
            return part->other;
    } else if (holds(w, part->word) == part->absent) {
        return part->other;
    }
    return i;
}

static int
close_section(struct walk *w, const struct part *part, int i)
{
    unsigned use = prompt_words[part->word].use;

    if (use & USE_role)
        w->to = NULL;
    if (!(use & USE_loop))
        return i;
    w->looping = ++w->turn < w->last;
    return w->looping ? part->other : i;
}

void
prompt_render(const struct prompt *p, const struct prompt_values *v, struct prompt_messages *out)
{
    struct walk w = {.v = v, .scope = p->scope, .out = out};

    out->count = 0;
    if (!p->roles)
        w.to = begin_message(out, PROMPT_user);
    for (int i = 0; i < p->count; i++) {
        const struct part *part = &p->parts[i];
        if (part->kind == PART_text && w.to)
            add(w.to, part->text);
        else if (part->kind == PART_value)
            add_value(&w, part->word);
        else if (part->kind == PART_open)
            i = open_section(&w, part, i);
        else if (part->kind == PART_close)
            i = close_section(&w, part, i);
    }
}

void
prompt_messages_free(struct prompt_messages *m)
{
    for (int i = 0; i < PROMPT_MESSAGES_MAX; i++)
        buffer_free(&m->at[i].text);
    m->count = 0;
}

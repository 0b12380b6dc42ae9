/* prompt: the reader and the renderer of templates; prompt.h documents the language.
 *
 * A template is a flat list of parts. A section's opening part knows its closing part, so rendering
 * is one walk with jumps: a loop goes back from its closing part until its steps are done. */
#include "nodes/llm_judge/prompt.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node.h"

enum word {
    WORD_problem,
    WORD_response,
    WORD_answer,
    WORD_count,
    WORD_step,
    WORD_index,
    WORD_number,
    WORD_brace,
    WORD_steps,
    WORD_previous,
    WORD_system,
    WORD_user,
    WORD_assistant,
    WORD_none
};

enum word_use {
    USE_value = 1,   /* {{name}} */
    USE_section = 2, /* {{#name}} */
    USE_loop = 4,    /* a section that is repeated */
    USE_role = 8,    /* a section that is a chat message */
    USE_judged = 16, /* means something only with a step at hand */
};

static const struct {
    const char *name;
    unsigned use;
} words[] = {
    [WORD_problem] = {"problem", USE_value},
    [WORD_response] = {"response", USE_value},
    [WORD_answer] = {"answer", USE_value | USE_section},
    [WORD_count] = {"count", USE_value},
    [WORD_step] = {"step", USE_value | USE_judged},
    [WORD_index] = {"index", USE_value | USE_judged},
    [WORD_number] = {"number", USE_value | USE_judged},
    [WORD_brace] = {"brace", USE_value},
    [WORD_steps] = {"steps", USE_section | USE_loop},
    [WORD_previous] = {"previous", USE_value | USE_section | USE_loop | USE_judged},
    [WORD_system] = {"system", USE_section | USE_role},
    [WORD_user] = {"user", USE_section | USE_role},
    [WORD_assistant] = {"assistant", USE_section | USE_role},
};

enum part_kind { PART_text, PART_value, PART_open, PART_close };

struct part {
    enum part_kind kind;
    enum word word;
    struct span text; /* PART_text: into the template's copy */
    int other;        /* index of the section's other end */
    int line;
};

struct prompt {
    char *text;
    enum prompt_scope scope;
    bool roles; /* has chat messages */
    int count;
    struct part parts[PROMPT_PARTS_MAX];
};

struct reader {
    struct prompt *p;
    struct span text;
    size_t at;
    int line;
    int depth;
    int open[PROMPT_DEPTH_MAX];
};

const char *
prompt_role_name(enum prompt_role role)
{
    return words[WORD_system + (int)role].name;
}

static int
blame(const struct reader *r, struct error *e, const char *words_, const char *tag,
      const char *more)
{
    return error_set(e, ERROR_input, "line %d: {{%.60s}} %s%s", r->line, tag, words_, more);
}

static enum word
word_find(const char *name)
{
    for (int w = 0; w < WORD_none; w++)
        if (strcmp(words[w].name, name) == 0)
            return (enum word)w;
    return WORD_none;
}

static int
unknown_word(const struct reader *r, const char *name, struct error *e)
{
    const char *names[WORD_none + 1] = {0};
    const char *near;

    for (int w = 0; w < WORD_none; w++)
        names[w] = words[w].name;
    near = nearest(name, names);
    return error_set(e, ERROR_input, "line %d: {{%.60s}} is unknown%s%s%s", r->line, name,
                     near ? "; did you mean {{" : "", near ? near : "", near ? "}}?" : "");
}

static int
add_part(struct reader *r, struct part part, struct error *e)
{
    if (r->p->count == PROMPT_PARTS_MAX)
        return error_set(e, ERROR_limit, "line %d: more than %d tags and texts", r->line,
                         PROMPT_PARTS_MAX);
    part.line = r->line;
    r->p->parts[r->p->count++] = part;
    return 0;
}

static bool
in_loop(const struct reader *r)
{
    for (int i = 0; i < r->depth; i++)
        if (words[r->p->parts[r->open[i]].word].use & USE_loop)
            return true;
    return false;
}

static int
open_section(struct reader *r, enum word w, const char *tag, struct error *e)
{
    struct prompt *p = r->p;

    if (!(words[w].use & USE_section))
        return blame(r, e, "is a value, not a section", tag, "");
    if ((words[w].use & USE_role) && p->scope == PROMPT_step)
        return blame(r, e, "is a chat message, and a local model reads plain text", tag, "");
    if ((words[w].use & USE_role) && r->depth > 0)
        return blame(r, e, "is a chat message and cannot stand inside a section", tag, "");
    if ((words[w].use & USE_loop) && in_loop(r))
        return blame(r, e, "is a loop inside a loop", tag, "");
    if ((words[w].use & USE_judged) && p->scope == PROMPT_all)
        return blame(r, e, "needs one judged step, but this prompt asks for all steps at once", tag,
                     "");
    if (r->depth == PROMPT_DEPTH_MAX)
        return blame(r, e, "is nested too deeply", tag, "");
    if (words[w].use & USE_role)
        p->roles = true;
    r->open[r->depth++] = p->count;
    return add_part(r, (struct part){.kind = PART_open, .word = w}, e);
}

static int
close_section(struct reader *r, enum word w, const char *tag, struct error *e)
{
    struct prompt *p = r->p;
    int open;

    if (r->depth == 0)
        return blame(r, e, "closes nothing", tag, "");
    open = r->open[r->depth - 1];
    if (p->parts[open].word != w)
        return blame(r, e, "closes the open section ", tag, words[p->parts[open].word].name);
    r->depth--;
    p->parts[open].other = p->count;
    return add_part(r, (struct part){.kind = PART_close, .word = w, .other = open}, e);
}

/* TAG is what stands between the braces, white space trimmed. */
static int
read_tag(struct reader *r, const char *tag, struct error *e)
{
    const char *name = tag + (tag[0] == '#' || tag[0] == '/');
    enum word w = word_find(name);

    if (tag[0] == '!')
        return 0;
    if (w == WORD_none)
        return unknown_word(r, name, e);
    if (tag[0] == '#')
        return open_section(r, w, tag, e);
    if (tag[0] == '/')
        return close_section(r, w, tag, e);
    if (!(words[w].use & USE_value))
        return blame(r, e, "is a section; write {{#", tag, "...}}");
    if ((words[w].use & USE_judged) && r->p->scope == PROMPT_all && !in_loop(r))
        return blame(r, e, "means a step only inside {{#steps}}", tag, "");
    return add_part(r, (struct part){.kind = PART_value, .word = w}, e);
}

static bool
blank(const char *at, const char *end)
{
    for (; at < end; at++)
        if (*at != ' ' && *at != '\t' && *at != '\r')
            return false;
    return true;
}

/* Does the tag [from, to) have its line to itself? Then the line's first byte and the byte after
 * it. */
static bool
alone(const struct reader *r, size_t from, size_t to, size_t *line_from, size_t *line_to)
{
    size_t a = from, b = to;

    while (a > 0 && r->text.at[a - 1] != '\n')
        a--;
    while (b < r->text.length && r->text.at[b] != '\n')
        b++;
    if (!blank(r->text.at + a, r->text.at + from) || !blank(r->text.at + to, r->text.at + b))
        return false;
    *line_from = a;
    *line_to = b < r->text.length ? b + 1 : b;
    return true;
}

static int
read_text(struct reader *r, size_t to, struct error *e)
{
    struct span s = span_of(r->text.at + r->at, to > r->at ? to - r->at : 0);

    return s.length ? add_part(r, (struct part){.kind = PART_text, .text = s}, e) : 0;
}

/* From r->at: the text up to the next tag, and the tag. */
static int
read_next(struct reader *r, struct error *e)
{
    const char *open = memmem(r->text.at + r->at, r->text.length - r->at, "{{", 2);
    const char *close;
    char tag[128];
    size_t from, to, line_from = 0, line_to = 0, length;
    int rc;

    if (!open) {
        rc = read_text(r, r->text.length, e);
        r->at = r->text.length;
        return rc;
    }
    from = (size_t)(open - r->text.at);
    for (size_t i = r->at; i < from; i++)
        r->line += r->text.at[i] == '\n';
    close = memmem(open + 2, r->text.length - from - 2, "}}", 2);
    if (!close)
        return error_set(e, ERROR_input, "line %d: {{ without }}", r->line);
    to = (size_t)(close - r->text.at) + 2;
    for (open += 2; open < close && (*open == ' ' || *open == '\t'); open++)
        continue;
    for (length = (size_t)(close - open); length && strchr(" \t", open[length - 1]); length--)
        continue;
    snprintf(tag, sizeof(tag), "%.*s", (int)(length < sizeof(tag) ? length : sizeof(tag) - 1),
             open);
    if (strchr("#/!", tag[0]) && tag[0] && alone(r, from, to, &line_from, &line_to)) {
        rc = read_text(r, line_from, e);
        to = line_to;
    } else {
        rc = read_text(r, from, e);
    }
    if (rc == 0)
        rc = read_tag(r, tag, e);
    for (size_t i = from; i < to; i++)
        r->line += r->text.at[i] == '\n';
    r->at = to;
    return rc;
}

/* With chat messages, only white space may stand outside them. */
static int
check_outside(const struct prompt *p, struct error *e)
{
    for (int i = 0; p->roles && i < p->count; i++) {
        const struct part *part = &p->parts[i];
        if (part->kind == PART_open && (words[part->word].use & USE_role)) {
            i = part->other;
            continue;
        }
        if (part->kind != PART_text || strspn(part->text.at, " \t\r\n") < part->text.length)
            return error_set(e, ERROR_input,
                             "line %d: something stands outside {{#system}}, {{#user}} and"
                             " {{#assistant}}",
                             part->line);
    }
    return 0;
}

static int
count_roles(const struct prompt *p, struct error *e)
{
    int roles = 0;

    for (int i = 0; i < p->count; i++)
        roles += p->parts[i].kind == PART_open && (words[p->parts[i].word].use & USE_role);
    if (roles > PROMPT_MESSAGES_MAX)
        return error_set(e, ERROR_limit, "more than %d chat messages", PROMPT_MESSAGES_MAX);
    return 0;
}

struct prompt *
prompt_new(struct span text, enum prompt_scope scope, struct error *e)
{
    struct reader r = {.line = 1};
    int rc = 0;

    if (text.length > PROMPT_BYTES_MAX) {
        error_set(e, ERROR_limit, "the template has more than %d bytes", PROMPT_BYTES_MAX);
        return NULL;
    }
    if (text.length && text.at[text.length - 1] == '\n')
        text.length--;
    r.p = xalloc(sizeof(*r.p));
    r.p->scope = scope;
    r.p->text = span_copy(text);
    r.text = span_of(r.p->text, text.length);
    if (text.length && memchr(text.at, 0, text.length))
        rc = error_set(e, ERROR_input, "the template holds a zero byte");
    while (rc == 0 && r.at < r.text.length)
        rc = read_next(&r, e);
    if (rc == 0 && r.depth > 0)
        rc = error_set(e, ERROR_input, "line %d: {{#%s}} is never closed",
                       r.p->parts[r.open[r.depth - 1]].line,
                       words[r.p->parts[r.open[r.depth - 1]].word].name);
    if (rc == 0)
        rc = check_outside(r.p, e);
    if (rc == 0)
        rc = count_roles(r.p, e);
    if (rc == 0)
        return r.p;
    prompt_free(r.p);
    return NULL;
}

struct prompt *
prompt_open(const char *path, enum prompt_scope scope, struct error *e)
{
    FILE *f = fopen(path, "rbe");
    struct buffer b = {0};
    struct prompt *p = NULL;
    size_t got;
    int fault = f ? 0 : errno;

    while (f && b.length <= PROMPT_BYTES_MAX) {
        buffer_reserve(&b, 65536);
        got = fread(b.at + b.length, 1, 65536, f);
        b.length += got;
        if (got == 0) {
            fault = ferror(f) ? EIO : 0;
            break;
        }
    }
    if (f)
        fclose(f);
    if (fault) {
        error_set(e, ERROR_file, "%s: %s", path, strerror(fault));
    } else {
        p = prompt_new(buffer_span(&b), scope, e);
        if (!p)
            error_wrap(e, "%s", path);
    }
    buffer_free(&b);
    return p;
}

void
prompt_free(struct prompt *p)
{
    if (!p)
        return;
    free(p->text);
    free(p);
}

static void
add_value(const struct prompt_values *v, enum word w, int64_t step, struct buffer *out)
{
    uint64_t from = step > 0 && v->count ? v->ends[step - 1] : 0;
    uint64_t to = step < v->count ? v->ends[step] : from;

    switch (w) {
    case WORD_problem:
        buffer_add(out, v->problem.at, v->problem.length);
        break;
    case WORD_response:
        buffer_add(out, v->response.at, v->response.length);
        break;
    case WORD_answer:
        buffer_add(out, v->answer.at, v->answer.length);
        break;
    case WORD_count:
        buffer_print(out, "%" PRId64, v->count);
        break;
    case WORD_step:
        buffer_add(out, v->response.at + from, (size_t)(to - from));
        break;
    case WORD_previous:
        buffer_add(out, v->response.at, (size_t)from);
        break;
    case WORD_index:
        buffer_print(out, "%" PRId64, step);
        break;
    case WORD_number:
        buffer_print(out, "%" PRId64, step + 1);
        break;
    case WORD_brace:
        buffer_text(out, "{{");
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

void
prompt_render(const struct prompt *p, const struct prompt_values *v, struct prompt_messages *out)
{
    struct buffer *to = NULL;
    int64_t step = v->step, last = 0; /* of the loop we are in; loops do not nest */

    out->count = 0;
    if (!p->roles)
        to = begin_message(out, PROMPT_user);
    for (int i = 0; i < p->count; i++) {
        const struct part *part = &p->parts[i];
        unsigned use = words[part->word].use;
        if (part->kind == PART_text && to) {
            buffer_add(to, part->text.at, part->text.length);
        } else if (part->kind == PART_value) {
            add_value(v, part->word, step, to);
        } else if (part->kind == PART_open && (use & USE_role)) {
            to = begin_message(out, (enum prompt_role)(part->word - WORD_system));
        } else if (part->kind == PART_open && (use & USE_loop)) {
            step = 0;
            last = part->word == WORD_steps ? v->count : v->step;
            if (last <= 0) {
                i = part->other;
                step = v->step;
            }
        } else if (part->kind == PART_open && part->word == WORD_answer) {
            if (v->answer.length == 0)
                i = part->other;
        } else if (part->kind == PART_close && (use & USE_loop)) {
            if (++step < last)
                i = part->other;
            else
                step = v->step;
        } else if (part->kind == PART_close && (use & USE_role)) {
            to = NULL;
        }
    }
}

void
prompt_messages_free(struct prompt_messages *m)
{
    for (int i = 0; i < PROMPT_MESSAGES_MAX; i++)
        buffer_free(&m->at[i].text);
    m->count = 0;
}

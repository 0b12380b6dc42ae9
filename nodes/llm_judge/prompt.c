/* prompt: the reader of templates; prompt.h documents the language. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node.h"
#include "nodes/llm_judge/prompt_parts.h"

const struct word_row prompt_words[WORD_none] = {
    [WORD_problem] = {"problem", USE_value},
    [WORD_response] = {"response", USE_value},
    [WORD_answer] = {"answer", USE_value | USE_section | USE_condition},
    [WORD_count] = {"count", USE_value},
    [WORD_step] = {"step", USE_value | USE_judged | USE_steps},
    [WORD_index] = {"index", USE_value | USE_judged | USE_steps},
    [WORD_number] = {"number", USE_value | USE_judged | USE_steps},
    [WORD_omitted] = {"omitted", USE_value | USE_section | USE_condition | USE_steps},
    [WORD_letter] = {"letter", USE_value | USE_listed},
    [WORD_brace] = {"brace", USE_value},
    [WORD_steps] = {"steps", USE_section | USE_loop | USE_steps},
    [WORD_previous] = {"previous", USE_value | USE_section | USE_loop | USE_steps},
    [WORD_responses] = {"responses", USE_section | USE_loop | USE_listed},
    [WORD_context] = {"context", USE_section | USE_condition | USE_steps},
    [WORD_json] = {"json", USE_section | USE_condition},
    [WORD_system] = {"system", USE_section | USE_role},
    [WORD_user] = {"user", USE_section | USE_role},
    [WORD_assistant] = {"assistant", USE_section | USE_role},
};

static const char *const forms[] = {
    [FORM_steps] = "steps",
    [FORM_first_error] = "first_error",
    [FORM_all_errors] = "all_errors",
    [FORM_agent] = "agent",
    [FORM_score] = "score",
    [FORM_rank] = "rank",
    [FORM_count] = NULL,
};

struct reader {
    struct prompt *p;
    struct span text;
    size_t at;
    size_t tag; /* where the tag at hand begins: what an error speaks of */
    bool formed;
    int depth;
    int open[PROMPT_DEPTH_MAX];
};

const char *
prompt_role_name(enum prompt_role role)
{
    return prompt_words[WORD_system + (int)role].name;
}

const char *
prompt_form_name(enum prompt_form form)
{
    return forms[form];
}

enum prompt_form
prompt_form(const struct prompt *p)
{
    return p->form;
}

enum prompt_scope
prompt_scope(const struct prompt *p)
{
    return p->scope;
}

bool
prompt_shows_previous(const struct prompt *p)
{
    for (int i = 0; i < p->count; i++)
        if (p->parts[i].word == WORD_previous && p->parts[i].kind != PART_text)
            return true;
    return false;
}

/* "line 2, column 3: ..." of a place in the template. */
static int __attribute__((format(printf, 4, 5)))
blame(const struct reader *r, size_t at, struct error *e, const char *format, ...)
{
    char words[300];
    int line = 1, column = 1;
    va_list values;

    va_start(values, format);
    vsnprintf(words, sizeof(words), format, values);
    va_end(values);
    for (size_t i = 0; i < at; i++) {
        if (r->text.at[i] == '\n') {
            line++;
            column = 1;
        } else {
            column += ((unsigned char)r->text.at[i] & 0xc0) != 0x80;
        }
    }
    return error_set(e, ERROR_input, "line %d, column %d: %s", line, column, words);
}

static enum word
word_find(const char *name)
{
    for (int w = 0; w < WORD_none; w++)
        if (strcmp(prompt_words[w].name, name) == 0)
            return (enum word)w;
    return WORD_none;
}

static int
unknown_word(const struct reader *r, const char *name, struct error *e)
{
    const char *names[WORD_none + 1] = {0};
    const char *near;

    for (int w = 0; w < WORD_none; w++)
        names[w] = prompt_words[w].name;
    near = nearest(name, names);
    return blame(r, r->tag, e, "{{%.60s}} is unknown%s%s%s", name, near ? "; did you mean {{" : "",
                 near ? near : "", near ? "}}?" : "");
}

static int
add_part(struct reader *r, struct part part, struct error *e)
{
    if (r->p->count == PROMPT_PARTS_MAX) {
        blame(r, r->tag, e, "more than %d tags and texts", PROMPT_PARTS_MAX);
        return e->code = ERROR_limit;
    }
    r->p->parts[r->p->count++] = part;
    return 0;
}

/* The word of the loop that is open, or WORD_none. */
static enum word
loop_of(const struct reader *r)
{
    for (int i = 0; i < r->depth; i++) {
        enum word w = r->p->parts[r->open[i]].word;
        if (prompt_words[w].use & USE_loop)
            return w;
    }
    return WORD_none;
}

/* Does the word belong into a prompt of this scope at all? */
static int
check_scope(const struct reader *r, enum word w, const char *tag, struct error *e)
{
    unsigned use = prompt_words[w].use;

    if (r->p->scope == PROMPT_group && (use & USE_steps))
        return blame(r, r->tag, e, "{{%.60s}} speaks of steps, and the form rank is of responses",
                     tag);
    if (r->p->scope != PROMPT_group && (use & USE_listed))
        return blame(r, r->tag, e, "{{%.60s}} needs {{@form rank}} at the top of the template",
                     tag);
    return 0;
}

static int
open_section(struct reader *r, enum word w, const char *tag, struct error *e)
{
    struct prompt *p = r->p;
    unsigned use = prompt_words[w].use;

    if (!(use & USE_section))
        return blame(r, r->tag, e, "{{%.60s}} is a value, not a section", tag);
    if (tag[0] == '^' && !(use & USE_condition))
        return blame(r, r->tag, e, "{{%.60s}} is no condition", tag);
    if ((use & USE_role) && p->scope == PROMPT_step)
        return blame(r, r->tag, e,
                     "{{%.60s}} is a chat message, and a local model reads plain text", tag);
    if ((use & USE_role) && r->depth > 0)
        return blame(r, r->tag, e, "{{%.60s}} is a chat message and cannot stand inside a section",
                     tag);
    if ((use & USE_loop) && loop_of(r) != WORD_none)
        return blame(r, r->tag, e, "{{%.60s}} is a loop inside a loop", tag);
    if (r->depth == PROMPT_DEPTH_MAX)
        return blame(r, r->tag, e, "{{%.60s}} is nested too deeply", tag);
    if (use & USE_role)
        p->roles = true;
    r->open[r->depth++] = p->count;
    return add_part(
        r, (struct part){.kind = PART_open, .word = w, .absent = tag[0] == '^', .at = r->tag}, e);
}

static int
close_section(struct reader *r, enum word w, const char *tag, struct error *e)
{
    struct prompt *p = r->p;
    int open;

    if (r->depth == 0)
        return blame(r, r->tag, e, "{{%.60s}} closes nothing", tag);
    open = r->open[r->depth - 1];
    if (p->parts[open].word != w)
        return blame(r, r->tag, e, "{{%.60s}} closes the open section %s", tag,
                     prompt_words[p->parts[open].word].name);
    r->depth--;
    p->parts[open].other = p->count;
    return add_part(r, (struct part){.kind = PART_close, .word = w, .other = open, .at = r->tag},
                    e);
}

static int
read_value(struct reader *r, enum word w, const char *tag, struct error *e)
{
    unsigned use = prompt_words[w].use;
    enum word loop = loop_of(r);

    if (!(use & USE_value))
        return blame(r, r->tag, e, "{{%.60s}} is a section; write {{#%.60s}}", tag, tag);
    if ((use & USE_judged) && r->p->scope == PROMPT_all && loop == WORD_none)
        return blame(r, r->tag, e, "{{%.60s}} means a step only inside {{#steps}}", tag);
    if (r->p->scope == PROMPT_group && loop != WORD_responses &&
        (w == WORD_letter || w == WORD_response))
        return blame(r, r->tag, e, "{{%.60s}} means a response only inside {{#responses}}", tag);
    return add_part(r, (struct part){.kind = PART_value, .word = w, .at = r->tag}, e);
}

/* {{@form NAME}}, the only directive. */
static int
read_directive(struct reader *r, const char *tag, struct error *e)
{
    static const char form[] = "@form ";
    const char *name = tag + sizeof(form) - 1, *near;
    int f = 0;

    if (strncmp(tag, form, sizeof(form) - 1) != 0)
        return blame(r, r->tag, e, "{{%.60s}} is unknown; there is only {{@form NAME}}", tag);
    if (r->formed || r->p->count > 0)
        return blame(r, r->tag, e, "{{%.60s}} is not the first tag of the template", tag);
    for (name += strspn(name, " \t"); forms[f] && strcmp(forms[f], name) != 0; f++)
        continue;
    near = forms[f] ? NULL : nearest(name, forms);
    if (!forms[f])
        return blame(r, r->tag, e, "form '%.60s' is unknown%s%s%s", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    if (f == FORM_rank && r->p->scope == PROMPT_step)
        return blame(r, r->tag, e, "the form rank asks about several responses, not about a step");
    r->formed = true;
    r->p->form = (enum prompt_form)f;
    if (f == FORM_rank)
        r->p->scope = PROMPT_group;
    return 0;
}

/* TAG is what stands between the braces, white space trimmed. */
static int
read_tag(struct reader *r, const char *tag, struct error *e)
{
    const char *name = tag + (tag[0] == '#' || tag[0] == '/' || tag[0] == '^');
    enum word w = word_find(name);
    int rc;

    if (tag[0] == '!')
        return 0;
    if (tag[0] == '@')
        return read_directive(r, tag, e);
    if (w == WORD_none)
        return unknown_word(r, name, e);
    rc = check_scope(r, w, tag, e);
    if (rc != 0)
        return rc;
    if (tag[0] == '#' || tag[0] == '^')
        return open_section(r, w, tag, e);
    if (tag[0] == '/')
        return close_section(r, w, tag, e);
    return read_value(r, w, tag, e);
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

    return s.length ? add_part(r, (struct part){.kind = PART_text, .text = s, .at = r->at}, e) : 0;
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
    r->tag = from;
    close = memmem(open + 2, r->text.length - from - 2, "}}", 2);
    if (!close)
        return blame(r, from, e, "{{ without }}");
    to = (size_t)(close - r->text.at) + 2;
    for (open += 2; open < close && (*open == ' ' || *open == '\t'); open++)
        continue;
    for (length = (size_t)(close - open); length && strchr(" \t", open[length - 1]); length--)
        continue;
    snprintf(tag, sizeof(tag), "%.*s", (int)(length < sizeof(tag) ? length : sizeof(tag) - 1),
             open);
    if (strchr("#^/!@", tag[0]) && tag[0] && alone(r, from, to, &line_from, &line_to)) {
        rc = read_text(r, line_from, e);
        to = line_to;
    } else {
        rc = read_text(r, from, e);
    }
    if (rc == 0)
        rc = read_tag(r, tag, e);
    r->at = to;
    return rc;
}

/* With chat messages, only white space may stand outside them. */
static int
check_outside(const struct reader *r, struct error *e)
{
    const struct prompt *p = r->p;

    for (int i = 0; p->roles && i < p->count; i++) {
        const struct part *part = &p->parts[i];
        size_t blanks = part->kind == PART_text ? strspn(part->text.at, " \t\r\n") : 0;
        if (part->kind == PART_open && (prompt_words[part->word].use & USE_role)) {
            i = part->other;
            continue;
        }
        if (part->kind != PART_text || blanks < part->text.length)
            return blame(r, part->at + blanks, e,
                         "something stands outside {{#system}}, {{#user}} and {{#assistant}}");
    }
    return 0;
}

static int
count_roles(const struct reader *r, struct error *e)
{
    int roles = 0;

    for (int i = 0; i < r->p->count; i++) {
        const struct part *part = &r->p->parts[i];
        roles += part->kind == PART_open && (prompt_words[part->word].use & USE_role);
        if (roles > PROMPT_MESSAGES_MAX)
            return blame(r, part->at, e, "more than %d chat messages", PROMPT_MESSAGES_MAX);
    }
    return 0;
}

static int
check_whole(const struct reader *r, struct error *e)
{
    const struct part *open = r->depth ? &r->p->parts[r->open[r->depth - 1]] : NULL;
    int rc;

    if (open)
        return blame(r, open->at, e, "{{%c%s}} is never closed", open->absent ? '^' : '#',
                     prompt_words[open->word].name);
    rc = check_outside(r, e);
    return rc ? rc : count_roles(r, e);
}

struct prompt *
prompt_new(struct span text, enum prompt_scope scope, struct error *e)
{
    struct reader r = {0};
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
    if (rc == 0)
        rc = check_whole(&r, e);
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

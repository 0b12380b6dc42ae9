#define PCRE2_CODE_UNIT_WIDTH 8
#include "kernels/pattern.h"

#include "kernels/unicode.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_LIMIT 50000000 /* steps of one match; far above what an honest pattern needs */
#define JIT_STACK   (1 << 20)

enum kind { KIND_regex, KIND_literal, KIND_flag, KIND_space };

struct pattern {
    enum kind kind;
    struct buffer literal;
    uint16_t flag;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static int
compile(struct pattern *p, const char *text, struct error *e)
{
    uint32_t options =
        PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C | PCRE2_UCP | PCRE2_MULTILINE;
    PCRE2_UCHAR reason[120] = "";
    PCRE2_SIZE where;
    int why;

    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &why, &where, NULL);
    if (!p->code) {
        pcre2_get_error_message(why, reason, sizeof(reason));
        return error_set(e, ERROR_model, "pattern: %s at byte %zu", (const char *)reason,
                         (size_t)where);
    }
    p->data = pcre2_match_data_create(1, NULL);
    p->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    if (pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0) { /* else it is interpreted */
        p->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK, NULL);
        pcre2_jit_stack_assign(p->context, NULL, p->stack);
    }
    return 0;
}

struct pattern *
pattern_regex(const char *text, struct error *e)
{
    struct pattern *p = xalloc(sizeof(*p));
    struct buffer translated = {0};
    size_t length = strlen(text);
    int rc = length > PATTERN_SOURCE_MAX
                 ? error_set(e, ERROR_limit, "a pattern of %zu bytes; at most %d", length,
                             PATTERN_SOURCE_MAX)
                 : pattern_translate(text, &translated, e);

    if (rc == 0)
        rc = compile(p, translated.at, e);
    buffer_free(&translated);
    if (rc == 0)
        return p;
    pattern_free(p);
    return NULL;
}

struct pattern *
pattern_literal(struct span text, struct error *e)
{
    struct pattern *p;

    if (text.length == 0) {
        error_set(e, ERROR_model, "an empty string as a pattern is not understood");
        return NULL;
    }
    p = xalloc(sizeof(*p));
    p->kind = KIND_literal;
    buffer_add(&p->literal, text.at, text.length);
    return p;
}

struct pattern *
pattern_flag(uint16_t flag)
{
    struct pattern *p = xalloc(sizeof(*p));

    p->kind = KIND_flag;
    p->flag = flag;
    return p;
}

struct pattern *
pattern_space(void)
{
    struct pattern *p = xalloc(sizeof(*p));

    p->kind = KIND_space;
    return p;
}

void
pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_jit_stack_free(p->stack);
    buffer_free(&p->literal);
    free(p);
}

static int
next_character(const struct pattern *p, struct span text, struct pattern_walk *w)
{
    const uint16_t *flags = unicode_flags();
    size_t length;

    for (size_t at = w->from; at < text.length; at += length) {
        uint32_t c = unicode_at(text, at, &length);

        if (p->kind == KIND_space ? unicode_is_space(c) : (flags[c] & p->flag) != 0) {
            w->start = at;
            w->end = at + length;
            return 1;
        }
    }
    return 0;
}

static int
next_literal(const struct pattern *p, struct span text, struct pattern_walk *w)
{
    const char *found =
        memmem(text.at + w->from, text.length - w->from, p->literal.at, p->literal.length);

    if (!found)
        return 0;
    w->start = (size_t)(found - text.at);
    w->end = w->start + p->literal.length;
    return 1;
}

static int
next_regex(const struct pattern *p, struct span text, struct pattern_walk *w, struct error *e)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(p->data);
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text.at, text.length, w->from, PCRE2_NO_UTF_CHECK,
                         p->data, p->context);

    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0)
        return error_set(e, ERROR_model,
                         "the pattern of the tokenizer gave up on a text of %zu bytes",
                         text.length);
    w->start = found[0];
    w->end = found[1] < found[0] ? found[0] : found[1];
    return 1;
}

int
pattern_next(const struct pattern *p, struct span text, struct pattern_walk *w, struct error *e)
{
    for (;;) {
        size_t length = 1;
        int rc;

        if (w->from > text.length || text.length == 0)
            return 0;
        rc = p->kind == KIND_regex     ? next_regex(p, text, w, e)
             : p->kind == KIND_literal ? next_literal(p, text, w)
                                       : next_character(p, text, w);
        if (rc <= 0)
            return rc;
        if (w->end > w->start || w->last != w->end) {
            w->from = w->last = w->end;
            return 1;
        }
        if (w->from < text.length)
            (void)unicode_at(text, w->from, &length);
        w->from += length;
    }
}

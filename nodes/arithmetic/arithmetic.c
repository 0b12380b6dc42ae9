/* arithmetic: where in a text equations may begin, and what they are called. */
#include "nodes/arithmetic/arithmetic.h"

#include <string.h>

#include "nodes/arithmetic/equation.h"

#define QUESTION_TOKENS_MAX 8                     /* behind an equation, within its clause */
#define HASH_START          0xcbf29ce484222325ull /* FNV-1a, 64 bits */
#define HASH_PRIME          0x100000001b3ull

struct scan {
    struct span text;
    struct token before;     /* what was read last; TOKEN_end at the beginning */
    enum token_kind earlier; /* what was read before that */
    struct last last;
    struct arithmetic *out;
    uint64_t name;   /* of what stands before, in this clause ... */
    int name_tokens; /* ... so long; negative: it is no name */
    bool denied;     /* this clause does not claim what it says */
    bool modular;    /* the numbers of this text are not ours: mod 7, base 8 */
    bool alone;      /* nothing but breaks and this name came after the last equation */
    bool display;    /* ... and among them the end of a formula on a line of its own */
};

static bool
is_operand_end(const struct token *t)
{
    return t->kind == TOKEN_number || t->kind == TOKEN_fraction || t->kind == TOKEN_power ||
           t->kind == TOKEN_percent || t->kind == TOKEN_degree || t->kind == TOKEN_other;
}

/* 2 and 1/2, one and a half: what follows belongs to the number before. */
static bool
is_rest(const struct scan *s, const struct token *t)
{
    struct token next;

    if (!token_is(&s->before, "and"))
        return false;
    token_read(s->text, t->end, &next);
    return t->kind == TOKEN_word || (s->earlier == TOKEN_number && next.kind == TOKEN_operator &&
                                     next.sign == '/' && !next.spaced);
}

/* May an equation begin at `t`, or does what stands before it belong to it? */
static bool
may_begin(const struct scan *s, const struct token *t)
{
    const struct token *before = &s->before;

    switch (before->kind) {
    case TOKEN_end:
    case TOKEN_line:
    case TOKEN_math:
    case TOKEN_open:
    case TOKEN_relation:
        return true;
    case TOKEN_stop: /* 1,2 and 9:30 are no numbers of ours; <<48 is one */
        return t->spaced || !strchr(",:.'", s->text.at[before->start]);
    case TOKEN_close:
        return t->spaced;
    case TOKEN_operator: /* a bullet */
        return before->first && t->spaced && before->sign != '/';
    case TOKEN_phrase:
        return true;
    case TOKEN_word:
        return (t->spaced || s->text.at[before->start] == '\\') && !words_quantity(before) &&
               !is_rest(s, t);
    default:
        return !is_operand_end(before);
    }
}

/* Can a side begin with this token? */
static bool
is_begin(const struct scan *s, const struct token *t)
{
    struct token next;
    int n, d;
    bool two;

    if (t->kind == TOKEN_number || t->kind == TOKEN_open || t->kind == TOKEN_fraction)
        return true;
    if (t->kind != TOKEN_word && !(t->kind == TOKEN_operator && t->sign == '-'))
        return false;
    token_read(s->text, t->end, &next);
    if (t->kind == TOKEN_operator) /* a sign, not what is left of "5 apples -3" */
        return !next.spaced && (next.kind == TOKEN_number || next.kind == TOKEN_open) &&
               s->before.kind != TOKEN_word && s->before.kind != TOKEN_phrase &&
               s->before.kind != TOKEN_close;
    return words_fraction(t, &next, &n, &d, &two);
}

/* A lone number behind these words is a name, not a value: Week 2 = 35 + 35. */
static bool
follows_word(const struct scan *s)
{
    return s->before.kind == TOKEN_word || s->before.kind == TOKEN_phrase;
}

static void
name_reset(struct scan *s)
{
    s->name = HASH_START;
    s->name_tokens = 0;
}

/* The token is part of what the next relation may give a value to. */
static void
name_add(struct scan *s, const struct token *t)
{
    struct span said = t->kind == TOKEN_word || t->kind == TOKEN_phrase
                           ? t->word
                           : span_of(s->text.at + t->start, t->end - t->start);

    if (t->kind == TOKEN_operator || t->kind == TOKEN_fraction || t->kind == TOKEN_power ||
        s->name_tokens < 0 || s->name_tokens >= EQUATION_NAME_TOKENS_MAX) {
        s->name_tokens = -1;
        return;
    }
    for (size_t i = 0; i < said.length; i++)
        s->name = (s->name ^ (unsigned char)said.at[i]) * HASH_PRIME;
    s->name = (s->name ^ ' ') * HASH_PRIME;
    s->name_tokens++;
}

/* What came after the last side: is it still the last thing that was computed? */
static void
last_pass(struct last *last, const struct token *t)
{
    switch (t->kind) {
    case TOKEN_line:
    case TOKEN_math:
        last->broken = true;
        break;
    case TOKEN_word:
    case TOKEN_phrase:
    case TOKEN_degree:
        last->there &= !last->broken;
        break;
    default:
        last->there = false;
    }
}

/* mod, \\pmod, \\equiv, base 8 */
static bool
is_modular(const struct scan *s, const struct token *t)
{
    static const char *const words[] = {"mod",    "modulo",      "modular", "congruent",
                                        "binary", "hexadecimal", NULL};
    static const char *const signs[] = {"\\pmod", "\\bmod", "\\mod", "\\equiv", "≡", NULL};
    struct span rest = span_of(s->text.at + t->start, s->text.length - t->start);

    if (t->kind == TOKEN_number)
        return token_is(&s->before, "base");
    for (int k = 0; signs[k]; k++)
        if (rest.length >= strlen(signs[k]) && memcmp(rest.at, signs[k], strlen(signs[k])) == 0)
            return true;
    return token_among(t, words);
}

static void
pass(struct scan *s, const struct token *t)
{
    last_pass(&s->last, t);
    s->denied |= words_deny(t);
    s->modular |= is_modular(s, t);
    if (s->before.kind == TOKEN_relation && t->kind != TOKEN_relation)
        name_reset(s); /* it named something that cannot be computed */
    bool stop = t->kind == TOKEN_stop, breaks = t->kind == TOKEN_line || t->sign == 'd';
    if (stop || breaks) {
        s->alone &= s->name_tokens == 0 && breaks;
        s->display |= t->sign == 'd' || s->text.at[t->start] == '\\';
        name_reset(s);
        s->denied = false;
    } else if (t->kind == TOKEN_relation) {
        s->name_tokens = s->before.kind == TOKEN_relation ? -1 : s->name_tokens;
    } else if (t->kind != TOKEN_math) {
        name_add(s, t);
    }
    s->earlier = s->before.kind;
    s->before = *t;
}

/* Behind an equation: what ended it is an operand, so that nothing begins right after it. */
static size_t
leave(struct scan *s, size_t end)
{
    s->before = (struct token){.kind = TOKEN_number, .start = end, .end = end};
    name_reset(s);
    s->alone = true;
    s->display = false;
    return end;
}

/* Does the clause end as a question? */
static bool
is_asked(struct span text, size_t at)
{
    struct token t;

    for (int n = 0; n < QUESTION_TOKENS_MAX; n++) {
        token_read(text, at, &t);
        if (t.kind == TOKEN_stop || t.kind == TOKEN_line || t.kind == TOKEN_end)
            return t.kind == TOKEN_stop && text.at[t.start] == '?';
        at = t.end;
    }
    return false;
}

/* What one equation said; errors that nobody claims are nothing. */
static void
take(struct scan *s, const struct arithmetic *said, size_t end)
{
    s->out->right += said->right;
    if (said->wrong == 0 || s->denied || is_asked(s->text, end))
        return;
    if (s->out->wrong == 0) {
        s->out->first_wrong = said->first_wrong;
        memcpy(s->out->value, said->value, sizeof(said->value));
    }
    s->out->wrong += said->wrong;
}

void
arithmetic_check(struct span text, struct arithmetic *out)
{
    struct scan s = {.text = text, .out = out};
    struct token t;
    size_t at = 0, end;

    *out = (struct arithmetic){0};
    name_reset(&s);
    for (token_read(text, at, &t); t.kind != TOKEN_end; token_read(text, at, &t)) {
        struct arithmetic said = {0};
        end = t.start;
        if (is_begin(&s, &t) && may_begin(&s, &t) &&
            !(t.kind == TOKEN_number && s.before.kind == TOKEN_word && words_index(&s.before))) {
            bool named =
                s.before.kind == TOKEN_relation && s.before.sign == '=' && s.name_tokens > 0;
            s.last.close = s.alone && s.display;
            end =
                equation_read(text, t.start, named ? s.name : 0, follows_word(&s), &s.last, &said);
        } else if (t.kind == TOKEN_relation && s.last.there && s.name_tokens == 0) {
            end = equation_go_on(text, t.start, &s.last, &said);
        }
        if (end > t.start) {
            take(&s, &said, end);
            at = leave(&s, end);
            continue;
        }
        pass(&s, &t);
        at = t.end;
    }
    if (s.modular)
        *out = (struct arithmetic){0};
}

/* extract: backward for marks, forward over the tail for formulas. Every search is linear
 * in the tail: what was not found from one place on is remembered. */
#include "kernels/answer/extract_parts.h"

#define ANCHOR_GAP    60   /* bytes from "answer" to its "is" */
#define COLON_GAP     16   /* the same to its colon */
#define HOPE_GAP      200  /* from "final answer is" to "I hope" */
#define ANCHORS_MAX   8    /* places where "answer" is tried */
#define FORMULA_MAX   4096 /* bytes of a formula */
#define SENTENCE_MAX  1024

/* The last occurrence that begins before END; text.length: none. */
static size_t
find_last(struct span text, size_t end, const char *word)
{
    for (size_t i = end; i-- > 0;)
        if (starts(text, i, word))
            return i;
    return text.length;
}

static size_t
find_first(struct span text, size_t from, const char *word)
{
    for (size_t i = from; i < text.length; i++)
        if (starts(text, i, word))
            return i;
    return text.length;
}

static bool
unwrap(struct span *s, const char *open, const char *close)
{
    size_t a = strlen(open), b = strlen(close);

    if (s->length < a + b || !starts(*s, 0, open) || !starts(*s, s->length - b, close))
        return false;
    *s = part(*s, a, s->length - b);
    return true;
}

struct span
extract_bare(struct span text)
{
    bool changed = true;

    while (changed) {
        text = trim(text);
        changed = unwrap(&text, "$$", "$$") || unwrap(&text, "\\(", "\\)") ||
                  unwrap(&text, "\\[", "\\]") || unwrap(&text, "**", "**");
        if (!changed && text.length >= 2 && text.at[0] == '$' && text.at[text.length - 1] == '$' &&
            !memchr(text.at + 1, '$', text.length - 2))
            changed = unwrap(&text, "$", "$");
        if (!changed && text.length > 1 && text.at[text.length - 1] == '.' &&
            text.at[text.length - 2] != '.') {
            text.length--;
            changed = true;
        }
    }
    return text;
}

/* A formula in a text, and what surrounds it. */
struct formula {
    size_t start, end;
    struct span content;
};

struct search {
    struct span text;
    size_t at;
    size_t none[4]; /* by kind of closing: there is none before this place */
};

/* The closing WORD from FROM on, within FORMULA_MAX; text.length: none. */
static size_t
closing(struct search *s, int kind, size_t from, const char *word)
{
    size_t limit = from + FORMULA_MAX < s->text.length ? from + FORMULA_MAX : s->text.length;
    size_t i = from > s->none[kind] ? from : s->none[kind];

    for (; i < limit; i++)
        if (starts(s->text, i, word))
            return i;
    s->none[kind] = limit;
    return s->text.length;
}

/* "3 and ", "5 each, so " between two dollars: a number, and then words. */
static bool
is_money(struct span s)
{
    if (!is_digit(s.at[0]) || memchr(s.at, '=', s.length) || memchr(s.at, '\\', s.length))
        return false;
    for (size_t i = 0; i + 2 < s.length; i++) {
        bool word = is_space(s.at[i]) && is_letter(s.at[i + 1]) && is_letter(s.at[i + 2]);

        if (word && !(starts(s, i + 1, "and ") && is_digit(s.at[s.length - 1])))
            return true;
    }
    return is_space(s.at[s.length - 1]) && !memchr(s.at, '^', s.length);
}

/* $...$ on one line, no digit behind it. */
static bool
dollars(struct search *s, struct formula *f)
{
    struct span t = s->text;
    size_t from = s->at + 1, end = from;

    if (s->at && (is_digit(t.at[s->at - 1]) || t.at[s->at - 1] == '\\'))
        return false;
    while (end < t.length && end - from < FORMULA_MAX && t.at[end] != '\n' &&
           !(t.at[end] == '$' && t.at[end - 1] != '\\'))
        end++;
    if (end >= t.length || t.at[end] != '$' || end == from)
        return false;
    if (is_money(part(t, from, end)) || (end + 1 < t.length && is_digit(t.at[end + 1])))
        return false;
    *f = (struct formula){s->at, end + 1, part(t, from, end)};
    return true;
}

static bool
next_formula(struct search *s, struct formula *f)
{
    static const char *const opens[] = {"$$", "\\[", "\\("}, *const closes[] = {"$$", "\\]", "\\)"};

    for (; s->at < s->text.length; s->at++) {
        char c = s->text.at[s->at];
        bool found = false;

        if (c != '$' && c != '\\')
            continue;
        for (int k = 0; k < 3 && !found; k++) {
            size_t end;

            if (!starts(s->text, s->at, opens[k]))
                continue;
            end = closing(s, k, s->at + 2, closes[k]);
            found = end < s->text.length;
            if (found)
                *f = (struct formula){s->at, end + 2, part(s->text, s->at + 2, end)};
        }
        if (found || (c == '$' && dollars(s, f))) {
            s->at = f->end;
            return true;
        }
    }
    return false;
}

/* Whether only "," "and" "or" and space stand between two formulas. */
static bool
separates(struct span gap)
{
    gap = trim(gap);
    for (size_t i = 0; i < gap.length;) {
        if (starts_word(gap, i, "and"))
            i += 3;
        else if (starts_word(gap, i, "or"))
            i += 2;
        else if (gap.at[i] == ',' || is_space(gap.at[i]))
            i++;
        else
            return false;
    }
    return gap.length > 0;
}

/* The first or the last formula, with those that a list of it goes on to; a percent sign behind it
 * belongs to it. */
static bool
formula_of(struct span text, bool last, struct formula *out, struct arena *arena)
{
    struct search s = {.text = text};
    struct formula f, group = {0};
    bool found = false;
    char *joined;
    size_t after;

    while (next_formula(&s, &f)) {
        if (found && separates(part(text, group.end, f.start))) {
            group.end = f.end;
            group.content = (struct span){NULL, 0}; /* of several: read with its dollars */
        } else if (found && !last) {
            break;
        } else {
            group = f;
        }
        found = true;
    }
    if (!found)
        return false;
    *out = group;
    if (!group.content.at)
        out->content = part(text, group.start, group.end);
    after = group.end;
    while (after < text.length && text.at[after] == ' ')
        after++;
    if (starts(text, after, "%") || starts(text, after, "\\%") ||
        starts_word(text, after, "percent")) {
        joined = arena_take(arena, out->content.length + 1);
        memcpy(joined, out->content.at, out->content.length);
        joined[out->content.length] = '%';
        out->content = span_of(joined, out->content.length + 1);
        out->end = after + 1;
    }
    return true;
}

/* Behind "answer" at AT: past "is", ":", "=", or the line's end; text.length: nothing follows. */
static size_t
after_anchor(struct span text, size_t at)
{
    size_t i = at + 6, limit = i + ANCHOR_GAP;

    for (; i < text.length && i < limit; i++) {
        if ((text.at[i] == ':' || text.at[i] == '=') && i - at < 6 + COLON_GAP)
            return i + 1;
        if (starts_word(text, i, " is ") || starts_word(text, i, " is:"))
            return i + 3;
        if (starts_word(text, i, " is\n") || starts_word(text, i, " are "))
            return i + 4;
        if (text.at[i] == '\n')
            return starts(text, at + 6, "\n") || starts(text, at + 6, "**") ? i : text.length;
        if (text.at[i] == '.' || text.at[i] == '?')
            return text.length;
    }
    return text.length;
}

static size_t
sentence_end(struct span text, size_t at)
{
    for (size_t i = at; i < text.length && i < at + SENTENCE_MAX; i++) {
        if (text.at[i] == '\n')
            return i;
        if (text.at[i] == '.' && (i + 1 == text.length || is_space(text.at[i + 1])))
            return i;
    }
    return text.length < at + SENTENCE_MAX ? text.length : at + SENTENCE_MAX;
}

/* The sentence that announces the answer. */
static bool
announced(struct span text, struct span *sentence)
{
    size_t at = text.length;

    for (int tries = 0; tries < ANCHORS_MAX && at > 0; tries++) {
        size_t from;

        while (at > 0 && !starts_word(text, at - 1, "answer"))
            at--;
        if (at-- == 0)
            return false;
        from = after_anchor(text, at);
        while (from < text.length && (is_space(text.at[from]) || text.at[from] == '*' ||
                                      text.at[from] == ':'))
            from++;
        if (from >= text.length)
            continue;
        if (starts(text, from, "$$") || starts(text, from, "\\[")) {
            size_t end = find_first(text, from + 2, text.at[from] == '$' ? "$$" : "\\]");

            *sentence = part(text, from, end + 2 < text.length ? end + 2 : text.length);
            return true;
        }
        *sentence = part(text, from, sentence_end(text, from));
        return sentence->length > 0;
    }
    return false;
}

/* Where mathematics may begin in plain text: a digit, a sign, a bracket or a command. */
static size_t
first_start(struct span text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.at[i], before = i ? text.at[i - 1] : ' ';

        if ((unsigned char)c >= 0x80 || c == '\\' || (is_digit(c) && !is_letter(before)) ||
            (memchr("([{$", c, 4) && !is_letter(before)))
            return i;
        if (memchr("-+.|", c, 4) && i + 1 < text.length && !is_space(text.at[i + 1]) &&
            !is_letter(before) && !is_digit(before))
            return i;
    }
    return text.length;
}

/* Digits at AT that are no number: AZ2, m^2, m^{2}. */
static bool
in_word(struct span text, size_t at)
{
    at -= at > 1 && text.at[at - 1] == '{' && text.at[at - 2] == '^';
    if (at > 1 && text.at[at - 1] == '^')
        return is_letter(text.at[at - 2]) || text.at[at - 2] == '}';
    return at > 0 && is_letter(text.at[at - 1]);
}

/* The number, or the arithmetic, that the text's last digit belongs to. */
static bool
last_number(struct span text, struct span *out, size_t *end)
{
    size_t last = text.length, start, i;

    for (;;) {
        while (last > 0 && !is_digit(text.at[last - 1]))
            last--;
        if (last == 0)
            return false;
        i = last;
        while (i > 0 && is_digit(text.at[i - 1]))
            i--;
        if (i == 0 || !in_word(text, i))
            break;
        last = i;
    }
    *end = last;
    while (last < text.length && memchr(")!%}", text.at[last], 4))
        last++;
    start = last;
    while (start > 0 && last - start < FORMULA_MAX) {
        char c = text.at[start - 1];
        bool thousands = c == ',' && start < last && is_digit(text.at[start]);

        if (!is_digit(c) && !thousands && !memchr(".+-*/^()!%$ ", c, 12))
            break;
        start--;
    }
    i = start;
    while (i < last && !is_digit(text.at[i]) && !memchr("(-$", text.at[i], 3) &&
           !(text.at[i] == '.' && i + 1 < last && is_digit(text.at[i + 1])))
        i++;
    /* the end of a word, as in "m2" or "10-3" after a letter, is no sign */
    if (i < last && text.at[i] == '-' && i > 0 && is_letter(text.at[i - 1]))
        i++;
    *out = part(text, i, last);
    return true;
}

/* The last digits alone, with sign, point, separators and a percent sign. */
static struct span
plain_number(struct span run)
{
    size_t end = run.length, start;

    while (end > 0 && !is_digit(run.at[end - 1]))
        end--;
    start = end;
    while (start > 0 && (is_digit(run.at[start - 1]) || run.at[start - 1] == '.' ||
                         run.at[start - 1] == ','))
        start--;
    while (start < end && !is_digit(run.at[start]) && run.at[start] != '.')
        start++;
    if (start > 0 && run.at[start - 1] == '$')
        start--;
    if (start > 0 && run.at[start - 1] == '-' && (start == 1 || run.at[start - 2] == ' '))
        start--;
    if (end < run.length && run.at[end] == '%')
        end++;
    return part(run, start, end);
}

static void
add_place(struct extract *x, struct span text, bool whole, bool last)
{
    text = extract_bare(text);
    if (text.length && x->count < EXTRACT_PLACES_MAX)
        x->at[x->count++] = (struct extract_place){text, whole, last};
}

/* A bare \frac{1}{2} in the text that reaches to the last number or beyond. */
static bool
bare_command(struct span text, size_t digit, struct span *out)
{
    static const char *const names[] = {"\\frac", "\\dfrac", "\\tfrac", "\\sqrt"};
    size_t at = text.length, end;
    int depth = 0;

    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        size_t found = find_last(text, text.length, names[k]);

        if (found < text.length && (at == text.length || found > at))
            at = found;
    }
    if (at == text.length)
        return false;
    for (end = at; end < text.length && (depth > 0 || !is_space(text.at[end])); end++) {
        depth += text.at[end] == '{';
        depth -= text.at[end] == '}';
    }
    while (at > 0 && (is_digit(text.at[at - 1]) || text.at[at - 1] == '-'))
        at--;
    *out = part(text, at, end);
    return digit <= end;
}

static void
last_expression(struct extract *x, struct span text, struct arena *arena)
{
    struct formula f;
    struct span run;
    size_t end = 0;
    bool formula = formula_of(text, true, &f, arena), number = last_number(text, &run, &end);

    if (formula && (!number || f.end >= end)) {
        add_place(x, f.content, true, false);
        return;
    }
    if (!number)
        return;
    if (bare_command(text, end, &run)) {
        add_place(x, run, false, false);
        return;
    }
    (void)last_number(text, &run, &end);
    add_place(x, run, true, false);
    add_place(x, plain_number(run), true, false);
}

/* "Final answer: the largest n is 34": what stands behind the last "is", if it is mathematics. */
static struct span
after_is(struct span sentence)
{
    size_t at = find_last(sentence, sentence.length, " is ");
    struct span rest;

    if (at == sentence.length)
        return sentence;
    rest = part(sentence, at + 4, sentence.length);
    return first_start(rest) < rest.length ? rest : sentence;
}

/* The places of an announcing sentence: all of it, its first formula, what looks like one. */
static void
add_sentence(struct extract *x, struct span sentence, struct arena *arena)
{
    struct formula f;
    struct span rest = after_is(sentence);

    add_place(x, sentence, true, false);
    if (formula_of(rest, false, &f, arena)) {
        add_place(x, f.content, true, false);
    } else {
        size_t start = first_start(rest);

        if (start < rest.length)
            add_place(x, part(rest, start, rest.length), false, false);
    }
}

/* "The final answer is X. I hope it is correct.", as models were taught to say it: it counts before
 * any box. */
static bool
hoped(struct span text, struct span *sentence)
{
    size_t hope = find_last(text, text.length, "I hope"), at, from = hope;

    if (hope == text.length)
        return false;
    for (at = hope; at > 0 && hope - at < HOPE_GAP; at--)
        if (starts_word(text, at - 1, "final answer is")) {
            from = at - 1 + 15;
            break;
        }
    while (from < hope && (is_space(text.at[from]) || text.at[from] == ':'))
        from++;
    *sentence = extract_bare(part(text, from, hope));
    return sentence->length > 0;
}

static struct span
spoken(struct span response)
{
    size_t close, open;

    close = find_last(response, response.length, "</think>");
    if (close < response.length)
        return part(response, close + 8, response.length);
    open = find_first(response, 0, "<think>");
    return open < response.length ? part(response, 0, open) : response;
}

void
extract_answer(struct extract *x, struct span response, struct arena *arena)
{
    struct span text = spoken(response), found;
    size_t mark;

    x->count = 0;
    if (text.length > EXTRACT_TAIL)
        text = part(text, text.length - EXTRACT_TAIL, text.length);
    if (hoped(text, &found) && find_last(found, found.length, "\\boxed") == found.length)
        add_sentence(x, found, arena);
    if (extract_boxed(text, &found, arena)) {
        add_place(x, found, true, true);
        return;
    }
    mark = find_last(text, text.length, "####");
    if (mark < text.length) {
        size_t end = find_first(text, mark, "\n");

        add_place(x, part(text, mark + 4, end), false, true);
        return;
    }
    if (announced(text, &found))
        add_sentence(x, found, arena);
    last_expression(x, text, arena);
}

struct span
extract_gold(struct span gold, struct arena *arena)
{
    struct span found;
    size_t mark;

    if (gold.length > EXTRACT_TAIL)
        gold = part(gold, gold.length - EXTRACT_TAIL, gold.length);
    if (extract_boxed(gold, &found, arena))
        return extract_bare(found);
    mark = find_last(gold, gold.length, "####");
    if (mark < gold.length)
        return extract_bare(part(gold, mark + 4, gold.length));
    return extract_bare(gold);
}

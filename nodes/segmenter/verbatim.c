/* verbatim: one walk over the text; whatever is searched for and not found is remembered, so that no
 * stretch is searched twice for the same thing. */
#include "nodes/segmenter/verbatim.h"

#include <stdlib.h>
#include <string.h>

struct environment {
    struct span name;
    size_t start;
};

struct walk {
    struct span text;
    struct verbatim *found;
    size_t at;
    size_t paragraph_end;               /* of the paragraph that holds at; a blank line follows */
    size_t no_ticks[VERBATIM_TICKS_MAX + 1]; /* below it no run of so many follows */
    size_t no_round;                    /* below it no \) follows in this paragraph */
    bool no_dollars, no_square;         /* no $$, no \] in the rest of the text */
    struct environment open[VERBATIM_DEPTH_MAX];
    int depth;
};

static void
add(struct verbatim *v, size_t start, size_t end)
{
    if (v->count == v->room) {
        v->room = v->room ? 2 * v->room : 32;
        v->at = xresize(v->at, v->room * sizeof(*v->at));
    }
    v->at[v->count++] = (struct verbatim_part){start, end};
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool
is_space(char c)
{
    return is_blank(c) || c == '\n' || c == '\f' || c == '\v';
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The end of the line that holds AT: its line feed, or the end of the text. */
static size_t
line_end(struct span text, size_t at)
{
    const char *feed = at < text.length ? memchr(text.at + at, '\n', text.length - at) : NULL;

    return feed ? (size_t)(feed - text.at) : text.length;
}

/* Where the paragraph ends that holds AT: before a line of nothing but white space. */
static size_t
paragraph_end(struct span text, size_t at)
{
    for (;;) {
        size_t end = line_end(text, at), next = end + 1;

        if (end == text.length)
            return end;
        while (next < text.length && is_blank(text.at[next]))
            next++;
        if (next >= text.length || text.at[next] == '\n')
            return end;
        at = end + 1;
    }
}

static size_t
run_length(struct span text, size_t at, size_t end)
{
    size_t n = 0;

    while (at + n < end && text.at[at + n] == text.at[at])
        n++;
    return n;
}

/* Does the line at AT begin with a fence? Its character and length; MARKER is where it stands. */
static size_t
fence_at(struct span text, size_t at, size_t *marker)
{
    size_t end = line_end(text, at), n;

    while (at < end && is_blank(text.at[at]))
        at++;
    *marker = at;
    if (at == end || (text.at[at] != '`' && text.at[at] != '~'))
        return 0;
    n = run_length(text, at, end);
    if (n < 3 || (text.at[at] == '`' && memchr(text.at + at + n, '`', end - at - n)))
        return 0;
    return n;
}

/* Past the fence that closes one of N at OPENER, from the line at AT on. */
static size_t
fence_end(struct span text, size_t at, size_t opener, size_t n)
{
    while (at < text.length) {
        size_t marker, end = line_end(text, at), length = fence_at(text, at, &marker);

        if (length >= n && text.at[marker] == text.at[opener]) {
            size_t rest = marker + length;

            while (rest < end && is_blank(text.at[rest]))
                rest++;
            if (rest == end)
                return end;
        }
        at = end + 1;
    }
    return text.length;
}

static void
walk_fence(struct walk *w)
{
    size_t marker, n = fence_at(w->text, w->at, &marker), end;

    if (n == 0)
        return;
    end = fence_end(w->text, line_end(w->text, w->at) + 1, marker, n);
    add(w->found, w->at, end);
    w->at = end;
}

/* A run of ` to the next of the same length. */
static void
walk_ticks(struct walk *w)
{
    size_t end = w->paragraph_end, n = run_length(w->text, w->at, end), at = w->at + n;

    if (n > VERBATIM_TICKS_MAX || w->no_ticks[n] > w->at)
        goto text;
    while (at < end) {
        const char *tick = memchr(w->text.at + at, '`', end - at);
        size_t length;

        if (!tick)
            break;
        at = (size_t)(tick - w->text.at);
        length = run_length(w->text, at, end);
        if (length == n) {
            add(w->found, w->at, at + n);
            w->at = at + n;
            return;
        }
        at += length;
    }
    w->no_ticks[n] = end;
text:
    w->at += n;
}

/* Past the next \CLOSE from AT on and before END; 0: there is none. */
static size_t
find_escaped(struct span text, size_t at, size_t end, char close)
{
    for (; at + 1 < end; at++) {
        if (text.at[at] != '\\')
            continue;
        if (text.at[at + 1] == close)
            return at + 2;
        at++;
    }
    return 0;
}

/* The name in braces at AT; its length with the braces, 0: none. */
static size_t
name_at(struct span text, size_t at, struct span *name)
{
    size_t end = at + 1;

    if (at >= text.length || text.at[at] != '{')
        return 0;
    while (end < text.length && end - at <= VERBATIM_NAME_MAX &&
           (is_letter(text.at[end]) || text.at[end] == '*'))
        end++;
    if (end == at + 1 || end >= text.length || text.at[end] != '}')
        return 0;
    *name = span_of(text.at + at + 1, end - at - 1);
    return end + 1 - at;
}

static bool
starts_with(struct span text, size_t at, const char *word)
{
    size_t n = strlen(word);

    return text.length - at >= n && memcmp(text.at + at, word, n) == 0;
}

static void
walk_begin(struct walk *w)
{
    struct span name;
    size_t n = name_at(w->text, w->at + 6, &name);

    if (n > 0 && w->depth < VERBATIM_DEPTH_MAX)
        w->open[w->depth++] = (struct environment){name, w->at};
    w->at += 6 + n;
}

/* Closes the innermost environment of the name, and forgets those opened within it. */
static void
walk_end(struct walk *w)
{
    struct span name;
    size_t n = name_at(w->text, w->at + 4, &name);

    w->at += 4 + n;
    for (int i = w->depth - 1; n > 0 && i >= 0; i--) {
        struct span open = w->open[i].name;

        if (open.length != name.length || memcmp(open.at, name.at, name.length))
            continue;
        add(w->found, w->open[i].start, w->at);
        w->depth = i;
        return;
    }
}

static void
walk_backslash(struct walk *w)
{
    char next = w->at + 1 < w->text.length ? w->text.at[w->at + 1] : 0;
    size_t end = 0;

    if (starts_with(w->text, w->at, "\\begin{")) {
        walk_begin(w);
        return;
    }
    if (starts_with(w->text, w->at, "\\end{")) {
        walk_end(w);
        return;
    }
    if (next == '(' && w->no_round <= w->at) {
        end = find_escaped(w->text, w->at + 2, w->paragraph_end, ')');
        w->no_round = end ? w->no_round : w->paragraph_end;
    } else if (next == '[' && !w->no_square) {
        end = find_escaped(w->text, w->at + 2, w->text.length, ']');
        w->no_square = end == 0;
    }
    if (end)
        add(w->found, w->at, end);
    w->at = end ? end : w->at + 1;
    if (!end && (next == '\\' || next == '$' || next == '`' || next == '(' || next == '['))
        w->at++;
}

/* Past the next $$ from AT on; 0: there is none. */
static size_t
find_dollars(struct span text, size_t at)
{
    for (; at + 1 < text.length; at++) {
        if (text.at[at] == '\\')
            at++;
        else if (text.at[at] == '$' && text.at[at + 1] == '$')
            return at + 2;
    }
    return 0;
}

/* Past the next $ from AT on and before END, if it closes a formula; else 0. */
static size_t
find_dollar(struct span text, size_t at, size_t end)
{
    for (; at < end; at++) {
        if (text.at[at] == '\\')
            at++;
        else if (text.at[at] == '$')
            return is_space(text.at[at - 1]) || (at + 1 < text.length && text.at[at + 1] >= '0' &&
                                                 text.at[at + 1] <= '9')
                       ? 0
                       : at + 1;
    }
    return 0;
}

static void
walk_dollar(struct walk *w)
{
    bool two = w->at + 1 < w->text.length && w->text.at[w->at + 1] == '$';
    size_t start = w->at + (two ? 2 : 1), end = 0;

    if (two && !w->no_dollars) {
        end = find_dollars(w->text, start);
        w->no_dollars = end == 0;
    } else if (!two && start < w->paragraph_end && !is_space(w->text.at[start])) {
        end = find_dollar(w->text, start, w->paragraph_end);
    }
    if (end)
        add(w->found, w->at, end);
    w->at = end ? end : start;
}

static int
compare(const void *a, const void *b)
{
    const struct verbatim_part *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

/* Sorts, and joins parts that overlap. */
static void
settle(struct verbatim *v)
{
    size_t count = 0;

    if (v->count > 1)
        qsort(v->at, v->count, sizeof(*v->at), compare);
    for (size_t i = 0; i < v->count; i++) {
        struct verbatim_part *last = count ? &v->at[count - 1] : NULL;

        if (last && v->at[i].start < last->end)
            last->end = v->at[i].end > last->end ? v->at[i].end : last->end;
        else
            v->at[count++] = v->at[i];
    }
    v->count = count;
}

void
verbatim_find(struct verbatim *v, struct span text)
{
    struct walk w = {.text = text, .found = v};

    v->count = 0;
    while (w.at < text.length) {
        bool begins = w.at == 0 || text.at[w.at - 1] == '\n';
        size_t was = w.at;

        if (begins)
            walk_fence(&w);
        if (w.at >= text.length)
            break;
        if (w.at != was)
            continue;
        if (w.at >= w.paragraph_end)
            w.paragraph_end = paragraph_end(text, w.at);
        switch (text.at[w.at]) {
        case '`':  walk_ticks(&w); break;
        case '\\': walk_backslash(&w); break;
        case '$':  walk_dollar(&w); break;
        default:   w.at++;
        }
    }
    settle(v);
}

void
verbatim_free(struct verbatim *v)
{
    free(v->at);
    *v = (struct verbatim){0};
}

bool
verbatim_holds(const struct verbatim *v, size_t offset)
{
    size_t low = 0, high = v->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (v->at[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < v->count && v->at[low].start < offset;
}

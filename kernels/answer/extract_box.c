/* extract_box: \boxed{} and \fbox{}, searched from the end. */
#include "kernels/answer/extract_parts.h"

#define GAP_MAX       10   /* bytes between boxes that make one answer */
#define TRIED_MAX     64   /* boxes looked at from the end: a text may repeat one without end */
#define GAP_WORDS_MAX 70   /* the same with "and", "or", "," or ";" in between */

struct box {
    size_t start, end; /* of all of it */
    struct span content;
};

/* The box that begins at AT: \boxed{...} with its braces matched before LIMIT, or \boxed 7. */
static bool
box_at(struct span text, size_t at, size_t limit, struct box *b)
{
    size_t i = at + (text.at[at + 1] == 'b' ? 6 : 5), start;
    int depth = 0;

    while (i < text.length && text.at[i] == ' ')
        i++;
    if (i == text.length || is_letter(text.at[i]) || is_space(text.at[i]))
        return false;
    start = i;
    if (text.at[i] != '{') {
        while (i < text.length && !is_space(text.at[i]) && !strchr("$,;", text.at[i]))
            i++;
        *b = (struct box){at, i, extract_bare(part(text, start, i))};
        return i > start;
    }
    for (; i < limit && i < text.length; i++) {
        bool escaped = i > start && text.at[i - 1] == '\\' && (i < 2 || text.at[i - 2] != '\\');

        if (escaped) /* \{ and \} come in pairs of their own, or one of an interval's */
            continue;
        depth += text.at[i] == '{';
        depth -= text.at[i] == '}';
        if (depth == 0) {
            *b = (struct box){at, i + 1, part(text, start + 1, i)};
            return true;
        }
    }
    return false;
}

/* The last closed box that begins before END. Braces are matched up to the box tried before, so
 * that hostile nesting stays linear. */
static bool
last_box(struct span text, size_t end, struct box *b)
{
    size_t limit = text.length;

    for (;;) {
        size_t at = end;

        while (at > 0 && !(text.at[at - 1] == '\\' &&
                           (starts(text, at, "boxed") || starts(text, at, "fbox"))))
            at--;
        if (at == 0)
            return false;
        at--;
        if (box_at(text, at, limit, b))
            return true;
        end = at;
        limit = at + 8 < text.length ? at + 8 : text.length;
    }
}

/* WORD stands at AT, and no letter next to it. */
static bool
has_word(struct span text, size_t at, const char *word)
{
    size_t end = at + strlen(word);

    return starts_word(text, at, word) && (at == 0 || !is_letter(text.at[at - 1])) &&
           (end == text.length || !is_letter(text.at[end]));
}

static bool
joins(struct span gap)
{
    if (gap.length < GAP_MAX)
        return true;
    if (gap.length >= GAP_WORDS_MAX)
        return false;
    for (size_t i = 0; i < gap.length; i++) {
        if (gap.at[i] == ',' || gap.at[i] == ';' || has_word(gap, i, "and") ||
            has_word(gap, i, "or"))
            return true;
    }
    return false;
}

static bool
same_text(struct span a, struct span b)
{
    a = trim(a);
    b = trim(b);
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

bool
extract_boxed(struct span text, struct span *content, struct arena *arena)
{
    struct box boxes[EXTRACT_BOXES_MAX], before;
    size_t length = 0, at = 0, start;
    int count = 1, tried = 1;
    char *joined;

    if (!last_box(text, text.length, &boxes[0]))
        return false;
    *content = boxes[0].content;
    start = boxes[0].start;
    while (count < EXTRACT_BOXES_MAX && tried++ < TRIED_MAX && last_box(text, start, &before) &&
           before.end <= start && joins(part(text, before.end, start))) {
        start = before.start;
        if (!same_text(before.content, boxes[count - 1].content))
            boxes[count++] = before;
    }
    if (count == 1)
        return true;
    for (int i = 0; i < count; i++)
        length += boxes[i].content.length + 1;
    joined = arena_take(arena, length);
    for (int i = count - 1; i >= 0; i--) {
        memcpy(joined + at, boxes[i].content.at, boxes[i].content.length);
        at += boxes[i].content.length;
        joined[at++] = ',';
    }
    *content = span_of(joined, at - 1);
    return true;
}

/* openers: a fixed list at the beginnings of sentences; nothing is searched for elsewhere, so the
 * time is linear in the text. */
#include "nodes/segmenter/openers.h"

#include <stdbool.h>
#include <string.h>

static const struct {
    const char *text;
    enum step_kind kind;
} openers[] = {
#define LEAD(text)
#define OPENER(kind, text) {text, STEP_##kind},
#include "nodes/segmenter/openers.def"
#undef LEAD
#undef OPENER
};

static const char *const leads[] = {
#define LEAD(text) text,
#define OPENER(kind, text)
#include "nodes/segmenter/openers.def"
#undef LEAD
#undef OPENER
};

#define OPENERS (sizeof(openers) / sizeof(openers[0]))
#define LEADS   (sizeof(leads) / sizeof(leads[0]))

static bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* WORD at AT of TEXT, and no longer word there? Its length, else 0. */
static size_t
word_at(struct span text, size_t at, const char *word)
{
    size_t n = strlen(word), end = at + n;

    if (text.length - at < n || memcmp(text.at + at, word, n))
        return 0;
    return end < text.length && is_word(word[n - 1]) && is_word(text.at[end]) ? 0 : n;
}

static int
opener_at(struct span text, size_t at)
{
    for (size_t i = 0; i < OPENERS; i++)
        if (word_at(text, at, openers[i].text))
            return (int)openers[i].kind;
    return STEP_solve;
}

/* Past a lead, the comma after it and blanks; AT where there is none. */
static size_t
past_lead(struct span text, size_t at)
{
    size_t n = 0;

    for (size_t i = 0; i < LEADS && n == 0; i++)
        n = word_at(text, at, leads[i]);
    if (n == 0)
        return at;
    at += n;
    if (at < text.length && text.at[at] == ',')
        at++;
    while (at < text.length && text.at[at] == ' ')
        at++;
    return at;
}

/* What a sentence that begins at AT does. */
static enum step_kind
kind_at(struct span text, size_t at)
{
    for (int leads_seen = 0; at < text.length; leads_seen++) {
        int kind = opener_at(text, at);
        size_t next = past_lead(text, at);

        if (kind != STEP_solve)
            return (enum step_kind)kind;
        if (leads_seen == OPENERS_LEADS_MAX || next == at)
            break;
        at = next;
    }
    return STEP_solve;
}

/* Past white space and what Markdown puts before words. A run that is longer is not read to its end:
 * the lines of one are all looked at from their own beginnings. */
static size_t
past_signs(struct span text, size_t at)
{
    size_t end = text.length - at < OPENERS_SIGNS_MAX ? text.length : at + OPENERS_SIGNS_MAX;

    while (at < end &&
           (is_space(text.at[at]) || memchr("*_#>-\"'", text.at[at], 7)))
        at++;
    return at;
}

enum step_kind
openers_kind(struct span text)
{
    return kind_at(text, past_signs(text, 0));
}

/* Bytes of a full stop at AT, 0: none is there. */
static size_t
stop_at(struct span text, size_t at)
{
    static const char *const wide[] = {"。", "！", "？", "…"};

    if (memchr(".!?", text.at[at], 3))
        return 1;
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
        if (text.length - at >= 3 && memcmp(text.at + at, wide[i], 3) == 0)
            return 3;
    return 0;
}

void
openers_find(struct span text, struct buffer *places)
{
    size_t at = past_signs(text, 0), stop;

    while (at < text.length) {
        bool line = text.at[at] == '\n';
        uint64_t next;

        stop = stop_at(text, at);
        if (!line && stop == 0) {
            at++;
            continue;
        }
        at += line ? 1 : stop;
        /* after a full stop white space must follow, but for those of Chinese */
        while (at < text.length && memchr(")]\"'*", text.at[at], 5))
            at++;
        if (stop == 1 && at < text.length && !is_space(text.at[at]))
            continue;
        while (at < text.length && is_space(text.at[at]))
            at++;
        next = at;
        if (at < text.length && kind_at(text, past_signs(text, at)) != STEP_solve)
            buffer_add(places, &next, sizeof(next));
    }
}

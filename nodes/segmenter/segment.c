/* segment: raw cuts by method first, then one pass that joins and one that splits. */
#include "nodes/segmenter/segment.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "nodes/segmenter/openers.h"
#include "nodes/segmenter/sat.h"

struct segment_markers {
    int                  count;
    pcre2_code          *code[SEGMENT_PATTERNS_MAX];
    pcre2_match_data    *match;
    pcre2_match_context *context;
};

int
segment_init(struct segment *s, enum segment_method method, int pattern_count,
             const char *const *patterns, int64_t bytes_min, int64_t bytes_max, struct error *e)
{
    *s = (struct segment){
        .method = method, .bytes_min = bytes_min, .bytes_max = bytes_max, .intact = true};
    if (method != SEGMENT_marker || pattern_count == 0)
        return 0;
    if (pattern_count > SEGMENT_PATTERNS_MAX)
        return error_set(e, ERROR_topology, "method marker takes up to %d patterns, not %d",
                         SEGMENT_PATTERNS_MAX, pattern_count);
    s->markers = xalloc(sizeof(*s->markers));
    s->markers->match = pcre2_match_data_create(1, NULL);
    s->markers->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(s->markers->context, SEGMENT_MATCH_LIMIT);
    for (int i = 0; i < pattern_count; i++) {
        int         code;
        PCRE2_SIZE  at;
        PCRE2_UCHAR why[200];
        pcre2_code *c = pcre2_compile((PCRE2_SPTR)patterns[i], strlen(patterns[i]),
                                      PCRE2_UTF | PCRE2_MULTILINE, &code, &at, NULL);
        if (!c) {
            pcre2_get_error_message(code, why, sizeof(why));
            segment_fini(s);
            return error_set(e, ERROR_topology, "pattern %d, '%s': %s at offset %zu", i + 1,
                             patterns[i], (const char *)why, (size_t)at);
        }
        pcre2_jit_compile(c, PCRE2_JIT_COMPLETE);   /* without JIT it only runs slower */
        s->markers->code[s->markers->count++] = c;
    }
    return 0;
}

void
segment_fini(struct segment *s)
{
    verbatim_free(&s->verbatim);
    if (!s->markers)
        return;
    for (int i = 0; i < s->markers->count; i++)
        pcre2_code_free(s->markers->code[i]);
    pcre2_match_data_free(s->markers->match);
    pcre2_match_context_free(s->markers->context);
    free(s->markers);
    s->markers = NULL;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static void
add(struct buffer *ends, uint64_t end)
{
    buffer_add(ends, &end, sizeof(end));
}

static void
cut_lines(struct span text, struct buffer *ends)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.at[i] == '\n')
            add(ends, i + 1);
}

/* A blank line is two line feeds with only white space between them; the cut comes after all the
 * white space. */
static void
cut_paragraphs(struct span text, struct buffer *ends)
{
    size_t i = 0;

    while (i < text.length) {
        size_t feeds = 0, last = 0;

        if (text.at[i] != '\n') {
            i++;
            continue;
        }
        for (; i < text.length && is_space(text.at[i]); i++) {
            if (text.at[i] == '\n') {
                feeds++;
                last = i + 1;
            }
        }
        if (feeds >= 2)
            add(ends, last);    /* what follows the last line feed indents the next paragraph */
    }
}

/* Length of a full stop of any script at text[i], 0 when there is none. */
static size_t
stop_length(struct span text, size_t i)
{
    static const char *const wide[] = {"。", "！", "？", "…"};

    if (text.at[i] == '.' || text.at[i] == '!' || text.at[i] == '?')
        return 1;
    for (size_t k = 0; k < sizeof(wide) / sizeof(wide[0]); k++)
        if (text.length - i >= 3 && memcmp(text.at + i, wide[k], 3) == 0)
            return 3;
    return 0;
}

/* Quotes and brackets that may stand between a full stop and the space after it. */
static size_t
closer_length(struct span text, size_t i)
{
    static const char *const closers[] = {"\"", "'", ")", "]", "*", "”", "’", "」", "』"};

    for (size_t k = 0; k < sizeof(closers) / sizeof(closers[0]); k++) {
        size_t n = strlen(closers[k]);
        if (text.length - i >= n && memcmp(text.at + i, closers[k], n) == 0)
            return n;
    }
    return 0;
}

/* Does the word before the full stop at `stop` make it an abbreviation, an initial or the number of
 * a list item? */
static bool
is_abbreviation(struct span text, size_t start, size_t stop)
{
    static const char *const words[] = {"Mr",  "Mrs", "Ms",  "Dr",  "St",  "vs",     "e.g",
                                        "i.e", "Fig", "Eq",  "No",  "cf",  "approx", "Prof",
                                        "Jr",  "Sr",  "Inc", "Ltd", "resp"};
    size_t from = stop, digits = 0;

    while (from > start && !is_space(text.at[from - 1]) && text.at[from - 1] != '(')
        from--;
    struct span word = span_of(text.at + from, stop - from);
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
        if (span_is(word, words[k]))
            return true;
    if (word.length == 1 && ((word.at[0] >= 'A' && word.at[0] <= 'Z')))
        return true;
    while (digits < word.length && word.at[digits] >= '0' && word.at[digits] <= '9')
        digits++;
    bool line_start = from == 0 || text.at[from - 1] == '\n';
    return digits > 0 && digits <= 3 && digits == word.length && line_start;
}

static void
cut_sentences(struct span text, struct buffer *ends)
{
    size_t i = 0, start = 0;

    while (i < text.length) {
        size_t n = stop_length(text, i), stop = i;

        if (text.at[i] == '\n') {
            add(ends, start = ++i);
            continue;
        }
        if (n == 0) {
            i++;
            continue;
        }
        bool wide = n > 1;
        for (; i < text.length && (n = stop_length(text, i)) > 0; i += n)
            ;
        bool single = !wide && i == stop + 1 && text.at[stop] == '.';
        while (i < text.length && (n = closer_length(text, i)) > 0)
            i += n;
        size_t next = i;
        while (next < text.length && (text.at[next] == ' ' || text.at[next] == '\t'))
            next++;
        if (next < text.length && text.at[next] == '\n')
            continue;           /* the line feed will cut */
        if (!wide && next == i)
            continue;           /* 3.5, a.b */
        if (next < text.length && text.at[next] >= 'a' && text.at[next] <= 'z')
            continue;
        if (single && is_abbreviation(text, start, stop))
            continue;
        add(ends, start = i = next);
    }
}

/* The next match of any marker that begins after `after`; text.length when there is none. */
static int
next_marker(const struct segment *s, struct span text, size_t after, size_t *cached, size_t *found,
            struct error *e)
{
    *found = text.length;
    for (int p = 0; p < s->markers->count; p++) {
        if (cached[p] <= after) {
            int rc = pcre2_match(s->markers->code[p], (PCRE2_SPTR)text.at, text.length, after,
                                 PCRE2_NO_UTF_CHECK, s->markers->match, s->markers->context);
            const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->markers->match);
            size_t from = after;
            /* A match that begins where the last step began is not a cut: look one character
             * further. */
            while (rc >= 0 && at[0] <= after && from < text.length) {
                do
                    from++;
                while (from < text.length && ((unsigned char)text.at[from] & 0xc0) == 0x80);
                rc = pcre2_match(s->markers->code[p], (PCRE2_SPTR)text.at, text.length, from,
                                 PCRE2_NO_UTF_CHECK, s->markers->match, s->markers->context);
            }
            if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
                return error_set(e, ERROR_limit,
                                 "pattern %d gave up on this response (PCRE2 error %d)", p + 1, rc);
            cached[p] = rc < 0 || at[0] <= after ? text.length : at[0];
        }
        if (cached[p] < *found)
            *found = cached[p];
    }
    return 0;
}

static bool
is_utf8(struct span text)
{
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    int               code;
    PCRE2_SIZE        at;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR) "", 0, PCRE2_UTF | PCRE2_ANCHORED, &code, &at, NULL);
    int               rc = pcre2_match(c, (PCRE2_SPTR)text.at, text.length, 0, 0, m, NULL);

    pcre2_match_data_free(m);
    pcre2_code_free(c);
    return rc >= 0;
}

static int
cut_markers(const struct segment *s, struct span text, struct buffer *ends, struct error *e)
{
    size_t cached[SEGMENT_PATTERNS_MAX] = {0}, at = 0;

    if (!is_utf8(text))
        return error_set(e, ERROR_input, "the response is not UTF-8");
    while (at < text.length) {
        int rc = next_marker(s, text, at, cached, &at, e);
        if (rc != 0)
            return rc;
        add(ends, at);
    }
    return 0;
}

static bool
is_blank(struct span text, uint64_t from, uint64_t to)
{
    while (from < to && is_space(text.at[from]))
        from++;
    return from == to;
}

/* Where to cut a step that begins at `from` and is longer than `max`: an offset in (from, from +
 * max], outside of code and formulas; 0: only within. */
static uint64_t
split_outside(const struct segment *s, struct span text, uint64_t from, uint64_t max)
{
    uint64_t end = from + max, half = from + max / 2, space = 0, part = 0;

    for (uint64_t i = end; i > half; i--) {
        if (!is_space(text.at[i - 1]) && part && space)
            continue;
        if (verbatim_holds(&s->verbatim, i))
            continue;
        if (text.at[i - 1] == '\n')
            return i;
        if (is_space(text.at[i - 1]))
            space = space ? space : i;
        else if (((unsigned char)text.at[i] & 0xc0) != 0x80)
            part = part ? part : i;
    }
    if (space || part)
        return space ? space : part;
    for (uint64_t i = half; i > from + 1; i--) /* before what fills the second half */
        if (is_space(text.at[i - 1]) && !verbatim_holds(&s->verbatim, i))
            return is_blank(text, from, i) ? 0 : i;
    return 0;
}

/* The same anywhere. */
static uint64_t
split_at(struct span text, uint64_t from, uint64_t max)
{
    uint64_t end = from + max, half = from + max / 2;

    for (uint64_t i = end; i > half; i--)
        if (text.at[i - 1] == '\n')
            return i;
    for (uint64_t i = end; i > half; i--)
        if (is_space(text.at[i - 1]))
            return i;
    while (end > from + 1 && ((unsigned char)text.at[end] & 0xc0) == 0x80)
        end--;
    return end;
}

/* One step [from, to) goes out, in pieces when it is too long. */
static void
emit(const struct segment *s, struct span text, uint64_t from, uint64_t to, struct buffer *ends)
{
    uint64_t solid = to;    /* white space alone follows it */

    while (solid > from && is_space(text.at[solid - 1]))
        solid--;
    while (s->bytes_max > 0 && to - from > (uint64_t)s->bytes_max) {
        uint64_t max = (uint64_t)s->bytes_max, at = 0;

        if (s->intact)
            at = split_outside(s, text, from, max);
        if (at == 0)
            at = split_at(text, from, max);
        if (at >= solid)
            break;
        add(ends, from = at);
    }
    add(ends, to);
}

/* Leaves out the cuts within code and formulas. */
static void
keep_intact(struct segment *s, struct span text, struct buffer *raw)
{
    uint64_t *cuts = (uint64_t *)(void *)raw->at;
    size_t    count = raw->length / sizeof(*cuts), kept = 0;

    verbatim_find(&s->verbatim, text);
    for (size_t i = 0; i < count; i++)
        if (!verbatim_holds(&s->verbatim, cuts[i]))
            cuts[kept++] = cuts[i];
    raw->length = kept * sizeof(*cuts);
}

static int
cut_raw(const struct segment *s, struct span text, struct buffer *raw, struct error *e)
{
    switch (s->method) {
    case SEGMENT_line:      cut_lines(text, raw); break;
    case SEGMENT_paragraph: cut_paragraphs(text, raw); break;
    case SEGMENT_sentence:  cut_sentences(text, raw); break;
    case SEGMENT_sat:       return sat_cut(s->sat, text, raw, e);
    case SEGMENT_marker:
        if (s->markers)
            return cut_markers(s, text, raw, e);
        openers_find(text, raw);
        break;
    case SEGMENT_given:     return error_set(e, ERROR_internal, "given steps are not cut");
    }
    return 0;
}

/* Raw cuts to steps: none is blank, none below bytes_min. */
static void
join(const struct segment *s, struct span text, const struct buffer *raw, struct buffer *joined)
{
    const uint64_t *cuts = (const uint64_t *)(const void *)raw->at;
    uint64_t        from = 0, solid = 0;    /* the first place from `from` on that is not blank */

    for (size_t i = 0; i < raw->length / sizeof(uint64_t); i++) {
        uint64_t *last =
            joined->length ? (uint64_t *)(void *)(joined->at + joined->length) - 1 : NULL;
        bool blank;

        if (cuts[i] <= from)
            continue;
        solid = solid < from ? from : solid;
        while (solid < cuts[i] && is_space(text.at[solid]))
            solid++;
        blank = solid == cuts[i];
        if (blank && last)
            *last = from = cuts[i];
        else if ((blank || cuts[i] - from < (uint64_t)s->bytes_min) && cuts[i] < text.length)
            continue;           /* joined with what follows */
        else if (cuts[i] - from < (uint64_t)s->bytes_min && last)
            *last = from = cuts[i];
        else
            add(joined, from = cuts[i]);
    }
}

int
segment_cut(struct segment *s, struct span text, struct buffer *ends, struct error *e)
{
    struct buffer raw = {0}, joined = {0};
    uint64_t      from = 0;
    int           rc;

    if (text.length == 0)
        return 0;
    rc = cut_raw(s, text, &raw, e);
    if (rc != 0)
        goto done;
    if (s->intact)
        keep_intact(s, text, &raw);
    add(&raw, text.length);
    join(s, text, &raw, &joined);
    for (size_t i = 0; i < joined.length / sizeof(uint64_t); i++) {
        uint64_t to = ((const uint64_t *)(const void *)joined.at)[i];
        emit(s, text, from, to, ends);
        from = to;
    }
done:
    buffer_free(&raw);
    buffer_free(&joined);
    return rc;
}

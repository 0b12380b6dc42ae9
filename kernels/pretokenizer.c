#include "kernels/pretokenizer.h"

#include "kernels/pattern.h"
#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>

enum behaviour {
    REMOVED,
    ISOLATED,
    MERGED_WITH_PREVIOUS,
    MERGED_WITH_NEXT,
    CONTIGUOUS,
    BEHAVIOURS
};

static const char *const behaviour_names[BEHAVIOURS] = {
    "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous",
};

enum prepend { PREPEND_never, PREPEND_first, PREPEND_always };

/* First what is written into each piece, then a matcher and what happens to its matches. */
struct pretokenizer_step {
    enum prepend prepend;
    struct buffer written; /* what is put in front; Metaspace puts it for every space too */
    int spaces;
    struct pattern *pattern; /* NULL, and no scanner: no cut */
    enum scanner scanner;
    int words; /* Whitespace */
    enum behaviour behaviour;
    int invert;
};

void
pieces_add(struct pieces *p, size_t start, size_t end)
{
    if (p->count == p->room) {
        p->room = p->room ? 2 * p->room : 256;
        p->at = xresize(p->at, p->room * sizeof(*p->at));
    }
    p->at[p->count++] = (struct piece){start, end};
}

void
pieces_free(struct pieces *p)
{
    free(p->at);
    *p = (struct pieces){0};
}

static int
read_behaviour(struct pretokenizer_step *step, const json_t *json, struct error *e)
{
    const char *name = json_string_value(json_object_get(json, "behavior"));

    for (int i = 0; name && i < BEHAVIOURS; i++)
        if (strcmp(name, behaviour_names[i]) == 0) {
            step->behaviour = (enum behaviour)i;
            return 0;
        }
    return error_set(e, ERROR_model, "behavior '%.40s' is not understood", name ? name : "");
}

/* Every byte is in a match of a known pattern, so that removing what does not match is the same as
 * isolating what does. */
static int
read_split(struct pretokenizer_step *step, const json_t *json, struct error *e)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const json_t *literal = json_object_get(pattern, "String");

    step->invert = json_is_true(json_object_get(json, "invert"));
    if (read_behaviour(step, json, e))
        return error_wrap(e, "Split");
    if (!regex && !json_is_string(literal))
        return error_set(e, ERROR_model, "Split: 'pattern' must be a Regex or a String");
    if (regex && (step->behaviour == ISOLATED || (step->behaviour == REMOVED && step->invert)))
        step->scanner = scanner_of(regex);
    if (step->scanner || (!regex && json_string_length(literal) == 0))
        return 0;
    step->pattern =
        regex
            ? pattern_regex(regex, e)
            : pattern_literal(span_of(json_string_value(literal), json_string_length(literal)), e);
    return step->pattern ? 0 : ERROR_model;
}

/* What older files call add_prefix_space is prepend_scheme "always" or "never". */
static int
read_metaspace(struct pretokenizer_step *step, const json_t *json, struct error *e)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *with = json_string_value(json_object_get(json, "replacement"));
    const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
    const json_t *split = json_object_get(json, "split");
    size_t length = 0;

    if (with && *with)
        (void)unicode_at(span_text(with), 0, &length);
    if (!length || with[length])
        return error_set(e, ERROR_model, "Metaspace: 'replacement' must be one character");
    buffer_add(&step->written, with, length);
    step->spaces = 1;
    step->prepend =
        json_is_false(json_object_get(json, "add_prefix_space")) ? PREPEND_never : PREPEND_always;
    for (int i = 0; scheme && i < 3; i++)
        if (strcmp(scheme, names[i]) == 0) {
            step->prepend = (enum prepend)i;
            scheme = NULL;
        }
    if (scheme)
        return error_set(e, ERROR_model, "Metaspace: prepend_scheme '%.40s' is not understood",
                         scheme);
    if (split && json_is_false(split))
        return 0;
    step->behaviour = MERGED_WITH_NEXT;
    step->pattern = pattern_literal(buffer_span(&step->written), e);
    return step->pattern ? 0 : ERROR_model;
}

static void
read_byte_level(struct pretokenizer *p, struct pretokenizer_step *step, const json_t *json)
{
    const json_t *prefix = json_object_get(json, "add_prefix_space");
    const json_t *regex = json_object_get(json, "use_regex");

    p->byte_level = 1;
    if (!prefix || json_is_true(prefix)) {
        step->prepend = PREPEND_always;
        buffer_text(&step->written, " ");
    }
    if (!regex || json_is_true(regex))
        step->scanner = SCANNER_gpt2;
}

static int
read_kind(struct pretokenizer *p, struct pretokenizer_step *step, const char *type,
          const json_t *json, struct error *e)
{
    if (strcmp(type, "Split") == 0)
        return read_split(step, json, e);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(step, json, e);
    if (strcmp(type, "Digits") == 0) {
        step->pattern = pattern_flag(UNICODE_numeric);
        if (!json_is_true(json_object_get(json, "individual_digits")))
            step->behaviour = CONTIGUOUS;
    } else if (strcmp(type, "Punctuation") == 0) {
        step->pattern = pattern_flag(UNICODE_punctuation);
        if (json_object_get(json, "behavior") && read_behaviour(step, json, e))
            return error_wrap(e, "Punctuation");
    } else if (strcmp(type, "WhitespaceSplit") == 0) {
        step->pattern = pattern_space();
        step->behaviour = REMOVED;
    } else if (strcmp(type, "Whitespace") == 0) {
        step->words = 1;
    } else if (strcmp(type, "ByteLevel") == 0) {
        read_byte_level(p, step, json);
    } else {
        return error_set(e, ERROR_model,
                         "type '%.60s' is not understood; ByteLevel, Split, Digits, Punctuation, "
                         "Whitespace, WhitespaceSplit, Metaspace and Sequence are",
                         type);
    }
    return 0;
}

static int
read_step(struct pretokenizer *p, const json_t *json, int depth, struct error *e)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *parts = json_object_get(json, "pretokenizers");
    struct pretokenizer_step *step;
    size_t i;
    json_t *part;

    type = type ? type : "";
    if (strcmp(type, "Sequence") == 0) {
        if (!json_is_array(parts) || depth > 4)
            return error_set(e, ERROR_model, "Sequence: 'pretokenizers' must be a list");
        json_array_foreach(parts, i, part) if (read_step(p, part, depth + 1, e)) return ERROR_model;
        return 0;
    }
    if (p->byte_level)
        return error_set(e, ERROR_model, "ByteLevel must be the last pre-tokenizer");
    if (p->step_count == PRETOKENIZER_STEPS_MAX)
        return error_set(e, ERROR_limit, "more than %d pre-tokenizers", PRETOKENIZER_STEPS_MAX);
    p->steps = xresize(p->steps, ((size_t)p->step_count + 1) * sizeof(*p->steps));
    step = &p->steps[p->step_count++];
    *step = (struct pretokenizer_step){.behaviour = ISOLATED};
    return read_kind(p, step, type, json, e);
}

/* Is there one step that cuts, by a known pattern, and none that writes? */
static enum scanner
only_scanner(const struct pretokenizer *p)
{
    enum scanner found = SCANNER_none;

    for (int i = 0; i < p->step_count; i++) {
        const struct pretokenizer_step *step = &p->steps[i];

        if (step->prepend || step->spaces || step->pattern || step->words ||
            (step->scanner && found))
            return SCANNER_none;
        found = step->scanner ? step->scanner : found;
    }
    return found;
}

int
pretokenizer_read(struct pretokenizer *p, const json_t *json, struct error *e)
{
    int rc = 0;

    *p = (struct pretokenizer){.flags = unicode_flags()};
    if (json && !json_is_null(json))
        rc = read_step(p, json, 0, e);
    if (rc)
        pretokenizer_free(p);
    else
        p->scanner = only_scanner(p);
    return rc;
}

void
pretokenizer_free(struct pretokenizer *p)
{
    for (int i = 0; i < p->step_count; i++) {
        pattern_free(p->steps[i].pattern);
        buffer_free(&p->steps[i].written);
    }
    free(p->steps);
    *p = (struct pretokenizer){0};
}

/* A stretch of the text as the matcher sees it: a match, or what lies between two. */
struct stretch {
    size_t start, end;
    int match;
};

/* Adds a stretch to OUT (from BASE on) as the behaviour wants; PREVIOUS is whether the last one was
 * a match. */
static void
add_stretch(const struct pretokenizer_step *step, struct pieces *out, size_t base, struct stretch s,
            int *previous)
{
    struct piece *last = out->count > base ? &out->at[out->count - 1] : NULL;
    int match = s.match != step->invert, join = 0;

    switch (step->behaviour) {
    case REMOVED:
        if (match)
            return;
        break;
    case CONTIGUOUS:
        join = match == *previous;
        break;
    case MERGED_WITH_PREVIOUS:
        join = match && !*previous;
        break;
    case MERGED_WITH_NEXT: /* from the left: what follows a match joins it, unless it is one */
        join = *previous && !match;
        break;
    default:
        break;
    }
    *previous = match;
    if (join && last)
        last->end = s.end;
    else
        pieces_add(out, s.start, s.end);
}

static int
cut_pattern(const struct pretokenizer_step *step, struct span text, size_t shift,
            struct pieces *out, struct error *e)
{
    struct pattern_walk w = PATTERN_WALK;
    size_t at = 0, base = out->count;
    int previous = 0, rc;

    while ((rc = pattern_next(step->pattern, text, &w, e)) > 0) {
        if (w.start > at)
            add_stretch(step, out, base, (struct stretch){shift + at, shift + w.start, 0},
                        &previous);
        if (w.end > w.start) /* an empty match cuts, and has no piece */
            add_stretch(step, out, base, (struct stretch){shift + w.start, shift + w.end, 1},
                        &previous);
        at = w.end;
    }
    if (rc == 0 && at < text.length)
        add_stretch(step, out, base, (struct stretch){shift + at, shift + text.length, 0},
                    &previous);
    return rc;
}

/* Runs of word characters, and runs of what is neither that nor white space. */
static void
cut_words(const uint16_t *flags, struct span text, struct piece piece, struct pieces *out)
{
    size_t length, start = piece.start;
    int kind = 0; /* of the run that began at START: 0 space, 1 word, 2 other */

    for (size_t at = piece.start; at < piece.end; at += length) {
        uint32_t c = unicode_at(text, at, &length);
        int now = unicode_is_space(c) ? 0 : flags[c] & UNICODE_rust_word ? 1 : 2;

        if (now == kind)
            continue;
        if (kind)
            pieces_add(out, start, at);
        start = at;
        kind = now;
    }
    if (kind)
        pieces_add(out, start, piece.end);
}

static int
cut(const struct pretokenizer *p, const struct pretokenizer_step *step, struct span text,
    const struct pieces *in, struct pieces *out, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; i < in->count && rc == 0; i++) {
        struct piece piece = in->at[i];

        if (step->scanner) {
            for (size_t at = piece.start, end; at < piece.end; at = end) {
                end = scanner_next(step->scanner, (const unsigned char *)text.at, at, piece.end,
                                   p->flags);
                pieces_add(out, at, end);
            }
        } else if (step->words) {
            cut_words(p->flags, text, piece, out);
        } else if (step->pattern) {
            rc = cut_pattern(step, span_of(text.at + piece.start, piece.end - piece.start),
                             piece.start, out, e);
        } else {
            pieces_add(out, piece.start, piece.end);
        }
    }
    return rc;
}

/* One piece into R, with what the step writes. What is put in front belongs to the first character,
 * as in the reference. */
static void
write_piece(const struct pretokenizer_step *step, struct span text, struct piece piece, int first,
            struct rewrite *r)
{
    struct span mark = buffer_span(&step->written);
    struct buffer with = {0};
    size_t at = piece.start, length;
    int there = piece.end - at >= mark.length && memcmp(text.at + at, mark.at, mark.length) == 0;

    if (step->spaces && text.at[at] == ' ')
        there = 1;
    if (!there && (step->prepend == PREPEND_always || (step->prepend == PREPEND_first && first))) {
        (void)unicode_at(text, at, &length);
        buffer_add(&with, mark.at, mark.length);
        buffer_add(&with, text.at + at, length);
        rewrite_edit(r, text, at, at + length, buffer_span(&with));
        at += length;
    }
    while (step->spaces && at < piece.end) {
        const char *space = memchr(text.at + at, ' ', piece.end - at);
        size_t to = space ? (size_t)(space - text.at) : piece.end;

        rewrite_keep(r, span_of(text.at + at, to - at));
        if (space)
            rewrite_edit(r, text, to, to + 1, mark);
        at = space ? to + 1 : to;
    }
    rewrite_keep(r, span_of(text.at + at, piece.end - at));
    buffer_free(&with);
}

/* All pieces of TEXT, which need not touch, as the step writes them: positions become R's. */
static void
write_pieces(const struct pretokenizer_step *step, struct span text, int first,
             struct pieces *pieces, struct rewrite *r)
{
    size_t at = 0;

    for (size_t i = 0; i < pieces->count; i++) {
        struct piece piece = pieces->at[i];

        rewrite_keep(r, span_of(text.at + at, piece.start - at));
        pieces->at[i].start = r->text.length;
        write_piece(step, text, piece, first && piece.start == 0, r);
        pieces->at[i].end = r->text.length;
        at = piece.end;
    }
    rewrite_keep(r, span_of(text.at + at, text.length - at));
}

int
pretokenizer_cut(const struct pretokenizer *p, struct span *text, int first,
                 struct rewrite_chain *chain, struct pieces *out, struct error *e)
{
    struct pieces other = {0}, swap;
    int rc = 0;

    out->count = 0;
    chain->count = 0;
    if (text->length)
        pieces_add(out, 0, text->length);
    for (int i = 0; i < p->step_count && rc == 0; i++) {
        const struct pretokenizer_step *step = &p->steps[i];

        if (step->prepend || step->spaces) {
            struct rewrite *r = rewrite_chain_add(chain);

            write_pieces(step, *text, first, out, r);
            *text = buffer_span(&r->text);
        }
        other.count = 0;
        rc = cut(p, step, *text, out, &other, e);
        swap = *out, *out = other, other = swap;
    }
    pieces_free(&other);
    return rc;
}

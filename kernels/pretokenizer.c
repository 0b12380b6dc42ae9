#define PCRE2_CODE_UNIT_WIDTH 8
#include "kernels/pretokenizer.h"

#include "kernels/nfc.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_LIMIT 50000000 /* steps of one match; far above what an honest pattern needs */
#define JIT_STACK   (1 << 20)

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

/* A matcher and what happens to its matches. Digits is one too, with a pattern of its own. */
struct pretokenizer_step {
    pcre2_code *code; /* NULL: no cut (ByteLevel without its pattern) */
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    enum behaviour behaviour;
    int invert, prefix; /* ByteLevel's add_prefix_space */
};

/* The pattern of ByteLevel (GPT-2's). */
static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Unicode White_Space, which is Oniguruma's \s; PCRE2's also holds U+180E. */
static const char space_class[] =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}"
    "\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

/* Oniguruma's \w: letters, marks, digits, connectors and the rest of Alphabetic; PCRE2's lacks most
 * of these. Outside brackets it takes the superscripts and fractions of Latin-1 too. */
#define WORD_CLASS                                                                                 \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"                    \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
static const char word_class[] = WORD_CLASS;
static const char word_alone[] = WORD_CLASS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

/* Escapes that mean something else to PCRE2, or nothing to one of the two. */
static const char refused_escapes[] = "bBvVhHRXKGCgkyYNO";

void
pieces_add(struct pieces *p, struct piece piece)
{
    if (p->count == p->room) {
        p->room = p->room ? 2 * p->room : 256;
        p->at = xresize(p->at, p->room * sizeof(*p->at));
    }
    p->at[p->count++] = piece;
}

void
pieces_free(struct pieces *p)
{
    free(p->at);
    *p = (struct pieces){0};
}

/* An escape of the pattern at TEXT[*at] == '\\', inside a class or not. */
static int
translate_escape(const char *text, size_t *at, int in_class, struct buffer *out, struct error *e)
{
    char c = text[*at + 1];

    int negative = c == 'S' || c == 'W';
    const char *class = NULL;

    if (c == 's' || c == 'S')
        class = space_class;
    else if (c == 'w' || c == 'W')
        class = in_class ? word_class : word_alone;
    *at += c ? 2 : 1;
    if ((negative && in_class) || (c && strchr(refused_escapes, c)))
        return error_set(e, ERROR_model, "'\\%c'%s in a pattern is not understood", c,
                         in_class ? " inside brackets" : "");
    if (class && in_class)
        buffer_text(out, class);
    else if (class)
        buffer_print(out, "[%s%s]", negative ? "^" : "", class);
    else
        buffer_print(out, "\\%c", c);
    return 0;
}

/* Does a group that TEXT begins, after its "(", mean something else to PCRE2 or run code of its
 * own? */
static int
is_refused_group(const char *text)
{
    return *text == '*' || (*text == '?' && text[1] && strchr("~(&PRC|0123456789+-m", text[1]));
}

/* Oniguruma's (Ruby) words in PCRE2's; what would mean something else is refused. */
static int
translate(const char *text, struct buffer *out, struct error *e)
{
    int in_class = 0;

    for (size_t i = 0; text[i];) {
        char c = text[i];

        if (c == '\\') {
            if (translate_escape(text, &i, in_class, out, e))
                return ERROR_model;
            continue;
        }
        if (in_class && (c == '[' || (c == '&' && text[i + 1] == '&')))
            return error_set(e, ERROR_model,
                             "nested brackets and '&&' in a pattern are not understood");
        if (!in_class && c == '(' && is_refused_group(text + i + 1))
            return error_set(e, ERROR_model, "'(%.2s' in a pattern is not understood",
                             text + i + 1);
        buffer_add(out, &c, 1);
        i++;
        if (!in_class && c == '[') {
            in_class = 1;
            if (text[i] == '^')
                buffer_add(out, &text[i++], 1);
            if (text[i] == ']')
                return error_set(e, ERROR_model, "an empty class in a pattern is not understood");
        } else if (in_class && c == ']') {
            in_class = 0;
        }
    }
    buffer_add(out, "", 1);
    return 0;
}

static int
compile(struct pretokenizer_step *step, const char *pattern, int literal, struct error *e)
{
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C |
                       (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    struct buffer text = {0};
    PCRE2_SIZE where;
    int why, rc = 0;

    if (literal)
        buffer_add(&text, pattern, strlen(pattern) + 1);
    else
        rc = translate(pattern, &text, e);
    if (rc == 0 && text.length > PRETOKENIZER_PATTERN_MAX)
        rc = error_set(e, ERROR_model, "a pattern of %zu bytes; at most %d", text.length,
                       PRETOKENIZER_PATTERN_MAX);
    if (rc == 0) {
        step->code =
            pcre2_compile((PCRE2_SPTR)text.at, PCRE2_ZERO_TERMINATED, options, &why, &where, NULL);
        if (!step->code) {
            PCRE2_UCHAR reason[120] = "";

            pcre2_get_error_message(why, reason, sizeof(reason));
            rc = error_set(e, ERROR_model, "pattern: %s at byte %zu", (const char *)reason,
                           (size_t)where);
        }
    }
    buffer_free(&text);
    if (rc)
        return rc;
    step->data = pcre2_match_data_create(1, NULL);
    step->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(step->context, MATCH_LIMIT);
    if (pcre2_jit_compile(step->code, PCRE2_JIT_COMPLETE) == 0) { /* else it is interpreted */
        step->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK, NULL);
        pcre2_jit_stack_assign(step->context, NULL, step->stack);
    }
    return 0;
}

static int
read_split(struct pretokenizer_step *step, const json_t *json, struct error *e)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *name = json_string_value(json_object_get(json, "behavior"));

    step->invert = json_is_true(json_object_get(json, "invert"));
    for (step->behaviour = 0; name && step->behaviour < BEHAVIOURS; step->behaviour++)
        if (strcmp(name, behaviour_names[step->behaviour]) == 0)
            break;
    if (!name || step->behaviour == BEHAVIOURS)
        return error_set(e, ERROR_model, "Split: behavior '%.40s' is not understood",
                         name ? name : "");
    if (!regex && !literal)
        return error_set(e, ERROR_model, "Split: 'pattern' must be a Regex or a String");
    if (!regex && !*literal)
        return 0;
    return compile(step, regex ? regex : literal, !regex, e);
}

static int
read_step(struct pretokenizer *p, const json_t *json, int depth, struct error *e)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    struct pretokenizer_step *step;
    const json_t *parts = json_object_get(json, "pretokenizers"), *flag;
    size_t i;
    json_t *part;

    if (type && strcmp(type, "Sequence") == 0) {
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
    if (type && strcmp(type, "Split") == 0)
        return read_split(step, json, e);
    if (type && strcmp(type, "Digits") == 0) {
        if (!json_is_true(json_object_get(json, "individual_digits")))
            step->behaviour = CONTIGUOUS;
        return compile(step, "\\p{N}", 0, e);
    }
    if (!type || strcmp(type, "ByteLevel"))
        return error_set(e, ERROR_model,
                         "type '%.60s' is not understood; ByteLevel, Split, Digits and "
                         "Sequence are",
                         type ? type : "");
    p->byte_level = 1;
    flag = json_object_get(json, "add_prefix_space");
    step->prefix = !flag || json_is_true(flag);
    flag = json_object_get(json, "use_regex");
    return !flag || json_is_true(flag) ? compile(step, gpt2, 0, e) : 0;
}

int
pretokenizer_read(struct pretokenizer *p, const json_t *json, struct error *e)
{
    int rc = 0;

    *p = (struct pretokenizer){0};
    if (json && !json_is_null(json))
        rc = read_step(p, json, 0, e);
    if (rc)
        pretokenizer_free(p);
    return rc;
}

void
pretokenizer_free(struct pretokenizer *p)
{
    for (int i = 0; i < p->step_count; i++) {
        pcre2_code_free(p->steps[i].code);
        pcre2_match_data_free(p->steps[i].data);
        pcre2_match_context_free(p->steps[i].context);
        pcre2_jit_stack_free(p->steps[i].stack);
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
        pieces_add(out, (struct piece){s.start, s.end, 0});
}

/* Cuts TEXT; positions in OUT are TEXT's. */
static int
cut(const struct pretokenizer_step *step, struct span text, struct pieces *out, struct error *e)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(step->data);
    size_t at = 0, from = 0, base = out->count, length;
    int previous = 0;

    while (from < text.length) {
        int rc = pcre2_match(step->code, (PCRE2_SPTR)text.at, text.length, from, PCRE2_NO_UTF_CHECK,
                             step->data, step->context);

        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0)
            return error_set(e, ERROR_model,
                             "the pre-tokenizer's pattern gave up on a text of %zu bytes",
                             text.length);
        if (found[1] <= found[0]) { /* an empty match cuts between two characters */
            if (found[0] >= text.length)
                break;
            (void)nfc_character(text, found[0], &length);
            from = found[0] + length;
            if (found[0] > at)
                add_stretch(step, out, base, (struct stretch){at, found[0], 0}, &previous);
            at = found[0];
            continue;
        }
        if (found[0] > at)
            add_stretch(step, out, base, (struct stretch){at, found[0], 0}, &previous);
        add_stretch(step, out, base, (struct stretch){found[0], found[1], 1}, &previous);
        at = from = found[1];
    }
    if (at < text.length)
        add_stretch(step, out, base, (struct stretch){at, text.length, 0}, &previous);
    return 0;
}

/* ByteLevel with add_prefix_space: the cut is made on " " + PIECE, positions go back to the text's.
 */
static int
cut_prefixed(const struct pretokenizer_step *step, struct span text, struct piece piece,
             struct pieces *out, struct error *e)
{
    struct buffer with = {0};
    size_t base = out->count;
    int rc = 0;

    buffer_add(&with, " ", 1);
    buffer_add(&with, text.at + piece.start, piece.end - piece.start);
    if (step->code)
        rc = cut(step, buffer_span(&with), out, e);
    else
        pieces_add(out, (struct piece){0, with.length, 0});
    for (size_t i = base; i < out->count; i++) {
        struct piece *one = &out->at[i];

        one->prefixed = one->start == 0;
        one->start = piece.start + one->start - (one->start > 0);
        one->end = piece.start + one->end - 1;
    }
    buffer_free(&with);
    return rc;
}

static int
run_step(const struct pretokenizer_step *step, struct span text, const struct pieces *in,
         struct pieces *out, struct error *e)
{
    for (size_t i = 0; i < in->count; i++) {
        struct piece piece = in->at[i];
        size_t base = out->count;
        int rc = 0;

        if (step->prefix && text.at[piece.start] != ' ') {
            rc = cut_prefixed(step, text, piece, out, e);
        } else if (step->code) {
            rc = cut(step, span_of(text.at + piece.start, piece.end - piece.start), out, e);
            for (size_t k = base; k < out->count; k++) {
                out->at[k].start += piece.start;
                out->at[k].end += piece.start;
            }
        } else {
            pieces_add(out, piece);
        }
        if (rc)
            return rc;
    }
    return 0;
}

int
pretokenizer_cut(const struct pretokenizer *p, struct span text, struct pieces *out,
                 struct error *e)
{
    struct pieces other = {0}, swap;
    int rc = 0;

    out->count = 0;
    if (text.length)
        pieces_add(out, (struct piece){0, text.length, 0});
    for (int i = 0; i < p->step_count && rc == 0; i++) {
        other.count = 0;
        rc = run_step(&p->steps[i], text, out, &other, e);
        swap = *out, *out = other, other = swap;
    }
    pieces_free(&other);
    return rc;
}

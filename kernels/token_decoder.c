#include "kernels/token_decoder.h"

#include "kernels/bpe.h"
#include "kernels/pattern.h"
#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>

struct token_decoder_step {
    void (*run)(const struct token_decoder_step *s, struct token_texts *t, struct arena *room);
    struct pattern *pattern; /* Replace */
    struct buffer text;      /* Replace: what is put; Strip, Metaspace: the character; the suffix */
    int64_t start, stop;     /* Strip */
    int keep_first;          /* Metaspace: marks of the first token are blanks too */
};

struct span
token_decoder_bytes(struct span token, char *room)
{
    size_t count = 0, length;

    for (size_t at = 0; at < token.length; at += length) {
        int byte = bpe_character_byte(unicode_at(token, at, &length));

        if (byte < 0)
            return token;
        room[count++] = (char)byte;
    }
    return span_of(room, count);
}

/* Bytes of one character at AT if it is whole and valid; else 0 and *BAD the bytes that U+FFFD
 * stands for, at least 1. */
static size_t
valid_character(struct span text, size_t at, size_t *bad)
{
    unsigned char c = (unsigned char)text.at[at], low = 0x80, high = 0xbf;
    size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

    *bad = 1;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++) {
        unsigned char next = at + i < text.length ? (unsigned char)text.at[at + i] : 0;

        if (next < low || next > high)
            return 0;
        *bad = i + 1;
        low = 0x80, high = 0xbf;
    }
    return length;
}

void
token_decoder_lossy(struct span text, struct buffer *out)
{
    size_t plain = 0, length, bad;

    if (unicode_is_utf8(text)) {
        buffer_add(out, text.at, text.length);
        return;
    }
    for (size_t at = 0; at < text.length;) {
        length = valid_character(text, at, &bad);
        if (!length) {
            buffer_add(out, text.at + plain, at - plain);
            buffer_text(out, "\xef\xbf\xbd");
            plain = at + bad;
        }
        at += length ? length : bad;
    }
    buffer_add(out, text.at + plain, text.length - plain);
}

static struct span
keep(struct arena *room, const struct buffer *b)
{
    char *copy = arena_take(room, b->length + 1);

    if (b->length)
        memcpy(copy, b->at, b->length);
    return span_of(copy, b->length);
}

static void
run_byte_level(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    struct buffer bytes = {0}, text = {0};

    (void)s;
    for (int64_t i = 0; i < t->count; i++) {
        char *place = arena_take(room, t->at[i].length + 1);
        struct span plain = token_decoder_bytes(t->at[i], place);

        buffer_add(&bytes, plain.at, plain.length);
    }
    token_decoder_lossy(buffer_span(&bytes), &text);
    if (t->count)
        t->at[0] = keep(room, &text);
    t->count = t->count > 0;
    buffer_free(&bytes);
    buffer_free(&text);
}

static int
hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte of a token <0xNN>, -1: it is none. A sign before one digit is Rust's whim. */
static int
fallback_byte(struct span token)
{
    int high, low;

    if (token.length != 6 || memcmp(token.at, "<0x", 3) || token.at[5] != '>')
        return -1;
    high = token.at[3] == '+' ? 0 : hex(token.at[3]);
    low = hex(token.at[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* A run of byte tokens is its text, or one U+FFFD for each of them. */
static void
run_byte_fallback(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    static const char bad[] = "\xef\xbf\xbd";
    struct buffer run = {0};
    int64_t kept = 0;

    (void)s;
    for (int64_t i = 0; i <= t->count; i++) {
        struct span token = i < t->count ? t->at[i] : span_of("", 0);
        int byte = fallback_byte(token);

        if (byte >= 0) {
            buffer_add(&run, &(char){(char)byte}, 1);
            continue;
        }
        if (run.length && unicode_is_utf8(buffer_span(&run)))
            t->at[kept++] = keep(room, &run);
        else
            for (size_t k = 0; k < run.length; k++)
                t->at[kept++] = span_of(bad, 3);
        buffer_clear(&run);
        if (i < t->count)
            t->at[kept++] = token;
    }
    t->count = kept;
    buffer_free(&run);
}

static void
run_fuse(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    struct buffer all = {0};

    (void)s;
    for (int64_t i = 0; i < t->count; i++)
        buffer_add(&all, t->at[i].at, t->at[i].length);
    if (t->count)
        t->at[0] = keep(room, &all);
    t->count = t->count > 0;
    buffer_free(&all);
}

static void
run_strip(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    (void)room;
    for (int64_t i = 0; i < t->count; i++) {
        struct span *token = &t->at[i];
        size_t n = s->text.length;

        for (int64_t k = 0; k < s->start && token->length >= n; k++) {
            if (memcmp(token->at, s->text.at, n))
                break;
            *token = span_of(token->at + n, token->length - n);
        }
        for (int64_t k = 0; k < s->stop && token->length >= n; k++) {
            if (memcmp(token->at + token->length - n, s->text.at, n))
                break;
            token->length -= n;
        }
    }
}

/* WITH for every match in a token. */
static struct span
replaced(const struct pattern *p, struct span token, struct span with, struct arena *room)
{
    struct pattern_walk w = PATTERN_WALK;
    struct buffer out = {0};
    size_t at = 0;

    while (pattern_next(p, token, &w, NULL) > 0) {
        buffer_add(&out, token.at + at, w.start - at);
        buffer_add(&out, with.at, with.length);
        at = w.end;
    }
    buffer_add(&out, token.at + at, token.length - at);
    token = keep(room, &out);
    buffer_free(&out);
    return token;
}

static void
run_replace(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    for (int64_t i = 0; i < t->count; i++)
        t->at[i] = replaced(s->pattern, t->at[i], buffer_span(&s->text), room);
}

static void
run_metaspace(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    for (int64_t i = 0; i < t->count; i++)
        t->at[i] =
            replaced(s->pattern, t->at[i], span_text(i == 0 && !s->keep_first ? "" : " "), room);
}

/* BPEDecoder: a word's suffix is a blank, but for the last token. */
static void
run_suffix(const struct token_decoder_step *s, struct token_texts *t, struct arena *room)
{
    for (int64_t i = 0; i < t->count; i++)
        t->at[i] = replaced(s->pattern, t->at[i], span_text(i + 1 == t->count ? "" : " "), room);
}

static int
read_replace(struct token_decoder_step *s, const json_t *json, struct error *e)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *content = json_string_value(json_object_get(json, "content"));

    if ((!regex && !literal) || !content)
        return error_set(e, ERROR_model,
                         "Replace: 'pattern' must be a Regex or a String, 'content' a text");
    buffer_text(&s->text, content);
    s->pattern = regex ? pattern_regex(regex, e) : pattern_literal(span_text(literal), e);
    s->run = run_replace;
    return s->pattern ? 0 : error_wrap(e, "Replace");
}

/* The decoders that have one text to look for, under KEY. */
static int
read_marked(struct token_decoder_step *s, const char *type, const json_t *json, struct error *e)
{
    int strip = strcmp(type, "Strip") == 0, meta = strcmp(type, "Metaspace") == 0;
    const char *key = strip ? "content" : meta ? "replacement" : "suffix";
    const char *text = json_string_value(json_object_get(json, key));
    const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));

    if (!text || !*text)
        return error_set(e, ERROR_model, "%s: '%s' must be a text", type, key);
    s->start = json_integer_value(json_object_get(json, "start"));
    s->stop = json_integer_value(json_object_get(json, "stop"));
    s->keep_first = (scheme && strcmp(scheme, "never") == 0) ||
                    json_is_false(json_object_get(json, "add_prefix_space"));
    s->run = strip ? run_strip : meta ? run_metaspace : run_suffix;
    buffer_text(&s->text, text);
    s->pattern = pattern_literal(span_text(text), e);
    return s->pattern ? 0 : ERROR_model;
}

static int
read_step(struct token_decoder *d, const json_t *json, int depth, struct error *e)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *parts = json_object_get(json, "decoders");
    struct token_decoder_step *s;
    json_t *part;
    size_t i;

    type = type ? type : "";
    if (strcmp(type, "Sequence") == 0) {
        if (!json_is_array(parts) || depth > 4)
            return error_set(e, ERROR_model, "Sequence: 'decoders' must be a list");
        json_array_foreach(parts, i, part) if (read_step(d, part, depth + 1, e)) return ERROR_model;
        return 0;
    }
    if (d->count == TOKEN_DECODER_STEPS_MAX)
        return error_set(e, ERROR_limit, "more than %d decoders", TOKEN_DECODER_STEPS_MAX);
    d->steps = xresize(d->steps, ((size_t)d->count + 1) * sizeof(*d->steps));
    s = &d->steps[d->count++];
    *s = (struct token_decoder_step){0};
    if (strcmp(type, "Replace") == 0)
        return read_replace(s, json, e);
    if (strcmp(type, "Strip") == 0 || strcmp(type, "Metaspace") == 0 ||
        strcmp(type, "BPEDecoder") == 0)
        return read_marked(s, type, json, e);
    s->run = strcmp(type, "ByteLevel") == 0      ? run_byte_level
             : strcmp(type, "ByteFallback") == 0 ? run_byte_fallback
             : strcmp(type, "Fuse") == 0         ? run_fuse
                                                 : NULL;
    return s->run ? 0
                  : error_set(e, ERROR_model,
                              "type '%.60s' is not understood; ByteLevel, ByteFallback, Fuse, "
                              "Strip, Replace, Metaspace, BPEDecoder and Sequence are",
                              type);
}

int
token_decoder_read(struct token_decoder *d, const json_t *json, struct error *e)
{
    int rc = 0;

    *d = (struct token_decoder){0};
    if (json && !json_is_null(json))
        rc = read_step(d, json, 0, e);
    if (rc)
        token_decoder_free(d);
    else
        d->byte_level = d->count == 1 && d->steps[0].run == run_byte_level;
    return rc;
}

void
token_decoder_free(struct token_decoder *d)
{
    for (int i = 0; i < d->count; i++) {
        pattern_free(d->steps[i].pattern);
        buffer_free(&d->steps[i].text);
    }
    free(d->steps);
    *d = (struct token_decoder){0};
}

void
token_decoder_run(const struct token_decoder *d, struct token_texts *texts, struct buffer *out)
{
    struct arena room = {0};

    for (int i = 0; i < d->count; i++)
        d->steps[i].run(&d->steps[i], texts, &room);
    for (int64_t i = 0; i < texts->count; i++) {
        if (i && d->count == 0)
            buffer_add(out, " ", 1);
        buffer_add(out, texts->at[i].at, texts->at[i].length);
    }
    arena_free(&room);
}

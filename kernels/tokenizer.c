/* The pipeline of the reference's encode: added tokens in the raw text, NFC, added tokens in the
 * normalised text, pre-tokenizer, BPE, template; and its decode. */
#include "kernels/tokenizer.h"

#include "kernels/added_tokens.h"
#include "kernels/bpe.h"
#include "kernels/document.h"
#include "kernels/nfc.h"
#include "kernels/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#define TEMPLATE_MAX 64 /* tokens a template adds before, and after */

static const struct document_limits limits = {
    .bytes = TOKENIZER_BYTES_MAX,
    .values = 1 << 23,
    .depth = 32,
};

struct tokenizer {
    struct bpe bpe;
    struct added_tokens added;
    struct pretokenizer pretokenizer;
    int normalise;          /* NFC */
    int decode_bytes;       /* decoder ByteLevel; else tokens are joined by blanks */
    unsigned char *special; /* by id */
    struct span *plain;     /* decoded bytes by id */
    struct arena strings;
    int32_t before[TEMPLATE_MAX], after[TEMPLATE_MAX];
    int before_count, after_count;
    /* scratch of encode */
    struct added_stretches raw, inner;
    struct nfc nfc;
    struct pieces pieces;
    struct bpe_word word;
    struct buffer prefixed;
};

void
tokens_free(struct tokens *t)
{
    free(t->ids);
    free(t->starts);
    free(t->ends);
    *t = (struct tokens){0};
}

static const char *
type_of(const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "type"));

    return type ? type : "";
}

static int
read_normalizer(struct tokenizer *t, const json_t *json, struct error *e)
{
    json_t *part;
    size_t i;

    if (!json || json_is_null(json))
        return 0;
    if (strcmp(type_of(json), "NFC") == 0) {
        t->normalise = 1;
        return 0;
    }
    if (strcmp(type_of(json), "Sequence"))
        return error_set(e, ERROR_model, "type '%.60s' is not understood; NFC is", type_of(json));
    json_array_foreach(json_object_get(json, "normalizers"), i,
                       part) if (read_normalizer(t, part, e)) return ERROR_model;
    return 0;
}

/* The ids of one special token of a template, onto LIST. */
static int
read_template_token(const json_t *json, const json_t *name, int32_t *list, int *count,
                    struct error *e)
{
    const char *key = json_string_value(json_object_get(name, "id"));
    const json_t *ids = json_object_get(
        json_object_get(json_object_get(json, "special_tokens"), key ? key : ""), "ids");
    json_t *id;
    size_t i;

    if (!json_is_array(ids))
        return error_set(e, ERROR_model, "TemplateProcessing: token '%.80s' has no ids",
                         key ? key : "");
    json_array_foreach(ids, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= TOKENIZER_VOCAB_MAX)
            return error_set(e, ERROR_model, "TemplateProcessing: '%.80s': not a token id", key);
        if (*count == TEMPLATE_MAX)
            return error_set(e, ERROR_limit, "TemplateProcessing: more than %d tokens",
                             TEMPLATE_MAX);
        list[(*count)++] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int
read_template(struct tokenizer *t, const json_t *json, struct error *e)
{
    json_t *item;
    size_t i;
    int seen = 0;

    json_array_foreach(json_object_get(json, "single"), i, item)
    {
        const json_t *name = json_object_get(item, "SpecialToken");

        if (json_object_get(item, "Sequence"))
            seen++;
        else if (seen ? read_template_token(json, name, t->after, &t->after_count, e)
                      : read_template_token(json, name, t->before, &t->before_count, e))
            return ERROR_model;
    }
    return seen == 1
               ? 0
               : error_set(e, ERROR_model, "TemplateProcessing: 'single' must hold one Sequence");
}

static int
read_processor(struct tokenizer *t, const json_t *json, struct error *e)
{
    json_t *part;
    size_t i;

    if (!json || json_is_null(json) || strcmp(type_of(json), "ByteLevel") == 0)
        return 0; /* offsets are never trimmed here */
    if (strcmp(type_of(json), "TemplateProcessing") == 0)
        return read_template(t, json, e);
    if (strcmp(type_of(json), "Sequence"))
        return error_set(e, ERROR_model,
                         "type '%.60s' is not understood; ByteLevel, TemplateProcessing and "
                         "Sequence are",
                         type_of(json));
    json_array_foreach(json_object_get(json, "processors"), i,
                       part) if (read_processor(t, part, e)) return ERROR_model;
    return 0;
}

static int
read_decoder(struct tokenizer *t, const json_t *json, struct error *e)
{
    const json_t *parts = json_object_get(json, "decoders");

    if (!json || json_is_null(json))
        return 0;
    if (strcmp(type_of(json), "Sequence") == 0 && json_array_size(parts) == 1)
        return read_decoder(t, json_array_get(parts, 0), e);
    if (strcmp(type_of(json), "ByteLevel"))
        return error_set(e, ERROR_model, "type '%.60s' is not understood; ByteLevel is",
                         type_of(json));
    t->decode_bytes = 1;
    return 0;
}

/* Added tokens take their ids; one that contradicts the vocabulary is refused. */
static int
join_added(struct tokenizer *t, struct error *e)
{
    for (int i = 0; i < t->added.count; i++) {
        const struct added_token *a = &t->added.all[i];
        int32_t id = bpe_id(&t->bpe, a->content);
        struct span held = a->id < t->bpe.size ? t->bpe.tokens[a->id] : (struct span){NULL, 0};

        if (id >= 0 && id != a->id)
            return error_set(e, ERROR_model,
                             "added token '%.80s' has id %d, in the vocabulary it has %d",
                             a->content.at, a->id, id);
        if (id < 0 && held.at)
            return error_set(e, ERROR_model, "added token '%.80s' has id %d, which is '%.80s'",
                             a->content.at, a->id, held.at);
        if (id < 0)
            bpe_add(&t->bpe, a->content, a->id);
    }
    for (int i = 0; i < t->before_count + t->after_count; i++) {
        int32_t id = i < t->before_count ? t->before[i] : t->after[i - t->before_count];

        if (id >= t->bpe.size || !t->bpe.tokens[id].at)
            return error_set(e, ERROR_model, "post_processor: no token has id %d", id);
    }
    return 0;
}

/* What a token decodes to: its bytes, or itself where a character is outside the byte-level
 * alphabet. */
static struct span
plain_text(struct tokenizer *t, struct span token)
{
    char *out;
    size_t count = 0, length;

    if (!t->decode_bytes)
        return token;
    out = arena_take(&t->strings, token.length + 1);
    for (size_t at = 0; at < token.length; at += length) {
        int byte = bpe_character_byte(nfc_character(token, at, &length));

        if (byte < 0)
            return token;
        out[count++] = (char)byte;
    }
    return span_of(out, count);
}

static void
prepare_decoding(struct tokenizer *t)
{
    t->plain = xarray((size_t)t->bpe.size + 1, sizeof(*t->plain));
    t->special = xalloc((size_t)t->bpe.size + 1);
    for (int32_t id = 0; id < t->bpe.size; id++)
        if (t->bpe.tokens[id].at)
            t->plain[id] = plain_text(t, t->bpe.tokens[id]);
    for (int i = 0; i < t->added.count; i++) { /* an added token decodes to what was matched */
        const struct added_token *a = &t->added.all[i];

        t->plain[a->id] = plain_text(t, a->pattern);
        t->special[a->id] = (unsigned char)a->special;
    }
}

static int
build(struct tokenizer *t, const json_t *json, struct error *e)
{
    if (!json_is_object(json))
        return error_set(e, ERROR_model, "must be an object");
    if (read_normalizer(t, json_object_get(json, "normalizer"), e))
        return error_wrap(e, "normalizer");
    if (pretokenizer_read(&t->pretokenizer, json_object_get(json, "pre_tokenizer"), e))
        return error_wrap(e, "pre_tokenizer");
    if (read_processor(t, json_object_get(json, "post_processor"), e))
        return error_wrap(e, "post_processor");
    if (read_decoder(t, json_object_get(json, "decoder"), e))
        return error_wrap(e, "decoder");
    if (bpe_read(&t->bpe, json_object_get(json, "model"), t->pretokenizer.byte_level, e))
        return error_wrap(e, "model");
    if (added_tokens_read(&t->added, json_object_get(json, "added_tokens"), t->normalise, e) ||
        join_added(t, e))
        return ERROR_model;
    prepare_decoding(t);
    return 0;
}

static struct tokenizer *
from_json(json_t *json, struct error *e)
{
    struct tokenizer *t = json ? xalloc(sizeof(*t)) : NULL;

    if (t && build(t, json, e)) {
        tokenizer_close(t);
        t = NULL;
    }
    json_decref(json);
    return t;
}

struct tokenizer *
tokenizer_parse(struct span json, struct error *e)
{
    return from_json(document_parse(json, &limits, e), e);
}

struct tokenizer *
tokenizer_open(const char *dir, struct error *e)
{
    char *path = xprint("%s/tokenizer.json", dir);
    json_t *json = document_read(path, &limits, e);
    struct tokenizer *t = from_json(json, e);

    if (json && !t)
        error_wrap(e, "%s", path);
    free(path);
    return t;
}

void
tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_free(&t->bpe);
    added_tokens_free(&t->added);
    pretokenizer_free(&t->pretokenizer);
    free(t->special);
    free(t->plain);
    arena_free(&t->strings);
    added_stretches_free(&t->raw);
    added_stretches_free(&t->inner);
    nfc_free(&t->nfc);
    pieces_free(&t->pieces);
    bpe_word_free(&t->word);
    buffer_free(&t->prefixed);
    free(t);
}

static void
emit(struct tokens *out, int32_t id, size_t start, size_t end)
{
    if (out->count == out->room) {
        out->room = out->room ? 2 * out->room : 256;
        out->ids = xresize(out->ids, (size_t)out->room * sizeof(*out->ids));
        out->starts = xresize(out->starts, (size_t)out->room * sizeof(*out->starts));
        out->ends = xresize(out->ends, (size_t)out->room * sizeof(*out->ends));
    }
    out->ids[out->count] = id;
    out->starts[out->count] = (int64_t)start;
    out->ends[out->count++] = (int64_t)end;
}

/* Where the pieces being encoded lie: TEXT is (normalised) text of a stretch that begins at BASE of
 * ALL. */
struct place {
    struct span text, all;
    size_t base;
    size_t inside; /* of the stretch's normalised text */
};

static void
emit_word(struct tokenizer *t, const struct place *p, const struct piece *piece, struct tokens *out)
{
    const struct bpe_word *w = &t->word;

    for (size_t i = 0; i < w->count; i++) {
        /* a prefixed space counts as part of the character it was put before, as in the reference
         */
        size_t shift = piece->prefixed ? 1 : 0;
        size_t from = w->starts[i] < shift ? 0 : w->starts[i] - shift;
        size_t to = w->ends[i] <= shift ? 1 : w->ends[i] - shift;
        size_t start = p->base + nfc_start(&t->nfc, p->inside + piece->start + from);
        size_t end = p->base + nfc_end(&t->nfc, p->inside + piece->start + to);

        while (start < p->all.length && start > p->base &&
               ((unsigned char)p->all.at[start] & 0xc0) == 0x80)
            start--;
        while (end < p->all.length && end > start && ((unsigned char)p->all.at[end] & 0xc0) == 0x80)
            end++;
        emit(out, w->ids[i], start, end < start ? start : end);
    }
    out->dropped += (int64_t)w->dropped;
}

static int
encode_plain(struct tokenizer *t, const struct place *p, struct tokens *out, struct error *e)
{
    int rc = pretokenizer_cut(&t->pretokenizer, p->text, &t->pieces, e);

    for (size_t i = 0; i < t->pieces.count && rc == 0; i++) {
        const struct piece *piece = &t->pieces.at[i];
        struct span bytes = span_of(p->text.at + piece->start, piece->end - piece->start);

        if (piece->prefixed) {
            buffer_clear(&t->prefixed);
            buffer_add(&t->prefixed, " ", 1);
            buffer_add(&t->prefixed, bytes.at, bytes.length);
            bytes = buffer_span(&t->prefixed);
        }
        bpe_encode(&t->bpe, bytes, &t->word);
        emit_word(t, p, piece, out);
    }
    return rc;
}

/* A stretch without raw added tokens: normalised, cut by the other added tokens, encoded. */
static int
encode_stretch(struct tokenizer *t, struct span all, size_t start, size_t end, int special,
               struct tokens *out, struct error *e)
{
    struct span text = span_of(all.at + start, end - start);
    int rc = 0;

    t->nfc.edit_count = 0;
    if (t->normalise) {
        nfc_normalise(&t->nfc, text);
        text = buffer_span(&t->nfc.text);
    }
    added_tokens_cut(&t->added, 1, text, special, &t->inner);
    for (size_t i = 0; i < t->inner.count && rc == 0; i++) {
        const struct added_stretch *s = &t->inner.at[i];
        struct place p = {span_of(text.at + s->start, s->end - s->start), all, start, s->start};

        if (s->id >= 0)
            emit(out, s->id, start + nfc_start(&t->nfc, s->start),
                 start + nfc_end(&t->nfc, s->end));
        else
            rc = encode_plain(t, &p, out, e);
    }
    return rc;
}

int
tokenizer_encode(struct tokenizer *t, struct span text, int flags, struct tokens *out,
                 struct error *e)
{
    int special = flags & TOKENIZER_SPECIAL, rc = 0;

    out->count = out->dropped = 0;
    if (text.length > TOKENIZER_TEXT_MAX)
        return error_set(e, ERROR_input, "a text of %zu bytes; at most %d", text.length,
                         TOKENIZER_TEXT_MAX);
    if (!nfc_is_utf8(text))
        return error_set(e, ERROR_input, "the text is not UTF-8");
    for (int i = 0; (flags & TOKENIZER_TEMPLATE) && i < t->before_count; i++)
        emit(out, t->before[i], 0, 0);
    added_tokens_cut(&t->added, 0, text, special, &t->raw);
    for (size_t i = 0; i < t->raw.count && rc == 0; i++) {
        const struct added_stretch *s = &t->raw.at[i];

        if (s->id >= 0)
            emit(out, s->id, s->start, s->end);
        else
            rc = encode_stretch(t, text, s->start, s->end, special, out, e);
    }
    for (int i = 0; (flags & TOKENIZER_TEMPLATE) && i < t->after_count; i++)
        emit(out, t->after[i], 0, 0);
    return rc;
}

/* Bytes of one character at AT if it is whole and valid; else 0 and *BAD the bytes that U+FFFD
 * stands for (the longest start of a character, at least 1), as Rust's from_utf8_lossy and the
 * WHATWG decoder do. */
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
tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t count, int skip_special,
                 struct buffer *out)
{
    struct buffer bytes = {0};
    struct span text;
    size_t length, bad;
    int first = 1;

    for (int64_t i = 0; i < count; i++) {
        int32_t id = ids[i];

        if (id < 0 || id >= t->bpe.size || !t->plain[id].at || (skip_special && t->special[id]))
            continue;
        if (!first && !t->decode_bytes)
            buffer_add(&bytes, " ", 1);
        buffer_add(&bytes, t->plain[id].at, t->plain[id].length);
        first = 0;
    }
    text = buffer_span(&bytes);
    for (size_t at = 0; at < text.length; at += length ? length : bad) {
        length = valid_character(text, at, &bad);
        if (length)
            buffer_add(out, text.at + at, length);
        else
            buffer_text(out, "\xef\xbf\xbd");
    }
    buffer_free(&bytes);
}

int32_t
tokenizer_id(const struct tokenizer *t, const char *token)
{
    return bpe_id(&t->bpe, span_text(token));
}

const char *
tokenizer_token(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->bpe.size ? t->bpe.tokens[id].at : NULL;
}

int
tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->bpe.size && t->special[id];
}

int64_t
tokenizer_size(const struct tokenizer *t)
{
    return t->bpe.size;
}

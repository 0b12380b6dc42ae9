/* The pipeline of the reference's encode: added tokens in the raw text, NFC, added tokens in the
 * normalised text, pre-tokenizer, BPE, template; and its decode. */
#include "kernels/tokenizer_parts.h"

#include "kernels/document.h"
#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>

static const struct document_limits limits = {
    .bytes = TOKENIZER_BYTES_MAX,
    .values = 1 << 23,
    .depth = 32,
};

void
tokens_free(struct tokens *t)
{
    free(t->ids);
    free(t->starts);
    free(t->ends);
    *t = (struct tokens){0};
}

void
tokens_grow(struct tokens *t, int64_t more)
{
    while (t->count + more > t->room)
        t->room = t->room ? 2 * t->room : 256;
    t->ids = xresize(t->ids, (size_t)t->room * sizeof(*t->ids));
    t->starts = xresize(t->starts, (size_t)t->room * sizeof(*t->starts));
    t->ends = xresize(t->ends, (size_t)t->room * sizeof(*t->ends));
}

static struct tokenizer *
from_json(json_t *json, struct error *e)
{
    struct tokenizer *t = json ? xalloc(sizeof(*t)) : NULL;

    if (t && tokenizer_read(t, json, e)) {
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
    normalizer_free(&t->normalizer);
    bpe_free(&t->bpe);
    unigram_free(&t->unigram);
    added_tokens_free(&t->added);
    pretokenizer_free(&t->pretokenizer);
    token_decoder_free(&t->decoder);
    free(t->special);
    free(t->plain);
    arena_free(&t->strings);
    added_stretches_free(&t->raw);
    added_stretches_free(&t->inner);
    rewrite_chain_free(&t->normalised);
    rewrite_chain_free(&t->written);
    pieces_free(&t->pieces);
    bpe_word_free(&t->word);
    free(t);
}

static void
emit(struct tokens *out, int32_t id, size_t start, size_t end)
{
    tokens_reserve(out, 1);
    out->ids[out->count] = id;
    out->starts[out->count] = (int64_t)start;
    out->ends[out->count++] = (int64_t)end;
}

/* Where the text being encoded lies: at INSIDE of the normalised text of a stretch, which begins at
 * BASE of what was given. */
struct place {
    size_t base, inside;
    int special; /* may a text become special tokens? */
};

/* One piece to tokens, by the model. */
static inline void
append(struct tokenizer *t, const struct place *p, struct span text, size_t start, size_t end,
       int64_t at, struct tokens *out)
{
    if (t->unigram.pieces)
        unigram_append(&t->unigram, &t->bpe, p->special ? NULL : t->special, text, start, end, at,
                       out);
    else
        bpe_append(&t->bpe, text, start, end, at, &t->word, out);
}

/* Text that the pre-tokenizer cuts by a known pattern: most of the world's. */
static void
encode_known(struct tokenizer *t, const struct place *p, struct span text, int64_t at, struct tokens *out)
{
    const struct pretokenizer *pre = &t->pretokenizer;

    t->written.count = 0;
    for (size_t start = 0, end; start < text.length; start = end) {
        end = scanner_next(pre->scanner, (const unsigned char *)text.at, start, text.length,
                           pre->flags);
        append(t, p, text, start, end, at, out);
    }
}

/* Offsets of the tokens from COUNT on, which are places in the text that was written: back to the
 * bytes that were given. */
static void
map_back(const struct tokenizer *t, const struct place *p, int64_t count, struct tokens *out)
{
    for (int64_t i = count; i < out->count; i++) {
        size_t from = p->inside + rewrite_chain_start(&t->written, (size_t)out->starts[i]);
        size_t to = p->inside + rewrite_chain_end(&t->written, (size_t)out->ends[i]);
        size_t start = p->base + rewrite_chain_start(&t->normalised, from);
        size_t end = p->base + rewrite_chain_end(&t->normalised, to);

        out->starts[i] = (int64_t)start;
        out->ends[i] = (int64_t)(end < start ? start : end);
    }
}

static int
encode_plain(struct tokenizer *t, const struct place *p, struct span text, struct tokens *out,
             struct error *e)
{
    int first = p->base == 0 && rewrite_chain_start(&t->normalised, p->inside) == 0, rc;
    int64_t count = out->count;

    if (t->pretokenizer.scanner && t->normalised.count == 0) {
        encode_known(t, p, text, (int64_t)(p->base + p->inside), out);
        return 0;
    }
    if (t->pretokenizer.scanner) {
        encode_known(t, p, text, 0, out);
        map_back(t, p, count, out);
        return 0;
    }
    rc = pretokenizer_cut(&t->pretokenizer, &text, first, &t->written, &t->pieces, e);
    for (size_t i = 0; i < t->pieces.count && rc == 0; i++)
        append(t, p, text, t->pieces.at[i].start, t->pieces.at[i].end, 0, out);
    map_back(t, p, count, out);
    return rc;
}

/* A stretch without raw added tokens: normalised, cut by the other added tokens, encoded. */
static int
encode_stretch(struct tokenizer *t, struct span all, size_t start, size_t end,
               const struct added_scope *raw, struct tokens *out, struct error *e)
{
    struct added_scope scope = {raw->special, raw->guard, start, &t->normalised};
    struct span text;
    int rc = normalizer_run(&t->normalizer, span_of(all.at + start, end - start), &t->normalised,
                            &text, e);

    if (rc < 0)
        return rc;
    added_tokens_cut(&t->added, 1, text, &scope, &t->inner);
    for (size_t i = 0; i < t->inner.count && rc == 0; i++) {
        const struct added_stretch *s = &t->inner.at[i];
        struct place p = {start, s->start, scope.special};

        if (s->id >= 0)
            emit(out, s->id, start + rewrite_chain_start(&t->normalised, s->start),
                 start + rewrite_chain_end(&t->normalised, s->end));
        else
            rc = encode_plain(t, &p, span_of(text.at + s->start, s->end - s->start), out, e);
    }
    return rc;
}

int
tokenizer_encode_guarded(struct tokenizer *t, struct span text, int flags,
                         const struct tokenizer_guard *guard, struct tokens *out, struct error *e)
{
    struct added_scope scope = {.special = flags & TOKENIZER_SPECIAL, .guard = guard};
    int rc = 0;

    out->count = out->dropped = 0;
    if (text.length > TOKENIZER_TEXT_MAX)
        return error_set(e, ERROR_input, "a text of %zu bytes; at most %d", text.length,
                         TOKENIZER_TEXT_MAX);
    if (!unicode_is_utf8(text))
        return error_set(e, ERROR_input, "the text is not UTF-8");
    for (int i = 0; (flags & TOKENIZER_TEMPLATE) && i < t->before_count; i++)
        emit(out, t->before[i], 0, 0);
    added_tokens_cut(&t->added, 0, text, &scope, &t->raw);
    for (size_t i = 0; i < t->raw.count && rc == 0; i++) {
        const struct added_stretch *s = &t->raw.at[i];

        if (s->id >= 0)
            emit(out, s->id, s->start, s->end);
        else
            rc = encode_stretch(t, text, s->start, s->end, &scope, out, e);
    }
    for (int i = 0; (flags & TOKENIZER_TEMPLATE) && i < t->after_count; i++)
        emit(out, t->after[i], 0, 0);
    return rc;
}

int
tokenizer_encode(struct tokenizer *t, struct span text, int flags, struct tokens *out,
                 struct error *e)
{
    return tokenizer_encode_guarded(t, text, flags, NULL, out, e);
}

void
tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t count, int skip_special,
                 struct buffer *out)
{
    struct token_texts texts = {xarray((size_t)count + 1, sizeof(*texts.at)), 0};
    struct buffer bytes = {0};

    for (int64_t i = 0; i < count; i++) {
        int32_t id = ids[i];

        if (id < 0 || id >= t->bpe.size || !t->plain[id].at || (skip_special && t->special[id]))
            continue;
        if (t->decoder.byte_level)
            buffer_add(&bytes, t->plain[id].at, t->plain[id].length);
        else
            texts.at[texts.count++] = t->plain[id];
    }
    if (t->decoder.byte_level)
        token_decoder_lossy(buffer_span(&bytes), out);
    else
        token_decoder_run(&t->decoder, &texts, out);
    buffer_free(&bytes);
    free(texts.at);
}

/* Bytes that begin alike. */
static size_t
common(struct span a, struct span b)
{
    size_t n = 0;

    while (n < a.length && n < b.length && a.at[n] == b.at[n])
        n++;
    return n;
}

/* The first byte of TEXT, normalised stretch by stretch, that DECODED lacks; -1: none. */
static int64_t
first_loss(struct tokenizer *t, struct span text, int flags, struct span decoded)
{
    struct added_scope scope = {.special = flags & TOKENIZER_SPECIAL};

    added_tokens_cut(&t->added, 0, text, &scope, &t->raw);
    for (size_t i = 0; i < t->raw.count; i++) {
        const struct added_stretch *s = &t->raw.at[i];
        struct span part = span_of(text.at + s->start, s->end - s->start);
        size_t alike;

        t->normalised.count = 0;
        if (s->id < 0 && normalizer_run(&t->normalizer, part, &t->normalised, &part, NULL) < 0)
            return (int64_t)s->start;
        alike = common(part, decoded);
        if (alike < part.length)
            return (int64_t)(s->start + rewrite_chain_start(&t->normalised, alike));
        decoded = span_of(decoded.at + alike, decoded.length - alike);
    }
    return decoded.length ? (int64_t)text.length : -1;
}

int
tokenizer_round_trips(struct tokenizer *t, struct span text, int flags, const struct tokens *tokens,
                      int64_t *where)
{
    struct buffer decoded = {0};
    struct span back;
    int64_t lost = -1, other = -1;

    if (t->decoder.count == 0)
        return 1;
    tokenizer_decode(t, tokens->ids, tokens->count, 0, &decoded);
    back = buffer_span(&decoded);
    if (back.length != text.length || common(back, text) < text.length)
        lost = first_loss(t, text, flags, back);
    if (lost >= 0 && back.length && back.at[0] == ' ') { /* add_prefix_space, and its like */
        other = first_loss(t, text, flags, span_of(back.at + 1, back.length - 1));
        lost = other < 0 || other > lost ? other : lost;
    }
    buffer_free(&decoded);
    if (lost >= 0)
        *where = lost;
    return lost < 0;
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

/* sat: text to tokens to chunks to logits to characters; where they are cut is sat_bounds. */
#include "nodes/segmenter/sat.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/encoder.h"
#include "kernels/math.h"
#include "kernels/threads.h"
#include "kernels/tokenizer.h"
#include "kernels/unicode.h"
#include "nodes/segmenter/sat_bounds.h"

#define BATCH_TOKENS 512 /* chunks are read together up to so many, one at least */

/* Chunks of one text. Chunk i holds tokens [start, start + block). */
struct chunks {
    int64_t total, block, stride, count;
    int64_t next; /* to be read */
};

struct sat {
    struct sat_options options;
    float threshold;
    struct encoder   *encoder;
    struct tokenizer *tokenizer;
    struct threads   *threads;
    int32_t first, last;        /* <s> and </s> */
    int64_t tokens_seen, tokens_read;
    bool begun;                 /* a text is at hand ... */
    struct span at_hand;        /* ... this one */
    struct chunks chunks;
    struct tokens tokens;
    struct buffer seen;         /* the text as the model sees it */
    /* by character of the text */
    int64_t characters, room;
    float   *p;
    bool    *space;
    size_t  *ends;              /* bytes of the text */
    int64_t *shown;             /* of the text as seen: which character of the text it is */
    size_t  *shown_ends;
    int64_t  shown_count;
    /* by token */
    float   *sums, *weights;
    int64_t  token_room;
};

double
sat_threshold(const char *dir, int64_t labels, int64_t lookahead)
{
    size_t end = strlen(dir), from;

    while (end > 0 && dir[end - 1] == '/')
        end--;
    for (from = end; from > 0 && dir[from - 1] != '/'; from--)
        ;
    if (labels == 1 || memmem(dir + from, end - from, "-sm", 3))
        return 0.25;
    return lookahead >= 0 ? 0.025 : 0.01;
}

static int
blame(const char **option, const char *name, struct error *e, const char *text)
{
    *option = name;
    return error_set(e, ERROR_topology, "%s", text);
}

static int
check_options(const struct sat_options *o, int64_t positions, const char **option, struct error *e)
{
    if (o->block < 1 || o->block > SAT_BLOCK_MAX || o->block + 2 > positions) {
        *option = "block_size";
        return error_set(e, ERROR_topology,
                         "%" PRId64 " tokens with <s> and </s> are more than the model's %" PRId64
                         " positions",
                         o->block, positions);
    }
    if (o->stride < 1 || o->stride > o->block)
        return blame(option, "stride", e, "must be from 1 to block_size, else tokens are skipped");
    if (o->max_length > 0 && o->min_length > o->max_length)
        return blame(option, "min_length", e, "is above max_length");
    if (o->prior != SAT_prior_uniform && o->max_length == 0)
        return blame(option, "prior", e, "needs max_length");
    return 0;
}

/* <s> and </s>, and whether the model has a row for every token. */
static int
check_tokenizer(const struct tokenizer *t, int64_t vocab, struct error *e)
{
    if (tokenizer_id(t, "<s>") < 0 || tokenizer_id(t, "</s>") < 0)
        return error_set(e, ERROR_model, "the tokenizer lacks <s> or </s>: it is not XLM-RoBERTa's");
    if (tokenizer_size(t) > vocab)
        return error_set(e, ERROR_model,
                         "the tokenizer has ids up to %" PRId64 ", the model only %" PRId64
                         " embeddings",
                         tokenizer_size(t) - 1, vocab);
    return 0;
}

int
sat_check(const char *dir, const char *tokenizer, const struct sat_options *o, const char **option,
          struct error *e)
{
    struct encoder_config config;
    struct tokenizer *t;
    int rc;

    *option = "model";
    rc = encoder_check(dir, &config, e);
    if (rc == 0)
        rc = check_options(o, encoder_length_max(&config), option, e);
    if (rc != 0)
        return rc;
    *option = tokenizer ? "tokenizer" : "model";
    t = tokenizer_open(tokenizer ? tokenizer : dir, e);
    if (!t)
        return ERROR_model;
    rc = check_tokenizer(t, config.vocab_size, e);
    tokenizer_close(t);
    return rc ? error_wrap(e, "%s", tokenizer ? tokenizer : dir) : 0;
}

struct sat *
sat_open(const char *dir, const char *tokenizer, const struct sat_options *o, int threads,
         struct error *e)
{
    struct sat *s = xalloc(sizeof(*s));
    const struct encoder_config *c;

    s->options = *o;
    s->encoder = encoder_open(dir, e);
    s->tokenizer = s->encoder ? tokenizer_open(tokenizer ? tokenizer : dir, e) : NULL;
    if (!s->tokenizer ||
        check_tokenizer(s->tokenizer, encoder_configuration(s->encoder)->vocab_size, e)) {
        sat_close(s);
        return NULL;
    }
    c = encoder_configuration(s->encoder);
    s->first = tokenizer_id(s->tokenizer, "<s>");
    s->last = tokenizer_id(s->tokenizer, "</s>");
    s->threshold =
        (float)(o->threshold > 0 ? o->threshold : sat_threshold(dir, c->labels, c->lookahead));
    s->threads = threads_wanted(threads) > 1 ? threads_new(threads) : NULL;
    encoder_threads(s->encoder, s->threads);
    return s;
}

void
sat_close(struct sat *s)
{
    if (!s)
        return;
    encoder_close(s->encoder);
    tokenizer_close(s->tokenizer);
    threads_free(s->threads);
    tokens_free(&s->tokens);
    buffer_free(&s->seen);
    free(s->p);
    free(s->space);
    free(s->ends);
    free(s->shown);
    free(s->shown_ends);
    free(s->sums);
    free(s->weights);
    free(s);
}

int64_t
sat_tokens(const struct sat *s)
{
    return s->tokens_seen;
}

int64_t
sat_tokens_read(const struct sat *s)
{
    return s->tokens_read;
}

/* Python's str.isspace. */
static bool
is_space(uint32_t c)
{
    return unicode_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

/* The characters of TEXT, and the text as the model sees it. Returned: is there more than white
 * space to see? */
static bool
spell(struct sat *s, struct span text)
{
    bool something = false;
    size_t length;

    if ((int64_t)text.length > s->room) {
        s->room = (int64_t)text.length * 2;
        s->p = xresize(s->p, (size_t)s->room * sizeof(*s->p));
        s->space = xresize(s->space, (size_t)s->room * sizeof(*s->space));
        s->ends = xresize(s->ends, (size_t)s->room * sizeof(*s->ends));
        s->shown = xresize(s->shown, (size_t)s->room * sizeof(*s->shown));
        s->shown_ends = xresize(s->shown_ends, (size_t)s->room * sizeof(*s->shown_ends));
    }
    buffer_clear(&s->seen);
    s->characters = s->shown_count = 0;
    for (size_t at = 0; at < text.length; at += length) {
        uint32_t c = unicode_at(text, at, &length);
        int64_t i = s->characters++;

        s->p[i] = 0;
        s->space[i] = is_space(c);
        s->ends[i] = at + length;
        something |= !s->space[i];
        if (s->options.drop_spaces && c == ' ')
            continue;
        buffer_add(&s->seen, text.at + at, length);
        s->shown[s->shown_count] = i;
        s->shown_ends[s->shown_count++] = s->seen.length;
    }
    return something;
}

/* Weight of token K of a chunk of B. */
static float
weight_of(enum sat_weighting weighting, int64_t k, int64_t b)
{
    double edge = 1.0 - 1.0 / (double)b, x;

    if (weighting == SAT_uniform)
        return 1;
    x = b == 1 ? 0 : k == b - 1 ? edge : (double)k * (2 * edge / (double)(b - 1)) - edge;
    return 1.0f - (float)(x < 0 ? -x : x);
}

static struct chunks
chunks_of(const struct sat *s)
{
    struct chunks c = {.total = s->tokens.count, .stride = s->options.stride};

    if (c.total == 0)
        return c;
    c.block = s->options.block < c.total ? s->options.block : c.total;
    c.count = (c.total - c.block + c.stride - 1) / c.stride + 1;
    return c;
}

static int64_t
chunk_start(const struct chunks *c, int64_t i)
{
    int64_t start = i * c->stride;

    return start + c->block < c->total ? start : c->total - c->block;
}

/* Reads chunks [from, to) and adds their logits to the sums. */
static void
read_chunks(struct sat *s, const struct chunks *c, int64_t from, int64_t to)
{
    int64_t length = c->block + 2, count = to - from;
    int32_t *ids = xarray((size_t)(count * length), sizeof(*ids));
    int64_t *starts = xarray((size_t)count + 1, sizeof(*starts));
    float *logits = xarray((size_t)(count * length), sizeof(*logits));
    struct batch batch = {count * length, ids, count, starts, NULL};

    for (int64_t i = 0; i < count; i++) {
        int32_t *at = ids + i * length;

        at[0] = s->first;
        memcpy(at + 1, s->tokens.ids + chunk_start(c, from + i), (size_t)c->block * sizeof(*at));
        at[length - 1] = s->last;
        starts[i + 1] = (i + 1) * length;
    }
    encoder_run(s->encoder, &batch, 1, logits);
    s->tokens_read += batch.tokens;
    for (int64_t i = 0; i < count; i++) {
        int64_t start = chunk_start(c, from + i);

        for (int64_t k = 0; k < c->block; k++) {
            float weight = weight_of(s->options.weighting, k, c->block);

            s->sums[start + k] += weight * logits[i * length + 1 + k];
            s->weights[start + k] += weight;
        }
    }
    free(ids);
    free(starts);
    free(logits);
}

/* The character of the text as seen that ends at byte END; -1: none does. */
static int64_t
character_at(const struct sat *s, size_t end)
{
    int64_t low = 0, high = s->shown_count;

    while (low < high) {
        int64_t middle = (low + high) / 2;

        if (s->shown_ends[middle] == end)
            return s->shown[middle];
        if (s->shown_ends[middle] < end)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static float
sigmoid(float x)
{
    lanes e = math_exp(lanes_all(-x)); /* the same bits with every C library */

    return 1.0f / (1.0f + e[0]);
}

/* The tokens of the text as seen, and room for what is read of them. */
static int
tokenise(struct sat *s, struct error *e)
{
    int rc = tokenizer_encode(s->tokenizer, buffer_span(&s->seen), TOKENIZER_SPECIAL, &s->tokens, e);

    if (rc)
        return rc;
    if (s->tokens.count > SAT_TOKENS_MAX)
        return error_set(e, ERROR_limit, "a text of %" PRId64 " tokens; at most %d", s->tokens.count,
                         SAT_TOKENS_MAX);
    if (s->tokens.count > s->token_room) {
        s->token_room = 2 * s->tokens.count;
        s->sums = xresize(s->sums, (size_t)s->token_room * sizeof(*s->sums));
        s->weights = xresize(s->weights, (size_t)s->token_room * sizeof(*s->weights));
    }
    if (s->tokens.count) {
        memset(s->sums, 0, (size_t)s->tokens.count * sizeof(*s->sums));
        memset(s->weights, 0, (size_t)s->tokens.count * sizeof(*s->weights));
    }
    s->tokens_seen += s->tokens.count;
    return 0;
}

int
sat_begin(struct sat *s, struct span text, struct error *e)
{
    int rc = 0;

    s->begun = false;
    if (text.length > TOKENIZER_TEXT_MAX)
        return error_set(e, ERROR_limit, "a text of %zu bytes; at most %d", text.length,
                         TOKENIZER_TEXT_MAX);
    if (!unicode_is_utf8(text))
        return error_set(e, ERROR_input, "the text is not UTF-8");
    s->tokens.count = 0;
    if (spell(s, text))
        rc = tokenise(s, e);
    s->chunks = chunks_of(s);
    s->at_hand = text;
    s->begun = rc == 0;
    return rc;
}

bool
sat_read(struct sat *s)
{
    struct chunks *c = &s->chunks;
    int64_t many = BATCH_TOKENS / (c->block + 2), to = c->next + (many > 1 ? many : 1);

    to = to < c->count ? to : c->count;
    if (c->next < to)
        read_chunks(s, c, c->next, to);
    c->next = to;
    return c->next < c->count;
}

/* The probability of a cut after each character, from what was read. */
static void
fill_characters(struct sat *s)
{
    for (int64_t t = 0; t < s->tokens.count; t++) {
        int64_t at = character_at(s, (size_t)s->tokens.ends[t]);

        if (at >= 0)
            s->p[at] = sigmoid(s->sums[t] / s->weights[t]);
    }
}

/* Sentences of the characters [from, to). */
static void
cut_sentences(const struct sat *s, int64_t from, int64_t to, struct sat_ends *out)
{
    struct sat_text t = {to - from, s->p + from, s->space + from};

    if (s->options.max_length > 0 || s->options.min_length > 1)
        sat_bounds_within(&t, &s->options, from, out);
    else
        sat_bounds_over(&t, s->threshold, from, out);
}

static void
cut_characters(const struct sat *s, struct sat_ends *out)
{
    struct sat_text all = {s->characters, s->p, s->space};
    struct sat_ends paragraphs = {0};
    int64_t from = 0;

    if (s->options.paragraphs == SAT_paragraphs_off) {
        cut_sentences(s, 0, s->characters, out);
        return;
    }
    sat_bounds_over(&all, (float)s->options.paragraph_threshold, 0, &paragraphs);
    for (int64_t i = 0; i < paragraphs.count; i++) {
        if (s->options.paragraphs == SAT_paragraphs_whole)
            sat_ends_add(out, paragraphs.at[i]);
        else
            cut_sentences(s, from, paragraphs.at[i], out);
        from = paragraphs.at[i];
    }
    free(paragraphs.at);
}

/* Appends END as bytes of the text, and first the ends of the lines before it where they count. */
static void
add_end(struct span text, bool lines, uint64_t from, uint64_t end,
        struct buffer *ends)
{
    for (uint64_t i = from; lines && i + 1 < end; i++)
        if (text.at[i] == '\n') {
            uint64_t at = i + 1;

            buffer_add(ends, &at, sizeof(at));
        }
    buffer_add(ends, &end, sizeof(end));
}

int
sat_cut(struct sat *s, struct span text, struct buffer *ends, struct error *e)
{
    const struct sat_options *o = &s->options;
    bool lines = o->line_feeds && o->paragraphs == SAT_paragraphs_off && o->max_length == 0 &&
                 o->min_length <= 1;
    struct sat_ends pieces = {0};
    uint64_t from = 0;

    if (!s->begun || s->at_hand.at != text.at || s->at_hand.length != text.length) {
        int rc = sat_begin(s, text, e);

        if (rc)
            return rc;
    }
    while (sat_read(s))
        ;
    s->begun = false;
    fill_characters(s);
    cut_characters(s, &pieces);
    for (int64_t i = 0; i < pieces.count; i++) {
        uint64_t end = s->ends[pieces.at[i] - 1];

        add_end(text, lines, from, end, ends);
        from = end;
    }
    free(pieces.at);
    return 0;
}

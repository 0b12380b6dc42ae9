/* tokenizer: text to token ids and back, exactly as a Hugging Face tokenizer.json says.
 *
 * Understood: added tokens with all their flags; normalizers NFC, NFD, NFKC, NFKD, Lowercase,
 * Strip, StripAccents, Replace, Prepend, Precompiled; pre-tokenizers ByteLevel (last), Split,
 * Digits, Punctuation, Whitespace, WhitespaceSplit, Metaspace; models BPE without dropout and
 * Unigram (without ByteLevel); decoders
 * ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, BPEDecoder or none; post-processors
 * ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing; Sequences of each. Every other
 * type is refused by its name. The Unicode versions are the reference's (unicode.h), and so are its
 * regular expressions where pattern.h does not refuse them. A file's truncation and padding are not
 * applied.
 * Differences from the reference, all in
 * offsets: they are bytes of the text given, never trimmed; and where a normalizer other than
 * Precompiled, Strip, Replace and Prepend changed characters the offsets of the result cover all of
 * the changed ones. A token that holds a part of
 * a character spans the whole character. One tokenizer serves one thread (it caches). */
#ifndef KERNELS_TOKENIZER_H
#define KERNELS_TOKENIZER_H

#include "base/error.h"
#include "base/memory.h"

#include <stdint.h>

#define TOKENIZER_BYTES_MAX (256 << 20) /* of a tokenizer.json */
#define TOKENIZER_VOCAB_MAX (1 << 22)   /* ids lie below it */
#define TOKENIZER_TEXT_MAX  (1 << 28)   /* bytes of one text */

struct tokenizer;

/* Ids with the bytes each came from. Zero-initialise; reuse freely; tokens_free() at the end. */
struct tokens {
    int32_t *ids;
    int64_t *starts, *ends; /* token i is text[starts[i] .. ends[i]) */
    int64_t count, room;
    int64_t dropped; /* characters that the vocabulary lacks; the reference drops them too */
};

void tokens_free(struct tokens *t);
void tokens_grow(struct tokens *t, int64_t more);

/* Room for so many more. */
static inline void
tokens_reserve(struct tokens *t, int64_t more)
{
    if (t->count + more > t->room)
        tokens_grow(t, more);
}

enum tokenizer_flags {
    TOKENIZER_SPECIAL = 1,  /* special tokens in the text become ids: unsafe for foreign text */
    TOKENIZER_TEMPLATE = 2, /* add the post-processor's tokens (a BOS, say), with offsets 0, 0 */
};

/* Opens DIR/tokenizer.json, or the given JSON text. NULL and ERROR_model with the part that was
 * refused. */
struct tokenizer *tokenizer_open(const char *dir, struct error *e);
struct tokenizer *tokenizer_parse(struct span json, struct error *e);
void tokenizer_close(struct tokenizer *t);

/* Encodes TEXT into OUT, which is emptied first. FLAGS are or-ed tokenizer_flags (0: no special
 * token can be forged by the text). Added tokens that are not special are always matched, as in the
 * reference. ERROR_input when TEXT is not UTF-8 or too long. */
int tokenizer_encode(struct tokenizer *t, struct span text, int flags, struct tokens *out,
                     struct error *e);

/* Bytes [start, end) of a text. */
struct tokenizer_range {
    int64_t start, end;
};

/* Where a text is foreign: no special token, and none of IDS, is matched that would hold a byte of
 * the ranges, which rise and do not overlap. */
struct tokenizer_guard {
    const struct tokenizer_range *ranges;
    int64_t range_count;
    const int32_t *ids;
    int id_count;
};

int tokenizer_encode_guarded(struct tokenizer *t, struct span text, int flags,
                             const struct tokenizer_guard *guard, struct tokens *out,
                             struct error *e);

/* Appends the text of IDS to OUT, always valid UTF-8 (U+FFFD where bytes are not). SKIP_SPECIAL
 * leaves special tokens out. Ids outside the vocabulary add nothing. */
void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t count,
                      int skip_special, struct buffer *out);

/* Do the tokens of TEXT, made with FLAGS, decode to TEXT? 0, and *WHERE the first byte of TEXT that
 * is lost or another: a character that became unk_token, white space that an added token or a
 * pre-tokenizer took. What a normalizer changed is no loss (the ids say the normalised text, and a
 * model that is taught them says that), nor is one blank that the decoder puts in front. A
 * tokenizer without a decoder has no way back and is not asked. */
int tokenizer_round_trips(struct tokenizer *t, struct span text, int flags,
                          const struct tokens *tokens, int64_t *where);

int32_t tokenizer_id(const struct tokenizer *t, const char *token); /* -1: no such token */
const char *tokenizer_token(const struct tokenizer *t, int32_t id); /* NULL: no such id */
int tokenizer_is_special(const struct tokenizer *t, int32_t id);
int64_t tokenizer_size(const struct tokenizer *t); /* highest id + 1 */

/* Writes DIR/tokenizer.json (and tokenizer_config.json) of a vocabulary without merges: first the
 * SPECIALS in order (ids 0 ..), then every byte of CHARACTERS in order. EOS, one of the specials or
 * NULL, is named in tokenizer_config.json. The reference library loads it. ERROR_usage for a byte
 * given twice. */
int tokenizer_write_bytes(const char *dir, struct span characters, const char *const *specials,
                          int special_count, const char *eos, struct error *e);

#endif

/* token_decoder: the "decoder" object of a tokenizer.json: tokens' texts to text. ByteLevel,
 * ByteFallback, Fuse, Strip, Replace, Metaspace, BPEDecoder, and Sequences of them. */
#ifndef KERNELS_TOKEN_DECODER_H
#define KERNELS_TOKEN_DECODER_H

#include "base/error.h"
#include "base/memory.h"

#include <jansson.h>

#define TOKEN_DECODER_STEPS_MAX 16

struct token_decoder_step;

struct token_decoder {
    struct token_decoder_step *steps;
    int count;
    int byte_level; /* ByteLevel is all of it */
};

/* Texts in order, borrowed. */
struct token_texts {
    struct span *at;
    int64_t count;
};

/* JSON may be NULL or null: tokens are joined by blanks. ERROR_model names what is not understood.
 */
int token_decoder_read(struct token_decoder *d, const json_t *json, struct error *e);
void token_decoder_free(struct token_decoder *d);

/* Appends the text of TEXTS, whose array is overwritten, to OUT; always valid UTF-8. */
void token_decoder_run(const struct token_decoder *d, struct token_texts *texts,
                       struct buffer *out);

/* Appends BYTES with U+FFFD for each longest start of a character that is not one, as Rust's
 * from_utf8_lossy and the WHATWG decoder do. */
void token_decoder_lossy(struct span bytes, struct buffer *out);

/* The bytes that TOKEN writes in the byte-level alphabet, in ROOM (at least as long); TOKEN itself
 * where a character is outside it. */
struct span token_decoder_bytes(struct span token, char *room);

#endif

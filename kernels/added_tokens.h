/* added_tokens: the tokens that are found in a text as they stand, before anything else looks at
 * it.
 *
 * As the reference (added_vocabulary.rs): two sets, matched in the raw text and in the normalised
 * text; leftmost match, longest first; single_word, lstrip and rstrip then narrow or widen a match.
 */
#ifndef KERNELS_ADDED_TOKENS_H
#define KERNELS_ADDED_TOKENS_H

#include "base/error.h"
#include "base/memory.h"
#include "kernels/normalizer.h"

#include <jansson.h>
#include <stdint.h>

#define ADDED_TOKENS_MAX 65536

struct added_token {
    struct span content; /* as in the file; terminated */
    struct span pattern; /* what is matched: the content, normalised for the normalised set */
    int32_t id;
    int single_word, lstrip, rstrip, normalized, special;
};

struct added_tokens {
    struct added_token *all; /* in the file's order */
    int count;
    int *sets[2]; /* indices sorted by pattern: raw, normalised */
    int set_counts[2];
    unsigned char begins[2][256]; /* does a pattern of the set begin with the byte? */
    struct arena strings;
};

/* Reads the "added_tokens" list (NULL: none). Patterns of the normalised set go through N. */
int added_tokens_read(struct added_tokens *a, const json_t *list, const struct normalizer *n,
                      struct error *e);
void added_tokens_free(struct added_tokens *a);

/* A stretch of text: bytes [start, end), a token or (-1) plain. */
struct added_stretch {
    size_t start, end;
    int32_t id;
};

struct added_stretches {
    struct added_stretch *at;
    size_t count, room;
};

void added_stretches_free(struct added_stretches *s);

struct tokenizer_guard;

/* Which tokens are matched, and where. Places in a normalised text are BASE + what CHAIN says. */
struct added_scope {
    int special;                         /* 0: special tokens are left in the text */
    const struct tokenizer_guard *guard; /* NULL: none */
    size_t base;
    const struct rewrite_chain *chain; /* NULL: the text is as it was given */
};

/* Cuts TEXT by the raw (0) or normalised (1) set into OUT, emptied first. */
void added_tokens_cut(const struct added_tokens *a, int normalised, struct span text,
                      const struct added_scope *scope, struct added_stretches *out);

#endif

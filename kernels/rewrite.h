/* rewrite: a text made from another, with the way back from each of its bytes to the bytes it came
 * from. Normalisers and Metaspace write them; a chain of them is walked back one by one. */
#ifndef KERNELS_REWRITE_H
#define KERNELS_REWRITE_H

#include "base/memory.h"

/* Bytes [start, end) of the result come from bytes [from, to) of the source. */
struct rewrite_edit {
    size_t start, end, from, to;
};

/* Zero-initialise; reuse freely; rewrite_free() at the end. */
struct rewrite {
    struct buffer text;
    struct rewrite_edit *edits; /* in order; everything between them is copied byte for byte */
    size_t edit_count, edit_room;
};

void rewrite_clear(struct rewrite *r);
void rewrite_free(struct rewrite *r);

/* The source's next bytes as they are. They must follow what was added before. */
void rewrite_keep(struct rewrite *r, struct span same);

/* WITH stands for bytes [from, to) of the source; equal bytes make no edit. */
void rewrite_edit(struct rewrite *r, struct span source, size_t from, size_t to, struct span with);

/* Where the source goes on after what was added last. */
size_t rewrite_next(const struct rewrite *r);

/* WITH stands for bytes [from, to) of the source, which need not begin where the last ones ended.
 */
void rewrite_align(struct rewrite *r, struct span source, size_t from, size_t to,
                   struct span with);

/* The source position of a result position: where the byte at AT begins, or where the byte before
 * AT ends. */
size_t rewrite_start(const struct rewrite *r, size_t at);
size_t rewrite_end(const struct rewrite *r, size_t at);

/* Texts made one from another. Zero-initialise; rewrite_chain_free() at the end. */
#define REWRITE_CHAIN_MAX 24

struct rewrite_chain {
    struct rewrite at[REWRITE_CHAIN_MAX];
    int count;
};

struct rewrite *rewrite_chain_add(struct rewrite_chain *c); /* emptied; there must be room */
size_t rewrite_chain_start(const struct rewrite_chain *c, size_t at);
size_t rewrite_chain_end(const struct rewrite_chain *c, size_t at);
void rewrite_chain_free(struct rewrite_chain *c);

#endif

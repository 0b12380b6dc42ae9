/* pretokenizer: the cuts of a text into pieces that no token crosses, as the "pre_tokenizer" object
 * says: Split (regular expression or string, all behaviours), Digits, Punctuation, Whitespace,
 * WhitespaceSplit, Metaspace, ByteLevel (last), and Sequences of them. */
#ifndef KERNELS_PRETOKENIZER_H
#define KERNELS_PRETOKENIZER_H

#include "base/error.h"
#include "base/memory.h"
#include "kernels/rewrite.h"
#include "kernels/scanner.h"

#include <jansson.h>

#define PRETOKENIZER_STEPS_MAX 16

struct pretokenizer_step;

struct pretokenizer {
    struct pretokenizer_step *steps;
    int step_count;
    int byte_level;       /* the last step writes bytes in the byte-level alphabet */
    enum scanner scanner; /* the whole of it is one known pattern; pretokenizer_cut() agrees */
    const uint16_t *flags;
};

/* Bytes [start, end) of the text. */
struct piece {
    size_t start, end;
};

struct pieces {
    struct piece *at;
    size_t count, room;
};

void pieces_add(struct pieces *p, size_t start, size_t end);
void pieces_free(struct pieces *p);

/* JSON may be NULL or null: the whole text is one piece. */
int pretokenizer_read(struct pretokenizer *p, const json_t *json, struct error *e);
void pretokenizer_free(struct pretokenizer *p);

/* Cuts *TEXT (valid UTF-8) into OUT. Both OUT and CHAIN are emptied first; where steps write into
 * the text (Metaspace, add_prefix_space), *TEXT becomes the text written, in CHAIN. FIRST: it
 * begins at byte 0 of what was given to the tokenizer. ERROR_model when a pattern gives up. */
int pretokenizer_cut(const struct pretokenizer *p, struct span *text, int first,
                     struct rewrite_chain *chain, struct pieces *out, struct error *e);

#endif

/* pretokenizer: the cuts of a text into pieces that no token crosses, as the "pre_tokenizer" object
 * says: Split (regular expression or string, all behaviours), Digits, ByteLevel (last), and
 * Sequences of them.
 *
 * The reference's regular expressions are Oniguruma's, ours PCRE2's: patterns are translated where
 * the two agree in meaning (white space by code point) and refused where they would not (nested
 * classes, "&&", \h). */
#ifndef KERNELS_PRETOKENIZER_H
#define KERNELS_PRETOKENIZER_H

#include "base/error.h"
#include "base/memory.h"

#include <jansson.h>

#define PRETOKENIZER_STEPS_MAX   16
#define PRETOKENIZER_PATTERN_MAX 65536 /* bytes of a pattern, translated */

struct pretokenizer_step;

struct pretokenizer {
    struct pretokenizer_step *steps;
    int step_count;
    int byte_level; /* the last step writes bytes in the byte-level alphabet */
};

/* Bytes [start, end) of the text; with PREFIXED a space that is not in the text stands before them.
 */
struct piece {
    size_t start, end;
    int prefixed;
};

struct pieces {
    struct piece *at;
    size_t count, room;
};

void pieces_add(struct pieces *p, struct piece piece);
void pieces_free(struct pieces *p);

/* JSON may be NULL or null: the whole text is one piece. */
int pretokenizer_read(struct pretokenizer *p, const json_t *json, struct error *e);
void pretokenizer_free(struct pretokenizer *p);

/* Cuts TEXT (valid UTF-8) into OUT, which is emptied first. ERROR_model when a pattern gives up on
 * it. */
int pretokenizer_cut(const struct pretokenizer *p, struct span text, struct pieces *out,
                     struct error *e);

#endif

/* charsmap: the "precompiled_charsmap" of a Precompiled normaliser (SentencePiece's): a double
 * array of the strings that change, and what each becomes.
 *
 * The blob: u32 bytes of the array, the array (u32 units, little-endian), then replacements, each
 * ended by a zero byte; the value of a string is the place of its replacement. A unit (darts-clone):
 * bit 8: its string has a value; the label is bits 0-7 and bit 31; the offset bits 10-30, shifted by
 * 8 where bit 9 is set. */
#ifndef KERNELS_CHARSMAP_H
#define KERNELS_CHARSMAP_H

#include "base/error.h"
#include "base/memory.h"
#include "kernels/rewrite.h"

#include <stdint.h>

#define CHARSMAP_BYTES_MAX (16 << 20)

struct charsmap {
    struct buffer blob;
    uint32_t *units;
    uint32_t unit_count;
    struct span replacements;
    unsigned char changes[128]; /* an ASCII character that has a replacement of its own */
};

/* Decodes BASE64. ERROR_model: not base64, or the lengths do not fit. charsmap_free() at the end. */
int charsmap_read(struct charsmap *m, struct span base64, struct error *e);
void charsmap_free(struct charsmap *m);

/* What the *shortest* prefix of TEXT that has a value becomes; 0: none has one. */
int charsmap_find(const struct charsmap *m, struct span text, struct span *becomes);

/* Writes TEXT (valid UTF-8) as the reference does (tokenizers, normalizers/precompiled.rs): a
 * grapheme cluster of less than 6 bytes is replaced as a whole by what its shortest prefix becomes,
 * else each of its characters is. Each character written stands for the character that the
 * reference aligns it with. */
void charsmap_run(const struct charsmap *m, struct span text, struct rewrite *r);

#endif

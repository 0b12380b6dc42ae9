/* scanner: the three pre-tokenizer patterns that most models have, by hand: the same cuts as
 * the regular expression, an order of magnitude sooner. A pattern is recognised by its exact text.
 */
#ifndef KERNELS_SCANNER_H
#define KERNELS_SCANNER_H

#include <stddef.h>
#include <stdint.h>

enum scanner { SCANNER_none, SCANNER_gpt2, SCANNER_llama3, SCANNER_qwen2 };

extern const char scanner_gpt2[]; /* the pattern of ByteLevel */

enum scanner scanner_of(const char *pattern);

/* Where the piece that begins at TEXT[at] ends; AT < END, valid UTF-8. Every byte is in a piece. */
size_t scanner_next(enum scanner s, const unsigned char *text, size_t at, size_t end,
                    const uint16_t *flags);

#endif

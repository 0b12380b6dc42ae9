/* normalizer: the "normalizer" object of a tokenizer.json: NFC, NFD, NFKC, NFKD, Lowercase, Strip,
 * StripAccents, Replace, Prepend, Precompiled (charsmap.h), and Sequences of them. */
#ifndef KERNELS_NORMALIZER_H
#define KERNELS_NORMALIZER_H

#include "base/error.h"
#include "kernels/rewrite.h"

#include <jansson.h>

#define NORMALIZER_STEPS_MAX   16
#define NORMALIZER_CONTENT_MAX 256       /* bytes that Replace or Prepend puts */
#define NORMALIZER_TEXT_MAX    (1 << 30) /* bytes that a text may grow to */

struct normalizer_step;

struct normalizer {
    struct normalizer_step *steps;
    int count;
};

/* JSON may be NULL or null: nothing changes. ERROR_model names what is not understood. */
int normalizer_read(struct normalizer *n, const json_t *json, struct error *e);
void normalizer_free(struct normalizer *n);

/* TEXT (valid UTF-8) through every step; CHAIN is emptied first and then holds the steps that
 * changed something. *OUT is TEXT or lies in CHAIN. ERROR_model when a pattern gives up,
 * ERROR_limit when the text grows too long. */
int normalizer_run(const struct normalizer *n, struct span text, struct rewrite_chain *chain,
                   struct span *out, struct error *e);

#endif

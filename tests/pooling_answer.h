/* pooling_answer: what a server of process reward models says to POST /pooling or /v1/embeddings,
 * well or badly, as a function of the request alone.
 *
 * A step is what a tag ends: "<extra_0>" or "ки" in a text, the id POOLING_TAG among ids. Its
 * score is a hash of all that stands before, or of its place; pooling_score() tells it. The words:
 *   ok          a row [1 - p, p] for each step ([p, 1 - p] where the tag is "ки")
 *   few, many   a row less, a row more
 *   tokens      a row for each id, at those that are no tag [0.5, 0.5]
 *   values      of each id the logit of p alone, as {"embedding": [...]}
 *   logits      [0, logit of p] for each step
 *   nan, null, wide, scores, encoded, none, two    rows that hold NaN, null, three numbers, numbers
 *               that are no probabilities; base64 in place of rows; no rows; two items
 *   garbage, empty    bytes that are no JSON, no byte */
#ifndef TESTS_POOLING_ANSWER_H
#define TESTS_POOLING_ANSWER_H

#include <stddef.h>

#include <jansson.h>

#define POOLING_TAG 343 /* the id of <extra_0> in tests/golden/prm/qwen */

/* Text to free(). */
char *pooling_answer(const char *word, const json_t *request);

/* p of a step after these bytes of text, or after so many ids. */
double pooling_score(const void *before, size_t bytes);

#endif

/* pooling: asking a server that runs a process reward model, as JSON. Nothing here touches a socket
 * or a node.
 *
 * vLLM answers POST /pooling with {"data":[{"data":[[...] ...]}]}: with STEP pooling a row for each
 * tag, with ALL pooling one for each token; a row holds the classes' probabilities (softmax of two,
 * sigmoid of one) unless it was told to leave the logits. Very old versions, and Skywork's plugin,
 * answer POST /v1/embeddings with {"data":[{"embedding":[...]}]}, one number for each token. Its
 * `task` was called reward, then encode, now token_classify: it is sent only where it is given. */
#ifndef NODES_PRM_JUDGE_POOLING_H
#define NODES_PRM_JUDGE_POOLING_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "nodes/prm_judge/convention.h"

enum pooling_api { POOLING_pooling, POOLING_embeddings };
enum pooling_request { POOLING_auto, POOLING_ids, POOLING_text, POOLING_messages };
enum pooling_activation { POOLING_probabilities, POOLING_logits };

struct pooling {
    const char *model, *task; /* task "": not sent */
    const struct convention *convention;
    enum pooling_request request; /* never auto */
    enum pooling_activation activation;
};

/* Appends the request: from `tokens` for ids, else from the text and the prompt it was written of.
 * The same question gives the same bytes. -> ERROR_input: not UTF-8. */
int pooling_write(const struct pooling *p, struct span prompt, const struct convention_text *text,
                  const struct tokens *tokens, struct buffer *out, struct error *e);

/* The scores of the steps with a place, in [0, 1], in their order. `tokens`: how many ids were
 * sent, 0 for text; a row may stand for each of them, and is looked up at its place. -> ERROR_input
 * with what is wrong: no rows, another number of rows than steps asked about, a row that is not one
 * or two numbers, numbers that are no probabilities, NaN. */
int pooling_read(const struct pooling *p, const json_t *answer, const int64_t *places,
                 int64_t steps, int64_t tokens, float *scores, struct error *e);

#endif

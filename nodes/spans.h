/* spans: how the steps of a response and its tokens meet. One rule for everyone: a judge that
 * scores a step and a learner that weighs its tokens must mean the same tokens.
 *
 * Text to tokens. The prompt is encoded alone with SPANS_PROMPT_FLAGS (special tokens in it are
 * meant: it is what the model was asked), or as one message of a chat format (kernels/chat.h: the
 * special tokens are the template's alone); the response alone with SPANS_RESPONSE_FLAGS (a response
 * cannot forge a special token), and the ids are put end to end. So the ids of a response do not
 * depend on its prompt.
 *
 * Steps to tokens. Step i is the bytes [ends[i - 1], ends[i]) of the response. A token belongs to
 * the step that holds its first byte. The token of a step is the one that contains the step's last
 * byte; where several do (a character cut into byte tokens), the last of them; where none does (the
 * vocabulary lacks the character), the last that begins before it. Tokens and steps do not nest: a
 * token may reach across one boundary or many, so two steps may share their token, and a short step
 * may own no token at all. */
#ifndef NODES_SPANS_H
#define NODES_SPANS_H

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernels/tokenizer.h"

#define SPANS_PROMPT_FLAGS   TOKENIZER_SPECIAL
#define SPANS_RESPONSE_FLAGS 0

/* Do the steps tile a response of LENGTH bytes: every step has a byte, the last ends at LENGTH? An
 * empty response has no step, or one empty step. For steps that came from outside. -> ERROR_input.
 */
int spans_check(const uint64_t *ends, int64_t count, uint64_t length, struct error *e);

/* LAST (count): index into the response's tokens of each step's token; -1 where no token begins
 * before the step's end. Never falls. */
void spans_tokens(const struct tokens *tokens, const uint64_t *ends, int64_t count, int64_t *last);

/* STEP (tokens->count): the step each token of the response belongs to; -1 for a token without
 * bytes or beyond the last step. */
void spans_steps(const struct tokens *tokens, const uint64_t *ends, int64_t count, int64_t *step);

/* The bytes of step i. */
struct span spans_at(struct span response, const uint64_t *ends, int64_t i);

#endif

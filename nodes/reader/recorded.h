/* recorded: what a sampler wrote down beside a response: log-probabilities of its tokens, their
 * ids, a weight, why it stopped, and whether it was put in from elsewhere. The names of the fields:
 * nodes/reader/line.h.
 *
 * Log-probabilities are a list of numbers, none above 0, or OpenAI's object {content: [{logprob}]}
 * or {token_logprobs: [...]}. A standard name that holds something else is not such a field; a
 * field the user named must be one. */
#ifndef NODES_READER_RECORDED_H
#define NODES_READER_RECORDED_H

#include "nodes/reader/line.h"

/* Of one response. Ids and log-probabilities together stay well below MESSAGE_ELEMENTS_MAX. */
#define RECORDED_TOKENS_MAX (1 << 20)

/* Fills logps, token_ids, weight, finish and injected of the line's items; a response whose field
 * is malformed gets a `why`. responses: the value the items were read from. -> ERROR_input about
 * fields of the line as a whole. */
int recorded_read(const struct line_how *how, const struct json_t *responses, struct arena *arena,
                  struct line *line, struct error *e);

#endif

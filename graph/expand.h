/* expand: ${NAME}, ${NAME:-default} and ${NAME:+word} in the values of a topology. "$${" is a plain
 * "${".
 *
 * A name with KEY, TOKEN or SECRET in it may only be asked about (${OPENAI_API_KEY:+yes}): its
 * value would end up in the run's plan and in error lines. Options such as api_key_env name the
 * variable instead. */
#ifndef GRAPH_EXPAND_H
#define GRAPH_EXPAND_H

#include "base/error.h"
#include "base/memory.h"

#define EXPAND_BYTES_MAX (1 << 20)      /* of one value after expansion */

/* Append the expanded text. -> ERROR_topology: "${JUDGE_URL}: the variable is not set and has no
 * default". */
int expand(const char *text, struct buffer *out, struct error *e);

#endif

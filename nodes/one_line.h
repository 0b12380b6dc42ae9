/* one_line: bytes from outside, made fit for a log, a reason, a dead letter or JSON. */
#ifndef NODES_ONE_LINE_H
#define NODES_ONE_LINE_H

#include <stdbool.h>

#include "base/memory.h"

/* A copy of at most `most` bytes, cut at a character; control characters and bytes that are not
 * UTF-8 become spaces and '?'. */
struct span one_line(struct span text, size_t most, struct arena *arena);

/* Appends the text as a JSON string, quotes included, in the bytes that jansson would write. False,
 * and then nothing is appended: it is not UTF-8. */
bool json_string_write(struct span text, struct buffer *out);

#endif

/* one_line: bytes from outside, made fit for a log, a reason or a dead letter. */
#ifndef NODES_ONE_LINE_H
#define NODES_ONE_LINE_H

#include "base/memory.h"

/* A copy of at most `most` bytes, cut at a character; control characters and bytes that are not
 * UTF-8 become spaces and '?'. */
struct span one_line(struct span text, size_t most, struct arena *arena);

#endif

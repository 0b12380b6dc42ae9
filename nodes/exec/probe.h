/* probe: does a program start and say that it is ready? For `sluice check --online`. */
#ifndef NODES_EXEC_PROBE_H
#define NODES_EXEC_PROBE_H

#include "nodes/child.h"
#include "nodes/exec/talk.h"

/* Starts the program, greets it, waits at most `seconds` for its word, and ends it. `told` gets a line. -> ERROR_remote
 * with its last words, ERROR_file. */
int program_probe(const struct child_how *how, enum talk_format format, const struct talk_self *self, double seconds,
                  struct buffer *told, struct error *e);

#endif

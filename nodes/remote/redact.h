/* redact: stars instead of a key. A server that echoes it must not get it into a log, a dead letter
 * or a store. */
#ifndef NODES_REMOTE_REDACT_H
#define NODES_REMOTE_REDACT_H

#include <stddef.h>

#define REDACT_MIN 8 /* bytes of a key worth hiding: "none" may well be a word of an answer */

/* In place; also where the key is spelt with the escapes of JSON. */
void redact(char *text, size_t length, const char *secret);

/* The same for a terminated value of at most `room` bytes, which may have been cut within the key:
 * its end is starred out too. */
void redact_cut(char *value, size_t room, const char *secret);

#endif

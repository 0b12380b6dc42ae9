/* text: UTF-8 and JSON strings, for everything that prints what came from outside. */
#ifndef GRAPH_TEXT_H
#define GRAPH_TEXT_H

#include <stdbool.h>

#include "base/memory.h"

/* Strict UTF-8 (no surrogates, no overlong forms, at most U+10FFFF)? Empty text is. */
bool text_is_utf8(struct span s);
/* Append `s` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD each. */
void text_json(struct buffer *out, struct span s);
/* Append the shortest decimal that reads back as the same double; null for infinities and NaN. */
void text_number(struct buffer *out, double value);
void text_float(struct buffer *out, float value);       /* the same for a float32 */

#endif

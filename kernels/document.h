/* document: JSON that others wrote, its cost bounded before it is parsed.
 *
 * jansson allocates some 100 bytes for a value of 2 bytes and recurses with the depth, so the text
 * is scanned first: bytes, depth and number of values. Duplicate keys are refused and named. */
#ifndef KERNELS_DOCUMENT_H
#define KERNELS_DOCUMENT_H

#include "base/error.h"
#include "base/memory.h"

#include <jansson.h>

struct document_limits {
    size_t bytes, values; /* values: commas and opening brackets outside strings */
    int depth;
    size_t flags; /* more JSON_* of jansson */
};

/* NULL and ERROR_model with the reason and its place. Release with json_decref(). */
json_t *document_parse(struct span text, const struct document_limits *limits, struct error *e);

/* Reads PATH as a whole into OUT; a file above BYTES_MAX, or no regular file, is ERROR_file. */
int document_load(const char *path, size_t bytes_max, struct buffer *out, struct error *e);

/* Both, with the path in front of the error. */
json_t *document_read(const char *path, const struct document_limits *limits, struct error *e);

/* Appends TEXT as a JSON string with its quotes. TEXT is UTF-8. */
void document_quote(struct buffer *out, struct span text);

#endif

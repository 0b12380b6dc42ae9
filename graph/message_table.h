/* message_table: the rows of messages.def as data, for the files that walk them (codec, JSON,
 * manual, tests). */
#ifndef GRAPH_MESSAGE_TABLE_H
#define GRAPH_MESSAGE_TABLE_H

#include <stddef.h>

#include "graph/message.h"

#define MESSAGE_VERSION 1

enum field_kind {
    FIELD_end,
    FIELD_u64,
    FIELD_f64,
    FIELD_text,
    FIELD_u64s,
    FIELD_u8s,
    FIELD_u32s,
    FIELD_f32s,
    FIELD_texts,
    FIELD_nest,
};

struct field {
    enum field_kind kind;
    const char     *name;
    size_t          offset;
    enum message    inner;      /* FIELD_nest: which message */
    const char     *meaning;
};

struct message_row {
    const char         *name;
    int                 id;
    const char         *meaning;
    size_t              size;
    size_t              unknown_count, unknown;     /* offsets */
    const struct field *fields;                     /* at most 64; ends with FIELD_end */
};

const struct message_row *message_row(enum message m);
const char               *field_kind_name(enum field_kind kind);

/* Of bytes that passed message_check(): where the value at `at` ends, and how long a container's
 * header is. */
size_t message_skip(struct span bytes, size_t at);
size_t message_header_length(struct span bytes);

#endif

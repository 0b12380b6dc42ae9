/* message: schemas/messages.def as structs, tables and one codec.
 *
 * Reading is in two steps, always both: message_check() walks the bytes with a budget of elements, bytes and
 * depth before anything is allocated (5 hostile bytes make msgpack-c allocate 96 GB otherwise); then msgpack-c
 * unpacks. Text and arrays of u8 borrow from the bytes given; other arrays live in the arena. */
#ifndef GRAPH_MESSAGE_H
#define GRAPH_MESSAGE_H

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"

#define MESSAGE_BYTES_MAX    (256LL << 20)  /* one packed message */
#define MESSAGE_ELEMENTS_MAX (4LL << 20)    /* msgpack elements in one frame, all depths */
#define MESSAGE_DEPTH_MAX    16

enum message {
    MESSAGE_any,        /* of a port: takes whatever is linked */
#define MESSAGE(name, id, meaning) MESSAGE_##name,
#define FIELD(message, kind, name, meaning)
#define NEST(message, inner, name, meaning)
#define END(message)
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef NEST
#undef END
    MESSAGE_count
};

struct u64s { int64_t count; uint64_t *at; };
struct u32s { int64_t count; uint32_t *at; };
struct u8s { int64_t count; uint8_t *at; };
struct f32s { int64_t count; float *at; };
struct spans { int64_t count; struct span *at; };

typedef uint64_t    field_u64;
typedef double      field_f64;
typedef struct span field_text;
typedef struct u64s field_u64s;
typedef struct u32s field_u32s;
typedef struct u8s field_u8s;
typedef struct f32s field_f32s;
typedef struct spans field_texts;

#define MESSAGE(name, id, meaning) struct name {
#define FIELD(message, kind, name, meaning) field_##kind name;
#define NEST(message, inner, name, meaning) struct inner name;
#define END(message)                                                                               \
    int64_t     unknown_count;  /* fields we do not know, kept as packed key-value pairs ... */      \
    struct span unknown;        /* ... and passed on as they came */                                 \
    };
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef NEST
#undef END

/* Is it safe to unpack: well-formed msgpack within the limits, exactly one value? -> ERROR_input. */
int message_check(struct span bytes, struct error *e);

/* Unpack into the message's struct (zeroed first). Wrong types and non-UTF-8 text are refused by field name. -> ERROR_input, ERROR_version. */
int message_read(enum message m, struct span bytes, void *out, struct arena *arena, struct error *e);

/* Append the packed message (text must be UTF-8, counts below 2^32: not looked at); fields in the order of the rows, then the unknown ones: the same struct gives the same bytes. */
void message_write(enum message m, const void *in, struct buffer *out);

/* Append the message as one JSON object (for sinks, taps, traces). */
void message_json(enum message m, const void *in, struct buffer *out);

const char *message_name(enum message m);               /* "rollout"; "any" */
enum message message_find(const char *name);            /* MESSAGE_any when unknown */
size_t message_size(enum message m);                    /* sizeof its struct */
void message_manual(FILE *out);                         /* Markdown of every row */

#endif

/* message: the tables made from messages.def, and the one reader and one writer that walk them. The
 * check of raw bytes (message_check) and the JSON and manual views are in message_check.c and
 * message_page.c.
 *
 * On the wire: text is str, u8s is bin, other arrays are arrays, a nested message is a map. The top
 * map begins with "v", the version; rows follow in their order, then the pairs that were not known
 * when it was read. */
#include "graph/message_table.h"

#include <math.h>
#include <msgpack.h>
#include <string.h>

#include "graph/text.h"

#define MESSAGE(name, id, meaning) static const struct field name##_fields[] = {
#define FIELD(message, kind, name, meaning)                                                        \
    {FIELD_##kind, #name, offsetof(struct message, name), MESSAGE_any, meaning},
#define NEST(message, inner, name, meaning)                                                        \
    {FIELD_nest, #name, offsetof(struct message, name), MESSAGE_##inner, meaning},
#define END(message) {FIELD_end, NULL, 0, MESSAGE_any, NULL}};
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef NEST
#undef END

static const struct message_row rows[MESSAGE_count] = {
    [MESSAGE_any] = {"any", 0, "Whatever is linked.", 0, 0, 0, NULL},
#define MESSAGE(name, id, meaning)                                                                 \
    [MESSAGE_##name] = {#name,                                                                     \
                        id,                                                                        \
                        meaning,                                                                   \
                        sizeof(struct name),                                                       \
                        offsetof(struct name, unknown_count),                                      \
                        offsetof(struct name, unknown),                                            \
                        name##_fields},
#define FIELD(message, kind, name, meaning)
#define NEST(message, inner, name, meaning)
#define END(message)
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef NEST
#undef END
};

const struct message_row *
message_row(enum message m)
{
    return &rows[m];
}

const char *
message_name(enum message m)
{
    return m >= MESSAGE_any && m < MESSAGE_count ? rows[m].name : "none";
}

enum message
message_find(const char *name)
{
    for (int m = 1; m < MESSAGE_count; m++)
        if (strcmp(rows[m].name, name) == 0)
            return (enum message)m;
    return MESSAGE_any;
}

size_t
message_size(enum message m)
{
    return rows[m].size;
}

/* ---- reading ---- */

static int read_map(enum message m, const msgpack_object *o, struct span bytes, void *out,
                    struct arena *arena, struct error *e);

static int
read_unsigned(const msgpack_object *o, uint64_t max, uint64_t *out, struct error *e)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return error_set(e, ERROR_input, "not a whole number of 0 or more");
    if (o->via.u64 > max)
        return error_set(e, ERROR_input, "%llu is above %llu", (unsigned long long)o->via.u64,
                         (unsigned long long)max);
    *out = o->via.u64;
    return 0;
}

static int
read_real(const msgpack_object *o, double *out, struct error *e)
{
    switch (o->type) {
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: *out = o->via.f64; break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: *out = (double)o->via.u64; break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: *out = (double)o->via.i64; break;
    default: return error_set(e, ERROR_input, "not a number");
    }
    if (!isfinite(*out))
        return error_set(e, ERROR_input, "not a finite number");
    return 0;
}

static int
read_text(const msgpack_object *o, struct span *out, struct error *e)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return error_set(e, ERROR_input, "not text");
    *out = span_of(o->via.str.ptr, o->via.str.size);
    if (!text_is_utf8(*out))
        return error_set(e, ERROR_input, "text that is not UTF-8");
    return 0;
}

/* One element of an array field, `i`-th of `at`. */
static int
read_element(enum field_kind kind, const msgpack_object *o, void *at, uint32_t i, struct error *e)
{
    uint64_t u = 0;
    double   d = 0;
    int      rc;

    switch (kind) {
    case FIELD_u64s: return read_unsigned(o, UINT64_MAX, (uint64_t *)at + i, e);
    case FIELD_u32s:
        rc = read_unsigned(o, UINT32_MAX, &u, e);
        ((uint32_t *)at)[i] = (uint32_t)u;
        return rc;
    case FIELD_u8s:
        rc = read_unsigned(o, UINT8_MAX, &u, e);
        ((uint8_t *)at)[i] = (uint8_t)u;
        return rc;
    case FIELD_f32s:
        rc = read_real(o, &d, e);
        if (rc == 0 && !isfinite((float)d))
            return error_set(e, ERROR_input, "a number too large for float32");
        ((float *)at)[i] = (float)d;
        return rc;
    default: return read_text(o, (struct span *)at + i, e);
    }
}

/* The array structs share one shape: a count, then a pointer. */
struct array {
    int64_t count;
    void   *at;
};

static int
read_array(enum field_kind kind, const msgpack_object *o, struct array *out, struct arena *arena,
           struct error *e)
{
    static const size_t sizes[] = {
        [FIELD_u64s] = 8, [FIELD_u32s] = 4, [FIELD_u8s] = 1, [FIELD_f32s] = 4,
        [FIELD_texts] = sizeof(struct span),
    };

    if (kind == FIELD_u8s && o->type == MSGPACK_OBJECT_BIN) {
        out->count = o->via.bin.size;
        out->at = (void *)o->via.bin.ptr;
        return 0;
    }
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return error_set(e, ERROR_input, "not an array");
    out->at = arena_take(arena, (size_t)o->via.array.size * sizes[kind]);
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        int rc = read_element(kind, &o->via.array.ptr[i], out->at, i, e);

        if (rc != 0)
            return error_wrap(e, "element %u", i);
    }
    out->count = o->via.array.size;
    return 0;
}

static int
read_field(const struct field *f, const msgpack_object *o, struct span bytes, void *at,
           struct arena *arena, struct error *e)
{
    switch (f->kind) {
    case FIELD_u64: return read_unsigned(o, UINT64_MAX, at, e);
    case FIELD_f64: return read_real(o, at, e);
    case FIELD_text: return read_text(o, at, e);
    case FIELD_nest: return read_map(f->inner, o, bytes, at, arena, e);
    default: return read_array(f->kind, o, at, arena, e);
    }
}

static int
read_version(const msgpack_object *o, struct error *e)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 == 0)
        return error_set(e, ERROR_input, "field 'v': not a version");
    if (o->via.u64 > MESSAGE_VERSION)
        return error_set(e, ERROR_version, "version %llu; this program reads up to %d",
                         (unsigned long long)o->via.u64, MESSAGE_VERSION);
    return 0;
}

static int
field_at(const struct field *fields, const msgpack_object *key)
{
    if (key->type == MSGPACK_OBJECT_STR)
        for (int i = 0; fields[i].kind != FIELD_end; i++)
            if (span_is(span_of(key->via.str.ptr, key->via.str.size), fields[i].name))
                return i;
    return -1;
}

/* Pairs we do not know are kept byte for byte, in one piece, in the order they came. */
static void
keep_unknown(const struct message_row *r, void *out, struct span pair, size_t most,
             struct arena *arena)
{
    struct span *unknown = (struct span *)((char *)out + r->unknown);

    if (!unknown->at)
        unknown->at = arena_take(arena, most);
    memcpy((char *)unknown->at + unknown->length, pair.at, pair.length);
    unknown->length += pair.length;
    ++*(int64_t *)((char *)out + r->unknown_count);
}

/* `bytes` are those of the map itself: the objects do not say where they came from, and unknown
 * pairs are copied from there. */
static int
read_map(enum message m, const msgpack_object *o, struct span bytes, void *out, struct arena *arena,
         struct error *e)
{
    const struct message_row *r = &rows[m];
    uint64_t                  seen = 0;
    size_t                    at;

    if (o->type != MSGPACK_OBJECT_MAP)
        return error_set(e, ERROR_input, "not a %s: not a map", r->name);
    at = message_header_length(bytes);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        size_t                   value = message_skip(bytes, at), end = message_skip(bytes, value);
        int                      k = field_at(r->fields, &kv->key), rc = 0;

        if (k >= 0 && (seen >> k & 1))
            return error_set(e, ERROR_input, "field '%s' is there twice", r->fields[k].name);
        if (k >= 0) {
            const struct field *f = &r->fields[k];

            seen |= 1ULL << k;
            rc = read_field(f, &kv->val, span_of(bytes.at + value, end - value),
                            (char *)out + f->offset, arena, e);
            if (rc != 0)
                return error_wrap(e, "field '%s'", f->name);
        } else if (kv->key.type == MSGPACK_OBJECT_STR &&
                   span_is(span_of(kv->key.via.str.ptr, kv->key.via.str.size), "v")) {
            rc = read_version(&kv->val, e);
            if (rc != 0)
                return rc;
        } else {
            keep_unknown(r, out, span_of(bytes.at + at, end - at), bytes.length, arena);
        }
        at = end;
    }
    return 0;
}

int
message_read(enum message m, struct span bytes, void *out, struct arena *arena, struct error *e)
{
    msgpack_zone   zone;
    msgpack_object o;
    size_t         end = 0;
    int            rc = message_check(bytes, e);

    if (rc != 0)
        return rc;
    memset(out, 0, rows[m].size);
    if (!msgpack_zone_init(&zone, 4096))
        return error_set(e, ERROR_internal, "no memory to unpack a message");
    if (msgpack_unpack(bytes.at, bytes.length, &end, &zone, &o) != MSGPACK_UNPACK_SUCCESS)
        rc = error_set(e, ERROR_input, "not msgpack");
    else
        rc = read_map(m, &o, bytes, out, arena, e);
    msgpack_zone_destroy(&zone);
    if (rc != 0)
        return error_wrap(e, "message '%s'", rows[m].name);
    return 0;
}

/* ---- writing ---- */

static int
pack_bytes(void *out, const char *bytes, size_t length)
{
    buffer_add(out, bytes, length);
    return 0;
}

static void
pack_text(msgpack_packer *p, struct span s)
{
    msgpack_pack_str(p, s.length);
    msgpack_pack_str_body(p, s.at, s.length);
}

static void
pack_array(msgpack_packer *p, enum field_kind kind, const struct array *a)
{
    if (kind == FIELD_u8s) {
        msgpack_pack_bin(p, (size_t)a->count);
        msgpack_pack_bin_body(p, a->at, (size_t)a->count);
        return;
    }
    msgpack_pack_array(p, (size_t)a->count);
    for (int64_t i = 0; i < a->count; i++) {
        switch (kind) {
        case FIELD_u64s: msgpack_pack_uint64(p, ((uint64_t *)a->at)[i]); break;
        case FIELD_u32s: msgpack_pack_uint32(p, ((uint32_t *)a->at)[i]); break;
        case FIELD_f32s: msgpack_pack_float(p, ((float *)a->at)[i]); break;
        default: pack_text(p, ((struct span *)a->at)[i]); break;
        }
    }
}

static void
pack_map(msgpack_packer *p, enum message m, const char *in, int extra, struct buffer *out)
{
    const struct message_row *r = &rows[m];
    const struct span        *unknown = (const struct span *)(in + r->unknown);
    int64_t                   unknown_count = *(const int64_t *)(in + r->unknown_count);
    int                       count = 0;

    while (r->fields[count].kind != FIELD_end)
        count++;
    msgpack_pack_map(p, (size_t)(count + extra) + (size_t)unknown_count);
    if (extra) {
        pack_text(p, span_text("v"));
        msgpack_pack_int(p, MESSAGE_VERSION);
    }
    for (const struct field *f = r->fields; f->kind != FIELD_end; f++) {
        const void *at = in + f->offset;

        pack_text(p, span_text(f->name));
        switch (f->kind) {
        case FIELD_u64: msgpack_pack_uint64(p, *(const uint64_t *)at); break;
        case FIELD_f64: msgpack_pack_double(p, *(const double *)at); break;
        case FIELD_text: pack_text(p, *(const struct span *)at); break;
        case FIELD_nest: pack_map(p, f->inner, at, 0, out); break;
        default: pack_array(p, f->kind, at); break;
        }
    }
    buffer_add(out, unknown->at, unknown->length);
}

void
message_write(enum message m, const void *in, struct buffer *out)
{
    msgpack_packer p;

    msgpack_packer_init(&p, out, pack_bytes);
    pack_map(&p, m, in, 1, out);
}

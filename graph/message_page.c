/* message_page: messages as people see them: JSON of one message, the manual of all. */
#include <msgpack.h>
#include <string.h>

#include "graph/message_table.h"
#include "graph/text.h"

static const char *const kind_names[] = {
    [FIELD_end] = "", [FIELD_u64] = "u64", [FIELD_f64] = "f64", [FIELD_text] = "text",
    [FIELD_u64s] = "u64s", [FIELD_u8s] = "u8s", [FIELD_u32s] = "u32s", [FIELD_f32s] = "f32s",
    [FIELD_texts] = "texts", [FIELD_nest] = "nest",
};

const char *
field_kind_name(enum field_kind kind)
{
    return kind_names[kind];
}

/* ---- JSON ---- */

static void json_pair(struct buffer *out, bool first, struct span key);

/* A value we have no row for. Bytes and extensions are shown as text as far as they are. */
static void
json_object(struct buffer *out, const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN: buffer_text(out, o->via.boolean ? "true" : "false"); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        buffer_print(out, "%llu", (unsigned long long)o->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: buffer_print(out, "%lld", (long long)o->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32: text_float(out, (float)o->via.f64); break;
    case MSGPACK_OBJECT_FLOAT64: text_number(out, o->via.f64); break;
    case MSGPACK_OBJECT_STR: text_json(out, span_of(o->via.str.ptr, o->via.str.size)); break;
    case MSGPACK_OBJECT_BIN: text_json(out, span_of(o->via.bin.ptr, o->via.bin.size)); break;
    case MSGPACK_OBJECT_ARRAY:
        buffer_text(out, "[");
        for (uint32_t i = 0; i < o->via.array.size; i++) {
            if (i)
                buffer_text(out, ",");
            json_object(out, &o->via.array.ptr[i]);
        }
        buffer_text(out, "]");
        break;
    case MSGPACK_OBJECT_MAP:
        buffer_text(out, "{");
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            const msgpack_object *key = &o->via.map.ptr[i].key;
            struct buffer         name = {0};

            if (key->type == MSGPACK_OBJECT_STR)
                buffer_add(&name, key->via.str.ptr, key->via.str.size);
            else
                json_object(&name, key);
            json_pair(out, i == 0, buffer_span(&name));
            json_object(out, &o->via.map.ptr[i].val);
            buffer_free(&name);
        }
        buffer_text(out, "}");
        break;
    default: buffer_text(out, "null"); break;
    }
}

static void
json_pair(struct buffer *out, bool first, struct span key)
{
    if (!first)
        buffer_text(out, ",");
    text_json(out, key);
    buffer_text(out, ":");
}

static void
json_unknown(struct buffer *out, struct span unknown, bool first)
{
    for (size_t at = 0; at < unknown.length; first = false) {
        msgpack_zone   zone;
        msgpack_object key, value;

        if (!msgpack_zone_init(&zone, 1024))
            return;
        if (msgpack_unpack(unknown.at, unknown.length, &at, &zone, &key) >= 0 &&
            msgpack_unpack(unknown.at, unknown.length, &at, &zone, &value) >= 0) {
            struct buffer name = {0};

            if (key.type == MSGPACK_OBJECT_STR)
                buffer_add(&name, key.via.str.ptr, key.via.str.size);
            else
                json_object(&name, &key);
            json_pair(out, first, buffer_span(&name));
            json_object(out, &value);
            buffer_free(&name);
        } else {
            at = unknown.length;
        }
        msgpack_zone_destroy(&zone);
    }
}

static void
json_array(struct buffer *out, enum field_kind kind, const void *field)
{
    const struct u8s *a = field;    /* all arrays share this shape */
    const void       *at = a->at;

    buffer_text(out, "[");
    for (int64_t i = 0; i < a->count; i++) {
        if (i)
            buffer_text(out, ",");
        switch (kind) {
        case FIELD_u64s:
            buffer_print(out, "%llu", (unsigned long long)((const uint64_t *)at)[i]);
            break;
        case FIELD_u32s: buffer_print(out, "%u", ((const uint32_t *)at)[i]); break;
        case FIELD_u8s: buffer_print(out, "%u", ((const uint8_t *)at)[i]); break;
        case FIELD_f32s: text_float(out, ((const float *)at)[i]); break;
        default: text_json(out, ((const struct span *)at)[i]); break;
        }
    }
    buffer_text(out, "]");
}

void
message_json(enum message m, const void *in, struct buffer *out)
{
    const struct message_row *r = message_row(m);
    bool                      first = true;

    buffer_text(out, "{");
    for (const struct field *f = r->fields; f->kind != FIELD_end; f++, first = false) {
        const void *at = (const char *)in + f->offset;

        json_pair(out, first, span_text(f->name));
        switch (f->kind) {
        case FIELD_u64: buffer_print(out, "%llu", (unsigned long long)*(const uint64_t *)at); break;
        case FIELD_f64: text_number(out, *(const double *)at); break;
        case FIELD_text: text_json(out, *(const struct span *)at); break;
        case FIELD_nest: message_json(f->inner, at, out); break;
        default: json_array(out, f->kind, at); break;
        }
    }
    json_unknown(out, *(const struct span *)((const char *)in + r->unknown), first);
    buffer_text(out, "}");
}

/* ---- the manual ---- */

void
message_manual(FILE *out)
{
    for (int m = 1; m < MESSAGE_count; m++) {
        const struct message_row *r = message_row((enum message)m);

        fprintf(out, "### %s (%d)\n\n%s\n\n| field | kind | meaning |\n|---|---|---|\n", r->name,
                r->id, r->meaning);
        for (const struct field *f = r->fields; f->kind != FIELD_end; f++)
            fprintf(out, "| `%s` | %s | %s |\n", f->name,
                    f->kind == FIELD_nest ? message_name(f->inner) : kind_names[f->kind],
                    f->meaning);
        fprintf(out, "\n");
    }
}

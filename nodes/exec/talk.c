/* talk: messages to the program and back, in JSON or msgpack. Answers become msgpack first, so that
 * one reader knows both. What a body must be is in body.c. */
#include "nodes/exec/talk.h"

#include <inttypes.h>
#include <jansson.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static int
put_bytes(void *out, const char *bytes, size_t length)
{
    buffer_add(out, bytes, length);
    return 0;
}

static void
pack_text(msgpack_packer *p, const char *text)
{
    size_t length = strlen(text);

    msgpack_pack_str(p, length);
    msgpack_pack_str_body(p, text, length);
}

/* Names of ports and nodes are words without anything to escape; reasons are not. */
static void
json_text(struct buffer *out, const char *text)
{
    char *quoted = NULL;
    json_t *json = json_stringn_nocheck(text, strlen(text));

    if (json)
        quoted = json_dumps(json, JSON_ENCODE_ANY);
    buffer_text(out, quoted ? quoted : "\"\"");
    free(quoted);
    json_decref(json);
}

static int
count_ports(const struct port *ports, enum port_direction direction)
{
    int count = 0;

    for (int i = 0; ports[i].direction != PORT_END; i++)
        count += ports[i].direction == direction;
    return count;
}

static void
json_ports(struct buffer *out, const struct port *ports, enum port_direction direction)
{
    const char *comma = "";

    buffer_text(out, "{");
    for (int i = 0; ports[i].direction != PORT_END; i++)
        if (ports[i].direction == direction) {
            buffer_print(out, "%s\"%s\":\"%s\"", comma, ports[i].name,
                         message_name(ports[i].message));
            comma = ",";
        }
    buffer_text(out, "}");
}

static void
pack_ports(msgpack_packer *p, const struct port *ports, enum port_direction direction)
{
    msgpack_pack_map(p, (size_t)count_ports(ports, direction));
    for (int i = 0; ports[i].direction != PORT_END; i++)
        if (ports[i].direction == direction) {
            pack_text(p, ports[i].name);
            pack_text(p, message_name(ports[i].message));
        }
}

void
talk_hello(enum talk_format f, const struct talk_self *self, struct buffer *out)
{
    msgpack_packer p;

    if (f == TALK_json) {
        buffer_print(out, "{\"hello\":%d,\"node\":\"%s\",\"replica\":%d,\"seed\":%" PRIu64
                     ",\"in_flight\":%d,\"in\":",
                     TALK_VERSION, self->node, self->replica, self->seed, self->in_flight);
        json_ports(out, self->ports, PORT_IN);
        buffer_text(out, ",\"out\":");
        json_ports(out, self->ports, PORT_OUT);
        buffer_text(out, "}");
        return;
    }
    msgpack_packer_init(&p, out, put_bytes);
    msgpack_pack_map(&p, 7);
    pack_text(&p, "hello"), msgpack_pack_int(&p, TALK_VERSION);
    pack_text(&p, "node"), pack_text(&p, self->node);
    pack_text(&p, "replica"), msgpack_pack_int(&p, self->replica);
    pack_text(&p, "seed"), msgpack_pack_uint64(&p, self->seed);
    pack_text(&p, "in_flight"), msgpack_pack_int(&p, self->in_flight);
    pack_text(&p, "in"), pack_ports(&p, self->ports, PORT_IN);
    pack_text(&p, "out"), pack_ports(&p, self->ports, PORT_OUT);
}

/* One body through its struct, so that the program never sees what does not fit its type. */
static int
put_body(enum talk_format f, enum message m, const struct input *in, struct arena *arena,
         struct buffer *out, struct error *e)
{
    void *message = arena_take(arena, message_size(m));
    int   rc = message_read(m, in->body, message, arena, e);

    if (rc == 0 && f == TALK_json)
        message_json(m, message, out);
    else if (rc == 0)
        message_write(m, message, out);
    return rc;
}

static int
json_input(const struct port *ports, const struct input *in, struct arena *arena,
           struct buffer *out, struct error *e)
{
    enum message m = ports[in->port].message;
    int          rc = 0;

    buffer_print(out, "{\"port\":\"%s\",\"from\":\"%s\",\"message\":\"%s\",", ports[in->port].name,
                 in->from, message_name(m));
    buffer_text(out, in->closing ? "\"closed\":" : "\"body\":");
    if (in->closing)
        json_text(out, in->reason);
    else
        rc = put_body(TALK_json, m, in, arena, out, e);
    buffer_text(out, "}");
    return rc;
}

static int
pack_input(msgpack_packer *p, const struct port *ports, const struct input *in, struct arena *arena,
           struct buffer *out, struct error *e)
{
    enum message m = ports[in->port].message;

    msgpack_pack_map(p, 4);
    pack_text(p, "port"), pack_text(p, ports[in->port].name);
    pack_text(p, "from"), pack_text(p, in->from);
    pack_text(p, "message"), pack_text(p, message_name(m));
    pack_text(p, in->closing ? "closed" : "body");
    if (!in->closing)
        return put_body(TALK_msgpack, m, in, arena, out, e);
    pack_text(p, in->reason);
    return 0;
}

int
talk_ask(enum talk_format f, const struct port *ports, const struct unit *u, uint64_t ask,
         int attempt, struct arena *arena, struct buffer *out, struct error *e)
{
    msgpack_packer p;
    int            rc = 0;

    if (f == TALK_json) {
        buffer_print(out, "{\"ask\":%" PRIu64 ",\"ordinal\":%" PRIu64 ",\"first\":%" PRIu64
                     ",\"size\":%u,\"attempt\":%d,\"inputs\":[",
                     ask, u->ordinal, u->first, u->size, attempt);
        for (int i = 0; i < u->input_count && rc == 0; i++) {
            buffer_text(out, i ? "," : "");
            rc = json_input(ports, &u->inputs[i], arena, out, e);
        }
        buffer_text(out, "]}");
        return rc;
    }
    msgpack_packer_init(&p, out, put_bytes);
    msgpack_pack_map(&p, 6);
    pack_text(&p, "ask"), msgpack_pack_uint64(&p, ask);
    pack_text(&p, "ordinal"), msgpack_pack_uint64(&p, u->ordinal);
    pack_text(&p, "first"), msgpack_pack_uint64(&p, u->first);
    pack_text(&p, "size"), msgpack_pack_uint32(&p, u->size);
    pack_text(&p, "attempt"), msgpack_pack_int(&p, attempt);
    pack_text(&p, "inputs"), msgpack_pack_array(&p, (size_t)u->input_count);
    for (int i = 0; i < u->input_count && rc == 0; i++)
        rc = pack_input(&p, ports, &u->inputs[i], arena, out, e);
    return rc;
}

/* ---- JSON to msgpack ---- */

static int
json_pack_value(msgpack_packer *p, const json_t *v, int depth, struct error *e)
{
    const char *key;
    json_t     *item;
    size_t      i;
    int         rc = 0;

    if (depth > MESSAGE_DEPTH_MAX)
        return error_set(e, ERROR_input, "nested deeper than %d", MESSAGE_DEPTH_MAX);
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        msgpack_pack_map(p, json_object_size(v));
        json_object_foreach((json_t *)v, key, item) {
            pack_text(p, key);
            rc = rc ? rc : json_pack_value(p, item, depth + 1, e);
        }
        break;
    case JSON_ARRAY:
        msgpack_pack_array(p, json_array_size(v));
        json_array_foreach(v, i, item) rc = rc ? rc : json_pack_value(p, item, depth + 1, e);
        break;
    case JSON_STRING:
        msgpack_pack_str(p, json_string_length(v));
        msgpack_pack_str_body(p, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER: msgpack_pack_int64(p, json_integer_value(v)); break;
    case JSON_REAL: msgpack_pack_double(p, json_real_value(v)); break;
    case JSON_TRUE: msgpack_pack_int(p, 1); break;
    case JSON_FALSE: msgpack_pack_int(p, 0); break;
    case JSON_NULL: msgpack_pack_nil(p); break;
    }
    return rc;
}

static int
json_to_msgpack(struct span text, struct buffer *out, struct error *e)
{
    json_error_t   je;
    msgpack_packer p;
    int            rc;
    json_t        *json =
        json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);

    if (!json)
        return error_set(e, ERROR_input, "not JSON: %.100s (column %d)", je.text, je.column);
    msgpack_packer_init(&p, out, put_bytes);
    rc = json_pack_value(&p, json, 1, e);
    json_decref(json);
    return rc;
}

/* ---- answers ---- */

static struct span
text_of(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_STR ? span_of(o->via.str.ptr, o->via.str.size)
                                         : span_of(NULL, 0);
}

static int
port_named(const struct port *ports, struct span name, struct error *e)
{
    for (int i = 0; ports[i].direction != PORT_END; i++)
        if (ports[i].direction == PORT_OUT && name.at && span_is(name, ports[i].name))
            return i;
    return error_set(e, ERROR_input, "there is no output '%.*s'",
                     name.length > 60 ? 60 : (int)name.length, name.at ? name.at : "");
}

/* Objects do not know where they came from, so a body is packed again. The buffer may move: a place, no span. */
static void
pack_again(const msgpack_object *o, struct buffer *bodies, struct talk_output *to)
{
    msgpack_packer p;

    to->given = true;
    to->at = bodies->length;
    msgpack_packer_init(&p, bodies, put_bytes);
    msgpack_pack_object(&p, *o);
    to->body.length = bodies->length - to->at;
}

static int
read_outputs(const struct port *ports, const msgpack_object *o, bool closings, struct buffer *bodies,
             struct talk_answer *a, struct error *e)
{
    const char *what = closings ? "close" : "outputs";

    if (o->type != MSGPACK_OBJECT_MAP)
        return error_set(e, ERROR_input, "'%s' is not an object", what);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        int                      port = port_named(ports, text_of(&kv->key), e);

        if (port < 0)
            return error_wrap(e, "'%s'", what);
        if (a->outputs[port].given || a->outputs[port].closed.at)
            return error_set(e, ERROR_input, "output '%s' is there twice", ports[port].name);
        if (closings) {
            a->outputs[port].closed = text_of(&kv->val);
            if (!a->outputs[port].closed.at)
                return error_set(e, ERROR_input, "'close': the reason of '%s' is not text",
                                 ports[port].name);
        } else if (kv->val.type == MSGPACK_OBJECT_MAP) {
            pack_again(&kv->val, bodies, &a->outputs[port]);
        } else if (kv->val.type != MSGPACK_OBJECT_NIL) {
            return error_set(e, ERROR_input, "output '%s' is not an object", ports[port].name);
        }
    }
    return 0;
}

static int
read_field(const struct port *ports, const msgpack_object_kv *kv, struct buffer *bodies,
           struct talk_answer *a, struct error *e)
{
    struct span key = text_of(&kv->key);

    if (span_is(key, "outputs"))
        return read_outputs(ports, &kv->val, false, bodies, a, e);
    if (span_is(key, "close"))
        return read_outputs(ports, &kv->val, true, bodies, a, e);
    if (span_is(key, "dead") && kv->val.type != MSGPACK_OBJECT_NIL) {
        a->dead = text_of(&kv->val);
        return a->dead.at ? 0 : error_set(e, ERROR_input, "'dead' is not text");
    }
    return 0;
}

/* -> 1: an answer, 0: it says that it is ready, or an error. */
static int
read_head(const msgpack_object *o, struct talk_answer *a, struct error *e)
{
    bool asked = false;

    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        bool                     number = kv->val.type == MSGPACK_OBJECT_POSITIVE_INTEGER;

        if (span_is(text_of(&kv->key), "ready")) {
            if (!number || kv->val.via.u64 != TALK_VERSION)
                return error_set(e, ERROR_input, "it does not speak version %d of the protocol",
                                 TALK_VERSION);
            a->ready = true;
        } else if (span_is(text_of(&kv->key), "ask")) {
            if (!number || asked)
                return error_set(e, ERROR_input, "'ask' is not the number of a question");
            asked = true;
            a->ask = kv->val.via.u64;
        }
    }
    if (!a->ready && !asked)
        return error_set(e, ERROR_input, "it has neither 'ask' nor 'ready'");
    return asked;
}

static int
read_answer(const struct port *ports, const msgpack_object *o, struct buffer *bodies,
            struct talk_answer *a, struct error *e)
{
    int rc;

    if (o->type != MSGPACK_OBJECT_MAP)
        return error_set(e, ERROR_input, "not an object");
    rc = read_head(o, a, e);
    if (rc <= 0)
        return rc;
    rc = 0;
    for (uint32_t i = 0; i < o->via.map.size && rc == 0; i++)
        rc = read_field(ports, &o->via.map.ptr[i], bodies, a, e);
    return rc;
}

int
talk_answer(enum talk_format f, const struct port *ports, struct span message,
            struct talk_kept *kept, struct talk_answer *a, struct error *e)
{
    struct buffer *packed = &kept->packed;
    msgpack_zone   zone;
    msgpack_object o;
    size_t         end = 0;
    int            rc = 0;

    *a = (struct talk_answer){.ask = UINT64_MAX};
    buffer_clear(packed);
    buffer_clear(&kept->bodies);
    if (f == TALK_json)
        rc = json_to_msgpack(message, packed, e);
    else
        buffer_add(packed, message.at, message.length);
    if (rc == 0)
        rc = message_check(buffer_span(packed), e);
    if (rc != 0)
        return rc;
    if (!msgpack_zone_init(&zone, 4096))
        return error_set(e, ERROR_internal, "no memory to unpack an answer");
    if (msgpack_unpack(packed->at, packed->length, &end, &zone, &o) != MSGPACK_UNPACK_SUCCESS)
        rc = error_set(e, ERROR_input, "not msgpack");
    else
        rc = read_answer(ports, &o, &kept->bodies, a, e);
    msgpack_zone_destroy(&zone);
    for (int i = 0; i < TALK_PORTS_MAX; i++)
        if (a->outputs[i].given)
            a->outputs[i].body.at = kept->bodies.at + a->outputs[i].at;
    return rc;
}

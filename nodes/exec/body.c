/* body: from what a program wrote to what travels: fields left out are filled in, and everything is
 * checked that the rest of the graph takes for granted. */
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <string.h>

#include "nodes/exec/talk.h"
#include "nodes/spans.h"

#define BYTES_MAX ((size_t)MESSAGE_BYTES_MAX - 65536)   /* of a message, so that a frame with it passes */
#define COUNT_MAX (1ULL << 53)      /* of tokens: a JSON number holds it exactly */

/* ---- fields ---- */

static int
put_bytes(void *out, const char *bytes, size_t length)
{
    buffer_add(out, bytes, length);
    return 0;
}

static const msgpack_object *
field(const msgpack_object *map, const char *name)
{
    for (uint32_t i = 0; map && i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];

        if (kv->key.type == MSGPACK_OBJECT_STR && kv->val.type != MSGPACK_OBJECT_NIL &&
            span_is(span_of(kv->key.via.str.ptr, kv->key.via.str.size), name))
            return &kv->val;
    }
    return NULL;
}

static void
pack_text(msgpack_packer *p, const char *text)
{
    msgpack_pack_str(p, strlen(text));
    msgpack_pack_str_body(p, text, strlen(text));
}

/* A list with null as 0 and truth as 0 or 1. */
static void
pack_list(msgpack_packer *p, const msgpack_object *o)
{
    msgpack_pack_array(p, o->via.array.size);
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        const msgpack_object *v = &o->via.array.ptr[i];

        if (v->type == MSGPACK_OBJECT_NIL)
            msgpack_pack_int(p, 0);
        else if (v->type == MSGPACK_OBJECT_BOOLEAN)
            msgpack_pack_int(p, v->via.boolean);
        else
            msgpack_pack_object(p, *v);
    }
}

/* Where a vote has scores and does not say which are meant: those that are not null. */
static void
pack_said(msgpack_packer *p, const msgpack_object *scores)
{
    pack_text(p, "said");
    msgpack_pack_array(p, scores->via.array.size);
    for (uint32_t i = 0; i < scores->via.array.size; i++)
        msgpack_pack_int(p, scores->via.array.ptr[i].type != MSGPACK_OBJECT_NIL);
}

static bool
is_list(const msgpack_object *o)
{
    return o && o->type == MSGPACK_OBJECT_ARRAY;
}

/* Is this pair of `base` left out of the body? */
static bool
left_out(const msgpack_object *body, bool says, const msgpack_object_kv *kv)
{
    char name[64];

    if (kv->key.type != MSGPACK_OBJECT_STR || kv->key.via.str.size >= sizeof(name))
        return false;
    memcpy(name, kv->key.via.str.ptr, kv->key.via.str.size);
    name[kv->key.via.str.size] = 0;
    return !field(body, name) && strcmp(name, "v") != 0 && !(says && strcmp(name, "said") == 0);
}

/* The body with the fields of `base` (NULL: none) that it leaves out. */
static void
pack_whole(const msgpack_object *body, const msgpack_object *base, bool is_vote, struct buffer *out)
{
    const msgpack_object *scores = is_vote ? field(body, "scores") : NULL;
    bool                  says = is_list(scores) && !field(body, "said");
    uint32_t              count = says;
    msgpack_packer        p;

    for (uint32_t i = 0; i < body->via.map.size; i++)
        count += body->via.map.ptr[i].val.type != MSGPACK_OBJECT_NIL;
    for (uint32_t i = 0; base && i < base->via.map.size; i++)
        count += left_out(body, says, &base->via.map.ptr[i]);
    msgpack_packer_init(&p, out, put_bytes);
    msgpack_pack_map(&p, count);
    for (uint32_t i = 0; i < body->via.map.size; i++) {
        const msgpack_object_kv *kv = &body->via.map.ptr[i];

        if (kv->val.type == MSGPACK_OBJECT_NIL)
            continue;
        msgpack_pack_object(&p, kv->key);
        if (is_list(&kv->val))
            pack_list(&p, &kv->val);
        else
            msgpack_pack_object(&p, kv->val);
    }
    if (says)
        pack_said(&p, scores);
    for (uint32_t i = 0; base && i < base->via.map.size; i++)
        if (left_out(body, says, &base->via.map.ptr[i])) {
            msgpack_pack_object(&p, base->via.map.ptr[i].key);
            msgpack_pack_object(&p, base->via.map.ptr[i].val);
        }
}

/* ---- the unit ---- */

static const struct input *
input_of(const struct port *ports, const struct unit *u, enum message m)
{
    for (int i = 0; i < u->input_count; i++)
        if (!u->inputs[i].closing && ports[u->inputs[i].port].message == m)
            return &u->inputs[i];
    return NULL;
}

/* The rollout of the unit, and the ends of its steps where an input has them (*ends NULL: none). */
static int
unit_rollout(const struct port *ports, const struct unit *u, struct arena *arena,
             struct rollout *rollout, struct u64s **ends, struct error *e)
{
    const struct input *in;

    *ends = NULL;
    *rollout = (struct rollout){0};
    if ((in = input_of(ports, u, MESSAGE_steps)) != NULL) {
        struct steps *s = arena_take(arena, sizeof(*s));
        int           rc = message_read(MESSAGE_steps, in->body, s, arena, e);

        *rollout = s->rollout;
        *ends = &s->ends;
        return rc;
    }
    if ((in = input_of(ports, u, MESSAGE_labelled)) != NULL) {
        struct labelled *l = arena_take(arena, sizeof(*l));
        int              rc = message_read(MESSAGE_labelled, in->body, l, arena, e);

        *rollout = l->rollout;
        *ends = &l->ends;
        return rc;
    }
    in = input_of(ports, u, MESSAGE_rollout);
    return in ? message_read(MESSAGE_rollout, in->body, rollout, arena, e) : 0;
}

/* ---- checks ---- */

static int
count_is(const char *name, int64_t count, int64_t steps, bool optional, struct error *e)
{
    if (count == steps || (optional && count == 0))
        return 0;
    return error_set(e, ERROR_input, "field '%s' has %lld elements for %lld steps", name,
                     (long long)count, (long long)steps);
}

static int
check_scores(const struct vote *v, struct error *e)
{
    for (int64_t i = 0; i < v->scores.count; i++) {
        if (!(v->scores.at[i] >= 0 && v->scores.at[i] <= 1))
            return error_set(e, ERROR_input, "score %lld is %g, not in [0, 1]", (long long)i,
                             v->scores.at[i]);
        if (v->said.at[i] > 1)
            return error_set(e, ERROR_input, "'said' %lld is %d, not 0 or 1", (long long)i,
                             v->said.at[i]);
    }
    return 0;
}

static int
check_vote(struct vote *v, const struct u64s *ends, struct error *e)
{
    int64_t steps = ends ? ends->count : v->scores.count;
    int     rc;

    if (v->abstain.length > 0) {
        v->scores.count = v->said.count = v->reasons.count = 0;
        v->outside.count = v->agreement.count = v->embeddings.count = 0;
        return 0;
    }
    rc = count_is("scores", v->scores.count, steps, false, e);
    if (rc == 0)
        rc = count_is("said", v->said.count, steps, false, e);
    if (rc == 0)
        rc = count_is("reasons", v->reasons.count, steps, true, e);
    if (rc == 0)
        rc = count_is("outside", v->outside.count, steps, true, e);
    if (rc == 0)
        rc = count_is("agreement", v->agreement.count, steps, true, e);
    if (rc == 0 && v->embeddings.count > 0 && (steps == 0 || v->embeddings.count % steps != 0))
        rc = count_is("embeddings", v->embeddings.count, steps, false, e);
    if (rc == 0)
        rc = check_scores(v, e);
    if (rc == 0 && (v->response.count > 1 ||
                    (v->response.count == 1 &&
                     !(v->response.at[0] >= 0 && v->response.at[0] <= 1))))
        rc = error_set(e, ERROR_input, "field 'response' is not one number in [0, 1]");
    return rc;
}

static int
check_costs(const struct vote *v, struct error *e)
{
    if (!(v->usd >= 0 && v->usd < 1e9) || v->tokens_in > COUNT_MAX || v->tokens_out > COUNT_MAX)
        return error_set(e, ERROR_input, "usd, tokens_in or tokens_out is no cost");
    return 0;
}

static int
check_kinds(const struct u8s *kinds, int64_t steps, struct error *e)
{
    for (int64_t i = 0; i < kinds->count; i++)
        if (kinds->at[i] > 2)
            return error_set(e, ERROR_input, "kind %lld is %d, not 0, 1 or 2", (long long)i,
                             kinds->at[i]);
    return count_is("kinds", kinds->count, steps, true, e);
}

static int
fill_labelled(struct labelled *l, struct arena *arena, struct error *e)
{
    int64_t n = l->ends.count;
    int     rc = count_is("labels", l->labels.count, n, false, e);

    for (int64_t i = 0; i < n && rc == 0; i++)
        if (l->labels.at[i] > 2)
            rc = error_set(e, ERROR_input, "label %lld is %d, not 0, 1 or 2", (long long)i,
                           l->labels.at[i]);
    if (rc != 0)
        return rc;
    if (l->agree.count == 0 && l->counted.count == 0 && l->means.count == 0) {
        l->agree = (struct u32s){n, arena_take(arena, (size_t)n * 4)};
        l->counted = (struct u32s){n, arena_take(arena, (size_t)n * 4)};
        l->means = (struct f32s){n, arena_take(arena, (size_t)n * 4)};
        for (int64_t i = 0; i < n; i++) {
            l->counted.at[i] = l->labels.at[i] != 2;
            l->agree.at[i] = l->labels.at[i] == 1;
            l->means.at[i] = l->labels.at[i] == 1;
        }
    }
    rc = count_is("agree", l->agree.count, n, false, e);
    if (rc == 0)
        rc = count_is("counted", l->counted.count, n, false, e);
    if (rc == 0)
        rc = count_is("means", l->means.count, n, false, e);
    if (rc == 0)
        rc = count_is("ties", l->ties.count, n, true, e);
    return rc == 0 ? check_kinds(&l->kinds, n, e) : rc;
}

/* ---- one body ---- */

/* Reads the whole of it into its struct and checks that; `given` is what the program wrote, `ends` those of the unit. */
static int
finish(enum message m, void *message, const msgpack_object *given, const struct rollout *rollout,
       const struct u64s *ends, struct arena *arena, struct error *e)
{
    struct steps    *s = message;
    struct labelled *l = message;

    switch (m) {
    case MESSAGE_vote:
        return check_vote(message, ends, e);
    case MESSAGE_steps:
        if (!field(given, "rollout"))
            s->rollout = *rollout;
        if (spans_check(s->ends.at, s->ends.count, s->rollout.response.length, e) != 0)
            return ERROR_input;
        return check_kinds(&s->kinds, s->ends.count, e);
    case MESSAGE_labelled:
        if (!field(given, "rollout"))
            l->rollout = *rollout;
        if (!field(given, "ends") && ends)
            l->ends = *ends;
        if (spans_check(l->ends.at, l->ends.count, l->rollout.response.length, e) != 0)
            return ERROR_input;
        return fill_labelled(l, arena, e);
    default:
        return 0;
    }
}

/* Unpacks bytes that message_check() has seen. */
static int
unpack(struct span bytes, msgpack_zone *zone, msgpack_object *o, struct error *e)
{
    size_t end = 0;

    if (msgpack_unpack(bytes.at, bytes.length, &end, zone, o) != MSGPACK_UNPACK_SUCCESS ||
        o->type != MSGPACK_OBJECT_MAP)
        return error_set(e, ERROR_input, "not an object");
    return 0;
}

int
talk_body(const struct port *ports, int port, const struct unit *u, const char *node,
          struct span body, struct arena *arena, struct buffer *out, struct vote *vote,
          struct error *e)
{
    enum message        m = ports[port].message;
    const struct input *in = input_of(ports, u, m);
    struct rollout      rollout;
    struct u64s        *ends;
    struct buffer       whole = {0};
    msgpack_zone        zone;
    msgpack_object      given, base;
    void               *message = arena_take(arena, message_size(m));
    int                 rc = unit_rollout(ports, u, arena, &rollout, &ends, e);

    if (rc != 0)
        return rc;
    if (!msgpack_zone_init(&zone, 4096))
        return error_set(e, ERROR_internal, "no memory to unpack an answer");
    rc = unpack(body, &zone, &given, e);
    if (rc == 0 && in)
        rc = unpack(in->body, &zone, &base, e);
    if (rc == 0) {
        pack_whole(&given, in ? &base : NULL, m == MESSAGE_vote, &whole);
        /* The struct borrows from it: it must live as long. */
        char *kept = arena_take(arena, whole.length);
        memcpy(kept, whole.at, whole.length);
        rc = message_read(m, span_of(kept, whole.length), message, arena, e);
    }
    if (rc == 0)
        rc = finish(m, message, &given, &rollout, ends, arena, e);
    if (rc == 0 && m == MESSAGE_vote) {
        rc = check_costs(message, e);
        *vote = *(struct vote *)message;
        vote->voter = span_text(node);
        memcpy(message, vote, sizeof(*vote));
    }
    if (rc == 0)
        message_write(m, message, out);
    if (rc == 0 && out->length > BYTES_MAX)
        rc = error_set(e, ERROR_input, "a message of %zu bytes; %zu are the most", out->length,
                       BYTES_MAX);
    buffer_free(&whole);
    msgpack_zone_destroy(&zone);
    return rc;
}

/* wire: packing and unpacking of frames. Unpacking is a cursor over checked bytes that allocates nothing but the
 * ranges of a mark, whose number is bounded. */
#include "graph/wire.h"

#include <string.h>

/* ---- packing ---- */

static void
pack_big(struct buffer *out, unsigned char type, uint64_t v, int bytes)
{
    unsigned char at[9] = {type};
    for (int i = 0; i < bytes; i++)
        at[1 + i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
    buffer_add(out, at, (size_t)bytes + 1);
}

static void
pack_u64(struct buffer *out, uint64_t v)
{
    unsigned char small = (unsigned char)v;
    if (v < 128)
        buffer_add(out, &small, 1);
    else if (v <= UINT8_MAX)
        pack_big(out, 0xcc, v, 1);
    else if (v <= UINT16_MAX)
        pack_big(out, 0xcd, v, 2);
    else if (v <= UINT32_MAX)
        pack_big(out, 0xce, v, 4);
    else
        pack_big(out, 0xcf, v, 8);
}

static void
pack_text(struct buffer *out, struct span s)
{
    pack_big(out, 0xdb, s.length, 4);
    buffer_add(out, s.at, s.length);
}

static void
pack_bin(struct buffer *out, struct span s)
{
    pack_big(out, 0xc6, s.length, 4);
    if (s.length > 0)
        buffer_add(out, s.at, s.length);
}

static void
pack_key(struct buffer *out, const char *key)
{
    unsigned char head = (unsigned char)(0xa0 | strlen(key));
    buffer_add(out, &head, 1);
    buffer_text(out, key);
}

/* Every field there is; a new one is a row. */
struct row {
    const char *key;
    char        type;       /* n number, t text, b bool */
    size_t      offset;
};

static const struct row rows[] = {
    {"k", 'n', offsetof(struct wire_frame, kind)},
    {"v", 'n', offsetof(struct wire_frame, version)},
    {"pe", 'n', offsetof(struct wire_frame, pe)},
    {"ce", 'n', offsetof(struct wire_frame, ce)},
    {"replica", 'n', offsetof(struct wire_frame, replica)},
    {"link", 'n', offsetof(struct wire_frame, link)},
    {"creplica", 'n', offsetof(struct wire_frame, consumer_replica)},
    {"gen", 'n', offsetof(struct wire_frame, generation)},
    {"head", 'n', offsetof(struct wire_frame, head)},
    {"low", 'n', offsetof(struct wire_frame, low)},
    {"upto", 'n', offsetof(struct wire_frame, upto)},
    {"bytes", 'n', offsetof(struct wire_frame, bytes)},
    {"pos", 'n', offsetof(struct wire_frame, position)},
    {"last", 'n', offsetof(struct wire_frame, last)},
    {"token", 'n', offsetof(struct wire_frame, token)},
    {"ended", 'b', offsetof(struct wire_frame, ended)},
    {"end", 'b', offsetof(struct wire_frame, end)},
    {"run", 't', offsetof(struct wire_frame, run)},
    {"node", 't', offsetof(struct wire_frame, node)},
    {"consumer", 't', offsetof(struct wire_frame, consumer)},
    {"why", 't', offsetof(struct wire_frame, why)},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static bool
row_given(const struct wire_frame *f, const struct row *r)
{
    const char *at = (const char *)f + r->offset;
    if (r->type == 'n')
        return *(const uint64_t *)at != 0;
    if (r->type == 'b')
        return *(const bool *)at;
    return ((const struct span *)at)->length > 0;
}

static void
pack_row(struct buffer *out, const struct wire_frame *f, const struct row *r)
{
    const char *at = (const char *)f + r->offset;
    unsigned char yes = 0xc3;
    pack_key(out, r->key);
    if (r->type == 'n')
        pack_u64(out, *(const uint64_t *)at);
    else if (r->type == 'b')
        buffer_add(out, &yes, 1);
    else
        pack_text(out, *(const struct span *)at);
}

void
wire_write(const struct wire_frame *f, struct buffer *out)
{
    size_t count = f->ranges.count > 0;
    for (size_t i = 0; i < ROWS; i++)
        count += row_given(f, &rows[i]);
    pack_big(out, 0xde, count, 2);
    for (size_t i = 0; i < ROWS; i++)
        if (row_given(f, &rows[i]))
            pack_row(out, f, &rows[i]);
    if (f->ranges.count > 0) {
        pack_key(out, "ranges");
        pack_big(out, 0xdd, (uint64_t)f->ranges.count * 2, 4);
        for (int64_t i = 0; i < f->ranges.count; i++) {
            pack_u64(out, f->ranges.at[i].start);
            pack_u64(out, f->ranges.at[i].end);
        }
    }
}

size_t
wire_data_begin(uint64_t pe, uint64_t ce, struct buffer *out)
{
    unsigned char map = 0x84;
    buffer_add(out, &map, 1);
    pack_key(out, "k");
    pack_u64(out, WIRE_data);
    pack_key(out, "pe");
    pack_u64(out, pe);
    pack_key(out, "ce");
    pack_u64(out, ce);
    pack_key(out, "recs");
    pack_big(out, 0xdd, 0, 4);          /* the count is known at the end */
    return out->length - 4;
}

void
wire_data_add(const struct record *r, struct buffer *out)
{
    unsigned char array = 0x96, nil = 0xc0;
    buffer_reserve(out, r->body.length + r->reason.length + 64);
    buffer_add(out, &array, 1);
    pack_u64(out, r->seq);
    pack_u64(out, r->ordinal);
    pack_u64(out, r->first);
    pack_u64(out, r->size);
    if (r->reason.at)
        pack_text(out, r->reason);
    else
        buffer_add(out, &nil, 1);
    pack_bin(out, r->body);
}

void
wire_data_end(size_t begin, int64_t count, struct buffer *out)
{
    for (int i = 0; i < 4; i++)
        out->at[begin + (size_t)i] = (char)(count >> (24 - 8 * i));
}

/* ---- unpacking: a cursor that stops at the first thing that is not what was asked for ---- */

struct cursor {
    const unsigned char *at, *end;
    bool                 bad;
};

static uint64_t
big(struct cursor *c, int bytes)
{
    uint64_t v = 0;
    if (c->bad || c->end - c->at < bytes) {
        c->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v = v << 8 | *c->at++;
    return v;
}

static uint64_t
read_u64(struct cursor *c)
{
    uint64_t type = big(c, 1);
    if (type < 128)
        return type;
    if (type >= 0xcc && type <= 0xcf)
        return big(c, 1 << (type - 0xcc));
    c->bad = true;
    return 0;
}

static struct span
take_bytes(struct cursor *c, uint64_t length)
{
    if (c->bad || (uint64_t)(c->end - c->at) < length) {
        c->bad = true;
        return span_of("", 0);
    }
    struct span s = span_of(c->at, length);
    c->at += length;
    return s;
}

static struct span
read_text(struct cursor *c)
{
    uint64_t type = big(c, 1);
    if (type >= 0xa0 && type <= 0xbf)
        return take_bytes(c, type & 31);
    if (type >= 0xd9 && type <= 0xdb)
        return take_bytes(c, big(c, 1 << (type - 0xd9)));
    c->bad = true;
    return span_of("", 0);
}

static struct span
read_bin(struct cursor *c)
{
    uint64_t type = big(c, 1);
    if (type >= 0xc4 && type <= 0xc6)
        return take_bytes(c, big(c, 1 << (type - 0xc4)));
    c->bad = true;
    return span_of("", 0);
}

static uint64_t
read_array(struct cursor *c)
{
    uint64_t type = big(c, 1);
    if (type >= 0x90 && type <= 0x9f)
        return type & 15;
    if (type == 0xdc || type == 0xdd)
        return big(c, type == 0xdc ? 2 : 4);
    c->bad = true;
    return 0;
}

static uint64_t
read_map(struct cursor *c)
{
    uint64_t type = big(c, 1);
    if (type >= 0x80 && type <= 0x8f)
        return type & 15;
    if (type == 0xde || type == 0xdf)
        return big(c, type == 0xde ? 2 : 4);
    c->bad = true;
    return 0;
}

static void
read_row(struct cursor *c, struct wire_frame *f, const struct row *r)
{
    char *at = (char *)f + r->offset;
    if (r->type == 'n') {
        *(uint64_t *)at = read_u64(c);
    } else if (r->type == 'b') {
        uint64_t v = big(c, 1);
        c->bad |= v != 0xc2 && v != 0xc3;
        *(bool *)at = v == 0xc3;
    } else {
        *(struct span *)at = read_text(c);
    }
}

static void
read_ranges(struct cursor *c, struct wire_frame *f)
{
    uint64_t count = read_array(c), before = 0;
    if (count % 2 != 0 || count > 2 * WIRE_RANGES_MAX)
        c->bad = true;
    for (uint64_t i = 0; i < count && !c->bad; i += 2) {
        uint64_t start = read_u64(c), end = read_u64(c);
        if (start >= end || end > ORDINAL_MAX || (i > 0 && start < before))
            c->bad = true;
        else
            intervals_add(&f->ranges, start, end);
        before = end;
    }
}

int
wire_read(struct span bytes, struct wire_frame *f, struct error *e)
{
    *f = (struct wire_frame){.kind = WIRE_none};
    int rc = message_check(bytes, e);
    if (rc != 0)
        return error_set(e, ERROR_wire, "a frame of %zu bytes is not ours", bytes.length);
    struct cursor c = {(const unsigned char *)bytes.at, (const unsigned char *)bytes.at + bytes.length, false};
    uint64_t count = read_map(&c);
    for (uint64_t i = 0; i < count && !c.bad; i++) {
        struct span key = read_text(&c);
        size_t r = 0;
        while (r < ROWS && !span_is(key, rows[r].key))
            r++;
        if (r < ROWS) {
            read_row(&c, f, &rows[r]);
        } else if (span_is(key, "ranges") && f->ranges.count == 0) {
            read_ranges(&c, f);
        } else if (span_is(key, "recs") && i == count - 1) {
            f->record_count = (int64_t)read_array(&c);
            f->records = span_of(c.at, (size_t)(c.end - c.at));
            c.at = c.end;
        } else {
            c.bad = true;
        }
    }
    if (c.bad || c.at != c.end || f->kind == WIRE_none || f->kind >= WIRE_kinds)
        return error_set(e, ERROR_wire, "a frame of %zu bytes is not ours", bytes.length);
    return 0;
}

void
wire_free(struct wire_frame *f)
{
    intervals_free(&f->ranges);
}

int
wire_next(struct wire_frame *f, struct record *r, struct error *e)
{
    struct cursor c = {(const unsigned char *)f->records.at,
                       (const unsigned char *)f->records.at + f->records.length, false};
    if (f->record_count == 0)
        return f->records.length == 0 ? 0 : error_set(e, ERROR_wire, "bytes after the records of a frame");
    uint64_t fields = read_array(&c);
    *r = (struct record){.seq = read_u64(&c)};
    r->ordinal = read_u64(&c);
    r->first = read_u64(&c);
    uint64_t size = read_u64(&c);
    if (c.at < c.end && *c.at == 0xc0)
        c.at++;
    else
        r->reason = read_text(&c);
    r->body = read_bin(&c);
    r->size = (uint32_t)size;
    if (c.bad || fields != 6 || size > UINT32_MAX)
        return error_set(e, ERROR_wire, "a record of a frame is malformed");
    f->record_count--;
    f->records = span_of(c.at, (size_t)(c.end - c.at));
    return 1;
}

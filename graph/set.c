/* set: rows of (set, start) -> end, merged at commit. */
#include "graph/set.h"

#include <string.h>

#define SET_KEY 12

static void
key_write(unsigned char key[SET_KEY], uint32_t id, uint64_t start)
{
    for (int i = 0; i < 4; i++)
        key[i] = (unsigned char)(id >> (24 - 8 * i));
    store_u64(key + 4, start);
}

static bool
key_read(struct span key, struct span value, uint32_t id, struct interval *out)
{
    unsigned char want[SET_KEY];
    if (key.length != SET_KEY || value.length != 8)
        return false;
    key_write(want, id, 0);
    if (memcmp(want, key.at, 4) != 0)
        return false;
    out->start = store_read_u64(key.at + 4);
    out->end = store_read_u64(value.at);
    return true;
}

/* The row with the greatest start <= v. */
static bool
row_below(struct store *store, uint32_t id, uint64_t v, struct interval *out)
{
    unsigned char key[SET_KEY];
    struct span found, value;
    key_write(key, id, v);
    return store_floor(store, TABLE_sets, span_of(key, SET_KEY), &found, &value) &&
           key_read(found, value, id, out);
}

void
set_open(struct set *s, struct store *store, enum set_kind kind, unsigned which)
{
    struct interval row;
    *s = (struct set){.store = store, .id = (uint32_t)kind << 16 | which};
    if (row_below(store, s->id, 0, &row))
        s->low = row.end;
    if (row_below(store, s->id, UINT64_MAX, &row))
        s->top = row.end;
}

void
set_close(struct set *s)
{
    intervals_free(&s->pending);
}

bool
set_has(struct set *s, uint64_t v)
{
    struct interval row;
    if (v >= s->top)
        return false;
    if (v < s->low || intervals_has(&s->pending, v))
        return true;
    return row_below(s->store, s->id, v, &row) && v < row.end;
}

void
set_add(struct set *s, uint64_t start, uint64_t end)
{
    struct interval row;
    if (start >= end || end <= s->low)
        return;
    intervals_add(&s->pending, start, end);
    if (end > s->top)
        s->top = end;
    while (s->low < s->top) {               /* does the front move? */
        uint64_t to = intervals_gap(&s->pending, s->low);
        if (to < s->top && row_below(s->store, s->id, to, &row) && row.end > to)
            to = row.end;
        if (to == s->low)
            break;
        s->low = to;
    }
}

struct absorb {
    uint32_t         id;
    struct interval *into;
    struct buffer    gone;      /* starts, u64 each */
};

static bool
absorb_row(void *own, struct span key, struct span value)
{
    struct absorb *a = own;
    struct interval row;
    if (!key_read(key, value, a->id, &row) || row.start > a->into->end)
        return false;
    if (row.end > a->into->end)
        a->into->end = row.end;
    buffer_add(&a->gone, &row.start, sizeof(row.start));
    return true;
}

static void
merge(struct set *s, struct interval into)
{
    unsigned char key[SET_KEY], value[8];
    struct interval row;
    struct absorb a = {.id = s->id, .into = &into};
    if (row_below(s->store, s->id, into.start, &row) && row.end >= into.start) {
        into.start = row.start;
        into.end = row.end > into.end ? row.end : into.end;
    }
    key_write(key, s->id, into.start + 1);
    store_scan(s->store, TABLE_sets, span_of(key, SET_KEY), absorb_row, &a);
    for (size_t i = 0; i < a.gone.length; i += sizeof(uint64_t)) {
        uint64_t start;
        memcpy(&start, a.gone.at + i, sizeof(start));
        key_write(key, s->id, start);
        store_delete(s->store, TABLE_sets, span_of(key, SET_KEY));
    }
    buffer_free(&a.gone);
    key_write(key, s->id, into.start);
    store_u64(value, into.end);
    store_put(s->store, TABLE_sets, span_of(key, SET_KEY), span_of(value, 8));
}

void
set_flush(struct set *s)
{
    for (int64_t i = 0; i < s->pending.count; i++)
        merge(s, s->pending.at[i]);
    intervals_clear(&s->pending);
}

struct rows {
    uint32_t id;
    uint64_t from;
    bool (*visit)(void *own, uint64_t start, uint64_t end);
    void *own;
};

static bool
rows_visit(void *own, struct span key, struct span value)
{
    struct rows *r = own;
    struct interval row;
    if (!key_read(key, value, r->id, &row))
        return false;
    return row.end <= r->from || r->visit(r->own, row.start, row.end);
}

void
set_rows(struct store *store, enum set_kind kind, unsigned which, uint64_t from,
         bool (*visit)(void *own, uint64_t start, uint64_t end), void *own)
{
    unsigned char key[SET_KEY];
    struct interval row;
    struct rows r = {(uint32_t)kind << 16 | which, from, visit, own};
    uint64_t start = row_below(store, r.id, from, &row) ? row.start : from;
    key_write(key, r.id, start);
    store_scan(store, TABLE_sets, span_of(key, SET_KEY), rows_visit, &r);
}

struct read {
    struct intervals *out;
    int64_t           left;
    bool              all;
};

static bool
read_visit(void *own, uint64_t start, uint64_t end)
{
    struct read *r = own;
    if (r->left-- <= 0) {
        r->all = false;
        return false;
    }
    intervals_add(r->out, start, end);
    return true;
}

bool
set_read(struct store *store, enum set_kind kind, unsigned which, uint64_t from, int64_t most,
         struct intervals *out)
{
    struct read r = {out, most, true};
    set_rows(store, kind, which, from, read_visit, &r);
    return r.all;
}

/* cache: rows by key, and the order in which they came. */
#include "nodes/remote/cache.h"

#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "nodes/remote/shared.h"

#define CACHE_VERSION   1
#define PACK_LEAST      512       /* bytes of a body worth packing */
#define PACK_LEVEL      1
#define PRUNE_ROWS      256       /* deleted in one transaction */
#define SCAN_ROWS       256       /* visited in one look */
#define WAITING_MAX     (8 << 20) /* bytes that wait in memory; further answers are not kept */

enum { META, ANSWERS, ORDER };
static const char *const table_names[] = {"meta", "answers", "order", NULL};
static const char state_key[] = "state";

struct state {
    int64_t answers, bytes;
    uint64_t next; /* number of the next row: the order in which they came */
};

/* What stands before the model's name and the body. */
struct row {
    uint64_t number, body_length, tokens_in, tokens_out, payer, ordinal;
    int64_t money, time;
    uint32_t model_length, packed;
};

struct cache {
    struct shared shared;
    ZSTD_CCtx *packer;
    struct buffer waiting; /* cells: key, length, row, model, body */
    struct buffer body;    /* of the answer last found */
    struct buffer copy;    /* its model, and its packed body */
};

struct cell {
    struct cache_key key;
    uint64_t length; /* of the value that follows */
};

void
cache_key(const char *path, uint64_t sample, struct span more, struct span request,
          struct cache_key *key)
{
    crypto_generichash_state state;
    struct span parts[3] = {span_text(path), more, request};

    crypto_generichash_init(&state, NULL, 0, CACHE_KEY_BYTES);
    crypto_generichash_update(&state, (const unsigned char *)&sample, sizeof(sample));
    for (int i = 0; i < 3; i++) { /* lengths first, so that no two questions read the same */
        uint64_t length = parts[i].length;
        crypto_generichash_update(&state, (const unsigned char *)&length, sizeof(length));
        crypto_generichash_update(&state, (const unsigned char *)(length ? parts[i].at : ""),
                                  length);
    }
    crypto_generichash_final(&state, key->at, CACHE_KEY_BYTES);
}

struct cache *
cache_open(const char *folder, struct error *e)
{
    struct cache *c = xalloc(sizeof(*c));

    if (shared_open(&c->shared, folder, table_names, CACHE_VERSION, e) != 0) {
        free(c);
        return NULL;
    }
    c->packer = ZSTD_createCCtx();
    (void)!sodium_init(); /* chooses this machine's fastest; without it the plain one serves */
    return c;
}

void
cache_close(struct cache *c)
{
    if (!c)
        return;
    shared_close(&c->shared);
    ZSTD_freeCCtx(c->packer);
    buffer_free(&c->waiting);
    buffer_free(&c->body);
    buffer_free(&c->copy);
    free(c);
}

/* ---- one row ---- */

static bool
row_read(struct span value, struct row *r, struct span *model, struct span *packed)
{
    if (value.length < sizeof(*r))
        return false;
    memcpy(r, value.at, sizeof(*r));
    if (r->model_length > CACHE_MODEL_MAX || r->model_length > value.length - sizeof(*r) ||
        r->body_length > (uint64_t)CACHE_BODY_MAX || r->packed > 1)
        return false;
    *model = span_of(value.at + sizeof(*r), r->model_length);
    *packed = span_of(model->at + model->length, value.length - sizeof(*r) - r->model_length);
    return r->packed || packed->length == r->body_length;
}

static bool
answer_read(struct cache *c, struct span value, struct cache_answer *out)
{
    struct row r;
    struct span model, packed;

    if (!row_read(value, &r, &model, &packed))
        return false;
    buffer_clear(&c->body);
    buffer_reserve(&c->body, r.body_length + 1);
    if (r.packed) {
        size_t n = ZSTD_decompress(c->body.at, r.body_length, packed.at, packed.length);
        if (ZSTD_isError(n) || n != r.body_length)
            return false;
        c->body.length = n;
    } else {
        buffer_add(&c->body, packed.at, packed.length);
    }
    buffer_clear(&c->copy);
    buffer_add(&c->copy, model.at, model.length);
    *out = (struct cache_answer){buffer_span(&c->copy), buffer_span(&c->body), r.tokens_in,
                                 r.tokens_out,          r.money,               r.time,
                                 r.payer,               r.ordinal};
    return true;
}

static struct span
waiting_find(const struct cache *c, const struct cache_key *key)
{
    struct cell cell;

    for (size_t at = 0; at < c->waiting.length; at += sizeof(cell) + cell.length) {
        memcpy(&cell, c->waiting.at + at, sizeof(cell));
        if (memcmp(&cell.key, key, sizeof(*key)) == 0)
            return span_of(c->waiting.at + at + sizeof(cell), cell.length);
    }
    return span_of(NULL, 0);
}

bool
cache_find(struct cache *c, const struct cache_key *key, struct cache_answer *out)
{
    MDB_val k = {sizeof(*key), (void *)key}, v;
    struct span waits = waiting_find(c, key);
    MDB_txn *txn;
    bool found;

    if (waits.at)
        return answer_read(c, waits, out);
    if (shared_look(&c->shared, &txn, NULL) != 0)
        return false;
    found = mdb_get(txn, c->shared.tables[ANSWERS], &k, &v) == 0 &&
            answer_read(c, span_of(v.mv_data, v.mv_size), out);
    shared_looked(&c->shared);
    return found;
}

void
cache_put(struct cache *c, const struct cache_key *key, const struct cache_answer *a)
{
    struct row r = {.body_length = a->body.length,
                    .tokens_in = a->tokens_in,
                    .tokens_out = a->tokens_out,
                    .payer = a->payer,
                    .ordinal = a->ordinal,
                    .money = a->money,
                    .time = a->time,
                    .model_length = (uint32_t)a->model.length};
    struct cell cell = {.key = *key};
    size_t at = c->waiting.length, room = ZSTD_compressBound(a->body.length);

    if (a->model.length > CACHE_MODEL_MAX || a->body.length > (size_t)CACHE_BODY_MAX ||
        (at > 0 && at + a->body.length > WAITING_MAX) || waiting_find(c, key).at)
        return;
    buffer_add(&c->waiting, &cell, sizeof(cell));
    buffer_add(&c->waiting, &r, sizeof(r));
    buffer_add(&c->waiting, a->model.at, a->model.length);
    if (a->body.length >= PACK_LEAST && c->packer) {
        buffer_reserve(&c->waiting, room);
        size_t n = ZSTD_compressCCtx(c->packer, c->waiting.at + c->waiting.length, room,
                                     a->body.at, a->body.length, PACK_LEVEL);
        r.packed = !ZSTD_isError(n) && n < a->body.length;
        if (r.packed)
            c->waiting.length += n;
    }
    if (!r.packed)
        buffer_add(&c->waiting, a->body.at, a->body.length);
    cell.length = c->waiting.length - at - sizeof(cell);
    memcpy(c->waiting.at + at, &cell, sizeof(cell));
    memcpy(c->waiting.at + at + sizeof(cell), &r, sizeof(r));
}

/* ---- writing ---- */

static int
state_get(struct cache *c, MDB_txn *txn, struct state *state)
{
    MDB_val k = {sizeof(state_key) - 1, (void *)state_key}, v;
    int rc = mdb_get(txn, c->shared.tables[META], &k, &v);

    *state = (struct state){0};
    if (rc == 0 && v.mv_size == sizeof(*state))
        memcpy(state, v.mv_data, sizeof(*state));
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
state_put(struct cache *c, MDB_txn *txn, const struct state *state)
{
    MDB_val k = {sizeof(state_key) - 1, (void *)state_key};
    MDB_val v = {sizeof(*state), (void *)state};

    return mdb_put(txn, c->shared.tables[META], &k, &v, 0);
}

static void
number_write(unsigned char at[8], uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        at[i] = (unsigned char)v;
}

static uint64_t
number_read(const void *from)
{
    const unsigned char *at = from;
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | at[i];
    return v;
}

static int64_t
row_bytes(size_t value)
{
    return (int64_t)(value + 2 * CACHE_KEY_BYTES + 8);
}

static int
row_put(struct cache *c, MDB_txn *txn, struct state *state, const struct cell *cell,
        const char *value)
{
    unsigned char order[8];
    MDB_val k = {CACHE_KEY_BYTES, (void *)&cell->key}, v = {cell->length, NULL}, o = {8, order};
    int rc = mdb_put(txn, c->shared.tables[ANSWERS], &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);

    if (rc == MDB_KEYEXIST)
        return 0;
    if (rc != 0)
        return rc;
    memcpy(v.mv_data, value, cell->length);
    memcpy((char *)v.mv_data + offsetof(struct row, number), &state->next, sizeof(state->next));
    number_write(order, state->next++);
    state->answers++;
    state->bytes += row_bytes(cell->length);
    k = (MDB_val){CACHE_KEY_BYTES, (void *)&cell->key};
    return mdb_put(txn, c->shared.tables[ORDER], &o, &k, MDB_APPEND);
}

/* Deletes the oldest row if it has to go. -> 1 it went, 0 it stays or there is none, or LMDB's code
 * as a negative number. */
static int
oldest_delete(struct cache *c, MDB_txn *txn, struct state *state, int64_t bytes, int64_t before,
              struct cache_sums *gone)
{
    MDB_cursor *cursor;
    MDB_val order, key, value;
    struct cache_key copy = {{0}};
    struct row r = {0};
    bool goes = bytes >= 0 && state->bytes > bytes;
    int rc = mdb_cursor_open(txn, c->shared.tables[ORDER], &cursor);

    if (rc != 0)
        return -abs(rc);
    rc = mdb_cursor_get(cursor, &order, &key, MDB_FIRST);
    if (rc == 0) {
        if (key.mv_size == sizeof(copy))
            memcpy(&copy, key.mv_data, sizeof(copy));
        key = (MDB_val){sizeof(copy), &copy};
        rc = mdb_get(txn, c->shared.tables[ANSWERS], &key, &value);
        if (rc == 0 && value.mv_size >= sizeof(r))
            memcpy(&r, value.mv_data, sizeof(r));
        if (rc == MDB_NOTFOUND) { /* an order without a row: only damage makes one */
            value.mv_size = 0;
            goes = true;
            rc = 0;
        }
    }
    if (rc == 0 && (goes || r.time < before)) {
        int64_t size = value.mv_size ? row_bytes(value.mv_size) : 0;
        rc = value.mv_size ? mdb_del(txn, c->shared.tables[ANSWERS], &key, NULL) : 0;
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
        state->answers -= size > 0;
        state->bytes -= size;
        gone->answers += size > 0;
        gone->bytes += size;
        goes = true;
    } else {
        goes = false;
    }
    mdb_cursor_close(cursor);
    return rc == 0 ? goes : rc == MDB_NOTFOUND ? 0 : -abs(rc);
}

static int
forget_in(struct cache *c, MDB_txn *txn, const struct cache_key *key)
{
    unsigned char order[8];
    MDB_val k = {sizeof(*key), (void *)key}, v, o = {8, order};
    struct state state;
    uint64_t number;
    int rc = state_get(c, txn, &state);

    if (rc == 0)
        rc = mdb_get(txn, c->shared.tables[ANSWERS], &k, &v);
    if (rc != 0)
        return rc;
    if (v.mv_size >= sizeof(struct row)) {
        memcpy(&number, (char *)v.mv_data + offsetof(struct row, number), sizeof(number));
        number_write(order, number);
        rc = mdb_del(txn, c->shared.tables[ORDER], &o, NULL);
    }
    state.answers--;
    state.bytes -= row_bytes(v.mv_size);
    if (rc == 0 || rc == MDB_NOTFOUND)
        rc = mdb_del(txn, c->shared.tables[ANSWERS], &k, NULL);
    return rc == 0 ? state_put(c, txn, &state) : rc;
}

void
cache_forget(struct cache *c, const struct cache_key *key)
{
    MDB_txn *txn;

    if (cache_flush(c, CACHE_BYTES_MAX, NULL) != 0 || shared_begin(&c->shared, &txn, NULL) != 0)
        return;
    if (forget_in(c, txn, key) == 0)
        shared_commit(&c->shared, txn, NULL);
    else
        mdb_txn_abort(txn);
}

static int
prune_in(struct cache *c, MDB_txn *txn, struct state *state, int64_t bytes, int64_t before,
         struct cache_sums *gone)
{
    int rc = 1;

    for (int i = 0; i < PRUNE_ROWS && rc == 1; i++)
        rc = oldest_delete(c, txn, state, bytes, before, gone);
    return rc;
}

/* LMDB's own codes are negative, those of the system positive; oldest_delete makes all negative. */
static int
code_of(int rc)
{
    return -rc < 4096 ? -rc : rc;
}

static int
flush_in(struct cache *c, MDB_txn *txn, int64_t limit)
{
    struct state state;
    struct cache_sums gone = {0};
    struct cell cell;
    int rc = state_get(c, txn, &state);

    for (size_t at = 0; at < c->waiting.length && rc == 0; at += sizeof(cell) + cell.length) {
        memcpy(&cell, c->waiting.at + at, sizeof(cell));
        if (row_bytes(cell.length) <= limit) /* else it would push out all the others */
            rc = row_put(c, txn, &state, &cell, c->waiting.at + at + sizeof(cell));
    }
    if (rc == 0) {
        rc = prune_in(c, txn, &state, limit, INT64_MIN, &gone);
        rc = rc < 0 ? code_of(rc) : 0;
    }
    return rc == 0 ? state_put(c, txn, &state) : rc;
}

int
cache_flush(struct cache *c, int64_t limit, struct error *e)
{
    MDB_txn *txn;
    int rc, code;

    if (c->waiting.length == 0)
        return 0;
    rc = shared_begin(&c->shared, &txn, e);
    if (rc == 0) {
        code = flush_in(c, txn, limit);
        if (code != 0) {
            mdb_txn_abort(txn);
            rc = shared_error(&c->shared, code, "write", e);
        } else {
            rc = shared_commit(&c->shared, txn, e);
        }
    }
    buffer_clear(&c->waiting);
    return rc;
}

int
cache_prune(struct cache *c, int64_t bytes, int64_t before, struct cache_sums *gone,
            struct error *e)
{
    int rc = 0, more = 1;

    *gone = (struct cache_sums){0};
    while (rc == 0 && more == 1) {
        struct state state;
        MDB_txn *txn;
        rc = shared_begin(&c->shared, &txn, e);
        if (rc != 0)
            return rc;
        int code = state_get(c, txn, &state);
        if (code == 0) {
            more = prune_in(c, txn, &state, bytes, before, gone);
            code = more < 0 ? code_of(more) : state_put(c, txn, &state);
        }
        if (code != 0) {
            mdb_txn_abort(txn);
            return shared_error(&c->shared, code, "prune", e);
        }
        rc = shared_commit(&c->shared, txn, e);
    }
    return rc;
}

/* ---- looking ---- */

int
cache_sums(struct cache *c, struct cache_sums *sums, struct error *e)
{
    struct state state;
    MDB_txn *txn;
    int rc = shared_look(&c->shared, &txn, e), code;

    *sums = (struct cache_sums){0};
    if (rc != 0)
        return rc;
    code = state_get(c, txn, &state);
    shared_looked(&c->shared);
    if (code != 0)
        return shared_error(&c->shared, code, "read", e);
    *sums = (struct cache_sums){state.answers, state.bytes};
    return 0;
}

/* Up to SCAN_ROWS rows from number *from on. -> 1 there may be more, 0 no more, or a code. */
static int
scan_some(struct cache *c, MDB_txn *txn, uint64_t *from,
          bool (*visit)(void *own, const struct cache_key *key, const struct cache_answer *a,
                        int64_t bytes),
          void *own)
{
    unsigned char at[8];
    MDB_val order = {8, at}, key, value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, c->shared.tables[ORDER], &cursor), left = SCAN_ROWS;

    if (rc != 0)
        return -abs(rc);
    number_write(at, *from);
    rc = mdb_cursor_get(cursor, &order, &key, MDB_SET_RANGE);
    for (; rc == 0 && left > 0; left--) {
        struct cache_answer a;
        struct cache_key k;
        if (order.mv_size == 8)
            *from = number_read(order.mv_data) + 1;
        if (key.mv_size == sizeof(k) &&
            mdb_get(txn, c->shared.tables[ANSWERS], &key, &value) == 0 &&
            answer_read(c, span_of(value.mv_data, value.mv_size), &a)) {
            memcpy(&k, key.mv_data, sizeof(k));
            if (!visit(own, &k, &a, row_bytes(value.mv_size))) {
                mdb_cursor_close(cursor);
                return 0;
            }
        }
        rc = mdb_cursor_get(cursor, &order, &key, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 ? 1 : rc == MDB_NOTFOUND ? 0 : -abs(rc);
}

int
cache_scan(struct cache *c,
           bool (*visit)(void *own, const struct cache_key *key, const struct cache_answer *a,
                         int64_t bytes),
           void *own, struct error *e)
{
    uint64_t from = 0;
    int more = 1;

    while (more == 1) {
        MDB_txn *txn;
        int rc = shared_look(&c->shared, &txn, e);
        if (rc != 0)
            return rc;
        more = scan_some(c, txn, &from, visit, own);
        shared_looked(&c->shared);
    }
    return more == 0 ? 0 : shared_error(&c->shared, code_of(more), "read", e);
}

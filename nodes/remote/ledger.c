/* ledger: one row of sums, one row for each replica, one for each model. */
#include "nodes/remote/ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/remote/shared.h"

#define LEDGER_VERSION 1
#define TOKENS_MAX     1000000000000LL /* of one answer; a server that says more is not believed */

enum { META, ASIDE, MODELS };
static const char *const table_names[] = {"meta", "aside", "models", NULL};
static const char sums_key[] = "sums";

struct aside_row { /* by replica */
    uint64_t epoch;
    struct amount aside;
};

/* What waits in memory for one model. */
struct owed {
    char *model;
    struct ledger_row row;
};

struct ledger {
    struct shared shared;
    MDB_txn *txn; /* between begin and commit */
    uint32_t replica;
    uint64_t epoch;
    struct ledger_sums sums;    /* as last read, `change` included */
    struct ledger_sums change;  /* not yet written */
    struct amount aside;        /* ours, as it is to be written */
    bool dirty;
    int owed_count;
    struct owed owed[LEDGER_MODELS_MAX];
    int failed;                 /* of the open transaction */
};

/* Counts come from servers and from disks: a sum that does not fit stays at the end. */
static int64_t
sum(int64_t a, int64_t b)
{
    int64_t out;

    if (!__builtin_add_overflow(a, b, &out))
        return out;
    return a > 0 ? INT64_MAX : INT64_MIN;
}

static struct amount
plus(struct amount a, struct amount b)
{
    return (struct amount){sum(a.money, b.money), sum(a.tokens, b.tokens)};
}

static struct amount
negative(const struct amount *a)
{
    return (struct amount){-a->money, -a->tokens};
}

static void
sums_add(struct ledger_sums *to, const struct ledger_sums *by)
{
    to->spent = plus(to->spent, by->spent);
    to->aside = plus(to->aside, by->aside);
    to->lost = plus(to->lost, by->lost);
    to->calls = sum(to->calls, by->calls);
}

/* ---- rows ---- */

/* A row of another length is none: it reads as zero. */
static int
row_get(MDB_txn *txn, MDB_dbi table, MDB_val key, void *out, size_t length)
{
    MDB_val value;
    int rc = mdb_get(txn, table, &key, &value);

    memset(out, 0, length);
    if (rc == 0 && value.mv_size == length)
        memcpy(out, value.mv_data, length);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
row_put(MDB_txn *txn, MDB_dbi table, MDB_val key, const void *row, size_t length)
{
    MDB_val value = {length, (void *)row};

    return mdb_put(txn, table, &key, &value, 0);
}

static MDB_val
key_sums(void)
{
    return (MDB_val){sizeof(sums_key) - 1, (void *)sums_key};
}

static MDB_val
key_replica(struct ledger *l)
{
    return (MDB_val){sizeof(l->replica), &l->replica};
}

/* ---- one transaction ---- */

static int
models_write(struct ledger *l)
{
    int rc = 0;

    for (int i = 0; i < l->owed_count && rc == 0; i++) {
        struct owed *o = &l->owed[i];
        MDB_val key = {strlen(o->model), o->model};
        struct ledger_row row;
        rc = row_get(l->txn, l->shared.tables[MODELS], key, &row, sizeof(row));
        if (rc != 0)
            break;
        row.spent = plus(row.spent, o->row.spent);
        row.tokens_in = sum(row.tokens_in, o->row.tokens_in);
        row.tokens_out = sum(row.tokens_out, o->row.tokens_out);
        row.calls = sum(row.calls, o->row.calls);
        rc = row_put(l->txn, l->shared.tables[MODELS], key, &row, sizeof(row));
    }
    return rc;
}

static void
owed_clear(struct ledger *l)
{
    for (int i = 0; i < l->owed_count; i++)
        free(l->owed[i].model);
    l->owed_count = 0;
}

int
ledger_begin(struct ledger *l, struct error *e)
{
    int rc;

    assert(!l->txn);
    rc = shared_begin(&l->shared, &l->txn, e);
    if (rc != 0)
        return rc;
    l->failed = row_get(l->txn, l->shared.tables[META], key_sums(), &l->sums, sizeof(l->sums));
    sums_add(&l->sums, &l->change);
    return 0;
}

int
ledger_commit(struct ledger *l, struct error *e)
{
    struct aside_row row = {l->epoch, l->aside};
    MDB_txn *txn = l->txn;
    int rc = l->failed;

    assert(txn);
    if (rc == 0 && !l->dirty) {
        mdb_txn_abort(txn);
        l->txn = NULL;
        return 0;
    }
    if (rc == 0)
        rc = row_put(txn, l->shared.tables[META], key_sums(), &l->sums, sizeof(l->sums));
    if (rc == 0)
        rc = row_put(txn, l->shared.tables[ASIDE], key_replica(l), &row, sizeof(row));
    if (rc == 0)
        rc = models_write(l);
    l->txn = NULL;
    if (rc != 0) {
        mdb_txn_abort(txn);
        return shared_error(&l->shared, rc, "write", e);
    }
    rc = shared_commit(&l->shared, txn, e);
    if (rc == 0) {
        l->change = (struct ledger_sums){0};
        owed_clear(l);
        l->dirty = false;
    }
    return rc;
}

/* ---- opening ---- */

/* A new incarnation: what the last one left set aside is lost. */
static int
take_over(struct ledger *l, struct error *e)
{
    struct aside_row old;
    int rc = ledger_begin(l, e);

    if (rc != 0)
        return rc;
    if (l->failed == 0)
        l->failed =
            row_get(l->txn, l->shared.tables[ASIDE], key_replica(l), &old, sizeof(old));
    if (l->failed == 0) {
        l->epoch = old.epoch + 1;
        l->aside = old.aside;
        l->dirty = true;
        ledger_lose(l, &old.aside);
    }
    return ledger_commit(l, e);
}

struct ledger *
ledger_open(const char *folder, int replica, struct error *e)
{
    struct ledger *l = xalloc(sizeof(*l));
    int rc;

    l->replica = (uint32_t)replica;
    rc = shared_open(&l->shared, folder, table_names, LEDGER_VERSION, e);
    if (rc == 0)
        rc = take_over(l, e);
    if (rc == 0)
        return l;
    shared_close(&l->shared);
    free(l);
    return NULL;
}

void
ledger_close(struct ledger *l)
{
    struct amount left;

    if (!l)
        return;
    if (l->txn)
        mdb_txn_abort(l->txn);
    l->txn = NULL;
    left = l->aside;
    if (left.money || left.tokens)
        ledger_lose(l, &left);
    ledger_flush(l, NULL); /* when it fails, the next incarnation does it */
    owed_clear(l);
    shared_close(&l->shared);
    free(l);
}

/* ---- reserving and settling ---- */

static void
change_add(struct ledger *l, const struct ledger_sums *by)
{
    sums_add(&l->sums, by);
    sums_add(&l->change, by);
    l->aside = plus(l->aside, by->aside);
    l->dirty = true;
}

static bool
fits(int64_t used, int64_t most, int64_t limit)
{
    return limit == LEDGER_NONE || (most <= limit && used <= limit - most);
}

bool
ledger_reserve(struct ledger *l, const struct amount *most, const struct amount *limit)
{
    struct amount used = plus(l->sums.spent, l->sums.aside);
    struct ledger_sums by = {.aside = *most};

    assert(l->txn && most->money >= 0 && most->tokens >= 0);
    if (l->failed != 0)
        return true; /* the commit will say so, and no call goes */
    if (!fits(used.money, most->money, limit->money) ||
        !fits(used.tokens, most->tokens, limit->tokens))
        return false;
    change_add(l, &by);
    return true;
}

static struct ledger_row *
owed_to(struct ledger *l, struct span model)
{
    for (int i = 0; i < l->owed_count; i++)
        if (span_is(model, l->owed[i].model))
            return &l->owed[i].row;
    if (l->owed_count == LEDGER_MODELS_MAX || model.length == 0 || model.length > 500)
        return NULL;
    l->owed[l->owed_count] = (struct owed){.model = span_copy(model)};
    return &l->owed[l->owed_count++].row;
}

static int64_t
tokens_of(uint64_t said)
{
    return said < TOKENS_MAX ? (int64_t)said : TOKENS_MAX;
}

void
ledger_settle(struct ledger *l, const struct amount *aside, struct span model, uint64_t tokens_in,
              uint64_t tokens_out, int64_t money)
{
    int64_t in = tokens_of(tokens_in), out = tokens_of(tokens_out);
    struct amount cost = {money, in + out};
    struct ledger_sums by = {.spent = cost, .aside = negative(aside), .calls = 1};
    struct ledger_row *row = owed_to(l, model);

    change_add(l, &by);
    if (!row)
        return;
    row->spent = plus(row->spent, cost);
    row->tokens_in = sum(row->tokens_in, in);
    row->tokens_out = sum(row->tokens_out, out);
    row->calls++;
}

void
ledger_lose(struct ledger *l, const struct amount *aside)
{
    struct ledger_sums by = {
        .spent = *aside, .aside = negative(aside), .lost = *aside};

    change_add(l, &by);
}

void
ledger_return(struct ledger *l, const struct amount *aside)
{
    struct ledger_sums by = {.aside = negative(aside)};

    change_add(l, &by);
}

int
ledger_flush(struct ledger *l, struct error *e)
{
    int rc;

    if (!l->dirty)
        return 0;
    rc = ledger_begin(l, e);
    return rc ? rc : ledger_commit(l, e);
}

/* ---- looking ---- */

const struct ledger_sums *
ledger_sums(const struct ledger *l)
{
    return &l->sums;
}

int
ledger_look(struct ledger *l, struct error *e)
{
    MDB_txn *txn;
    int rc = shared_look(&l->shared, &txn, e), code;

    if (rc != 0)
        return rc;
    code = row_get(txn, l->shared.tables[META], key_sums(), &l->sums, sizeof(l->sums));
    shared_looked(&l->shared);
    if (code != 0)
        return shared_error(&l->shared, code, "read", e);
    sums_add(&l->sums, &l->change);
    return 0;
}

static int
models_visit(MDB_txn *txn, MDB_dbi table,
             void (*visit)(void *own, struct span model, const struct ledger_row *row), void *own)
{
    MDB_val key, value;
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, table, &c);

    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
        struct ledger_row row;
        if (value.mv_size != sizeof(row))
            continue;
        memcpy(&row, value.mv_data, sizeof(row));
        visit(own, span_of(key.mv_data, key.mv_size), &row);
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int
ledger_read(const char *folder, struct ledger_sums *sums,
            void (*visit)(void *own, struct span model, const struct ledger_row *row), void *own,
            struct error *e)
{
    struct shared s;
    MDB_txn *txn;
    int code = 0, rc;

    *sums = (struct ledger_sums){0};
    if (!shared_exists(folder))
        return 0;
    rc = shared_open(&s, folder, table_names, LEDGER_VERSION, e);
    if (rc == 0)
        rc = shared_look(&s, &txn, e);
    if (rc == 0)
        code = row_get(txn, s.tables[META], key_sums(), sums, sizeof(*sums));
    if (rc == 0 && code == 0 && visit)
        code = models_visit(txn, s.tables[MODELS], visit, own);
    if (rc == 0 && code != 0)
        rc = shared_error(&s, code, "read", e);
    shared_close(&s);
    return rc;
}

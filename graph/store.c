/* store: LMDB with one writer. What can fail in the middle of a transaction is remembered and reported once,
 * by store_commit(); until then writes do nothing and reads find nothing, so callers need no error paths. */
#include "graph/store.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "graph/lock.h"
#include "graph/place.h"

#define STORE_LOCK_WAIT 2.0     /* seconds: a peek holds the lock for milliseconds */
#define STORE_READERS_WAITS 150 /* times that long while only readers hold it */
#define STORE_TIDY_SECONDS 5
#define STORE_NEARLY_FULL (1 << 20)  /* bytes free beyond what a commit needs */

static const char *const table_names[TABLE_out] = {
    "meta", "lane", "lanes", "feeds", "sets", "park", "state", "dead", "counts", "crash",
};

struct store {
    char        *path;
    struct lock  lock;
    MDB_env     *env;
    MDB_dbi      tables[STORE_TABLES];
    bool         have[STORE_TABLES];
    MDB_txn     *write;         /* NULL: nothing open */
    MDB_txn     *read;          /* snapshot of the last commit; reset when not `fresh` */
    bool         fresh;
    uint64_t     epoch;
    int64_t      bytes;
    int64_t      tidied;
    struct error error;         /* of the open transaction */
};

/* LMDB calls a write that the disk took only in part an I/O error. */
static bool
disk_is_full(struct store *s)
{
    struct statvfs v;
    return statvfs(s->path, &v) == 0 && (int64_t)v.f_bavail * (int64_t)v.f_frsize < s->bytes + STORE_NEARLY_FULL;
}

static int
lmdb_error(struct store *s, int rc, const char *doing, struct error *e)
{
    int code = ERROR_store;
    if (rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL || (rc == EIO && disk_is_full(s))) {
        code = ERROR_space;
        return error_set(e, code, "store '%s': %s: the disk or the quota is full", s->path, doing);
    }
    return error_set(e, code, "store '%s': %s: %s", s->path, doing, mdb_strerror(rc));
}

static void
remember(struct store *s, int rc, const char *doing)
{
    if (s->error.code == 0)
        lmdb_error(s, rc, doing, &s->error);
}

static MDB_val
value_of(struct span s)
{
    return (MDB_val){s.length, (void *)s.at};
}

/* ---- transactions ---- */

/* The snapshot of the last commit; NULL after an error. */
static MDB_txn *
snapshot(struct store *s)
{
    int rc = 0;
    if (s->fresh)
        return s->read;
    if (!s->read)
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->read);
    else
        rc = mdb_txn_renew(s->read);
    if (rc != 0) {
        remember(s, rc, "read");
        return NULL;
    }
    s->fresh = true;
    return s->read;
}

void
store_settle(struct store *s)
{
    if (s->fresh)
        mdb_txn_reset(s->read);
    s->fresh = false;
}

static MDB_txn *
writing(struct store *s)
{
    MDB_val value, key = {5, (void *)"epoch"};
    if (s->write || s->error.code != 0)
        return s->error.code != 0 ? NULL : s->write;
    int rc = mdb_txn_begin(s->env, NULL, 0, &s->write);
    if (rc != 0) {
        s->write = NULL;
        remember(s, rc, "begin");
        return NULL;
    }
    rc = mdb_get(s->write, s->tables[TABLE_meta], &key, &value);
    uint64_t epoch = rc == 0 && value.mv_size == 8 ? store_read_u64(value.mv_data) : 0;
    if (epoch != s->epoch) {
        error_set(&s->error, ERROR_fenced, "store '%s': epoch %llu is in it, ours is %llu", s->path,
                  (unsigned long long)epoch, (unsigned long long)s->epoch);
        return NULL;
    }
    s->bytes = 0;
    return s->write;
}

static MDB_txn *
reading(struct store *s)
{
    if (s->error.code != 0)
        return NULL;
    return s->write ? s->write : snapshot(s);
}

int
store_commit(struct store *s, struct error *e)
{
    int code = s->error.code;
    if (code != 0) {
        store_settle(s);
        if (s->write)
            mdb_txn_abort(s->write);
        s->write = NULL;
        return error_set(e, code, "%s", s->error.text);
    }
    if (!s->write)
        return 0;
    store_settle(s);
    int rc = mdb_txn_commit(s->write);      /* frees it, also when it fails */
    s->write = NULL;
    if (rc != 0) {
        remember(s, rc, "commit");
        return error_set(e, s->error.code, "%s", s->error.text);
    }
    s->bytes = 0;
    return 0;
}

void
store_tidy(struct store *s)
{
    struct timespec t;
    int dead;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (t.tv_sec - s->tidied < STORE_TIDY_SECONDS)
        return;
    s->tidied = t.tv_sec;
    mdb_reader_check(s->env, &dead);
}

bool
store_gone(const struct store *s)
{
    struct stat file;
    char *path = xprint("%s/data.mdb", store_path(s));
    bool gone = stat(path, &file) != 0 && errno == ENOENT;
    free(path);
    return gone;
}

/* ---- opening ---- */

/* LMDB reads pages by mmap(2): one that its file has lost would end the process by SIGBUS, the supervisor's and a reader's too.
 * A file cut short is filled up with nothing, which LMDB calls a damaged page. (The last pages of a transaction may never
 * have been written, when it freed them itself: that is a shorter file in good order.) */
static int
pages_complete(struct store *s, struct error *e)
{
    MDB_envinfo info;
    MDB_stat st;
    struct stat file;
    int fd;
    if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &st) != 0 || mdb_env_get_fd(s->env, &fd) != 0 ||
        fstat(fd, &file) != 0)
        return error_set(e, ERROR_store, "store '%s': its file cannot be looked at", s->path);
    off_t whole = (off_t)(info.me_last_pgno + 1) * (off_t)st.ms_psize;
    if (file.st_size >= whole)
        return 0;
    char *path = xprint("%s/data.mdb", s->path);
    int rc = truncate(path, whole);
    free(path);
    return rc == 0 ? 0 : error_set(e, ERROR_store, "store '%s' is cut short: %lld of %lld bytes", s->path,
                                   (long long)file.st_size, (long long)whole);
}

static int
env_open(struct store *s, unsigned flags, int64_t map, struct error *e)
{
    int rc = mdb_env_create(&s->env);
    if (rc != 0)
        return lmdb_error(s, rc, "create", e);
    rc = mdb_env_set_mapsize(s->env, (size_t)map);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, STORE_TABLES);
    if (rc == 0)
        /* Not MDB_NOMEMINIT: a page of fresh heap may hold what was freed there, a judge's key for one. */
        rc = mdb_env_open(s->env, s->path, flags | MDB_NOTLS, 0666);
    return rc == 0 ? pages_complete(s, e) : lmdb_error(s, rc, "open", e);
}

static int
tables_open(struct store *s, MDB_txn *txn, unsigned flags, struct error *e)
{
    for (int i = 0; i < STORE_TABLES; i++) {
        char name[16];
        if (i < TABLE_out)
            snprintf(name, sizeof(name), "%s", table_names[i]);
        else
            snprintf(name, sizeof(name), "out%d", i - TABLE_out);
        int rc = mdb_dbi_open(txn, name, flags, &s->tables[i]);
        if (rc == MDB_NOTFOUND && !(flags & MDB_CREATE))
            continue;
        if (rc != 0)
            return lmdb_error(s, rc, "open table", e);
        s->have[i] = true;
    }
    return 0;
}

/* A fresh store is stamped; another's is refused by name. */
static int
identity_check(struct store *s, const struct store_identity *id, struct error *e)
{
    struct buffer run = {0}, node = {0};
    int rc = 0;
    uint64_t version = store_number(s, "version", 0);
    if (version == 0) {
        store_set_number(s, "version", STORE_VERSION);
        store_put(s, TABLE_meta, span_text("run"), span_text(id->run_id));
        store_put(s, TABLE_meta, span_text("node"), span_text(id->node));
        store_set_number(s, "replica", (uint64_t)id->replica);
        return 0;
    }
    if (version != STORE_VERSION)
        return error_set(e, ERROR_version, "store '%s' has version %llu, this program reads %d", s->path,
                         (unsigned long long)version, STORE_VERSION);
    store_text(s, "run", &run);
    store_text(s, "node", &node);
    uint64_t replica = store_number(s, "replica", 0);
    if (!span_is(buffer_span(&run), id->run_id))
        rc = error_set(e, ERROR_store, "store '%s' belongs to run '%.*s', not to run '%s'", s->path,
                       (int)run.length, run.at, id->run_id);
    else if (!span_is(buffer_span(&node), id->node) || replica != (uint64_t)id->replica)
        rc = error_set(e, ERROR_store, "store '%s' belongs to node '%.*s' replica %llu, not to '%s' replica %d",
                       s->path, (int)node.length, node.at, (unsigned long long)replica, id->node,
                       id->replica);
    buffer_free(&run);
    buffer_free(&node);
    return rc;
}

static struct store *
store_new(const char *path)
{
    struct store *s = xalloc(sizeof(*s));
    s->path = xtext(path);
    s->lock.fd = -1;
    return s;
}

/* Opens the environment for writing, tables and all; the transaction stays open. */
static int
begin_first(struct store *s, int64_t map, struct error *e)
{
    int rc = env_open(s, 0, map, e);
    if (rc != 0)
        return rc;
    int dead;
    mdb_reader_check(s->env, &dead);
    rc = mdb_txn_begin(s->env, NULL, 0, &s->write);
    if (rc != 0) {
        s->write = NULL;
        return lmdb_error(s, rc, "begin", e);
    }
    return tables_open(s, s->write, MDB_CREATE, e);
}

struct store *
store_open(const char *path, const char *lock_path, const struct store_identity *identity, int64_t quota,
           struct error *e)
{
    struct store *s = store_new(path);
    int64_t map = quota > STORE_MAP_BYTES / 2 ? quota + STORE_MAP_BYTES / 2 : STORE_MAP_BYTES;
    int rc = lock_take(&s->lock, lock_path, STORE_LOCK_WAIT, e);
    struct lock_holder h;
    /* Readers have it, no owner: they are waited for, because to give up would count as a crash. */
    for (int i = 0; i < STORE_READERS_WAITS && rc == ERROR_locked && !lock_held(lock_path, &h); i++)
        rc = lock_take(&s->lock, lock_path, STORE_LOCK_WAIT, e);
    if (rc == 0)
        rc = place_folder(path, e);
    if (rc == 0)
        rc = begin_first(s, map, e);
    if (rc == 0)
        rc = identity_check(s, identity, e);
    if (rc == 0) {
        s->epoch = store_number(s, "epoch", 0) + 1;
        store_set_number(s, "epoch", s->epoch);
        rc = store_commit(s, e);
    }
    if (rc == 0)
        return s;
    store_close(s);
    return NULL;
}

struct store *
store_peek(const char *path, const char *lock_path, struct error *e)
{
    struct store *s = store_new(path);
    struct stat st;
    int rc = 0;
    MDB_txn *txn = NULL;
    if (stat(path, &st) != 0)
        rc = error_set(e, ERROR_file, "store '%s': %s", path, strerror(errno));
    if (rc == 0)
        rc = lock_share(&s->lock, lock_path, e);
    if (rc == 0)            /* we hold the owner's lock, so LMDB's own is not needed */
        rc = env_open(s, MDB_RDONLY | MDB_NOLOCK, STORE_MAP_BYTES, e);
    if (rc == 0) {
        int bad = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
        rc = bad != 0 ? lmdb_error(s, bad, "begin", e) : tables_open(s, txn, 0, e);
        if (rc == 0 && mdb_txn_commit(txn) != 0)    /* keeps the table handles */
            rc = error_set(e, ERROR_store, "store '%s': cannot be read", path);
        else if (rc != 0 && txn)
            mdb_txn_abort(txn);
    }
    if (rc == 0) {
        uint64_t version = store_number(s, "version", 0);
        s->epoch = store_number(s, "epoch", 0);
        if (version != STORE_VERSION)
            rc = error_set(e, ERROR_version, "store '%s' has version %llu, this program reads %d", path,
                           (unsigned long long)version, STORE_VERSION);
    }
    if (rc == 0)
        return s;
    store_close(s);
    return NULL;
}

void
store_close(struct store *s)
{
    if (!s)
        return;
    if (s->write)
        mdb_txn_abort(s->write);
    if (s->read)
        mdb_txn_abort(s->read);
    if (s->env)
        mdb_env_close(s->env);
    lock_drop(&s->lock);
    free(s->path);
    free(s);
}

int
store_copy(struct store *s, const char *folder, struct error *e)
{
    int rc = place_folder(folder, e);
    if (rc == 0)
        rc = store_commit(s, e);
    if (rc != 0)
        return rc;
    store_settle(s);
    rc = mdb_env_copy2(s->env, folder, MDB_CP_COMPACT);
    return rc == 0 ? 0 : lmdb_error(s, rc, "copy", e);
}

int
store_adopt(const char *path, const char *lock_path, const char *run_id, uint64_t generation,
            struct error *e)
{
    struct store *s = store_new(path);
    int rc = lock_take(&s->lock, lock_path, 0, e);
    if (rc == 0)
        rc = begin_first(s, STORE_MAP_BYTES, e);
    if (rc == 0 && store_number(s, "version", 0) != STORE_VERSION)
        rc = error_set(e, ERROR_version, "store '%s' has another version", path);
    if (rc == 0) {
        store_put(s, TABLE_meta, span_text("run"), span_text(run_id));
        store_set_number(s, "generation", generation);
        store_set_number(s, "ended", 0);
        store_set_number(s, "finished", 0);
        rc = store_commit(s, e);
    }
    store_close(s);
    return rc;
}

/* ---- facts ---- */

uint64_t
store_epoch(const struct store *s)
{
    return s->epoch;
}

const char *
store_path(const struct store *s)
{
    return s->path;
}

int64_t
store_used(struct store *s)
{
    MDB_envinfo info;
    MDB_stat st;
    if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &st) != 0)
        return 0;
    return (int64_t)(info.me_last_pgno + 1) * st.ms_psize;
}

bool
store_dirty(const struct store *s)
{
    return s->write != NULL;
}

int64_t
store_bytes(const struct store *s)
{
    return s->bytes;
}

void
store_fail(struct store *s, const char *what)
{
    if (s->error.code == 0)
        error_set(&s->error, ERROR_store, "store '%s' is damaged: %s; a backup of the whole run can be continued", s->path, what);
}

/* ---- rows ---- */

void *
store_room(struct store *s, int table, struct span key, size_t length)
{
    MDB_txn *txn = writing(s);
    MDB_val k = value_of(key), v = {length, NULL};
    if (!txn)
        return NULL;
    int rc = mdb_put(txn, s->tables[table], &k, &v, MDB_RESERVE);
    if (rc != 0) {
        remember(s, rc, "write");
        return NULL;
    }
    s->bytes += (int64_t)(key.length + length);
    return v.mv_data;
}

void *
store_room_new(struct store *s, int table, struct span key, size_t length, bool *fresh)
{
    MDB_txn *txn = writing(s);
    MDB_val k = value_of(key), v = {length, NULL};
    *fresh = true;
    if (!txn)
        return NULL;
    int rc = mdb_put(txn, s->tables[table], &k, &v, MDB_RESERVE | MDB_APPEND);
    if (rc == MDB_KEYEXIST) {               /* not the greatest key: maybe between others */
        v = (MDB_val){length, NULL};
        rc = mdb_put(txn, s->tables[table], &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    }
    if (rc == MDB_KEYEXIST) {
        *fresh = false;
        return NULL;
    }
    if (rc != 0) {
        remember(s, rc, "write");
        return NULL;
    }
    s->bytes += (int64_t)(key.length + length);
    return v.mv_data;
}

void
store_put(struct store *s, int table, struct span key, struct span value)
{
    void *at = store_room(s, table, key, value.length);
    if (at && value.length > 0)
        memcpy(at, value.at, value.length);
}

void
store_delete(struct store *s, int table, struct span key)
{
    MDB_txn *txn = writing(s);
    MDB_val k = value_of(key);
    if (!txn)
        return;
    int rc = mdb_del(txn, s->tables[table], &k, NULL);
    if (rc != 0 && rc != MDB_NOTFOUND)
        remember(s, rc, "delete");
}

static bool
get(struct store *s, MDB_txn *txn, int table, struct span key, struct span *value)
{
    MDB_val k = value_of(key), v;
    if (!txn || !s->have[table])
        return false;
    int rc = mdb_get(txn, s->tables[table], &k, &v);
    if (rc == 0)
        *value = span_of(v.mv_data, v.mv_size);
    else if (rc != MDB_NOTFOUND)
        remember(s, rc, "read");
    return rc == 0;
}

bool
store_get(struct store *s, int table, struct span key, struct span *value)
{
    return get(s, reading(s), table, key, value);
}

bool
store_get_committed(struct store *s, int table, struct span key, struct span *value)
{
    return get(s, s->error.code == 0 ? snapshot(s) : NULL, table, key, value);
}

void
store_scan(struct store *s, int table, struct span from,
           bool (*visit)(void *own, struct span key, struct span value), void *own)
{
    MDB_txn *txn = reading(s);
    MDB_cursor *c;
    MDB_val k = value_of(from), v;
    if (!txn || !s->have[table])
        return;
    int rc = mdb_cursor_open(txn, s->tables[table], &c);
    if (rc != 0) {
        remember(s, rc, "read");
        return;
    }
    rc = mdb_cursor_get(c, &k, &v, from.length > 0 ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == 0 && visit(own, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size)))
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    if (rc != 0 && rc != MDB_NOTFOUND)
        remember(s, rc, "read");
    mdb_cursor_close(c);
}

static bool
floor_in(struct store *s, MDB_txn *txn, int table, struct span key, struct span *found,
         struct span *value)
{
    MDB_cursor *c;
    MDB_val k = value_of(key), v;
    if (!txn || !s->have[table] || mdb_cursor_open(txn, s->tables[table], &c) != 0)
        return false;
    int rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
    else if (rc == 0 && (k.mv_size != key.length || memcmp(k.mv_data, key.at, key.length) != 0))
        rc = mdb_cursor_get(c, &k, &v, MDB_PREV);
    mdb_cursor_close(c);
    if (rc != 0) {
        if (rc != MDB_NOTFOUND)
            remember(s, rc, "read");
        return false;
    }
    *found = span_of(k.mv_data, k.mv_size);
    *value = span_of(v.mv_data, v.mv_size);
    return true;
}

bool
store_floor(struct store *s, int table, struct span key, struct span *found, struct span *value)
{
    return floor_in(s, reading(s), table, key, found, value);
}

bool
store_floor_committed(struct store *s, int table, struct span key, struct span *found, struct span *value)
{
    return floor_in(s, s->error.code == 0 ? snapshot(s) : NULL, table, key, found, value);
}

bool
store_last(struct store *s, int table, struct span *key, struct span *value)
{
    char most[STORE_KEY_MAX];
    memset(most, 0xff, sizeof(most));
    return store_floor(s, table, span_of(most, sizeof(most)), key, value);
}

/* ---- meta ---- */

uint64_t
store_number(struct store *s, const char *name, uint64_t standard)
{
    struct span v;
    if (!store_get(s, TABLE_meta, span_text(name), &v) || v.length != 8)
        return standard;
    return store_read_u64(v.at);
}

void
store_set_number(struct store *s, const char *name, uint64_t value)
{
    unsigned char at[8];
    store_u64(at, value);
    store_put(s, TABLE_meta, span_text(name), span_of(at, 8));
}

bool
store_text(struct store *s, const char *name, struct buffer *out)
{
    struct span v;
    if (!store_get(s, TABLE_meta, span_text(name), &v))
        return false;
    buffer_add(out, v.at, v.length);
    return true;
}

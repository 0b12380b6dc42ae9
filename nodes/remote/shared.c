/* shared: opening and closing, and LMDB's codes as our errors. */
#include "nodes/remote/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SHARED_READERS     512       /* processes that look at the same time */
#define SHARED_NEARLY_FULL (4 << 20) /* free bytes below which an I/O error is a full disk */

static const char version_key[] = "version";

/* LMDB calls a write that the disk took only in part an I/O error. */
static bool
disk_is_full(const struct shared *s)
{
    struct statvfs v;

    return statvfs(s->path, &v) == 0 &&
           (int64_t)v.f_bavail * (int64_t)v.f_frsize < SHARED_NEARLY_FULL;
}

int
shared_error(struct shared *s, int code, const char *doing, struct error *e)
{
    if (code == ENOSPC || code == EDQUOT || code == MDB_MAP_FULL || code == EFBIG ||
        (code == EIO && disk_is_full(s)))
        return error_set(e, ERROR_space, "'%s': %s: the disk is full", s->path, doing);
    if (code == MDB_INVALID || code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND ||
        code == MDB_VERSION_MISMATCH)
        return error_set(e, ERROR_store, "'%s' is damaged: %s: %s; a backup of it can be used",
                         s->path, doing, mdb_strerror(code));
    return error_set(e, ERROR_store, "'%s': %s: %s", s->path, doing, mdb_strerror(code));
}

static int
folder_make(const char *path, struct error *e)
{
    char *parent = xtext(path), *slash = strrchr(parent, '/');

    if (slash && slash != parent) {
        *slash = 0;
        mkdir(parent, 0777); /* what fails here fails below, with a word */
    }
    free(parent);
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    return error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "cannot make folder '%s': %s",
                     path, strerror(errno));
}

/* LMDB reads by mmap(2): a page that its file has lost would end the process by SIGBUS. A file cut
 * short is filled up with nothing, which LMDB calls a damaged page. Within a write transaction, so
 * that nobody else is making the file longer. */
static int
pages_complete(struct shared *s, struct error *e)
{
    MDB_envinfo info;
    MDB_stat st;
    struct stat file;
    int fd;

    if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &st) != 0 ||
        mdb_env_get_fd(s->env, &fd) != 0 || fstat(fd, &file) != 0)
        return error_set(e, ERROR_store, "'%s' cannot be looked at", s->path);
    off_t whole = (off_t)(info.me_last_pgno + 1) * (off_t)st.ms_psize;
    if (file.st_size >= whole)
        return 0;
    char *path = xprint("%s/data.mdb", s->path);
    int rc = truncate(path, whole);
    free(path);
    return rc == 0 ? 0
                   : error_set(e, ERROR_store, "'%s' is cut short: %lld of %lld bytes", s->path,
                               (long long)file.st_size, (long long)whole);
}

static int
env_open(struct shared *s, struct error *e)
{
    int dead, rc = mdb_env_create(&s->env);

    if (rc != 0)
        return shared_error(s, rc, "create", e);
    rc = mdb_env_set_mapsize(s->env, (size_t)SHARED_MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, SHARED_TABLES_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, SHARED_READERS);
    if (rc == 0)
        /* Not MDB_NOMEMINIT: a page of fresh heap may hold what was freed there, a key for one. */
        rc = mdb_env_open(s->env, s->path, MDB_NOTLS, 0666);
    if (rc == 0)
        rc = mdb_reader_check(s->env, &dead);
    return rc == 0 ? 0 : shared_error(s, rc, "open", e);
}

static int
tables_open(struct shared *s, MDB_txn *txn, const char *const *tables, uint64_t version,
            struct error *e)
{
    MDB_val key = {sizeof(version_key) - 1, (void *)version_key}, value = {8, &version};
    uint64_t found = 0;

    for (int i = 0; tables[i]; i++) {
        int rc = mdb_dbi_open(txn, tables[i], MDB_CREATE, &s->tables[i]);
        if (rc != 0)
            return shared_error(s, rc, "open table", e);
    }
    int rc = mdb_put(txn, s->tables[0], &key, &value, MDB_NOOVERWRITE);
    if (rc != 0 && rc != MDB_KEYEXIST)
        return shared_error(s, rc, "write", e);
    if (value.mv_size == 8)
        memcpy(&found, value.mv_data, 8);
    return found == version ? 0
                            : error_set(e, ERROR_version, "'%s' has version %llu, not %llu",
                                        s->path, (unsigned long long)found,
                                        (unsigned long long)version);
}

int
shared_open(struct shared *s, const char *folder, const char *const *tables, uint64_t version,
            struct error *e)
{
    MDB_txn *txn = NULL;
    int rc;

    *s = (struct shared){.path = xtext(folder)};
    rc = folder_make(folder, e);
    if (rc == 0)
        rc = env_open(s, e);
    if (rc == 0)
        rc = shared_begin(s, &txn, e);
    if (rc == 0)
        rc = pages_complete(s, e);
    if (rc == 0)
        rc = tables_open(s, txn, tables, version, e);
    if (rc == 0)
        rc = shared_commit(s, txn, e);
    else if (txn)
        mdb_txn_abort(txn);
    if (rc != 0)
        shared_close(s);
    return rc;
}

void
shared_close(struct shared *s)
{
    if (s->read)
        mdb_txn_abort(s->read);
    if (s->env)
        mdb_env_close(s->env);
    free(s->path);
    *s = (struct shared){0};
}

int
shared_begin(struct shared *s, MDB_txn **txn, struct error *e)
{
    int rc = mdb_txn_begin(s->env, NULL, 0, txn);

    if (rc == 0)
        return 0;
    *txn = NULL;
    return shared_error(s, rc, "begin", e);
}

int
shared_commit(struct shared *s, MDB_txn *txn, struct error *e)
{
    int rc = mdb_txn_commit(txn); /* frees it, also when it fails */

    return rc == 0 ? 0 : shared_error(s, rc, "commit", e);
}

int
shared_look(struct shared *s, MDB_txn **txn, struct error *e)
{
    int rc = s->read ? mdb_txn_renew(s->read) : mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->read);

    *txn = rc == 0 ? s->read : NULL;
    return rc == 0 ? 0 : shared_error(s, rc, "read", e);
}

void
shared_looked(struct shared *s)
{
    mdb_txn_reset(s->read);
}

bool
shared_exists(const char *folder)
{
    char *path = xprint("%s/data.mdb", folder);
    bool is = access(path, F_OK) == 0;

    free(path);
    return is;
}

int
shared_copy(const char *from, const char *to, struct error *e)
{
    struct shared s = {.path = xtext(from)};
    MDB_txn *txn = NULL;
    int rc = folder_make(to, e);

    if (rc == 0)
        rc = env_open(&s, e);
    if (rc == 0)
        rc = shared_begin(&s, &txn, e);
    if (rc == 0)
        rc = pages_complete(&s, e);
    if (txn)
        mdb_txn_abort(txn);
    if (rc == 0) {
        int code = mdb_env_copy2(s.env, to, MDB_CP_COMPACT);
        rc = code == 0 ? 0 : shared_error(&s, code, "copy", e);
    }
    shared_close(&s);
    return rc;
}

/* shared: an LMDB environment that several processes hold open at once: the replicas of a node, and
 * the commands that look at it.
 *
 * Why each process opens it itself, instead of asking an owner over a socket: LMDB has one writer
 * at a time among all processes, behind a robust mutex in its lock file, and readers that block
 * nobody. A writer that is killed loses its transaction whole; the next one finds the mutex
 * abandoned, takes it and goes on. So there is no owner whose death, restart or slowness would stop
 * the others, no protocol, no answer that can get lost on the way, and the commands work with the
 * run at rest. What an owner would have serialised, the mutex serialises.
 *
 * Rules that keep it so: a write transaction never lives longer than the function that began it and
 * waits for nothing but the disk; a process opens one folder once only (LMDB's locks are the
 * process's); nobody forks with one open. The folder must be on a disk of this machine. */
#ifndef NODES_REMOTE_SHARED_H
#define NODES_REMOTE_SHARED_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define SHARED_TABLES_MAX 4
#define SHARED_MAP_BYTES  (64LL << 30) /* of address space; the file grows as needed */

struct shared {
    char *path;
    MDB_env *env;
    MDB_dbi tables[SHARED_TABLES_MAX];
    MDB_txn *read; /* reset between two looks */
};

/* Opens the folder, made with its parent if it is not there, and its tables; `version` is stamped
 * into a new one. -> ERROR_file, ERROR_version, ERROR_store (damaged), ERROR_space. */
int shared_open(struct shared *s, const char *folder, const char *const *tables, uint64_t version,
                struct error *e);
void shared_close(struct shared *s); /* zeroed: nothing */

/* Waits for other writers. Ends by shared_commit(), synced, or mdb_txn_abort(). */
int shared_begin(struct shared *s, MDB_txn **txn, struct error *e);
int shared_commit(struct shared *s, MDB_txn *txn, struct error *e);

/* The last commit of whoever; end it soon, its pages are not used again meanwhile. */
int shared_look(struct shared *s, MDB_txn **txn, struct error *e);
void shared_looked(struct shared *s);

/* An LMDB code as one of ours; a full disk is ERROR_space. */
int shared_error(struct shared *s, int code, const char *doing, struct error *e);

/* Does the folder hold an environment? */
bool shared_exists(const char *folder);

/* A compact copy of the last commit into a folder that has none yet, while others write. */
int shared_copy(const char *from, const char *to, struct error *e);

#endif

/* store: the durable state of one process: an LMDB environment with one writer, under a lock for life.
 *
 * A huge sparse map, bounded by a named quota. One write transaction at a time, begun by the first write and
 * ended by store_commit(), which returns when it is synced. Reads see the open write transaction. Every
 * opening raises the epoch, and every write transaction checks it. Errors of LMDB in the middle of a
 * transaction are remembered and come out of store_commit(): nothing of that transaction was written. */
#ifndef GRAPH_STORE_H
#define GRAPH_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define STORE_VERSION   1
#define STORE_MAP_BYTES (64LL << 30)    /* of address space at least; the file grows as needed */
#define STORE_KEY_MAX   511

enum table {                /* named databases of the environment */
    TABLE_meta,             /* name -> value: version, run, node, replica, epoch, generation, ended, finished ... */
    TABLE_lane,             /* lane u16, first sequence number u64 -> ordinals u64 LE ... */
    TABLE_lanes,            /* lane u16 -> struct lane, packed */
    TABLE_feeds,            /* link u8, replica u8 -> END of an input lane */
    TABLE_sets,             /* set u32, start u64 -> end u64: interval sets */
    TABLE_park,             /* ordinal u64, link u8 -> envelope, body */
    TABLE_state,            /* node_put() */
    TABLE_dead,             /* number u64 -> dead letter */
    TABLE_counts,           /* name -> i64 */
    TABLE_crash,            /* "trying", and ordinal u64 -> crashes */
    TABLE_out,              /* TABLE_out + port: ordinal u64 -> envelope, body */
};
#define STORE_PORTS_MAX 16
#define STORE_TABLES    (TABLE_out + STORE_PORTS_MAX)

struct store;

struct store_identity {
    const char *run_id;
    const char *node;
    int         replica;
};

/* Take the lock, open (make) the environment, check version and identity, raise the epoch (committed).
 * -> NULL with ERROR_locked, ERROR_version, ERROR_store (another run's or node's, by name), ERROR_space. */
struct store *store_open(const char *path, const char *lock_path, const struct store_identity *identity,
                         int64_t quota, struct error *e);
/* Look at the store of a process that is down, read-only, under its lock; keep it open for a moment only.
 * -> NULL with ERROR_locked (the owner lives: ask it), ERROR_file (there is none), ERROR_version, ERROR_store. */
struct store *store_peek(const char *path, const char *lock_path, struct error *e);
void store_close(struct store *s);      /* NULL: nothing; an open transaction is dropped */

/* A compact copy into an empty folder, of the last commit, while the store lives. */
int store_copy(struct store *s, const char *folder, struct error *e);
/* Give a copied store (closed) to another run: its run id, and what it sends gets `generation`. */
int store_adopt(const char *path, const char *lock_path, const char *run_id, uint64_t generation,
                struct error *e);

uint64_t    store_epoch(const struct store *s);
const char *store_path(const struct store *s);
/* Bytes used of the quota; a store above it takes nothing new. */
int64_t     store_used(struct store *s);
bool        store_dirty(const struct store *s);     /* is a write transaction open? */
int64_t     store_bytes(const struct store *s);     /* written into the open transaction */

/* ---- reading and writing; keys at most STORE_KEY_MAX bytes ---- */
void store_put(struct store *s, int table, struct span key, struct span value);
/* Room for a value to be filled in at once, before any other call; NULL after an error. */
void *store_room(struct store *s, int table, struct span key, size_t length);
/* As store_room, but false in `*fresh` (and NULL) when the key is there already. Rising keys are appended. */
void *store_room_new(struct store *s, int table, struct span key, size_t length, bool *fresh);
void store_delete(struct store *s, int table, struct span key);
/* Valid until the next write or store_settle(). */
bool store_get(struct store *s, int table, struct span key, struct span *value);
/* Keys >= from in byte order until visit returns false; visit may not write. */
void store_scan(struct store *s, int table, struct span from,
                bool (*visit)(void *own, struct span key, struct span value), void *own);
/* The greatest key <= `key`; false: none. */
bool store_floor(struct store *s, int table, struct span key, struct span *found, struct span *value);
bool store_last(struct store *s, int table, struct span *key, struct span *value);

/* As store_get and store_floor, but of the last commit, whatever is open now: what may go on the wire. */
bool store_get_committed(struct store *s, int table, struct span key, struct span *value);
bool store_floor_committed(struct store *s, int table, struct span key, struct span *found,
                           struct span *value);

/* ---- meta rows ---- */
uint64_t store_number(struct store *s, const char *name, uint64_t standard);
void     store_set_number(struct store *s, const char *name, uint64_t value);
bool     store_text(struct store *s, const char *name, struct buffer *out);     /* appends */

/* Write all, synced. Nothing open: 0 at once. -> ERROR_space, ERROR_fenced, ERROR_store: end the process. */
int  store_commit(struct store *s, struct error *e);
/* Something committed is not there any more: the next commit fails and says `what`. */
void store_fail(struct store *s, const char *what);
/* Let go of the read snapshot, so that pages can be used again: call when the process waits. */
void store_settle(struct store *s);
/* Clear readers left by killed processes; at most every few seconds. */
void store_tidy(struct store *s);
/* Has someone removed the folder? Then nothing written is ever found again: end the process. */
bool store_gone(const struct store *s);

/* Big-endian numbers, so that byte order is number order. */
static inline void
store_u64(unsigned char *at, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        at[i] = (unsigned char)v;
}

static inline uint64_t
store_read_u64(const void *from)
{
    const unsigned char *at = from;
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | at[i];
    return v;
}
#endif

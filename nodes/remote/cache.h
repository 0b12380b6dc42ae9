/* cache: answers that were paid for, by what was asked, so that nothing is asked twice: not by
 * another replica, not after a kill, not by a replay with the same prompt, not for an identical
 * response.
 *
 * A row's key is the BLAKE2b-256 hash (libsodium, which comes with ZeroMQ) of the path of the call
 * ("chat/completions"), the number of the sample (of a judge that is asked k times), and the bytes
 * of the request. The request holds the model's name, the template filled with the text, and every
 * parameter that is sent, so it is all that the server's answer can depend on; where the server
 * stands is not in it. Rollouts are written by models that are trained on what judges say, so
 * collisions may be looked for: hence a cryptographic hash, and no copy of the question.
 *
 * A row holds the whole body of the answer, as the transport hands it out (keys starred), packed
 * with zstd, and what it cost. Only answers that gave a usable verdict are put in. Rows count
 * towards a limit in bytes; the oldest go first. One LMDB environment, opened by every replica and
 * by `sluice cache` (nodes/remote/shared.h): inside the run for each node id, or where option
 * `cache` says, and then shared by all that name it. A full disk costs the row, not the vote. */
#ifndef NODES_REMOTE_CACHE_H
#define NODES_REMOTE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define CACHE_KEY_BYTES    32
#define CACHE_BODY_MAX     (256LL << 20) /* of one answer, unpacked */
#define CACHE_MODEL_MAX    500           /* bytes of a model's name */
#define CACHE_BYTES_MAX    (32LL << 30)  /* largest limit; half of the environment's map */

struct cache_key {
    unsigned char at[CACHE_KEY_BYTES];
};

struct cache_answer {
    struct span model;
    struct span body;
    uint64_t tokens_in, tokens_out;
    int64_t money;     /* what it cost, billionths of a US dollar */
    int64_t time;      /* when it came, seconds since 1970 */
    uint64_t payer;    /* the run that paid for it, and for which ordinal: that vote carries the
                        * cost, every other one got it for nothing */
    uint64_t ordinal;
};

struct cache_sums {
    int64_t answers, bytes; /* bytes as they count towards the limit */
};

struct cache;

/* `more`: what else names the question; usually empty. */
void cache_key(const char *path, uint64_t sample, struct span more, struct span request,
               struct cache_key *key);

/* -> NULL with ERROR_file, ERROR_version, ERROR_store, ERROR_space. */
struct cache *cache_open(const char *folder, struct error *e);
void cache_close(struct cache *c); /* NULL: nothing; what waits for cache_flush() is dropped */

/* False: there is none (one that is damaged, or of a disk that fails, is none). The answer's spans
 * hold until the next call of any function here. */
bool cache_find(struct cache *c, const struct cache_key *key, struct cache_answer *out);

/* Copied; waits in memory for cache_flush(), and is found meanwhile. A key that is there keeps its
 * row. */
void cache_put(struct cache *c, const struct cache_key *key, const struct cache_answer *a);
/* The row turned out to be of no use. When it cannot be removed, it is found again. */
void cache_forget(struct cache *c, const struct cache_key *key);
/* Writes what waits, synced, and prunes to `limit` bytes. What waits is gone even if it fails.
 * -> ERROR_space, ERROR_store. */
int cache_flush(struct cache *c, int64_t limit, struct error *e);

int cache_sums(struct cache *c, struct cache_sums *sums, struct error *e);

/* Oldest first: while more than `bytes` are in it (< 0: no bound), and those of before `before`. In
 * small transactions, so that nobody waits long. How many went goes to *gone. */
int cache_prune(struct cache *c, int64_t bytes, int64_t before, struct cache_sums *gone,
                struct error *e);

/* Visits rows, oldest first, until visit returns false; its spans hold within the call. The look is
 * renewed every now and then, so rows may come and go meanwhile. */
int cache_scan(struct cache *c,
               bool (*visit)(void *own, const struct cache_key *key, const struct cache_answer *a,
                             int64_t bytes),
               void *own, struct error *e);

#endif

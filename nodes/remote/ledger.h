/* ledger: the money and the tokens that one judge has spent and set aside, all its replicas
 * together.
 *
 * Before a call goes out, what it may cost at most is set aside, durably; when its answer is there,
 * that becomes what it did cost. So whatever is killed at whatever instant, spent and set aside
 * together are never below what the server may charge, and never above the limit: of two replicas
 * that ask at the same time the second sees what the first set aside, because LMDB has one writer
 * (nodes/remote/shared.h says why the replicas open the environment themselves).
 *
 * Each replica's part of what is set aside is a row of its own, with the number of its incarnation.
 * An incarnation that begins finds what the one before it left: calls whose answers nobody waited
 * for. The server may have charged them, so they are spent. A replica has one living process (its
 * store's lock sees to that), so what it finds there is nobody else's.
 *
 * Settling costs no transaction of its own: it waits in memory for the next one, or for
 * ledger_flush() before the node's commit. A kill in between leaves more set aside than need be,
 * never less. */
#ifndef NODES_REMOTE_LEDGER_H
#define NODES_REMOTE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define LEDGER_MODELS_MAX 64 /* rows by model; what further ones cost is only in the sum */
#define LEDGER_NONE       INT64_MAX /* no limit */

struct amount {
    int64_t money;  /* billionths of a US dollar (nodes/remote/price.h) */
    int64_t tokens; /* read and written */
};

struct ledger_sums {
    struct amount spent; /* what answers cost, `lost` included */
    struct amount aside; /* for calls in flight */
    struct amount lost;  /* set aside for calls whose answer never came: kills, lost connections */
    int64_t calls;       /* answered */
};

/* What one model cost this judge. */
struct ledger_row {
    struct amount spent;
    int64_t tokens_in, tokens_out, calls;
};

struct ledger;

/* -> NULL with ERROR_file, ERROR_version, ERROR_store, ERROR_space. */
struct ledger *ledger_open(const char *folder, int replica, struct error *e);
/* What is still set aside here is lost: nobody waits for those answers any more. */
void ledger_close(struct ledger *l); /* NULL: nothing */

/* Setting aside for several calls: begin (waits for other replicas), reserve for each, commit.
 * What was reserved counts from the commit on; when that fails, no call may go. */
int ledger_begin(struct ledger *l, struct error *e);
bool ledger_reserve(struct ledger *l, const struct amount *most, const struct amount *limit);
int ledger_commit(struct ledger *l, struct error *e);

/* An answer came: `aside` (zero: nothing was) becomes what it cost. */
void ledger_settle(struct ledger *l, const struct amount *aside, struct span model,
                   uint64_t tokens_in, uint64_t tokens_out, int64_t money);
/* No answer, and the server may have charged it: what was set aside is spent. */
void ledger_lose(struct ledger *l, const struct amount *aside);
/* No answer, and no server saw it. */
void ledger_return(struct ledger *l, const struct amount *aside);
/* Writes what settles; nothing waits: 0 at once. */
int ledger_flush(struct ledger *l, struct error *e);

/* The sums as last read or written, with what waits here. */
const struct ledger_sums *ledger_sums(const struct ledger *l);
/* Reads them again: other replicas write too. */
int ledger_look(struct ledger *l, struct error *e);

/* For commands: the ledger of a run, living or at rest; visits each model. */
int ledger_read(const char *folder, struct ledger_sums *sums,
                void (*visit)(void *own, struct span model, const struct ledger_row *row),
                void *own, struct error *e);

#endif

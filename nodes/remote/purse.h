/* purse: what calls of one process cost, and what they need not cost: the prices, the ledger and
 * the cache behind nodes/remote/calls.c, which asks here before a call goes and tells what came of
 * it.
 *
 *   purse_find      was this asked before? Then no call goes
 *   purse_reserve   may it be paid for? then purse_commit(), then the calls go
 *   purse_settle    an answer came: what it cost; purse_lose: none came
 *   purse_keep      the answer was of use
 *   purse_flush     before the node's commit: so an answer is in the cache and in the ledger no
 *                   later than its vote is in the store, and a kill in between costs nothing
 *
 * What a call may cost at most: no tokenizer gives more tokens than bytes, so the whole request in
 * bytes, and the answer's max_tokens, at the model's prices. An answer that does not say what it
 * used is taken to have used all of that. */
#ifndef NODES_REMOTE_PURSE_H
#define NODES_REMOTE_PURSE_H

#include <stdbool.h>
#include <stdint.h>

#include "nodes/remote/cache.h"
#include "nodes/remote/remote_options.h"
#include "nodes/remote/ledger.h"
#include "nodes/remote/price.h"

#define PURSE_LOOK_SECONDS 0.5 /* over budget: how often to see whether another replica settled */

/* Set in the environment, calls are only counted (`sluice run --estimate`): none goes out. */
#define PURSE_ESTIMATE "SLUICE_ESTIMATE"
/* The rows of such a ledger: calls that the cache would answer; all others, as they may be at most,
 * and as they are likely to be: 4 bytes to a token read, and written as many tokens as the answers
 * in the cache have, or a quarter of what they may have. */
#define PURSE_CACHED "cached"
#define PURSE_MOST   "most"
#define PURSE_ABOUT  "about"

struct purse;

/* The price that the options give this model. -> 0, or an error of the price table. */
int purse_price(const struct remote_options *o, const char *model, struct price *p,
                struct error *e);

/* As node_kind.check(): a budget needs prices and a bound of the answer's tokens. */
int purse_check(struct check *c, const struct remote_options *o, const char *model,
                int64_t tokens_out, struct error *e);

/* -> NULL with ERROR_topology (a budget, and no price), or an error of ledger or cache. */
struct purse *purse_open(struct node *n, const struct remote_options *o, const char *model,
                         struct error *e);
void purse_close(struct purse *p); /* NULL: nothing */
/* A live option changed. What cannot be read or opened any more is logged, and the stream goes on:
 * at the old prices, without a cache. */
void purse_changed(struct purse *p);

/* A round of purse_reserve() begins. */
void purse_begin(struct purse *p);

bool purse_caches(const struct purse *p);
/* False: it has to be asked. The body holds until the next call of any function here. What the
 * answer cost counts for the vote it was paid for, and is nothing for every other. */
bool purse_find(struct purse *p, const struct cache_key *key, uint64_t ordinal,
                struct cache_answer *out);
void purse_keep(struct purse *p, const struct cache_key *key, uint64_t ordinal, struct span body,
                uint64_t tokens_in, uint64_t tokens_out, int64_t money);

void purse_forget(struct purse *p, const struct cache_key *key);

/* Sets aside what a call may cost at most. False: there is not so much left. */
int purse_reserve(struct purse *p, uint64_t tokens_in, uint64_t tokens_out, struct amount *aside,
                  bool *may, struct error *e);
/* When money may be set aside again, on node_now()'s clock: each time is a synced transaction, so
 * while any call flies others are gathered for the next. Without a budget: at any time. */
double purse_when(const struct purse *p);
/* What was reserved is durable: the calls may go. Nothing was: 0 at once. */
int purse_commit(struct purse *p, struct error *e);

/* What an answer cost, in money. `cached` of tokens_in were in the server's own cache. */
int64_t purse_settle(struct purse *p, const struct amount *aside, uint64_t tokens_in,
                     uint64_t cached, uint64_t tokens_out);
void purse_lose(struct purse *p, const struct amount *aside);
void purse_return(struct purse *p, const struct amount *aside);

int purse_flush(struct purse *p, struct error *e);
/* For kinds without flush(): writes what has waited for a second. */
int purse_keep_up(struct purse *p, struct error *e);

/* Are calls only counted? Then counts one. */
bool purse_estimates(const struct purse *p);
void purse_count(struct purse *p, const struct cache_key *key, uint64_t bytes, uint64_t tokens_in,
                 uint64_t tokens_out);

/* Was the last call that asked for money refused it? */
bool purse_empty(const struct purse *p);
/* "over budget: 1.2 of 1.25 USD are spent ..." when nobody's answer can change it any more, which
 * pauses the stream; while calls of any replica fly: how much is set aside. Without a budget what
 * was spent, "" where that is nothing or has no price. */
void purse_words(const struct purse *p, char *text, size_t room);

/* Where the cache and the ledger of a node of a run are; the caller's. */
char *purse_cache_folder(const char *run_dir, const char *node, const char *option);
char *purse_ledger_folder(const char *run_dir, const char *node);

#endif

/* purse: ledger, cache and prices of one process. */
#include "nodes/remote/purse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "nodes/remote/shared.h"

#define GATHER_SECONDS  0.01 /* between two reservations */
#define FLUSH_SECONDS   1.0 /* without a budget the ledger is written so often at most */
#define BYTES_PER_TOKEN 4   /* of a request, in an estimate */
#define ANSWER_SHARE    4   /* one part in so many of what an answer may have, in an estimate */
#define SAMPLE_ROWS     10000

struct purse {
    struct node *node;
    const struct remote_options *options;
    char *model, *folder; /* of the cache, as it is open */
    struct price price;
    struct ledger *ledger;
    struct cache *cache; /* NULL: none is kept */
    bool begun;          /* a transaction of the ledger is open */
    bool empty;
    bool warned;         /* that the cache cannot be written */
    uint64_t payer;
    double flushed, committed;
    struct counted *counted; /* NULL: calls go out */
};

/* An estimate: the keys that were counted, and how long answers are. */
struct counted {
    struct cache_key *keys; /* open hash table; a key of zeros is none */
    size_t count, room;
    int64_t rows;
    uint64_t written; /* tokens in so many rows of the cache */
    const char *model;
};

/* ---- setting up ---- */

int
purse_price(const struct remote_options *o, const char *model, struct price *p, struct error *e)
{
    int rc = 0;

    *p = (struct price){0};
    if (o->prices[0])
        rc = price_read(o->prices, model, p, e);
    if (rc == 0 && (o->price_in > 0 || o->price_out > 0))
        *p = (struct price){true, o->price_in, o->price_out, o->price_in};
    return rc;
}

static const char no_price[] =
    "a budget needs the model's price: price_in and price_out, or a row for '%s' in prices";

/* The folder itself is made; what holds it has to be there, and be ours to write in. */
static int
check_folder(struct check *c, const char *folder, struct error *e)
{
    char *parent = xtext(folder), *slash = strrchr(parent, '/');
    struct stat st;
    bool there = stat(folder, &st) == 0;
    int rc = 0;

    if (slash)
        slash[slash == parent] = 0;
    if (there && !S_ISDIR(st.st_mode))
        rc = check_fail(c, "cache", e, "'%s' is not a folder", folder);
    else if (access(there ? folder : parent, W_OK | X_OK) != 0)
        rc = check_fail(c, "cache", e, "'%s': %s", there ? folder : parent, strerror(errno));
    free(parent);
    return rc;
}

int
purse_check(struct check *c, const struct remote_options *o, const char *model, int64_t tokens_out,
            struct error *e)
{
    struct price price;
    struct error why;

    if (purse_price(o, model, &price, &why) != 0)
        return check_fail(c, "prices", e, "%s", why.text);
    if (o->budget_usd > 0 && !price.known)
        return check_fail(c, "budget_usd", e, no_price, model);
    if ((o->budget_usd > 0 || o->budget_tokens > 0) && tokens_out <= 0)
        return check_fail(c, o->budget_usd > 0 ? "budget_usd" : "budget_tokens", e,
                          "a budget needs max_tokens: without it nobody knows what an answer"
                          " may cost");
    return o->cache[0] ? check_folder(c, o->cache, e) : 0;
}

char *
purse_cache_folder(const char *run_dir, const char *node, const char *option)
{
    return option[0] ? xtext(option) : xprint("%s/stores/%s.cache", run_dir, node);
}

char *
purse_ledger_folder(const char *run_dir, const char *node)
{
    return xprint("%s/stores/%s.ledger", run_dir, node);
}

/* ---- estimates ---- */

static bool
sample_row(void *own, const struct cache_key *key, const struct cache_answer *a, int64_t bytes)
{
    struct counted *c = own;

    (void)key;
    (void)bytes;
    if (!span_is(a->model, c->model) || a->tokens_out == 0 || a->tokens_out > UINT32_MAX)
        return true;
    c->written += a->tokens_out;
    return ++c->rows < SAMPLE_ROWS;
}

/* True: the key was counted before. */
static bool
counted_add(struct counted *c, const struct cache_key *key)
{
    static const struct cache_key none;
    struct cache_key *old = c->keys;
    size_t room = c->room;
    uint64_t at;

    if (2 * (c->count + 1) > room) {
        c->room = room ? 2 * room : 1024;
        c->keys = xarray(c->room, sizeof(*c->keys));
        c->count = 0;
        for (size_t i = 0; i < room; i++)
            if (memcmp(&old[i], &none, sizeof(none)) != 0)
                counted_add(c, &old[i]);
        free(old);
    }
    memcpy(&at, key->at, sizeof(at));
    for (at &= c->room - 1; memcmp(&c->keys[at], &none, sizeof(none)) != 0;
         at = (at + 1) & (c->room - 1))
        if (memcmp(&c->keys[at], key, sizeof(*key)) == 0)
            return true;
    c->keys[at] = *key;
    c->count++;
    return false;
}

bool
purse_estimates(const struct purse *p)
{
    return p->counted != NULL;
}

static void
count_row(struct purse *p, const char *row, uint64_t tokens_in, uint64_t tokens_out)
{
    static const struct amount nothing;

    ledger_settle(p->ledger, &nothing, span_text(row), tokens_in, tokens_out,
                  price_of(&p->price, tokens_in, 0, tokens_out));
}

void
purse_count(struct purse *p, const struct cache_key *key, uint64_t bytes, uint64_t tokens_in,
            uint64_t tokens_out)
{
    struct counted *c = p->counted;
    struct cache_answer found;
    uint64_t in = tokens_in < bytes ? tokens_in : bytes / BYTES_PER_TOKEN;
    uint64_t out = c->rows ? c->written / (uint64_t)c->rows : tokens_out / ANSWER_SHARE;

    out = out < tokens_out ? out : tokens_out;
    if (p->options->cache_bytes > 0 &&
        (counted_add(c, key) || (p->cache && cache_find(p->cache, key, &found)))) {
        count_row(p, PURSE_CACHED, in, out);
        return;
    }
    count_row(p, PURSE_MOST, tokens_in, tokens_out);
    count_row(p, PURSE_ABOUT, in, out);
}

static void
estimate_open(struct purse *p)
{
    p->counted = xalloc(sizeof(*p->counted));
    p->counted->model = p->model;
    if (p->cache)
        cache_scan(p->cache, sample_row, p->counted, NULL);
}

/* ---- what is open ---- */

static int
cache_again(struct purse *p, struct error *e)
{
    const struct remote_options *o = p->options;
    char *folder = purse_cache_folder(node_run_dir(p->node), node_id(p->node), o->cache);
    int rc = 0;

    if (o->cache_bytes == 0 || (p->folder && strcmp(p->folder, folder) != 0)) {
        if (p->cache)
            cache_flush(p->cache, CACHE_BYTES_MAX, NULL);
        cache_close(p->cache);
        p->cache = NULL;
    }
    if (o->cache_bytes > 0 && !p->cache && (!getenv(PURSE_ESTIMATE) || shared_exists(folder))) {
        p->cache = cache_open(folder, e);
        rc = p->cache ? 0 : error_wrap(e, "cache");
    }
    free(p->folder);
    p->folder = folder;
    return rc;
}

static int
settings_read(struct purse *p, struct error *e)
{
    int rc = purse_price(p->options, p->model, &p->price, e);

    if (rc == 0 && p->options->budget_usd > 0 && !p->price.known && !getenv(PURSE_ESTIMATE))
        rc = error_set(e, ERROR_topology, no_price, p->model);
    return rc;
}

struct purse *
purse_open(struct node *n, const struct remote_options *o, const char *model, struct error *e)
{
    struct purse *p = xalloc(sizeof(*p));
    const char *run = node_run_dir(n);
    char *folder = purse_ledger_folder(run, node_id(n));
    int rc;

    p->node = n;
    p->options = o;
    p->model = xtext(model);
    p->payer = XXH64(run, strlen(run), 0);
    rc = settings_read(p, e);
    if (rc == 0) {
        p->ledger = ledger_open(folder, node_replica(n), e);
        rc = p->ledger ? 0 : error_wrap(e, "ledger");
    }
    if (rc == 0)
        rc = cache_again(p, e);
    free(folder);
    if (rc == 0 && getenv(PURSE_ESTIMATE))
        estimate_open(p);
    if (rc == 0)
        return p;
    purse_close(p);
    return NULL;
}

void
purse_close(struct purse *p)
{
    if (!p)
        return;
    if (p->cache)
        cache_flush(p->cache, p->options->cache_bytes, NULL);
    cache_close(p->cache);
    ledger_close(p->ledger);
    if (p->counted)
        free(p->counted->keys);
    free(p->counted);
    free(p->folder);
    free(p->model);
    free(p);
}

void
purse_changed(struct purse *p)
{
    struct price before = p->price;
    struct error why;

    if (settings_read(p, &why) != 0) {
        p->price = before;
        node_log(p->node, LOG_error, "the prices stay as they were: %s", why.text);
    }
    if (cache_again(p, &why) != 0)
        node_log(p->node, LOG_error, "no answer is kept or looked up: %s", why.text);
}

/* ---- the cache ---- */

bool
purse_caches(const struct purse *p)
{
    return p->cache != NULL;
}

bool
purse_find(struct purse *p, const struct cache_key *key, uint64_t ordinal,
           struct cache_answer *out)
{
    if (!p->cache || !cache_find(p->cache, key, out))
        return false;
    if (out->payer != p->payer || out->ordinal != ordinal)
        out->tokens_in = out->tokens_out = 0, out->money = 0;
    return true;
}

void
purse_keep(struct purse *p, const struct cache_key *key, uint64_t ordinal, struct span body,
           uint64_t tokens_in, uint64_t tokens_out, int64_t money)
{
    struct cache_answer a = {.model = span_text(p->model),
                             .body = body,
                             .tokens_in = tokens_in,
                             .tokens_out = tokens_out,
                             .money = money,
                             .time = (int64_t)time(NULL),
                             .payer = p->payer,
                             .ordinal = ordinal};

    if (p->cache)
        cache_put(p->cache, key, &a);
}

void
purse_forget(struct purse *p, const struct cache_key *key)
{
    if (p->cache)
        cache_forget(p->cache, key);
}

/* ---- the ledger ---- */

void
purse_begin(struct purse *p)
{
    p->empty = false;
}

static bool
has_budget(const struct purse *p)
{
    return p->options->budget_usd > 0 || p->options->budget_tokens > 0;
}

static struct amount
limit_of(const struct purse *p)
{
    const struct remote_options *o = p->options;

    return (struct amount){
        o->budget_usd > 0 ? (int64_t)(o->budget_usd * (double)PRICE_USD) : LEDGER_NONE,
        o->budget_tokens > 0 ? o->budget_tokens : LEDGER_NONE,
    };
}

int
purse_reserve(struct purse *p, uint64_t tokens_in, uint64_t tokens_out, struct amount *aside,
              bool *may, struct error *e)
{
    struct amount most = {price_of(&p->price, tokens_in, 0, tokens_out),
                          (int64_t)(tokens_in + tokens_out)};
    struct amount limit = limit_of(p);

    *may = true;
    if (!has_budget(p))
        return 0;
    if (!p->begun) {
        int rc = ledger_begin(p->ledger, e);
        if (rc != 0)
            return error_wrap(e, "ledger");
        p->begun = true;
    }
    *may = ledger_reserve(p->ledger, &most, &limit);
    p->empty = p->empty || !*may;
    if (*may)
        *aside = most;
    return 0;
}

double
purse_when(const struct purse *p)
{
    return has_budget(p) ? p->committed + GATHER_SECONDS : 0;
}

int
purse_commit(struct purse *p, struct error *e)
{
    int rc;

    if (!p->begun)
        return 0;
    p->begun = false;
    rc = ledger_commit(p->ledger, e);
    p->committed = node_now(p->node);
    return rc == 0 ? 0 : error_wrap(e, "ledger");
}

int64_t
purse_settle(struct purse *p, const struct amount *aside, uint64_t tokens_in, uint64_t cached,
             uint64_t tokens_out)
{
    int64_t money = price_of(&p->price, tokens_in, cached, tokens_out);

    ledger_settle(p->ledger, aside, span_text(p->model), tokens_in, tokens_out, money);
    return money;
}

void
purse_lose(struct purse *p, const struct amount *aside)
{
    if (aside->money || aside->tokens)
        ledger_lose(p->ledger, aside);
}

void
purse_return(struct purse *p, const struct amount *aside)
{
    if (aside->money || aside->tokens)
        ledger_return(p->ledger, aside);
}

int
purse_flush(struct purse *p, struct error *e)
{
    double now = node_now(p->node);
    struct error why;
    int rc = p->cache ? cache_flush(p->cache, p->options->cache_bytes, &why) : 0;

    if (rc != 0 && !p->warned)
        node_log(p->node, LOG_warning, "answers are not kept: %s", why.text);
    p->warned = rc != 0;
    if (!has_budget(p) && !p->counted && now - p->flushed < FLUSH_SECONDS)
        return 0;
    p->flushed = now;
    rc = ledger_flush(p->ledger, e);
    return rc == 0 ? 0 : error_wrap(e, "ledger");
}

int
purse_keep_up(struct purse *p, struct error *e)
{
    return node_now(p->node) - p->flushed < FLUSH_SECONDS ? 0 : purse_flush(p, e);
}

/* ---- words ---- */

bool
purse_empty(const struct purse *p)
{
    return p->empty;
}

void
purse_words(const struct purse *p, char *text, size_t room)
{
    const struct remote_options *o = p->options;
    const struct ledger_sums *s = ledger_sums(p->ledger);
    bool idle = s->aside.money == 0 && s->aside.tokens == 0;
    bool usd = o->budget_usd > 0;
    char sum[120];

    text[0] = 0;
    if (!has_budget(p) && p->price.known && s->spent.money > 0)
        snprintf(text, room, "%.4f USD spent", (double)s->spent.money / (double)PRICE_USD);
    if (!has_budget(p))
        return;
    if (usd)
        snprintf(sum, sizeof(sum), "%.4f of %.4f USD spent, %.4f more set aside",
                 (double)s->spent.money / (double)PRICE_USD, o->budget_usd,
                 (double)s->aside.money / (double)PRICE_USD);
    else
        snprintf(sum, sizeof(sum), "%" PRId64 " of %" PRId64 " tokens spent, %" PRId64
                                   " more set aside",
                 s->spent.tokens, o->budget_tokens, s->aside.tokens);
    if (p->empty && idle)
        snprintf(text, room, "over budget: %s; a higher %s goes on", sum,
                 usd ? "budget_usd" : "budget_tokens");
    else if (p->empty)
        snprintf(text, room, "the rest of the budget is set aside for calls in flight: %s", sum);
    else
        snprintf(text, room, "%s", sum);
}

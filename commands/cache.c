/* cache: what judges were answered and what it cost: list, export, import, prune. It opens the
 * environments itself, beside the processes of a run that lives (nodes/remote/shared.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "nodes/remote/cache_file.h"
#include "nodes/remote/purse.h"
#include "nodes/remote/shared.h"

static const char about[] =
    "Answers that judges behind HTTP paid for, by what was asked: the same question is not asked\n"
    "again, by no replica, after no kill, in no replay. list (the default): what each judge keeps\n"
    "and what it has spent, by model. export FILE: as JSON lines, - for standard output. import\n"
    "FILE: such lines, checked whole before the first is taken. prune: removes the oldest, or\n"
    "those of --older-than, or all. RUN may be running. NODE is needed where several judges have\n"
    "caches of their own, but for list.";

struct request {
    struct talk talk;
    int node; /* -1: every one */
    const char *verb, *file;
    bool json, rows, all;
    const char *bytes, *older;
};

struct amounts { /* values of flags with units, read as options are */
    int64_t bytes;
    double older;
};

static const struct option amount_rows[] = {
    OPT_SIZE(struct amounts, bytes, LIVE, "0", 0, 1e15, "bytes"),
    OPT_TIME(struct amounts, older, LIVE, "0s", 0, 1e10, "age"),
    OPT_END,
};

/* One judge's cache. */
struct place_of {
    const char *id;
    char *folder, *ledger;
    int64_t limit;
};

/* False: the node keeps no cache. */
static bool
find_cache(const struct request *r, int node, struct place_of *p)
{
    const struct plan_node *n = &r->talk.plan.nodes[node];
    const struct option *cache = option_find(n->kind->options, "cache");
    const struct option *bytes = option_find(n->kind->options, "cache_bytes");
    char *options;

    if (!cache || !bytes || n->serve)
        return false;
    options = xalloc(n->kind->options_size);
    *p = (struct place_of){.id = n->id};
    if (plan_options(&r->talk.plan, node, options, NULL) == 0) {
        p->limit = *(int64_t *)(options + bytes->offset);
        p->folder =
            purse_cache_folder(r->talk.dir, n->id, *(const char **)(options + cache->offset));
        p->ledger = purse_ledger_folder(r->talk.dir, n->id);
        options_fini(n->kind->options, options);
    }
    free(options);
    return p->folder != NULL;
}

static void
place_free(struct place_of *p)
{
    free(p->folder);
    free(p->ledger);
}

/* ---- list ---- */

struct model_sums {
    char *name;
    int64_t answers;
    struct ledger_row paid;
};

struct listing {
    const struct request *request;
    const char *id;
    int64_t first, last; /* seconds since 1970 */
    int count;
    struct model_sums models[LEDGER_MODELS_MAX];
};

static struct model_sums *
model_of(struct listing *l, struct span name)
{
    for (int i = 0; i < l->count; i++)
        if (span_is(name, l->models[i].name))
            return &l->models[i];
    if (l->count == LEDGER_MODELS_MAX)
        return NULL;
    l->models[l->count] = (struct model_sums){.name = span_copy(name)};
    return &l->models[l->count++];
}

static void
print_row(const struct listing *l, const struct cache_key *key, const struct cache_answer *a,
          int64_t bytes)
{
    char hex[2 * CACHE_KEY_BYTES + 1];
    json_t *row;

    for (int i = 0; i < CACHE_KEY_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", key->at[i]);
    row = json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:f,s:I}", "node", l->id, "key", hex, "model",
                    json_stringn(a->model.at, a->model.length) ?: json_string("?"), "time",
                    (json_int_t)a->time, "tokens_in", (json_int_t)a->tokens_in, "tokens_out",
                    (json_int_t)a->tokens_out, "usd", (double)a->money / (double)PRICE_USD,
                    "bytes", (json_int_t)bytes);
    json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(row);
}

static bool
list_row(void *own, const struct cache_key *key, const struct cache_answer *a, int64_t bytes)
{
    struct listing *l = own;
    struct model_sums *m = model_of(l, a->model);

    if (m)
        m->answers++;
    if (!l->first || a->time < l->first)
        l->first = a->time;
    if (a->time > l->last)
        l->last = a->time;
    if (l->request->rows)
        print_row(l, key, a, bytes);
    return !ferror(stdout);
}

static void
list_paid(void *own, struct span model, const struct ledger_row *row)
{
    struct model_sums *m = model_of(own, model);

    if (m)
        m->paid = *row;
}

static double
usd(int64_t money)
{
    return (double)money / (double)PRICE_USD;
}

static void
show_json(const struct listing *l, const struct place_of *p, const struct cache_sums *kept,
          const struct ledger_sums *paid)
{
    json_t *models = json_object(), *row;

    for (int i = 0; i < l->count; i++) {
        const struct model_sums *m = &l->models[i];
        json_object_set_new(models, m->name,
                            json_pack("{s:I,s:I,s:I,s:I,s:f}", "answers", (json_int_t)m->answers,
                                      "calls", (json_int_t)m->paid.calls, "tokens_in",
                                      (json_int_t)m->paid.tokens_in, "tokens_out",
                                      (json_int_t)m->paid.tokens_out, "usd",
                                      usd(m->paid.spent.money)));
    }
    row = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:f,s:I,s:f,s:f,s:o}", "node", p->id, "folder",
                    p->folder, "answers", (json_int_t)kept->answers, "bytes",
                    (json_int_t)kept->bytes, "limit", (json_int_t)p->limit, "calls",
                    (json_int_t)paid->calls, "spent_usd", usd(paid->spent.money), "spent_tokens",
                    (json_int_t)paid->spent.tokens, "lost_usd", usd(paid->lost.money),
                    "aside_usd", usd(paid->aside.money), "models", models);
    json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(row);
}

static void
show(const struct listing *l, const struct place_of *p, const struct cache_sums *kept,
     const struct ledger_sums *paid)
{
    char first[32] = "", last[32] = "";
    time_t from = (time_t)l->first, to = (time_t)l->last;
    struct tm tm;

    if (l->last && localtime_r(&from, &tm))
        strftime(first, sizeof(first), "%F", &tm);
    if (l->last && localtime_r(&to, &tm))
        strftime(last, sizeof(last), "%F", &tm);
    printf("%s: %" PRId64 " answers kept, %.1f of %.1f MB%s%s%s%s\n", p->id, kept->answers,
           (double)kept->bytes / 1e6, (double)p->limit / 1e6, *first ? ", of " : "", first,
           *first ? " to " : "", last);
    printf("  spent %.6f USD, %" PRId64 " tokens, in %" PRId64 " answered calls; of these %.6f USD"
           " for answers that never came; set aside %.6f USD\n",
           usd(paid->spent.money), paid->spent.tokens, paid->calls, usd(paid->lost.money),
           usd(paid->aside.money));
    for (int i = 0; i < l->count; i++) {
        const struct model_sums *m = &l->models[i];
        printf("  %s: %" PRId64 " answers; paid here: %" PRId64 " calls, %" PRId64
               " tokens read, %" PRId64 " written, %.6f USD\n",
               m->name, m->answers, m->paid.calls, m->paid.tokens_in, m->paid.tokens_out,
               usd(m->paid.spent.money));
    }
}

static int
list_one(const struct request *r, const struct place_of *p, struct error *e)
{
    struct listing l = {.request = r, .id = p->id};
    struct cache_sums kept = {0};
    struct ledger_sums paid;
    struct cache *c = NULL;
    int rc = ledger_read(p->ledger, &paid, list_paid, &l, e);

    if (rc == 0 && shared_exists(p->folder)) {
        c = cache_open(p->folder, e);
        rc = c ? cache_sums(c, &kept, e) : e->code;
    }
    if (rc == 0 && c)
        rc = cache_scan(c, list_row, &l, e);
    cache_close(c);
    if (rc == 0 && r->json && !r->rows)
        show_json(&l, p, &kept, &paid);
    else if (rc == 0 && !r->rows)
        show(&l, p, &kept, &paid);
    for (int i = 0; i < l.count; i++)
        free(l.models[i].name);
    return rc;
}

/* ---- export, import, prune ---- */

static int
export_one(const struct request *r, struct cache *c, struct error *e)
{
    bool here = strcmp(r->file, "-") == 0;
    char *aside = xprint("%s.part", r->file);
    FILE *out = here ? stdout : fopen(aside, "we");
    int64_t answers;
    int rc = out ? cache_export(c, out, &answers, e)
                 : error_set(e, ERROR_file, "%s: %s", aside, strerror(errno));

    if (out && !here) {
        bool synced = fsync(fileno(out)) == 0;
        if ((fclose(out) != 0 || !synced || (rc == 0 && rename(aside, r->file) != 0)) && rc == 0)
            rc = error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "%s: %s", r->file,
                           strerror(errno));
        if (rc != 0)
            unlink(aside);
    }
    if (rc == 0)
        fprintf(stderr, "sluice cache: %" PRId64 " answers exported\n", answers);
    free(aside);
    return rc;
}

static int
import_one(const struct request *r, struct cache *c, int64_t limit, struct error *e)
{
    FILE *in = fopen(r->file, "re");
    struct cache_sums before, after;
    int64_t answers;
    int rc;

    if (!in)
        return error_set(e, ERROR_file, "%s: %s", r->file, strerror(errno));
    rc = cache_sums(c, &before, e);
    if (rc == 0)
        rc = cache_import(c, in, r->file, limit > 0 ? limit : CACHE_BYTES_MAX, &answers, e);
    if (rc == 0)
        rc = cache_sums(c, &after, e);
    fclose(in);
    if (rc == 0)
        printf(r->json ? "{\"read\":%" PRId64 ",\"before\":%" PRId64 ",\"answers\":%" PRId64 "}\n"
                       : "%" PRId64 " answers read; %" PRId64 " were kept before, %" PRId64
                         " are now\n",
               answers, before.answers, after.answers);
    return rc;
}

static int
prune_one(const struct request *r, struct cache *c, struct error *e)
{
    struct amounts a = {0};
    struct cache_sums gone;
    int64_t before = INT64_MIN;
    int rc = options_init(amount_rows, &a, e);

    if (rc == 0 && r->bytes)
        rc = options_set(amount_rows, &a, "bytes", r->bytes, e);
    if (rc == 0 && r->older)
        rc = options_set(amount_rows, &a, "older", r->older, e);
    if (rc != 0)
        return error_set(e, ERROR_usage, "--bytes takes a size (64MiB), --older-than a time (30d)");
    if (!r->bytes && !r->older && !r->all)
        return error_set(e, ERROR_usage, "prune needs --bytes, --older-than or --all");
    if (r->older)
        before = (int64_t)time(NULL) - (int64_t)a.older;
    rc = cache_prune(c, r->all ? 0 : r->bytes ? a.bytes : -1, before, &gone, e);
    if (rc == 0)
        printf(r->json ? "{\"removed\":%" PRId64 ",\"bytes\":%" PRId64 "}\n"
                       : "%" PRId64 " answers removed, %" PRId64 " bytes\n",
               gone.answers, gone.bytes);
    return rc;
}

static int
work_on(const struct request *r, const struct place_of *p, struct error *e)
{
    struct cache *c;
    int rc;

    if (strcmp(r->verb, "list") == 0)
        return list_one(r, p, e);
    c = cache_open(p->folder, e);
    if (!c)
        return e->code;
    rc = strcmp(r->verb, "export") == 0   ? export_one(r, c, e)
         : strcmp(r->verb, "import") == 0 ? import_one(r, c, p->limit, e)
                                          : prune_one(r, c, e);
    cache_close(c);
    return rc;
}

/* Which judge is meant, where one must be: the only one, or the one that was named. */
static int
cache_of(const struct request *r, struct error *e)
{
    int found = r->node, count = r->node >= 0;
    struct place_of p;

    for (int n = 0; n < r->talk.plan.node_count && r->node < 0; n++)
        if (find_cache(r, n, &p)) {
            found = n;
            count++;
            place_free(&p);
        }
    if (count == 1)
        return found;
    return error_set(e, ERROR_usage, count ? "several judges keep answers: sluice cache RUN NODE %s"
                                           : "no judge of this run keeps answers: nothing to %s",
                     r->verb);
}

static int
cache_work(struct request *r, struct error *e)
{
    int rc = 0, one = -1;
    bool any = false;

    if (strcmp(r->verb, "list") != 0 && (one = cache_of(r, e)) < 0)
        return one;
    for (int n = 0; n < r->talk.plan.node_count && rc == 0; n++) {
        struct place_of p;
        if ((r->node >= 0 && n != r->node) || (one >= 0 && n != one) || !find_cache(r, n, &p))
            continue;
        any = true;
        rc = work_on(r, &p, e);
        place_free(&p);
    }
    if (rc == 0 && !any && r->node >= 0)
        return error_set(e, ERROR_usage, "'%s' keeps no answers",
                         r->talk.plan.nodes[r->node].id);
    if (rc == 0 && !any && !r->json)
        puts("no judge of this run keeps answers");
    return rc;
}

static bool
is_verb(const char *word)
{
    return strcmp(word, "list") == 0 || strcmp(word, "export") == 0 ||
           strcmp(word, "import") == 0 || strcmp(word, "prune") == 0;
}

static int
words_read(struct request *r, const struct words *words, struct error *e)
{
    const char *id = NULL;
    int i = 1;

    if (i < words->count && !is_verb(words->at[i]))
        id = words->at[i++];
    r->verb = i < words->count ? words->at[i++] : "list";
    if (!is_verb(r->verb))
        return error_set(e, ERROR_usage, "'%s' is not one of list, export, import, prune", r->verb);
    if (r->verb[0] == 'e' || r->verb[0] == 'i') {
        if (i == words->count)
            return error_set(e, ERROR_usage, "%s needs a file", r->verb);
        r->file = words->at[i++];
    }
    if (i < words->count)
        return error_set(e, ERROR_usage, "'%s' is one word too many", words->at[i]);
    return id ? talk_node(&r->talk, id, &r->node, e) : 0;
}

int
command_cache(int argc, char **argv)
{
    struct request r = {.node = -1};
    const struct flag flags[] = {
        {FLAG_on, 0, "answers", NULL, &r.rows, "list: one JSON line for each answer"},
        {FLAG_text, 0, "bytes", "SIZE", &r.bytes, "prune: the oldest, until so much is left"},
        {FLAG_text, 0, "older-than", "TIME", &r.older, "prune: what came so long ago, e.g. 30d"},
        {FLAG_on, 0, "all", NULL, &r.all, "prune: everything"},
        {FLAG_on, 0, "json", NULL, &r.json, "as JSON"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code = flags_read(flags, "cache [RUN [NODE]] [list|export FILE|import FILE|prune]", about,
                          argc, argv, 0, 4, &words);
    struct error e = {0};

    if (code >= 0)
        return code;
    r.json = talk_json_wanted(r.json);
    int rc = talk_open(&r.talk, words.at[0], &e);
    if (rc == 0)
        rc = words_read(&r, &words, &e);
    if (rc == 0)
        rc = cache_work(&r, &e);
    talk_close(&r.talk);
    return rc == 0 ? 0 : talk_fail("cache", &e);
}

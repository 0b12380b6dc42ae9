/* estimate: what judges behind HTTP would cost, before anything is paid: `sluice run --estimate`.
 *
 * The part of the graph above the judges, and the judges, run for real in a private folder that is
 * removed afterwards, but calls are only counted (nodes/remote/purse.h). So the figures are those
 * of the very requests that a run would send: windows, repeated votes, what a filter lets through.
 * A judge that reads what another judge says cannot be estimated, for nothing was said. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/replant.h"
#include "commands/start.h"
#include "graph/look.h"
#include "graph/supervisor.h"
#include "nodes/remote/purse.h"
#include "nodes/remote/shared.h"

#define TURN_SECONDS 0.1

/* What one judge would cost. */
struct costs {
    const char *id, *model; /* of the plan */
    struct price price;
    double budget_usd;
    int64_t judged;
    struct ledger_row cached, most, about;
};

/* The text of an option as given, or its default; NULL: there is no such row. */
static const char *
text_of(const struct plan_node *n, const char *name)
{
    const struct option *row = option_find(n->kind->options, name);

    for (int i = 0; row && i < n->option_count; i++)
        if (strcmp(n->options[i].name, name) == 0 && n->options[i].count == 1)
            return n->options[i].values[0];
    return row ? row->standard : NULL;
}

static bool
makes_calls(const struct plan_node *n)
{
    const char *backend = text_of(n, "backend");

    return option_find(n->kind->options, "budget_usd") &&
           (!backend || strcmp(backend, "http") == 0);
}

/* Marks what feeds the node, and itself. False: a judge that makes calls is among it. */
static bool
mark_above(const struct plan *p, int node, bool *keep)
{
    bool alone = true;

    for (int l = 0; l < p->nodes[node].link_count; l++) {
        int above = p->nodes[node].links[l].node;
        alone = !makes_calls(&p->nodes[above]) && mark_above(p, above, keep) && alone;
    }
    keep[node] = true;
    return alone;
}

static int
check_source(const struct plan_node *n, struct error *e)
{
    const char *follow = text_of(n, "follow"), *path = text_of(n, "path");

    if (follow && (strcmp(follow, "true") == 0 || strcmp(follow, "yes") == 0))
        return error_set(e, ERROR_usage,
                         "'%s' follows its input, which has no end to estimate up to;"
                         " --set %s.follow=false estimates what is there",
                         n->id, n->id);
    if (path && strcmp(path, "-") == 0)
        return error_set(e, ERROR_usage,
                         "'%s' reads standard input, which could not be read again by the run",
                         n->id);
    return 0;
}

/* The plan of everything above judges that make calls. -> how many such judges, or an error. */
static int
part_of(const struct plan *p, struct plan *part, struct error *e)
{
    bool keep[PLAN_NODES_MAX] = {false};
    int judges = 0, rc = 0;

    for (int n = 0; n < p->node_count; n++) {
        bool above[PLAN_NODES_MAX] = {false};
        if (!makes_calls(&p->nodes[n]))
            continue;
        if (!mark_above(p, n, above)) {
            fprintf(stderr, "sluice run: '%s' reads what another judge says: not estimated\n",
                    p->nodes[n].id);
            continue;
        }
        judges++;
        for (int i = 0; i < p->node_count; i++)
            keep[i] = keep[i] || above[i];
    }
    for (int n = 0; n < p->node_count && rc == 0; n++)
        if (keep[n] && p->nodes[n].kind->source)
            rc = check_source(&p->nodes[n], e);
    if (rc != 0)
        return rc;
    replant_part(p, keep, part);
    return judges;
}

/* ---- running it ---- */

static bool
sampled(const struct supervisor *s, long sample)
{
    for (int i = 0; sample > 0 && i < s->count; i++)
        if (json_integer_value(json_object_get(s->workers[i].status, "emitted")) >= sample)
            return true;
    return false;
}

static int
supervise(const char *dir, long sample, struct error *e)
{
    struct supervisor s = {.grace = SUPERVISOR_GRACE};
    int go_on = 1, rc = supervisor_open(&s, dir, e);
    bool drained = false;

    while (rc == 0 && go_on == 1) {
        go_on = supervisor_turn(&s, TURN_SECONDS, e);
        if (go_on < 0)
            rc = go_on;
        if (go_on == 1 && !drained && sampled(&s, sample)) {
            supervisor_drain(&s);
            drained = true;
        }
    }
    if (rc == 0 && s.state.phase == RUN_failed)
        rc = error_set(e, ERROR_internal, "%s", s.state.why);
    if (rc == 0 && s.signal_first != 0)
        rc = error_set(e, ERROR_paused, "stopped");
    supervisor_close(&s);
    return rc;
}

/* The answers that a run's judges were given before are looked up where they are. */
static int
caches_link(const struct plan *part, const char *run, const char *dir, struct error *e)
{
    char *whole = run ? realpath(run, NULL) : NULL;
    int rc = 0;

    for (int n = 0; whole && n < part->node_count && rc == 0; n++) {
        char *there = purse_cache_folder(whole, part->nodes[n].id, "");
        char *here = purse_cache_folder(dir, part->nodes[n].id, "");
        if (shared_exists(there) && symlink(there, here) != 0)
            rc = error_set(e, ERROR_file, "%s: %s", here, strerror(errno));
        free(there);
        free(here);
    }
    free(whole);
    return rc;
}

static int
run_part(struct plan *part, const char *run, const char *folder, long sample, char **dir,
         struct error *e)
{
    char *inside = xprint("%s/run", folder);
    struct lock lock = {-1};
    int rc = start_run_id(&part->run_id, e);

    if (rc == 0)
        rc = run_make(part->name, inside, dir, e);
    if (rc == 0)
        rc = run_lock(*dir, &lock, e);
    if (rc == 0)
        rc = caches_link(part, run, *dir, e);
    if (rc == 0)
        rc = run_begin(*dir, part, part->file, e);
    if (rc == 0 && setenv(PURSE_ESTIMATE, "1", 1) != 0)
        rc = error_set(e, ERROR_internal, "setenv: %s", strerror(errno));
    if (rc == 0)
        rc = supervise(*dir, sample, e);
    unsetenv(PURSE_ESTIMATE);
    lock_drop(&lock);
    free(inside);
    return rc;
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* ---- reading what was counted ---- */

static void
take_row(void *own, struct span model, const struct ledger_row *row)
{
    struct costs *c = own;

    *(span_is(model, PURSE_CACHED) ? &c->cached
      : span_is(model, PURSE_MOST) ? &c->most
                                   : &c->about) = *row;
}

static int64_t
metric(const struct place *place, const struct plan *part, int node, const char *name)
{
    json_t *status = look_peek(place, part, node, 0);
    int64_t v = json_integer_value(json_object_get(json_object_get(status, "metrics"), name));

    json_decref(status);
    return v;
}

/* The options that every judge has by these names. */
static void
read_options(const struct plan *part, int node, struct costs *c, struct remote_options *o)
{
    const struct plan_node *n = &part->nodes[node];
    char *options = xalloc(n->kind->options_size);

    *o = (struct remote_options){.prices = ""};
    c->model = text_of(n, "model");
    if (plan_options(part, node, options, NULL) == 0) {
        const struct option *table = n->kind->options;
        o->prices = *(const char **)(options + option_find(table, "prices")->offset);
        o->price_in = *(double *)(options + option_find(table, "price_in")->offset);
        o->price_out = *(double *)(options + option_find(table, "price_out")->offset);
        c->budget_usd = *(double *)(options + option_find(table, "budget_usd")->offset);
        if (purse_price(o, c->model, &c->price, NULL) != 0)
            c->price.known = false;
        options_fini(table, options);
    }
    free(options);
}

static int
read_costs(const struct plan *part, const char *dir, int node, struct costs *c, struct error *e)
{
    struct remote_options options;
    struct ledger_sums sums;
    struct place place = {0};
    char *folder = purse_ledger_folder(dir, part->nodes[node].id);
    int rc = place_open(&place, dir, e);

    *c = (struct costs){.id = part->nodes[node].id};
    read_options(part, node, c, &options);
    if (rc == 0)
        rc = ledger_read(folder, &sums, take_row, c, e);
    if (rc == 0)
        c->judged = metric(&place, part, node, "samples");
    place_close(&place);
    free(folder);
    return rc;
}

/* ---- telling ---- */

static double
usd(const struct ledger_row *row)
{
    return (double)row->spent.money / (double)PRICE_USD;
}

static json_t *
costs_json(const struct costs *c)
{
    json_t *money = c->price.known ? json_pack("{s:f,s:f}", "about", usd(&c->about), "most",
                                               usd(&c->most))
                                   : json_null();

    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:{s:I,s:I},s:{s:I,s:I},s:o,s:f}", "node", c->id,
                     "model", c->model, "judged", (json_int_t)c->judged, "calls",
                     (json_int_t)c->most.calls, "cached", (json_int_t)c->cached.calls,
                     "tokens_in", "about", (json_int_t)c->about.tokens_in, "most",
                     (json_int_t)c->most.tokens_in, "tokens_out", "about",
                     (json_int_t)c->about.tokens_out, "most", (json_int_t)c->most.tokens_out,
                     "usd", money, "budget_usd", c->budget_usd);
}

static void
costs_show(const struct costs *c)
{
    printf("%s: model %s\n", c->id, c->model);
    printf("  %" PRId64 " responses judged in %" PRId64 " calls; %" PRId64
           " more that the cache answers\n",
           c->judged, c->most.calls, c->cached.calls);
    printf("  tokens read: about %" PRId64 ", at most %" PRId64 "; written: about %" PRId64
           ", at most %" PRId64 "\n",
           c->about.tokens_in, c->most.tokens_in, c->about.tokens_out, c->most.tokens_out);
    if (!c->price.known)
        printf("  money: not known without price_in and price_out, or a row in prices\n");
    else
        printf("  money: about %.4f USD, at most %.4f USD%s\n", usd(&c->about), usd(&c->most),
               c->budget_usd > 0 && usd(&c->most) > c->budget_usd
                   ? "; budget_usd may be spent before the end"
                   : "");
}

static void
tell(const struct costs *all, int count, int64_t rollouts, int64_t steps, long sample, bool json)
{
    json_t *judges = json_array(), *root;

    if (!json)
        printf("%s%" PRId64 " rollouts, %" PRId64 " steps; no call was made\n",
               sample ? "of the first " : "", rollouts, steps);
    for (int i = 0; i < count; i++) {
        json_array_append_new(judges, costs_json(&all[i]));
        if (!json)
            costs_show(&all[i]);
    }
    root = json_pack("{s:I,s:I,s:b,s:o}", "rollouts", (json_int_t)rollouts, "steps",
                     (json_int_t)steps, "sampled", sample > 0, "judges", judges);
    if (json) {
        json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
        putchar('\n');
    }
    json_decref(root);
}

static int
tell_all(const struct plan *part, const char *dir, long sample, bool json, struct error *e)
{
    struct costs *all = xarray((size_t)part->node_count + 1, sizeof(*all));
    struct place place = {0};
    int64_t rollouts = 0, steps = 0;
    int count = 0, rc = place_open(&place, dir, e);

    for (int n = 0; n < part->node_count && rc == 0; n++) {
        rollouts += metric(&place, part, n, "rollouts");
        steps += metric(&place, part, n, "steps");
        if (makes_calls(&part->nodes[n]))
            rc = read_costs(part, dir, n, &all[count++], e);
    }
    if (rc == 0)
        tell(all, count, rollouts, steps, sample, json);
    place_close(&place);
    free(all);
    return rc;
}

int
estimate(const struct plan *plan, const char *run, long sample, bool json)
{
    const char *base = getenv("TMPDIR");
    char *folder = xprint("%s/sluice-estimate-XXXXXX", base && *base ? base : "/tmp"), *dir = NULL;
    struct plan part = {0};
    struct error e = {0};
    int judges = part_of(plan, &part, &e), rc = judges < 0 ? judges : 0;

    if (sample > 0 && (uint64_t)sample < part.max_lead)
        part.max_lead = (uint64_t)sample; /* so that not much more is read */
    if (judges == 0) {
        puts(json ? "{\"rollouts\":null,\"steps\":null,\"sampled\":false,\"judges\":[]}"
                  : "no judge of this topology makes calls: it costs nothing");
    } else if (rc == 0 && !mkdtemp(folder)) {
        rc = error_set(&e, ERROR_file, "%s: %s", folder, strerror(errno));
    } else if (rc == 0) {
        rc = run_part(&part, run, folder, sample, &dir, &e);
        if (rc == 0)
            rc = tell_all(&part, dir, sample, json, &e);
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    plan_free(&part);
    free(folder);
    free(dir);
    return rc == 0 ? 0 : talk_fail("run", &e);
}

/* replant: choosing nodes, changing options, copying stores, finding the cut. */
#include "commands/replant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/core.h"
#include "graph/interval.h"
#include "nodes/remote/purse.h"
#include "nodes/remote/shared.h"

#define COPY_TRIES 200      /* looks at a process between living and not */

/* ---- the plan ---- */

/* node and everything that reads from it, directly or not. */
static void
below(const struct plan *p, int node, bool *in)
{
    memset(in, 0, PLAN_NODES_MAX * sizeof *in);
    in[node] = true;
    for (int n = node + 1; n < p->node_count; n++)      /* topological order: one pass */
        for (int l = 0; l < p->nodes[n].link_count; l++)
            in[n] = in[n] || in[p->nodes[n].links[l].node];
}

static void
options_copy(const struct plan_node *from, struct plan_node *to)
{
    to->option_count = from->option_count;
    to->options = xarray((size_t)from->option_count + 1, sizeof *to->options);
    for (int i = 0; i < from->option_count; i++) {
        const struct plan_option *a = &from->options[i];
        struct plan_option *b = &to->options[i];
        *b = (struct plan_option){
            .name = xtext(a->name), .count = a->count, .line = a->line, .column = a->column};
        b->values = xarray((size_t)a->count + 1, sizeof *b->values);
        for (int k = 0; k < a->count; k++)
            b->values[k] = xtext(a->values[k]);
    }
}

static void
node_copy(const struct plan_node *from, struct plan_node *to, bool serve, uint64_t generation,
          const int *renamed)
{
    to->id = xtext(from->id);
    to->kind = node_kind_find(from->kind->name);    /* declared ports are made anew from its options */
    to->listen = xtext(from->listen ? from->listen : "");
    to->line = from->line;
    to->column = from->column;
    to->serve = serve;
    to->generation = generation;
    options_copy(from, to);
    /* What serves keeps its whole table, for each replica has a store; what runs anew begins with
     * the last count. */
    to->row_count = serve ? from->row_count : 1;
    to->rows = xarray((size_t)to->row_count, sizeof *to->rows);
    if (serve)
        memcpy(to->rows, from->rows, (size_t)to->row_count * sizeof *to->rows);
    else
        to->rows[0].count = from->rows[from->row_count - 1].count;
    to->link_count = serve ? 0 : from->link_count;
    to->links = xarray((size_t)to->link_count + 1, sizeof *to->links);
    for (int l = 0; l < to->link_count; l++) {
        to->links[l] = from->links[l];
        to->links[l].node = renamed[from->links[l].node];
    }
}

static void
option_replace(struct plan_node *n, const char *name, const char *value)
{
    int at = 0;
    while (at < n->option_count && strcmp(n->options[at].name, name) != 0)
        at++;
    if (at == n->option_count) {
        n->options = xresize(n->options, (size_t)(at + 1) * sizeof *n->options);
        n->options[n->option_count++] = (struct plan_option){.name = xtext(name)};
    }
    struct plan_option *o = &n->options[at];
    for (int i = 0; i < o->count; i++)
        free(o->values[i]);
    o->values = xresize(o->values, sizeof *o->values);
    o->values[0] = xtext(value);
    o->count = 1;
    o->line = o->column = 0;
}

/* "node.option=value" on a node that runs anew. */
static int
set_apply(struct plan *p, const struct plan *old, const char *set, struct error *e)
{
    const char *equals = strchr(set, '='), *dot = strchr(set, '.');
    if (equals == NULL || dot == NULL || dot > equals)
        return error_set(e, ERROR_usage, "--set '%s' is not NODE.OPTION=VALUE", set);
    char *id = span_copy(span_of(set, (size_t)(dot - set)));
    char *name = span_copy(span_of(dot + 1, (size_t)(equals - dot - 1)));
    int n = plan_find(p, id), rc = 0;
    if (plan_find(old, id) < 0)
        rc = error_set(e, ERROR_usage, "--set '%s': the run has no node '%s'", set, id);
    else if (n < 0 || p->nodes[n].serve)
        rc =
            error_set(e, ERROR_usage,
                      "--set '%s': '%s' does not run anew; replay it, or a node above it", set, id);
    else if (strcmp(name, "replicas") == 0 &&
             (atoi(equals + 1) < 1 || atoi(equals + 1) > PLAN_REPLICAS_MAX ||
              p->nodes[n].kind->terminal || p->nodes[n].kind->source))
        rc = error_set(e, ERROR_usage, "--set '%s': not a number of replicas for '%s'", set, id);
    else if (strcmp(name, "replicas") == 0)
        p->nodes[n].rows[0].count = atoi(equals + 1);
    else if (option_find(p->nodes[n].kind->options, name) == NULL &&
             option_find(node_common_options, name) == NULL)
        rc = error_set(e, ERROR_topology,
                       "--set '%s': '%s' has no option '%s'; `sluice help %s` lists them", set, id,
                       name, p->nodes[n].kind->name);
    else
        option_replace(&p->nodes[n], name, equals + 1);
    free(id);
    free(name);
    return rc;
}

/* Did a source of the old run follow its input? Then what is below it was made for windows. */
static bool
followed(const struct plan *p)
{
    bool found = false;
    for (int n = 0; n < p->node_count && !found; n++) {
        const struct node_kind *kind = p->nodes[n].kind;
        const struct option *row = kind->source ? option_find(kind->options, "follow") : NULL;
        char *options = xalloc(kind->options_size ? kind->options_size : 1);
        if (row != NULL && row->kind == OPTION_bool && plan_options(p, n, options, NULL) == 0) {
            found = *(bool *)(options + row->offset);
            options_fini(kind->options, options);
        }
        free(options);
    }
    return found;
}

/* The checks of the kinds, on the nodes that run anew: values, files, combinations. */
static int
node_check(const struct plan *p, int node, bool endless, struct error *e)
{
    const struct plan_node *n = &p->nodes[node];
    struct node_common common;
    struct input links[PLAN_LINKS_MAX];
    void *options = xalloc(n->kind->options_size ? n->kind->options_size : 1);
    int rc = plan_common(p, node, &common, e);
    bool filled = false;
    if (rc == 0) {
        rc = plan_options(p, node, options, e);
        filled = rc == 0;
    }
    memset(links, 0, sizeof links);
    for (int l = 0; l < n->link_count; l++)
        links[l] = (struct input){
            .port = n->links[l].port, .link = l, .from = p->nodes[n->links[l].node].id};
    struct check check = {.node = n->id,
                          .options = options,
                          .seed = p->seed,
                          .link_count = n->link_count,
                          .links = links,
                          .endless = endless};
    if (rc == 0 && n->kind->check != NULL)
        rc = n->kind->check(&check, e);
    if (filled)
        options_fini(n->kind->options, options);
    free(options);
    return rc == 0 ? 0 : error_wrap(e, "node '%s'", n->id);
}

/* Links name ports by index: a replay may change much, but not what ports a node declares. */
static int
ports_kept(struct plan *made, int node, const struct plan *old, struct error *e)
{
    struct plan_node *n = &made->nodes[node];
    const struct port *was = old->nodes[plan_find(old, n->id)].kind->ports;
    int rc = plan_declare(made, node, e);
    const struct port *now = n->kind->ports;
    if (rc != 0 || n->declared == NULL)
        return rc;
    for (; now->direction != PORT_END && now->direction == was->direction &&
           now->message == was->message && strcmp(now->name, was->name) == 0;
         now++)
        was++;
    return now->direction == was->direction && now->direction == PORT_END
               ? 0
               : error_set(e, ERROR_topology,
                           "node '%s': a replay cannot change its ports; start a new run", n->id);
}

int
replant_plan(const struct plan *old, int node, int set_count, char *const *sets, struct plan *made,
             struct error *e)
{
    bool anew[PLAN_NODES_MAX], feeds[PLAN_NODES_MAX] = {false};
    int renamed[PLAN_NODES_MAX], rc = 0;
    uint64_t generation = 0;
    if (old->nodes[node].link_count == 0)
        return error_set(e, ERROR_usage, "'%s' has no inputs; a new run replays everything",
                         old->nodes[node].id);
    below(old, node, anew);
    for (int n = 0; n < old->node_count; n++) {
        if (old->nodes[n].generation > generation)
            generation = old->nodes[n].generation;
        for (int l = 0; l < old->nodes[n].link_count && anew[n]; l++)
            feeds[old->nodes[n].links[l].node] = true;
    }
    memset(made, 0, sizeof *made);
    made->name = xtext(old->name);
    made->seed = old->seed;
    made->run_id = xtext("");
    made->file = xtext(old->file);
    made->folder = xtext(old->folder);
    made->max_lead = old->max_lead;
    made->nodes = xarray((size_t)old->node_count, sizeof *made->nodes);
    for (int n = 0; n < old->node_count; n++) {
        if (!anew[n] && !feeds[n])
            continue;
        renamed[n] = made->node_count;
        node_copy(&old->nodes[n], &made->nodes[made->node_count++], !anew[n], generation + 1,
                  renamed);
    }
    for (int i = 0; i < set_count && rc == 0; i++)
        rc = set_apply(made, old, sets[i], e);
    for (int n = 0; n < made->node_count && rc == 0; n++)
        rc = ports_kept(made, n, old, e);
    for (int n = 0; n < made->node_count && rc == 0; n++)
        if (!made->nodes[n].serve)
            rc = node_check(made, n, followed(old), e);
    if (rc != 0)
        plan_free(made);
    return rc;
}

void
replant_part(const struct plan *old, const bool *keep, struct plan *made)
{
    int renamed[PLAN_NODES_MAX];
    memset(made, 0, sizeof *made);
    made->name = xtext(old->name);
    made->seed = old->seed;
    made->run_id = xtext("");
    made->file = xtext(old->file);
    made->folder = xtext(old->folder);
    made->max_lead = old->max_lead;
    made->nodes = xarray((size_t)old->node_count + 1, sizeof *made->nodes);
    for (int n = 0; n < old->node_count; n++) {
        if (!keep[n])
            continue;
        struct plan_node *node = &made->nodes[made->node_count];
        renamed[n] = made->node_count++;
        node_copy(&old->nodes[n], node, false, 0, renamed);
        node->rows[0].count = 1;
        node->listen[0] = 0;
    }
}

/* ---- the stores ---- */

/* One store into an empty folder: by its process while it lives, from the file under its lock when
 * it is down. */
static int
copy_one(struct talk *from, const char *id, int replica, const char *folder, struct error *e)
{
    int node = plan_find(&from->plan, id), rc = ERROR_locked;
    char *path = place_store(&from->place, id, replica),
         *lock = place_store_lock(&from->place, id, replica);
    struct error own = {0};
    for (int i = 0; i < COPY_TRIES && rc == ERROR_locked; i++) {
        struct store *s = store_peek(path, lock, &own);
        if (s != NULL) {
            rc = store_copy(s, folder, &own);
            store_close(s);
        } else if (own.code == ERROR_file) {
            rc = 0;     /* never started: it has sent nothing */
        } else if (own.code != ERROR_locked) {
            rc = own.code;
        } else {
            json_t *reply = NULL;
            rc = talk_process(from, node, replica,
                              json_pack("{s:s,s:s}", "ask", "copy", "folder", folder), TALK_WORK_MS,
                              &reply, &own);
            json_decref(reply);
            if (rc == ERROR_wire) {
                rc = ERROR_locked;      /* it starts or ends just now */
                talk_nap();
            }
        }
    }
    free(path);
    free(lock);
    return rc == 0 ? 0 : error_set(e, rc, "copy of %s.%d: %s", id, replica, own.text);
}

static bool
key_visit(void *own, struct span key, struct span value)
{
    (void)value;
    if (key.length == 8) {
        uint64_t ordinal = store_read_u64(key.at);
        intervals_add(own, ordinal, ordinal + 1);
    }
    return true;
}

/* What the copies of one node hold on one port, all replicas, and what was ever sent there. */
static int
held_on(const struct place *place, const struct plan_node *n, int port, struct intervals *held,
        struct intervals *sent, struct error *e)
{
    for (int r = 0; r < plan_replicas(n); r++) {
        char *path = place_store(place, n->id, r), *lock = place_store_lock(place, n->id, r);
        struct error own = {0};
        struct store *s = store_peek(path, lock, &own);
        if (s != NULL) {
            store_scan(s, TABLE_out + port, span_of(NULL, 0), key_visit, held);
            for (uint64_t at = 0; !set_read(s, SET_sent, (unsigned)port, at, 10000, sent);)
                at = intervals_top(sent);
            store_close(s);
        }
        free(path);
        free(lock);
        if (s == NULL && own.code != ERROR_file)
            return error_set(e, own.code, "%s", own.text);
    }
    uint64_t first = intervals_gap(held, 0);
    if (first < intervals_gap(sent, 0))
        return error_set(
            e, ERROR_store,
            "'%s' no longer keeps ordinal %llu of its port '%s' (retain: acknowledged)", n->id,
            (unsigned long long)first, n->kind->ports[port].name);
    return 0;
}

/* If the group of the ordinal before `cut` reaches beyond it, the cut moves down to the group's
 * first ordinal. */
static uint64_t
cut_to_group(const struct place *place, const struct plan_node *n, int port, uint64_t cut)
{
    for (int r = 0; r < plan_replicas(n) && cut > 0; r++) {
        char *path = place_store(place, n->id, r), *lock = place_store_lock(place, n->id, r);
        struct store *s = store_peek(path, lock, NULL);
        struct span value;
        struct record record = {0};
        unsigned char key[8];
        store_u64(key, cut - 1);
        if (s != NULL && store_get(s, TABLE_out + port, span_of(key, 8), &value) &&
            record_read(value, &record) && record.first < cut && record.first + record.size > cut)
            cut = record.first;
        store_close(s);
        free(path);
        free(lock);
    }
    return cut;
}

/* The ordinal below which every port that is read has everything, in whole groups. */
static int
cut_find(const struct place *place, struct plan *p, struct error *e)
{
    uint64_t cut = ORDINAL_MAX;
    int rc = 0;
    for (int pass = 0; pass < 2 && rc == 0; pass++)
        for (int n = 0; n < p->node_count; n++)
            for (int l = 0; l < p->nodes[n].link_count && rc == 0; l++) {
                const struct plan_link *link = &p->nodes[n].links[l];
                const struct plan_node *feeder = &p->nodes[link->node];
                struct intervals held = {0}, sent = {0};
                if (!feeder->serve)
                    continue;
                if (pass == 1) {
                    cut = cut_to_group(place, feeder, link->output, cut);
                    continue;
                }
                rc = held_on(place, feeder, link->output, &held, &sent, e);
                uint64_t gap = intervals_gap(&held, 0);
                cut = gap < cut ? gap : cut;
                intervals_free(&held);
                intervals_free(&sent);
            }
    for (int n = 0; n < p->node_count; n++)
        p->nodes[n].cut = p->nodes[n].serve ? cut : 0;
    return rc;
}

/* What the judges that run anew were answered before: a call with the same prompt costs nothing
 * again. A cache that lies outside the run is there anyhow. */
static int
caches_copy(struct talk *from, const struct plan *made, const struct place *to, struct error *e)
{
    int rc = 0;
    for (int n = 0; n < made->node_count && rc == 0; n++) {
        const struct plan_node *node = &made->nodes[n];
        if (node->serve || option_find(node->kind->options, "cache") == NULL)
            continue;
        char *old = purse_cache_folder(from->dir, node->id, "");
        char *folder = purse_cache_folder(to->run, node->id, "");
        char *data = xprint("%s/data.mdb", folder);
        unlink(data);
        if (shared_exists(old))
            rc = shared_copy(old, folder, e);
        if (rc != 0)
            error_wrap(e, "copy of the cache of '%s'", node->id);
        free(old);
        free(folder);
        free(data);
    }
    return rc;
}

int
replant_stores(struct talk *from, struct plan *made, const char *dir, struct error *e)
{
    struct place place = {0};
    int rc = place_open(&place, dir, e);
    for (int n = 0; n < made->node_count && rc == 0; n++)
        for (int r = 0; r < plan_replicas(&made->nodes[n]) && rc == 0 && made->nodes[n].serve;
             r++) {
            char *folder = place_store(&place, made->nodes[n].id, r);
            char *data = xprint("%s/data.mdb", folder);
            unlink(data);       /* of a replay that was cut short; its run was never begun */
            rc = copy_one(from, made->nodes[n].id, r, folder, e);
            free(data);
            free(folder);
        }
    if (rc == 0)
        rc = caches_copy(from, made, &place, e);
    if (rc == 0)
        rc = cut_find(&place, made, e);
    for (int n = 0; n < made->node_count && rc == 0; n++)
        for (int r = 0; r < plan_replicas(&made->nodes[n]) && rc == 0 && made->nodes[n].serve;
             r++) {
            char *path = place_store(&place, made->nodes[n].id, r),
                 *lock = place_store_lock(&place, made->nodes[n].id, r);
            char *data = xprint("%s/data.mdb", path);
            if (access(data, F_OK) == 0)
                rc = store_adopt(path, lock, made->run_id, made->nodes[n].generation, e);
            free(path);
            free(lock);
            free(data);
        }
    place_close(&place);
    return rc;
}

/* plan: questions about a plan. It is written and read in plan_file.c, made from YAML in
 * topology.c. */
#include "graph/plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void
option_free(struct plan_option *o)
{
    for (int i = 0; i < o->count; i++)
        free(o->values[i]);
    free(o->values);
    free(o->name);
}

void
plan_node_free(struct plan_node *n)
{
    for (int i = 0; i < n->option_count; i++)
        option_free(&n->options[i]);
    free(n->options);
    free(n->links);
    free(n->rows);
    free(n->listen);
    free(n->id);
    if (n->declared)
        free((void *)n->declared->ports);
    free(n->declared);
    *n = (struct plan_node){0};
}

void
plan_free(struct plan *p)
{
    for (int i = 0; i < p->node_count; i++)
        plan_node_free(&p->nodes[i]);
    free(p->nodes);
    free(p->name);
    free(p->run_id);
    free(p->file);
    free(p->folder);
    *p = (struct plan){0};
}

int
plan_find(const struct plan *p, const char *node_id)
{
    for (int i = 0; i < p->node_count; i++)
        if (strcmp(p->nodes[i].id, node_id) == 0)
            return i;
    return -1;
}

int
plan_replicas(const struct plan_node *n)
{
    int most = 1;

    for (int i = 0; i < n->row_count; i++)
        if (n->rows[i].count > most)
            most = n->rows[i].count;
    return most;
}

/* The mix is part of the run's format: another one would send stored messages elsewhere. It spreads
 * groups, whose first ordinals are often multiples of one size. */
int
plan_route(const struct plan_node *n, uint64_t first)
{
    uint64_t z = first + 0x9e3779b97f4a7c15;
    int      row = 0;

    while (row + 1 < n->row_count && n->rows[row + 1].first <= first)
        row++;
    if (n->row_count == 0 || n->rows[row].count <= 1)
        return 0;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return (int)(z % (uint64_t)n->rows[row].count);
}

bool
plan_is_terminal(const struct plan *p, int node)
{
    for (int i = 0; i < p->node_count; i++)
        for (int k = 0; k < p->nodes[i].link_count; k++)
            if (p->nodes[i].links[k].node == node)
                return false;
    return true;
}

/* ---- options ---- */

static int
fill(const struct plan_node *n, const struct option *table, void *options, struct error *e)
{
    for (int i = 0; i < n->option_count; i++) {
        const struct plan_option *o = &n->options[i];
        int                       rc = 0;

        if (!option_find(table, o->name))
            continue;
        if (o->count == 0)
            rc = options_clear(table, options, o->name, e);
        for (int k = 0; k < o->count && rc == 0; k++)
            rc = options_set(table, options, o->name, o->values[k], e);
        if (rc != 0)
            return error_wrap(e, "node '%s'", n->id);
    }
    return 0;
}

static int
complete(const struct plan_node *n, const struct option *table, struct error *e)
{
    unsigned char *given = xalloc((size_t)option_count(table) + 1);
    int            rc;

    for (int i = 0; i < option_count(table); i++)
        for (int k = 0; k < n->option_count; k++)
            if (strcmp(table[i].name, n->options[k].name) == 0)
                given[i] = 1;
    rc = options_complete(table, given, e);
    free(given);
    return rc == 0 ? 0 : error_wrap(e, "node '%s'", n->id);
}

/* Is the value the name of something else than the file or folder that would lie here? */
static bool
is_name(const struct option *o, const char *path)
{
    struct stat s;
    bool found = stat(path, &s) == 0;

    if (o->kind == OPTION_model)
        return !found || !S_ISDIR(s.st_mode);
    return o->kind == OPTION_named && (!found || S_ISDIR(s.st_mode));
}

/* Relative paths start at the topology's folder. "" is unset and "-" is standard input: both stay.
 * So does a model's name that is no folder there (some server knows it), and another name that is
 * no file there (the kind knows it). */
void
plan_resolve_paths(const struct option *table, void *options, const char *folder)
{
    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        const char **path = (const char **)((char *)options + o->offset);
        char        *whole;

        if ((o->kind != OPTION_path && o->kind != OPTION_model && o->kind != OPTION_named) || !*path ||
            !**path || **path == '/' || strcmp(*path, "-") == 0)
            continue;
        whole = xprint("%s/%s", folder, *path);
        if (is_name(o, whole)) {
            free(whole);
            continue;
        }
        free((void *)*path);
        *path = whole;
    }
}

int
plan_options(const struct plan *p, int node, void *options, struct error *e)
{
    const struct plan_node *n = &p->nodes[node];
    const struct option    *table = n->kind->options;
    int                     rc = options_init(table, options, e);

    for (int i = 0; i < n->option_count && rc == 0; i++) {
        const char *name = n->options[i].name;

        if (!option_find(table, name) && !option_find(node_common_options, name))
            rc = error_set(e, ERROR_topology, "node '%s': option '%.60s' is unknown", n->id, name);
    }
    if (rc == 0)
        rc = fill(n, table, options, e);
    if (rc == 0)
        rc = complete(n, table, e);
    if (rc != 0) {
        options_fini(table, options);
        return rc;
    }
    plan_resolve_paths(table, options, p->folder);
    return 0;
}

int
plan_node_declare(struct plan_node *n, struct check *c, struct error *e)
{
    struct port *ports = NULL;
    bool         terminal = true;

    if (!n->kind->declare)
        return 0;
    int rc = n->kind->declare(c, &ports, e);
    if (rc != 0)
        return rc;
    for (int i = 0; ports[i].direction != PORT_END; i++)
        terminal &= ports[i].direction != PORT_OUT;
    n->declared = xalloc(sizeof(*n->declared));
    *n->declared = *n->kind;
    n->declared->declare = NULL;
    n->declared->ports = ports;
    n->declared->terminal = terminal;
    n->kind = n->declared;
    return 0;
}

int
plan_declare(struct plan *p, int node, struct error *e)
{
    struct plan_node *n = &p->nodes[node];
    struct check      c = {.node = n->id, .seed = p->seed};
    void             *options;

    if (!n->kind->declare)
        return 0;
    options = xalloc(n->kind->options_size + 1);
    int rc = plan_options(p, node, options, e);
    if (rc == 0) {
        c.options = options;
        rc = plan_node_declare(n, &c, e);
        options_fini(n->kind->options, options);
        if (rc != 0)
            error_wrap(e, "node '%s'", n->id);
    }
    free(options);
    return rc;
}

int
plan_common(const struct plan *p, int node, struct node_common *common, struct error *e)
{
    int rc = options_init(node_common_options, common, e);

    return rc == 0 ? fill(&p->nodes[node], node_common_options, common, e) : rc;
}

/* ---- differences ---- */

/* What an option was given as, for people: 'a', 'b' or its default. */
static void
shown(const struct plan_node *n, const struct option *row, struct buffer *out)
{
    for (int i = 0; i < n->option_count; i++) {
        const struct plan_option *o = &n->options[i];

        if (strcmp(o->name, row->name) != 0)
            continue;
        buffer_text(out, o->count == 0 ? "[]" : "");
        for (int k = 0; k < o->count; k++)
            buffer_print(out, "%s'%s'", k ? ", " : "", o->values[k]);
        return;
    }
    buffer_print(out, "'%s'", row->standard ? row->standard : "");
}

/* Paths that are written alike differ by the folder they are taken from. */
static void
compare_shown(const struct plan_node *a, const struct plan_node *b, const struct option *o,
              struct buffer *out)
{
    struct buffer before = {0}, after = {0};

    shown(a, o, &before);
    shown(b, o, &after);
    if (before.length == after.length && memcmp(before.at, after.at, after.length) == 0)
        buffer_print(out, "%.*s is in another folder now\n", (int)before.length, before.at);
    else
        buffer_print(out, "%.*s -> %.*s\n", (int)before.length, before.at, (int)after.length, after.at);
    buffer_free(&before);
    buffer_free(&after);
}

static int
compare_options(const struct plan_node *a, const struct plan_node *b, const struct option *table,
                const void *x, const void *y, struct buffer *out)
{
    int count = 0;

    for (const struct option *o = table; o && o->kind != OPTION_end; o++) {
        if (o->change == LIVE || option_same(o, x, y))
            continue;
        buffer_print(out, "node '%s': option '%s': ", a->id, o->name);
        compare_shown(a, b, o, out);
        count++;
    }
    return count;
}

static int
compare_links(const struct plan *p, const struct plan_node *a, const struct plan *q,
              const struct plan_node *b, struct buffer *out)
{
    bool same = a->link_count == b->link_count;

    for (int i = 0; same && i < a->link_count; i++) {
        const struct plan_link *l = &a->links[i], *m = &b->links[i];

        same = l->port == m->port && l->output == m->output &&
               strcmp(p->nodes[l->node].id, q->nodes[m->node].id) == 0;
    }
    if (same)
        return 0;
    buffer_print(out, "node '%s': its inputs differ\n", a->id);
    return 1;
}

static int
compare_node(const struct plan *p, int i, const struct plan *q, int k, struct buffer *out)
{
    const struct plan_node *a = &p->nodes[i], *b = &q->nodes[k];
    struct node_common      ca, cb;
    struct error            e = {0};
    void                   *x, *y;
    int                     count;

    if (strcmp(a->kind->name, b->kind->name) != 0) {
        buffer_print(out, "node '%s': kind '%s' -> '%s'\n", a->id, a->kind->name, b->kind->name);
        return 1;
    }
    count = compare_links(p, a, q, b, out);
    x = xalloc(a->kind->options_size);
    y = xalloc(a->kind->options_size);
    if (plan_options(p, i, x, &e) == 0) {
        if (plan_options(q, k, y, &e) == 0) {
            count += compare_options(a, b, a->kind->options, x, y, out);
            options_fini(a->kind->options, y);
        }
        options_fini(a->kind->options, x);
    }
    if (e.code == 0 && plan_common(p, i, &ca, &e) == 0 && plan_common(q, k, &cb, &e) == 0)
        count += compare_options(a, b, node_common_options, &ca, &cb, out);
    if (e.code != 0) {
        buffer_print(out, "%s\n", e.text);
        count++;
    }
    free(x);
    free(y);
    return count;
}

int
plan_difference(const struct plan *a, const struct plan *b, struct buffer *out)
{
    int count = 0;

    if (a->seed != b->seed) {
        buffer_print(out, "seed: %llu -> %llu\n", (unsigned long long)a->seed,
                     (unsigned long long)b->seed);
        count++;
    }
    for (int i = 0; i < a->node_count; i++) {
        int k = plan_find(b, a->nodes[i].id);

        if (k >= 0) {
            count += compare_node(a, i, b, k, out);
            continue;
        }
        buffer_print(out, "node '%s': is gone\n", a->nodes[i].id);
        count++;
    }
    for (int k = 0; k < b->node_count; k++)
        if (plan_find(a, b->nodes[k].id) < 0) {
            buffer_print(out, "node '%s': is new\n", b->nodes[k].id);
            count++;
        }
    return count;
}

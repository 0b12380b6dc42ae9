/* topology: from a YAML file to a plan. This file reads keys and nodes; topology_options.c a node's
 * options, topology_links.c what concerns more than one node. */
#include "graph/topology.h"

#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "graph/address.h"
#include "graph/expand.h"
#include "graph/text.h"

/* ---- problems ---- */

static void
problem_add(struct topology *t, int line, int column, char *text)
{
    if (t->problem_count < TOPOLOGY_PROBLEMS_MAX)
        t->problems[t->problem_count] = (struct problem){line, column, text};
    else
        free(text);
    t->problem_count++;
}

void
topology_problem(struct topology *t, int line, int column, const char *format, ...)
{
    char    text[ERROR_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    problem_add(t, line, column, xtext(text));
}

void
topology_fault(struct topology *t, struct draft *d, const struct outline *at, const char *format,
               ...)
{
    char    text[ERROR_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    d->broken = true;
    if (!at)
        at = d->yaml;
    problem_add(t, at->line, at->column,
                *d->id ? xprint("node '%s': %s", d->id, text) : xprint("node: %s", text));
}

static int
by_place(const void *a, const void *b)
{
    const struct problem *x = a, *y = b;

    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

/* One line per problem, in the order of the file. The first is the error. */
static int
report(struct topology *t, struct buffer *out, struct error *e)
{
    int kept = t->problem_count < TOPOLOGY_PROBLEMS_MAX ? t->problem_count : TOPOLOGY_PROBLEMS_MAX;

    /* Insertion keeps problems of one place in the order they were found. */
    for (int i = 1; i < kept; i++)
        for (int k = i; k > 0 && by_place(&t->problems[k - 1], &t->problems[k]) > 0; k--) {
            struct problem swap = t->problems[k];

            t->problems[k] = t->problems[k - 1];
            t->problems[k - 1] = swap;
        }
    for (int i = 0; i < kept; i++) {
        const struct problem *p = &t->problems[i];
        char *line = p->line ? xprint("%s:%d:%d: %s", t->path, p->line, p->column, p->text)
                             : xprint("%s: %s", t->path, p->text);

        if (i == 0)
            error_set(e, ERROR_topology, "%s", line);
        if (out)
            buffer_print(out, "%s\n", line);
        free(line);
        free(t->problems[i].text);
    }
    if (out && t->problem_count > kept)
        buffer_print(out, "%s: %d more problems\n", t->path, t->problem_count - kept);
    return kept ? ERROR_topology : 0;
}

/* ---- values ---- */

const char *
topology_value_kind(const struct outline *y)
{
    return y->kind == OUTLINE_scalar     ? "one value"
           : y->kind == OUTLINE_sequence ? "a list"
                                         : "a mapping";
}

const char *
topology_text(struct topology *t, struct draft *d, struct outline *y, const char *what)
{
    struct buffer b = {0};
    struct error  e;

    if (y->kind != OUTLINE_scalar) {
        if (d)
            topology_fault(t, d, y, "%s: %s where one value belongs", what, topology_value_kind(y));
        else
            topology_problem(t, y->line, y->column, "%s: %s where one value belongs", what,
                             topology_value_kind(y));
        return NULL;
    }
    if (y->expanded)
        return y->text;
    if (expand(y->text, &b, &e) != 0 ||
        (!text_is_utf8(buffer_span(&b)) &&
         error_set(&e, ERROR_topology, "after expansion it is not UTF-8 text"))) {
        if (d)
            topology_fault(t, d, y, "%s: %s", what, e.text);
        else
            topology_problem(t, y->line, y->column, "%s: %s", what, e.text);
        buffer_free(&b);
        return NULL;
    }
    free(y->text);
    y->text = span_copy(buffer_span(&b));
    y->expanded = true;
    buffer_free(&b);
    return y->text;
}

/* A key that is neither a row nor structured. */
static void
unknown_keys(struct topology *t, struct draft *d, const struct outline *map,
             const struct option *rows, const char *const *structured)
{
    const char *names[16];
    int         n = 0;

    for (const struct option *o = rows; o->kind != OPTION_end; o++)
        names[n++] = o->name;
    for (int i = 0; structured[i]; i++)
        names[n++] = structured[i];
    names[n] = NULL;
    for (int i = 0; i < map->count; i++) {
        const struct outline *key = map->keys[i];
        const char        *near = nearest(key->text, names);
        bool               known = false;
        char              *text;

        for (int k = 0; k < n; k++)
            known |= strcmp(names[k], key->text) == 0;
        if (known)
            continue;
        text = near ? xprint("key '%.60s' is unknown; did you mean '%s'?", key->text, near)
                    : xprint("key '%.60s' is unknown", key->text);
        if (d)
            topology_fault(t, d, key, "%s", text);
        else
            topology_problem(t, key->line, key->column, "%s", text);
        free(text);
    }
}

/* The rows' words say "option"; a key of the file is a key. */
static void
key_problem(struct topology *t, struct draft *d, const struct outline *at, const char *key,
            const struct error *e)
{
    const char *text = strncmp(e->text, "option '", 8) == 0 ? strstr(e->text, "': ") : NULL;

    text = text ? text + 3 : e->text;
    if (d)
        topology_fault(t, d, at, "%s: %s", key, text);
    else
        topology_problem(t, at->line, at->column, "%s: %s", key, text);
}

static void
read_key(struct topology *t, struct draft *d, struct outline *map, const struct option *rows,
         void *out, const char *key)
{
    struct outline *y = outline_find(map, key);
    const char  *text = y ? topology_text(t, d, y, key) : NULL;
    struct error e;

    if (text && options_set(rows, out, key, text, &e) != 0)
        key_problem(t, d, y, key, &e);
}

/* ---- nodes ---- */

static void
check_id(struct topology *t, struct draft *d, const struct outline *at)
{
    size_t n = strlen(d->id), ok = strspn(d->id, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    if (n == 0 || ok != n || !islower((unsigned char)d->id[0])) {
        topology_problem(t, at->line, at->column,
                         "node id '%.60s': use a-z, 0-9, _ and -, beginning with a letter", d->id);
        d->broken = true;
    } else if (n > TOPOLOGY_ID_BYTES_MAX) {
        topology_problem(t, at->line, at->column, "node id '%.60s': longer than %d characters",
                         d->id, TOPOLOGY_ID_BYTES_MAX);
        d->broken = true;
    }
    for (struct draft *other = t->drafts; other < d; other++)
        if (n > 0 && strcmp(other->id, d->id) == 0) {
            topology_problem(t, at->line, at->column,
                             "node id '%s' is there twice; first at line %d", d->id,
                             other->yaml->line);
            d->broken = true;
            return;
        }
}

static void
find_kind(struct topology *t, struct draft *d, const struct outline *at)
{
    const char *names[PLAN_NODES_MAX];
    const char *near;
    int         n = 0;

    d->node.kind = node_kind_find(at->text);
    if (d->node.kind)
        return;
    for (; node_kind_at(n) && n < PLAN_NODES_MAX - 1; n++)
        names[n] = node_kind_at(n)->name;
    names[n] = NULL;
    near = nearest(at->text, names);
    topology_fault(t, d, at,
                   near ? "kind '%.60s' is unknown; did you mean '%s'?" : "kind '%.60s' is unknown",
                   at->text, near);
}

static bool
present(const char *when)
{
    return *when && strcmp(when, "no") != 0 && strcmp(when, "false") != 0 && strcmp(when, "0") != 0;
}

/* An address that can be taken, and that no node before it takes. */
static void
check_listen(struct topology *t, struct draft *d)
{
    const struct outline *at = outline_find(d->yaml, "listen");
    struct address        a, b;
    struct error          e;

    if (!*d->keys.listen)
        return;
    if (address_read(d->keys.listen, (int)d->keys.replicas, &a, &e) != 0) {
        topology_fault(t, d, at, "%s", e.text);
        return;
    }
    if (d->node.kind->terminal)
        topology_fault(t, d, at, "listen: a %s sends to nobody; leave it away", d->node.kind->name);
    for (const struct draft *o = t->drafts; o < d; o++)
        if (!o->absent && o->node.kind && *o->keys.listen &&
            address_read(o->keys.listen, (int)o->keys.replicas, &b, NULL) == 0 &&
            address_overlap(&a, (int)d->keys.replicas, &b, (int)o->keys.replicas))
            topology_fault(t, d, at,
                           "listen: node '%s' takes these ports; replica r of a node takes PORT + r",
                           o->id);
}

static void
read_node(struct topology *t, struct draft *d)
{
    struct outline *id, *kind;
    struct error    e;
    int             before = t->problem_count;

    d->id = "";
    d->place = -1;
    options_init(node_key_options, &d->keys, &e);
    if (d->yaml->kind != OUTLINE_mapping) {
        topology_fault(t, d, NULL, "%s where a mapping with id and kind belongs",
                       topology_value_kind(d->yaml));
        return;
    }
    id = outline_find(d->yaml, "id");
    kind = outline_find(d->yaml, "kind");
    if (!id || id->kind != OUTLINE_scalar) {
        topology_fault(t, d, id, "id is missing");
    } else {
        d->id = id->text;
        check_id(t, d, id);
    }
    unknown_keys(t, d, d->yaml, node_key_options, node_structured);
    read_key(t, d, d->yaml, node_key_options, &d->keys, "when");
    d->absent = !present(d->keys.when);
    if (!kind || kind->kind != OUTLINE_scalar)
        topology_fault(t, d, kind, "kind is missing");
    else
        find_kind(t, d, kind);
    if (!d->absent) {
        read_key(t, d, d->yaml, node_key_options, &d->keys, "replicas");
        read_key(t, d, d->yaml, node_key_options, &d->keys, "listen");
    }
    t->links_broken |= t->problem_count != before;
    d->node.line = d->yaml->line;
    d->node.column = d->yaml->column;
    if (d->node.kind)
        topology_read_with(t, d);
}

static void
finish_node(struct topology *t, struct draft *d)
{
    const struct option *follow;
    const struct outline *at =
        d->yaml->kind == OUTLINE_mapping ? outline_find(d->yaml, "replicas") : NULL;

    if (!d->node.kind || d->absent)
        return;
    topology_read_options(t, d);
    topology_declare(t, d);
    check_listen(t, d);
    if (d->keys.replicas > 1 && (d->node.kind->source || d->node.kind->terminal))
        topology_fault(t, d, at, "a %s has one replica, not %d", d->node.kind->name,
                       (int)d->keys.replicas);
    follow = option_find(d->node.kind->options, "follow");
    d->endless = d->node.kind->source && follow && follow->kind == OPTION_bool &&
                 *(bool *)((char *)d->options + follow->offset);
}

struct draft *
topology_find(struct topology *t, const char *id)
{
    for (int i = 0; i < t->count; i++)
        if (strcmp(t->drafts[i].id, id) == 0)
            return &t->drafts[i];
    return NULL;
}

void
topology_read_nodes(struct topology *t)
{
    struct outline *nodes = outline_find(t->root, "nodes");
    int          fresh = -1;

    if (!nodes || nodes->kind != OUTLINE_sequence || nodes->count == 0) {
        const struct outline *at = nodes ? nodes : t->root;

        topology_problem(t, at->line, at->column, "nodes: a list of nodes belongs here");
        return;
    }
    if (nodes->count > PLAN_NODES_MAX) {
        topology_problem(t, nodes->line, nodes->column, "nodes: %d are more than %d", nodes->count,
                         PLAN_NODES_MAX);
        return;
    }
    t->drafts = xarray((size_t)nodes->count, sizeof(*t->drafts));
    for (int i = 0; i < nodes->count; i++) {
        t->drafts[i].yaml = nodes->items[i];
        t->count = i + 1;
        read_node(t, &t->drafts[i]);
    }
    for (int i = 0; i < t->set_count; i++)
        topology_set(t, t->sets[i], &fresh);
    for (int i = 0; i < t->count; i++)
        finish_node(t, &t->drafts[i]);
}

/* ---- the whole ---- */

/* The name becomes part of a folder's name under runs/. */
static void
check_name(struct topology *t)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-";
    const char       *name = t->keys.name;
    const struct outline *at = outline_find(t->root, "name");

    if (strspn(name, ok) == strlen(name) && *name != '.' && strlen(name) <= TOPOLOGY_NAME_BYTES_MAX)
        return;
    topology_problem(t, at ? at->line : 0, at ? at->column : 0,
                     "name: '%.80s': use at most %d letters, digits, spaces and . _ -, not "
                     "beginning with a dot", name, TOPOLOGY_NAME_BYTES_MAX);
}

static void
read_top(struct topology *t)
{
    struct error e;

    options_init(topology_key_options, &t->keys, &e);
    if (t->root->kind != OUTLINE_mapping) {
        topology_problem(t, t->root->line, t->root->column, "%s where name, seed and nodes belong",
                         topology_value_kind(t->root));
        return;
    }
    unknown_keys(t, NULL, t->root, topology_key_options, topology_structured);
    for (const struct option *o = topology_key_options; o->kind != OPTION_end; o++)
        read_key(t, NULL, t->root, topology_key_options, &t->keys, o->name);
    topology_read_nodes(t);
    check_name(t);      /* after --set */
}

static char *
usual_name(const char *file)
{
    char *copy = xtext(file), *name = xtext(basename(copy)), *dot = strrchr(name, '.');

    if (dot && dot > name)
        *dot = 0;
    free(copy);
    return name;
}

/* Move what the drafts hold into the plan. */
static void
make_plan(struct topology *t, struct plan *p, char *file)
{
    p->name = *t->keys.name ? xtext(t->keys.name) : usual_name(file);
    p->seed = (uint64_t)t->keys.seed;
    p->max_lead = (uint64_t)t->keys.max_lead;
    p->run_id = xtext("");
    p->file = file;
    p->folder = xtext(t->folder);
    for (int i = 0; i < t->count; i++)
        p->node_count += !t->drafts[i].absent;
    p->nodes = xarray((size_t)p->node_count, sizeof(*p->nodes));
    for (int i = 0; i < t->count; i++) {
        struct draft     *d = &t->drafts[i];
        struct plan_node *n = &p->nodes[d->absent ? 0 : d->place];

        if (d->absent)
            continue;
        *n = d->node;
        d->node = (struct plan_node){.kind = n->kind};
        n->id = xtext(d->id);
        n->listen = xtext(d->keys.listen);
        n->row_count = 1;
        n->rows = xarray(1, sizeof(*n->rows));
        n->rows[0].count = (int)d->keys.replicas;
        for (int k = 0; k < n->link_count; k++)
            n->links[k].node = t->drafts[n->links[k].node].place;
    }
}

static void
topology_fini(struct topology *t)
{
    for (int i = 0; i < t->count; i++) {
        struct draft *d = &t->drafts[i];

        if (d->options)
            options_fini(d->node.kind ? d->node.kind->options : NULL, d->options);
        free(d->options);
        options_fini(node_key_options, &d->keys);
        plan_node_free(&d->node);
    }
    options_fini(topology_key_options, &t->keys);
    free(t->drafts);
    free(t->folder);
    outline_free(t->root);
}

int
topology_read(const char *path, int set_count, char *const *sets, struct plan *p,
              struct buffer *problems, struct error *e)
{
    struct topology *t = xalloc(sizeof(*t));
    char            *file = realpath(path, NULL), *copy;
    struct error     why = {0};
    int              line, column, rc;

    *p = (struct plan){0};
    t->path = path;
    t->set_count = set_count;
    t->sets = sets;
    if (file) {
        copy = xtext(file);
        t->folder = xtext(dirname(copy));
        free(copy);
        t->root = outline_read(file, &line, &column, &why);
        if (!t->root)
            topology_problem(t, line, column, "%s", why.text);
    } else {
        topology_problem(t, 0, 0, "%s", strerror(errno));
    }
    if (t->root) {
        read_top(t);
        topology_link(t);
        if (topology_order(t))
            topology_check_kinds(t);
    }
    rc = report(t, problems, e);
    if (rc == 0)
        make_plan(t, p, file);
    else
        free(file);
    topology_fini(t);
    free(t);
    return rc;
}

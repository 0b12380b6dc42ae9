/* topology_options: `with:` and --set: what was given to each node, as text for the plan and as
 * values for checks. */
#include "graph/topology.h"

#include <stdlib.h>
#include <string.h>

static struct plan_option *
option_slot(struct plan_node *n, const char *name)
{
    struct plan_option *o;

    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, name) == 0)
            return &n->options[i];
    n->options = xresize(n->options, ((size_t)n->option_count + 1) * sizeof(*n->options));
    o = &n->options[n->option_count++];
    *o = (struct plan_option){.name = xtext(name)};
    return o;
}

static void
option_add(struct plan_option *o, const char *value)
{
    o->values = xresize(o->values, ((size_t)o->count + 1) * sizeof(*o->values));
    o->values[o->count++] = xtext(value);
}

static const struct option *
row_of(const struct draft *d, const char *name)
{
    const struct option *row = option_find(d->node.kind->options, name);

    return row ? row : option_find(node_common_options, name);
}

static void
unknown_option(struct topology *t, struct draft *d, const struct outline *at, const char *name,
               const char *prefix)
{
    const char *near = option_nearest(d->node.kind->options, name);

    if (!near)
        near = option_nearest(node_common_options, name);
    if (option_find(topology_key_options, name) || option_find(node_key_options, name)) {
        topology_fault(t, d, at, "%soption '%.60s' is unknown; it is a key of the %s, outside `with`",
                       prefix, name, option_find(node_key_options, name) ? "node" : "topology");
        return;
    }
    topology_fault(t, d, at, near ? "%soption '%.60s' is unknown; did you mean '%s'?"
                                  : "%soption '%.60s' is unknown; `sluice help %s` lists them",
                   prefix, name, near ? near : d->node.kind->name);
}

/* A mapping, as name=value each. */
static void
read_pairs(struct topology *t, struct draft *d, struct outline *y, const char *what,
           struct plan_option *o)
{
    if (y->kind != OUTLINE_mapping)
        topology_fault(t, d, y, "%s: %s where {name: value} belongs", what,
                       topology_value_kind(y));
    for (int k = 0; y->kind == OUTLINE_mapping && k < y->count; k++) {
        const char *text = topology_text(t, d, y->items[k], what);
        char       *pair = text ? xprint("%s=%s", y->keys[k]->text, text) : NULL;

        if (pair)
            option_add(o, pair);
        free(pair);
    }
}

/* `with:` of a node into text; values are read later, when --set has had its say. */
void
topology_read_with(struct topology *t, struct draft *d)
{
    struct outline *with = outline_find(d->yaml, "with");

    if (with && with->kind != OUTLINE_mapping && !(with->kind == OUTLINE_scalar && !*with->text)) {
        topology_fault(t, d, with, "with: %s where options belong", topology_value_kind(with));
        return;
    }
    for (int i = 0; with && i < with->count; i++) {
        struct outline         *y = with->items[i];
        const char          *name = with->keys[i]->text;
        const struct option *row = row_of(d, name);
        struct plan_option  *o;
        char                *what;

        if (!row) {
            unknown_option(t, d, with->keys[i], name, "");
            continue;
        }
        if (d->absent)
            continue;
        o = option_slot(&d->node, name);
        o->line = y->line;
        o->column = y->column;
        what = xprint("option '%s'", name);
        if (row->kind == OPTION_pairs && y->kind != OUTLINE_scalar) {
            read_pairs(t, d, y, what, o);
        } else if (y->kind == OUTLINE_sequence && row->kind == OPTION_texts) {
            for (int k = 0; k < y->count; k++) {
                const char *text = topology_text(t, d, y->items[k], what);

                if (text)
                    option_add(o, text);
            }
        } else {
            const char *text = topology_text(t, d, y, what);

            if (text)
                option_add(o, text);
        }
        free(what);
    }
}

/* Read what was given into the kind's struct: the range and form of every value, and what is
 * missing. */
void
topology_read_options(struct topology *t, struct draft *d)
{
    const struct option *table = d->node.kind->options;
    struct node_common   common;
    struct error         e;
    unsigned char       *given = xalloc((size_t)option_count(table) + 1);

    d->options = xalloc(d->node.kind->options_size);
    if (options_init(table, d->options, &e) != 0 ||
        options_init(node_common_options, &common, &e) != 0)
        topology_fault(t, d, NULL, "%s", e.text);
    for (int i = 0; i < d->node.option_count; i++) {
        const struct plan_option *o = &d->node.options[i];
        struct outline               at = {.line = o->line, .column = o->column};
        bool                      own = option_find(table, o->name) != NULL;
        int                       rc = 0;

        if (own)
            given[option_find(table, o->name) - table] = 1;
        if (o->count == 0 && !d->broken)
            rc = options_clear(own ? table : node_common_options, own ? d->options : &common,
                               o->name, &e);
        for (int k = 0; k < o->count && rc == 0; k++)
            rc = options_set(own ? table : node_common_options, own ? d->options : &common, o->name,
                             o->values[k], &e);
        if (rc != 0)
            topology_fault(t, d, &at, "%s%s", o->line ? "" : "--set: ", e.text);
    }
    for (int i = 0; i < option_count(table); i++)
        if (!table[i].standard && !given[i])
            topology_fault(t, d, NULL, "option '%s' is missing: %s", table[i].name, table[i].help);
    plan_resolve_paths(table, d->options, t->folder);
    free(given);
}

/* --set node.option=value, and the same for keys: node.replicas=2, seed=7. */
void
topology_set(struct topology *t, const char *set, int *fresh)
{
    const char *equals = strchr(set, '='),
               *dot = memchr(set, '.', equals ? (size_t)(equals - set) : 0);
    char         *id = NULL, *name = NULL;
    struct draft *d = NULL;
    struct error  e = {0};

    if (!equals || equals == set) {
        topology_problem(t, 0, 0, "--set '%.80s': write node.option=value", set);
        return;
    }
    id = span_copy(span_of(set, (size_t)((dot ? dot : equals) - set)));
    name = dot ? span_copy(span_of(dot + 1, (size_t)(equals - dot) - 1)) : xtext(id);
    if (!dot) {
        if (options_set(topology_key_options, &t->keys, name, equals + 1, &e) != 0)
            topology_problem(t, 0, 0, "--set '%.80s': %s", set, e.text);
    } else if (!(d = topology_find(t, id))) {
        topology_problem(t, 0, 0, "--set '%.80s': there is no node '%s'", set, id);
    } else if (strcmp(name, "replicas") == 0 || strcmp(name, "listen") == 0) {
        if (options_set(node_key_options, &d->keys, name, equals + 1, &e) != 0)
            topology_problem(t, 0, 0, "--set '%.80s': %s", set, e.text);
    } else if (d->node.kind && !d->absent) {
        const struct option *row = row_of(d, name);
        struct plan_option  *o;
        struct outline          nowhere = {0};

        if (!row) {
            unknown_option(t, d, &nowhere, name, "--set: ");
        } else {
            o = option_slot(&d->node, name);
            if (o->line != 0 || !option_listed(row) || *fresh != (int)(o - d->node.options)) {
                while (o->count > 0)
                    free(o->values[--o->count]);
                o->line = o->column = 0;
            }
            *fresh = (int)(o - d->node.options);
            option_add(o, equals + 1);
        }
    }
    free(id);
    free(name);
}

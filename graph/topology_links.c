/* topology_links: what concerns more than one node: inputs, port types, leaves, cycles, the order
 * of nodes, and the kinds' own checks. */
#include "graph/topology.h"

#include <stdlib.h>
#include <string.h>

#define WORD_BYTES_MAX 200      /* of a node id as written in a link */

/* ---- ports ---- */

static int
port_find(const struct node_kind *kind, enum port_direction direction, const char *name)
{
    for (int i = 0; kind->ports[i].direction != PORT_END; i++)
        if (kind->ports[i].direction == direction && strcmp(kind->ports[i].name, name) == 0)
            return i;
    return -1;
}

/* "; did you mean 'votes'?", or the names there are. */
static void
port_hint(const struct node_kind *kind, enum port_direction direction, const char *name, char *text,
          size_t room)
{
    const char *names[PLAN_LINKS_MAX + 1];
    const char *near;
    int         n = 0;

    for (int i = 0; kind->ports[i].direction != PORT_END && n < PLAN_LINKS_MAX; i++)
        if (kind->ports[i].direction == direction)
            names[n++] = kind->ports[i].name;
    names[n] = NULL;
    near = nearest(name, names);
    if (near || n == 0) {
        snprintf(text, room, near ? "; did you mean '%s'?" : "; a %s has none",
                 near ? near : kind->name);
        return;
    }
    snprintf(text, room, "; there is");
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), room - strlen(text), "%s '%s'", i ? "," : "", names[i]);
}

bool
topology_ports_known(const struct draft *d)
{
    return !d->node.kind || !d->node.kind->declare;
}

void
topology_declare(struct topology *t, struct draft *d)
{
    struct check c = {.node = d->id, .options = d->options, .seed = (uint64_t)t->keys.seed};
    struct error e = {0};

    if (!d->broken && plan_node_declare(&d->node, &c, &e) != 0)
        topology_blame(t, d, &c, &e);
    t->links_broken |= !topology_ports_known(d);
}

/* ---- links ---- */

static bool
split(const char *text, char id[WORD_BYTES_MAX + 1], const char **output)
{
    const char *slash = strchr(text, '/');
    size_t      n = slash ? (size_t)(slash - text) : 0;

    if (n == 0 || n > WORD_BYTES_MAX || !slash[1])
        return false;
    memcpy(id, text, n);
    id[n] = 0;
    *output = slash + 1;
    return true;
}

static void
unknown_node(struct topology *t, struct draft *d, const struct outline *at, const char *what,
             const char *id)
{
    const char **names = xarray((size_t)t->count + 1, sizeof(*names));
    const char  *near;

    for (int i = 0; i < t->count; i++)
        names[i] = t->drafts[i].id;
    near = nearest(id, names);
    if (near)
        topology_fault(t, d, at, "%s: there is no node '%s'; did you mean '%s'?", what, id, near);
    else
        topology_fault(t, d, at, "%s: there is no node '%s'", what, id);
    free(names);
}

static void
link_add(struct topology *t, struct draft *d, const struct outline *at, const char *what,
         struct plan_link link)
{
    struct plan_node *n = &d->node;

    for (int i = 0; i < n->link_count; i++)
        if (n->links[i].port == link.port && n->links[i].node == link.node &&
            n->links[i].output == link.output) {
            topology_fault(t, d, at, "%s: '%s' is linked twice", what, at->text);
            return;
        }
    if (n->link_count >= PLAN_LINKS_MAX) {
        topology_fault(t, d, at, "%s: more than %d links", what, PLAN_LINKS_MAX);
        return;
    }
    n->links = xresize(n->links, ((size_t)n->link_count + 1) * sizeof(*n->links));
    n->links[n->link_count++] = link;
}

/* One "node/output". -> 1: a link, or a problem already told; 0: the node is absent. */
static int
link_one(struct topology *t, struct draft *d, int port, struct outline *y, const char *what)
{
    const struct port *in = &d->node.kind->ports[port], *out;
    const char        *text = topology_text(t, d, y, what), *output;
    struct draft      *from;
    char               id[WORD_BYTES_MAX + 1], hint[300];
    int                k;

    if (!text)
        return 1;
    if (!split(text, id, &output)) {
        topology_fault(t, d, y, "%s: '%.80s' is not node/output", what, text);
        return 1;
    }
    from = topology_find(t, id);
    if (!from) {
        unknown_node(t, d, y, what, id);
        return 1;
    }
    from->read |= !d->absent;
    if (!from->node.kind)
        return 1;
    if (!topology_ports_known(from)) {
        d->broken |= !from->absent;     /* what is wrong was told at `from` */
        return from->absent ? 0 : 1;
    }
    k = port_find(from->node.kind, PORT_OUT, output);
    if (k < 0) {
        port_hint(from->node.kind, PORT_OUT, output, hint, sizeof(hint));
        topology_fault(t, d, y, "%s: node '%s' has no output '%.40s'%s", what, id, output, hint);
        return 1;
    }
    if (from->absent)
        return 0;
    out = &from->node.kind->ports[k];
    if (in->message != MESSAGE_any && out->message != MESSAGE_any && in->message != out->message) {
        topology_fault(t, d, y, "%s takes '%s', but '%s' sends '%s'", what,
                       message_name(in->message), text, message_name(out->message));
        return 1;
    }
    link_add(t, d, y, what, (struct plan_link){port, (int)(from - t->drafts), k});
    return 1;
}

static void
link_port(struct topology *t, struct draft *d, int port, struct outline *y)
{
    const struct port *in = &d->node.kind->ports[port];
    char              *what = xprint("input '%s'", in->name);
    int                there = 0, count = y->kind == OUTLINE_sequence ? y->count : 1;

    if (y->kind == OUTLINE_mapping) {
        topology_fault(t, d, y, "%s: a mapping where node/output belongs", what);
    } else if (count == 0 && !(in->flags & PORT_OPTIONAL)) {
        topology_fault(t, d, y, "%s: an empty list", what);
    } else if (count > 1 && !(in->flags & PORT_MANY)) {
        topology_fault(t, d, y, "%s takes one link, not %d", what, count);
    } else {
        for (int i = 0; i < count; i++)
            there += link_one(t, d, port, y->kind == OUTLINE_sequence ? y->items[i] : y, what);
        if (count > 0 && there == 0 && !(in->flags & PORT_OPTIONAL))
            topology_fault(t, d, y, "%s: every node it reads is absent (when:)", what);
    }
    free(what);
}

static void
link_node(struct topology *t, struct draft *d)
{
    const struct port *ports = d->node.kind->ports;
    struct outline       *inputs = outline_find(d->yaml, "inputs");
    char               hint[300];

    if (inputs && inputs->kind != OUTLINE_mapping) {
        topology_fault(t, d, inputs, "inputs: %s where {port: node/output} belongs",
                       topology_value_kind(inputs));
        return;
    }
    for (int i = 0; inputs && i < inputs->count; i++) {
        const char *name = inputs->keys[i]->text;
        int         port = port_find(d->node.kind, PORT_IN, name);

        if (port >= 0) {
            link_port(t, d, port, inputs->items[i]);
            continue;
        }
        port_hint(d->node.kind, PORT_IN, name, hint, sizeof(hint));
        topology_fault(t, d, inputs->keys[i], "there is no input '%.40s'%s", name, hint);
    }
    for (int i = 0; ports[i].direction != PORT_END; i++)
        if (ports[i].direction == PORT_IN && !(ports[i].flags & PORT_OPTIONAL) &&
            !(inputs && outline_find(inputs, ports[i].name)))
            topology_fault(t, d, NULL, "input '%s' is missing: %s", ports[i].name, ports[i].help);
}

/* Links stand in the order of the kind's ports, and within a port by the producer's id: the order
 * in which a user wrote them changes nothing. */
static void
sort_links(struct topology *t, struct plan_node *n)
{
    for (int i = 1; i < n->link_count; i++)
        for (int k = i; k > 0; k--) {
            struct plan_link a = n->links[k - 1], b = n->links[k];
            int              order = a.port - b.port;

            if (order == 0)
                order = strcmp(t->drafts[a.node].id, t->drafts[b.node].id);
            if (order == 0)
                order = a.output - b.output;
            if (order <= 0)
                break;
            n->links[k - 1] = b;
            n->links[k] = a;
        }
}

static bool
has_outputs(const struct node_kind *kind)
{
    for (int i = 0; kind->ports[i].direction != PORT_END; i++)
        if (kind->ports[i].direction == PORT_OUT)
            return true;
    return false;
}

void
topology_link(struct topology *t)
{
    for (int i = 0; i < t->count; i++) {
        struct draft *d = &t->drafts[i];

        if (d->node.kind && !d->absent && topology_ports_known(d)) {
            int before = t->problem_count;

            link_node(t, d);
            sort_links(t, &d->node);
            t->links_broken |= t->problem_count != before;
        }
    }
    for (int i = 0; i < t->count && !t->links_broken; i++) {
        struct draft *d = &t->drafts[i];

        if (d->node.kind && !d->absent && !d->read && has_outputs(d->node.kind))
            topology_fault(t, d, NULL, "nobody reads what it sends");
    }
}

/* ---- order ---- */

static bool
ready(const struct topology *t, const struct draft *d)
{
    for (int i = 0; i < d->node.link_count; i++)
        if (t->drafts[d->node.links[i].node].place < 0)
            return false;
    return true;
}

/* Follow unplaced producers from an unplaced node until one comes again: from there on it is a
 * cycle, walked against the stream. It is told along the stream, beginning with the node that
 * stands first in the file. */
static void
name_cycle(struct topology *t, int start)
{
    int          *step = xarray((size_t)t->count + 1, sizeof(*step));
    struct buffer text = {0};
    int           at = start, count = 0, begin = 0, length, first = 0;

    for (;;) {
        const struct plan_node *n = &t->drafts[at].node;

        for (begin = 0; begin < count && step[begin] != at; begin++)
            ;
        if (begin < count)
            break;
        step[count++] = at;
        for (int i = 0; i < n->link_count; i++)
            if (t->drafts[n->links[i].node].place < 0) {
                at = n->links[i].node;
                break;
            }
    }
    length = count - begin;
    for (int i = 0; i < length; i++)        /* the i-th along the stream is step[count - 1 - i] */
        if (step[count - 1 - i] < step[count - 1 - first])
            first = i;
    for (int i = 0; i <= length; i++)
        buffer_print(&text, "%s%s", i ? " -> " : "",
                     t->drafts[step[count - 1 - (first + i) % length]].id);
    buffer_add(&text, "", 1);
    topology_fault(t, &t->drafts[step[count - 1 - first]], NULL, "a cycle: %s", text.at);
    buffer_free(&text);
    free(step);
}

/* An ordinal is one source's number: where two streams of ordinals meet they would be mixed up. */
static void
check_sources(struct topology *t)
{
    int *source = xarray((size_t)t->count + 1, sizeof(*source));    /* of each draft; -1 unknown */

    for (int place = 0; place < t->count; place++)
        for (int i = 0; i < t->count; i++) {
            struct draft *d = &t->drafts[i];

            if (d->place != place)
                continue;
            source[i] = d->node.kind && d->node.kind->source ? i : -1;
            for (int k = 0; k < d->node.link_count; k++) {
                int from = source[d->node.links[k].node];

                if (source[i] >= 0 && from >= 0 && source[i] != from)
                    topology_fault(t, d, NULL, "it joins what two sources number: '%s' and '%s'",
                                   t->drafts[source[i]].id, t->drafts[from].id);
                if (source[i] < 0)
                    source[i] = from;
            }
        }
    free(source);
}

bool
topology_order(struct topology *t)
{
    int placed = 0, start = -1;

    for (;;) {
        int i = 0;

        while (i < t->count &&
               (t->drafts[i].absent || t->drafts[i].place >= 0 || !ready(t, &t->drafts[i])))
            i++;
        if (i == t->count)
            break;
        t->drafts[i].place = placed++;
    }
    for (int i = t->count - 1; i >= 0; i--)
        if (!t->drafts[i].absent && t->drafts[i].place < 0)
            start = i;
    if (start >= 0) {
        name_cycle(t, start);
        return false;
    }
    check_sources(t);
    return true;
}

/* ---- the kinds' own checks ---- */

int
check_fail(struct check *c, const char *option, struct error *e, const char *format, ...)
{
    va_list args;
    char    text[ERROR_TEXT_MAX];

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    c->option = option;
    return option ? error_set(e, ERROR_topology, "option '%s': %s", option, text)
                  : error_set(e, ERROR_topology, "%s", text);
}

void
topology_blame(struct topology *t, struct draft *d, const struct check *c, const struct error *e)
{
    struct outline at = {.line = d->yaml->line, .column = d->yaml->column};

    for (int i = 0; c->option && i < d->node.option_count; i++)
        if (strcmp(d->node.options[i].name, c->option) == 0 && d->node.options[i].line) {
            at.line = d->node.options[i].line;
            at.column = d->node.options[i].column;
        }
    topology_fault(t, d, &at, "%s", e->text);
}

static void
check_kind(struct topology *t, struct draft *d, bool endless)
{
    struct input      *links = xarray((size_t)d->node.link_count, sizeof(*links));
    struct check       c = {.node = d->id, .options = d->options, .seed = (uint64_t)t->keys.seed,
                            .link_count = d->node.link_count, .links = links, .endless = endless};
    struct error       e = {0};

    for (int i = 0; i < d->node.link_count; i++)
        links[i] = (struct input){.port = d->node.links[i].port, .link = i,
                                  .from = t->drafts[d->node.links[i].node].id};
    if (d->node.kind->check(&c, &e) != 0)
        topology_blame(t, d, &c, &e);
    free(links);
}

static const struct plan_option *
path_given(const struct draft *d)
{
    for (int i = 0; i < d->node.option_count; i++)
        if (strcmp(d->node.options[i].name, "path") == 0 && d->node.options[i].count == 1)
            return &d->node.options[i];
    return NULL;
}

/* Two terminals that write one file would cut off each other's lines. */
static void
check_paths(struct topology *t)
{
    for (int i = 1; i < t->count; i++)
        for (int k = 0; k < i; k++) {
            const struct draft *a = &t->drafts[k];
            struct draft *b = &t->drafts[i];
            if (a->broken || a->absent || !a->node.kind || !a->node.kind->terminal || b->broken || b->absent ||
                !b->node.kind || !b->node.kind->terminal)
                continue;
            const struct plan_option *one = path_given(a), *two = path_given(b);
            if (one && two && one->values[0][0] && strcmp(one->values[0], two->values[0]) == 0) {
                struct outline at = {.line = two->line, .column = two->column};
                topology_fault(t, b, &at, "option 'path': '%s' is written by '%s' already", two->values[0], a->id);
            }
        }
}

/* Does an endless source stand above? In the order of places. */
void
topology_check_kinds(struct topology *t)
{
    bool *endless = xarray((size_t)t->count + 1, sizeof(*endless));

    check_paths(t);
    for (int place = 0; place < t->count; place++)
        for (int i = 0; i < t->count; i++) {
            struct draft *d = &t->drafts[i];

            if (d->place != place)
                continue;
            endless[i] = d->endless;
            for (int k = 0; k < d->node.link_count; k++)
                endless[i] |= endless[d->node.links[k].node];
            if (!d->broken && !d->absent && d->node.kind && d->node.kind->check)
                check_kind(t, d, endless[i]);
        }
    free(endless);
}

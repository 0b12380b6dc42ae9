/* audit: the arithmetic of sets between neighbours. */
#include "graph/audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/account.h"

/* One node: its replicas' books, and their unions. */
struct books {
    int              replicas;
    struct account  *accounts;
    struct intervals settled;
    struct intervals flight;    /* ordinals found above this node or at its door */
};

struct audit {
    const struct plan *plan;
    struct books      *books;
    json_t            *problems;
};

static void problem(struct audit *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
problem(struct audit *a, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (json_array_size(a->problems) < AUDIT_PROBLEMS_MAX)
        json_array_append_new(a->problems, json_string(text));
}

/* ---- sets ---- */

static void
add_all(struct intervals *to, const struct intervals *from)
{
    for (int64_t i = 0; i < from->count; i++)
        intervals_add(to, from->at[i].start, from->at[i].end);
}

/* First number of [start, end) that is in s; `end` when none is. */
static uint64_t
first_inside(const struct intervals *s, uint64_t start, uint64_t end)
{
    if (start >= end || intervals_has(s, start))
        return start;
    int64_t low = 0, high = s->count;
    while (low < high) {        /* the first interval that begins after start */
        int64_t middle = (low + high) / 2;
        if (s->at[middle].start <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->count && s->at[low].start < end ? s->at[low].start : end;
}

/* to += a \ b */
static void
add_difference(struct intervals *to, const struct intervals *a, const struct intervals *b)
{
    for (int64_t i = 0; i < a->count; i++)
        for (uint64_t at = a->at[i].start; at < a->at[i].end;) {
            uint64_t gap = intervals_gap(b, at);
            if (gap >= a->at[i].end)
                break;
            uint64_t stop = first_inside(b, gap, a->at[i].end);
            intervals_add(to, gap, stop);
            at = stop;
        }
}

/* Is every number of a in b? Else *first is the first that is not. */
static bool
subset(const struct intervals *a, const struct intervals *b, uint64_t *first)
{
    for (int64_t i = 0; i < a->count; i++) {
        *first = intervals_gap(b, a->at[i].start);
        if (*first < a->at[i].end)
            return false;
    }
    return true;
}

/* Adds `from` to a union that should not hold any of it; false with the first that it did. */
static bool
add_disjoint(struct intervals *to, const struct intervals *from, uint64_t *first)
{
    bool fresh = true;
    for (int64_t i = 0; i < from->count; i++) {
        uint64_t at = first_inside(to, from->at[i].start, from->at[i].end);
        if (at < from->at[i].end && fresh) {
            *first = at;
            fresh = false;
        }
        intervals_add(to, from->at[i].start, from->at[i].end);
    }
    return fresh;
}

/* ---- one process ---- */

static int64_t
closed_total(const struct account *a)
{
    int64_t total = 0;
    for (int i = 0; i < a->reason_count; i++)
        total += a->reasons[i].count;
    return total;
}

/* Within one snapshot everything must agree exactly. A source settles what it emits; a serving node
 * settles nothing new. */
static void
check_process(struct audit *a, int node, int replica)
{
    const struct plan_node *n = &a->plan->nodes[node];
    const struct account *k = &a->books[node].accounts[replica];
    unsigned long long at;
    uint64_t first;
    if (k->doubled > 0)
        problem(a, "%s.%d: %lld ordinals arrived twice on one link", n->id, replica,
                (long long)k->doubled);
    if (n->serve)
        return;
    for (int l = 0; l < k->link_count; l++) {
        struct intervals kept = {0};
        const char *from = a->plan->nodes[n->links[l].node].id;
        if (!subset(&k->settled, &k->received[l], &first)) {
            at = first;
            problem(a, "%s.%d: ordinal %llu is settled but never arrived from '%s'", n->id, replica,
                    at, from);
        }
        add_difference(&kept, &k->received[l], &k->settled);
        if (!subset(&kept, &k->kept[l], &first)) {
            at = first;
            problem(a,
                    "%s.%d: ordinal %llu from '%s' is missing: it arrived, is not settled, and is "
                    "not kept",
                    n->id, replica, at, from);
        }
        if (!subset(&k->kept[l], &kept, &first)) {
            at = first;
            problem(a, "%s.%d: ordinal %llu from '%s' is doubled: it is settled, and kept too",
                    n->id, replica, at, from);
        }
        intervals_free(&kept);
    }
    if (n->link_count == 0)
        return;
    if (k->samples + closed_total(k) != (int64_t)intervals_total(&k->settled))
        problem(a, "%s.%d: %lld samples and %lld closings are not the %llu ordinals it settled",
                n->id, replica, (long long)k->samples, (long long)closed_total(k),
                (unsigned long long)intervals_total(&k->settled));
}

/* Is the port of this node read by anyone? Only such ports are kept. */
static bool
port_linked(const struct plan *p, int node, int port)
{
    for (int c = 0; c < p->node_count; c++)
        for (int l = 0; l < p->nodes[c].link_count; l++)
            if (p->nodes[c].links[l].node == node && p->nodes[c].links[l].output == port)
                return true;
    return false;
}

static void
check_ports(struct audit *a, int node, int replica)
{
    const struct plan_node *n = &a->plan->nodes[node];
    const struct account *k = &a->books[node].accounts[replica];
    const struct intervals *base = NULL;
    uint64_t first;
    if (n->serve)
        return;
    for (int o = 0; o < k->port_count; o++) {
        if (!port_linked(a->plan, node, o))
            continue;
        if (base == NULL)
            base = n->link_count == 0 ? &k->sent[o] : &k->settled;
        if (!subset(base, &k->sent[o], &first))
            problem(a, "%s.%d: ordinal %llu is settled but was never sent on '%s'", n->id, replica,
                    (unsigned long long)first, n->kind->ports[o].name);
        if (!subset(&k->sent[o], base, &first))
            problem(a, "%s.%d: ordinal %llu was sent on '%s' but is not settled", n->id, replica,
                    (unsigned long long)first, n->kind->ports[o].name);
    }
}

/* ---- one link ---- */

/* What a producer sent on a port, all replicas; a serving node sends what lies below its cut. */
static void
sent_union(struct audit *a, int node, int port, struct intervals *sent)
{
    const struct plan_node *n = &a->plan->nodes[node];
    const struct books *b = &a->books[node];
    uint64_t first;
    for (int r = 0; r < b->replicas; r++) {
        if (b->accounts[r].sent == NULL)
            continue;
        if (!add_disjoint(sent, &b->accounts[r].sent[port], &first))
            problem(a, "%s: ordinal %llu was sent on '%s' by two replicas", n->id,
                    (unsigned long long)first, n->kind->ports[port].name);
    }
    if (!n->serve)
        return;
    struct intervals below = {0}, above = {0};
    intervals_add(&above, n->cut, UINT64_MAX);
    add_difference(&below, sent, &above);
    intervals_free(sent);
    intervals_free(&above);
    *sent = below;
}

static void
check_link(struct audit *a, int node, int link)
{
    const struct plan_node *n = &a->plan->nodes[node];
    const struct plan_link *l = &n->links[link];
    const char *from = a->plan->nodes[l->node].id,
               *port = a->plan->nodes[l->node].kind->ports[l->output].name;
    struct books *b = &a->books[node];
    struct intervals sent = {0}, received = {0};
    uint64_t first;
    sent_union(a, l->node, l->output, &sent);
    for (int r = 0; r < b->replicas; r++) {
        if (!add_disjoint(&received, &b->accounts[r].received[link], &first))
            problem(a, "link %s/%s -> %s: ordinal %llu is doubled: two replicas handled it", from,
                    port, n->id, (unsigned long long)first);
        add_all(&b->flight, &b->accounts[r].kept[link]);
    }
    if (!subset(&received, &sent, &first))
        problem(a, "link %s/%s -> %s: ordinal %llu was received but never sent", from, port, n->id,
                (unsigned long long)first);
    add_difference(&b->flight, &sent, &received);
    add_all(&b->flight, &a->books[l->node].flight);
    intervals_free(&sent);
    intervals_free(&received);
}

/* ---- the whole ---- */

/* Everything the sources above a node emitted (or serve). */
static void
emitted_above(struct audit *a, int node, bool *seen, struct intervals *emitted)
{
    const struct plan_node *n = &a->plan->nodes[node];
    if (seen[node])
        return;
    seen[node] = true;
    for (int l = 0; l < n->link_count; l++)
        emitted_above(a, n->links[l].node, seen, emitted);
    if (n->link_count > 0)
        return;
    for (int o = 0; n->kind->ports[o].direction != PORT_END; o++)
        if (port_linked(a->plan, node, o)) {
            struct intervals sent = {0};
            sent_union(a, node, o, &sent);
            add_all(emitted, &sent);
            intervals_free(&sent);
        }
}

static json_t *
node_report(struct audit *a, int node, uint64_t *read)
{
    const struct plan_node *n = &a->plan->nodes[node];
    struct books *b = &a->books[node];
    struct intervals emitted = {0}, lost = {0};
    bool seen[PLAN_NODES_MAX] = {false};
    json_t *closed = json_object();
    int64_t samples = 0;
    uint64_t first;
    emitted_above(a, node, seen, &emitted);
    if (intervals_total(&emitted) > *read)
        *read = intervals_total(&emitted);
    for (int r = 0; r < b->replicas; r++) {
        const struct account *k = &b->accounts[r];
        samples += k->samples;
        for (int i = 0; i < k->reason_count; i++) {
            json_int_t before = json_integer_value(json_object_get(closed, k->reasons[i].text));
            json_object_set_new(closed, k->reasons[i].text,
                                json_integer(before + k->reasons[i].count));
        }
    }
    if (n->link_count > 0 && !n->serve) {
        add_difference(&lost, &emitted, &b->settled);
        if (!subset(&lost, &b->flight, &first))
            problem(a,
                    "%s: ordinal %llu is missing: it was read, and is neither settled here nor on "
                    "its way",
                    n->id, (unsigned long long)first);
        if (!subset(&b->flight, &lost, &first))
            problem(a, "%s: ordinal %llu is doubled: settled here, and on its way too", n->id,
                    (unsigned long long)first);
    }
    json_t *row =
        json_pack("{s:I,s:o,s:I}", "samples", (json_int_t)samples, "closed", closed, "in_flight",
                  (json_int_t)(n->link_count > 0 && !n->serve ? intervals_total(&b->flight) : 0));
    intervals_free(&emitted);
    intervals_free(&lost);
    return row;
}

static void
check_all(struct audit *a, json_t **report)
{
    json_t *nodes = json_object();
    uint64_t read = 0, first;
    for (int n = 0; n < a->plan->node_count; n++) {
        struct books *b = &a->books[n];
        for (int r = 0; r < b->replicas; r++) {
            check_process(a, n, r);
            check_ports(a, n, r);
            if (!add_disjoint(&b->settled, &b->accounts[r].settled, &first))
                problem(a, "%s: ordinal %llu is doubled: two replicas settled it",
                        a->plan->nodes[n].id, (unsigned long long)first);
        }
        for (int l = 0; l < a->plan->nodes[n].link_count && !a->plan->nodes[n].serve; l++)
            check_link(a, n, l);
    }
    for (int n = 0; n < a->plan->node_count; n++)
        json_object_set_new(nodes, a->plan->nodes[n].id, node_report(a, n, &read));
    *report = json_pack("{s:b,s:I,s:o,s:O}", "ok", json_array_size(a->problems) == 0, "read",
                        (json_int_t)read, "nodes", nodes, "problems", a->problems);
}

int
audit_run(const struct place *place, const struct plan *p, json_t **report, struct error *e)
{
    struct audit a = {.plan = p, .problems = json_array()};
    int rc = 0;
    *report = NULL;
    a.books = xarray((size_t)p->node_count + 1, sizeof *a.books);
    /* The plan is in topological order: from its end, consumers are read before producers. */
    for (int n = p->node_count - 1; n >= 0 && rc == 0; n--) {
        struct books *b = &a.books[n];
        b->accounts = xarray((size_t)plan_replicas(&p->nodes[n]) + 1, sizeof *b->accounts);
        for (int r = 0; r < plan_replicas(&p->nodes[n]) && rc == 0; r++) {
            rc = account_take(&b->accounts[r], place, p, n, r, e);
            b->replicas += rc == 0;
        }
    }
    if (rc == 0)
        check_all(&a, report);
    for (int n = 0; n < p->node_count; n++) {
        struct books *b = &a.books[n];
        for (int r = 0; r < b->replicas; r++)
            account_free(&b->accounts[r]);
        free(b->accounts);
        intervals_free(&b->settled);
        intervals_free(&b->flight);
    }
    free(a.books);
    json_decref(a.problems);
    return rc;
}

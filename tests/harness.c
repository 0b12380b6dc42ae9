/* harness: one node on its real store, with made-up neighbours. What was given is kept, and given again after a
 * crash, as a producer would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ftw.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/core.h"
#include "tests/harness.h"

#define HARNESS_LINKS_MAX 64

struct given {
    struct record r;
    int           link;
    char         *body;
    char          reason[REASON_MAX + 1];
};

struct harness {
    char              *dir, *store, *lock;
    struct plan        plan;
    struct plan_node   nodes[2 * HARNESS_LINKS_MAX];
    struct plan_node   declared;    /* owns the ports of a kind that declares them */
    struct plan_row    row;
    struct plan_link   links[HARNESS_LINKS_MAX];
    struct plan_link   outs[STORE_PORTS_MAX];
    struct plan_option options[HARNESS_LINKS_MAX];
    char              *values[HARNESS_LINKS_MAX][HARNESS_LINKS_MAX];
    enum message       messages[HARNESS_LINKS_MAX];
    struct node       *node;
    struct given      *given;
    int64_t            given_count, given_room;
    uint64_t           sequence[HARNESS_LINKS_MAX];
    bool               ended;
    uint64_t           taken[STORE_PORTS_MAX];      /* per lane */
    struct buffer      body;
    double             clock;
};

static void
must(int rc, const struct error *e)
{
    if (rc != 0)
        fail_msg("%s", e->text);
}

static struct plan_node *
plan_add(struct harness *h, const char *id)
{
    struct plan_node *n = &h->nodes[h->plan.node_count++];
    n->id = (char *)id;
    n->rows = &h->row;
    n->row_count = 1;
    n->listen = (char *)"";
    return n;
}

static int
find_port(const struct node_kind *kind, const char *name, enum port_direction direction)
{
    for (int p = 0; kind->ports[p].direction != PORT_END; p++)
        if (kind->ports[p].direction == direction && strcmp(kind->ports[p].name, name) == 0)
            return p;
    fail_msg("kind '%s' has no port '%s'", kind->name, name);
    return -1;
}

static void
plan_options_add(struct harness *h, struct plan_node *self, const char *const *options)
{
    for (; options && options[0]; options += 2) {
        struct plan_option *o = h->options;
        while (o < h->options + self->option_count && strcmp(o->name, options[0]) != 0)
            o++;
        if (o == h->options + self->option_count) {
            self->option_count++;
            o->values = h->values[o - h->options];
        }
        o->name = (char *)options[0];
        o->values[o->count++] = (char *)options[1];
    }
    self->options = h->options;
}

/* Producers, the node, and one reader for each of its outputs. Returns the node's index. */
static int
plan_make(struct harness *h, const struct node_kind *kind, const char *const *links,
          const char *const *options)
{
    int count = 0;
    h->plan.name = (char *)"harness";
    h->plan.seed = 7;
    h->plan.run_id = (char *)"harness-run";
    h->plan.folder = h->dir;
    h->plan.file = (char *)"harness.yaml";
    h->plan.max_lead = 1ULL << 40;
    h->plan.nodes = h->nodes;
    h->row = (struct plan_row){0, 1};
    for (; links && links[2 * count]; count++) {
        const char *from = links[2 * count + 1];
        h->links[count].port = find_port(kind, links[2 * count], PORT_IN);
        h->messages[count] = kind->ports[h->links[count].port].message;
        int at = plan_find(&h->plan, from);
        if (at < 0) {
            plan_add(h, from);
            at = h->plan.node_count - 1;
        }
        h->links[count].node = at;
    }
    struct plan_node *self = plan_add(h, "node");
    int index = h->plan.node_count - 1;
    self->kind = kind;
    self->links = h->links;
    self->link_count = count;
    plan_options_add(h, self, options);
    for (int p = 0; kind->ports[p].direction != PORT_END; p++)
        if (kind->ports[p].direction == PORT_OUT) {
            struct plan_node *out = plan_add(h, kind->ports[p].name);
            h->outs[p] = (struct plan_link){.node = index, .output = p};
            out->links = &h->outs[p];
            out->link_count = 1;
        }
    return index;
}

static int
start(struct harness *h, int index, bool crashed, struct error *e)
{
    struct node_setup s = {.plan = &h->plan, .index = index, .run_dir = h->dir, .store = h->store,
                           .lock = h->lock, .crashed = crashed};
    h->node = node_open(&s, e);
    if (!h->node)
        return e->code;
    h->node->clock = h->clock;
    return 0;
}

static int
check_kind(struct harness *h, int index, struct error *e)
{
    const struct plan_node *self = &h->nodes[index];
    void *options = xalloc(self->kind->options_size + 1);
    struct input *links = xarray((size_t)self->link_count + 1, sizeof(*links));
    struct check c = {.node = self->id, .options = options, .seed = 7, .links = links,
                      .link_count = self->link_count};
    for (int k = 0; k < self->link_count; k++)
        links[k] = (struct input){.port = self->links[k].port, .link = k,
                                  .from = h->nodes[self->links[k].node].id};
    int rc = plan_options(&h->plan, index, options, e);
    if (rc == 0) {
        rc = self->kind->check ? self->kind->check(&c, e) : 0;
        options_fini(self->kind->options, options);
    }
    free(options);
    free(links);
    return rc;
}

struct harness *
harness_open(const char *kind_name, const char *const *links, const char *const *options, struct error *e)
{
    struct error own = {0};
    const struct node_kind *kind = node_kind_find(kind_name);
    if (!kind)
        fail_msg("there is no kind '%s'", kind_name);
    return harness_open_kind(kind, links, options, e ? e : &own, e == NULL);
}

/* The kind with the ports that these options declare. Options that are wrong are check()'s to refuse. */
static const struct node_kind *
declared(struct harness *h, const struct node_kind *kind, const char *const *options)
{
    struct plan_node *self = &h->declared;
    struct plan plan = {.folder = h->dir, .node_count = 1, .nodes = self};
    self->id = (char *)"node";
    self->kind = kind;
    plan_options_add(h, self, options);
    plan_declare(&plan, 0, NULL);
    memset(h->options, 0, sizeof(h->options));
    return self->kind;
}

struct harness *
harness_open_kind(const struct node_kind *kind, const char *const *links, const char *const *options,
                  struct error *e, bool fails)
{
    struct harness *h = xalloc(sizeof(*h));
    char template[] = "/tmp/sluice-harness-XXXXXX";
    if (!mkdtemp(template))
        fail_msg("cannot make '%s'", template);
    h->dir = xtext(template);
    h->store = xprint("%s/store", h->dir);
    h->lock = xprint("%s/store.lock", h->dir);
    int index = plan_make(h, declared(h, kind, options), links, options);
    int rc = check_kind(h, index, e);
    if (rc == 0)
        rc = start(h, index, false, e);
    if (rc == 0)
        return h;
    harness_close(h);
    if (fails)
        fail_msg("%s", e->text);
    return NULL;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void
harness_close(struct harness *h)
{
    node_shut(h->node);
    nftw(h->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (int64_t i = 0; i < h->given_count; i++)
        free(h->given[i].body);
    free(h->given);
    free(h->dir);
    free(h->store);
    free(h->lock);
    buffer_free(&h->body);
    if (h->declared.declared)
        free((void *)h->declared.declared->ports);
    free(h->declared.declared);
    free(h);
}

/* ---- giving ---- */

struct loose {
    struct frame frame;
    char        *body;
};

static void
loose_release(struct frame *f)
{
    struct loose *l = (struct loose *)f;
    free(l->body);
    free(l);
}

static void
deliver(struct harness *h, const struct given *g)
{
    struct error e = {0};
    struct loose *l = xalloc(sizeof(*l));
    struct record r = g->r;
    l->frame = (struct frame){1, loose_release};
    l->body = xalloc(g->r.body.length + 1);
    if (r.body.length > 0)
        memcpy(l->body, g->body, r.body.length);
    r.body.at = l->body;
    if (g->r.reason.at)
        r.reason = span_text(g->reason);
    int rc = feed_arrive(h->node, feed_find(h->node, g->link, 0), &r, &l->frame, &e);
    frame_drop(&l->frame);
    if (rc < 0)
        fail_msg("%s", e.text);
}

static void
give(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size, struct span body,
     const char *reason)
{
    if (h->given_count == h->given_room) {
        h->given_room = h->given_room ? 2 * h->given_room : 64;
        h->given = xresize(h->given, (size_t)h->given_room * sizeof(*h->given));
    }
    struct given *g = &h->given[h->given_count++];
    *g = (struct given){.link = link, .body = span_copy(body)};
    g->r = (struct record){.seq = h->sequence[link]++, .ordinal = ordinal, .first = first, .size = size,
                           .body = span_of(g->body, body.length)};
    if (reason) {
        snprintf(g->reason, sizeof(g->reason), "%s", reason);
        g->r.reason = span_text(reason);
    }
    deliver(h, g);
}

void
harness_message(struct harness *h, int link, enum message m)
{
    h->messages[link] = m;
}

void
harness_give(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size,
             const void *message)
{
    struct buffer b = {0};
    enum message m = h->messages[link] == MESSAGE_any ? MESSAGE_rollout : h->messages[link];
    message_write(m, message, &b);
    give(h, link, ordinal, first, size, buffer_span(&b), NULL);
    buffer_free(&b);
}

void
harness_give_bytes(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size,
                   struct span body)
{
    give(h, link, ordinal, first, size, body, NULL);
}

void
harness_give_closing(struct harness *h, int link, uint64_t ordinal, uint64_t first, uint32_t size,
                     const char *reason)
{
    give(h, link, ordinal, first, size, span_of("", 0), reason);
}

void
harness_end(struct harness *h)
{
    struct error e = {0};
    h->ended = true;
    for (int k = 0; k < h->node->link_count; k++)
        must(feed_end(h->node, feed_find(h->node, k, 0), h->sequence[k], &e), &e);
}

/* ---- running ---- */

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits for the node's fd or timer while something is in hand; false: nothing will move. */
static bool
wait_outside(struct harness *h, double until, bool *readable)
{
    struct node *n = h->node;
    double due = node_due(n), left = until - now();
    bool alive = n->hand.count > 0 && (n->fd >= 0 || n->timer >= 0);
    if (!alive)
        left = 0;
    if (due >= 0 && due < left)
        left = due;
    struct pollfd p = {.fd = n->fd, .events = POLLIN};
    int rc = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    *readable = rc > 0;
    return rc > 0 || (alive && now() < until);
}

int
harness_run(struct harness *h, double seconds, struct error *e)
{
    struct error own = {0};
    double until = now() + seconds;
    bool readable = false;
    for (;;) {
        int rc = node_step(h->node, readable, true, e ? e : &own);
        readable = false;
        if (rc == STEP_IDLE && (h->node->dirty || h->node->lazy)) {
            rc = node_flush(h->node, e ? e : &own);
            rc = rc == 0 ? STEP_AGAIN : rc;
        }
        if (rc < 0) {
            if (!e)
                fail_msg("%s", own.text);
            return rc;
        }
        if (rc == STEP_AGAIN ? now() > until : !wait_outside(h, until, &readable))
            return 0;
    }
}

void
harness_clock(struct harness *h, double seconds)
{
    h->clock += seconds;
    h->node->clock = h->clock;
}

struct take {
    struct harness         *h;
    struct harness_message *m;
    bool                    found;
};

static bool
take_visit(void *own, const struct record *r)
{
    struct take *t = own;
    *t->m = (struct harness_message){.ordinal = r->ordinal, .first = r->first, .size = r->size,
                                     .closing = r->reason.at != NULL};
    if (r->reason.at)
        snprintf(t->m->reason, sizeof(t->m->reason), "%.*s", (int)r->reason.length, r->reason.at);
    buffer_clear(&t->h->body);
    buffer_add(&t->h->body, r->body.at, r->body.length);
    t->m->body = span_of(t->h->body.at ? t->h->body.at : "", t->h->body.length);
    t->found = true;
    return false;
}

bool
harness_take(struct harness *h, const char *port, struct harness_message *m)
{
    int p = find_port(h->node->kind, port, PORT_OUT);
    int lane = h->node->ports[p].lanes[0];
    struct take t = {h, m, false};
    lane_visit(h->node, &h->node->lanes[lane], h->taken[p], take_visit, &t);
    store_settle(h->node->store);
    h->taken[p] += t.found;
    return t.found;
}

static void
again(struct harness *h, bool crashed)
{
    struct error e = {0};
    int index = h->node->index;
    node_shut(h->node);
    h->node = NULL;
    must(start(h, index, crashed, &e), &e);
    if (!h->node->ended) {
        for (int64_t i = 0; i < h->given_count; i++)
            deliver(h, &h->given[i]);
        if (h->ended)
            harness_end(h);
    }
}

void
harness_restart(struct harness *h)
{
    struct error e = {0};
    must(node_flush(h->node, &e), &e);
    again(h, false);
}

int
harness_restart_try(struct harness *h, struct error *e)
{
    int index = h->node->index, rc = node_flush(h->node, e);
    node_shut(h->node);
    h->node = NULL;
    return rc == 0 ? start(h, index, false, e) : rc;
}

void
harness_crash(struct harness *h)
{
    again(h, false);
}

void
harness_crash_own(struct harness *h)
{
    again(h, true);
}

bool
harness_finished(struct harness *h)
{
    return h->node->ended;
}

/* ---- dead letters ---- */

struct dead_look {
    int   index, at;
    char *text;
    size_t room;
};

static bool
dead_visit(void *own, struct span key, struct span value)
{
    struct dead_look *d = own;
    uint32_t length;
    (void)key;
    memcpy(&length, value.at, 4);
    if (d->at++ == d->index && d->text) {
        json_t *header = json_loadb(value.at + 4, length, 0, NULL);
        snprintf(d->text, d->room, "%s", json_string_value(json_object_get(header, "reason")));
        json_decref(header);
    }
    return true;
}

int
harness_dead_count(struct harness *h)
{
    struct dead_look d = {.index = -1};
    store_scan(h->node->store, TABLE_dead, span_of(NULL, 0), dead_visit, &d);
    return d.at;
}

void
harness_dead_text(struct harness *h, int index, char *text, size_t room)
{
    struct dead_look d = {.index = index, .text = text, .room = room};
    text[0] = 0;
    store_scan(h->node->store, TABLE_dead, span_of(NULL, 0), dead_visit, &d);
}

const char *
harness_dir(struct harness *h)
{
    return h->dir;
}

void *
harness_state(struct harness *h)
{
    return node_state(h->node);
}

struct node *
harness_node(struct harness *h)
{
    return h->node;
}

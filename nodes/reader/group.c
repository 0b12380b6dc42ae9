/* group: open groups by key, ended ones in a queue, both mirrored in the store at each commit. */
#include "nodes/reader/group.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define ID_BYTES_WHOLE 300 /* of an id in its key; a longer one is cut and told apart by its hash  \
                            */

struct member {
    char  *body;        /* packed rollout; NULL: only in the store */
    size_t length;
    double reward;
    bool   saved;
    int64_t injected;   /* 1 + the number of the rollout to inject in its place; 0: none */
};

struct group {
    struct line_key key;
    uint64_t        serial;         /* order of opening; names it in the store */
    uint64_t        end_serial;     /* order of ending, from 1; 0: open */
    uint32_t        count, room;
    uint32_t        count_saved;
    uint64_t        end_saved;
    struct member  *members;
    struct group   *next, *prev;    /* in the list of open or of ended groups */
    struct group   *bucket_next;    /* open groups only */
};

struct list {
    struct group *first, *last;
};

struct groups {
    int64_t        size, open_max, open_count;
    uint64_t       next_serial, next_end;
    struct list    open, ended;
    struct group **buckets;
    size_t         bucket_mask;
    int64_t        bytes_held;
    struct buffer  body;
    struct arena   arena;
    const struct inject *inject;    /* NULL: none */
    double         inject_accuracy, inject_above;
    int64_t        inject_most;
};

struct groups *
groups_new(int64_t size, int64_t open_max)
{
    struct groups *g = xalloc(sizeof(*g));
    size_t         buckets = 64;

    while (buckets < (size_t)open_max * 2 && buckets < (1u << 22))
        buckets *= 2;
    g->size = size;
    g->open_max = size == 0 ? 1 : open_max;
    g->next_end = 1;
    g->buckets = xarray(buckets, sizeof(*g->buckets));
    g->bucket_mask = buckets - 1;
    return g;
}

static void
append(struct list *l, struct group *p)
{
    p->next = NULL;
    p->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = p;
    l->last = p;
}

static void
detach(struct list *l, struct group *p)
{
    *(p->prev ? &p->prev->next : &l->first) = p->next;
    *(p->next ? &p->next->prev : &l->last) = p->prev;
}

static void
group_free(struct groups *g, struct group *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        g->bytes_held -= p->members[i].body ? (int64_t)p->members[i].length : 0;
        free(p->members[i].body);
    }
    free(p->members);
    free(p);
}

void
groups_free(struct groups *g)
{
    if (!g)
        return;
    for (struct group *p; (p = g->open.first) != NULL;) {
        detach(&g->open, p);
        group_free(g, p);
    }
    for (struct group *p; (p = g->ended.first) != NULL;) {
        detach(&g->ended, p);
        group_free(g, p);
    }
    free(g->buckets);
    buffer_free(&g->body);
    arena_free(&g->arena);
    free(g);
}

static struct group **
bucket_of(struct groups *g, struct line_key key)
{
    return &g->buckets[key.a & g->bucket_mask];
}

static void
open_group(struct groups *g, struct group *p)
{
    struct group **bucket = bucket_of(g, p->key);

    append(&g->open, p);
    p->bucket_next = *bucket;
    *bucket = p;
    g->open_count++;
}

static void
end_group(struct groups *g, struct group *p)
{
    struct group **at = bucket_of(g, p->key);

    while (*at != p)
        at = &(*at)->bucket_next;
    *at = p->bucket_next;
    detach(&g->open, p);
    g->open_count--;
    p->end_serial = g->next_end++;
    append(&g->ended, p);
}

static struct member *
add_member(struct group *p)
{
    if (p->count == p->room) {
        p->room = p->room ? 2 * p->room : 8;
        p->members = xresize(p->members, p->room * sizeof(*p->members));
    }
    p->members[p->count] = (struct member){0};
    return &p->members[p->count++];
}

static struct span
body_key(uint64_t serial, uint32_t index, char *room)
{
    return span_of(room,
                   (size_t)sprintf(room, "body/%016llx/%08x", (unsigned long long)serial, index));
}

static struct span
group_key(uint64_t serial, char *room)
{
    return span_of(room, (size_t)sprintf(room, "group/%016llx", (unsigned long long)serial));
}

static void
save_member(struct groups *g, struct node *n, struct group *p, uint32_t i)
{
    struct member *m = &p->members[i];
    char           key[64];

    if (!m->saved)
        node_put(n, body_key(p->serial, i, key), span_of(m->body, m->length));
    m->saved = true;
    if (g->bytes_held > GROUP_BYTES_HELD && m->body) {
        g->bytes_held -= (int64_t)m->length;
        free(m->body);
        m->body = NULL;
    }
}

static void
save_group(struct groups *g, struct node *n, struct group *p)
{
    char key[64], value[160];

    for (uint32_t i = p->count_saved; i < p->count; i++)
        save_member(g, n, p, i);
    if (p->count_saved == p->count && p->end_saved == p->end_serial)
        return;
    snprintf(value, sizeof(value), "%016llx %016llx %u %llu", (unsigned long long)p->key.a,
             (unsigned long long)p->key.b, p->count, (unsigned long long)p->end_serial);
    node_put(n, group_key(p->serial, key), span_text(value));
    p->count_saved = p->count;
    p->end_saved = p->end_serial;
}

void
groups_save(struct groups *g, struct node *n)
{
    char value[64];

    for (struct group *p = g->open.first; p; p = p->next)
        save_group(g, n, p);
    for (struct group *p = g->ended.first; p; p = p->next)
        save_group(g, n, p);
    snprintf(value, sizeof(value), "%llu %llu", (unsigned long long)g->next_serial,
             (unsigned long long)g->next_end);
    node_put(n, span_text("groups"), span_text(value));
}

/* All open bodies leave memory for the store. */
static void
spill(struct groups *g, struct node *n)
{
    for (struct group *p = g->open.first; p && g->bytes_held > GROUP_BYTES_HELD / 2; p = p->next) {
        for (uint32_t i = 0; i < p->count; i++) {
            struct member *m = &p->members[i];
            char           key[64];
            if (!m->body)
                continue;
            if (!m->saved)
                node_put(n, body_key(p->serial, i, key), span_of(m->body, m->length));
            m->saved = true;
            g->bytes_held -= (int64_t)m->length;
            free(m->body);
            m->body = NULL;
        }
    }
}

void
groups_add(struct groups *g, struct node *n, struct line_key key, const struct rollout *rollout)
{
    struct group *p = *bucket_of(g, key);

    while (p && (p->key.a != key.a || p->key.b != key.b))
        p = p->bucket_next;
    if (!p) {
        while (g->open_count >= g->open_max)
            end_group(g, g->open.first);
        p = xalloc(sizeof(*p));
        p->key = key;
        p->serial = g->next_serial++;
        open_group(g, p);
    }
    struct member *m = add_member(p);
    buffer_clear(&g->body);
    message_write(MESSAGE_rollout, rollout, &g->body);
    m->length = g->body.length;
    m->body = xalloc(m->length);
    memcpy(m->body, g->body.at, m->length);
    m->reward = rollout->reward;
    g->bytes_held += (int64_t)m->length;
    if (p->count == (g->size ? g->size : GROUP_MEMBERS_MAX))
        end_group(g, p);
    if (g->bytes_held > GROUP_BYTES_HELD)
        spill(g, n);
}

void
groups_end_all(struct groups *g)
{
    while (g->open.first)
        end_group(g, g->open.first);
}

uint32_t
groups_ended(const struct groups *g)
{
    return g->ended.first ? g->ended.first->count : 0;
}

int64_t
groups_open(const struct groups *g)
{
    return g->open_count;
}

struct span
group_id_key(struct span id, char *room)
{
    size_t whole = id.length <= ID_BYTES_WHOLE ? id.length : ID_BYTES_WHOLE;
    size_t n = 3;

    memcpy(room, "id:", 3);
    if (whole)
        memcpy(room + 3, id.at, whole);
    n += whole;
    if (whole < id.length) {
        XXH128_hash_t h = XXH3_128bits(id.at, id.length);
        n += (size_t)sprintf(room + n, "#%016llx%016llx", (unsigned long long)h.high64,
                             (unsigned long long)h.low64);
    }
    return span_of(room, n);
}

void
group_id_put(struct node *n, struct span id, uint64_t ordinal)
{
    char room[GROUP_ID_KEY_MAX], value[8];

    for (int i = 0; i < 8; i++)
        value[i] = (char)(ordinal >> (56 - 8 * i));
    node_put(n, group_id_key(id, room), span_of(value, 8));
}

bool
group_id_get(struct node *n, struct span id, uint64_t *ordinal)
{
    char        room[GROUP_ID_KEY_MAX];
    struct span value;

    if (!node_get(n, group_id_key(id, room), &value) || value.length != 8)
        return false;
    *ordinal = 0;
    for (int i = 0; i < 8; i++)
        *ordinal = *ordinal << 8 | (unsigned char)value.at[i];
    return true;
}

void
groups_inject(struct groups *g, const struct inject *inject, double accuracy, double above,
              int64_t most)
{
    g->inject = inject;
    g->inject_accuracy = accuracy;
    g->inject_above = above;
    g->inject_most = most;
}

/* Which members of the group that leaves are replaced: a function of the group and the file. */
static void
choose_injected(const struct groups *g, struct group *p)
{
    int64_t     correct = 0, taken = 0;
    struct span body;

    for (uint32_t i = 0; i < p->count; i++)
        correct += p->members[i].reward > g->inject_above;
    if (!g->inject || (double)correct > g->inject_accuracy * (double)p->count)
        return;
    for (uint32_t i = 0; i < p->count; i++) {
        struct member *m = &p->members[i];
        double         reward;

        if (m->reward > g->inject_above)
            continue;
        if ((g->inject_most && taken == g->inject_most) ||
            !inject_find(g->inject, p->key, taken, &body, &reward))
            break;
        m->injected = ++taken;
        m->reward = reward;
    }
}

/* The rollout that stands in for `r`. */
static int
take_injected(struct groups *g, const struct group *p, const struct member *m, struct rollout *r,
              struct error *e)
{
    struct rollout own = *r;
    struct span    body = span_of(NULL, 0);
    double         reward;
    int            rc;

    inject_find(g->inject, p->key, m->injected - 1, &body, &reward);
    rc = message_read(MESSAGE_rollout, body, r, &g->arena, e);
    r->id = own.id;
    r->prompt = own.prompt;
    r->answer = own.answer;
    r->injected = 1;
    return rc;
}

/* Mean and spread of the group's rewards, summed in order; -> are all rewards alike? */
static bool
statistics(const struct group *p, double *mean, double *spread)
{
    double sum = 0, squares = 0;
    bool   equal = true;

    for (uint32_t i = 0; i < p->count; i++) {
        sum += p->members[i].reward;
        equal = equal && p->members[i].reward == p->members[0].reward;
    }
    *mean = equal ? p->members[0].reward : sum / p->count;
    for (uint32_t i = 0; i < p->count; i++)
        squares += (p->members[i].reward - *mean) * (p->members[i].reward - *mean);
    *spread = sqrt(squares / p->count);
    return equal;
}

static int
member_body(const struct group *p, uint32_t i, struct node *n, struct span *body, struct error *e)
{
    const struct member *m = &p->members[i];
    char                 key[64];

    *body = span_of(m->body, m->length);
    if (!m->body && !node_get(n, body_key(p->serial, i, key), body))
        return error_set(e, ERROR_store, "the store lacks rollout %u of open group %llu", i,
                         (unsigned long long)p->serial);
    return 0;
}

int
groups_emit(struct groups *g, struct node *n, int port, uint64_t first, bool drop_equal,
            struct error *e)
{
    struct group  *p = g->ended.first;
    struct rollout rollout;
    double         mean, spread;
    bool           equal;
    char           key[64];

    choose_injected(g, p);
    equal = statistics(p, &mean, &spread);
    for (uint32_t i = 0; i < p->count; i++) {
        struct span body;
        int         rc = member_body(p, i, n, &body, e);

        arena_clear(&g->arena);
        if (rc == 0)
            rc = message_read(MESSAGE_rollout, body, &rollout, &g->arena, e);
        if (rc == 0 && p->members[i].injected)
            rc = take_injected(g, p, &p->members[i], &rollout, e);
        if (rc != 0)
            return rc;
        rollout.group_mean = mean;
        rollout.group_std = spread;
        buffer_clear(&g->body);
        message_write(MESSAGE_rollout, &rollout, &g->body);
        char       *copy = arena_take(&g->arena, rollout.id.length + 1);
        struct span id = span_of(
            memcpy(copy, rollout.id.at ? rollout.id.at : "", rollout.id.length), rollout.id.length);

        if (!node_linked(n, port))
            ;
        else if (drop_equal && equal)
            node_emit_close(n, port, first + i, first, p->count, "equal");
        else
            node_emit(n, port, first + i, first, p->count, buffer_span(&g->body));
        group_id_put(n, id, first + i);
        if (p->members[i].saved)
            node_delete(n, body_key(p->serial, i, key));
    }
    if (p->count_saved > 0 || p->end_saved)
        node_delete(n, group_key(p->serial, key));
    node_count(n, METRIC_rollouts, p->count);
    node_count(n, METRIC_groups, 1);
    detach(&g->ended, p);
    group_free(g, p);
    return 0;
}

struct loading {
    struct groups *groups;
    struct group  *group;       /* whose bodies are being visited */
    struct arena   arena;
    struct error   why;
    int            rc;
};

/* A scan shows keys without their prefix or with it: the end is what counts. */
static bool
load_group(void *own, struct span key, struct span value)
{
    struct loading    *l = own;
    char               name[32], text[160] = "";
    unsigned long long a, b, end;
    unsigned           count;
    struct group      *p = xalloc(sizeof(*p));

    if (key.length >= 16 && key.length - 16 < sizeof(name) && value.length < sizeof(text)) {
        memcpy(text, value.at, value.length);
        memcpy(name, key.at + key.length - 16, 16);
        name[16] = 0;
    }
    if (sscanf(text, "%llx %llx %u %llu", &a, &b, &count, &end) != 4 || count == 0 ||
        count > GROUP_MEMBERS_MAX) {
        free(p);
        l->rc = error_set(&l->why, ERROR_store, "an open group in the store is malformed");
        return false;
    }
    p->key = (struct line_key){a, b};
    p->serial = strtoull(name, NULL, 16);
    p->end_serial = p->end_saved = end;
    p->count_saved = p->room = count;
    p->members = xarray(count, sizeof(*p->members));
    if (!end) {
        open_group(l->groups, p);
        return true;
    }
    struct group *after = l->groups->ended.last;        /* in the order of ending */
    while (after && after->end_serial > end)
        after = after->prev;
    p->prev = after;
    p->next = after ? after->next : l->groups->ended.first;
    *(p->prev ? &p->prev->next : &l->groups->ended.first) = p;
    *(p->next ? &p->next->prev : &l->groups->ended.last) = p;
    return true;
}

/* Bodies stay in the store; only lengths and rewards are taken. */
static bool
load_member(void *own, struct span key, struct span value)
{
    struct loading *l = own;
    struct rollout  rollout;

    (void)key;
    arena_clear(&l->arena);
    if (l->group->count == l->group->count_saved)
        return false;
    l->rc = message_read(MESSAGE_rollout, value, &rollout, &l->arena, &l->why);
    if (l->rc != 0)
        return false;
    l->group->members[l->group->count++] =
        (struct member){.length = value.length, .reward = rollout.reward, .saved = true};
    return true;
}

static int
load_members(struct loading *l, struct node *n, struct group *p)
{
    char   prefix[64];
    size_t length = (size_t)sprintf(prefix, "body/%016llx/", (unsigned long long)p->serial);

    l->group = p;
    node_scan(n, span_of(prefix, length), span_of(prefix, length), load_member, l);
    if (l->rc == 0 && p->count != p->count_saved)
        l->rc =
            error_set(&l->why, ERROR_store, "open group %llu has %u of %u rollouts in the store",
                      (unsigned long long)p->serial, p->count, p->count_saved);
    return l->rc;
}

int
groups_load(struct groups *g, struct node *n, struct error *e)
{
    struct loading     l = {.groups = g};
    struct span        value;
    unsigned long long serial, end;
    char               text[64] = "";

    if (!node_get(n, span_text("groups"), &value))
        return 0;
    if (value.length < sizeof(text))
        memcpy(text, value.at, value.length);
    if (sscanf(text, "%llu %llu", &serial, &end) != 2)
        return error_set(e, ERROR_store, "the row of open groups is malformed");
    g->next_serial = serial;
    g->next_end = end;
    node_scan(n, span_text("group/"), span_text("group/"), load_group, &l);
    for (struct group *p = g->open.first; p && l.rc == 0; p = p->next)
        load_members(&l, n, p);
    for (struct group *p = g->ended.first; p && l.rc == 0; p = p->next)
        load_members(&l, n, p);
    arena_free(&l.arena);
    return l.rc ? error_set(e, l.rc, "%s", l.why.text) : 0;
}

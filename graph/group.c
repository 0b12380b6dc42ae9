/* group: units that are given by whole groups. Everything that arrives is parked in the store, as at a node that
 * merges inputs; when each ordinal of a group has settled here or brought something on every link, those that
 * bring data are taken together. So a group larger than all credit comes too, and a kill loses nothing. */
#include <stdlib.h>
#include <string.h>

#include "graph/core.h"

static int64_t
slot_of(const struct node *n, uint64_t first)
{
    return (int64_t)((first * 0x9E3779B97F4A7C15ULL) >> 32) & (n->group_room - 1);
}

static struct group *
group_find(struct node *n, uint64_t first)
{
    int64_t i = slot_of(n, first);
    while (n->groups[i].size && n->groups[i].first != first)
        i = (i + 1) & (n->group_room - 1);
    return &n->groups[i];
}

static void
groups_grow(struct node *n)
{
    struct group *old = n->groups;
    int64_t room = n->group_room;
    n->group_room = room ? 2 * room : 64;
    n->groups = xarray((size_t)n->group_room, sizeof(*n->groups));
    for (int64_t i = 0; i < room; i++)
        if (old[i].size)
            *group_find(n, old[i].first) = old[i];
    free(old);
}

static void
group_remove(struct node *n, struct group *g)
{
    int64_t hole = g - n->groups, mask = n->group_room - 1;
    n->group_count--;
    for (int64_t i = (hole + 1) & mask; n->groups[i].size; i = (i + 1) & mask) {
        int64_t home = slot_of(n, n->groups[i].first);
        if (((i - home) & mask) >= ((i - hole) & mask)) {   /* its search would meet the hole first */
            n->groups[hole] = n->groups[i];
            hole = i;
        }
    }
    n->groups[hole].size = 0;
}

/* How many ordinals of a group were settled before: after a crash, what was answered alone. */
static uint32_t
settled_of(struct node *n, uint64_t first, uint32_t size)
{
    uint32_t count = 0;
    for (uint64_t o = first; o < first + size && o < n->settled.top; o++)
        count += set_has(&n->settled, o);
    return count;
}

void
group_add(struct node *n, uint64_t first, uint32_t size)
{
    if (4 * (n->group_count + 1) > 3 * n->group_room)
        groups_grow(n);
    struct group *g = group_find(n, first);
    if (!g->size) {
        *g = (struct group){first, size, settled_of(n, first, size)};
        n->group_count++;
    }
    if (++g->here == g->size)
        ready_push(n, first);
}

int64_t
group_hand(const struct node *n)
{
    int64_t count = 0;
    for (const struct work *w = n->hand.first; w; w = w->next)
        count += !w->previous || w->previous->unit.first != w->unit.first;
    return count;
}

/* A replay's cut may go through a group: what never comes is not waited for. */
static void
push_rest(struct node *n)
{
    uint64_t first = 0;
    bool found = true;
    while (found) {
        found = false;
        for (int64_t i = 0; i < n->group_room; i++) {
            struct group *g = &n->groups[i];
            if (g->size && g->here < g->size && (!found || g->first < first)) {
                first = g->first;
                found = true;
            }
        }
        if (found) {
            struct group *g = group_find(n, first);
            g->here = g->size;
            ready_push(n, first);
        }
    }
}

/* The units of the next group that bring data; those of closings alone are settled. */
static int
take_units(struct node *n, uint64_t first, uint32_t size, struct unit **units)
{
    int count = 0;
    for (uint64_t o = first; o < first + size; o++) {
        if (!parked(n, o))
            continue;
        struct work *w = park_take(n, o);
        if (unit_all_closing(w)) {
            unit_close(n, w);
            continue;
        }
        w->in_hand = true;
        works_add(&n->hand, w);
        units[count++] = &w->unit;
    }
    return count;
}

/* Crashes are counted against the first unit of a group; when it has caused too many, all of the group is dead. */
static int
give_group(struct node *n, struct unit **units, int count, struct error *e)
{
    int attempts = unit_attempts(n, units[0]->ordinal), rc = 0;
    for (int i = 0; i < count; i++)
        units[i]->attempts = attempts;
    if (attempts >= DEAD_ATTEMPTS_MAX) {
        for (int i = 0; i < count; i++)
            unit_dead(n, units[i], "its group crashed the node %d times", attempts);
        return 0;
    }
    if (n->crashed)
        rc = unit_trying(n, units[0]->ordinal, e);
    return rc != 0 ? rc : n->kind->take_group(n, units, count, e);
}

int
group_take_next(struct node *n, bool full, struct error *e)
{
    if (n->ready_count == 0 && n->group_count > 0 && feeds_ended(n))
        push_rest(n);
    if (n->ready_count == 0 || full)
        return 0;
    struct group *g = group_find(n, ready_pop(n));
    uint64_t first = g->first;
    uint32_t size = g->size;
    group_remove(n, g);
    struct unit **units = xarray((size_t)size, sizeof(struct unit *));
    int count = take_units(n, first, size, units);
    int rc = count > 0 ? give_group(n, units, count, e) : 0;
    free(units);
    return rc != 0 ? rc : 1;
}

/* order: see order.h. */
#include "nodes/learner/order.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/random.h"

void
entries_add(struct entries *s, const struct entry *entry)
{
    int64_t i = s->count;

    while (i > 0 && s->at[i - 1].ordinal > entry->ordinal) /* arrivals are nearly in order */
        i--;
    if (i > 0 && s->at[i - 1].ordinal == entry->ordinal)
        return;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->at = xresize(s->at, (size_t)s->room * sizeof(*s->at));
    }
    memmove(s->at + i + 1, s->at + i, (size_t)(s->count - i) * sizeof(*s->at));
    s->at[i] = *entry;
    s->count++;
}

void
entries_drop(struct entries *s, int64_t count)
{
    memmove(s->at, s->at + count, (size_t)(s->count - count) * sizeof(*s->at));
    s->count -= count;
}

void
entries_free(struct entries *s)
{
    free(s->at);
    memset(s, 0, sizeof(*s));
}

/* The end of the group that begins at entry i. */
static int64_t
group_end(const struct entries *s, int64_t i)
{
    uint64_t first = s->at[i].first;

    while (i < s->count && s->at[i].first == first)
        i++;
    return i;
}

static int64_t
window_from(const struct entries *s, int64_t from, int64_t samples, uint64_t settled, bool all,
            uint64_t *end)
{
    int64_t i = from;

    while (i < s->count) {
        uint64_t after = s->at[i].first + s->at[i].group_size;

        if (!all && after > settled)
            return 0;
        i = group_end(s, i);
        *end = after;
        if (i - from >= samples)
            return i - from;
    }
    return all ? i - from : 0;
}

int64_t
entries_window(const struct entries *s, int64_t samples, uint64_t settled, bool all, uint64_t *end)
{
    return window_from(s, 0, samples, settled, all, end);
}

int
entries_windows(const struct entries *s, int64_t samples, uint64_t settled, int most)
{
    int64_t from = 0;
    uint64_t end;
    int count = 0;

    while (count < most) {
        int64_t length = window_from(s, from, samples, settled, false, &end);

        if (length == 0)
            break;
        from += length;
        count++;
    }
    return count;
}

void
pass_make(struct pass *p, const struct entries *s, int64_t count, int64_t batch, bool shuffle,
          uint64_t seed, uint64_t number)
{
    int64_t *groups = xarray((size_t)count + 1, sizeof(*groups));
    uint64_t *drawn = xarray((size_t)count + 1, sizeof(*drawn));
    int64_t group_count = 0, filled = 0;

    for (int64_t i = 0; i < count; i = group_end(s, i))
        groups[group_count++] = i;
    if (shuffle)
        random_permutation(seed, RANDOM_shuffle, number, (uint64_t)group_count, drawn);
    else
        for (int64_t g = 0; g < group_count; g++)
            drawn[g] = (uint64_t)g;
    pass_free(p);
    p->count = count;
    p->order = xarray((size_t)count + 1, sizeof(*p->order));
    p->starts = xarray((size_t)group_count + 1, sizeof(*p->starts));
    for (int64_t g = 0; g < group_count; g++) {
        int64_t i = groups[drawn[g]], end = group_end(s, i);

        while (i < end)
            p->order[filled++] = i++;
        if (filled - p->starts[p->steps] >= batch || g + 1 == group_count)
            p->starts[++p->steps] = filled;
    }
    free(groups);
    free(drawn);
}

void
pass_free(struct pass *p)
{
    free(p->order);
    free(p->starts);
    memset(p, 0, sizeof(*p));
}

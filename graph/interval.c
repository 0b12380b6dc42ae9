/* interval: binary search in a sorted array; adding at the end, the common case, costs nothing. */
#include "graph/interval.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Index of the first interval whose end is >= v. */
static int64_t
find(const struct intervals *s, uint64_t v)
{
    int64_t low = 0, high = s->count;
    if (high > 0 && s->at[high - 1].end < v)
        return high;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (s->at[middle].end < v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool
intervals_add(struct intervals *s, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    int64_t i = find(s, start), j = i;
    bool fresh = true;
    uint64_t low = start, high = end;
    for (; j < s->count && s->at[j].start <= end; j++) {
        if (s->at[j].start < end && s->at[j].end > start)
            fresh = false;
        low = s->at[j].start < low ? s->at[j].start : low;
        high = s->at[j].end > high ? s->at[j].end : high;
    }
    if (j == i) {                           /* touches none: room for one more */
        if (s->count == s->room) {
            s->room = s->room ? 2 * s->room : 8;
            s->at = xresize(s->at, (size_t)s->room * sizeof(*s->at));
        }
        memmove(s->at + i + 1, s->at + i, (size_t)(s->count - i) * sizeof(*s->at));
        s->count++;
    } else if (j > i + 1) {
        memmove(s->at + i + 1, s->at + j, (size_t)(s->count - j) * sizeof(*s->at));
        s->count -= j - i - 1;
    }
    s->at[i] = (struct interval){low, high};
    return fresh;
}

bool
intervals_covers(const struct intervals *s, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    int64_t i = find(s, start + 1);
    return i < s->count && s->at[i].start <= start && s->at[i].end >= end;
}

bool
intervals_has(const struct intervals *s, uint64_t v)
{
    return v < UINT64_MAX && intervals_covers(s, v, v + 1);
}

uint64_t
intervals_gap(const struct intervals *s, uint64_t v)
{
    int64_t i = v < UINT64_MAX ? find(s, v + 1) : s->count;
    return i < s->count && s->at[i].start <= v ? s->at[i].end : v;
}

uint64_t
intervals_total(const struct intervals *s)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < s->count; i++)
        total += s->at[i].end - s->at[i].start;
    return total;
}

uint64_t
intervals_top(const struct intervals *s)
{
    return s->count ? s->at[s->count - 1].end : 0;
}

void
intervals_clear(struct intervals *s)
{
    s->count = 0;
}

void
intervals_free(struct intervals *s)
{
    free(s->at);
    *s = (struct intervals){0, 0, NULL};
}

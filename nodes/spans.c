/* spans: the two maps between steps and tokens; see spans.h for the rule. Both are one walk,
 * because the starts of tokens and the ends of steps rise. */
#include "nodes/spans.h"

#include <inttypes.h>

int
spans_check(const uint64_t *ends, int64_t count, uint64_t length, struct error *e)
{
    uint64_t before = 0;

    if (length == 0 && (count == 0 || (count == 1 && ends[0] == 0)))
        return 0;
    for (int64_t i = 0; i < count; i++) {
        if (ends[i] <= before)
            return error_set(e, ERROR_input,
                             "step %" PRId64 " ends at byte %" PRIu64 ", not after byte %" PRIu64,
                             i, ends[i], before);
        before = ends[i];
    }
    if (before != length)
        return error_set(e, ERROR_input,
                         "the steps end at byte %" PRIu64 " of a response of %" PRIu64, before,
                         length);
    return 0;
}

void
spans_tokens(const struct tokens *tokens, const uint64_t *ends, int64_t count, int64_t *last)
{
    int64_t t = 0, found = -1;

    for (int64_t i = 0; i < count; i++) {
        for (; t < tokens->count && (uint64_t)tokens->starts[t] < ends[i]; t++)
            if (tokens->ends[t] > tokens->starts[t])
                found = t;
        last[i] = found;
    }
}

void
spans_steps(const struct tokens *tokens, const uint64_t *ends, int64_t count, int64_t *step)
{
    int64_t i = 0;

    for (int64_t t = 0; t < tokens->count; t++) {
        step[t] = -1;
        if (tokens->ends[t] <= tokens->starts[t])
            continue;
        while (i < count && ends[i] <= (uint64_t)tokens->starts[t])
            i++;
        if (i < count)
            step[t] = i;
    }
}

struct span
spans_at(struct span response, const uint64_t *ends, int64_t i)
{
    uint64_t from = i > 0 ? ends[i - 1] : 0;
    return span_of(response.at + from, (size_t)(ends[i] - from));
}

/* limits: two ways of saying "not yet". */
#include "nodes/remote/limits.h"

#include <math.h>

#define WAIT_MAX 120.0 /* seconds that a header may make us wait, as with Retry-After */

double
rate_when(const struct rate *r, int64_t per_minute)
{
    return per_minute > 0 ? r->next : 0;
}

void
rate_take(struct rate *r, int64_t per_minute, double amount, double now)
{
    if (per_minute > 0)
        r->next = fmax(r->next, now - LIMIT_CATCH_UP) + amount * 60 / (double)per_minute;
}

void
rate_give_back(struct rate *r, int64_t per_minute, double amount)
{
    if (per_minute > 0)
        r->next -= amount * 60 / (double)per_minute;
}

void
allowance_told(struct allowance *a, double left, double seconds, double now)
{
    if (left < 0 || seconds < 0)
        return;
    *a = (struct allowance){true, left, now + fmin(seconds, WAIT_MAX)};
}

double
allowance_when(const struct allowance *a, double amount, double now)
{
    return a->known && a->until > now && a->left < amount ? a->until : 0;
}

void
allowance_take(struct allowance *a, double amount)
{
    a->left -= amount;
}

/* endpoints: choosing a server, and learning from its answers. */
#include "nodes/remote/endpoints.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/remote/url.h"

#define GROWTH     32   /* windows of answers from one call in flight to in_flight */
#define STRAIN_MAX 3    /* in a row, or ... */
#define STRAIN_OFF 0.25 /* ... so many more than four times as many good answers take off */

/* ---- the list ---- */

static void
endpoint_begin(struct endpoint *p, char *url, int in_flight)
{
    *p = (struct endpoint){.url = url, .window = in_flight, .cut_at = -INFINITY};
}

static int
add_url(struct endpoints *s, char *url, struct error *e)
{
    int rc = url_check(url, e);

    if (rc == 0 && s->count == ENDPOINTS_MAX)
        rc = error_set(e, ERROR_topology, "more than %d urls", ENDPOINTS_MAX);
    if (rc != 0) {
        free(url);
        return rc;
    }
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->at[i].url, url) == 0) {
            free(url);
            return 0;
        }
    endpoint_begin(&s->at[s->count++], url, s->in_flight);
    return 0;
}

/* What is known of old servers goes to their new places. */
static void
keep_known(struct endpoints *s, const struct endpoints *old, int moved[ENDPOINTS_MAX])
{
    for (int k = 0; k < old->count; k++) {
        int i = 0;
        while (i < s->count && strcmp(s->at[i].url, old->at[k].url) != 0)
            i++;
        if (moved)
            moved[k] = i < s->count ? i : -1;
        if (i == s->count)
            continue;
        char *url = s->at[i].url;
        s->at[i] = old->at[k];
        s->at[i].url = url;
        s->at[i].window = s->in_flight;
    }
}

int
endpoints_set(struct endpoints *s, const struct texts *urls, int in_flight,
              int moved[ENDPOINTS_MAX], struct error *e)
{
    struct endpoints fresh = {.in_flight = in_flight};
    int rc = 0;

    for (int i = 0; i < urls->count && rc == 0; i++)
        for (const char *at = urls->at[i]; *at && rc == 0;) {
            size_t length = strcspn(at, ", \t\n");
            if (length)
                rc = add_url(&fresh, span_copy(span_of(at, length)), e);
            at += length + (at[length] != 0);
        }
    if (rc == 0 && fresh.count == 0)
        rc = error_set(e, ERROR_topology,
                       "backend http needs the url of a server, e.g. http://localhost:8000/v1");
    if (rc != 0) {
        endpoints_free(&fresh);
        return rc;
    }
    keep_known(&fresh, s, moved);
    endpoints_free(s);
    *s = fresh;
    return 0;
}

void
endpoints_free(struct endpoints *s)
{
    for (int i = 0; i < s->count; i++)
        free(s->at[i].url);
    *s = (struct endpoints){0};
}

/* ---- choosing ---- */

static bool
is_down(const struct endpoint *p)
{
    return p->failures >= ENDPOINT_FAILURES_MAX;
}

/* When a call may go to this server, were it the only one: 0 or a time; INFINITY: not before one of
 * its calls came back. */
static double
free_at(const struct endpoint *p, double tokens, double now)
{
    double when = fmax(p->limited_until, fmax(allowance_when(&p->requests, 1, now),
                                              allowance_when(&p->tokens, tokens, now)));

    if (p->refused)
        return p->flying ? INFINITY : fmax(when, p->refused_until);
    return p->flying >= (int)p->window ? INFINITY : when;
}

bool
endpoints_other(const struct endpoints *s, int which)
{
    for (int i = 0; i < s->count; i++)
        if (i != which && !is_down(&s->at[i]) && !s->at[i].refused)
            return true;
    return false;
}

/* Lower is better: servers that are well, then servers due for a try, then those that are down. */
static double
cost(const struct endpoint *p, int which, int avoid, double now)
{
    double load = (p->flying + 1) / fmax(p->window, 1);
    int class = which == avoid;

    if (is_down(p))
        class += p->down_until > now || p->flying ? 4 : -2; /* the try comes before all others */
    return class * 1e6 + load;
}

int
endpoints_choose(const struct endpoints *s, double tokens, int avoid, double now, double *when)
{
    bool others = false;
    int best = -1;

    for (int i = 0; i < s->count; i++)
        others |= !is_down(&s->at[i]) && !s->at[i].refused;
    for (int i = 0; i < s->count; i++) {
        const struct endpoint *p = &s->at[i];
        double at = free_at(p, tokens, now);
        if (others && is_down(p) && (p->flying || p->down_until > now))
            continue; /* left alone: another one is there */
        if (at > now) {
            *when = fmin(*when, at);
            continue;
        }
        if (best < 0 || cost(p, i, avoid, now) < cost(&s->at[best], best, avoid, now))
            best = i;
    }
    return best;
}

bool
endpoints_refuse(const struct endpoints *s)
{
    for (int i = 0; i < s->count; i++)
        if (!s->at[i].refused)
            return false;
    return s->count > 0;
}

double
endpoints_limited(const struct endpoints *s, double now)
{
    double until = INFINITY;

    for (int i = 0; i < s->count; i++) {
        const struct endpoint *p = &s->at[i];
        double at = fmax(p->limited_until, fmax(allowance_when(&p->requests, 1, now),
                                                allowance_when(&p->tokens, 1, now)));
        until = fmin(until, at);
    }
    return isfinite(until) && until > now ? until : 0;
}

/* ---- learning ---- */

void
endpoint_sent(struct endpoint *p, double tokens)
{
    p->flying++;
    allowance_take(&p->requests, 1);
    allowance_take(&p->tokens, tokens);
}

/* More than the server can take: half the window, once for all calls that were out together. A few
 * that fail among many that do not are no reason. */
static void
strain(struct endpoint *p, double sent_at, double now)
{
    if (sent_at <= p->cut_at || ++p->strain < STRAIN_MAX)
        return;
    p->window = fmax(1, p->window / 2);
    p->strain = 0;
    p->cut_at = now;
}

static void
refusal(struct endpoint *p, const struct reply *r, double now)
{
    if (p->refused && now < p->refused_until)
        return; /* calls that were out together count once */
    p->refused_until =
        now + fmax(fmin(exp2(fmin(p->refused, 30)), ENDPOINT_REFUSED_MAX), r->wait_seconds);
    p->refused++;
}

static void
failure(struct endpoint *p, const struct reply *r, bool timed_out, double sent_at, double now)
{
    if (r->limited || timed_out)
        strain(p, sent_at, now);
    if (r->limited && r->wait_seconds >= 0)
        p->limited_until = fmax(p->limited_until, now + r->wait_seconds);
    if (r->limited)
        return; /* it is well enough to say so */
    p->failures++;
    if (is_down(p) && now >= p->down_until)
        p->down_until = now + fmin(exp2(fmin(p->downs++, 30)), ENDPOINT_DOWN_MAX);
}

void
endpoint_answered(struct endpoints *s, int which, const struct reply *r, bool timed_out,
                  double sent_at, double now)
{
    struct endpoint *p = &s->at[which];

    p->flying--;
    allowance_told(&p->requests, r->requests.remaining, r->requests.reset_seconds, now);
    allowance_told(&p->tokens, r->tokens.remaining, r->tokens.reset_seconds, now);
    if (r->outcome == REPLY_refused) {
        refusal(p, r, now);
    } else if (r->outcome == REPLY_again) {
        failure(p, r, timed_out, sent_at, now);
    } else {
        p->failures = p->downs = 0;
        p->strain = fmax(0, p->strain - STRAIN_OFF);
        p->refused = 0;
        p->window =
            fmin(s->in_flight, p->window + fmax(1, s->in_flight / (double)GROWTH) / p->window);
    }
}

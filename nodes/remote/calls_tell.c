/* calls_tell: the line of `sluice status` about calls. */
#include "nodes/remote/calls_inside.h"

#include <math.h>
#include <stdio.h>

/* Of several servers, those that get no calls now: " (http://b/v1 is left alone)"; else empty. */
static void
tell_servers(const struct calls *c, char *text, size_t room)
{
    int bad = 0, which = -1;

    text[0] = 0;
    for (int i = 0; i < c->endpoints.count; i++)
        if (c->endpoints.at[i].refused || c->endpoints.at[i].failures >= ENDPOINT_FAILURES_MAX) {
            bad++;
            which = which < 0 ? i : which;
        }
    if (bad && c->endpoints.count > 1)
        snprintf(text, room, "; %d of %d servers left alone, e.g. %.100s", bad, c->endpoints.count,
                 c->endpoints.at[which].url);
}

void
calls_tell(struct calls *c)
{
    double now = node_now(c->node), limited = endpoints_limited(&c->endpoints, now);
    int flying = http_flying(c->http), waiting = c->idle.count;
    char servers[200], money[200];

    tell_servers(c, servers, sizeof(servers));
    purse_words(c->purse, money, sizeof(money));
    if (endpoints_refuse(&c->endpoints))
        node_why(c->node, "the server refuses (%s); trying one call every %.0f s at most", c->why,
                 ENDPOINT_REFUSED_MAX);
    else if (purse_empty(c->purse))
        node_why(c->node, "%s", money);
    else if (limited > now && waiting)
        node_why(c->node, "rate-limited for %.0f s more (%s)", ceil(limited - now), c->why);
    else if (c->paced && waiting)
        node_why(c->node, "rate-limited: rpm or tpm lets the next call go in %.1f s",
                 c->paced_until - now);
    else if (waiting && flying)
        node_why(c->node, "waiting for %d judge calls; %d more to be tried again (%s)%s", flying,
                 waiting, c->why, servers);
    else if (waiting)
        node_why(c->node, "%d judge calls to be tried again (%s)%s", waiting, c->why, servers);
    else if (flying)
        node_why(c->node, "waiting for %d judge calls%s%s%s", flying, servers, money[0] ? "; " : "",
                 money);
    else
        node_why(c->node, NULL);
}

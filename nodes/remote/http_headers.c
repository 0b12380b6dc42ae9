/* http_headers: Retry-After, x-should-retry and x-ratelimit-*, as the official clients read them.
 */
#include "nodes/remote/http_headers.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SECONDS_MAX 86400.0 /* nobody asks for more in earnest */
#define EPOCH_MIN   1e9     /* a larger number of seconds is a date */

static bool
header(CURL *easy, const char *name, char *value)
{
    struct curl_header *h;

    value[0] = 0;
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return false;
    snprintf(value, HTTP_HEADER_MAX, "%s", h->value);
    return true;
}

/* A finite number of at least 0 that fills the whole value; -1: none. */
static double
number(const char *value)
{
    char *end;
    double x = strtod(value, &end);

    while (end != value && isspace((unsigned char)*end))
        end++;
    return end != value && !*end && isfinite(x) && x >= 0 ? x : -1;
}

/* Seconds: retry-after-ms, else retry-after as seconds or as a date. */
static double
retry_after(CURL *easy)
{
    char value[HTTP_HEADER_MAX];
    double x;
    time_t date;

    if (header(easy, "retry-after-ms", value) && (x = number(value)) >= 0)
        return x / 1000;
    if (!header(easy, "retry-after", value))
        return -1;
    if ((x = number(value)) >= 0)
        return x;
    date = curl_getdate(value, NULL);
    return date > 0 ? fmax(0, difftime(date, time(NULL))) : -1;
}

double
http_seconds(const char *value, double now)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"s", 1}, {"m", 60}, {"h", 3600}};
    double sum = number(value);
    const char *at = value;

    if (sum >= EPOCH_MIN)
        sum = fmax(0, sum - now);
    if (sum >= 0)
        return fmin(sum, SECONDS_MAX);
    for (sum = 0; *at;) {
        size_t unit = 0;
        char *end;
        double x = isdigit((unsigned char)*at) ? strtod(at, &end) : -1;
        if (!(x >= 0))
            return -1;
        while (unit < 5 && strncmp(end, units[unit].name, strlen(units[unit].name)) != 0)
            unit++;
        if (unit == 5)
            return -1;
        sum += x * units[unit].seconds;
        at = end + strlen(units[unit].name);
    }
    return at != value && isfinite(sum) ? fmin(sum, SECONDS_MAX) : -1;
}

static struct http_allowance
allowance(CURL *easy, const char *remaining, const char *reset)
{
    struct http_allowance a = {-1, -1};
    char value[HTTP_HEADER_MAX];

    if (header(easy, remaining, value))
        a.remaining = number(value);
    if (a.remaining >= 0 && header(easy, reset, value))
        a.reset_seconds = http_seconds(value, (double)time(NULL));
    return a;
}

void
http_headers_read(CURL *easy, struct http_answer *a)
{
    char value[HTTP_HEADER_MAX];

    a->retry_after = retry_after(easy);
    a->should_retry = -1;
    if (header(easy, "x-should-retry", value) && strcasecmp(value, "true") == 0)
        a->should_retry = 1;
    else if (strcasecmp(value, "false") == 0)
        a->should_retry = 0;
    a->requests = allowance(easy, "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
    a->tokens = allowance(easy, "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
    header(easy, "location", a->location);
}

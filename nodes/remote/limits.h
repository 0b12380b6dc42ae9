/* limits: how fast calls may go. A rate is kept by the generic cell rate algorithm (ITU-T I.371):
 * calls are spread evenly over the minute, and what stood idle may be caught up for one second. An
 * allowance is what a server says may still be sent (x-ratelimit-*). Times are node_now()'s. */
#ifndef NODES_REMOTE_LIMITS_H
#define NODES_REMOTE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_CATCH_UP 1.0 /* seconds */

/* Zero-initialise. */
struct rate {
    double next; /* when everything taken so far has been paid off */
};

/* When something may be taken at `per_minute` a minute (0: no limit, at once). */
double rate_when(const struct rate *r, int64_t per_minute);
/* So much is taken at NOW. */
void rate_take(struct rate *r, int64_t per_minute, double amount, double now);
/* Of what was taken, so much was not needed. */
void rate_give_back(struct rate *r, int64_t per_minute, double amount);

/* Zero-initialise. */
struct allowance {
    bool known;
    double left, until; /* so much may be sent before `until` */
};

/* The server said that so much is left, and more comes in so many seconds. */
void allowance_told(struct allowance *a, double left, double seconds, double now);
/* When AMOUNT may be sent: 0 or later than NOW. */
double allowance_when(const struct allowance *a, double amount, double now);
void allowance_take(struct allowance *a, double amount);

#endif

/* sat_bounds: thresholds, and the best path of pieces with lengths (wtpsplit, utils/constraints.py
 * and utils/priors.py). */
#include "nodes/segmenter/sat_bounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math.h"

#define SPLIT_BACK 20 /* characters before max_length where white space is looked for */

void
sat_ends_add(struct sat_ends *e, int64_t end)
{
    if (e->count == e->room) {
        e->room = e->room ? 2 * e->room : 64;
        e->at = xresize(e->at, (size_t)e->room * sizeof(*e->at));
    }
    e->at[e->count++] = end;
}

/* Behind the white space that begins at AT. */
static int64_t
past_space(const struct sat_text *t, int64_t at)
{
    while (at < t->count && t->space[at])
        at++;
    return at;
}

void
sat_bounds_over(const struct sat_text *t, float threshold, int64_t base, struct sat_ends *out)
{
    int64_t last = 0;

    for (int64_t i = 0; i < t->count; i++) {
        if (!(t->p[i] > threshold))
            continue;
        int64_t end = past_space(t, i + 1);

        if (end > last)
            sat_ends_add(out, base + (last = end));
    }
    if (last < t->count)
        sat_ends_add(out, base + t->count);
}

/* prior(length) >= 0; 0: a length that is not allowed. */
static double
prior_of(const struct sat_options *o, int64_t length)
{
    double x = (double)length, d = x - o->target, sigma, mu;

    switch (o->prior) {
    case SAT_prior_gaussian: d /= o->spread; return exp(-0.5 * d * d);
    case SAT_prior_lognormal:
        sigma = o->spread / o->target;
        mu = log(o->target) + sigma * sigma;
        d = (log(x) - mu) / sigma;
        return exp(-0.5 * d * d) / x;
    case SAT_prior_polynomial:
        d = 1.0 - d * d / (o->spread * o->spread);
        return d > 0 ? d : 0;
    default: return 1;
    }
}

/* The best way to a position. */
struct best {
    double  score;
    int64_t from;
};

/* Pieces end only where p > 0, and at the end of the text: the positions in between are left out of
 * the search. PLACES are those with 0 and count, LOGS their log p (0 at count). */
struct path {
    const struct sat_options *o;
    int64_t  min, max;
    int64_t *places;
    float   *logs;
    struct best *best;
    int64_t  count;
    double  *priors; /* (max + 1): their logs; NULL: uniform */
};

static void
find_places(const struct sat_text *t, struct path *p)
{
    size_t room = 2;

    for (int64_t i = 0; i < t->count; i++)
        room += t->p[i] > 0;
    p->places = xarray(room, sizeof(*p->places));
    p->logs = xarray(room, sizeof(*p->logs));
    p->best = xarray(room, sizeof(*p->best));
    p->count = 1;
    for (int64_t i = 0; i + 1 < t->count; i++)
        if (t->p[i] > 0) {
            p->places[p->count] = i + 1;
            p->logs[p->count++] = math_log(t->p[i]);
        }
    p->places[p->count++] = t->count;
}

/* With a uniform prior only the largest score of those in reach counts, the first of equal ones: a
 * queue whose scores fall. */
static void
search_uniform(struct path *p)
{
    int64_t *queue = xarray((size_t)p->count, sizeof(*queue)), head = 0, tail = 0, next = 0;

    for (int64_t i = 1; i < p->count; i++) {
        for (; next < i && p->places[i] - p->places[next] >= p->min; next++) {
            if (p->best[next].score == -INFINITY)
                continue;
            while (tail > head && p->best[queue[tail - 1]].score < p->best[next].score)
                tail--;
            queue[tail++] = next;
        }
        while (tail > head && p->places[i] - p->places[queue[head]] > p->max)
            head++;
        if (tail > head)
            p->best[i] = (struct best){p->best[queue[head]].score + (double)p->logs[i], queue[head]};
    }
    free(queue);
}

static void
search(struct path *p)
{
    int64_t low = 0;

    for (int64_t i = 1; i < p->count; i++) {
        while (p->places[i] - p->places[low] > p->max)
            low++;
        for (int64_t j = low; j < i && p->places[i] - p->places[j] >= p->min; j++) {
            double score = p->best[j].score + p->priors[p->places[i] - p->places[j]] +
                           (double)p->logs[i];

            if (score > p->best[i].score)
                p->best[i] = (struct best){score, j};
        }
    }
}

/* Pieces of max characters, where no path leads to the end. */
static void
cut_evenly(const struct path *p, int64_t count, struct sat_ends *cuts)
{
    for (int64_t at = 0, next; at < count; at = next) {
        next = at + p->max < count ? at + p->max : count;
        if (next >= at + p->min)
            sat_ends_add(cuts, next);
    }
}

/* A last piece below min: joined with the one before, or the cut before it is moved. */
static void
mend_last(const struct path *p, int64_t n, struct sat_ends *cuts)
{
    int64_t *last = cuts->count ? &cuts->at[cuts->count - 1] : NULL;
    int64_t before = cuts->count > 1 ? last[-1] : 0, wanted = n - p->min;

    if (!last || n - *last >= p->min)
        return;
    if (n - before <= p->max) {
        cuts->count--;
        return;
    }
    if (cuts->count == 1) {
        if (wanted >= p->min)
            *last = wanted;
        return;
    }
    wanted = wanted > before + 1 ? wanted : before + 1;
    if (wanted - before <= p->max)
        *last = wanted;
}

/* The cuts of the best path, ascending, without the end of the text. */
static void
best_cuts(const struct sat_text *t, const struct sat_options *o, struct sat_ends *cuts)
{
    struct path p = {.o = o, .min = o->min_length > 1 ? o->min_length : 1,
                     .max = o->max_length ? o->max_length : t->count};
    int64_t at, i;

    find_places(t, &p);
    for (i = 1; i < p.count; i++)
        p.best[i].score = -INFINITY;
    if (o->prior == SAT_prior_uniform) {
        search_uniform(&p);
    } else {
        p.priors = xarray((size_t)p.max + 1, sizeof(*p.priors));
        for (i = 1; i <= p.max; i++)
            p.priors[i] = log(prior_of(o, i));
        search(&p);
    }
    if (p.best[p.count - 1].score == -INFINITY) {
        cut_evenly(&p, t->count, cuts);
    } else {
        for (at = p.best[p.count - 1].from; at > 0; at = p.best[at].from)
            sat_ends_add(cuts, p.places[at]);
        for (i = 0; i < cuts->count / 2; i++) {
            at = cuts->at[i];
            cuts->at[i] = cuts->at[cuts->count - 1 - i];
            cuts->at[cuts->count - 1 - i] = at;
        }
    }
    mend_last(&p, t->count, cuts);
    free(p.places);
    free(p.logs);
    free(p.best);
    free(p.priors);
}

/* Pieces end behind white space, which may make one too long: it is cut again, at white space where
 * there is some, and its rest goes to the next one. Then short ones are joined with what follows. */
struct pieces {
    const struct sat_text *t;
    int64_t min, max; /* max 0: none */
    const struct sat_ends *bounds;
    int64_t from;     /* where the piece in hand begins */
    struct sat_ends *out;
    int64_t first;    /* of out: pieces before it belong to others */
    int64_t base;
};

static void
emit(struct pieces *p, int64_t end)
{
    if (end > p->from)
        sat_ends_add(p->out, p->base + (p->from = end));
}

/* The piece in hand up to END, above max: all but a rest of at most max. */
static void
emit_long(struct pieces *p, int64_t end)
{
    while (end - p->from > p->max) {
        int64_t at = p->from + p->max, low = p->max - SPLIT_BACK > 0 ? p->max - SPLIT_BACK : 0;

        for (int64_t j = p->max - 1; j > low; j--)
            if (p->t->space[p->from + j]) {
                at = p->from + j + 1;
                break;
            }
        emit(p, at);
    }
}

static void
join_last(struct pieces *p)
{
    int64_t *at = p->out->at, n = p->out->count;
    int64_t before = n - 2 > p->first ? at[n - 3] : p->base;

    if (n - p->first < 2 || at[n - 1] - at[n - 2] >= p->min)
        return;
    if (p->max && at[n - 1] - before > p->max)
        return;
    at[n - 2] = at[n - 1];
    p->out->count--;
}

static void
enforce(struct pieces *p)
{
    const int64_t *ends = p->bounds->at;
    int64_t count = p->bounds->count;

    for (int64_t i = 0; i < count; i++) {
        if (p->max && ends[i] - p->from > p->max) {
            emit_long(p, ends[i]);
            if (i + 1 == count)
                emit(p, ends[i]);
            continue; /* the rest begins the next piece */
        }
        while (ends[i] - p->from < p->min && i + 1 < count &&
               !(p->max && ends[i + 1] - p->from > p->max))
            i++;
        emit(p, ends[i]);
    }
    join_last(p);
}

void
sat_bounds_within(const struct sat_text *t, const struct sat_options *o, int64_t base,
                  struct sat_ends *out)
{
    struct sat_ends cuts = {0}, bounds = {0};
    struct pieces p = {.t = t, .min = o->min_length, .max = o->max_length, .bounds = &bounds,
                       .out = out, .first = out->count, .base = base};
    int64_t last = 0;

    if (t->count == 0)
        return;
    if (past_space(t, 0) == t->count) { /* white space alone: one piece, or even ones */
        int64_t step = o->max_length ? o->max_length : t->count;

        for (int64_t at = 0; at < t->count; at += step)
            sat_ends_add(out, base + (at + step < t->count ? at + step : t->count));
        return;
    }
    best_cuts(t, o, &cuts);
    for (int64_t i = 0; i < cuts.count; i++) {
        int64_t end = past_space(t, cuts.at[i]);

        if (end > last)
            sat_ends_add(&bounds, last = end);
    }
    if (last < t->count)
        sat_ends_add(&bounds, t->count);
    enforce(&p);
    free(cuts.at);
    free(bounds.at);
}

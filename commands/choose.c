#include "commands/choose.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/random.h"

#define VADE_DECAY_OTHERS 0.999 /* l2 */

/* Draws of one prompt in one round, by place in its 24 bits. */
#define DRAW_order  0
#define DRAW_prune  1
#define DRAW_again  64 /* and on: when every prompt was left out */
#define DRAW_right  (1 << 22)
#define DRAW_wrong  (1 << 23)
#define GAMMA_TRIES (1 << 20) /* one in twenty is rejected: never reached */
#define AGAIN_MAX   1000

static const char *const method_names[] = {"all", "uniform", "vade", "mopps", "dppo"};

int
choose_method_of(const char *word)
{
    for (int i = 0; i < (int)(sizeof(method_names) / sizeof(*method_names)); i++)
        if (strcmp(word, method_names[i]) == 0)
            return i;
    return -1;
}

static uint64_t
place(int64_t round, int64_t prompt, int64_t draw)
{
    assert(round <= CHOOSE_ROUNDS_MAX && prompt < CHOOSE_PROMPTS_MAX && draw < 1 << 24);
    return (uint64_t)round << 48 | (uint64_t)prompt << 24 | (uint64_t)draw;
}

/* Gamma(shape, 1), shape at least 1: d v, d = shape - 1/3, v = (1 + x / sqrt(9 d))^3 of a normal x,
 * taken when log u < x^2 / 2 + d - d v + d log v. */
static double
gamma_draw(uint64_t seed, uint64_t first, double shape)
{
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);

    assert(shape >= 1);
    for (uint64_t i = 0; i < GAMMA_TRIES; i++) {
        double x = random_normal(seed, RANDOM_choose, first + 2 * i);
        double u = random_unit(seed, RANDOM_choose, first + 2 * i + 1), v = 1 + c * x;

        v = v * v * v;
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
    return d;
}

double
choose_beta(uint64_t seed, int64_t round, int64_t prompt, double a, double b)
{
    double x = gamma_draw(seed, place(round, prompt, DRAW_right), a);
    double y = gamma_draw(seed, place(round, prompt, DRAW_wrong), b);

    return x / (x + y);
}

/* ---- the best B ---- */

struct rank {
    double value;
    int64_t prompt;
};

static int
by_value(const void *left, const void *right)
{
    const struct rank *a = left, *b = right;

    if (a->value != b->value)
        return a->value > b->value ? -1 : 1;
    return a->prompt < b->prompt ? -1 : 1;
}

static void
take_best(struct choose_draw *draws, int64_t count, int64_t wanted)
{
    struct rank *ranks = xarray((size_t)count, sizeof(*ranks));

    for (int64_t i = 0; i < count; i++)
        ranks[i] = (struct rank){draws[i].value, i};
    qsort(ranks, (size_t)count, sizeof(*ranks), by_value);
    for (int64_t i = 0; i < count; i++)
        draws[ranks[i].prompt].chosen = wanted == 0 || i < wanted;
    free(ranks);
}

/* ---- dppo ---- */

static double
mean_advantage(const struct choose_memory *m)
{
    return m->advantage / (double)m->rounds;
}

/* w of a prompt with a history, in (0, 1]. */
static double
readiness(const struct choose_memory *m, double mean)
{
    return mean > 0 ? 1 / (1 + mean_advantage(m) / mean) : 1;
}

/* c with mean(min(most, c w)) = rate over the pool's prompts with a history: those at the cap are
 * taken out of the equation until none is left to take. */
static double
scale_of(const struct choose_how *how, const struct choose_memory *memory,
         const struct choose_draw *draws, int64_t count, double mean)
{
    double c = 0;
    int64_t capped = -1, now = 0;

    while (now != capped) {
        double sum = 0, wanted = 0;

        capped = now;
        now = 0;
        for (int64_t i = 0; i < count; i++) {
            double w;

            if (!draws[i].chosen || !memory[i].rounds)
                continue;
            w = readiness(&memory[i], mean);
            wanted += how->rate;
            if (c * w >= CHOOSE_PRUNE_MOST)
                wanted -= CHOOSE_PRUNE_MOST;
            else
                sum += w;
        }
        c = sum > 0 ? wanted / sum : c;
        for (int64_t i = 0; i < count; i++)
            now += draws[i].chosen && memory[i].rounds &&
                   c * readiness(&memory[i], mean) >= CHOOSE_PRUNE_MOST;
    }
    return c;
}

/* Leaves prompts of the pool out, and weighs those that stay. */
static void
prune(const struct choose_how *how, int64_t round, const struct choose_memory *memory,
      int64_t count, struct choose_draw *draws)
{
    double sum = 0, mean, c;
    int64_t known = 0, pool = 0, kept = 0;

    for (int64_t i = 0; i < count; i++) {
        pool += draws[i].chosen;
        if (draws[i].chosen && memory[i].rounds) {
            sum += mean_advantage(&memory[i]);
            known++;
        }
    }
    mean = known ? sum / (double)known : 0;
    c = known ? scale_of(how, memory, draws, count, mean) : 0;
    for (int64_t i = 0; i < count; i++) {
        double p = memory[i].rounds ? c * readiness(&memory[i], mean) : 0;

        draws[i].value = draws[i].chosen ? (p < CHOOSE_PRUNE_MOST ? p : CHOOSE_PRUNE_MOST) : 0;
    }
    /* A round needs a prompt: when all were left out, the coins are tossed again. */
    for (int64_t again = 0; kept == 0 && again < AGAIN_MAX; again++)
        for (int64_t i = 0; i < count; i++) {
            double u = random_unit(how->seed, RANDOM_choose,
                                   place(round, i, again ? DRAW_again + again : DRAW_prune));

            draws[i].weight = draws[i].chosen && u >= draws[i].value;
            kept += draws[i].weight > 0;
        }
    for (int64_t i = 0; i < count; i++) {
        draws[i].chosen = draws[i].chosen && (draws[i].weight > 0 || kept == 0);
        draws[i].weight = kept ? (double)kept / (double)pool / (1 - draws[i].value) : 1;
    }
}

void
choose_draw(const struct choose_how *how, int64_t round, const struct choose_memory *memory,
            int64_t count, struct choose_draw *draws)
{
    for (int64_t i = 0; i < count; i++) {
        const struct choose_memory *m = &memory[i];
        double p = how->method == CHOOSE_vade || how->method == CHOOSE_mopps
                       ? choose_beta(how->seed, round, i, m->right + 1, m->wrong + 1)
                       : 0;

        draws[i] = (struct choose_draw){.weight = 1};
        if (how->method == CHOOSE_vade)
            draws[i].value = p * (1 - p) * (1 - p);
        else if (how->method == CHOOSE_mopps)
            draws[i].value = -fabs(p - how->target);
        else if (how->method != CHOOSE_all)
            draws[i].value =
                random_unit(how->seed, RANDOM_choose, place(round, i, DRAW_order));
    }
    take_best(draws, count, how->method == CHOOSE_all ? 0 : how->count);
    if (how->method == CHOOSE_dppo)
        prune(how, round, memory, count, draws);
}

void
choose_remember(const struct choose_how *how, const struct choose_draw *draws,
                const int64_t *correct, int64_t samples, struct choose_memory *memory,
                int64_t count)
{
    double others = how->method == CHOOSE_vade ? VADE_DECAY_OTHERS : 1;

    for (int64_t i = 0; i < count; i++) {
        struct choose_memory *m = &memory[i];
        double share = draws[i].chosen ? (double)correct[i] / (double)samples : 0;

        m->right *= draws[i].chosen ? how->decay : others;
        m->wrong *= draws[i].chosen ? how->decay : others;
        if (!draws[i].chosen)
            continue;
        m->right += (double)correct[i];
        m->wrong += (double)(samples - correct[i]);
        m->advantage += 2 * share * (1 - share); /* the mean of |r - mean r|, r 0 or 1 */
        m->rounds++;
    }
}

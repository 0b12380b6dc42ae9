/* baseline: see baseline.h. */
#include "nodes/learner/baseline.h"

#include <stdlib.h>
#include <string.h>

#define ROWS      (2 * BASELINE_KINDS_MAX)
#define BIN_SHIFT (BASELINE_DEPTH_MAX + 2)

/* A walk over the steps of a sample. */
struct walk {
    const struct sample *s;
    int64_t from, to; /* learnt tokens of the step */
    int64_t place;    /* of the step among those with a label */
    uint64_t context; /* 1, then a bit for each such step before it */
    double reward;    /* 0: unknown */
};

static struct walk
walk_of(const struct sample *s)
{
    return (struct walk){.s = s, .place = -1, .context = 1};
}

static double
reward_of(uint8_t mark)
{
    int label = mark & SAMPLE_rewarded ? mark >> SAMPLE_judged_shift & SAMPLE_judged
                                       : mark & SAMPLE_label;

    return label == SAMPLE_correct ? 1 : label == SAMPLE_incorrect ? -1 : 0;
}

/* The next step; false: none is left. */
static bool
walk_next(struct walk *w)
{
    int64_t learnt = w->s->count - w->s->context;
    double before = w->reward;

    if (w->to == learnt)
        return false;
    if (before != 0 && w->place < BASELINE_DEPTH_MAX)
        w->context = w->context << 1 | (before > 0);
    w->from = w->to++;
    while (w->to < learnt && !(w->s->marks[w->to] & SAMPLE_begins))
        w->to++;
    if (w->from == 0 && w->to == learnt && !(w->s->marks[0] & SAMPLE_label))
        w->reward = w->s->correct ? 1 : -1;
    else
        w->reward = reward_of(w->s->marks[w->from]);
    w->place += w->reward != 0;
    return true;
}

static uint64_t
key_of(const struct baseline_rules *rules, const struct walk *w, double accuracy)
{
    int64_t bin = (int64_t)(accuracy * (double)rules->bins);
    uint64_t place = (uint64_t)(w->place < BASELINE_KINDS_MAX ? w->place : BASELINE_KINDS_MAX) + 1;

    bin = bin >= rules->bins ? rules->bins - 1 : bin;
    if (rules->kind == BASELINE_ctx)
        return w->context;
    return ((uint64_t)bin << BIN_SHIFT) | (rules->kind == BASELINE_acc_pos ? place : w->context);
}

/* The row of a key, or the empty one where it belongs. */
static struct baseline_row *
row_of(const struct baselines *b, uint64_t key)
{
    uint64_t at = key * 0x9e3779b97f4a7c15u >> 32;

    while (b->rows[at % ROWS].key != 0 && b->rows[at % ROWS].key != key)
        at++;
    return &b->rows[at % ROWS];
}

void
baselines_add(struct baselines *b, const struct sample *s, double accuracy)
{
    struct walk w = walk_of(s);

    if (!b->rows)
        b->rows = xarray(ROWS, sizeof(*b->rows));
    while (walk_next(&w)) {
        uint64_t key = key_of(&b->rules, &w, accuracy);
        struct baseline_row *row = row_of(b, key);

        if (w.reward == 0 || (row->key == 0 && b->kinds == BASELINE_KINDS_MAX))
            continue;
        b->kinds += row->key == 0;
        row->key = key;
        row->count++;
        row->sum += w.reward;
    }
}

/* Learnt tokens of [from, to) that the mask leaves. */
static int64_t
left_of(const struct sample *s, int64_t from, int64_t to)
{
    int64_t left = 0;

    for (int64_t i = from; i < to; i++)
        left += !s->mask || s->mask[i];
    return left;
}

void
baselines_advantages(const struct baselines *b, const struct sample *s, double accuracy,
                     float *advantage)
{
    struct walk w = walk_of(s);
    double steps = 0, learnt = (double)left_of(s, 0, s->count - s->context);

    for (struct walk c = walk_of(s); b->rules.once && walk_next(&c);)
        steps += c.reward != 0 && left_of(s, c.from, c.to) > 0;
    while (walk_next(&w)) {
        const struct baseline_row *row =
            b->rows ? row_of(b, key_of(&b->rules, &w, accuracy)) : NULL;
        double mean = row && row->key != 0 && row->count >= b->rules.least
                          ? row->sum / (double)row->count
                          : 0;
        double tokens = (double)left_of(s, w.from, w.to);
        double scale = b->rules.once && steps * tokens > 0 ? learnt / (steps * tokens) : 1;

        for (int64_t i = w.from; i < w.to; i++)
            advantage[i] = w.reward == 0 ? 0 : (float)(scale * (w.reward - mean));
    }
}

void
baselines_free(struct baselines *b)
{
    free(b->rows);
    memset(b, 0, sizeof(*b));
}

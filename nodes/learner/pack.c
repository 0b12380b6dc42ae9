/* pack: see pack.h. */
#include "nodes/learner/pack.h"

#include <stdlib.h>
#include <string.h>

static void
pack_reserve(struct pack *p, int64_t tokens, int64_t samples)
{
    if (tokens > p->token_room) {
        p->token_room = tokens + tokens / 4;
        p->ids = xresize(p->ids, (size_t)p->token_room * sizeof(*p->ids));
        p->targets = xresize(p->targets, (size_t)p->token_room * sizeof(*p->targets));
        p->weight = xresize(p->weight, (size_t)p->token_room * sizeof(*p->weight));
        p->reference = xresize(p->reference, (size_t)p->token_room * sizeof(*p->reference));
    }
    if (samples + 1 > p->sample_room) {
        p->sample_room = samples + 1 + samples / 4;
        p->starts = xresize(p->starts, (size_t)p->sample_room * sizeof(*p->starts));
        p->samples = xresize(p->samples, (size_t)p->sample_room * sizeof(*p->samples));
    }
}

/* The class that response token i teaches, or -1. */
static int
judged(const struct sample *s, int64_t i)
{
    int mark = s->marks[i] >> SAMPLE_judged_shift & SAMPLE_judged;

    return mark == SAMPLE_incorrect || mark == SAMPLE_correct ? mark - 1 : -1;
}

int
pack_learns(const struct pack_rules *rules, const struct sample *s)
{
    if (rules->correct_only)
        return s->correct;
    for (int64_t i = 0; rules->classes && i < s->count - s->context; i++)
        if (judged(s, i) >= 0)
            return 1;
    return !rules->classes;
}

static void
fill_sample(struct pack *p, const struct pack_rules *rules, const struct sample *s, int64_t at)
{
    int64_t learnt = s->count - s->context;
    int64_t row = at + s->context - (rules->classes ? 0 : 1);

    for (int64_t i = 0; i < learnt; i++, row++) {
        int class = judged(s, i);
        int gem = !s->correct && (s->marks[i] & SAMPLE_label) == SAMPLE_correct;
        double weight = rules->classes        ? class >= 0
                        : rules->correct_only ? s->correct
                        : gem                 ? rules->beta
                                              : 1;
        int learns = rules->classes ? class >= 0 : !rules->correct_only || s->correct;

        p->targets[row] = !learns ? -1 : rules->classes ? class : s->ids[s->context + i];
        p->weight[row] = (float)weight;
        p->learnt += learns;
        p->gem_tokens += gem && !rules->classes && !rules->correct_only;
        if (s->reference)
            p->reference[row] = s->reference[i];
    }
}

void
pack_fill(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
          int64_t count)
{
    int64_t tokens = 0, at = 0;
    int reference = 1;

    for (int64_t i = 0; i < count; i++)
        tokens += samples[i].count;
    pack_reserve(p, tokens, count);
    for (int64_t t = 0; t < tokens; t++) {
        p->targets[t] = -1;
        p->weight[t] = 0;
        p->reference[t] = 0;
    }
    p->learnt = p->gem_tokens = 0;
    p->starts[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct sample *s = &samples[i];

        memcpy(p->ids + at, s->ids, (size_t)s->count * sizeof(*p->ids));
        fill_sample(p, rules, s, at);
        reference = reference && s->reference;
        p->samples[i] =
            (struct objective_sample){.first = at + s->context - (rules->classes ? 0 : 1),
                                      .count = s->count - s->context,
                                      .reward = s->reward,
                                      .mean = s->mean,
                                      .group_size = s->group_size,
                                      .correct = s->correct,
                                      .weight = 1,
                                      .named_row = -1,
                                      .group = i == 0 ? 0
                                                      : p->samples[i - 1].group +
                                                            (s->first != samples[i - 1].first)};
        at += s->count;
        p->starts[i + 1] = at;
    }
    p->batch =
        (struct batch){.tokens = tokens, .ids = p->ids, .sequences = count, .starts = p->starts};
    p->rows = (struct objective_batch){.rows = tokens,
                                       .weight = p->weight,
                                       .reference = reference ? p->reference : NULL,
                                       .samples = count,
                                       .sample = p->samples};
}

void
pack_free(struct pack *p)
{
    free(p->ids);
    free(p->starts);
    free(p->targets);
    free(p->weight);
    free(p->reference);
    free(p->samples);
    memset(p, 0, sizeof(*p));
}

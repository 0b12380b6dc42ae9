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
        p->behaviour = xresize(p->behaviour, (size_t)p->token_room * sizeof(*p->behaviour));
        p->advantage = xresize(p->advantage, (size_t)p->token_room * sizeof(*p->advantage));
        p->mask = xresize(p->mask, (size_t)p->token_room);
        p->begins = xresize(p->begins, (size_t)p->token_room);
    }
    if (samples + 1 > p->sample_room) {
        p->sample_room = samples + 1 + samples / 4;
        p->starts = xresize(p->starts, (size_t)p->sample_room * sizeof(*p->starts));
        p->from = xresize(p->from, (size_t)p->sample_room * sizeof(*p->from));
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

/* What the policy term of response token i counts. */
static double
weight_of(const struct pack_rules *rules, const struct sample *s, int64_t i)
{
    int label = s->marks[i] & SAMPLE_label;
    double weight = s->correct || label == 0 || label == SAMPLE_unknown ? 1
                    : label == SAMPLE_correct                           ? rules->beta
                                                                        : rules->wrong;

    weight = s->soften ? weight * (double)s->soften[i] : weight;
    return s->marks[i] & SAMPLE_correction ? weight * rules->correction : weight;
}

/* Rows from `row` on, one for each learnt token. */
static void
fill_sample(struct pack *p, const struct pack_rules *rules, const struct sample *s, int64_t row)
{
    for (int64_t i = 0; i < s->count - s->context; i++, row++) {
        int class = judged(s, i), counts = !s->mask || s->mask[i];
        int gem = !s->correct && (s->marks[i] & SAMPLE_label) == SAMPLE_correct;
        int learns = counts && (rules->classes ? class >= 0 : !rules->correct_only || s->correct);

        p->targets[row] = !learns ? -1 : rules->classes ? class : s->ids[s->context + i];
        p->weight[row] = !learns && (rules->classes || rules->correct_only) ? 0
                         : rules->classes ? (s->soften ? s->soften[i] : 1)
                                          : (float)weight_of(rules, s, i);
        p->mask[row] = (uint8_t)counts;
        p->begins[row] = (s->marks[i] & SAMPLE_begins) != 0;
        p->learnt += learns;
        p->gem_tokens += learns && gem && !rules->classes;
        p->reference[row] = s->reference ? s->reference[i] : 0;
        p->behaviour[row] = rules->recorded && s->logps ? s->logps[i] : p->reference[row];
        p->advantage[row] = s->advantages ? s->advantages[i] : (float)s->advantage;
    }
}

static struct objective_sample
objective_sample_of(const struct pack_rules *rules, const struct sample *s, int64_t first,
                    int64_t group)
{
    struct objective_sample o = {.first = first,
                                 .count = s->count - s->context,
                                 .group = group,
                                 .group_size = s->group_size,
                                 .reward = s->reward,
                                 .mean = s->mean,
                                 .std = s->std,
                                 .advantage = s->advantage,
                                 .weight = s->weight,
                                 .correct = s->correct,
                                 .injected = s->injected,
                                 .named_row = -1,
                                 .score = s->reward};

    if (rules->names && s->named >= 0 && (!s->mask || s->mask[s->named])) {
        o.named_row = first + s->named;
        sample_ranks(rules->names, s, o.rank);
    }
    return o;
}

/* What all samples have. */
static void
fill_rows(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
          int64_t count, int64_t rows)
{
    bool reference = true, recorded = true, advantages = false, mask = false;

    for (int64_t i = 0; i < count; i++) {
        reference = reference && samples[i].reference;
        recorded = recorded && (samples[i].logps || samples[i].injected);
        advantages = advantages || samples[i].advantages;
        mask = mask || samples[i].mask;
    }
    p->rows = (struct objective_batch){
        .rows = rows,
        .weight = p->weight,
        .reference = reference ? p->reference : NULL,
        .behaviour =
            rules->behaviour && (rules->recorded ? recorded : reference) ? p->behaviour : NULL,
        .advantage = advantages ? p->advantage : NULL,
        .mask = mask ? p->mask : NULL,
        .begins = p->begins,
        .samples = count,
        .sample = p->samples};
    if (rules->names) {
        p->rows.named = rules->names->count;
        p->rows.named_columns = rules->names->column;
        p->rows.named_values = rules->names->value;
    }
}

/* The first token of sample i whose hidden state is read: it has a target or named logits. */
static int64_t
first_read(const struct pack *p, int64_t i)
{
    const struct objective_sample *s = &p->samples[i];
    int64_t row = s->first;

    while (row < p->starts[i + 1] && p->targets[row] < 0 && row != s->named_row)
        row++;
    return row - p->starts[i];
}

/* With `whole` the contexts and ids too. */
static void
lay_out(struct pack *p, const struct pack_rules *rules, const struct sample *samples, int64_t count,
        bool whole)
{
    int64_t tokens = 0, at = 0, group = 0;

    for (int64_t i = 0; i < count; i++)
        tokens += samples[i].count - (whole ? 0 : samples[i].context);
    pack_reserve(p, tokens, count);
    for (int64_t t = 0; t < tokens; t++) {
        p->targets[t] = -1;
        p->weight[t] = p->reference[t] = p->behaviour[t] = p->advantage[t] = 0;
        p->mask[t] = 1;
        p->begins[t] = 0;
    }
    p->learnt = p->gem_tokens = 0;
    p->starts[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct sample *s = &samples[i];
        int64_t first = whole ? at + s->context - (rules->classes ? 0 : 1) : at;

        if (whole)
            memcpy(p->ids + at, s->ids, (size_t)s->count * sizeof(*p->ids));
        fill_sample(p, rules, s, first);
        group += i > 0 && s->first != samples[i - 1].first;
        p->samples[i] = objective_sample_of(rules, s, first, group);
        at += s->count - (whole ? 0 : s->context);
        p->starts[i + 1] = at;
    }
    fill_rows(p, rules, samples, count, tokens);
    for (int64_t i = 0; whole && i < count; i++)
        p->from[i] = first_read(p, i);
    p->batch = (struct batch){.tokens = tokens,
                              .ids = p->ids,
                              .sequences = count,
                              .starts = p->starts,
                              .from = p->from};
}

void
pack_fill(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
          int64_t count)
{
    lay_out(p, rules, samples, count, true);
}

void
pack_rows(struct pack *p, const struct pack_rules *rules, const struct sample *samples,
          int64_t count)
{
    lay_out(p, rules, samples, count, false);
}

void
pack_free(struct pack *p)
{
    free(p->ids);
    free(p->starts);
    free(p->from);
    free(p->targets);
    free(p->weight);
    free(p->reference);
    free(p->behaviour);
    free(p->advantage);
    free(p->mask);
    free(p->begins);
    free(p->samples);
    memset(p, 0, sizeof(*p));
}

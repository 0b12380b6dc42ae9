/* sample: a message becomes a record of tokens. See sample.h. */
#include "nodes/learner/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/spans.h"

/* A record: this head, ids, marks. Native byte order: a store never leaves its machine. */
struct head {
    uint32_t version;
    uint32_t group_size;
    uint64_t first;
    double reward, mean;
    int64_t count, context;
    int64_t correct;
};

static int
source_check(const struct sample_rules *rules, const struct sample_source *source, struct error *e)
{
    const struct rollout *r = source->rollout;

    if (!isfinite(r->reward))
        return error_set(e, ERROR_input, "the reward is not a finite number");
    if (!isfinite(r->group_mean))
        return error_set(e, ERROR_input, "the mean reward of the group is not a finite number");
    if (!source->ends)
        return 0;
    for (int64_t i = 0; i < source->steps; i++)
        if (source->labels[i] > 2 || (source->labels[i] < 2 && source->labels[i] >= rules->labels))
            return error_set(e, ERROR_input, "step %lld has the label %d, which means nothing",
                             (long long)i, source->labels[i]);
    return spans_check(source->ends, source->steps, r->response.length, e);
}

/* marks of the response tokens [from, t->count). Where two steps share a token, the later one
 * judges it. */
static void
marks_fill(const struct sample_source *source, const struct tokens *t, int64_t from, uint8_t *marks)
{
    int64_t *step = xarray((size_t)t->count + 1, sizeof(*step));
    int64_t *last = xarray((size_t)source->steps + 1, sizeof(*last));

    spans_steps(t, source->ends, source->steps, step);
    for (int64_t i = from; i < t->count; i++)
        if (step[i] >= 0)
            marks[i - from] = (uint8_t)(source->labels[step[i]] + 1);
    spans_tokens(t, source->ends, source->steps, last);
    for (int64_t k = 0; k < source->steps; k++)
        if (last[k] >= from) {
            uint8_t *m = &marks[last[k] - from];

            *m = (uint8_t)((*m & SAMPLE_label) | ((source->labels[k] + 1) << SAMPLE_judged_shift));
        }
    free(step);
    free(last);
}

static int
ids_check(const struct sample_rules *rules, const struct tokens *t, const char *what,
          struct error *e)
{
    if (t->dropped > 0)
        return error_set(e, ERROR_input, "the %s has %lld characters that the tokenizer lacks",
                         what, (long long)t->dropped);
    for (int64_t i = 0; i < t->count; i++)
        if (t->ids[i] < 0 || t->ids[i] >= rules->vocab)
            return error_set(e, ERROR_input,
                             "the %s has token %d, outside the model's vocabulary of %lld", what,
                             t->ids[i], (long long)rules->vocab);
    return 0;
}

static int
tokenise(struct sample_rules *rules, const struct rollout *r, struct error *e)
{
    int64_t where = 0;
    int rc = chat_prompt(rules->tokenizer, &rules->chat, rules->system, r->prompt, &rules->prompt,
                         e);

    if (rc < 0)
        return error_wrap(e, "prompt");
    rc = tokenizer_encode(rules->tokenizer, r->response, SPANS_RESPONSE_FLAGS, &rules->response, e);
    if (rc < 0)
        return error_wrap(e, "response");
    rc = ids_check(rules, &rules->prompt, "prompt", e);
    if (rc == 0)
        rc = ids_check(rules, &rules->response, "response", e);
    if (rc == 0 && !tokenizer_round_trips(rules->tokenizer, r->response, SPANS_RESPONSE_FLAGS,
                                          &rules->response, &where))
        rc = error_set(e, ERROR_input,
                       "the response does not tokenise back: byte %lld of it is lost or another",
                       (long long)where);
    return rc;
}

int
sample_make(struct sample_rules *rules, const struct sample_source *source, const struct unit *unit,
            struct buffer *out, int64_t *gems, struct error *e)
{
    const struct rollout *r = source->rollout;
    const struct tokens *p = &rules->prompt, *a = &rules->response;
    int64_t skip, learnt;
    int bos, eos, rc;

    *gems = 0;
    rc = source_check(rules, source, e);
    if (rc == 0)
        rc = tokenise(rules, r, e);
    if (rc < 0)
        return rc;
    bos = p->count == 0 && rules->bos >= 0;
    eos = rules->eos >= 0;
    skip = p->count == 0 && !bos ? 1 : 0; /* nothing predicts the very first token */
    learnt = a->count + eos - skip;
    if (learnt <= 0)
        return error_set(e, ERROR_input, "the response has no token to learn");

    struct head head = {.version = SAMPLE_VERSION,
                        .group_size = unit->size,
                        .first = unit->first,
                        .reward = r->reward,
                        .mean = r->group_mean,
                        .count = bos + p->count + a->count + eos,
                        .correct = r->reward > rules->correct_above};

    head.context = head.count - learnt;
    if (head.count > rules->max_tokens)
        return error_set(e, ERROR_input,
                         "too long: %lld tokens; max_tokens and the model allow %lld",
                         (long long)head.count, (long long)rules->max_tokens);
    buffer_add(out, &head, sizeof(head));
    if (bos)
        buffer_add(out, &(int32_t){(int32_t)rules->bos}, sizeof(int32_t));
    buffer_add(out, p->ids, (size_t)p->count * sizeof(int32_t));
    buffer_add(out, a->ids, (size_t)a->count * sizeof(int32_t));
    if (eos)
        buffer_add(out, &(int32_t){(int32_t)rules->eos}, sizeof(int32_t));

    uint8_t *marks = xalloc((size_t)learnt); /* the eos, if any, is the last and in no step */

    if (source->ends)
        marks_fill(source, a, skip, marks);
    buffer_add(out, marks, (size_t)learnt);
    free(marks);
    for (int64_t i = 0; source->ends && !head.correct && i < source->steps; i++)
        *gems += source->labels[i] == 1;
    return 0;
}

int
sample_peek(struct span record, uint64_t ordinal, struct sample *s, struct error *e)
{
    struct head head;

    memset(s, 0, sizeof(*s));
    if (record.length < sizeof(head))
        goto broken;
    memcpy(&head, record.at, sizeof(head));
    if (head.version != SAMPLE_VERSION)
        return error_set(e, ERROR_version, "sample %llu is of version %u, this program reads %d",
                         (unsigned long long)ordinal, head.version, SAMPLE_VERSION);
    if (head.context < 1 || head.count <= head.context || head.count > INT32_MAX ||
        head.group_size == 0 ||
        record.length !=
            sizeof(head) + (size_t)head.count * 4 + (size_t)(head.count - head.context))
        goto broken;
    s->ordinal = ordinal;
    s->first = head.first;
    s->group_size = head.group_size;
    s->reward = head.reward;
    s->mean = head.mean;
    s->correct = head.correct != 0;
    s->count = head.count;
    s->context = head.context;
    return 0;

broken:
    return error_set(e, ERROR_store, "sample %llu is damaged in the store",
                     (unsigned long long)ordinal);
}

int
sample_read(struct span record, uint64_t ordinal, struct sample *s, struct error *e)
{
    int rc = sample_peek(record, ordinal, s, e);

    if (rc < 0)
        return rc;
    s->ids = (const int32_t *)(const void *)(record.at + sizeof(struct head));
    s->marks = (const uint8_t *)(s->ids + s->count);
    return 0;
}

void
sample_rules_free(struct sample_rules *rules)
{
    chat_template_free(&rules->chat);
    tokens_free(&rules->prompt);
    tokens_free(&rules->response);
}

/* sample: a message becomes a record of tokens. See sample.h. */
#include "nodes/learner/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/learner/s2r.h"
#include "nodes/spans.h"

#define GIVEN_TOKENS_MAX 8 /* byte tokens that share one character */

/* A record: this head, ids, logps where there are some, marks. Native byte order: a store never
 * leaves its machine. */
struct head {
    uint32_t version;
    uint32_t group_size;
    uint64_t first;
    double reward, mean, std, weight;
    int64_t count, context, named;
    uint8_t correct, truncated, injected, logps;
    uint32_t spare;
};

static int
source_check(const struct sample_rules *rules, const struct sample_source *source, struct error *e)
{
    const struct rollout *r = source->rollout;

    if (!isfinite(r->reward))
        return error_set(e, ERROR_input, "the reward is not a finite number");
    if (!isfinite(r->group_mean))
        return error_set(e, ERROR_input, "the mean reward of the group is not a finite number");
    if (!isfinite(r->group_std))
        return error_set(e, ERROR_input, "the spread of the group's rewards is not finite");
    if (!isfinite(r->weight) || r->weight < 0)
        return error_set(e, ERROR_input, "field 'weight' is %g; a weight is above 0", r->weight);
    if (!source->ends)
        return 0;
    for (int64_t i = 0; i < source->steps; i++)
        if (source->labels[i] > 2 || (source->labels[i] < 2 && source->labels[i] >= rules->labels))
            return error_set(e, ERROR_input, "step %lld has the label %d, which means nothing",
                             (long long)i, source->labels[i]);
    return spans_check(source->ends, source->steps, r->response.length, e);
}

static uint8_t
step_mark(const struct sample_source *source, int64_t step, bool begins)
{
    bool correction = step > 0 && source->labels[step] == 1 && source->labels[step - 1] == 0;

    return (uint8_t)((source->labels[step] + 1) | (begins ? SAMPLE_begins : 0) |
                     (correction ? SAMPLE_correction : 0));
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
            marks[i - from] = step_mark(source, step[i], i == from || step[i] != step[i - 1]);
    spans_tokens(t, source->ends, source->steps, last);
    for (int64_t k = 0; k < source->steps; k++)
        if (last[k] >= from) {
            uint8_t *m = &marks[last[k] - from];

            *m = (uint8_t)((*m & ~(SAMPLE_judged << SAMPLE_judged_shift)) |
                           ((source->labels[k] + 1) << SAMPLE_judged_shift));
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

/* ---- given ids ---- */

static void
tokens_add(struct tokens *t, int32_t id)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 256;
        t->ids = xresize(t->ids, (size_t)t->room * sizeof(*t->ids));
        t->starts = xresize(t->starts, (size_t)t->room * sizeof(*t->starts));
        t->ends = xresize(t->ends, (size_t)t->room * sizeof(*t->ends));
    }
    t->ids[t->count++] = id;
}

/* Bytes of tokens [from, t->count), which must be the response's at *at; advances it. 0: not (yet)
 * whole characters that match. */
static int
place_tokens(struct sample_rules *rules, struct tokens *t, int64_t from, struct span response,
             int64_t *at, struct buffer *text)
{
    buffer_clear(text);
    tokenizer_decode(rules->tokenizer, t->ids + from, t->count - from, 0, text);
    if (text->length > response.length - (size_t)*at ||
        (text->length > 0 && memcmp(text->at, response.at + *at, text->length) != 0))
        return 0;
    for (int64_t i = from; i < t->count; i++) {
        t->starts[i] = *at;
        t->ends[i] = *at + (int64_t)text->length;
    }
    *at += (int64_t)text->length;
    return 1;
}

/* Do the ids end with a token that ends an answer: the stop token, or another special one that the
 * response's text does not have? */
static int
ends_by_token(const struct sample_rules *rules, const struct rollout *r)
{
    int64_t id = r->token_ids.at[r->token_ids.count - 1];
    const char *text;
    size_t length;

    if (rules->stop >= 0 && id == rules->stop)
        return 1;
    if (id >= rules->vocab || !tokenizer_is_special(rules->tokenizer, (int32_t)id))
        return 0;
    text = tokenizer_token(rules->tokenizer, (int32_t)id);
    length = text ? strlen(text) : 0;
    return length > r->response.length ||
           memcmp(r->response.at + r->response.length - length, text, length) != 0;
}

/* The rollout's own ids as rules->response, without a token that ends them; *ended: its id, or -1.
 */
static int
take_given(struct sample_rules *rules, const struct rollout *r, int64_t *ended, struct error *e)
{
    struct tokens *t = &rules->response;
    struct buffer text = {0};
    int64_t count = r->token_ids.count, at = 0, from = 0;

    *ended = ends_by_token(rules, r) ? (int64_t)r->token_ids.at[count - 1] : -1;
    count -= *ended >= 0;
    t->count = t->dropped = 0;
    for (int64_t i = 0; i < count; i++) {
        if (r->token_ids.at[i] >= (uint64_t)rules->vocab) {
            buffer_free(&text);
            return error_set(e, ERROR_input,
                             "field 'token_ids': id %u lies outside the model's vocabulary of %lld",
                             r->token_ids.at[i], (long long)rules->vocab);
        }
        tokens_add(t, (int32_t)r->token_ids.at[i]);
        if (place_tokens(rules, t, from, r->response, &at, &text))
            from = t->count;
        else if (t->count - from >= GIVEN_TOKENS_MAX)
            break;
    }
    buffer_free(&text);
    if (from == count && at == (int64_t)r->response.length)
        return 0;
    return error_set(e, ERROR_input,
                     "field 'token_ids' does not decode to the response: they part at byte %lld "
                     "(another tokenizer's? then set token_ids_field: none at the reader)",
                     (long long)at);
}

/* A prompt that is in a chat template already would be put into another one, as letters: the reader
 * writes several messages as ChatML, and some programs record prompts as the model saw them. */
static int
check_bare(const struct sample_rules *rules, struct span prompt, struct error *e)
{
    static const char *const begins[] = {"<|im_start|>", "<|begin_of_text|>", "<|start_header_id|>",
                                         "<｜begin▁of▁sentence｜>", "<｜User｜>"};

    for (size_t i = 0; rules->chat.format != CHAT_raw && i < sizeof(begins) / sizeof(*begins); i++)
        if (prompt.length >= strlen(begins[i]) &&
            memcmp(prompt.at, begins[i], strlen(begins[i])) == 0)
            return error_set(e, ERROR_input,
                             "it begins with '%s', so it is in a chat template already (a list of "
                             "several messages is made ChatML): say prompt_format: raw", begins[i]);
    return 0;
}

static int
tokenise(struct sample_rules *rules, const struct rollout *r, int64_t *ended, struct error *e)
{
    int64_t where = 0;
    int rc = check_bare(rules, r->prompt, e);

    if (rc == 0)
        rc = chat_prompt(rules->tokenizer, &rules->chat, rules->system, r->prompt, &rules->prompt,
                         e);

    *ended = -1;
    if (rc < 0)
        return error_wrap(e, "prompt");
    rc = ids_check(rules, &rules->prompt, "prompt", e);
    if (rc < 0)
        return rc;
    if (r->token_ids.count > 0)
        return take_given(rules, r, ended, e);
    rc = tokenizer_encode(rules->tokenizer, r->response, SPANS_RESPONSE_FLAGS, &rules->response, e);
    if (rc < 0)
        return error_wrap(e, "response");
    rc = ids_check(rules, &rules->response, "response", e);
    if (rc == 0 && !tokenizer_round_trips(rules->tokenizer, r->response, SPANS_RESPONSE_FLAGS,
                                          &rules->response, &where))
        rc = error_set(e, ERROR_input,
                       "the response does not tokenise back: byte %lld of it is lost or another",
                       (long long)where);
    return rc;
}

/* Which token follows the response, -1: none. `ended`: the one its ids had. The recorded
 * log-probabilities, where they are kept, must be one a token. */
static int
decide_end(const struct sample_rules *rules, const struct rollout *r, int64_t ended, int64_t *end,
           struct error *e)
{
    int64_t tokens = rules->response.count, have = r->logps.count;
    bool follows = rules->eos >= 0 && (ended >= 0 || !span_is(r->finish, "length"));

    *end = !follows ? -1 : ended >= 0 ? ended : rules->eos;
    if (!rules->recorded || have == 0)
        return 0;
    for (int64_t i = 0; i < have; i++)
        if (!(r->logps.at[i] <= 0) || isinf(r->logps.at[i]))
            return error_set(e, ERROR_input,
                             "field 'logps': value %lld is %g; a log-probability is finite and not "
                             "above 0",
                             (long long)i, (double)r->logps.at[i]);
    if (have == tokens + 1 && (follows || ended >= 0))
        return 0;
    if (have != tokens)
        return error_set(e, ERROR_input,
                         "field 'logps' has %lld values, the response %lld tokens%s",
                         (long long)have, (long long)tokens, follows ? " and a stop token" : "");
    *end = -1;
    return 0;
}

/* The text of the last token, its first bytes, in ASCII. */
static void
token_shown(const struct tokens *t, struct span text, char *out, size_t room)
{
    size_t length = 0;

    for (int64_t i = t->count > 0 ? t->starts[t->count - 1] : (int64_t)text.length;
         i < (int64_t)text.length && length + 1 < room; i++, length++)
        out[length] = text.at[i] >= ' ' && text.at[i] < 0x7f ? text.at[i] : '?';
    out[length] = 0;
}

/* The response token whose names count: the score, which is the last before the stop token, or the
 * first identifier after a "[". */
static int
find_named(const struct sample_rules *rules, const struct rollout *r, int64_t *named,
           struct error *e)
{
    const struct sample_names *names = &rules->names;
    const struct tokens *t = &rules->response;
    int found = 0;

    *named = -1;
    for (int64_t i = 0; names->kind != SAMPLE_names_none && i < t->count; i++) {
        int64_t k = 0;

        while (k < names->count && names->column[k] != t->ids[i])
            k++;
        if (k == names->count || (names->kind == SAMPLE_names_score && i + 1 < t->count) ||
            (names->kind == SAMPLE_names_rank &&
             (t->starts[i] == 0 || r->response.at[t->starts[i] - 1] != '[')))
            continue;
        *named = *named < 0 ? i : *named;
        found++;
    }
    if (names->kind == SAMPLE_names_score && found == 0) {
        char last[24];

        token_shown(t, r->response, last, sizeof(last));
        return error_set(e, ERROR_input,
                         "the response does not end with one of the scores: its last token is '%s'",
                         last);
    }
    if (names->kind == SAMPLE_names_rank && found < 2)
        return error_set(e, ERROR_input, "the response does not rank two identifiers: [B] > [A]");
    return 0;
}

/* ---- records ---- */

static void
write_ids(const struct sample_rules *rules, const struct rollout *r, const struct head *head,
          int64_t end, struct buffer *out)
{
    const struct tokens *p = &rules->prompt, *a = &rules->response;
    int64_t learnt = head->count - head->context, bos = p->count == 0 && rules->bos >= 0;
    int64_t eos = end >= 0;

    buffer_add(out, head, sizeof(*head));
    if (bos)
        buffer_add(out, &(int32_t){(int32_t)rules->bos}, sizeof(int32_t));
    buffer_add(out, p->ids, (size_t)p->count * sizeof(int32_t));
    buffer_add(out, a->ids, (size_t)a->count * sizeof(int32_t));
    if (eos)
        buffer_add(out, &(int32_t){(int32_t)end}, sizeof(int32_t));
    if (head->logps)
        buffer_add(out, r->logps.at + (a->count + eos - learnt), (size_t)learnt * sizeof(float));
}

int64_t
sample_skip(const struct sample_rules *rules)
{
    return rules->prompt.count == 0 && rules->bos < 0;
}

int
sample_make(struct sample_rules *rules, const struct sample_source *source, const struct unit *unit,
            struct buffer *out, int64_t *gems, struct error *e)
{
    const struct rollout *r = source->rollout;
    const struct tokens *p = &rules->prompt, *a = &rules->response;
    int64_t skip, learnt, named = -1, ended = -1, end = -1;
    int bos, eos, rc;

    *gems = 0;
    rc = source_check(rules, source, e);
    if (rc == 0)
        rc = tokenise(rules, r, &ended, e);
    if (rc == 0)
        rc = decide_end(rules, r, ended, &end, e);
    if (rc == 0)
        rc = find_named(rules, r, &named, e);
    if (rc < 0)
        return rc;
    eos = end >= 0;
    bos = p->count == 0 && rules->bos >= 0;
    skip = sample_skip(rules);
    learnt = a->count + eos - skip;
    if (learnt <= 0)
        return error_set(e, ERROR_input, "the response has no token to learn");

    struct head head = {.version = SAMPLE_VERSION,
                        .group_size = unit->size,
                        .first = unit->first,
                        .reward = r->reward,
                        .mean = r->group_mean,
                        .std = r->group_std,
                        .weight = r->weight > 0 ? r->weight : 1,
                        .count = bos + p->count + a->count + eos,
                        .named = named - skip < 0 ? -1 : named - skip,
                        .correct = r->reward > rules->correct_above,
                        .truncated = span_is(r->finish, "length"),
                        .injected = r->injected != 0,
                        .logps = rules->recorded && r->logps.count > 0};

    head.context = head.count - learnt;
    if (head.count > rules->max_tokens)
        return error_set(e, ERROR_input,
                         "too long: %lld tokens; max_tokens and the model allow %lld",
                         (long long)head.count, (long long)rules->max_tokens);
    write_ids(rules, r, &head, end, out);

    uint8_t *marks = xalloc((size_t)learnt); /* the eos, if any, is the last and in no step */

    if (source->ends)
        marks_fill(source, a, skip, marks);
    if (rules->verdict_marks && source->ends)
        s2r_rewards(rules->verdict_marks, source, a, skip, marks);
    if (rules->verify_marks)
        s2r_mask(rules->verify_marks, rules->retry_marks, r->response, a, skip, marks);
    buffer_add(out, marks, (size_t)learnt);
    free(marks);
    for (int64_t i = 0; source->ends && !head.correct && i < source->steps; i++)
        *gems += source->labels[i] == 1;
    return 0;
}

/* ---- names ---- */

/* The token that `word` ends with; `tokens` it must be in all. -1: not so. */
static int32_t
last_token(struct tokenizer *t, const char *word, int64_t tokens, struct tokens *scratch)
{
    struct error none;

    if (tokenizer_encode(t, span_text(word), SPANS_RESPONSE_FLAGS, scratch, &none) < 0 ||
        scratch->count != tokens || scratch->dropped > 0)
        return -1;
    return scratch->ids[tokens - 1];
}

int
sample_names_find(struct tokenizer *t, enum sample_names_kind kind, const char *digits,
                  struct sample_names *names, struct error *e)
{
    struct tokens scratch = {0};
    bool score = kind == SAMPLE_names_score;
    int64_t most = score ? (int64_t)strlen(digits) : SAMPLE_NAMES_MAX - 6; /* A to Z */
    char word[3] = "[A";

    *names = (struct sample_names){.kind = kind};
    for (int64_t k = 0; k < most && k < SAMPLE_NAMES_MAX; k++) {
        int32_t id;

        if (score)
            snprintf(word, sizeof(word), "%c", digits[k]);
        else
            word[1] = (char)('A' + k);
        id = last_token(t, word, score ? 1 : 2, &scratch);
        if (id < 0 && !score && k >= 2)
            break; /* a small vocabulary has fewer letters */
        if (id < 0) {
            tokens_free(&scratch);
            return error_set(e, ERROR_model, "the tokenizer does not make '%s' %s", word,
                             score ? "one token" : "two tokens, the second an identifier");
        }
        names->column[names->count] = id;
        names->value[names->count++] = score ? digits[k] - '0' : 0;
    }
    tokens_free(&scratch);
    return 0;
}

void
sample_ranks(const struct sample_names *names, const struct sample *s, int32_t *rank)
{
    int32_t listed = 0;

    memset(rank, 0, SAMPLE_NAMES_MAX * sizeof(*rank));
    if (names->kind != SAMPLE_names_rank || s->named < 0)
        return;
    for (int64_t i = s->context + s->named; i < s->count; i++)
        for (int64_t k = 0; k < names->count; k++)
            if (names->column[k] == s->ids[i] && rank[k] == 0)
                rank[k] = ++listed;
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
        head.group_size == 0 || head.named < -1 || head.named >= head.count - head.context ||
        record.length != sizeof(head) + (size_t)head.count * 4 +
                             (size_t)(head.count - head.context) * (head.logps ? 5 : 1))
        goto broken;
    s->ordinal = ordinal;
    s->first = head.first;
    s->group_size = head.group_size;
    s->reward = head.reward;
    s->mean = head.mean;
    s->std = head.std;
    s->weight = head.weight;
    s->correct = head.correct != 0;
    s->truncated = head.truncated != 0;
    s->injected = head.injected != 0;
    s->named = head.named;
    s->count = head.count;
    s->context = head.context;
    s->logps = head.logps ? (const float *)(const void *)record.at : NULL;
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
    if (s->logps) {
        s->logps = (const float *)(const void *)(s->ids + s->count);
        s->marks = (const uint8_t *)(s->logps + (s->count - s->context));
    }
    return 0;
}

void
sample_rules_free(struct sample_rules *rules)
{
    chat_template_free(&rules->chat);
    tokens_free(&rules->prompt);
    tokens_free(&rules->response);
}

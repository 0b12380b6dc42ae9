/* sample: one rollout as the learner keeps it: token ids, where the response begins, which step's
 * label each response token carries, what the sampler recorded, and the group's numbers. A record
 * is a function of the message, the tokenizer and the options alone; what arrives first changes
 * nothing in it.
 *
 * Where the rollout brings the token ids it was sampled with they are the response's tokens, else
 * the tokenizer's are (nodes/spans.h). Bytes of given ids: each token by itself decodes to its
 * bytes; tokens that share a character share its bytes. */
#ifndef NODES_LEARNER_SAMPLE_H
#define NODES_LEARNER_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/node.h"
#include "kernels/chat.h"
#include "kernels/tokenizer.h"

#define SAMPLE_VERSION   2
#define SAMPLE_NAMES_MAX 32 /* named tokens: the digits of a score, the identifiers of a ranking */

/* marks[i] of a response token: the label of the step that holds its first byte (what its weight
 * depends on), and the label of the step whose token it is (what a class head learns there); 0 for
 * none, else label + 1. The rest are flags. */
enum sample_mark {
    SAMPLE_label = 3,
    SAMPLE_rewarded = 4, /* of a verify's first token: its reward for S2R is what it is judged by,
                            not its label (nodes/learner/s2r.h) */
    SAMPLE_begins = 8, /* the first token of its step */
    SAMPLE_judged_shift = 4,
    SAMPLE_judged = 3,
    SAMPLE_masked = 64,      /* not learnt: the behaviour mask of S2R left it out */
    SAMPLE_correction = 128, /* of a step labelled correct right after one labelled incorrect */
};

enum sample_step { SAMPLE_incorrect = 1, SAMPLE_correct = 2, SAMPLE_unknown = 3 };

struct sample {
    uint64_t ordinal, first;
    uint32_t group_size; /* rollouts the group emitted, dropped ones too */
    double reward, mean, std;
    double weight;       /* of its whole loss: as given, else 1 */
    int correct;         /* reward above `correct_above` */
    int truncated;       /* the sampler cut it off */
    int injected;        /* not sampled by the policy of its group */
    int64_t count;       /* tokens in all */
    int64_t context;     /* tokens that are given, not learnt: the prompt, at least 1 */
    int64_t named;       /* index among the learnt tokens of the one whose names count; -1 */
    const int32_t *ids;  /* (count) */
    const float *logps;  /* (count - context) recorded by the sampler; NULL: not recorded */
    const uint8_t *marks; /* (count - context): of ids[context ...] */
    const float
        *reference; /* (count - context) log-probabilities of the initial model; NULL: not known */
    /* What the stages before the objective made of it (nodes/learner/select.h). */
    const uint8_t *mask;     /* (count - context) 0: as if the token were not there; NULL: all 1 */
    const float *soften;     /* (count - context) what the weight is multiplied by; NULL: all 1 */
    double advantage;        /* A_i */
    const float *advantages; /* (count - context) of each token, in place of A_i; NULL */
    bool pruned;             /* counts in the normalisers, has no gradient */
};

/* Tokens with a meaning of their own, resolved once. */
enum sample_names_kind { SAMPLE_names_none, SAMPLE_names_score, SAMPLE_names_rank };

struct sample_names {
    enum sample_names_kind kind;
    int64_t count;
    int32_t column[SAMPLE_NAMES_MAX]; /* token ids */
    double value[SAMPLE_NAMES_MAX];   /* what a digit is worth */
};

/* What turns text into samples; filled by the learner. */
struct sample_rules {
    struct tokenizer *tokenizer;
    int64_t vocab; /* ids must lie below it */
    int64_t max_tokens;
    int64_t bos, eos; /* -1: none is put before / after */
    int64_t stop;     /* the model's stop token, which given ids may end with; -1: none */
    int64_t labels;   /* classes; a label at or above it, but for unknown, is refused */
    double correct_above;
    struct chat_template chat; /* how a prompt is put; zero: as it stands */
    const char *system;        /* before it; NULL or "": none */
    bool recorded; /* keep the sampler's log-probabilities, which must fit the tokens */
    struct sample_names names;
    const char *verify_marks, *retry_marks; /* S2R's, alternatives parted by |; NULL: no mask */
    const char *verdict_marks; /* such too, for rewards of verifies; NULL: as labelled */
    struct tokens prompt, response;         /* scratch */
};

/* What a message says, either shape. */
struct sample_source {
    const struct rollout *rollout;
    const uint64_t *ends; /* NULL: no steps */
    const uint8_t *labels;
    int64_t steps;
    const uint8_t *kinds; /* as the segmenter told them apart; NULL: it did not */
};

/* Appends the record to `out`. *gems: steps labelled correct in a wrong response. ERROR_input with
 * a reason a person can act on: not tokenisable, too long, a reward that is no number, steps that
 * do not tile, recorded ids that are not the response, log-probabilities that are not one a token.
 *
 * The stop token is put after a response, or the special token that its own ids end with, unless
 * the sampler cut it off (finish: length) or the recorded log-probabilities end before it. */
int sample_make(struct sample_rules *rules, const struct sample_source *source,
                const struct unit *unit, struct buffer *out, int64_t *gems, struct error *e);

/* Tokens at the start of the response that nothing predicts, and so are not learnt: the first one
 * without a prompt and a bos. Of the rollout that was made last. */
int64_t sample_skip(const struct sample_rules *rules);

/* Reads a record; ids and marks borrow from `record`, which must be 8-byte aligned. */
int sample_read(struct span record, uint64_t ordinal, struct sample *s, struct error *e);

/* The head of a record alone, from bytes of any alignment (for an index); logps is non-NULL where
 * there are some, and not to be read. */
int sample_peek(struct span record, uint64_t ordinal, struct sample *s, struct error *e);

/* Fills names of a kind, or says why this tokenizer cannot have them: a score is one token, each
 * digit of `digits` ("12345") one; identifiers are A, B ... after "[", one token each. */
int sample_names_find(struct tokenizer *t, enum sample_names_kind kind, const char *digits,
                      struct sample_names *names, struct error *e);
/* True rank of each name, from 1, by its place in the response; 0: not listed. */
void sample_ranks(const struct sample_names *names, const struct sample *s, int32_t *rank);

void sample_rules_free(struct sample_rules *rules);

#endif

/* sample: one rollout as the learner keeps it: token ids, where the response begins, which step's
 * label each response token carries, and the group's numbers. A record is a function of the
 * message, the tokenizer and the options alone; what arrives first changes nothing in it. */
#ifndef NODES_LEARNER_SAMPLE_H
#define NODES_LEARNER_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/node.h"
#include "kernels/chat.h"
#include "kernels/tokenizer.h"

#define SAMPLE_VERSION 1

/* marks[i] of a response token: the label of the step that holds its first byte (what its weight
 * depends on), and the label of the step whose token it is (what a class head learns there); 0 for
 * none, else label + 1. */
enum sample_mark {
    SAMPLE_label = 7,
    SAMPLE_judged_shift = 4,
};

enum sample_step { SAMPLE_incorrect = 1, SAMPLE_correct = 2, SAMPLE_unknown = 3 };

struct sample {
    uint64_t ordinal, first;
    uint32_t group_size; /* rollouts the group emitted, dropped ones too */
    double reward, mean;
    int correct;          /* reward above `correct_above` */
    int64_t count;        /* tokens in all */
    int64_t context;      /* tokens that are given, not learnt: the prompt, at least 1 */
    const int32_t *ids;   /* (count) */
    const uint8_t *marks; /* (count - context): of ids[context ...] */
    const float
        *reference; /* (count - context) log-probabilities of the initial model; NULL: not known */
};

/* What turns text into samples; filled by the learner. */
struct sample_rules {
    struct tokenizer *tokenizer;
    int64_t vocab; /* ids must lie below it */
    int64_t max_tokens;
    int64_t bos, eos; /* -1: none is put before / after */
    int64_t labels;   /* classes; a label at or above it, but for unknown, is refused */
    double correct_above;
    struct chat_template chat; /* how a prompt is put; zero: as it stands */
    const char *system;        /* before it; NULL or "": none */
    struct tokens prompt, response; /* scratch */
};

/* What a message says, either shape. */
struct sample_source {
    const struct rollout *rollout;
    const uint64_t *ends; /* NULL: no steps */
    const uint8_t *labels;
    int64_t steps;
};

/* Appends the record to `out`. *gems: steps labelled correct in a wrong response. ERROR_input with
 * a reason a person can act on: not tokenisable, too long, a reward that is no number, steps that
 * do not tile. */
int sample_make(struct sample_rules *rules, const struct sample_source *source,
                const struct unit *unit, struct buffer *out, int64_t *gems, struct error *e);

/* Reads a record; ids and marks borrow from `record`, which must be 8-byte aligned. */
int sample_read(struct span record, uint64_t ordinal, struct sample *s, struct error *e);

/* The head of a record alone, from bytes of any alignment (for an index). */
int sample_peek(struct span record, uint64_t ordinal, struct sample *s, struct error *e);

void sample_rules_free(struct sample_rules *rules);

#endif

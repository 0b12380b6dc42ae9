/* order: which samples make which optimiser step. Groups stand in ordinal order or, for one pass,
 * in a permutation drawn from (seed, pass); a step takes whole groups until it holds at least
 * batch_rollouts samples. All of it follows from the ordinals stored, the seed and the options:
 * never from arrival. */
#ifndef NODES_LEARNER_ORDER_H
#define NODES_LEARNER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* What the learner keeps in memory of every stored sample. */
struct entry {
    uint64_t ordinal, first;
    uint32_t group_size;
    uint32_t tokens;
};

/* Samples that wait, by ordinal. Zero-initialise. */
struct entries {
    struct entry *at;
    int64_t count, room;
};

void entries_add(struct entries *s,
                 const struct entry *entry); /* keeps the order; an ordinal twice is kept once */
void entries_drop(struct entries *s, int64_t count); /* the first so many */
void entries_free(struct entries *s);

/* The first window of at least `samples` samples in whole groups that lies below `settled`; with
 * `all` what is left counts too. Returns how many entries it has (0: none yet) and sets *end to the
 * ordinal after it. */
int64_t entries_window(const struct entries *s, int64_t samples, uint64_t settled, bool all,
                       uint64_t *end);

/* How many complete windows lie below `settled`, at most `most`. */
int entries_windows(const struct entries *s, int64_t samples, uint64_t settled, int most);

/* One pass over the entries [0, count): its steps. */
struct pass {
    int64_t *order;  /* (count) indices of entries */
    int64_t *starts; /* (steps + 1) into order */
    int64_t count, steps;
};

void pass_make(struct pass *p, const struct entries *s, int64_t count, int64_t batch, bool shuffle,
               uint64_t seed, uint64_t number);
void pass_free(struct pass *p);

#endif

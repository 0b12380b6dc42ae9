/* sampler: many answers of a language model at once, each a function of its own prompt and number
 * only.
 *
 * Rows of a key-value cache are filled from a queue of (prompt, sample) pairs; a row that ends
 * takes the next pair. The draw of token t of an answer is random_unit(seed, RANDOM_sample, index)
 * with an index made of the prompt's number, the sample's number and t, and the decoder's bits for
 * a token do not depend on its neighbours: so an answer depends on neither the batch it was drawn
 * in nor `rows`. */
#ifndef KERNELS_SAMPLER_H
#define KERNELS_SAMPLER_H

#include "base/error.h"

#include <stdint.h>

struct model;

#define SAMPLER_ROWS_DEFAULT 64
#define SAMPLER_ROWS_MAX     4096
#define SAMPLER_CACHE_BYTES_MAX                                                                    \
    (INT64_C(1) << 31) /* fewer rows are used where the cache would be larger */
#define SAMPLER_TEMPERATURE_MAX 100.0
/* Bounds of what keys a draw: 28 + 16 + 20 bits of one index. */
#define SAMPLER_NUMBER_MAX  (UINT64_C(1) << 28)
#define SAMPLER_SAMPLES_MAX (1 << 16)
#define SAMPLER_TOKENS_MAX  (1 << 20)

struct sampler_options {
    uint64_t seed;
    double temperature; /* 0: the most probable token (the lowest id of equals); at most 100 */
    int64_t max_tokens; /* of an answer, at least 1; an answer also ends where the model's positions
                           do */
    int samples;        /* answers of each prompt, at least 1 */
    int rows;           /* answers drawn at a time; 0: SAMPLER_ROWS_DEFAULT */
    const int64_t *stop_ids; /* an answer ends before one of these */
    int stop_count;
};

struct sampler_prompt {
    const int32_t *ids;
    int64_t count;   /* at least 1, below the model's positions */
    uint64_t number; /* keys the draws; its place in the prompt file */
};

struct sampler_answer {
    int64_t prompt; /* index into the prompts */
    int sample;
    const int32_t *ids; /* without the stop token; valid during the call */
    int64_t count;
    int stopped; /* 1: at a stop token; 0: at max_tokens or the model's positions */
};

/* Draws samples x count answers and calls DONE for each, in the order in which they end; a negative
 * return of DONE stops and is returned. ERROR_input when a prompt is empty, too long or holds an id
 * outside the vocabulary. */
int sampler_run(const struct model *model, const struct sampler_options *options,
                const struct sampler_prompt *prompts, int64_t count,
                int (*done)(void *context, const struct sampler_answer *answer), void *context,
                struct error *e);

/* The same in turns, for who has other things to do meanwhile: a turn draws or reads one token for
 * every row. What is given is borrowed until sampler_free(), and the model may not change. NULL on
 * errors. */
struct sampler;
struct sampler *sampler_new(const struct model *model, const struct sampler_options *options,
                            const struct sampler_prompt *prompts, int64_t count,
                            int (*done)(void *context, const struct sampler_answer *answer),
                            void *context, struct error *e);
/* 1: there is more to do; 0: every answer was given; or the error, also of `done`. */
int sampler_turn(struct sampler *s, struct error *e);
void sampler_free(struct sampler *s);

#endif

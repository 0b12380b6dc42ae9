/* scorer: a small decoder in this process that says how probable one of two classes is at chosen
 * tokens.
 *
 * The two classes are two rows of the model's head: the labels of a classifier (of tokens, of whole
 * sequences, or of a process reward model, whose first layer the decoder has behind it), or the
 * embeddings of two verdict tokens of a language model. With z the two logits at a token's final
 * hidden state, p(1) = exp(z_1) / (exp(z_0) + exp(z_1)) = 1 / (1 + exp(z_0 - z_1)); of a single
 * label z, p = 1 / (1 + exp(-z)). The bits of a
 * score depend on the weights and on the tokens of its own sequence up to its own place: the
 * decoder promises it of hidden states, and each logit is one chain of fmaf here. Never on the
 * batch. */
#ifndef NODES_SCORER_H
#define NODES_SCORER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/decoder.h"
#include "kernels/tokenizer.h"

#define SCORER_TOKENS                                                                              \
    1024 /* a batch is run when it would pass so many; a longer sequence goes alone */

struct scorer {
    struct model model;
    struct tokenizer *tokenizer;
    struct decoder *decoder;
    const float *hidden;    /* (tokens, hidden_size) of the last run */
    int64_t room;           /* tokens the decoder was made for */
    int32_t *ids;           /* the batch being filled: (ids_room) */
    int64_t *starts, *rows; /* (sequences + 1), (rows_count) */
    int64_t tokens, sequences, rows_count, ids_room, starts_room, rows_room;
};

/* For check(): is DIR a model of so many labels (0: a language model; a classifier of sequences may
 * have one, a value model has) with a tokenizer? Reads no weights. With `tokenizer` not NULL the caller gets it and closes it. -> ERROR_model. */
int scorer_check(const char *dir, int64_t labels, struct tokenizer **tokenizer, struct error *e);

int scorer_open(struct scorer *s, const char *dir, int64_t labels, struct error *e);
void scorer_close(struct scorer *s);

/* A batch: begin, then sequences with the places in each that are to be scored, then run. */
void scorer_begin(struct scorer *s);
/* Adds a sequence of `count` ids, which may come in two pieces; its place p is row p. false, and
 * nothing was added: it would pass SCORER_TOKENS and the batch is not empty. */
bool scorer_add(struct scorer *s, const struct tokens *a, const struct tokens *b,
                const int64_t *places, int64_t place_count);
/* p(class_1 against class_0) of every place, in the order they were added. Classes are rows of the
 * head; both 0: its only one. */
void scorer_run(struct scorer *s, int64_t class_0, int64_t class_1, float *scores);

/* As scorer_run(): p of each of COUNT classes among all rows of the head, softmax over all of them,
 * p[place * count + k]. */
void scorer_run_among_all(struct scorer *s, const int32_t *classes, int count, double *p);

/* The final hidden state of place i of the last run, what the head sees: (hidden_size), until the
 * next begins. */
const float *scorer_hidden(const struct scorer *s, int64_t i);

/* Sequences may have so many tokens. */
int64_t scorer_length_max(const struct scorer *s);

#endif

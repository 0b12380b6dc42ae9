/* train: the order of kernels in one optimiser step, over as many batches as its samples need.
 *
 *   trainer_begin   the step's normalisers, from its samples alone; gradients to zero
 *   trainer_batch   decoder, statistics, objective, head and decoder backward, for some of the
 * samples trainer_end     clip, AdamW
 *
 * The same path gives reference log-probabilities (trainer_reference), so that with an unchanged
 * model the log-ratio of every token is exactly zero. */
#ifndef NODES_LEARNER_TRAIN_H
#define NODES_LEARNER_TRAIN_H

#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/model.h"
#include "kernels/objective.h"
#include "nodes/learner/pack.h"

struct trainer {
    const struct objective *objective;
    struct objective_settings settings;
    struct pack_rules rules;
    struct adamw adamw;   /* lr is set for each step */
    struct model model;   /* what is trained; owned */
    float *grads, *m, *v; /* laid out like model.params */
    float *ema;           /* average of the weights; NULL: none is kept */
    double ema_decay;
    unsigned char *groups; /* adamw.groups, owned; NULL: the tensors' own */
    struct decoder *decoder;
    int64_t decoder_tokens;
    struct head_work *work;
    float *logp, *lse, *c, *dhidden; /* (rows_room), dhidden times hidden */
    int64_t rows_room;
    struct pack pack;
    struct objective_step step;
    struct objective_report report; /* of the step under way or just ended */
    int64_t gem_tokens, learnt;     /* of it */
    int broken;                     /* a number in it was not finite: it changes nothing */
    struct error fault;             /* which one */
};

/* Takes the model (which must be complete); moments are zero. */
void trainer_init(struct trainer *t, struct model **model);
void trainer_free(struct trainer *t);

/* out: for each sample count - context floats, one sample after the other: log p of every response
 * token under `model`, which has the shape of the trainer's. */
void trainer_reference(struct trainer *t, const struct model *model, const struct sample *samples,
                       int64_t count, float *out);

void trainer_begin(struct trainer *t, const struct sample *samples, int64_t count);

/* Some of the samples given to trainer_begin, each in exactly one batch. */
void trainer_batch(struct trainer *t, const struct sample *samples, int64_t count);

/* Ends step number `step` (from 1). Returns the gradient's norm; when it is not finite nothing was
 * changed. */
double trainer_end(struct trainer *t, int64_t step, double lr);

#endif

/* train: the order of kernels in one optimiser step, over as many batches as its samples need.
 *
 *   trainer_advantages   of the step's samples, before any of them is left out
 *   trainer_begin        the step's normalisers, from its samples alone; gradients to zero
 *   trainer_batch        decoder, statistics, objective, head and decoder backward, for some of
 * them trainer_end          clip, AdamW
 *
 * An objective that couples the samples of a group or of the step needs every sample's statistics
 * before any coefficient is known. Where such a step has several batches, each is first given to
 * trainer_statistics (forward only), which keeps a few floats a token; the batches come again
 * for their gradients, and the second forward pass gives the bits of the first.
 *
 * The same path gives reference log-probabilities (trainer_reference), so that with an unchanged
 * model the log-ratio of every token is exactly zero.
 *
 * With a device (trainer_device) the decoder computes here, the head, the loss and the optimiser
 * there (kernels/head_device.h). A device can fail: trainer_failed says so after every call that
 * computes, and what was computed is then void. */
#ifndef NODES_LEARNER_TRAIN_H
#define NODES_LEARNER_TRAIN_H

#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/head_device.h"
#include "kernels/model.h"
#include "kernels/objective.h"
#include "kernels/threads.h"
#include "nodes/learner/pack.h"
#include "nodes/learner/rows.h"

#define TRAINER_LOGITS_KEPT (16 << 20) /* floats of a batch's logits held between its two passes */

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
    struct head_device *device; /* owned; NULL: all is computed here */
    struct error failure;       /* why it failed; code 0: it has not */
    struct threads *threads; /* that compute; owned; NULL: one */
    struct rows rows; /* of the batch */
    float *dhidden;   /* (rows.room, hidden) */
    float *named;     /* (named_room): logits of the batch's named rows */
    int64_t dhidden_room, named_room;
    struct pack pack;  /* the batch */
    struct pack whole; /* the rows to learn of the step's samples that have a part */
    struct rows whole_rows;
    float *whole_named;
    int64_t whole_named_room;
    int64_t gathered; /* samples whose statistics are in whole_rows */
    unsigned needs;   /* of the objective under these settings */
    struct objective_step step;
    struct objective_report report; /* of the step under way or just ended */
    int64_t gem_tokens, learnt;     /* of it */
    int broken;                     /* a number in it was not finite: it changes nothing */
    struct error fault;             /* which one */
};

/* Takes the model (which must be complete); moments are zero. */
void trainer_init(struct trainer *t, struct model **model);
void trainer_free(struct trainer *t);

/* From now on the head, the loss and the optimiser compute on the device that `choice` names
 * (head_device_open; where it is the processor nothing changes). After everything else of the
 * trainer is set, moments too; before the first step. */
int trainer_device(struct trainer *t, const char *choice, struct head_device_options *o,
                   struct error *e);
/* 0, or the error that the device failed with. */
int trainer_failed(const struct trainer *t, struct error *e);
/* Brings t->m and t->v up to date, for a checkpoint. */
int trainer_moments(struct trainer *t, struct error *e);

/* From now on so many threads compute (threads.h; 0: one for each core): no bit changes. After
 * trainer_init; cheap where nothing changes. */
void trainer_threads(struct trainer *t, int count);

/* out: for each sample count - context floats, one sample after the other: log p of every response
 * token under `model`, which has the shape of the trainer's. */
void trainer_reference(struct trainer *t, const struct model *model, const struct sample *samples,
                       int64_t count, float *out);

/* The same with the entropy of each row beside it (NULL: not wanted). */
void trainer_score(struct trainer *t, const struct model *model, const struct sample *samples,
                   int64_t count, float *logp, float *entropy);

/* Fills samples[i].advantage by the settings' rule, of samples that are whole groups; with `given`
 * it becomes the mean of samples[i].advantages. */
void trainer_advantages(struct trainer *t, struct sample *samples, int64_t count);

/* Opens a step of these samples, whose advantages are there. Those that have a part in the loss are
 * moved to the front, in order; returns how many: only they are given to what follows. */
int64_t trainer_begin(struct trainer *t, struct sample *samples, int64_t count);

/* Must every batch of the step go through trainer_statistics first? `batches`: how many it has. */
int trainer_needs_statistics(const struct trainer *t, int64_t batches);

/* Before trainer_statistics: room for all the samples that trainer_begin left. */
void trainer_gather(struct trainer *t, const struct sample *samples, int64_t count);

/* Some of the samples that trainer_begin left, in their order, each in exactly one batch. `place`
 * (count): the index of each among them; NULL where trainer_gather was not called. */
void trainer_statistics(struct trainer *t, const struct sample *samples, const int64_t *place,
                        int64_t count);
void trainer_batch(struct trainer *t, const struct sample *samples, const int64_t *place,
                   int64_t count);

/* Ends step number `step` (from 1). Returns the gradient's norm; when it is not finite nothing was
 * changed. */
double trainer_end(struct trainer *t, int64_t step, double lr);

#endif

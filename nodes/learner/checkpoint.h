/* checkpoint: one folder from which training goes on to the same bits: the model as Hugging Face
 * has it, with its tokenizer, `optimizer.safetensors` and `manifest.json`.
 *
 * optimizer.safetensors holds exp_avg and exp_avg_sq, all weights end to end; `ema`, where an
 * average is kept; and, where the model's own files round the weights (bf16, f16), the float32
 * weights as `master/NAME`. */
#ifndef NODES_LEARNER_CHECKPOINT_H
#define NODES_LEARNER_CHECKPOINT_H

#include <stdbool.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernels/model.h"

#define CHECKPOINT_MANIFEST  "manifest.json"
#define CHECKPOINT_OPTIMISER "optimizer.safetensors"

/* What an optimiser step changes. */
struct weights {
    struct model model;
    float *m, *v; /* moments, laid out like model.params */
    float *ema;   /* average of the weights; NULL: none is kept */
};

/* Writes the folder DIR; durable but for its name. */
int checkpoint_write(const char *dir, const char *tokenizer_dir, const struct weights *w,
                     struct span manifest, struct error *e);

/* Fills w, which is then the caller's; `ema`: an average is wanted, and must be there. On failure
 * w is empty. */
int checkpoint_read(const char *dir, struct weights *w, bool ema, struct error *e);
void weights_free(struct weights *w);

#endif

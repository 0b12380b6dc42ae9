/* measures: the numbers of one step of training or one evaluation, by the rows of
 * schemas/training.def: as a line of metrics.jsonl and as a record of a TensorBoard event file. */
#ifndef NODES_LEARNER_MEASURES_H
#define NODES_LEARNER_MEASURES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

enum training {
#define TRAINING(id, name, kind, meaning) TRAINING_##id,
#include "schemas/training.def"
#undef TRAINING
    TRAINING_count
};

/* Zero-initialise; what was not set is not written. */
struct measures {
    double value[TRAINING_count];
    bool given[TRAINING_count];
};

/* A value that is not finite is left out: it has no place in JSON. */
void measures_set(struct measures *m, enum training which, double value);

/* {"step":1,"epoch":1,"loss":0.25,...} and a line feed. */
void measures_json(const struct measures *m, struct buffer *out);

/* All but `step` as scalars of that step; `time` in seconds since 1970. */
void measures_event(const struct measures *m, double time, struct buffer *out);

#endif

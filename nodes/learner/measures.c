/* measures: see measures.h. */
#include "nodes/learner/measures.h"

#include <math.h>

#include "nodes/learner/events.h"

enum kind { whole, real };

static const struct {
    const char *name;
    enum kind kind;
} rows[TRAINING_count] = {
#define TRAINING(id, name, kind, meaning) [TRAINING_##id] = {name, kind},
#include "schemas/training.def"
#undef TRAINING
};

void
measures_set(struct measures *m, enum training which, double value)
{
    m->value[which] = value;
    m->given[which] = isfinite(value);
}

void
measures_json(const struct measures *m, struct buffer *out)
{
    const char *between = "{";

    for (int i = 0; i < TRAINING_count; i++) {
        if (!m->given[i])
            continue;
        buffer_print(out, "%s\"%s\":", between, rows[i].name);
        if (rows[i].kind == whole)
            buffer_print(out, "%.0f", m->value[i]);
        else
            buffer_print(out, "%.9g", m->value[i]);
        between = ",";
    }
    buffer_text(out, "}\n");
}

void
measures_event(const struct measures *m, double time, struct buffer *out)
{
    struct event_scalar scalars[TRAINING_count];
    int count = 0;

    for (int i = 0; i < TRAINING_count; i++)
        if (m->given[i] && i != TRAINING_step)
            scalars[count++] = (struct event_scalar){rows[i].name, (float)m->value[i]};
    events_add(out, time, (int64_t)m->value[TRAINING_step], scalars, count);
}

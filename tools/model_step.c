/* model_step: one AdamW step on a checkpoint, for comparing with other implementations
 * (tools/check_models.py).
 *
 *     model_step [--new] DIR OUT LR ID,ID,... [ID,ID,...]...
 *
 * opens the model in DIR, takes one step on the mean cross entropy of the given sequences (next
 * tokens; of a classifier label id mod num_labels at every token, or at the last where it
 * classifies sequences), saves to OUT, opens that and prints its logits, one token a line. --new:
 * saves as a model that was made here is saved, in one file and float32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/matmul.h"
#include "kernels/model_file.h"
#include "kernels/model_source.h"

struct work {
    int as_new;
    struct batch batch;
    int32_t *ids, *targets;
    int64_t *starts;
};

static int
read_sequences(struct work *w, int count, char **texts, struct error *e)
{
    w->starts = xarray((size_t)count + 1, sizeof(*w->starts));
    for (int i = 0; i < count; i++) {
        char *at = texts[i], *end;

        for (;; at = end + 1) {
            w->ids = xresize(w->ids, (size_t)(w->batch.tokens + 1) * sizeof(*w->ids));
            w->ids[w->batch.tokens++] = (int32_t)strtol(at, &end, 10);
            if (end == at || (*end != ',' && *end != 0))
                return error_set(e, ERROR_usage, "'%s' is no list of ids", texts[i]);
            if (*end == 0)
                break;
        }
        w->starts[i + 1] = w->batch.tokens;
    }
    w->batch.ids = w->ids;
    w->batch.starts = w->starts;
    w->batch.sequences = count;
    return 0;
}

static void
place_targets(struct work *w, const struct model_config *c)
{
    w->targets = xarray((size_t)w->batch.tokens + 1, sizeof(*w->targets));
    for (int64_t s = 0; s < w->batch.sequences; s++)
        for (int64_t t = w->starts[s]; t < w->starts[s + 1]; t++) {
            int last = t + 1 == w->starts[s + 1];

            w->targets[t] = -1;
            if (c->head == MODEL_HEAD_language)
                w->targets[t] = last ? -1 : w->ids[t + 1];
            else if (c->head != MODEL_HEAD_sequence || last)
                w->targets[t] = (int32_t)(w->ids[t] % c->num_labels);
        }
}

static void
take_step(struct work *w, struct model *m, double lr)
{
    struct head head = head_of(m);
    struct decoder *d = decoder_new(m, w->batch.tokens, 1);
    struct head_work *work = head_work_new();
    struct adamw adamw = adamw_default();
    int64_t n = w->batch.tokens, count = 0;
    float *rows[3], *dhidden = xarray((size_t)(n * head.hidden), sizeof(float));
    float *state[3];
    const float *hidden = decoder_forward(d, m, &w->batch);

    for (int i = 0; i < 3; i++) {
        rows[i] = xarray((size_t)n, sizeof(float));
        state[i] = xaligned((size_t)m->count * sizeof(float));
    }
    for (int64_t t = 0; t < n; t++)
        count += w->targets[t] >= 0;
    head_statistics(work, &head, n, hidden, w->targets, rows[0], rows[1], NULL);
    for (int64_t t = 0; t < n; t++)
        rows[2][t] = count ? -1.0f / (float)count : 0.0f;
    head_backward(work, &head, n, hidden, w->targets, rows[1], NULL,
                  &(struct head_gradient){.c = rows[2]}, dhidden, state[0] + m->head,
                  m->head_bias < 0 ? NULL : state[0] + m->head_bias);
    decoder_backward(d, m, dhidden, state[0]);
    adamw.lr = lr;
    adamw_step(&adamw, m, 1, state[0], state[1], state[2]);
    for (int i = 0; i < 3; i++) {
        free(rows[i]);
        free(state[i]);
    }
    free(dhidden);
    head_work_free(work);
    decoder_free(d);
}

static void
print_logits(const struct work *w, const struct model *m)
{
    struct head head = head_of(m);
    struct matmul room = {0};
    struct decoder *d = decoder_new(m, w->batch.tokens, 0);
    float *z = xarray((size_t)(w->batch.tokens * head.vocab), sizeof(*z));

    matmul_forward(&room, w->batch.tokens, head.vocab, head.hidden,
                   decoder_forward(d, m, &w->batch), head.weight, head.bias, z);
    for (int64_t t = 0; t < w->batch.tokens; t++)
        for (int64_t v = 0; v < head.vocab; v++)
            printf("%.9g%c", (double)z[t * head.vocab + v], v + 1 < head.vocab ? ' ' : '\n');
    free(z);
    matmul_free(&room);
    decoder_free(d);
}

static int
run(struct work *w, char **args, int count, struct error *e)
{
    struct model m;
    int rc = model_open(&m, args[1], e);

    if (rc)
        return rc;
    rc = read_sequences(w, count, args + 4, e);
    if (rc == 0)
        rc = batch_check(&w->batch, &m, w->batch.tokens, e);
    if (rc == 0) {
        place_targets(w, &m.config);
        take_step(w, &m, atof(args[3]));
        if (w->as_new) {
            model_source_free(m.source);
            m.source = NULL;
        }
        rc = model_save(&m, args[2], NULL, e);
    }
    model_free(&m);
    if (rc == 0)
        rc = model_open(&m, args[2], e);
    if (rc == 0) {
        print_logits(w, &m);
        model_free(&m);
    }
    return rc;
}

int
main(int argc, char **argv)
{
    struct work w = {0};
    struct error e = {0};
    int rc;

    w.as_new = argc > 1 && strcmp(argv[1], "--new") == 0;
    argv += w.as_new;
    argc -= w.as_new;
    if (argc < 5) {
        fprintf(stderr, "model_step [--new] DIR OUT LR ID,ID,... [ID,ID,...]...\n");
        return 2;
    }
    rc = run(&w, argv, argc - 4, &e);
    if (rc)
        fprintf(stderr, "%s\n", e.text);
    free(w.ids);
    free(w.targets);
    free(w.starts);
    return rc != 0;
}

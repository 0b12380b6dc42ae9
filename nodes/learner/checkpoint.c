/* checkpoint: see checkpoint.h. */
#include "nodes/learner/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/durable.h"
#include "kernels/model_file.h"
#include "kernels/safetensors.h"

#define MASTER "master/"

/* Where the model's own files round its weights, the float32 ones go along. */
static int
write_optimiser(const char *path, const struct weights *w, struct error *e)
{
    const struct model *model = &w->model;
    int masters = !model_exact(model);
    struct safetensors_source *sources =
        xarray((size_t)(3 + model->tensor_count), sizeof(*sources));
    struct arena names = {0};
    const float *const whole[] = {w->m, w->v, w->ema};
    static const char *const whole_names[] = {"exp_avg", "exp_avg_sq", "ema"};
    int count = 0, rc;

    for (int i = 0; i < 3; i++)
        if (whole[i])
            sources[count++] = (struct safetensors_source){
                .name = whole_names[i], .rank = 1, .shape = {model->count}, .data = whole[i]};
    for (int i = 0; masters && i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        char *name = arena_take(&names, sizeof(MASTER) + strlen(t->name));

        strcat(strcpy(name, MASTER), t->name);
        sources[count++] = (struct safetensors_source){
            .name = name, .rank = 1, .shape = {t->count}, .data = model->params + t->offset};
    }
    rc = safetensors_write(path, sources, count, e);
    arena_free(&names);
    free(sources);
    return rc;
}

int
checkpoint_write(const char *dir, const char *tokenizer_dir, const struct weights *w,
                 struct span manifest, struct error *e)
{
    char *optimiser = xprint("%s/%s", dir, CHECKPOINT_OPTIMISER);
    char *path = xprint("%s/%s", dir, CHECKPOINT_MANIFEST);
    int rc = model_save(&w->model, dir, tokenizer_dir, e);

    if (rc == 0)
        rc = write_optimiser(optimiser, w, e);
    if (rc == 0)
        rc = durable_write(path, &manifest, 1, e);
    free(optimiser);
    free(path);
    return rc;
}

static int
read_numbers(const struct safetensors *file, const char *name, int64_t count, float *out,
             struct error *e)
{
    const struct safetensors_entry *entry = safetensors_find(file, name);

    if (!entry || entry->elements != count)
        return error_set(e, ERROR_model, "'%s' does not hold %" PRId64 " numbers", name, count);
    return safetensors_floats(entry, out, e);
}

/* The weights as they were before the model's own files rounded them. */
static int
read_masters(const struct safetensors *file, struct model *model, struct error *e)
{
    char *first = xprint(MASTER "%s", model->tensors[0].name);
    int there = safetensors_find(file, first) != NULL, rc = 0; /* all of them or none */

    free(first);
    for (int i = 0; there && i < model->tensor_count && rc == 0; i++) {
        const struct model_tensor *t = &model->tensors[i];
        char *name = xprint(MASTER "%s", t->name);

        rc = read_numbers(file, name, t->count, model->params + t->offset, e);
        free(name);
    }
    return rc;
}

static int
read_optimiser(const char *path, struct weights *w, bool ema, struct error *e)
{
    size_t bytes = (size_t)w->model.count * sizeof(float);
    struct safetensors file;
    int rc = safetensors_open(&file, path, e);

    if (rc < 0)
        return rc;
    w->m = xaligned(bytes);
    w->v = xaligned(bytes);
    w->ema = ema ? xaligned(bytes) : NULL;
    if (ema && !safetensors_find(&file, "ema"))
        rc = error_set(e, ERROR_model, "holds no average of the weights (ema)");
    if (rc == 0)
        rc = read_numbers(&file, "exp_avg", w->model.count, w->m, e);
    if (rc == 0)
        rc = read_numbers(&file, "exp_avg_sq", w->model.count, w->v, e);
    if (rc == 0 && ema)
        rc = read_numbers(&file, "ema", w->model.count, w->ema, e);
    if (rc == 0)
        rc = read_masters(&file, &w->model, e);
    safetensors_close(&file);
    return rc < 0 ? error_wrap(e, "%s", path) : 0;
}

int
checkpoint_read(const char *dir, struct weights *w, bool ema, struct error *e)
{
    char *optimiser = xprint("%s/%s", dir, CHECKPOINT_OPTIMISER);
    int rc;

    *w = (struct weights){0};
    rc = model_open(&w->model, dir, e);
    if (rc == 0)
        rc = read_optimiser(optimiser, w, ema, e);
    if (rc < 0)
        weights_free(w);
    free(optimiser);
    return rc;
}

void
weights_free(struct weights *w)
{
    if (w->model.params)
        model_free(&w->model);
    free(w->m);
    free(w->v);
    free(w->ema);
    *w = (struct weights){0};
}

/* Checkpoints as transformers writes them, of every family, rope type, head, type and layout
 * (tests/golden/models, made by tools/golden_models.py): logits, loss and gradients against
 * float64, an AdamW step and a save against torch, and what is saved against what was opened. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/document.h"
#include "kernels/head.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/model_file.h"
#include "kernels/model_source.h"
#include "kernels/naive.h"
#include "tests/golden.h"
#include "tests/sets.h"
#include "tests/tiny_model.h"

#define FOLDER     "tests/golden/models"
#define TOKENS_MAX 64

static char root[64];

static int
make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_models.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int
remove_root(void **state)
{
    (void)state;
    tiny_model_remove(root);
    return 0;
}

/* A case opened, with its batch and the rows that its targets are of. */
struct run {
    const char *name;
    char *dir;
    struct golden golden;
    struct model model;
    struct decoder *decoder;
    struct batch batch;
    int32_t ids[TOKENS_MAX], targets[TOKENS_MAX];
    int64_t starts[8];
    const float *hidden;
    float *logits; /* (tokens, head_rows) */
};

static void
must(int rc, const struct error *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

/* Targets for every token: those of a sequence classifier stand at last tokens. */
static void
place_targets(struct run *r)
{
    const struct golden_part *p = golden_find(&r->golden, "targets");
    int whole = r->model.config.head == MODEL_HEAD_sequence;

    for (int64_t t = 0; t < r->batch.tokens; t++)
        r->targets[t] = whole ? -1 : (int32_t)p->values[t];
    for (int64_t s = 0; whole && s < r->batch.sequences; s++)
        r->targets[r->starts[s + 1] - 1] = (int32_t)p->values[s];
}

static void
run_forward(struct run *r, const struct model *m)
{
    struct head head = head_of(m);
    struct matmul room = {0};

    r->hidden = decoder_forward(r->decoder, m, &r->batch);
    free(r->logits);
    r->logits = xarray((size_t)(r->batch.tokens * head.vocab), sizeof(float));
    matmul_forward(&room, r->batch.tokens, head.vocab, head.hidden, r->hidden, head.weight,
                   head.bias, r->logits);
    matmul_free(&room);
}

static void
run_begin(struct run *r, const char *name)
{
    const struct golden_part *ids, *lengths;
    struct error e = {0};
    char *path = xprint("%s/%s/golden.bin", FOLDER, name);

    memset(r, 0, sizeof(*r));
    r->name = name;
    r->dir = xprint("%s/%s", FOLDER, name);
    golden_open(&r->golden, path);
    must(model_open(&r->model, r->dir, &e), &e);
    ids = golden_find(&r->golden, "ids");
    lengths = golden_find(&r->golden, "lengths");
    assert_true(ids->count <= TOKENS_MAX);
    for (int64_t i = 0; i < ids->count; i++)
        r->ids[i] = (int32_t)ids->values[i];
    for (int64_t s = 0; s < lengths->count; s++)
        r->starts[s + 1] = r->starts[s] + (int64_t)lengths->values[s];
    r->batch = (struct batch){ids->count, r->ids, lengths->count, r->starts, NULL};
    place_targets(r);
    r->decoder = decoder_new(&r->model, TOKENS_MAX, 1);
    run_forward(r, &r->model);
    free(path);
}

static void
run_end(struct run *r)
{
    decoder_free(r->decoder);
    model_free(&r->model);
    golden_close(&r->golden);
    free(r->logits);
    free(r->dir);
}

/* Within `tolerance` of the section's largest value. */
static void
compare(const struct run *r, const struct golden_part *p, const float *values, double tolerance)
{
    double largest = 0;

    for (int64_t i = 0; i < p->count; i++)
        largest = fmax(largest, fabs(p->values[i]));
    for (int64_t i = 0; i < p->count; i++)
        if (!(fabs((double)values[i] - p->values[i]) <= tolerance * largest))
            fail_msg("%s: %s[%lld]: %.9g, golden %.9g (largest %.3g)", r->name, p->name,
                     (long long)i, (double)values[i], p->values[i], largest);
}

/* The logits that the section is of: every token's, or those of last tokens. */
static void
compare_logits(const struct run *r, const char *section)
{
    const struct golden_part *p = golden_find(&r->golden, "%s", section);
    int64_t width = r->model.head_rows;
    float last[8 * TOKENS_MAX];

    if (r->model.config.head != MODEL_HEAD_sequence) {
        assert_int_equal(p->count, r->batch.tokens * width);
        compare(r, p, r->logits, 1e-5);
        return;
    }
    assert_int_equal(p->count, r->batch.sequences * width);
    for (int64_t s = 0; s < r->batch.sequences; s++)
        memcpy(last + s * width, r->logits + (r->starts[s + 1] - 1) * width,
               (size_t)width * sizeof(float));
    compare(r, p, last, 1e-5);
}

/* The mean cross entropy of the targets; its gradients to grads. */
static double
run_backward(struct run *r, float *grads)
{
    struct head head = head_of(&r->model);
    struct head_work *work = head_work_new();
    float logp[TOKENS_MAX], lse[TOKENS_MAX], c[TOKENS_MAX];
    float *dhidden = xarray((size_t)(r->batch.tokens * head.hidden), sizeof(float));
    double loss = 0, count = 0;

    head_statistics(work, &head, r->batch.tokens, r->hidden, r->targets, logp, lse, NULL);
    for (int64_t t = 0; t < r->batch.tokens; t++)
        count += r->targets[t] >= 0;
    for (int64_t t = 0; t < r->batch.tokens; t++) {
        loss -= (double)logp[t] / count;
        c[t] = (float)(-1 / count);
    }
    head_backward(work, &head, r->batch.tokens, r->hidden, r->targets, lse, NULL,
                  &(struct head_gradient){.c = c}, dhidden, grads + r->model.head,
                  r->model.head_bias < 0 ? NULL : grads + r->model.head_bias);
    decoder_backward(r->decoder, &r->model, dhidden, grads);
    head_work_free(work);
    free(dhidden);
    return loss;
}

/* The first step of AdamW with the golden settings, on the model in place. */
static void
run_step(struct run *r, float *grads)
{
    const double *set = golden_find(&r->golden, "step")->values;
    struct adamw a = {
        .lr = set[0], .beta1 = set[1], .beta2 = set[2], .eps = set[3], .weight_decay = set[4]};
    float *m = xarray((size_t)r->model.count, sizeof(*m));
    float *v = xarray((size_t)r->model.count, sizeof(*v));

    adamw_step(&a, &r->model, 1, grads, m, v);
    free(m);
    free(v);
}

static struct buffer
file_of(const char *dir, const char *name)
{
    char *path = xprint("%s/%s", dir, name);
    struct buffer b = {0};
    struct error e = {0};

    must(document_load(path, 1 << 24, &b, &e), &e);
    free(path);
    return b;
}

/* Is DIR/NAME the same file in both, or, where only the numbers may differ, of the same header? */
static void
same_file(const char *one, const char *two, const char *name, int header)
{
    struct buffer a = file_of(one, name), b = file_of(two, name);
    uint64_t length = 0;

    if (a.length != b.length)
        fail_msg("%s/%s: %zu bytes, %zu in %s", two, name, b.length, a.length, one);
    memcpy(&length, a.at, sizeof(length));
    if (memcmp(a.at, b.at, header ? 8 + (size_t)length : a.length))
        fail_msg("%s/%s is not that of %s", two, name, one);
    buffer_free(&a);
    buffer_free(&b);
}

/* Every file of the checkpoint but the golden values is in DIR, and nothing else. */
static void
same_folder(const struct run *r, const char *dir, int stepped)
{
    DIR *d = opendir(r->dir), *there = opendir(dir);
    struct dirent *row;
    int wanted = 0;

    while ((row = readdir(d))) {
        int weights = strstr(row->d_name, ".safetensors") && !strstr(row->d_name, ".json");

        if (row->d_name[0] == '.' || strcmp(row->d_name, "golden.bin") == 0)
            continue;
        same_file(r->dir, dir, row->d_name, stepped && weights);
        wanted++;
    }
    while ((row = readdir(there)))
        wanted -= row->d_name[0] != '.';
    assert_int_equal(wanted, 0);
    closedir(d);
    closedir(there);
}

/* Every number of the file is that in memory, rounded to the nearest of its type. */
static void
same_numbers(const struct model *m, const struct model *again)
{
    for (int i = 0; i < m->tensor_count; i++) {
        const struct model_tensor *t = &m->tensors[i];
        enum safetensors_type type = again->source->tensors[i].type;
        double half = type == SAFETENSORS_F32 ? 0 : type == SAFETENSORS_F16 ? 0x1p-11 : 0x1p-8;

        for (int64_t j = t->offset; j < t->offset + t->count; j++) {
            double value = m->params[j], read = again->params[j];

            if (!(fabs(read - value) <= half * fabs(value) + (half > 0 ? 0x1p-25 : 0)))
                fail_msg("%s[%lld]: %.9g was saved, %.9g read", t->name, (long long)(j - t->offset),
                         value, read);
        }
    }
}

/* What an AdamW step makes of the model, and what is saved of that. */
static void
check_step(struct run *r, float *grads, const char *dir)
{
    struct model again;
    struct error e = {0};

    run_step(r, grads);
    run_forward(r, &r->model);
    compare_logits(r, "after");
    must(model_save(&r->model, dir, NULL, &e), &e);
    same_folder(r, dir, 1);
    must(model_open(&again, dir, &e), &e);
    same_numbers(&r->model, &again);
    assert_int_equal(model_exact(&again), memcmp(again.params, r->model.params,
                                                 (size_t)again.count * sizeof(float)) == 0);
    model_free(&again);
}

static void
check_case(const char *name)
{
    struct run r;
    struct error e = {0};
    char *same = xprint("%s/%s.same", root, name), *after = xprint("%s/%s.after", root, name);
    float *grads;
    double loss, wanted;

    run_begin(&r, name);
    compare_logits(&r, "logits");
    must(model_save(&r.model, same, NULL, &e), &e); /* byte for byte what transformers wrote */
    same_folder(&r, same, 0);
    grads = xarray((size_t)r.model.count, sizeof(*grads));
    loss = run_backward(&r, grads);
    wanted = golden_find(&r.golden, "loss")->values[0];
    if (!(fabs(loss - wanted) <= 3e-6 * fmax(1, fabs(wanted))))
        fail_msg("%s: loss %.9g, golden %.9g", name, loss, wanted);
    for (int i = 0; i < r.model.tensor_count; i++) {
        const struct model_tensor *t = &r.model.tensors[i];
        const char *stored = r.model.source->tensors[i].name;
        const struct golden_part *p = golden_find(&r.golden, "grad/%s", stored);

        assert_int_equal(p->count, t->count);
        compare(&r, p, grads + t->offset, 1e-4);
    }
    check_step(&r, grads, after);
    run_end(&r);
    free(grads);
    free(same);
    free(after);
}

static const char *const names[] = {
    "qwen2",        "qwen2_base",    "qwen2_yarn",       "qwen2_prm",
    "qwen3",        "qwen3_sharded", "qwen3_token",      "llama",
    "llama_linear", "mistral",       "mistral_sequence",
};

#define CASES (sizeof(names) / sizeof(names[0]))

static void
transformers_agrees(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        check_case(names[i]);
}

/* Token by token through the cache: the bits of the batch, for every family and head. */
static void
cache_is_the_decoder(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct run r;
        struct decoder_cache *c;
        int64_t row = 0, width, classes;
        float *hidden, *logits;

        run_begin(&r, names[i]);
        width = r.model.config.hidden_size;
        classes = r.model.head_rows;
        hidden = xarray((size_t)width, sizeof(float));
        logits = xarray((size_t)classes, sizeof(float));
        c = cache_new(&r.model, 1, TOKENS_MAX / 2);
        for (int64_t s = 0; s < r.batch.sequences; s++) {
            cache_reset(c, 0);
            for (int64_t t = r.starts[s]; t < r.starts[s + 1]; t++) {
                cache_append(c, 1, &row, &r.ids[t], hidden);
                sets_same("hidden", width, hidden, r.hidden + t * width);
                cache_logits(c, 1, hidden, logits);
                sets_same("logits", classes, logits, r.logits + t * classes);
            }
        }
        cache_free(c);
        free(hidden);
        free(logits);
        run_end(&r);
    }
}

/* A sequence alone, and a gradient summed over batches of one: the bits of the whole batch. */
static void
company_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct run r;
        int64_t width, count;
        float *dhidden, *whole, *parts;
        struct decoder *d;

        run_begin(&r, names[i]);
        width = r.model.config.hidden_size;
        count = r.model.count;
        dhidden = sets_floats(r.batch.tokens * width, 7, 1);
        whole = xarray((size_t)count, sizeof(float));
        parts = xarray((size_t)count, sizeof(float));
        decoder_backward(r.decoder, &r.model, dhidden, whole);
        d = decoder_new(&r.model, TOKENS_MAX, 1);
        for (int64_t s = 0; s < r.batch.sequences; s++) {
            int64_t at = r.starts[s], starts[] = {0, r.starts[s + 1] - at};
            struct batch one = {starts[1], r.ids + at, 1, starts, NULL};

            sets_same("hidden", starts[1] * width, decoder_forward(d, &r.model, &one),
                      r.hidden + at * width);
            decoder_backward(d, &r.model, dhidden + at * width, parts);
        }
        sets_same("gradient", count, parts, whole);
        decoder_free(d);
        free(dhidden);
        free(whole);
        free(parts);
        run_end(&r);
    }
}

/* The definition in double agrees too: it is what gradients are checked against elsewhere. */
static void
naive_agrees(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct run r;
        double *params, *hidden;
        int64_t count;

        run_begin(&r, names[i]);
        count = r.batch.tokens * r.model.config.hidden_size;
        params = sets_doubles(r.model.count, r.model.params);
        hidden = xarray((size_t)count, sizeof(*hidden));
        naive_decoder(&r.model, params, &r.batch, hidden);
        sets_near(names[i], count, r.hidden, hidden, 1e-5);
        free(params);
        free(hidden);
        run_end(&r);
    }
}

/* What a model knows of its files goes along with a copy. */
static void
copies_keep_their_layout(void **state)
{
    struct run r;
    struct model copy;
    struct error e = {0};
    char *dir = xprint("%s/copy", root);

    (void)state;
    run_begin(&r, "qwen3_sharded");
    assert_int_equal(model_exact(&r.model), 0);
    model_copy(&copy, &r.model);
    must(model_save(&copy, dir, NULL, &e), &e);
    same_folder(&r, dir, 0);
    model_free(&copy);
    run_end(&r);
    free(dir);
}

static int
run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transformers_agrees),      cmocka_unit_test(cache_is_the_decoder),
        cmocka_unit_test(company_changes_nothing),  cmocka_unit_test(naive_agrees),
        cmocka_unit_test(copies_keep_their_layout),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}

int
main(void)
{
    return sets_run(run_all);
}

/* The whole decoder: against the naive one in double, its gradient against finite differences of
 * that; a sample's bits whatever its company; the key-value cache; equal bits on all instruction
 * sets. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/decoder.h"
#include "kernels/head.h"
#include "kernels/isa.h"
#include "kernels/naive.h"
#include "kernels/random.h"
#include "kernels/threads.h"
#include "tests/sets.h"

/* What make_model makes: a family, its biases where it has a choice, a rope, a head. */
static struct variety {
    const char *family;
    int biases;
    enum rope_type rope;
    enum model_head head;
} variety = {.family = "qwen2"};

static const struct variety varieties[] = {
    {"qwen2", 0, ROPE_default, MODEL_HEAD_process},
    {"qwen3", 1, ROPE_linear, MODEL_HEAD_language},
    {"llama", 1, ROPE_llama3, MODEL_HEAD_sequence},
    {"mistral", 0, ROPE_yarn, MODEL_HEAD_token},
};

#define VARIETIES (sizeof varieties / sizeof *varieties)

static void
vary(struct model_config *c)
{
    int qwen3 = strcmp(variety.family, "qwen3") == 0, llama = strcmp(variety.family, "llama") == 0;

    strcpy(c->family, variety.family);
    c->attention_bias = c->output_bias = variety.biases && (qwen3 || llama);
    c->mlp_bias = variety.biases && llama;
    c->head = variety.head;
    c->num_labels = variety.head == MODEL_HEAD_language ? 0 : 19;
    c->rope_scaling = (struct rope_scaling){
        .type = variety.rope, .factor = 3, .low_freq_factor = 1, .high_freq_factor = 4,
        .original = 200, .beta_fast = 32, .beta_slow = 1, .attention_factor = 1.2,
    };
}

static void
make_model(struct model *m, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t head_dim)
{
    struct model_config config = model_config_default();
    struct error e;

    config.vocab_size = 19;
    config.hidden_size = hidden;
    config.intermediate_size = hidden + 5;
    config.num_hidden_layers = 2;
    config.num_attention_heads = heads;
    config.num_key_value_heads = kv_heads;
    config.head_dim = head_dim;
    config.max_position_embeddings = 1024;
    config.initializer_range = 0.3;
    vary(&config);
    assert_int_equal(model_init(m, &config, &e), 0);
    model_randomise(m, 11);
    for (int i = 0; i < m->tensor_count; i++)       /* biases and norms that matter */
        for (int64_t j = 0; j < m->tensors[i].count && m->tensors[i].dims == 1; j++)
            m->params[m->tensors[i].offset + j] += (float)(0.2 * random_normal(5, RANDOM_test,
                                                   (uint64_t)(m->tensors[i].offset + j)));
}

static void
fill_ids(int32_t *ids, int64_t count, uint64_t seed)
{
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)(random_bits(seed, RANDOM_test, (uint64_t)i) % 19);
}

struct slope_case {
    const struct model *model;
    const struct batch *batch;
    double *params, *hidden, *dhidden;
};

static double
hidden_value(void *about)
{
    struct slope_case *s = about;
    double sum = 0;

    naive_decoder(s->model, s->params, s->batch, s->hidden);
    for (int64_t i = 0; i < s->batch->tokens * s->model->config.hidden_size; i++)
        sum += s->hidden[i] * s->dhidden[i];
    return sum;
}

static void
against_naive(int64_t hidden, int64_t heads, int64_t kv_heads, int64_t head_dim)
{
    int32_t ids[12];
    int64_t starts[] = {0, 5, 5, 6, 12};
    struct batch b = {12, ids, 4, starts, NULL};
    struct model m;
    float  *dhidden, *grads;
    double *slope;

    make_model(&m, hidden, heads, kv_heads, head_dim);
    fill_ids(ids, 12, 3);
    dhidden = sets_floats(12 * hidden, 4, 1);
    grads = xarray((size_t)m.count, sizeof *grads);
    slope = xarray((size_t)m.count, sizeof *slope);
    struct slope_case s = {
        &m, &b, sets_doubles(m.count, m.params), xarray((size_t)(12 * hidden), sizeof(double)),
        sets_doubles(12 * hidden, dhidden),
    };
    struct decoder *d = decoder_new(&m, 12, 1);
    const float *out = decoder_forward(d, &m, &b);

    hidden_value(&s);
    sets_near("hidden", 12 * hidden, out, s.hidden, 5e-6);
    decoder_backward(d, &m, dhidden, grads);
    sets_slope(hidden_value, &s, m.count, s.params, slope);
    for (int i = 0; i < m.tensor_count; i++)
        sets_near(m.tensors[i].name, m.tensors[i].count, grads + m.tensors[i].offset,
                  slope + m.tensors[i].offset, 3e-5);
    decoder_free(d);
    model_free(&m);
    free(dhidden);
    free(grads);
    free(slope);
    free(s.params);
    free(s.hidden);
    free(s.dhidden);
}

static void
gradient_is_the_slope(void **state)
{
    (void)state;
    against_naive(8, 2, 1, 4);
    against_naive(17, 3, 3, 6);
}

static void
every_familys_gradient_is_the_slope(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIETIES; i++) {
        variety = varieties[i];
        against_naive(9, 2, 1, 6);
    }
    variety = (struct variety){.family = "qwen2"};
}

/* Every sequence alone, then in batches of many compositions: the same bits at every place. */
static void
company_changes_nothing(void **state)
{
    static const int64_t lengths[] = {33, 1, 12, 90, 7, 13, 24, 250, 2, 61};
    enum { N = 10, ROOM = 1200, H = 24 };
    int32_t ids[N][256], batch_ids[ROOM];
    float  *alone[N];
    struct model m;

    (void)state;
    make_model(&m, H, 4, 2, 6);
    struct decoder *d = decoder_new(&m, ROOM, 0), *kept = decoder_new(&m, ROOM, 1);

    for (int i = 0; i < N; i++) {
        int64_t starts[] = {0, lengths[i]};
        struct batch b = {lengths[i], ids[i], 1, starts, NULL};

        fill_ids(ids[i], lengths[i], 100 + (uint64_t)i);
        alone[i] = xarray((size_t)(lengths[i] * H), sizeof(float));
        memcpy(alone[i], decoder_forward(d, &m, &b), (size_t)(lengths[i] * H) * sizeof(float));
    }
    for (uint64_t round = 0; round < 30; round++) {
        int64_t starts[3 * N + 1] = {0}, count = 0;
        int     which[3 * N];

        for (uint64_t k = 0; k < 3 * N; k++) {
            int i = (int)(random_bits(round, RANDOM_test, k) % N);

            if (starts[count] + lengths[i] > ROOM)
                continue;
            memcpy(batch_ids + starts[count], ids[i], (size_t)lengths[i] * sizeof *batch_ids);
            which[count] = i;
            starts[count + 1] = starts[count] + lengths[i];
            count++;
        }
        struct batch b = {starts[count], batch_ids, count, starts, NULL};
        const float *out = decoder_forward(round % 2 ? d : kept, &m, &b);

        for (int64_t s = 0; s < count; s++)
            sets_same("hidden", lengths[which[s]] * H, out + starts[s] * H, alone[which[s]]);
    }
    for (int i = 0; i < N; i++)
        free(alone[i]);
    decoder_free(d);
    decoder_free(kept);
    model_free(&m);
}

/* Rows fed in different orders and companies, one reset and fed anew, one copied half way. */
static void
cache_is_the_decoder(void **state)
{
    enum { N = 5, L = 40, H = 24 };
    int32_t ids[N * L];
    int64_t starts[N + 1], rows[N] = {0};
    float   hidden[N * H];
    struct model m;

    (void)state;
    make_model(&m, H, 4, 2, 6);
    struct decoder *d = decoder_new(&m, N * L, 0);
    struct decoder_cache *c = cache_new(&m, N + 1, L);
    struct batch b = {N * L, ids, N, starts, NULL};

    fill_ids(ids, N * L, 9);
    for (int i = 0; i <= N; i++)
        starts[i] = i * L;
    const float *wanted = decoder_forward(d, &m, &b);

    for (int i = 0; i < 3; i++)         /* what a row held before is forgotten */
        cache_append(c, 1, rows, ids + 7, hidden);
    cache_reset(c, 0);
    for (uint64_t round = 0; ; round++) {
        int32_t next[N];
        int64_t count = 0;

        for (int64_t i = 0; i < N; i++)
            if (cache_length(c, i) < L &&
                random_unit(2, RANDOM_test, round * N + (uint64_t)i) < 0.6) {
                next[count] = ids[i * L + cache_length(c, i)];
                rows[count++] = i;
            }
        if (count == 0 && cache_length(c, 0) + cache_length(c, 1) + cache_length(c, 2)
                          + cache_length(c, 3) + cache_length(c, 4) == N * L)
            break;
        cache_append(c, count, rows, next, hidden);
        for (int64_t i = 0; i < count; i++)
            sets_same("cache", H, hidden + i * H,
                      wanted + (rows[i] * L + cache_length(c, rows[i]) - 1) * H);
    }
    cache_reset(c, 1);
    for (int64_t t = 0; t < L; t++) {   /* row N goes on from row 1's first half */
        if (t == L / 2)
            cache_copy(c, N, 1);
        rows[0] = t < L / 2 ? 1 : N;
        cache_append(c, 1, rows, ids + L + t, hidden);
        sets_same("copied cache", H, hidden, wanted + (L + t) * H);
    }
    cache_free(c);
    decoder_free(d);
    model_free(&m);
}

/* No sequence, only empty ones, empty ones around one. */
static void
empty_and_small_batches(void **state)
{
    int32_t ids[3] = {1, 2, 3};
    int64_t none[] = {0}, empty[] = {0, 0, 0}, odd[] = {0, 0, 3, 3};
    struct model m;
    float   grads[20000] = {0}, dhidden[3 * 24] = {0};

    (void)state;
    make_model(&m, 24, 4, 2, 6);
    assert_true(m.count < 20000);
    struct decoder *d = decoder_new(&m, 3, 1);
    struct batch    batches[] = {
        {0, ids, 0, none, NULL}, {0, ids, 2, empty, NULL}, {3, ids, 3, odd, NULL},
    };
    struct error    e;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(batch_check(&batches[i], &m, 3, &e), 0);
        decoder_forward(d, &m, &batches[i]);
        decoder_backward(d, &m, dhidden, grads);
    }
    for (int64_t i = 0; i < m.count; i++)       /* nothing flows from zeros */
        assert_true(grads[i] == 0.0f);
    decoder_free(d);
    model_free(&m);
}

static void
bad_batches_are_refused(void **state)
{
    int32_t ids[] = {1, 2, 19, -1};
    int64_t good[] = {0, 2}, late[] = {1, 2}, falling[] = {0, 2, 1}, short_[] = {0, 1};
    struct model m;
    struct error e;

    (void)state;
    make_model(&m, 8, 2, 1, 4);
    assert_int_equal(batch_check(&(struct batch){2, ids, 1, good, NULL}, &m, 4, &e), 0);
    assert_int_equal(batch_check(&(struct batch){2, ids, 1, good, NULL}, &m, 1, &e), ERROR_limit);
    assert_int_equal(batch_check(&(struct batch){2, ids, 1, late, NULL}, &m, 4, &e), ERROR_input);
    assert_int_equal(batch_check(&(struct batch){1, ids, 2, falling, NULL}, &m, 4, &e), ERROR_input);
    assert_int_equal(batch_check(&(struct batch){2, ids, 1, short_, NULL}, &m, 4, &e), ERROR_input);
    assert_int_equal(batch_check(&(struct batch){2, ids, 0, good, NULL}, &m, 4, &e), ERROR_input);
    assert_int_equal(batch_check(&(struct batch){2, ids + 1, 1, good, NULL}, &m, 4, &e), ERROR_input);
    assert_int_equal(batch_check(&(struct batch){2, ids + 2, 1, good, NULL}, &m, 4, &e), ERROR_input);
    model_free(&m);
}

/* Hidden states, statistics and gradients of one batch: bits of this set and of the scalar one. */
/* A gradient summed over batches has the bits of one batch of all their sequences. */
static void
batches_add_up(void **state)
{
    static const int64_t all[] = {0, 30, 31, 200, 200, 260, 700};
    enum { N = 700, H = 24, CUT = 4 };
    int64_t rest[7 - CUT];
    int32_t ids[N];
    struct model m;

    (void)state;
    make_model(&m, H, 4, 2, 6);
    fill_ids(ids, N, 12);
    for (int i = CUT; i < 7; i++)
        rest[i - CUT] = all[i] - all[CUT];
    float *dhidden = sets_floats(N * H, 13, 1), *whole = xarray((size_t)m.count, sizeof *whole);
    float *parts = xarray((size_t)m.count, sizeof *parts);
    struct decoder *d = decoder_new(&m, N, 1);
    struct batch batches[] = {
        {N, ids, 6, all, NULL},
        {all[CUT], ids, CUT, all, NULL},
        {N - all[CUT], ids + all[CUT], 6 - CUT, rest, NULL},
    };

    for (int i = 0; i < 3; i++) {
        decoder_forward(d, &m, &batches[i]);
        decoder_backward(d, &m, dhidden + (i == 2 ? all[CUT] * H : 0), i == 0 ? whole : parts);
    }
    sets_same("gradient", m.count, parts, whole);
    decoder_free(d);
    model_free(&m);
    free(dhidden);
    free(whole);
    free(parts);
}

static void
same_read(const char *what, const float *out, const float *hidden, int64_t width,
          const int64_t *starts, const int64_t *from, int count)
{
    for (int i = 0; i < count; i++) {
        int64_t at = (starts[i] + from[i]) * width;

        sets_same(what, starts[i + 1] * width - at, out + at, hidden + at);
    }
}

/* Rows that are not read (at the front, none, all, of several chunks) leave the others' hidden
 * states and all gradients as they are, bit for bit. */
static void
unread_rows_change_nothing(void **state)
{
    static const int64_t starts[] = {0, 30, 31, 200, 200, 560, 700}, from[] = {7, 1, 0, 0, 180, 139};
    enum { N = 700, H = 24 };
    int32_t ids[N];

    (void)state;
    fill_ids(ids, N, 16);
    for (size_t v = 0; v < sizeof varieties / sizeof *varieties; v++) {
        struct model m;

        variety = varieties[v];
        make_model(&m, H, 4, 2, 6);
        float *dhidden = sets_floats(N * H, 17, 1), *grads[2];
        float *hidden = xarray(N * H, sizeof *hidden);
        struct decoder *d = decoder_new(&m, N, 1), *forward = decoder_new(&m, N, 0);
        struct batch batches[] = {{N, ids, 6, starts, NULL}, {N, ids, 6, starts, from}};

        for (int i = 0; i < 6; i++)
            memset(dhidden + starts[i] * H, 0, (size_t)(from[i] * H) * sizeof *dhidden);
        for (int i = 0; i < 2; i++) {
            const float *out = decoder_forward(d, &m, &batches[i]);

            grads[i] = xarray((size_t)m.count, sizeof *grads[i]);
            if (i == 0)
                memcpy(hidden, out, N * H * sizeof *out);
            else
                same_read("kept", out, hidden, H, starts, from, 6);
            decoder_backward(d, &m, dhidden, grads[i]);
        }
        same_read("not kept", decoder_forward(forward, &m, &batches[1]), hidden, H, starts, from, 6);
        sets_same("gradient", m.count, grads[1], grads[0]);
        decoder_free(d);
        decoder_free(forward);
        model_free(&m);
        free(dhidden);
        free(hidden);
        free(grads[0]);
        free(grads[1]);
    }
}

/* Hidden states, loss gradients and the weights after a step with `count` threads, in one array. */
static float *
threads_step(const struct model *begin, const struct batch *b, int count)
{
    int64_t n = b->tokens * begin->config.hidden_size, size = begin->count;
    float  *all = xarray((size_t)(n + 2 * size), sizeof *all), *grads = all + n;
    float  *dhidden = sets_floats(n, 14, 1), *m = xarray((size_t)size, sizeof *m);
    float  *v = xarray((size_t)size, sizeof *v);
    struct threads *t = count > 1 ? threads_new(count) : NULL;
    struct decoder *d = decoder_new(begin, b->tokens, 1);
    struct adamw a = adamw_default();
    struct model model = *begin;

    decoder_threads(d, t);
    memcpy(all, decoder_forward(d, begin, b), (size_t)n * sizeof *all);
    decoder_backward(d, begin, dhidden, grads);
    model.params = grads + size;
    memcpy(model.params, begin->params, (size_t)size * sizeof *all);
    a.threads = t;
    a.lr = 0.1;
    assert_true(adamw_step(&a, &model, 1, grads, m, v) > 0);
    decoder_free(d);
    threads_free(t);
    free(dhidden);
    free(m);
    free(v);
    return all;
}

static void
threads_change_nothing(void **state)
{
    static const int64_t starts[] = {0, 40, 40, 41, 80, 140};
    static const int     counts[] = {2, 3, 7};
    enum { N = 140, H = 72 };
    int32_t ids[N];
    struct batch b = {N, ids, 5, starts, NULL};

    (void)state;
    fill_ids(ids, N, 15);
    for (size_t i = 0; i < 2; i++) {            /* without norms of q and k, and with them */
        struct model m;
        float *one;

        variety = varieties[i];
        make_model(&m, H, 4, 2, 18);
        one = threads_step(&m, &b, 1);
        for (size_t k = i == 0 ? 2 : 0; k < sizeof counts / sizeof *counts; k++) {
            float *many = threads_step(&m, &b, counts[k]);

            sets_same("all of a step", N * H + 2 * m.count, many, one);
            free(many);
        }
        free(one);
        model_free(&m);
    }
    variety = (struct variety){.family = "qwen2"};
}

static void
sets_agree_at(int64_t head_dim)
{
    static const int64_t starts[] = {0, 40, 41, 90, 300};
    enum { N = 300, H = 40 };
    const char *set = isa_now()->name;
    int32_t ids[N], targets[N];
    float  *result[2], *c = sets_floats(N, 6, 1), lse[N];
    struct head_work *work = head_work_new();
    struct model m;

    make_model(&m, H, 2, 1, head_dim);
    fill_ids(ids, N, 8);
    fill_ids(targets, N, 9);
    for (int i = 0; i < 2; i++) {
        struct batch b = {N, ids, 4, starts, NULL};
        struct head  head = head_of(&m);
        struct head_gradient g = {.c = c, .e = c + 1, .h = c + 2, .entries = NULL};
        float *at, *dhidden, entropy[N];
        struct decoder *d;

        assert_int_equal(isa_use(i == 0 ? set : "scalar"), 0);
        d = decoder_new(&m, N, 1);
        result[i] = at = xarray((size_t)(2 * N * H + 3 * N + m.count), sizeof *at);
        dhidden = at + N * H;
        memcpy(at, decoder_forward(d, &m, &b), N * H * sizeof *at);
        head_statistics(work, &head, N - 2, at, targets, at + 2 * N * H, lse, entropy);
        head_backward(work, &head, N - 2, at, targets, lse, entropy, &g, dhidden,
                      at + 2 * N * H + 3 * N + m.head,
                      m.head_bias < 0 ? NULL : at + 2 * N * H + 3 * N + m.head_bias);
        decoder_backward(d, &m, dhidden, at + 2 * N * H + 3 * N);
        decoder_free(d);
    }
    assert_int_equal(isa_use(set), 0);
    sets_same("all results", 2 * N * H + 3 * N + m.count, result[0], result[1]);
    free(result[0]);
    free(result[1]);
    free(c);
    head_work_free(work);
    model_free(&m);
}

static void
sets_agree(void **state)
{
    (void)state;
    sets_agree_at(20);
    sets_agree_at(16);
    sets_agree_at(32);
    for (size_t i = 0; i < VARIETIES; i++) {
        variety = varieties[i];
        sets_agree_at(20);
    }
    variety = (struct variety){.family = "qwen2"};
}

static int
run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope),
        cmocka_unit_test(every_familys_gradient_is_the_slope),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(cache_is_the_decoder),
        cmocka_unit_test(empty_and_small_batches),
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(batches_add_up),
        cmocka_unit_test(unread_rows_change_nothing),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(sets_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    return sets_run(run);
}

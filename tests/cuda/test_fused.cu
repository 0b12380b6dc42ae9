/* The fused logits product against its definition in double: logits, statistics, bits that do not
 * depend on neighbours, faults, rows that tempt log p above 0. */
#include "tests/cuda/check.h"

#include "kernels/cuda/fused.cuh"

#define SHAPES (sizeof shapes / sizeof *shapes)
#define GUARD  8                    /* columns beyond a row's that nobody may write */
#define CANARY 0x7a5c

struct shape {
    int64_t rows, vocab, hidden, stride;    /* stride: of x and W */
};

static const struct shape shapes[] = {
    {1, 100, 64, 64},       {64, 128, 72, 72},      {129, 384, 200, 208},
    {300, 1000, 72, 72},    {20, 300, 520, 520},    {4200, 100, 64, 64},
    {5, 1, 64, 64},         {2, 257, 67, 72},
};

/* What a product gets and gives; on the host. */
struct trial {
    struct shape shape;
    uint16_t *x, *weight;           /* bfloat16 (rows, stride), (vocab, stride) */
    int32_t  *targets;              /* (2 rows): by place */
    int64_t  *place;                /* (rows) */
    int64_t   z_stride, tiles;
    uint16_t *shifted;              /* (rows, z_stride) */
    float    *largest;              /* (rows, tiles) */
    float    *logp, *lse, *entropy; /* (2 rows): by place */
    enum fault fault;
    int64_t   fault_row;
};

/* ---- numbers ---- */

static float
noise(uint64_t seed, uint64_t index)    /* [-1, 1) */
{
    uint64_t x = seed * 0xd1342543de82ef95ull + index * 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (float)((x ^ x >> 31) >> 40) / 8388608.0f - 1.0f;
}

static int64_t
up_to(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static struct trial
trial_new(struct shape s, uint64_t seed, float scale)
{
    struct trial t = {};

    t.shape = s;
    t.z_stride = up_to(s.vocab, 8) + GUARD;
    t.tiles = (s.vocab + FUSED_COLUMNS - 1) / FUSED_COLUMNS;
    t.x = (uint16_t *)calloc((size_t)(s.rows * s.stride), sizeof *t.x);
    t.weight = (uint16_t *)calloc((size_t)(s.vocab * s.stride), sizeof *t.weight);
    t.targets = (int32_t *)calloc((size_t)(2 * s.rows), sizeof *t.targets);
    t.place = (int64_t *)calloc((size_t)s.rows, sizeof *t.place);
    t.shifted = (uint16_t *)calloc((size_t)(s.rows * t.z_stride), sizeof *t.shifted);
    t.largest = (float *)calloc((size_t)(s.rows * t.tiles), sizeof *t.largest);
    t.logp = (float *)calloc((size_t)(2 * s.rows), sizeof *t.logp);
    t.lse = (float *)calloc((size_t)(2 * s.rows), sizeof *t.lse);
    t.entropy = (float *)calloc((size_t)(2 * s.rows), sizeof *t.entropy);
    /* What lies between hidden and the stride is no part of the product: NaN. */
    for (int64_t i = 0; i < s.rows * s.stride; i++)
        t.x[i] = i % s.stride < s.hidden ? check_bf16(scale * noise(seed, (uint64_t)i)) : 0x7fff;
    for (int64_t i = 0; i < s.vocab * s.stride; i++)
        t.weight[i] = i % s.stride < s.hidden ? check_bf16(noise(~seed, (uint64_t)i)) : 0x7fff;
    for (int64_t i = 0; i < s.rows; i++) {
        t.place[i] = 2 * i + 1;
        t.targets[2 * i] = -1;
        t.targets[2 * i + 1] = (int32_t)((i * 97 + s.vocab - 1) % s.vocab);
    }
    for (int64_t i = 0; i < s.rows * t.z_stride; i++)
        t.shifted[i] = CANARY;
    return t;
}

static void
trial_free(struct trial *t)
{
    free(t->x);
    free(t->weight);
    free(t->targets);
    free(t->place);
    free(t->shifted);
    free(t->largest);
    free(t->logp);
    free(t->lse);
    free(t->entropy);
}

/* ---- on the device ---- */

/* Runs it; wanted 0: statistics alone. */
static void
trial_run(struct trial *t, int wanted)
{
    struct shape h = t->shape;
    int64_t two = 2 * h.rows * 4, z_bytes = h.rows * t->z_stride * 2;
    void *x = device(t->x, h.rows * h.stride * 2), *place = device(t->place, h.rows * 8);
    struct sluice_head head = {h.hidden, h.vocab, device(t->weight, h.vocab * h.stride * 2),
                               h.stride, NULL};
    struct row_logits z = {};
    struct row_arrays a = {};

    a.targets = (const int32_t *)device(t->targets, two);
    a.logp = (float *)device(t->logp, two);
    a.lse = (float *)device(t->lse, two);
    a.entropy = (float *)device(t->entropy, two);
    z.at = wanted ? device(t->shifted, z_bytes) : NULL;
    z.stride = t->z_stride;
    if (!fused_fits(sluice(), &head))
        check_fail(__FILE__, __LINE__, "%s", fused_why(sluice()));
    MUST_OK(fault_reset(sluice()));
    MUST_OK(fused_logits(sluice(), &head, h.rows, (const int64_t *)place, x, h.stride, &z, &a));
    MUST_OK(fault_read(sluice(), &t->fault, &t->fault_row));
    MUST(z.rows == h.rows && z.vocab == h.vocab && z.form == ROW_shifted);
    MUST(z.tiles == t->tiles && z.tile_columns == FUSED_COLUMNS);
    host(t->largest, z.tile_largest, h.rows * t->tiles * 4);
    if (wanted)
        host(t->shifted, z.at, z_bytes);
    host(t->logp, a.logp, two);
    host(t->lse, a.lse, two);
    host(t->entropy, a.entropy, two);
}

/* ---- the definition ---- */

/* z (vocab) of a row, and what float32 sums of so many terms may be off by. */
static double
naive_logits(const struct trial *t, int64_t row, double *z)
{
    struct shape h = t->shape;
    double off = 0.0;

    for (int64_t v = 0; v < h.vocab; v++) {
        double size = 0.0;

        z[v] = 0.0;
        for (int64_t k = 0; k < h.hidden; k++) {
            double term = check_float(t->x[row * h.stride + k]);

            term *= check_float(t->weight[v * h.stride + k]);
            z[v] += term;
            size += fabs(term);
        }
        off = fmax(off, (double)(h.hidden + 16) * 0x1p-23 * size);
    }
    return off;
}

static void
compare_logits(const struct trial *t, int64_t row, const double *z, double off)
{
    for (int64_t v = 0; v < t->shape.vocab; v++) {
        double largest = -INFINITY, offset, end;
        int64_t first = v / FUSED_COLUMNS * FUSED_COLUMNS;

        if (v == first) {
            end = fmin((double)(first + FUSED_COLUMNS), (double)t->shape.vocab);
            for (int64_t u = first; u < (int64_t)end; u++)
                largest = fmax(largest, z[u]);
            MUST_NEAR(t->largest[row * t->tiles + v / FUSED_COLUMNS], largest, off);
        }
        offset = check_float(t->shifted[row * t->z_stride + v]);
        MUST_NEAR(offset + t->largest[row * t->tiles + v / FUSED_COLUMNS], z[v],
                   off + fabs(offset) * 0x1p-8);
    }
    for (int64_t v = up_to(t->shape.vocab, 8); v < t->z_stride; v++)
        MUST(t->shifted[row * t->z_stride + v] == CANARY);
}

/* log p and lse follow the logits' errors one to one, the entropy at most 2 (log V + 1) to one;
 * a sum of positive terms in chains of at most 64 and a tree is off by about 70 roundings. */
static void
compare_statistics(const struct trial *t, int64_t row, const double *z, double off)
{
    int64_t place = t->place[row];
    double m = -INFINITY, s = 0.0, moment = 0.0, sums = 80 * 0x1p-23, logp, log_v;

    for (int64_t v = 0; v < t->shape.vocab; v++)
        m = fmax(m, z[v]);
    for (int64_t v = 0; v < t->shape.vocab; v++) {
        s += exp(z[v] - m);
        moment += exp(z[v] - m) * (z[v] - m);
    }
    log_v = log((double)t->shape.vocab) + 1.0;
    logp = z[t->targets[place]] - m - log(s);
    MUST_NEAR(t->lse[place], m + log(s), off + sums + fabs(m + log(s)) * 0x1p-23);
    MUST_NEAR(t->logp[place], logp, 2.0 * off + sums + fabs(logp) * 0x1p-22);
    MUST_NEAR(t->entropy[place], log(s) - moment / s, 2.0 * log_v * (off + sums));
    MUST(t->logp[place] <= 0.0f);
    MUST(t->logp[place - 1] == 0.0f && t->lse[place - 1] == 0.0f);
}

static void
compare(const struct trial *t)
{
    double *z = (double *)calloc((size_t)t->shape.vocab, sizeof *z);

    MUST(t->fault_row == -1);
    for (int64_t row = 0; row < t->shape.rows; row++) {
        double off = naive_logits(t, row, z);

        compare_logits(t, row, z, off);
        compare_statistics(t, row, z, off);
    }
    free(z);
}

/* The bits of row i of a are those of row j of b. */
static int
same_row(const struct trial *a, int64_t i, const struct trial *b, int64_t j)
{
    int64_t p = a->place[i], q = b->place[j];

    return memcmp(a->shifted + i * a->z_stride, b->shifted + j * b->z_stride,
                  (size_t)a->shape.vocab * sizeof *a->shifted) == 0 &&
           memcmp(a->largest + i * a->tiles, b->largest + j * b->tiles,
                  (size_t)a->tiles * sizeof *a->largest) == 0 &&
           memcmp(&a->logp[p], &b->logp[q], sizeof(float)) == 0 &&
           memcmp(&a->lse[p], &b->lse[q], sizeof(float)) == 0 &&
           memcmp(&a->entropy[p], &b->entropy[q], sizeof(float)) == 0;
}

static void
same_weight(struct trial *b, const struct trial *a)
{
    memcpy(b->weight, a->weight, (size_t)(a->shape.vocab * a->shape.stride) * sizeof *a->weight);
}

/* Row j of b gets the input of row i of a. */
static void
give_row(struct trial *b, int64_t j, const struct trial *a, int64_t i)
{
    memcpy(b->x + j * b->shape.stride, a->x + i * a->shape.stride,
           (size_t)a->shape.stride * sizeof *a->x);
    b->targets[b->place[j]] = a->targets[a->place[i]];
}

static void
needs_hopper(void)
{
    if (device_compute() != 90)
        check_skip("fused logits are for compute capability 9.0");
}

/* ---- tests ---- */

CHECK(logits_and_statistics_are_the_definitions)
{
    needs_hopper();
    for (size_t i = 0; i < SHAPES; i++) {
        struct trial t = trial_new(shapes[i], i + 1, 0.5f);

        trial_run(&t, 1);
        compare(&t);
        trial_free(&t);
    }
}

/* More tiles than blocks: each block takes several. */
CHECK(blocks_that_take_several_tiles)
{
    struct shape shape = {130, 0, 64, 64};
    struct trial t;

    needs_hopper();
    shape.vocab = 256ll * (sluice()->multiprocessors + 2) - 100;
    t = trial_new(shape, 9, 1.0f);
    trial_run(&t, 1);
    compare(&t);
    trial_free(&t);
}

CHECK(a_rows_bits_do_not_depend_on_the_others)
{
    struct shape shape = {140, 400, 136, 136};
    struct trial all, some;

    needs_hopper();
    all = trial_new(shape, 11, 0.7f);
    trial_run(&all, 1);
    shape.rows = 3;
    some = trial_new(shape, 12, 0.7f);
    same_weight(&some, &all);
    give_row(&some, 0, &all, 139);
    give_row(&some, 2, &all, 0);
    trial_run(&some, 1);
    MUST(same_row(&some, 0, &all, 139) && same_row(&some, 2, &all, 0));
    MUST(!same_row(&some, 1, &all, 1));
    trial_free(&some);
    shape.rows = 200;
    some = trial_new(shape, 13, 100.0f);
    same_weight(&some, &all);
    for (int64_t i = 0; i < all.shape.rows; i++)
        give_row(&some, i + 37, &all, i);
    trial_run(&some, 1);
    for (int64_t i = 0; i < all.shape.rows; i++)
        MUST(same_row(&some, i + 37, &all, i));
    trial_free(&some);
    trial_free(&all);
}

CHECK(statistics_alone_are_the_same_bits)
{
    struct trial a, b;

    needs_hopper();
    a = trial_new((struct shape){70, 300, 80, 80}, 21, 1.0f);
    b = trial_new(a.shape, 21, 1.0f);
    trial_run(&a, 1);
    trial_run(&b, 0);
    for (int64_t v = 0; v < b.shape.rows * b.z_stride; v++)
        MUST(b.shifted[v] == CANARY);
    memcpy(b.shifted, a.shifted, (size_t)(a.shape.rows * a.z_stride) * sizeof *a.shifted);
    for (int64_t i = 0; i < a.shape.rows; i++)
        MUST(same_row(&a, i, &b, i));
    trial_free(&a);
    trial_free(&b);
}

/* Through the library's own function, in chunks, rows without a target between. */
CHECK(statistics_of_the_head_are_the_same_bits_in_any_chunks)
{
    enum { ROWS = 150 };
    static float got[3][ROWS], again[3][ROWS];
    struct shape shape = {ROWS, 300, 80, 80};
    struct trial t;
    struct sluice_head head;
    struct sluice_rows rows;

    needs_hopper();
    t = trial_new(shape, 61, 1.0f);
    head = {shape.hidden, shape.vocab, device(t.weight, shape.vocab * shape.stride * 2),
            shape.stride, NULL};
    for (int i = 0; i < ROWS; i++)
        t.targets[i] = i % 5 == 3 ? -1 : (i * 97) % 300;
    rows = {ROWS, device(t.x, ROWS * shape.stride * 2), shape.stride,
            (const int32_t *)device(t.targets, ROWS * 4)};
    for (int64_t chunk = 0; chunk <= 64; chunk += 32) {
        struct sluice_options o = {};
        float *out[3];

        o.logits = SLUICE_logits_fused;
        o.chunk_rows = chunk;
        for (int i = 0; i < 3; i++)
            out[i] = (float *)device_room(ROWS * 4);
        MUST_OK(sluice_head_statistics(sluice(), &head, &rows, &o, out[0], out[1], out[2]));
        for (int i = 0; i < 3; i++) {
            host(again[i], out[i], ROWS * 4);
            if (chunk == 0)
                memcpy(got[i], again[i], sizeof got[i]);
            MUST_SAME(again[i], got[i], ROWS);
        }
    }
    for (int i = 0; i < ROWS; i++)
        MUST((got[0][i] == 0.0f) == (t.targets[i] < 0));
    trial_free(&t);
}

/* |z| of 16 to 32, the target first or a close second of copies of itself; and all logits equal. */
CHECK(hard_rows_stay_below_zero)
{
    struct shape shape = {96, 520, 64, 64};
    struct trial t;

    needs_hopper();
    t = trial_new(shape, 31, 1.0f);
    for (int64_t i = 0; i < shape.rows; i++) {
        int32_t y = t.targets[t.place[i]];

        /* x ~ the target's weight: z_y is about the largest by far, up to 32 */
        for (int64_t k = 0; k < shape.hidden; k++)
            t.x[i * shape.stride + k] =
                i == 0 ? 0 : check_bf16((0.6f + (float)(i % 7) * 0.12f) *
                                    check_float(t.weight[y * shape.stride + k]));
    }
    for (int64_t v = 1; v < shape.vocab; v += 2) {  /* pairs of classes: equal, or but for a bit */
        memcpy(t.weight + v * shape.stride, t.weight + (v - 1) * shape.stride,
               (size_t)shape.hidden * sizeof *t.weight);
        t.weight[v * shape.stride + 5] ^= v % 4 == 1;
    }
    trial_run(&t, 1);
    compare(&t);
    MUST_NEAR(t.entropy[t.place[0]], log(520.0), 1e-6);
    trial_free(&t);
}

/* z of 64 and 48: log s is half a unit in the last place of m, and must not be lost in it. */
CHECK(a_large_logit_does_not_hide_the_others)
{
    struct trial t;

    needs_hopper();
    t = trial_new((struct shape){2, 2, 64, 64}, 51, 1.0f);
    memset(t.x, 0, 2 * 64 * sizeof *t.x);
    for (int64_t row = 0; row < 2; row++) {
        t.x[row * 64] = check_bf16(1.0f);
        t.weight[row * 64] = check_bf16(row == 0 ? 64.0f : 48.0f);
        t.targets[t.place[row]] = (int32_t)row;
    }
    trial_run(&t, 1);
    MUST_EQUAL(t.fault_row, -1);
    MUST_NEAR(t.logp[t.place[0]], -log1p(exp(-16.0)), 0x1p-24);
    MUST_NEAR(t.logp[t.place[1]], -16.0 - log1p(exp(-16.0)), 0x1p-20);
    trial_free(&t);
}

CHECK(a_logit_that_is_not_finite_names_its_row)
{
    static const uint16_t bad[] = {0x7fc0, 0x7f80, 0xff80};    /* NaN, inf, -inf */
    struct shape shape = {150, 300, 72, 72};
    struct trial clean, t;

    needs_hopper();
    clean = trial_new(shape, 41, 1.0f);
    trial_run(&clean, 1);
    for (int i = 0; i < 3; i++) {
        t = trial_new(shape, 41, 1.0f);
        t.x[140 * shape.stride + 70] = t.x[77 * shape.stride + 3] = bad[i];
        trial_run(&t, 1);
        MUST(t.fault == FAULT_logits && t.fault_row == t.place[77]);
        MUST(same_row(&t, 76, &clean, 76) && same_row(&t, 149, &clean, 149));
        trial_free(&t);
        /* one class of all: -inf alone leaves the largest and the sum as they are */
        t = trial_new(shape, 41, 1.0f);
        for (int64_t row = 0; row < shape.rows; row++)
            t.x[row * shape.stride] = check_bf16(row < 5 ? 0.0f : 1.0f);
        t.weight[290 * shape.stride] = bad[i];
        trial_run(&t, 1);
        MUST(t.fault == FAULT_logits && t.fault_row == t.place[0]);
        trial_free(&t);
        t = trial_new((struct shape){3, 300, 72, 72}, 42, 1.0f);
        for (int64_t row = 0; row < 3; row++)
            t.x[row * shape.stride] = check_bf16(0.5f);
        t.weight[17 * shape.stride] = bad[i];
        trial_run(&t, 1);
        MUST(t.fault == FAULT_logits && t.fault_row == t.place[0]);
        trial_free(&t);
    }
    trial_free(&clean);
}

CHECK(no_rows_are_no_work)
{
    struct row_logits z = {};
    struct row_arrays a = {};
    struct sluice_head head = {64, 100, NULL, 64, NULL};

    needs_hopper();
    MUST(fused_logits(sluice(), &head, 0, NULL, NULL, 64, &z, &a) == 0);
    MUST(z.rows == 0 && z.form == ROW_shifted && z.tiles == 1);
}

CHECK(what_does_not_fit_is_told)
{
    struct sluice_head head = {64, 100, NULL, 64, NULL};
    struct sluice_cuda s;
    float bias;

    needs_hopper();
    s = *sluice();
    MUST(fused_fits(&s, &head) && fused_why(&s)[0] == '\0');
    head.weight_stride = 68;
    MUST(!fused_fits(&s, &head));
    MUST_TEXT(fused_why(&s), "16 bytes");
    head.weight_stride = 64;
    head.bias = &bias;
    MUST(!fused_fits(&s, &head));
    MUST_TEXT(fused_why(&s), "bias");
    head.bias = NULL;
    head.hidden = 56;
    MUST(!fused_fits(&s, &head));
    MUST_TEXT(fused_why(&s), "64");
    head.hidden = 64;
    head.weight = (const char *)&bias + 1;
    MUST(!fused_fits(&s, &head));
    head.weight = NULL;
    s.minor = 5;
    MUST(!fused_fits(&s, &head));
    MUST_TEXT(fused_why(&s), "9.0");
    s.minor = 0;
    MUST(fused_fits(&s, &head) && fused_why(&s)[0] == '\0');
}

/* Where products are wrong, the first use finds out, and nothing is computed with them. */
CHECK(a_device_that_multiplies_wrongly_is_not_believed)
{
#ifdef SLUICE_SIMT
    struct sluice_head head = {64, 100, NULL, 64, NULL};
    struct sluice_rows none = {0, NULL, 64, NULL};
    struct sluice_options o = {};

    needs_hopper();
    sluice_close();
    setenv("SLUICE_SIMT_WGMMA", "wrong", 1);
    MUST(!fused_fits(sluice(), &head));
    unsetenv("SLUICE_SIMT_WGMMA");
    MUST_TEXT(fused_why(sluice()), "a logit of row 0 of their check is");
    MUST(!fused_fits(sluice(), &head));
    o.logits = SLUICE_logits_fused;
    head.weight = device_room(100 * 64 * 2);
    MUST_FAIL(sluice_head_statistics(sluice(), &head, &none, &o, NULL, NULL, NULL),
              SLUICE_argument, "of their check is");
    sluice_close();
#else
    check_skip("asks for a simulated device");
#endif
}

/* The optimiser's kernels against the processor's, bit for bit where that is the promise. */
#include "tests/cuda/check.h"

extern "C" {
#include "kernels/adamw.h"
#include "kernels/cast.h"
#include "kernels/isa.h"
}

#define NEAR_MOST   70              /* every length up to it */
#define OFFSETS     4               /* floats of 16 bytes */

static float
float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Finite numbers of all sizes that a gradient may have: some 0, some below the normal ones. */
static float
wild(uint64_t *state)
{
    uint64_t kind = check_bits(state) % 16;
    uint32_t bits = (uint32_t)check_bits(state);

    if (kind == 0)
        return bits % 2 ? -0.0f : 0.0f;
    if (kind == 1)
        return float_of(bits & 0x807fffffu);                /* subnormal */
    if (kind == 2)
        return float_of((bits & 0x807fffffu) | 147u << 23); /* some 1e6 */
    return (float)(check_normal(state) * 1e-3);
}

/* The same bits, or NaN on both sides: which NaN is the processor's matter. */
static void
same_numbers(const char *words, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 && !(isnan(a[i]) && isnan(b[i])))
            check_fail(__FILE__, __LINE__, "%s[%lld] of %lld is %a, not %a", words, (long long)i,
                       (long long)n, (double)a[i], (double)b[i]);
}

/* ---- AdamW ---- */

struct state {
    int64_t n;
    float  *p, *g, *m, *v;          /* host */
};

static struct state
state_new(int64_t n, uint64_t seed)
{
    struct state s = {n, NULL, NULL, NULL, NULL};
    float **const arrays[] = {&s.p, &s.g, &s.m, &s.v};

    for (int k = 0; k < 4; k++)
        *arrays[k] = (float *)check_room((n + 1) * (int64_t)sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        s.p[i] = (float)check_normal(&seed);
        s.g[i] = wild(&seed);
        s.m[i] = wild(&seed);
        s.v[i] = fabsf(wild(&seed));
    }
    return s;
}

static void
state_free(struct state *s)
{
    free(s->p);
    free(s->g);
    free(s->m);
    free(s->v);
}

/* The host's numbers so many floats into memory of their own. */
static float *
put(const float *from, int64_t n, int offset)
{
    float *at = (float *)device_room((n + 2 * OFFSETS) * (int64_t)sizeof(float)) + offset;

    MUST_OK(sluice_cuda_upload(sluice(), at, from, n * (int64_t)sizeof(float)));
    return at;
}

static struct adamw
host_options(const struct sluice_adamw *a)
{
    struct adamw o = adamw_default();

    o.lr = a->lr;
    o.beta1 = a->beta1;
    o.beta2 = a->beta2;
    o.eps = a->eps;
    o.weight_decay = a->weight_decay;
    return o;
}

/* `steps` updates on both sides, from places `offsets` floats into memory. */
static void
compare_updates(struct sluice_adamw a, struct state s, const int *offsets, int steps)
{
    float *p = put(s.p, s.n, offsets[0]), *g = put(s.g, s.n, offsets[1]);
    float *m = put(s.m, s.n, offsets[2]), *v = put(s.v, s.n, offsets[3]);
    float *back = (float *)check_room(s.n * (int64_t)sizeof(float)), guard;
    struct adamw o = host_options(&a);
    const float *const host_arrays[] = {s.p, s.m, s.v};
    float *const device_arrays[] = {p, m, v};
    static const char *const names[] = {"p", "m", "v"};

    for (int k = 0; k < steps; k++, a.step++) {
        MUST_OK(sluice_adamw_update(sluice(), &a, s.n, p, g, m, v));
        adamw_update(&o, s.n, a.weight_decay != 0, a.step, a.scale, s.p, s.g, s.m, s.v);
    }
    for (int k = 0; k < 3; k++) {
        host(back, device_arrays[k], s.n * (int64_t)sizeof(float));
        same_numbers(names[k], back, host_arrays[k], s.n);
        host(&guard, device_arrays[k] + s.n, sizeof guard);
        MUST(isnan(guard));             /* what lies behind the array is as it was, */
        if (offsets[k == 0 ? 0 : k + 1] > 0)
            host(&guard, device_arrays[k] - 1, sizeof guard);
        MUST(isnan(guard));             /* and what lies before it */
    }
    free(back);
}

static const struct sluice_adamw usual = {1e-3, 0.9, 0.999, 1e-8, 0.1, 1, 1.0};

CHECK(adamw_has_the_processors_bits_at_every_length)
{
    MUST_EQUAL(isa_use("scalar"), 0);
    for (int64_t n = 0; n <= NEAR_MOST; n++) {
        int offsets[4] = {0, 0, 0, 0};
        struct state s = state_new(n, (uint64_t)n + 1);

        for (int k = 0; k < 4; k++)
            offsets[k] = (int)(n % OFFSETS);
        compare_updates(usual, s, offsets, 2);
        state_free(&s);
    }
}

CHECK(adamw_takes_arrays_that_begin_anywhere)
{
    for (int at = 0; at < OFFSETS * OFFSETS * OFFSETS; at += 3) {
        int offsets[4] = {at % OFFSETS, at / OFFSETS % OFFSETS, at / OFFSETS / OFFSETS, at % 3};
        struct state s = state_new(37 + at % 5, (uint64_t)at);

        compare_updates(usual, s, offsets, 1);
        state_free(&s);
    }
}

CHECK(adamw_has_the_processors_bits_over_many_blocks_and_steps)
{
    static const struct sluice_adamw rates[] = {
        {1e-3, 0.9, 0.999, 1e-8, 0.1, 1, 1.0},
        {3e-5, 0.9, 0.95, 1e-8, 0.0, 1000, 0.37},
        {0.0, 0.8, 0.99, 1e-6, 0.01, 7, 1e-3},
        {1.0, 0.0, 0.5, 1.0, 0.9, 123456, 2.0},
    };

    for (int k = 0; k < 4; k++) {
        int offsets[4] = {k, k, k, k};
        struct state s = state_new(20011, 100 + (uint64_t)k);

        compare_updates(rates[k], s, offsets, 3);
        state_free(&s);
    }
}

CHECK(adamw_of_numbers_that_are_not_finite_is_the_processors)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f};
    int offsets[4] = {0, 0, 0, 0};
    struct state s = state_new(64, 3);

    for (int64_t i = 0; i < 24; i++) {
        float *const arrays[] = {s.g, s.p, s.m, s.v};

        arrays[i / 6][i] = odd[i % 6];
    }
    compare_updates(usual, s, offsets, 2);
    state_free(&s);
}

CHECK(adamw_refuses_what_it_cannot_do)
{
    float *x = (float *)device_room(64);
    struct sluice_adamw a = usual;

    MUST_FAIL(sluice_adamw_update(sluice(), &a, -1, x, x, x, x), SLUICE_argument, "n is below 0");
    MUST_FAIL(sluice_adamw_update(sluice(), &a, 4, x, NULL, x, x), SLUICE_argument, "NULL");
    MUST_FAIL(sluice_adamw_update(sluice(), &a, 4, x, x, (float *)((char *)x + 2), x),
              SLUICE_argument, "begin at a float");
    a.step = 0;
    MUST_FAIL(sluice_adamw_update(sluice(), &a, 4, x, x, x, x), SLUICE_argument, "step is below 1");
    a.step = 1;
    MUST_OK(sluice_adamw_update(sluice(), &a, 0, NULL, NULL, NULL, NULL));
}

/* ---- the norm ---- */

/* Sums of n squares, each of them exact in double, in any order: each of at most n additions is off
 * by at most 2^-53 of the sum so far, the root by half of that and one rounding of its own. */
static void
compare_norm(const float *x, const float *at, int64_t n, double *norm)
{
    double sum = 0, carry = 0, again = -1;

    for (int64_t i = 0; i < n; i++) {       /* Kahan */
        double term = (double)x[i] * (double)x[i] - carry, next = sum + term;

        carry = (next - sum) - term;
        sum = next;
    }
    MUST_OK(sluice_norm(sluice(), n, at, norm));
    MUST_NEAR(*norm, sqrt(sum), sqrt(sum) * 0x1p-53 * ((double)n / 2 + 4));
    MUST_OK(sluice_norm(sluice(), n, at, &again));
    MUST(memcmp(norm, &again, sizeof again) == 0);
}

/* The sums' order is that of the elements, wherever they lie. */
CHECK(the_norm_is_right_at_every_length_and_place)
{
    for (int64_t n = 0; n <= NEAR_MOST; n++) {
        struct state s = state_new(n, 40 + (uint64_t)n);
        double norm = -1, first = 0;

        for (int offset = 0; offset < OFFSETS; offset++) {
            compare_norm(s.g, put(s.g, n, offset), n, &norm);
            MUST(offset == 0 || memcmp(&norm, &first, sizeof norm) == 0);
            first = norm;
        }
        state_free(&s);
    }
}

static void
fill_normal(float *x, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)check_uniform(&seed, -3, 1e4 * (double)(i % 1000 == 0) + 3);
}

/* Long enough for each loop of the kernel: a thread's one quad, several on their way, a rest. */
CHECK(the_norm_of_many_numbers_is_right)
{
    static const int64_t lengths[] = {1024, 5000, 260001, 4 * 1024 * 1024 + 4103};
    float *x = (float *)check_room(lengths[3] * (int64_t)sizeof(float));

    fill_normal(x, lengths[3], 5);
    for (int k = 0; k < 4; k++) {
        double norm = 0, first = 0;

        compare_norm(x, put(x, lengths[k], 0), lengths[k], &norm);
        first = norm;
        if (k < 3) {
            compare_norm(x, put(x, lengths[k], 1), lengths[k], &norm);
            MUST(memcmp(&norm, &first, sizeof norm) == 0);
        }
    }
    free(x);
}

CHECK(the_norm_of_large_and_of_missing_numbers)
{
    float x[1000];
    double norm = 0;

    for (int i = 0; i < 1000; i++)
        x[i] = 3e38f;
    MUST_OK(sluice_norm(sluice(), 1000, (float *)device(x, sizeof x), &norm));
    MUST_NEAR(norm, (double)3e38f * sqrt(1000), 1e29);
    x[777] = -INFINITY;
    MUST_OK(sluice_norm(sluice(), 1000, (float *)device(x, sizeof x), &norm));
    MUST(isinf(norm) && norm > 0);
    x[3] = NAN;
    MUST_OK(sluice_norm(sluice(), 1000, (float *)device(x, sizeof x), &norm));
    MUST(isnan(norm));
    norm = 7;
    MUST_OK(sluice_norm(sluice(), 0, NULL, &norm));
    MUST(norm == 0);
    MUST_FAIL(sluice_norm(sluice(), -1, NULL, &norm), SLUICE_argument, "n is below 0");
    MUST_FAIL(sluice_norm(sluice(), INT64_MAX, NULL, &norm), SLUICE_argument, "n is above 2^48");
    MUST_FAIL(sluice_norm(sluice(), 1, NULL, &norm), SLUICE_argument, "NULL");
}

/* ---- sums ---- */

CHECK(a_sum_is_the_processors_wherever_it_lies)
{
    for (int64_t n = 0; n <= NEAR_MOST + 3000; n += n < NEAR_MOST ? 1 : 999) {
        struct state s = state_new(n, 900 + (uint64_t)n);
        float *from = put(s.g, n, (int)(n % 3)), *to = put(s.p, n, (int)(n % 4));
        float *back = (float *)check_room((n + 1) * (int64_t)sizeof(float));

        MUST_OK(sluice_add(sluice(), n, from, to));
        host(back, to, (n + 1) * (int64_t)sizeof(float));
        for (int64_t i = 0; i < n; i++)
            s.p[i] += s.g[i];
        MUST_SAME(back, s.p, n);
        MUST(isnan(back[n]));
        free(back);
        state_free(&s);
    }
    MUST_FAIL(sluice_add(sluice(), -1, NULL, NULL), SLUICE_argument, "n is below 0");
    MUST_FAIL(sluice_add(sluice(), INT64_MAX, NULL, NULL), SLUICE_argument, "n is above 2^48");
}

/* ---- rounding to bfloat16 ---- */

struct shape {
    int64_t  rows, columns, stride;
    int      from_offset;           /* floats */
    int      out_offset;            /* of bfloat16 */
    uint64_t first;
};

/* Every kind of number, as bits come. */
static void
compare_cast(const struct shape *k, enum sluice_rounding rounding, uint64_t seed)
{
    int64_t count = k->rows * k->columns, out_count = k->rows * k->stride;
    float *x = (float *)check_room((count + 1) * (int64_t)sizeof(float)), *from;
    uint16_t *wanted = (uint16_t *)check_room((out_count + 1) * 2), *got, *out;
    uint64_t state = seed + (uint64_t)count;

    got = (uint16_t *)check_room((out_count + 1) * 2);
    for (int64_t i = 0; i < count; i++)
        x[i] = i % 3 ? float_of((uint32_t)check_bits(&state)) : (float)check_normal(&state);
    from = put(x, count, k->from_offset);
    out = (uint16_t *)device_room((out_count + 16) * 2) + k->out_offset;
    MUST_OK(sluice_cast(sluice(), k->rows, k->columns, from, k->stride, out, rounding, seed,
                        k->first));
    host(got, out, (out_count + 1) * 2);
    cast_rows(k->rows, k->columns, x, k->stride, wanted,
              rounding == SLUICE_nearest ? CAST_nearest : CAST_stochastic, seed, k->first);
    MUST_SAME(got, wanted, out_count);
    MUST_EQUAL(got[out_count], 0xffff);
    free(x);
    free(got);
    free(wanted);
}

CHECK(both_roundings_have_the_processors_bits)
{
    static const struct shape shapes[] = {
        {1, 0, 0, 0, 0, 0}, {0, 5, 8, 0, 0, 0}, {1, 1, 1, 0, 0, 0}, {1, 7, 8, 0, 0, 0},
        {1, 8, 8, 0, 0, 0}, {3, 8, 8, 0, 0, 16}, {3, 8, 8, 0, 0, 3}, {3, 8, 8, 1, 0, 0},
        {3, 8, 8, 0, 1, 0}, {5, 13, 16, 0, 0, 0}, {5, 13, 16, 3, 5, 21}, {4, 13, 13, 0, 0, 0},
        {9, 31, 33, 2, 1, 7}, {2, 1000, 1000, 0, 0, 8}, {17, 64, 72, 0, 0, 1},
        {300, 40, 40, 0, 0, 0}, {2, 3, 40, 0, 0, 0},
        {1, 24, 24, 0, 0, UINT64_C(0xfffffffffffffff8)},
        {1, 24, 24, 0, 0, UINT64_C(0xfffffffffffffffd)}, {2, 21, 24, 0, 0, UINT64_C(0x7fffffffe)},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        compare_cast(&shapes[i], SLUICE_nearest, 1);
        compare_cast(&shapes[i], SLUICE_stochastic, UINT64_C(0x123456789abcdef0) + i);
    }
}

/* Ties, the largest finite numbers, infinities, NaN: at each place of an octet. */
CHECK(hard_numbers_are_rounded_as_on_the_processor)
{
    static const uint32_t hard[] = {
        0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x00008000, 0x00018000, 0x3f808000,
        0x3f818000, 0x3f80ffff, 0x7f7f0000, 0x7f7f0001, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff,
        0xff7f7fff, 0xff7f8000, 0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7f80ffff,
        0x7fffffff, 0xffffffff, 0x7fc00000, 0x007fffff};
    enum { KINDS = sizeof hard / sizeof *hard, COUNT = KINDS * 8 };
    float x[COUNT];
    uint16_t got[COUNT], wanted[COUNT];

    for (int i = 0; i < COUNT; i++)
        x[i] = float_of(hard[i % KINDS]);
    for (uint64_t seed = 0; seed < 4; seed++) {
        enum sluice_rounding rounding = seed == 0 ? SLUICE_nearest : SLUICE_stochastic;
        uint16_t *out = (uint16_t *)device_room(sizeof got);

        MUST_OK(sluice_cast(sluice(), 1, COUNT, (float *)device(x, sizeof x), COUNT, out, rounding,
                            seed, seed * COUNT));
        host(got, out, sizeof got);
        cast_rows(1, COUNT, x, COUNT, wanted, seed == 0 ? CAST_nearest : CAST_stochastic, seed,
                  seed * COUNT);
        MUST_SAME(got, wanted, COUNT);
    }
}

/* n roundings of one number have its mean within 5 standard errors, sqrt(q (1 - q) / n) steps. */
CHECK(the_mean_of_stochastic_rounding_is_the_number)
{
    static const uint32_t numbers[] = {0x3f804000, 0xbf80c000, 0x3f800100, 0x4000ff00};
    const int N = 16384;
    float *x = (float *)check_room(N * (int64_t)sizeof(float));
    uint16_t *got = (uint16_t *)check_room(N * 2);

    for (int k = 0; k < 4; k++) {
        double share = (numbers[k] & 0xffff) / 65536.0, ups = 0;
        uint16_t *out = (uint16_t *)device_room(N * 2);

        for (int i = 0; i < N; i++)
            x[i] = float_of(numbers[k]);
        MUST_OK(sluice_cast(sluice(), 1, N, (float *)device(x, N * (int64_t)sizeof(float)), N, out,
                            SLUICE_stochastic, 42, (uint64_t)k * N));
        host(got, out, N * 2);
        for (int i = 0; i < N; i++)
            ups += got[i] != numbers[k] >> 16;
        MUST_NEAR(ups / N, share, 5 * sqrt(share * (1 - share) / N));
    }
    free(x);
    free(got);
}

CHECK(a_cast_refuses_what_it_cannot_do)
{
    float *x = (float *)device_room(64);

    MUST_FAIL(sluice_cast(sluice(), 1, 8, x, 7, x, SLUICE_nearest, 0, 0), SLUICE_argument,
              "8 columns, stride 7");
    MUST_FAIL(sluice_cast(sluice(), -1, 8, x, 8, x, SLUICE_nearest, 0, 0), SLUICE_argument,
              "-1 rows");
    MUST_FAIL(sluice_cast(sluice(), INT64_MAX, 8, x, INT64_MAX, x, SLUICE_nearest, 0, 0),
              SLUICE_argument, "9223372036854775807 rows");
    MUST_FAIL(sluice_cast(sluice(), 1, 8, NULL, 8, x, SLUICE_nearest, 0, 0), SLUICE_argument,
              "NULL");
    MUST_FAIL(sluice_cast(sluice(), 1, 4, x, 4, (char *)x + 1, SLUICE_nearest, 0, 0),
              SLUICE_argument, "begin at a number");
    MUST_FAIL(sluice_cast(sluice(), 1, 8, x, 8, x, (enum sluice_rounding)2, 0, 0),
              SLUICE_argument, "no rounding 2");
    MUST_FAIL(sluice_norm(sluice(), 1, x, NULL), SLUICE_argument, "norm is NULL");
}

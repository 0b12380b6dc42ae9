/* The head on the device: statistics, named logits and backward against their definition in double;
 * chunks, company and repetition change no bits. */
#include "tests/cuda/head_case.h"

#include "kernels/cuda/context.cuh"

static const struct sluice_options plain = {};

struct triple {
    float *logp, *lse, *entropy;    /* host */
};

static struct triple
statistics(const struct head_case *k, const struct sluice_options *o)
{
    float *logp = (float *)device_room(k->rows * 4), *lse = (float *)device_room(k->rows * 4);
    float *entropy = (float *)device_room(k->rows * 4);
    struct triple t = {(float *)check_room(k->rows * 4), (float *)check_room(k->rows * 4),
                       (float *)check_room(k->rows * 4)};

    MUST_OK(sluice_head_statistics(sluice(), &k->head, &k->in, o, logp, lse, entropy));
    host(t.logp, logp, k->rows * 4);
    host(t.lse, lse, k->rows * 4);
    host(t.entropy, entropy, k->rows * 4);
    return t;
}

static void
triple_free(struct triple *t)
{
    free(t->logp);
    free(t->lse);
    free(t->entropy);
}

/* 0 where rows have no target; log p never positive. */
static void
compare(const struct head_case *k, const struct triple *t, double more)
{
    for (int64_t row = 0; row < k->rows; row++) {
        double room = case_tolerance(k, row) + more;

        if (k->targets[row] < 0) {
            MUST(t->logp[row] == 0 && t->lse[row] == 0 && t->entropy[row] == 0);
            continue;
        }
        MUST(t->logp[row] <= 0);
        MUST_NEAR(t->logp[row], k->logp[row], room);
        MUST_NEAR(t->lse[row], k->lse[row], room);
        MUST_NEAR(t->entropy[row], k->entropy[row], room * (2 + log((double)k->vocab)));
    }
}

struct sizes {
    int64_t rows, hidden, vocab;
    int     bias, missing;
    int64_t x_pad, weight_pad;
};

static const struct sizes shapes[] = {
    {12, 16, 64, 0, 0, 0, 0},       /* everything aligned, nothing missing */
    {37, 24, 130, 0, 3, 8, 8},
    {20, 13, 71, 0, 2, 0, 1},       /* odd everything */
    {9, 16, 1030, 0, 4, 16, 0},
    {16, 8, 3, 1, 0, 0, 0},         /* a class head */
    {21, 11, 5, 1, 3, 3, 0},
    {1, 1, 1, 0, 0, 0, 0},
    {5, 16, 64, 0, 1, 0, 0},        /* no row has a target */
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static void
begin(struct head_case *k, const struct sizes *s)
{
    case_begin(k, s->rows, s->hidden, s->vocab, s->bias, s->missing, s->x_pad, s->weight_pad, 0.7);
    case_know(k);
}

CHECK(statistics_are_those_of_the_softmax)
{
    for (size_t i = 0; i < SHAPES; i++) {
        struct head_case k;
        struct triple t;

        begin(&k, &shapes[i]);
        t = statistics(&k, &plain);
        compare(&k, &t, 0);
        triple_free(&t);
        case_free(&k);
    }
}

/* Other logits are off by d <= 2^-8 max|z|, and log p so by log(1 + (1 - p_y)(e^d - 1)). */
CHECK(statistics_of_rounded_logits_keep_their_bound)
{
    struct sluice_options o = {};

    o.logits = SLUICE_logits_bfloat16;
    for (size_t i = 0; i < SHAPES; i++) {
        struct head_case k;
        struct triple t;

        begin(&k, &shapes[i]);
        t = statistics(&k, &o);
        for (int64_t row = 0; row < k.rows; row++) {
            double most = 0, bound;

            if (k.targets[row] < 0)
                continue;
            for (int64_t v = 0; v < k.vocab; v++)
                most = fmax(most, fabs(k.z[row * k.vocab + v]));
            bound = expm1(0x1p-8 * most) * -expm1(k.logp[row]) + case_tolerance(&k, row);
            MUST(t.logp[row] <= 0);
            MUST_NEAR(t.logp[row], k.logp[row], bound);
        }
        triple_free(&t);
        case_free(&k);
    }
}

/* |z| of 16 to 32 and a runner-up with p >= 0.3: x is one-hot, so W's columns are the logits. */
CHECK(hard_rows_are_right_to_a_few_roundings)
{
    enum { ROWS = 64, VOCAB = 200 };
    struct head_case k;
    struct triple t;
    uint64_t seed = 3;

    case_begin(&k, ROWS, ROWS, VOCAB, 0, 0, 0, 0, 1);
    memset(k.x, 0, (size_t)(ROWS * k.x_stride) * 2);
    for (int64_t row = 0; row < ROWS; row++) {
        double top = check_uniform(&seed, 16, 32);

        k.x[row * k.x_stride + row] = check_bf16(1);
        for (int64_t v = 0; v < VOCAB; v++)
            k.weight[v * k.weight_stride + row] = check_bf16((float)check_uniform(&seed, -32, -16));
        k.weight[7 * k.weight_stride + row] = check_bf16((float)top);
        k.weight[(row % 2 ? 8 : 190) * k.weight_stride + row] = check_bf16((float)(top - 0.2));
        k.targets[row] = row % 3 == 0 ? 7 : row % 3 == 1 ? 8 : 190;
    }
    case_upload(&k);
    case_know(&k);
    t = statistics(&k, &plain);
    for (int64_t row = 0; row < ROWS; row++) {
        MUST(t.logp[row] <= 0);
        MUST_NEAR(t.logp[row], k.logp[row], 0x1p-22 * (1 + fabs(k.logp[row])));
        MUST_NEAR(t.lse[row], k.lse[row], 0x1p-22 * 32);
    }
    triple_free(&t);
    case_free(&k);
}

/* ---- the same bits ---- */

CHECK(chunks_change_no_bits_of_statistics)
{
    static const int64_t chunks[] = {1, 2, 7, 36, 37, 100};
    struct head_case k;
    struct triple all;

    case_begin(&k, 37, 24, 130, 0, 3, 0, 0, 1);
    all = statistics(&k, &plain);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct sluice_options o = {};
        struct triple t;

        o.chunk_rows = chunks[i];
        t = statistics(&k, &o);
        MUST_SAME(t.logp, all.logp, k.rows);
        MUST_SAME(t.lse, all.lse, k.rows);
        MUST_SAME(t.entropy, all.entropy, k.rows);
        triple_free(&t);
    }
    triple_free(&all);
    case_free(&k);
}

/* Rows in other batches, at other places, with others left out; strides that are not aligned. */
CHECK(company_changes_no_bits_of_statistics)
{
    for (int pad = 0; pad < 4; pad += 3) {
        struct head_case k, part;
        struct triple all;
        uint64_t seed = 9;

        case_begin(&k, 50, 24, 41, 0, 0, pad, 0, 2);
        all = statistics(&k, &plain);
        part = k;
        part.targets = (int32_t *)check_room(k.rows * 4);
        for (int round = 0; round < 12; round++) {
            int64_t first = check_below(&seed, k.rows);
            int64_t count = 1 + check_below(&seed, k.rows - first);
            struct triple t;

            for (int64_t i = 0; i < count; i++)
                part.targets[i] = check_below(&seed, 10) < (round % 3) * 3 ? -1
                                                                           : k.targets[first + i];
            part.rows = part.in.rows = count;
            part.in.x = (const uint16_t *)k.in.x + first * k.x_stride;
            part.in.targets = (const int32_t *)device(part.targets, count * 4);
            t = statistics(&part, &plain);
            for (int64_t i = 0; i < count; i++) {
                if (part.targets[i] < 0)
                    continue;
                MUST_SAME(t.logp + i, all.logp + first + i, 1);
                MUST_SAME(t.lse + i, all.lse + first + i, 1);
                MUST_SAME(t.entropy + i, all.entropy + first + i, 1);
            }
            triple_free(&t);
        }
        free(part.targets);
        triple_free(&all);
        case_free(&k);
    }
}

/* ---- named logits ---- */

CHECK(named_logits_are_products_of_their_rows_and_columns)
{
    static const int32_t columns[] = {70, 0, 7, 7, 33}, beyond = 71;
    enum { COUNT = 9, NAMED = 5 };

    for (int bias = 0; bias < 2; bias++) {
        int64_t rows[COUNT];
        float out[COUNT * NAMED], *at;
        struct head_case k;

        case_begin(&k, 20, 13, 71, bias, 0, 1, 0, 1);
        case_know(&k);
        for (int64_t i = 0; i < COUNT; i++)
            rows[i] = i % 4 == 3 ? -1 : i * 13 % 20;
        at = (float *)device_room(sizeof out);
        MUST_OK(sluice_head_named(sluice(), &k.head, &k.in, COUNT, rows, NAMED, columns, at));
        host(out, at, sizeof out);
        for (int64_t i = 0; i < COUNT; i++)
            for (int n = 0; n < NAMED; n++)
                if (rows[i] < 0)
                    MUST(out[i * NAMED + n] == 0);
                else
                    MUST_NEAR(out[i * NAMED + n], k.z[rows[i] * k.vocab + columns[n]],
                              k.room[rows[i]]);
        MUST_OK(sluice_head_named(sluice(), &k.head, &k.in, 0, rows, NAMED, columns, at));
        MUST_OK(sluice_head_named(sluice(), &k.head, &k.in, COUNT, rows, 0, columns, at));
        rows[2] = 20;
        MUST_FAIL(sluice_head_named(sluice(), &k.head, &k.in, COUNT, rows, NAMED, columns, at),
                  SLUICE_argument, "named row 2 is 20 of 20");
        rows[2] = -1;
        MUST_FAIL(sluice_head_named(sluice(), &k.head, &k.in, COUNT, rows, 1, &beyond, at),
                  SLUICE_argument, "is 71 of 71");
        case_free(&k);
    }
}

/* ---- backward ---- */

struct coefficients {
    float *c, *e, *h;               /* host */
    struct objective_entry entries[6];
    int64_t entry_count;
};

/* Every fourth row has none. */
static void
coefficients_begin(const struct head_case *k, struct coefficients *g)
{
    uint64_t seed = 21;

    g->c = (float *)check_room(k->rows * 4);
    g->e = (float *)check_room(k->rows * 4);
    g->h = (float *)check_room(k->rows * 4);
    g->entry_count = 0;
    for (int64_t i = 0; i < k->rows; i++)
        if (i % 4 != 1 || k->rows < 4) {
            g->c[i] = (float)check_normal(&seed);
            g->e[i] = (float)check_normal(&seed);
            g->h[i] = (float)check_normal(&seed);
        }
    if (k->rows > 8 && k->vocab > 8) {      /* row 5 has nothing else to say */
        g->entries[g->entry_count++] = (struct objective_entry){1, 3, 0.5f};
        g->entries[g->entry_count++] = (struct objective_entry){1, 8, -0.25f};
        g->entries[g->entry_count++] = (struct objective_entry){5, 0, 0.75f};
    }
}

static void
coefficients_free(struct coefficients *g)
{
    free(g->c);
    free(g->e);
    free(g->h);
}

static void
backward(const struct head_case *k, const struct coefficients *g, const struct sluice_options *o,
         const struct triple *t, struct case_out *out)
{
    struct sluice_gradient d = {};

    d.c = (const float *)device(g->c, k->rows * 4);
    d.e = (const float *)device(g->e, k->rows * 4);
    d.h = (const float *)device(g->h, k->rows * 4);
    d.entries = g->entry_count > 0 ? g->entries : NULL;
    d.entry_count = g->entry_count;
    MUST_OK(sluice_head_backward(sluice(), &k->head, &k->in, o,
                                 (const float *)device(t->lse, k->rows * 4),
                                 (const float *)device(t->entropy, k->rows * 4), &d, &out->slopes));
    case_fetch(k, out);
}

/* Rounded logits make p off by 2^-8 max|z|. */
static double
largest_logit(const struct head_case *k)
{
    double most = 0;

    for (int64_t i = 0; i < k->rows * k->vocab; i++)
        most = fmax(most, fabs(k->z[i]));
    return most;
}

CHECK(backward_is_the_definition)
{
    for (size_t i = 0; i < SHAPES; i++)
        for (int way = 0; way < 3; way++) {
            struct sluice_options o = {};
            struct coefficients g;
            struct case_slopes s;
            struct case_out out;
            struct head_case k;
            struct triple t;

            o.chunk_rows = way == 1 ? 5 : 0;
            o.logits = way == 2 ? SLUICE_logits_bfloat16 : SLUICE_logits_automatic;
            begin(&k, &shapes[i]);
            coefficients_begin(&k, &g);
            t = statistics(&k, &o);
            case_out_begin(&k, &out, way == 1 ? SLUICE_bfloat16 : SLUICE_float32, way, way);
            backward(&k, &g, &o, &t, &out);
            case_back(&k, g.c, g.e, g.h, g.entries, g.entry_count, &s);
            case_compare(&k, &out, &s, way == 2 ? 4 * 0x1p-8 * largest_logit(&k)
                                                : 0x1p-16);
            case_slopes_free(&s);
            case_out_free(&out);
            coefficients_free(&g);
            triple_free(&t);
            case_free(&k);
        }
}

/* Our own product: statistics from its sums, slopes from what it stored. */
CHECK(fused_statistics_and_backward)
{
    struct sluice_options o = {};
    struct coefficients g;
    struct case_slopes s;
    struct case_out out;
    struct head_case k;
    struct triple t;

    if (device_compute() / 10 != 9)
        check_skip("compute capability %d", device_compute());
    sluice()->fused_state = 1;      /* test_fused's matter */
    o.logits = SLUICE_logits_fused;
    o.chunk_rows = 6;
    case_begin(&k, 11, 64, 150, 0, 4, 8, 0, 0.3);
    case_know(&k);
    coefficients_begin(&k, &g);
    t = statistics(&k, &o);
    compare(&k, &t, 0);
    case_out_begin(&k, &out, SLUICE_float32, 0, 0);
    backward(&k, &g, &o, &t, &out);
    case_back(&k, g.c, g.e, g.h, g.entries, g.entry_count, &s);
    case_compare(&k, &out, &s, 4 * 0x1p-8 * 2 * largest_logit(&k));
    case_slopes_free(&s);
    case_out_free(&out);
    coefficients_free(&g);
    triple_free(&t);
    case_free(&k);
}

/* The definition that backward is compared with is itself the slope. */
CHECK_HOST(the_definition_is_the_slope_of_the_definition)
{
    enum { VOCAB = 7 };
    const double c = 0.7, e = -0.4, h = 1.3, step = 1e-5;
    double z[VOCAB], up[3], down[3], logp, lse, entropy;
    uint64_t seed = 2;

    for (int v = 0; v < VOCAB; v++)
        z[v] = check_normal(&seed) * 2;
    case_softmax(z, VOCAB, 3, &logp, &lse, &entropy);
    for (int v = 0; v < VOCAB; v++) {
        double lp = z[v] - lse, p = exp(lp), old = z[v];
        double slope = c * ((v == 3) - p) + e * p - h * p * (lp + entropy);

        z[v] = old + step;
        case_softmax(z, VOCAB, 3, &up[0], &up[1], &up[2]);
        z[v] = old - step;
        case_softmax(z, VOCAB, 3, &down[0], &down[1], &down[2]);
        z[v] = old;
        MUST_NEAR((c * (up[0] - down[0]) + e * (up[1] - down[1]) + h * (up[2] - down[2]))
                  / (2 * step), slope, 1e-8);
    }
}

CHECK(backward_again_gives_the_same_bits)
{
    struct case_out one, two;
    struct coefficients g;
    struct head_case k;
    struct triple t;

    begin(&k, &shapes[1]);
    coefficients_begin(&k, &g);
    t = statistics(&k, &plain);
    case_out_begin(&k, &one, SLUICE_float32, 0, 0);
    case_out_begin(&k, &two, SLUICE_float32, 0, 0);
    backward(&k, &g, &plain, &t, &one);
    backward(&k, &g, &plain, &t, &two);
    MUST_SAME((float *)one.dx, (float *)two.dx, k.rows * k.hidden);
    MUST_SAME(one.dweight, two.dweight, k.vocab * k.hidden);
    MUST_SAME(one.dbias, two.dbias, k.vocab);
    case_out_free(&one);
    case_out_free(&two);
    coefficients_free(&g);
    triple_free(&t);
    case_free(&k);
}

/* Any of dx, dweight, dbias may be left out; e and h too. */
CHECK(what_is_not_wanted_is_not_touched)
{
    struct coefficients g;
    struct head_case k;
    struct triple t;

    begin(&k, &shapes[5]);
    coefficients_begin(&k, &g);
    memset(g.e, 0, (size_t)k.rows * 4);
    memset(g.h, 0, (size_t)k.rows * 4);
    t = statistics(&k, &plain);
    for (int set = 0; set < 8; set++) {
        struct sluice_gradient d = {};
        struct case_slopes s;
        struct case_out out;

        case_out_begin(&k, &out, SLUICE_float32, 0, 0);
        out.slopes.dx = set & 1 ? out.slopes.dx : NULL;
        out.slopes.dweight = set & 2 ? out.slopes.dweight : NULL;
        out.slopes.dbias = set & 4 ? out.slopes.dbias : NULL;
        d.c = (const float *)device(g.c, k.rows * 4);
        MUST_OK(sluice_head_backward(sluice(), &k.head, &k.in, &plain,
                                     (const float *)device(t.lse, k.rows * 4), NULL, &d,
                                     &out.slopes));
        case_fetch(&k, &out);
        case_back(&k, g.c, NULL, NULL, NULL, 0, &s);
        case_compare(&k, &out, &s, 0x1p-16);
        case_slopes_free(&s);
        case_out_free(&out);
    }
    coefficients_free(&g);
    triple_free(&t);
    case_free(&k);
}

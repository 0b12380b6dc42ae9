/* The head on the device: statistics, named logits and backward against their definition in double;
 * chunks, company and repetition change no bits; what is refused. */
#include "tests/cuda/head_case.h"

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

/* Other logits are off by d, at most 2^-8 max|z|, so log p is off by log(1 + (1 - p_y)(e^d - 1)). */
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

/* Rows in other batches, at other places, with other rows left out; strides that are not aligned. */
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
            int64_t first = check_below(&seed, k.rows), count = 1 + check_below(&seed, k.rows - first);
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

/* ---- refused ---- */

CHECK(an_empty_batch_is_no_error)
{
    struct sluice_gradient d = {};
    struct sluice_slopes none = {};
    struct head_case k;

    case_begin(&k, 4, 16, 64, 0, 0, 0, 0, 1);
    k.in.rows = 0;
    k.in.x = NULL;
    k.in.targets = NULL;
    MUST_OK(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, NULL, NULL, NULL));
    MUST_OK(sluice_head_backward(sluice(), &k.head, &k.in, &plain, NULL, NULL, &d, &none));
    case_free(&k);
}

CHECK(a_target_out_of_range_is_refused_by_its_row)
{
    struct head_case k;
    float *out;

    case_begin(&k, 30, 16, 64, 0, 3, 0, 0, 1);
    k.targets[12] = 64;
    k.targets[25] = 2147483647;
    case_upload(&k);
    out = (float *)device_room(k.rows * 4);
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, out, out, NULL),
              SLUICE_argument, "12");
    MUST_EQUAL(sluice_cuda_error_row(), 12);
    k.targets[12] = k.targets[25] = 63;
    case_upload(&k);
    MUST_OK(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, out, out, NULL));
    MUST_EQUAL(sluice_cuda_error_row(), -1);
    case_free(&k);
}

CHECK(what_is_not_finite_is_told_by_its_row)
{
    float *logp, *lse;
    struct head_case k;
    struct case_out out;
    struct sluice_gradient d = {};
    float *c;

    case_begin(&k, 30, 16, 64, 0, 4, 0, 0, 1);
    logp = (float *)device_room(k.rows * 4);
    lse = (float *)device_room(k.rows * 4);
    k.x[17 * k.x_stride + 2] = 0x7fc0;      /* NaN */
    k.x[20 * k.x_stride + 2] = 0x7f80;      /* infinity */
    case_upload(&k);
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, logp, lse, NULL),
              SLUICE_nonfinite, "logit");
    MUST_EQUAL(sluice_cuda_error_row(), 17);
    k.x[17 * k.x_stride + 2] = 0;
    case_upload(&k);
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, logp, lse, NULL),
              SLUICE_nonfinite, "row 20");
    k.x[20 * k.x_stride + 2] = 0;
    k.weight[40 * k.weight_stride] = 0x7fc0;        /* in W: the first row there is */
    k.targets[0] = -1;
    case_upload(&k);
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, logp, lse, NULL),
              SLUICE_nonfinite, "row 1:");
    k.weight[40 * k.weight_stride] = 0;
    case_upload(&k);
    MUST_OK(sluice_head_statistics(sluice(), &k.head, &k.in, &plain, logp, lse, NULL));
    c = (float *)check_room(k.rows * 4);
    c[9] = NAN;
    d.c = (const float *)device(c, k.rows * 4);
    case_out_begin(&k, &out, SLUICE_float32, 0, 0);
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &plain, lse, NULL, &d, &out.slopes),
              SLUICE_nonfinite, "coefficient");
    MUST_EQUAL(sluice_cuda_error_row(), 9);
    free(c);
    case_out_free(&out);
    case_free(&k);
}

CHECK(arguments_that_make_no_sense_are_refused)
{
    struct sluice_options o = {};
    struct sluice_gradient d = {};
    struct objective_entry entries[2] = {{3, 1, 1.0f}, {2, 1, 1.0f}};
    struct case_out out;
    struct head_case k, bad;
    float *room, *c;

    case_begin(&k, 6, 16, 64, 0, 0, 0, 0, 1);
    case_out_begin(&k, &out, SLUICE_float32, 0, 0);
    room = (float *)device_room(k.rows * 4);
    c = (float *)device_room(k.rows * 4);
    MUST_OK(sluice_cuda_zero(sluice(), c, k.rows * 4));
#define REFUSED(CHANGE, WORDS)                                                                     \
    bad = k;                                                                                       \
    CHANGE;                                                                                        \
    MUST_FAIL(sluice_head_statistics(sluice(), &bad.head, &bad.in, &o, room, room, NULL),          \
              SLUICE_argument, WORDS)
    REFUSED(bad.in.rows = -1, "rows is -1");
    REFUSED(bad.in.rows = INT64_MAX, "rows is");
    REFUSED(bad.head.hidden = 0, "hidden is 0");
    REFUSED(bad.head.vocab = 0, "vocab 0");
    REFUSED(bad.head.vocab = INT64_C(1) << 40, "vocab");
    REFUSED(bad.in.x_stride = 15, "x_stride 15");
    REFUSED(bad.head.weight_stride = 1, "weight_stride is 1");
    REFUSED(bad.head.weight = NULL, "NULL");
    REFUSED(bad.in.targets = NULL, "NULL");
    o.chunk_rows = -1;
    REFUSED((void)0, "chunk_rows is -1");
    o.chunk_rows = 0;
    o.logits = (enum sluice_logits)9;
    REFUSED((void)0, "logits 9");
#undef REFUSED
    o.logits = SLUICE_logits_automatic;
    d.c = c;
    d.entries = entries;
    d.entry_count = 2;
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &o, room, NULL, &d, &out.slopes),
              SLUICE_argument, "sorted");
    entries[1].row = 6;
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &o, room, NULL, &d, &out.slopes),
              SLUICE_argument, "row 6 of 6");
    d.entry_count = 0;
    d.h = c;
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &o, room, NULL, &d, &out.slopes),
              SLUICE_argument, "entropy");
    d.h = NULL;
    out.slopes.dx_stride = 15;
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &o, room, NULL, &d, &out.slopes),
              SLUICE_argument, "dx_stride");
    case_out_free(&out);
    case_free(&k);
}

/* ---- memory ---- */

CHECK(a_plan_says_what_a_call_takes)
{
    struct sluice_options o = {};
    struct sluice_plan p;

    MUST_OK(sluice_head_plan(sluice(), 32768, 1536, 151936, "grpo", 0, &o, &p));
    MUST_EQUAL(p.logits, SLUICE_logits_float32);
    MUST_EQUAL(p.chunk_rows, 2048);
    MUST_EQUAL(p.chunks, 16);
    MUST_EQUAL(p.passes, 1);
    MUST_EQUAL(p.logits_bytes, INT64_C(2048) * 151936 * 4);
    MUST_EQUAL(p.kept_bytes, 0);
    MUST_EQUAL(p.total_bytes, p.logits_bytes + p.other_bytes);
    MUST(p.total_bytes < INT64_C(1400000000));
    MUST_OK(sluice_head_plan(sluice(), 32768, 3584, 151936, "sft", 0, &o, &p));
    MUST_EQUAL(p.logits, SLUICE_logits_bfloat16);
    MUST_EQUAL(p.chunk_rows, 4096);
    MUST(p.total_bytes < INT64_C(1400000000));
    MUST_OK(sluice_head_plan(sluice(), 32768, 1536, 151936, "bcpg_nsa", 2048, &o, &p));
    MUST_EQUAL(p.passes, 1);
    MUST_OK(sluice_head_plan(sluice(), 32768, 1536, 151936, "bcpg_nsa", 0, &o, &p));
    MUST_EQUAL(p.passes, 2);
    MUST_EQUAL(p.kept_bytes, 0);
    o.keep = 1;
    MUST_OK(sluice_head_plan(sluice(), 32768, 1536, 151936, "bcpg_nsa", 0, &o, &p));
    MUST_EQUAL(p.passes, 1);
    MUST_EQUAL(p.kept_bytes, INT64_C(32768) * 151936 * 2);
    o.keep = 0;
    o.memory = 1;                   /* 128 rows at least, or all */
    MUST_OK(sluice_head_plan(sluice(), 32768, 1536, 151936, NULL, 0, &o, &p));
    MUST_EQUAL(p.chunk_rows, 128);
    MUST_EQUAL(p.logits, SLUICE_logits_float32);
    MUST_OK(sluice_head_plan(sluice(), 5, 1536, 151936, NULL, 0, &o, &p));
    MUST_EQUAL(p.chunk_rows, 5);
    MUST_EQUAL(p.chunks, 1);
    MUST_OK(sluice_head_plan(sluice(), 0, 1, 1, NULL, 0, NULL, &p));
    MUST_EQUAL(p.chunks, 0);
    MUST_FAIL(sluice_head_plan(sluice(), 5, 1536, 151936, "no_such", 0, &o, &p), SLUICE_argument,
              "no_such");
}

/* More than any device has: the words say what was planned, what is free, what to change. */
CHECK(a_plan_that_does_not_fit_says_what_to_change)
{
    struct sluice_options o = {};
    struct sluice_plan p;

    o.chunk_rows = 1 << 20;
    MUST_OK(sluice_head_plan(sluice(), 1 << 22, 64, 151936, NULL, 0, &o, &p));
    MUST_FAIL(sluice_head_reserve(sluice(), &p), SLUICE_memory,
              "(logits 637.27 GB in chunks of 1048576 rows");
    MUST_TEXT(sluice_cuda_error(), "GB are free: lower `memory` or `chunk_rows`");
    o.chunk_rows = 0;
    o.keep = 1;
    MUST_OK(sluice_head_plan(sluice(), 1 << 22, 64, 151936, "kto", 0, &o, &p));
    MUST_FAIL(sluice_head_reserve(sluice(), &p), SLUICE_memory, "leave out `keep`");
    p.chunk_rows = 0;
    MUST_FAIL(sluice_head_reserve(sluice(), &p), SLUICE_argument, "none of sluice_head_plan");
}

/* What was reserved is enough; a device that has no more fails before anything runs, and goes on. */
CHECK(calls_take_no_more_than_was_reserved)
{
    struct sluice_options o = {};
    size_t before = 0, after = 0, all;
    struct sluice_plan p;
    struct head_case k;
    struct triple t;

    sluice_close();
    case_begin(&k, 300, 64, 1000, 0, 3, 0, 0, 1);
    o.chunk_rows = 100;
    t = statistics(&k, &o);         /* the library's own, small ones */
    triple_free(&t);
    o.chunk_rows = 200;
    MUST_OK(sluice_head_plan(sluice(), k.rows, k.hidden, k.vocab, NULL, 0, &o, &p));
    MUST_OK(sluice_head_reserve(sluice(), &p));
    device_room(2 << 20);           /* what the statistics' own arrays may take from */
    case_forget();
    case_upload(&k);
    MUST_CUDA(cudaMemGetInfo(&before, &all));
    MUST_OK(sluice_head_statistics(sluice(), &k.head, &k.in, &o, (float *)device_room(1200),
                                   (float *)device_room(1200), NULL));
    MUST_CUDA(cudaMemGetInfo(&after, &all));
    MUST(before - after < 1 << 12 || before - after == 2 << 20);
    case_free(&k);
    sluice_close();
}

#ifdef SLUICE_SIMT
CHECK(a_device_that_is_full_fails_and_goes_on)
{
    struct sluice_options o = {};
    struct head_case k;
    struct triple t;

    sluice_close();
    case_begin(&k, 300, 8, 4000, 0, 0, 0, 0, 1);
    memset(k.targets + 8, 0xff, (size_t)(k.rows - 8) * 4);     /* planned for, not computed */
    case_upload(&k);
    setenv("SLUICE_SIMT_MEMORY", "36000000", 1);
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, &k.in, &o, (float *)device_room(1200),
                                     (float *)device_room(1200), NULL), SLUICE_memory,
              "in chunks of 300 rows");
    o.chunk_rows = 10;
    t = statistics(&k, &o);
    triple_free(&t);
    unsetenv("SLUICE_SIMT_MEMORY");
    o.chunk_rows = 0;
    t = statistics(&k, &o);
    triple_free(&t);
    case_free(&k);
    sluice_close();
}
#endif

/* What the head refuses, and how it says so: targets, numbers not finite, arguments, memory. */
#include "tests/cuda/head_case.h"

static const struct sluice_options plain = {};

/* Statistics that nobody looks at. */
static int
statistics(const struct head_case *k, const struct sluice_options *o)
{
    return sluice_head_statistics(sluice(), &k->head, &k->in, o, (float *)device_room(k->rows * 4),
                                  (float *)device_room(k->rows * 4), NULL);
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

/* One byte on: a device would fault at the first of its numbers, and be lost. */
static float *
askew(const void *at)
{
    return (float *)((uintptr_t)at + 1);
}

CHECK(arrays_that_cannot_be_are_refused)
{
    struct sluice_options o = {};
    struct sluice_gradient d = {};
    struct head_case k, bad;
    struct case_out out;
    float *room;

    case_begin(&k, 6, 16, 64, 0, 0, 0, 0, 1);
    case_out_begin(&k, &out, SLUICE_float32, 0, 0);
    room = (float *)device_room(k.rows * 4);
    d.c = room;
#define REFUSED(CHANGE, WORDS)                                                                     \
    do {                                                                                           \
        struct sluice_gradient g = d;                                                              \
        struct sluice_slopes s = out.slopes;                                                       \
        bad = k;                                                                                   \
        CHANGE;                                                                                    \
        MUST_FAIL(sluice_head_backward(sluice(), &bad.head, &bad.in, &o, room, NULL, &g, &s),      \
                  SLUICE_argument, WORDS);                                                         \
    } while (0)
    REFUSED(bad.head.weight = askew(k.head.weight), "weight does not begin");
    REFUSED(bad.in.x = askew(k.in.x), "x does not begin");
    REFUSED(bad.in.targets = (const int32_t *)askew(k.in.targets), "targets does not begin");
    REFUSED(bad.head.bias = askew(room), "bias does not begin");
    REFUSED(s.dx = askew(s.dx), "dx does not begin");
    REFUSED(s.dweight = askew(s.dweight), "dweight does not begin");
    REFUSED(s.dbias = askew(s.dbias), "dbias does not begin");
    REFUSED(g.c = askew(g.c), "c does not begin");
    REFUSED(g.e = askew(g.c), "e does not begin");
    REFUSED(bad.in.x_stride = INT64_MAX, "x: 6 rows");
    REFUSED(bad.head.weight_stride = INT64_MAX / 2, "weight: 64 rows");
    REFUSED(s.dx_stride = INT64_MAX, "dx: 6 rows");
    REFUSED(s.dweight_stride = INT64_MAX, "dweight: 64 rows");
#undef REFUSED
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, &k.in, &o, askew(room), room, NULL),
              SLUICE_argument, "logp does not begin");
    case_out_free(&out);
    case_free(&k);
}

CHECK(what_is_not_given_is_refused)
{
    struct objective_settings settings = {};
    struct objective_sample sample = {};
    struct objective_batch batch = {};
    struct objective_step step = {1, 6, 1};
    struct sluice_objective call = {"ranknet", &settings, &step, NULL};
    struct sluice_options o = {};
    const int32_t column = 1;
    const int64_t row = 1;
    struct head_case k;
    float *room;

    case_begin(&k, 6, 16, 64, 0, 0, 0, 0, 1);
    room = (float *)device_room(k.rows * 4);
#define LOSS(HEAD, ROWS, CALL) sluice_head_loss(sluice(), HEAD, ROWS, &o, CALL, NULL, NULL)
    MUST_FAIL(LOSS(&k.head, &k.in, &call), SLUICE_argument, "NULL");
    call.batch = &batch;
    MUST_FAIL(LOSS(NULL, &k.in, &call), SLUICE_argument, "NULL");
    MUST_FAIL(LOSS(&k.head, NULL, &call), SLUICE_argument, "NULL");
    MUST_FAIL(LOSS(&k.head, &k.in, NULL), SLUICE_argument, "NULL");
    batch.rows = k.rows;
    batch.samples = 1;
    batch.sample = &sample;
    batch.named = 1;
    sample.count = k.rows;
    sample.group_size = 1;
    MUST_FAIL(LOSS(&k.head, &k.in, &call), SLUICE_argument, "columns of its named logits");
    batch.named_columns = &column;
    batch.samples = (INT64_C(1) << 61) + 1;
    MUST_FAIL(LOSS(&k.head, &k.in, &call), SLUICE_argument, "2305843009213693953 samples");
#undef LOSS
    MUST_FAIL(sluice_head_statistics(NULL, &k.head, &k.in, &o, room, room, NULL), SLUICE_argument,
              "the context is NULL");
    MUST_FAIL(sluice_head_statistics(sluice(), &k.head, NULL, &o, room, room, NULL),
              SLUICE_argument, "NULL");
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &o, room, NULL, NULL, NULL),
              SLUICE_argument, "NULL");
    MUST_FAIL(sluice_head_named(sluice(), &k.head, &k.in, 1, NULL, 1, &column, room),
              SLUICE_argument, "NULL");
    MUST_FAIL(sluice_head_named(sluice(), &k.head, &k.in, 1, &row, 1, NULL, room),
              SLUICE_argument, "NULL");
    MUST_FAIL(sluice_head_named(sluice(), &k.head, &k.in, 1, &row, 1, &column, NULL),
              SLUICE_argument, "NULL");
    case_free(&k);
}

/* Every number of rows of a chunk is one. */
CHECK(a_chunk_may_be_as_large_as_it_likes)
{
    struct sluice_options o = {};
    struct sluice_plan p;
    struct head_case k;

    case_begin(&k, 6, 16, 64, 0, 0, 0, 0, 1);
    o.chunk_rows = INT64_MAX;
    MUST_OK(statistics(&k, &o));
    MUST_OK(sluice_head_plan(sluice(), 6, 16, 64, NULL, 0, &o, &p));
    MUST_EQUAL(p.chunk_rows, 6);
    p.chunk_rows = INT64_MAX;
    p.logits = SLUICE_logits_fused;
    MUST_FAIL(sluice_head_reserve(sluice(), &p), SLUICE_argument, "none of sluice_head_plan");
    case_free(&k);
}

/* c is a number and lse none: the slopes would be none. */
CHECK(a_gradient_without_statistics_is_told_by_its_row)
{
    struct sluice_options o = {};
    struct sluice_gradient d = {};
    struct case_out out;
    struct head_case k;
    float lse[6], c[6];

    case_begin(&k, 6, 16, 64, 0, 0, 0, 0, 1);
    case_out_begin(&k, &out, SLUICE_float32, 0, 0);
    for (int i = 0; i < 6; i++)
        c[i] = lse[i] = i == 3 ? NAN : 1;
    c[3] = 1;
    d.c = (const float *)device(c, sizeof c);
    MUST_FAIL(sluice_head_backward(sluice(), &k.head, &k.in, &o,
                                   (const float *)device(lse, sizeof lse), NULL, &d, &out.slopes),
              SLUICE_nonfinite, "row 3: a gradient");
    MUST_EQUAL(sluice_cuda_error_row(), 3);
    case_out_free(&out);
    case_free(&k);
}

/* ---- memory ---- */

/* 1.4 GB beside x, W, dX and dW are promised, whatever the form. */
CHECK(plans_of_a_large_vocabulary_keep_to_1_4_GB)
{
    static const int64_t hidden[] = {1536, 3584};
    static const enum sluice_logits forms[] = {SLUICE_logits_float32, SLUICE_logits_bfloat16,
                                               SLUICE_logits_fused};
    int count = device_compute() == 90 ? 3 : 2;

    for (int i = 0; i < count; i++)
        for (int k = 0; k < 2; k++) {
            struct sluice_options o = {.logits = forms[i]};
            struct sluice_plan p;

            MUST_OK(sluice_head_plan(sluice(), 32768, hidden[k], 151936, "grpo", 0, &o, &p));
            MUST_EQUAL(p.passes, 1);
            MUST(p.chunk_rows >= 2048);
            MUST(p.total_bytes + 130 * 32768 < INT64_C(1400000000));
        }
}

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

/* What was reserved is enough. */
CHECK(calls_take_no_more_than_was_reserved)
{
    struct sluice_options o = {};
    size_t before = 0, after = 0, all;
    struct sluice_plan p;
    struct head_case k;

    sluice_close();
    case_begin(&k, 300, 64, 1000, 0, 3, 0, 0, 1);
    o.chunk_rows = 100;
    MUST_OK(statistics(&k, &o));    /* the library's own, small ones */
    o.chunk_rows = 200;
    MUST_OK(sluice_head_plan(sluice(), k.rows, k.hidden, k.vocab, NULL, 0, &o, &p));
    MUST_OK(sluice_head_reserve(sluice(), &p));
    MUST_CUDA(cudaMemGetInfo(&before, &all));
    MUST_OK(statistics(&k, &o));
    MUST_CUDA(cudaMemGetInfo(&after, &all));
    MUST(before - after < 1 << 12 || before - after == 2 << 20);
    case_free(&k);
    sluice_close();
}

#ifdef SLUICE_SIMT
/* Fused logits are compared with others first. Where that fails it is as if anything else did, and
 * says nothing of them: with room they are had. */
CHECK(fused_logits_wait_for_a_device_that_can)
{
    struct sluice_options o = {SLUICE_logits_fused, 0, 0, 0};
    struct head_case k;

    if (device_compute() != 90)
        check_skip("fused logits need compute capability 9.0");
    sluice_close();
    case_begin(&k, 6, 64, 64, 0, 0, 0, 0, 1);
    setenv("SLUICE_SIMT_MEMORY", "100000", 1);
    MUST_FAIL(statistics(&k, &o), SLUICE_memory, "memory");
    setenv("SLUICE_SIMT_LOSE", "2", 1);
    unsetenv("SLUICE_SIMT_MEMORY");
    MUST_FAIL(statistics(&k, &o), SLUICE_lost, "the device failed");
    unsetenv("SLUICE_SIMT_LOSE");
    MUST_OK(statistics(&k, &o));
    case_free(&k);
    sluice_close();
}

CHECK(a_device_that_is_full_fails_and_goes_on)
{
    struct sluice_options o = {};
    struct head_case k;

    sluice_close();
    case_begin(&k, 300, 8, 4000, 0, 0, 0, 0, 1);
    memset(k.targets + 8, 0xff, (size_t)(k.rows - 8) * 4);     /* planned for, not computed */
    case_upload(&k);
    setenv("SLUICE_SIMT_MEMORY", "36000000", 1);
    MUST_FAIL(statistics(&k, &o), SLUICE_memory, "in chunks of 300 rows");
    o.chunk_rows = 10;
    MUST_OK(statistics(&k, &o));
    unsetenv("SLUICE_SIMT_MEMORY");
    o.chunk_rows = 0;
    MUST_OK(statistics(&k, &o));
    case_free(&k);
    sluice_close();
}
#endif

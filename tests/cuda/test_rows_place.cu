/* Which rows have a part, rows of x there and back, logits of targets, sums for the bias: next to
 * plain loops. */
#include "check.h"

#include "kernels/cuda/rows.cuh"

static uint16_t *
narrow_random(int64_t count, uint64_t *seed)
{
    uint16_t *out = (uint16_t *)check_room(count * 2);

    for (int64_t i = 0; i < count; i++)
        out[i] = check_bf16((float)check_normal(seed));
    return out;
}

/* Places that rise, of `rows`, about two of three. */
static int64_t
draw_places(int64_t rows, int64_t *place, uint64_t *seed)
{
    int64_t count = 0;

    for (int64_t row = 0; row < rows; row++)
        if (check_below(seed, 3) > 0)
            place[count++] = row;
    return count;
}

/* ---- which rows ---- */

CHECK(places_are_the_rows_with_a_part_in_order)
{
    static const int64_t sizes[] = {0, 1, 31, 32, 33, 1023, 1024, 1025, 5000, 40000};
    uint64_t seed = 1;

    for (int k = 0; k < 40; k++) {
        int64_t rows = sizes[k % 10], count = -1, expected = 0;
        int32_t *targets = (int32_t *)check_room(rows * 4);
        uint8_t *wanted = (uint8_t *)check_room(rows), *there;
        int64_t *place = (int64_t *)check_room(rows * 8), *at;

        for (int64_t i = 0; i < rows; i++) {
            targets[i] = k / 10 == 3 ? -1 : (int32_t)(check_below(&seed, 14) - 4);
            wanted[i] = (uint8_t)(check_below(&seed, 2) * 7);
        }
        there = k / 10 % 2 ? NULL : (uint8_t *)device(wanted, rows);
        at = (int64_t *)device_room(rows * 8);
        MUST_OK(rows_place(sluice(), rows, 10, (const int32_t *)device(targets, rows * 4), there,
                           at, &count));
        host(place, at, rows * 8);
        for (int64_t i = 0; i < rows; i++)
            if (targets[i] >= 0 && (there == NULL || wanted[i])) {
                MUST(expected < count);
                MUST_EQUAL(place[expected++], i);
            }
        MUST_EQUAL(count, expected);
        free(targets);
        free(wanted);
        free(place);
    }
}

CHECK(a_target_out_of_range_is_named)
{
    int32_t targets[3000];
    int64_t *at = (int64_t *)device_room(3000 * 8), count;

    for (int i = 0; i < 3000; i++)
        targets[i] = i % 100;
    targets[17] = 151936;
    targets[2999] = 200000;
    MUST_FAIL(rows_place(sluice(), 3000, 151936, (const int32_t *)device(targets, sizeof targets),
                         NULL, at, &count),
              SLUICE_argument, "target 151936 of row 17 is not below the vocabulary of 151936");
    MUST_EQUAL(sluice_cuda_error_row(), 17);
    targets[17] = 151935;
    MUST_FAIL(rows_place(sluice(), 3000, 151936, (const int32_t *)device(targets, sizeof targets),
                         NULL, at, &count), SLUICE_argument, "target 200000 of row 2999 ");
}

CHECK(rows_with_a_coefficient_or_an_entry_are_wanted)
{
    float c[6] = {0, 1, 0, 0, -0.0f, NAN}, e[6] = {0, 0, -1, 0, 0, 0}, h[6] = {0, 0, 0, 0, 0, 0};
    int64_t first[7] = {0, 0, 0, 0, 2, 2, 2};
    struct objective_entry entries[2] = {{3, 1, 1}, {3, 2, 1}};
    struct row_arrays a = {};
    uint8_t *at = (uint8_t *)device_room(6), wanted[6];
    static const uint8_t all[6] = {0, 1, 1, 1, 0, 1}, few[6] = {0, 1, 0, 0, 0, 1};

    a.c = (float *)device(c, sizeof c);
    MUST_OK(rows_wanted(sluice(), 6, &a, at));
    host(wanted, at, 6);
    MUST_SAME(wanted, few, 6);
    a.e = (float *)device(e, sizeof e);
    a.h = (float *)device(h, sizeof h);
    a.entries = (const struct objective_entry *)device(entries, sizeof entries);
    a.entry_first = (const int64_t *)device(first, sizeof first);
    MUST_OK(rows_wanted(sluice(), 6, &a, at));
    host(wanted, at, 6);
    MUST_SAME(wanted, all, 6);
    MUST_OK(rows_wanted(sluice(), 0, &a, at));
}

/* ---- rows of x ---- */

/* Widths and strides that 16-byte loads suit, and others. */
static const struct { int64_t rows, width, x_stride, out_stride; } moves[] = {
    {1, 1, 1, 1}, {5, 8, 8, 8}, {40, 37, 40, 48}, {40, 37, 41, 40}, {33, 256, 256, 264},
    {20, 1030, 1032, 1032}, {20, 1030, 1033, 1030},
};
#define MOVES ((int)(sizeof moves / sizeof *moves))

CHECK(gathered_rows_are_the_rows_of_their_places)
{
    uint64_t seed = 3;

    for (int k = 0; k < MOVES; k++) {
        int64_t rows = moves[k].rows, width = moves[k].width, count;
        int64_t in = moves[k].x_stride, to = moves[k].out_stride;
        int64_t *place = (int64_t *)check_room(rows * 8);
        uint16_t *x = narrow_random(rows * in, &seed), *out = (uint16_t *)check_room(rows * to * 2);
        void *at = device_room(rows * to * 2);

        count = draw_places(rows, place, &seed);
        MUST_OK(rows_gather(sluice(), count, (const int64_t *)device(place, rows * 8), width,
                            device(x, rows * in * 2), in, at, to));
        host(out, at, rows * to * 2);
        for (int64_t i = 0; i < count; i++)
            MUST_SAME(out + i * to, x + place[i] * in, width);
        free(place);
        free(x);
        free(out);
    }
}

static void
scatter(int k, enum sluice_type type, int all, uint64_t *seed)
{
    int64_t rows = moves[k].rows, width = moves[k].width, size = type == SLUICE_float32 ? 4 : 2;
    int64_t in = moves[k].x_stride, to = moves[k].out_stride, at = 0;
    int64_t *place = (int64_t *)check_room(rows * 8);
    float *from = (float *)check_room(rows * in * 4);
    unsigned char *out = (unsigned char *)check_room(rows * to * size);
    void *there = device_room(rows * to * size);
    int64_t count = draw_places(rows, place, seed);

    for (int64_t i = 0; i < rows * in; i++)
        from[i] = (float)check_normal(seed);
    MUST_OK(rows_scatter(sluice(), count, (const int64_t *)device(place, rows * 8), width,
                         (const float *)device(from, rows * in * 4), in, all ? rows : 0, there, to,
                         type));
    host(out, there, rows * to * size);
    for (int64_t row = 0; row < rows; row++) {
        int mine = at < count && place[at] == row;

        for (int64_t j = 0; j < width; j++) {
            float want = mine ? from[at * in + j] : 0.0f;
            uint32_t is, bits;

            memcpy(&bits, &want, 4);
            bits = size == 4 ? bits : check_bf16(want);
            bits = mine || all ? bits : size == 4 ? 0xffffffffu : 0xffffu;  /* as it was */
            is = size == 4 ? ((uint32_t *)out)[row * to + j] : ((uint16_t *)out)[row * to + j];
            MUST_EQUAL(is, bits);
        }
        at += mine;
    }
    free(place);
    free(from);
    free(out);
}

CHECK(scattered_rows_lie_at_their_places)
{
    uint64_t seed = 4;

    for (int k = 0; k < 4 * MOVES; k++)
        scatter(k / 4, k % 2 ? SLUICE_float32 : SLUICE_bfloat16, k / 2 % 2, &seed);
}

CHECK(nothing_scattered_is_zeros)
{
    uint16_t out[4 * 24];
    static const uint16_t zeros[24] = {0};
    void *there = device_room(sizeof out), *place = device_room(8);

    MUST_OK(rows_scatter(sluice(), 0, (const int64_t *)place, 24, NULL, 24, 4, there, 24,
                         SLUICE_bfloat16));
    host(out, there, sizeof out);
    for (int i = 0; i < 4; i++)
        MUST_SAME(out + 24 * i, zeros, 24);
}

/* ---- logits of targets ---- */

CHECK(logits_of_targets_are_products)
{
    static const struct { int64_t hidden, stride; } of[] = {
        {1, 1}, {8, 8}, {37, 37}, {37, 40}, {300, 304}, {1030, 1032}, {1030, 1031},
    };
    uint64_t seed = 6;

    for (int k = 0; k < 7; k++)
        for (int biased = 0; biased < 2; biased++) {
            int64_t rows = 12, vocab = 9, hidden = of[k].hidden, stride = of[k].stride, count;
            uint16_t *x = narrow_random(rows * stride, &seed);
            uint16_t *weight = narrow_random(vocab * stride, &seed);
            int64_t place[12];
            int32_t targets[12];
            float bias[9], chosen[12], *at = (float *)device_room(sizeof chosen);
            struct sluice_head head = {hidden, vocab, NULL, stride, NULL};

            for (int i = 0; i < 12; i++)
                targets[i] = (int32_t)check_below(&seed, vocab);
            for (int i = 0; i < 9; i++)
                bias[i] = (float)check_normal(&seed);
            count = draw_places(rows, place, &seed);
            head.weight = device(weight, vocab * stride * 2);
            head.bias = biased ? (const float *)device(bias, sizeof bias) : NULL;
            MUST_OK(rows_chosen(sluice(), count, (const int64_t *)device(place, sizeof place),
                                device(x, rows * stride * 2), stride, &head,
                                (const int32_t *)device(targets, sizeof targets), at));
            host(chosen, at, sizeof chosen);
            for (int64_t i = 0; i < count; i++) {
                int64_t y = targets[place[i]];
                double want = biased ? bias[y] : 0, size = fabs(want);

                for (int64_t j = 0; j < hidden; j++) {
                    double product = (double)check_float(x[i * stride + j])
                                     * check_float(weight[y * stride + j]);

                    want += product;
                    size += fabs(product);
                }
                MUST_NEAR(chosen[i], want, 0x1p-22 * size);
            }
            free(x);
            free(weight);
        }
}

/* ---- the bias ---- */

CHECK(the_bias_gets_the_sums_of_columns)
{
    static const struct { int64_t rows, vocab; } of[] = {{1, 1}, {1, 9}, {15, 2}, {16, 33},
                                                         {17, 8}, {100, 300}, {1, 4000}};
    uint64_t seed = 8;

    for (int k = 0; k < 7; k++) {
        int64_t rows = of[k].rows, vocab = of[k].vocab, stride = (vocab + 15) / 8 * 8;
        uint16_t *slopes = narrow_random(rows * stride, &seed);
        float *bias = (float *)check_room(vocab * 4), *again = (float *)check_room(vocab * 4), *at;
        void *there = device(slopes, rows * stride * 2);

        for (int64_t v = 0; v < vocab; v++)
            bias[v] = (float)v;
        at = (float *)device(bias, vocab * 4);
        MUST_OK(rows_bias(sluice(), rows, vocab, there, stride, at));
        host(again, at, vocab * 4);
        for (int64_t v = 0; v < vocab; v++) {
            double want = (double)v, size = want;

            for (int64_t i = 0; i < rows; i++) {
                want += check_float(slopes[i * stride + v]);
                size += fabs(check_float(slopes[i * stride + v]));
            }
            MUST_NEAR(again[v], want, 0x1p-21 * size);
        }
        free(slopes);
        free(bias);
        free(again);
    }
    MUST_OK(rows_bias(sluice(), 0, 5, NULL, 8, (float *)device_room(20)));
}

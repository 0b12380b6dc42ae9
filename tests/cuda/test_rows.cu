/* Rows of logits next to their definition in double: statistics, slopes, what is kept, in every
 * form, on rows of one class to rows that eight blocks of a cluster share; and the same bits
 * however they are asked for. */
#include "rows_trial.h"

/* Rows and classes: one class, odd ends, a group and its neighbours, several warps, several
 * segments of a block (and blocks of a cluster). */
static const struct { int64_t rows, vocab; } sizes[] = {
    {3, 1}, {5, 2}, {4, 7}, {3, 31}, {1, 32}, {3, 33}, {5, 255}, {2, 256}, {3, 257}, {4, 1000},
    {3, 4097}, {13, 5003}, {2, 19201}, {3, 38402}, {2, 40004},
};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))

/* ---- statistics and slopes ---- */

CHECK(statistics_are_those_of_the_definition)
{
    for (int k = 0; k < SIZES; k++)
        for (int bfloat16 = 0; bfloat16 < 2; bfloat16++) {
            struct trial t = trial_new(sizes[k].rows, sizes[k].vocab, bfloat16, 100u + (unsigned)k);
            struct held d = hold(&t, bfloat16 ? ROW_bfloat16 : ROW_float32, 0, NULL);

            MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
            must_be_statistics(&t, &d);
            trial_free(&t);
        }
}

CHECK(slopes_in_place_are_those_of_the_definition)
{
    for (int k = 0; k < SIZES; k++)
        for (int bfloat16 = 0; bfloat16 < 2; bfloat16++) {
            struct trial t = trial_new(sizes[k].rows, sizes[k].vocab, bfloat16, 200u + (unsigned)k);
            struct held d = hold(&t, bfloat16 ? ROW_bfloat16 : ROW_float32, 0, NULL);

            give_statistics(&t, &d);
            MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
            must_be_slopes(&t, d.z.at, bfloat16 ? t.stride : 2 * t.stride, 0);
            trial_free(&t);
        }
}

/* bfloat16 holds log p_v within 2^-9 of itself. */
CHECK(what_is_kept_gives_the_slopes_again)
{
    for (int k = 0; k < SIZES; k++) {
        struct trial t = trial_new(sizes[k].rows, sizes[k].vocab, 0, (uint64_t)(300 + k));
        struct held d = hold(&t, ROW_float32, 0, NULL);
        struct row_logits kept = d.z;

        MUST_OK(rows_keep(sluice(), &d.z, d.place, &d.a, d.z.at, 2 * t.stride));
        must_be_statistics(&t, &d);
        kept.form = ROW_kept;
        kept.stride = 2 * t.stride;
        MUST_OK(rows_slopes(sluice(), &kept, d.place, &d.a));
        must_be_slopes(&t, d.z.at, 2 * t.stride, 0x1p-9 * 40);
        trial_free(&t);
    }
}

/* Logits relative to the largest of their tile, rounded: off by 2^-9 of what is left. */
CHECK(logits_relative_to_their_tile_give_the_slopes)
{
    for (int k = 0; k < SIZES; k++) {
        struct trial t = trial_new(sizes[k].rows, sizes[k].vocab, 0, (uint64_t)(400 + k));
        int64_t tiles = (t.vocab + 127) / 128;
        float *largest = (float *)check_room(t.rows * tiles * 4);
        struct held d;

        for (int64_t i = 0; i < t.rows * t.stride; i++) {
            int64_t row = i / t.stride, v = i % t.stride, tile = v / 128;
            float *top = &largest[row * tiles + tile];

            if (v % 128 == 0 && v < t.vocab) {
                *top = -INFINITY;
                for (int64_t j = v; j < v + 128 && j < t.vocab; j++)
                    *top = fmaxf(*top, (float)t.z[row * t.vocab + j]);
            }
            if (v < t.vocab)
                t.held[i] = (float)t.z[row * t.vocab + v] - *top;
        }
        d = hold(&t, ROW_shifted, 128, largest);
        give_statistics(&t, &d);
        MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
        must_be_slopes(&t, d.z.at, t.stride, 0x1p-9 * 60);
        free(largest);
        trial_free(&t);
    }
}

/* Slopes are those of c log p(y) + e lse + h H + g z, as the definition's differences say. */
CHECK(slopes_are_differences_of_the_loss)
{
    struct trial t = trial_new(6, 70, 0, 7);
    struct held d = hold(&t, ROW_float32, 0, NULL);
    uint16_t *out = (uint16_t *)check_room(t.rows * t.stride * 4);
    double step = 1e-5;

    MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
    MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
    must_be_sound();
    host(out, d.z.at, t.rows * t.stride * 4);
    for (int64_t i = 0; i < t.rows; i++) {
        int64_t place = t.place[i], y = t.targets[place];
        double *z = t.z + i * t.vocab;

        for (int64_t v = 0; v < t.vocab; v++) {
            double was = z[v], loss[2], logp, lse, entropy, given = 0;

            for (int side = 0; side < 2; side++) {
                z[v] = was + (side ? step : -step);
                define(t.vocab, z, y, &logp, &lse, &entropy);
                loss[side] = t.c[place] * logp + t.e[place] * lse + t.h[place] * entropy;
            }
            z[v] = was;
            for (int64_t j = t.entry_first[place]; j < t.entry_first[place + 1]; j++)
                given += t.entries[j].column == v ? t.entries[j].value : 0;
            if (was > -INFINITY)
                MUST_NEAR(check_float(out[i * 2 * t.stride + v]),
                          (loss[1] - loss[0]) / (2 * step) + given,
                          2e-5 + 0x1p-8 * fabs(check_float(out[i * 2 * t.stride + v])));
        }
    }
    free(out);
    trial_free(&t);
}

/* ---- the same bits ---- */

/* Statistics by statistics, by keep, in clusters or not, and of rows one at a time. */
CHECK(a_row_has_the_same_bits_however_it_is_asked_for)
{
    static const int64_t vocabs[] = {33, 5003, 19201, 40004, 78000};

    for (int k = 0; k < 5; k++) {
        struct trial t = trial_new(3, vocabs[k], 0, (uint64_t)(500 + k));
        float *first = NULL, *entropy = NULL, *lse = NULL;

        for (int way = 0; way < 6; way++) {
            struct held d;
            float *logp, *h, *l;

            compute(way % 2 ? "80" : "90");
            d = hold(&t, ROW_float32, 0, NULL);
            if (way / 2 == 0) {
                MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
            } else if (way / 2 == 1) {
                MUST_OK(rows_keep(sluice(), &d.z, d.place, &d.a, d.z.at, 2 * t.stride));
            } else {
                for (int64_t i = t.rows - 1; i >= 0; i--) {     /* each alone, the last first */
                    struct row_logits one = d.z;

                    one.at = (float *)d.z.at + i * t.stride;
                    one.rows = 1;
                    MUST_OK(rows_statistics(sluice(), &one, d.place + i, &d.a));
                }
            }
            must_be_sound();
            logp = fetch(&t, d.a.logp);
            h = fetch(&t, d.a.entropy);
            l = fetch(&t, d.a.lse);
            if (way == 0) {
                first = logp;
                entropy = h;
                lse = l;
                continue;
            }
            MUST_SAME(logp, first, 2 * t.rows);
            MUST_SAME(h, entropy, 2 * t.rows);
            MUST_SAME(l, lse, 2 * t.rows);
            free(logp);
            free(h);
            free(l);
        }
        free(first);
        free(entropy);
        free(lse);
        trial_free(&t);
    }
    compute(NULL);
}

/* What is kept is the same bytes with clusters and without, in place or elsewhere. */
CHECK(clusters_write_what_blocks_write)
{
    struct trial t = trial_new(3, 40004, 0, 17);
    uint16_t *out[3];

    for (int way = 0; way < 3; way++) {
        int64_t bytes = t.rows * t.stride * 4;
        struct held d;
        void *to;

        compute(way == 0 ? "80" : "90");
        d = hold(&t, ROW_float32, 0, NULL);
        to = way == 2 ? device_room(bytes) : d.z.at;
        out[way] = (uint16_t *)check_room(bytes);
        MUST_OK(rows_keep(sluice(), &d.z, d.place, &d.a, to, 2 * t.stride));
        host(out[way], to, bytes);
        for (int64_t i = 0; i < t.rows; i++)
            MUST_SAME(out[way] + i * 2 * t.stride, out[0] + i * 2 * t.stride, t.vocab);
    }
    for (int way = 0; way < 3; way++)
        free(out[way]);
    compute(NULL);
    trial_free(&t);
}

/* More than eight segments are one block's; more than thirty-two are folded. On a device with
 * clusters the first two are still eight blocks'. */
CHECK(rows_of_any_width_are_those_of_the_definition)
{
    static const int64_t vocabs[] = {160001, 301000, 620003};

    for (int k = 0; k < 6; k++) {
        struct trial t = trial_new(1, vocabs[k / 2], 0, 800u + (unsigned)k);
        struct row_logits kept;
        struct held d;

        compute(k % 2 ? "80" : "90");
        d = hold(&t, ROW_float32, 0, NULL);
        MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
        must_be_statistics(&t, &d);
        MUST_OK(rows_keep(sluice(), &d.z, d.place, &d.a, d.z.at, 2 * t.stride));
        must_be_statistics(&t, &d);
        kept = d.z;
        kept.form = ROW_kept;
        kept.stride = 2 * t.stride;
        MUST_OK(rows_slopes(sluice(), &kept, d.place, &d.a));
        must_be_slopes(&t, d.z.at, 2 * t.stride, 0x1p-9 * 40);
        trial_free(&t);
    }
    compute(NULL);
}

/* More rows than blocks at a time: each is fetched while another is worked on. */
CHECK(many_rows_are_done_one_after_the_other)
{
    struct trial t = trial_new(3000, 40, 0, 23);
    struct held d = hold(&t, ROW_float32, 0, NULL);

    MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
    must_be_statistics(&t, &d);
    MUST_OK(rows_keep(sluice(), &d.z, d.place, &d.a, d.z.at, 2 * t.stride));
    must_be_statistics(&t, &d);
    d.z.form = ROW_kept;
    d.z.stride = 2 * t.stride;
    MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
    must_be_slopes(&t, d.z.at, 2 * t.stride, 0x1p-9 * 40);
    trial_free(&t);
}

/* ---- bad rows ---- */

/* A bad number in one class of row 1 is told with the row of the call, 3; the others are whole. */
CHECK(a_bad_logit_is_told_with_its_row)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, -INFINITY};

    for (int k = 0; k < 8; k++) {
        struct trial t = trial_new(3, k < 4 ? 300 : 40004, k % 2, (uint64_t)(600 + k));
        int64_t at = k % 4 == 2 ? t.targets[3] : (t.targets[3] + 1) % t.vocab;
        struct held d;
        float *logp;

        for (int64_t v = 0; v < t.vocab; v++)
            if (k % 4 == 3 || v == at)              /* 3: every logit */
                t.held[t.stride + v] = bad[k % 4];
        t.exact[1] = k % 4 >= 2 ? -INFINITY : t.exact[1];
        d = hold(&t, k % 2 ? ROW_bfloat16 : ROW_float32, 0, NULL);
        MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
        must_fail_at(FAULT_logits, 3);
        logp = fetch(&t, d.a.logp);
        MUST_NEAR(logp[1], t.logp[0], 1e-5);
        MUST_NEAR(logp[5], t.logp[2], 1e-5);
        free(logp);
        trial_free(&t);
    }
}

CHECK(a_bad_coefficient_is_told_with_its_row)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};

    for (int k = 0; k < 4; k++) {
        struct trial t = trial_new(3, 300, 0, (uint64_t)(700 + k));
        struct held d;

        if (k == 3)
            t.entries[t.entry_first[3]].value = NAN;
        else
            (k == 0 ? t.c : k == 1 ? t.e : t.h)[3] = bad[k];
        d = hold(&t, ROW_float32, 0, NULL);
        give_statistics(&t, &d);
        MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
        must_fail_at(FAULT_coefficient, 3);
        trial_free(&t);
    }
}

CHECK(no_rows_are_no_work)
{
    struct trial t = trial_new(1, 9, 0, 3);
    struct held d = hold(&t, ROW_float32, 0, NULL);

    d.z.rows = 0;
    MUST_OK(rows_statistics(sluice(), &d.z, d.place, &d.a));
    MUST_OK(rows_keep(sluice(), &d.z, d.place, &d.a, d.z.at, 2 * t.stride));
    MUST_OK(rows_slopes(sluice(), &d.z, d.place, &d.a));
    must_be_sound();
    d.z.rows = 1;
    d.z.stride = 10;
    MUST_FAIL(rows_statistics(sluice(), &d.z, d.place, &d.a), SLUICE_failed, "multiples of 16");
    d.z.stride = t.stride;
    d.z.form = ROW_kept;
    MUST_FAIL(rows_statistics(sluice(), &d.z, d.place, &d.a), SLUICE_failed, "kept");
    MUST_FAIL(rows_keep(sluice(), &d.z, d.place, &d.a, d.z.at, t.stride), SLUICE_failed, "float32");
    d.z.form = ROW_shifted;
    d.z.tile_columns = 100;
    MUST_FAIL(rows_slopes(sluice(), &d.z, d.place, &d.a), SLUICE_failed, "a power of two");
    trial_free(&t);
}

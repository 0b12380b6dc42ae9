/* The head: statistics against the naive softmax in double, backward against finite differences,
 * rows left out, named logits, hard rows, bits that do not depend on company, tiles of a large
 * vocabulary. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/head.h"
#include "kernels/naive.h"
#include "kernels/random.h"
#include "kernels/threads.h"
#include "tests/sets.h"

struct fixture {
    int64_t  rows, hidden, vocab;
    float   *x, *weight, *bias;
    int32_t *targets;
    float   *logp, *lse, *entropy, *c, *e, *h, *dx, *dweight, *dbias;
    struct head head;
    struct head_work *work;
    struct head_entry entries[8];
    int64_t  entry_count;
};

static float *
zeros(int64_t count)
{
    return xarray((size_t)count + 1, sizeof(float));
}

/* Every third row has no target; c, e, h are zero on some. */
static void
fixture_begin(struct fixture *f, int64_t rows, int64_t hidden, int64_t vocab, int with_bias,
              double scale)
{
    memset(f, 0, sizeof *f);
    f->rows = rows;
    f->hidden = hidden;
    f->vocab = vocab;
    f->x = sets_floats(rows * hidden, 1, scale);
    f->weight = sets_floats(vocab * hidden, 2, 1);
    f->bias = with_bias ? sets_floats(vocab, 3, 1) : NULL;
    f->targets = xarray((size_t)rows + 1, sizeof *f->targets);
    for (int64_t i = 0; i < rows; i++)
        f->targets[i] = i % 3 == 2 ? -1 : (int32_t)(random_bits(4, RANDOM_test, (uint64_t)i)
                                                    % (uint64_t)vocab);
    f->logp = zeros(rows);
    f->lse = zeros(rows);
    f->entropy = zeros(rows);
    f->c = sets_floats(rows, 5, 1);
    f->e = sets_floats(rows, 6, 1);
    f->h = sets_floats(rows, 7, 1);
    for (int64_t i = 0; i < rows; i += 4)
        f->c[i] = f->e[i] = f->h[i] = 0;
    f->dx = zeros(rows * hidden);
    f->dweight = zeros(vocab * hidden);
    f->dbias = zeros(vocab);
    f->head = (struct head){hidden, vocab, f->weight, f->bias};
    f->work = head_work_new();
}

static void
fixture_end(struct fixture *f)
{
    float *parts[] = {f->x, f->weight, f->bias, f->logp, f->lse,     f->entropy,
                      f->c, f->e,      f->h,    f->dx,   f->dweight, f->dbias};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(f->targets);
    head_work_free(f->work);
}

static void
statistics(struct fixture *f)
{
    head_statistics(f->work, &f->head, f->rows, f->x, f->targets, f->logp, f->lse, f->entropy);
}

static void
backward(struct fixture *f)
{
    struct head_gradient g = {f->c, f->e, f->h, f->entries, f->entry_count, 0};

    head_backward(f->work, &f->head, f->rows, f->x, f->targets, f->lse, f->entropy, &g, f->dx,
                  f->dweight, f->bias == NULL ? NULL : f->dbias);
}

/* x, weight and bias as doubles, next to each other. */
struct slope_case {
    struct fixture *f;
    double *x, *weight, *bias;
};

static void
naive_row(const struct slope_case *s, int64_t row, double *z)
{
    const struct fixture *f = s->f;

    for (int64_t v = 0; v < f->vocab; v++) {
        z[v] = s->bias[v];
        for (int64_t i = 0; i < f->hidden; i++)
            z[v] += s->x[row * f->hidden + i] * s->weight[v * f->hidden + i];
    }
}

static double
loss_value(void *about)
{
    const struct slope_case *s = about;
    const struct fixture *f = s->f;
    double *z = xarray((size_t)f->vocab, sizeof *z), loss = 0;

    for (int64_t row = 0; row < f->rows; row++) {
        double logp, lse, entropy;

        if (f->targets[row] < 0)
            continue;
        naive_row(s, row, z);
        naive_softmax(f->vocab, z, f->targets[row], &logp, &lse, &entropy);
        loss += (double)f->c[row] * logp + (double)f->e[row] * lse + (double)f->h[row] * entropy;
        for (int64_t n = 0; n < f->entry_count; n++)
            if (f->entries[n].row == row)
                loss += (double)f->entries[n].value * z[f->entries[n].column];
    }
    free(z);
    return loss;
}

static struct slope_case
slope_begin(struct fixture *f)
{
    struct slope_case s = {.f = f};
    int64_t nx = f->rows * f->hidden, nw = f->vocab * f->hidden;

    s.x = xarray((size_t)(nx + nw + f->vocab), sizeof *s.x);
    s.weight = s.x + nx;
    s.bias = s.weight + nw;
    for (int64_t i = 0; i < nx; i++)
        s.x[i] = (double)f->x[i];
    for (int64_t i = 0; i < nw; i++)
        s.weight[i] = (double)f->weight[i];
    for (int64_t i = 0; i < f->vocab; i++)
        s.bias[i] = f->bias == NULL ? 0.0 : (double)f->bias[i];
    return s;
}

static void
compare_statistics(struct fixture *f, double tolerance)
{
    struct slope_case s = slope_begin(f);
    double *z = xarray((size_t)f->vocab, sizeof *z);
    double *wanted = xarray((size_t)(3 * f->rows) + 1, sizeof *wanted);

    statistics(f);
    for (int64_t row = 0; row < f->rows; row++)
        if (f->targets[row] >= 0) {
            naive_row(&s, row, z);
            naive_softmax(f->vocab, z, f->targets[row], wanted + row, wanted + f->rows + row,
                          wanted + 2 * f->rows + row);
        }
    sets_near("logp", f->rows, f->logp, wanted, tolerance);
    sets_near("lse", f->rows, f->lse, wanted + f->rows, tolerance);
    sets_near("entropy", f->rows, f->entropy, wanted + 2 * f->rows, tolerance);
    free(z);
    free(wanted);
    free(s.x);
}

static void
slopes_at(int64_t rows, int64_t hidden, int64_t vocab, int with_bias)
{
    struct fixture f;
    struct slope_case s;
    double *slope;
    int64_t nx = rows * hidden, nw = vocab * hidden;

    fixture_begin(&f, rows, hidden, vocab, with_bias, 1);
    if (rows > 8 && vocab > 8) {    /* row 4 has nothing else to say; row 5 has no target */
        f.entries[f.entry_count++] = (struct head_entry){1, 3, 0.5f};
        f.entries[f.entry_count++] = (struct head_entry){1, 8, -0.25f};
        f.entries[f.entry_count++] = (struct head_entry){4, 0, 0.75f};
        f.entries[f.entry_count++] = (struct head_entry){5, 0, 100.0f};
    }
    compare_statistics(&f, 4e-6);
    backward(&f);
    s = slope_begin(&f);
    slope = xarray((size_t)(nx + nw + vocab), sizeof *slope);
    sets_slope(loss_value, &s, nx + nw + vocab, s.x, slope);
    sets_near("dx", nx, f.dx, slope, 1e-5);
    sets_near("dweight", nw, f.dweight, slope + nx, 1e-5);
    if (with_bias)
        sets_near("dbias", vocab, f.dbias, slope + nx + nw, 1e-5);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < hidden && f.targets[row] < 0; i++)
            assert_true(f.dx[row * hidden + i] == 0.0f);
    free(slope);
    free(s.x);
    fixture_end(&f);
}

static void
backward_is_the_slope(void **state)
{
    (void)state;
    slopes_at(1, 3, 2, 0);
    slopes_at(11, 7, 17, 0);
    slopes_at(14, 5, 3, 1);
    slopes_at(30, 4, 33, 1);
}

/* Several tiles of classes and of rows: values against the naive ones, and the gradient's sum rule.
 */
static void
large_vocabulary(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, 2 * HEAD_ROWS + 9, 6, 2 * HEAD_COLUMNS + 37, 0, 4);
    compare_statistics(&f, 4e-6);
    memset(f.e, 0, (size_t)f.rows * sizeof *f.e);
    memset(f.h, 0, (size_t)f.rows * sizeof *f.h);
    backward(&f);
    /* With e = h = g = 0 the slopes of a row sum to 0 over the classes, so dweight's columns do
     * too: sum over v of dweight[v] = sum over rows of x sum over v of dz = 0. */
    for (int64_t i = 0; i < f.hidden; i++) {
        double sum = 0, size = 0;

        for (int64_t v = 0; v < f.vocab; v++) {
            sum += (double)f.dweight[v * f.hidden + i];
            size += fabs((double)f.dweight[v * f.hidden + i]);
        }
        assert_true(size > 1);
        assert_true(fabs(sum) < 1e-5 * size);
    }
    fixture_end(&f);
}

/* Logits of 16 to 32 with close runners-up: log p is never positive, and right. */
static void
hard_rows(void **state)
{
    enum { ROWS = 600, HIDDEN = 4, VOCAB = 50 };
    struct fixture f;
    int64_t exact = 0;

    (void)state;
    fixture_begin(&f, ROWS, HIDDEN, VOCAB, 1, 1);
    for (int64_t row = 0; row < ROWS; row++) { /* z_v = x0 bias-free: class 0 is the large one */
        float size = 16 + 16 * (float)random_unit(1, RANDOM_test, (uint64_t)row);

        for (int64_t i = 0; i < HIDDEN; i++)
            f.x[row * HIDDEN + i] = i == 0 ? size : f.x[row * HIDDEN + i] * 1e-3f;
        f.targets[row] = (int32_t)(row % 3 == 0 ? 0 : row % 3);
    }
    for (int64_t v = 0; v < VOCAB; v++) {
        for (int64_t i = 0; i < HIDDEN; i++)
            f.weight[v * HIDDEN + i] = i > 0    ? f.weight[v * HIDDEN + i]
                                       : v == 0 ? 1
                                       : v == 1 ? 0.9999f
                                                : -1;
        f.bias[v] = 0;
    }
    compare_statistics(&f, 4e-6);
    for (int64_t row = 0; row < ROWS; row++)
        assert_true(f.logp[row] <= 0.0f);
    for (int64_t i = 0; i < HIDDEN; i++)            /* no runner-up: p rounds to 1 */
        f.weight[HIDDEN + i] = -1;
    statistics(&f);
    for (int64_t row = 0; row < ROWS; row++) {
        assert_true(f.logp[row] <= 0.0f);
        assert_true(f.targets[row] != 0 || f.logp[row] > -1e-5f);
        exact += f.logp[row] == 0.0f;
    }
    assert_true(exact > 0);
    fixture_end(&f);
}

/* The same numbers from other numbers of threads, with logits held and without. */
static void
threads_change_nothing(void **state)
{
    static const int counts[] = {2, 3, 7};
    struct fixture one, many;

    (void)state;
    fixture_begin(&one, 2 * HEAD_ROWS + 9, 24, HEAD_COLUMNS + 337, 1, 1);
    statistics(&one);
    backward(&one);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct threads *t = threads_new(counts[i]);
        struct head_gradient g;

        fixture_begin(&many, one.rows, one.hidden, one.vocab, 1, 1);
        head_threads(many.work, t);
        head_keep(many.work, i == 0 ? 0 : one.rows * HEAD_COLUMNS);
        statistics(&many);
        g = (struct head_gradient){many.c, many.e, many.h, NULL, 0, 1};
        head_backward(many.work, &many.head, many.rows, many.x, many.targets, many.lse,
                      many.entropy, &g, many.dx, many.dweight, many.dbias);
        sets_same("logp", one.rows, many.logp, one.logp);
        sets_same("lse", one.rows, many.lse, one.lse);
        sets_same("entropy", one.rows, many.entropy, one.entropy);
        sets_same("dx", one.rows * one.hidden, many.dx, one.dx);
        sets_same("dweight", one.vocab * one.hidden, many.dweight, one.dweight);
        sets_same("dbias", one.vocab, many.dbias, one.dbias);
        fixture_end(&many);
        threads_free(t);
    }
    fixture_end(&one);
}

/* Rows in other batches, at other places, with other rows left out: the same bits. */
static void
company_changes_nothing(void **state)
{
    enum { ROWS = 500, HIDDEN = 24, VOCAB = 41 };
    struct fixture f;
    float *logp = zeros(ROWS), *lse = zeros(ROWS), *entropy = zeros(ROWS),
          *dx = zeros(ROWS * HIDDEN);

    (void)state;
    fixture_begin(&f, ROWS, HIDDEN, VOCAB, 0, 2);
    statistics(&f);
    backward(&f);
    for (uint64_t round = 0; round < 40; round++) {
        int64_t first = (int64_t)(random_bits(1, RANDOM_test, round) % ROWS);
        int64_t count =
            1 + (int64_t)(random_bits(2, RANDOM_test, round) % (uint64_t)(ROWS - first));
        struct head_gradient g = {f.c + first, f.e + first, f.h + first, NULL, 0, 0};
        int32_t targets[ROWS];

        for (int64_t i = 0; i < count; i++)
            targets[i] =
                random_unit(round, RANDOM_test, (uint64_t)i) < 0.3 ? -1 : f.targets[first + i];
        head_statistics(f.work, &f.head, count, f.x + first * HIDDEN, targets, logp, lse, entropy);
        head_backward(f.work, &f.head, count, f.x + first * HIDDEN, targets, lse, entropy, &g, dx,
                      NULL, NULL);
        for (int64_t i = 0; i < count; i++) {
            if (targets[i] < 0) {
                assert_true(logp[i] == 0.0f && lse[i] == 0.0f && entropy[i] == 0.0f);
                continue;
            }
            sets_same("logp", 1, logp + i, f.logp + first + i);
            sets_same("lse", 1, lse + i, f.lse + first + i);
            sets_same("entropy", 1, entropy + i, f.entropy + first + i);
            sets_same("dx", HIDDEN, dx + i * HIDDEN, f.dx + (first + i) * HIDDEN);
        }
    }
    free(logp);
    free(lse);
    free(entropy);
    free(dx);
    fixture_end(&f);
}

/* A head of one class has lse = z: the named logits are those bits. */
static void
named_logits_are_those_of_statistics(void **state)
{
    enum { ROWS = 30, HIDDEN = 300, VOCAB = 1100 };
    static const int32_t columns[] = {1099, 0, 1024, 1023, 7, 7};
    int64_t rows[ROWS];
    float out[ROWS * 6], logp[ROWS], lse[ROWS];
    int32_t targets[ROWS] = {0};
    struct fixture f;

    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        fixture_begin(&f, ROWS, HIDDEN, VOCAB, bias, 2);
        for (int64_t i = 0; i < ROWS; i++)
            rows[i] = i % 5 == 3 ? -1 : (i * 7) % ROWS;
        head_named(f.work, &f.head, ROWS, f.x, rows, 6, columns, out);
        for (int k = 0; k < 6; k++) {
            struct head one = {HIDDEN, 1, f.weight + columns[k] * HIDDEN,
                               bias ? f.bias + columns[k] : NULL};

            head_statistics(f.work, &one, ROWS, f.x, targets, logp, lse, NULL);
            for (int64_t i = 0; i < ROWS; i++)
                if (rows[i] < 0)
                    assert_true(out[i * 6 + k] == 0.0f);
                else
                    sets_same("named", 1, out + i * 6 + k, lse + rows[i]);
        }
        head_named(f.work, &f.head, 0, f.x, rows, 6, columns, out);
        head_named(f.work, &f.head, 3, f.x, rows, 0, columns, out);
        fixture_end(&f);
    }
}

/* Logits held, all or some of the tiles, or computed again: the same gradient, bit for bit, also
 * where more rows are left out than had no target. */
static void
holding_changes_nothing(void **state)
{
    enum { ROWS = HEAD_ROWS + 50, HIDDEN = 8, VOCAB = 2 * HEAD_COLUMNS + 5 };
    static const int64_t most[] = {0, ROWS - 1, ROWS * HEAD_COLUMNS, ROWS * VOCAB};
    float *dx = zeros(ROWS * HIDDEN), *dweight = zeros(VOCAB * HIDDEN);

    (void)state;
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        struct fixture f;
        struct head_gradient g;

        fixture_begin(&f, ROWS, HIDDEN, VOCAB, 1, 1);
        g = (struct head_gradient){f.c, f.e, f.h, NULL, 0, 1};
        head_keep(f.work, most[i]);
        statistics(&f);
        head_backward(f.work, &f.head, ROWS, f.x, f.targets, f.lse, f.entropy, &g, f.dx, f.dweight,
                      f.dbias);
        if (i == 0) {
            memcpy(dx, f.dx, ROWS * HIDDEN * sizeof *dx);
            memcpy(dweight, f.dweight, VOCAB * HIDDEN * sizeof *dweight);
        }
        sets_same("dx", ROWS * HIDDEN, f.dx, dx);
        sets_same("dweight", VOCAB * HIDDEN, f.dweight, dweight);
        fixture_end(&f);
    }
    free(dx);
    free(dweight);
}

static void
nothing_to_do(void **state)
{
    struct fixture f;

    (void)state;
    fixture_begin(&f, 0, 5, 7, 0, 1);       /* no rows */
    statistics(&f);
    backward(&f);
    fixture_end(&f);
    fixture_begin(&f, 9, 5, 7, 1, 1);       /* all masked: results are zeros whatever was there */
    for (int64_t i = 0; i < 9; i++) {
        f.targets[i] = -1;
        f.logp[i] = f.dx[i] = 3;
    }
    statistics(&f);
    backward(&f);
    for (int64_t i = 0; i < 9; i++)
        assert_true(f.logp[i] == 0.0f && f.lse[i] == 0.0f);
    for (int64_t i = 0; i < 45; i++)
        assert_true(f.dx[i] == 0.0f);
    for (int64_t i = 0; i < 35; i++)
        assert_true(f.dweight[i] == 0.0f);
    fixture_end(&f);
}

static int
run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backward_is_the_slope),
        cmocka_unit_test(large_vocabulary),
        cmocka_unit_test(hard_rows),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(named_logits_are_those_of_statistics),
        cmocka_unit_test(holding_changes_nothing),
        cmocka_unit_test(nothing_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    return sets_run(run);
}

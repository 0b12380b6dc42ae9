/* Products: every form against its definition in double, at aligned and odd sizes; the same bits
 * whatever the number of rows and whoever asks first; what was chosen as text, and hostile text. */
#include "tests/cuda/check.h"

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/gemm_library.cuh"

struct shape {
    enum gemm_form form;
    int64_t rows, columns, inner;
    int64_t left_pad, right_pad, out_pad;   /* of the strides */
    enum sluice_type out_type;
    int     add, bias;
};

struct factors {
    uint16_t *left, *right;         /* host */
    float    *bias, *before;        /* (columns), (rows, columns) */
    int64_t   left_rows, left_columns, right_rows, right_columns;
    int64_t   left_stride, right_stride, out_stride;
};

static uint16_t *
bf16s(int64_t count, uint64_t seed)
{
    uint16_t *out = (uint16_t *)check_room(count * 2);

    for (int64_t i = 0; i < count; i++)
        out[i] = check_bf16((float)check_normal(&seed));
    return out;
}

static float *
floats(int64_t count, uint64_t seed)
{
    float *out = (float *)check_room(count * 4);

    for (int64_t i = 0; i < count; i++)
        out[i] = (float)check_normal(&seed);
    return out;
}

static struct factors
factors_of(const struct shape *s)
{
    struct factors f;

    f.left_rows = s->form == GEMM_tn ? s->inner : s->rows;
    f.left_columns = s->form == GEMM_tn ? s->rows : s->inner;
    f.right_rows = s->form == GEMM_nt ? s->columns : s->inner;
    f.right_columns = s->form == GEMM_nt ? s->inner : s->columns;
    f.left_stride = f.left_columns + s->left_pad;
    f.right_stride = f.right_columns + s->right_pad;
    f.out_stride = s->columns + s->out_pad;
    f.left = bf16s(f.left_rows * f.left_stride, 1);
    f.right = bf16s(f.right_rows * f.right_stride, 2);
    f.bias = floats(s->columns, 3);
    f.before = floats(s->rows * f.out_stride, 4);
    return f;
}

static void
factors_free(struct factors *f)
{
    free(f->left);
    free(f->right);
    free(f->bias);
    free(f->before);
}

/* One element, and the sum of its terms' sizes. */
static double
element(const struct shape *s, const struct factors *f, int64_t row, int64_t column, double *size)
{
    double sum = 0;

    *size = 0;
    for (int64_t k = 0; k < s->inner; k++) {
        uint16_t a = s->form == GEMM_tn ? f->left[k * f->left_stride + row]
                                        : f->left[row * f->left_stride + k];
        uint16_t b = s->form == GEMM_nt ? f->right[column * f->right_stride + k]
                                        : f->right[k * f->right_stride + column];
        double term = (double)check_float(a) * (double)check_float(b);

        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static struct product
product_of(const struct shape *s, const struct factors *f, const void *left, const void *right,
           const void *bias, void *out)
{
    struct product p = {};

    p.form = s->form;
    p.rows = s->rows;
    p.columns = s->columns;
    p.inner = s->inner;
    p.left = left;
    p.right = right;
    p.left_stride = f->left_stride;
    p.right_stride = f->right_stride;
    p.out = out;
    p.out_stride = f->out_stride;
    p.out_type = s->out_type;
    p.add = s->add;
    p.bias = s->bias ? (const float *)bias : NULL;
    return p;
}

static double
out_at(const struct shape *s, const void *out, int64_t i)
{
    return s->out_type == SLUICE_float32 ? (double)((const float *)out)[i]
                                         : (double)check_float(((const uint16_t *)out)[i]);
}

static void
run_shape(const struct shape *s)
{
    struct factors f = factors_of(s);
    int64_t size = s->out_type == SLUICE_float32 ? 4 : 2, cells = s->rows * f.out_stride;
    void *left = device(f.left, f.left_rows * f.left_stride * 2);
    void *right = device(f.right, f.right_rows * f.right_stride * 2);
    void *bias = device(f.bias, s->columns * 4), *out_host = check_room(cells * size);
    void *out = s->add ? device(f.before, cells * 4) : device_room(cells * size);
    struct product p = product_of(s, &f, left, right, bias, out);

    MUST_OK(gemm_run(sluice(), &p));
    host(out_host, out, cells * size);
    for (int64_t row = 0; row < s->rows; row++)
        for (int64_t column = 0; column < s->columns; column++) {
            double sizes, wanted = element(s, &f, row, column, &sizes), tolerance;
            double old = s->add ? (double)f.before[row * f.out_stride + column]
                       : s->bias ? (double)f.bias[column] : 0;

            wanted += old;
            tolerance = ((double)s->inner + 2) * 0x1p-24 * (sizes + fabs(old)) + 1e-30;
            if (s->out_type == SLUICE_bfloat16)
                tolerance += 0x1p-8 * fabs(wanted);
            MUST_NEAR(out_at(s, out_host, row * f.out_stride + column), wanted, tolerance);
        }
    for (int64_t row = 0; row < s->rows && s->add; row++)       /* beyond the columns: untouched */
        MUST_SAME((float *)out_host + row * f.out_stride + s->columns,
                  f.before + row * f.out_stride + s->columns, s->out_pad);
    free(out_host);
    factors_free(&f);
}

CHECK(logits_are_left_times_right_transposed)
{
    static const struct shape shapes[] = {
        {GEMM_nt, 5, 64, 16, 0, 0, 0, SLUICE_float32, 0, 0},
        {GEMM_nt, 33, 130, 24, 8, 16, 2, SLUICE_float32, 0, 0},
        {GEMM_nt, 7, 51, 13, 1, 2, 3, SLUICE_float32, 0, 0},
        {GEMM_nt, 9, 64, 32, 0, 0, 0, SLUICE_bfloat16, 0, 0},
        {GEMM_nt, 6, 37, 11, 0, 5, 1, SLUICE_bfloat16, 0, 0},
        {GEMM_nt, 1, 1, 1, 0, 0, 0, SLUICE_float32, 0, 0},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

CHECK(a_bias_is_added_to_every_row)
{
    static const struct shape shapes[] = {
        {GEMM_nt, 12, 40, 16, 0, 0, 0, SLUICE_float32, 0, 1},
        {GEMM_nt, 300, 3, 9, 1, 0, 5, SLUICE_float32, 0, 1},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

CHECK(dx_is_left_times_right)
{
    static const struct shape shapes[] = {
        {GEMM_nn, 8, 16, 64, 0, 0, 0, SLUICE_float32, 0, 0},
        {GEMM_nn, 19, 21, 53, 11, 3, 1, SLUICE_float32, 0, 0},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

CHECK(dw_is_added_to_what_was_there)
{
    static const struct shape shapes[] = {
        {GEMM_tn, 64, 16, 40, 0, 0, 0, SLUICE_float32, 1, 0},
        {GEMM_tn, 51, 13, 7, 13, 3, 2, SLUICE_float32, 1, 0},
        {GEMM_tn, 64, 16, 1, 0, 0, 0, SLUICE_float32, 1, 0},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

/* The library would rather take another algorithm for few rows: a row's bits are the same all the
 * same, whoever asked first. */
CHECK(the_bits_of_a_row_do_not_depend_on_how_many_are_asked_for)
{
    static const int64_t counts[] = {1, 2, 5, 33, 64, 200};
    struct shape s = {GEMM_nt, 200, 72, 96, 0, 0, 0, SLUICE_float32, 0, 0};
    struct factors f = factors_of(&s);
    int64_t cells = s.rows * f.out_stride;
    float *all = (float *)check_room(cells * 4), *some = (float *)check_room(cells * 4);

    for (int first = 0; first < 2; first++) {       /* a context where one row came first */
        void *left, *right, *out;
        struct product p;

        sluice_close();
        left = device(f.left, f.left_rows * f.left_stride * 2);
        right = device(f.right, f.right_rows * f.right_stride * 2);
        out = device_room(cells * 4);
        p = product_of(&s, &f, left, right, NULL, out);
        p.rows = first == 0 ? 1 : s.rows;
        MUST_OK(gemm_run(sluice(), &p));
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            for (int64_t at = 0; at + counts[i] <= s.rows; at += 67) {
                p.rows = counts[i];
                p.left = (const uint16_t *)left + at * f.left_stride;
                MUST_OK(gemm_run(sluice(), &p));
                host(some, out, counts[i] * f.out_stride * 4);
                if (first == 0 && i == 0 && at == 0) {
                    p.rows = s.rows;
                    MUST_OK(gemm_run(sluice(), &p));
                    host(all, out, cells * 4);
                }
                MUST_SAME(some, all + at * f.out_stride, counts[i] * f.out_stride);
            }
    }
    free(all);
    free(some);
    factors_free(&f);
}

/* ---- the text ---- */

static char *
text_of(void)
{
    size_t length = 0, again = 0;
    char *text;

    MUST_EQUAL(sluice_cuda_algorithms(sluice(), NULL, 0, &length), SLUICE_argument);
    text = (char *)check_room((int64_t)length + 1);
    MUST_EQUAL(sluice_cuda_algorithms(sluice(), text, length, &again), SLUICE_argument);
    MUST_EQUAL(text[0], 0);
    MUST_OK(sluice_cuda_algorithms(sluice(), text, length + 1, &again));
    MUST_EQUAL(again, length);
    MUST_EQUAL(strlen(text), length);
    return text;
}

static void
run_some(void)
{
    static const struct shape shapes[] = {
        {GEMM_nt, 5, 64, 16, 0, 0, 0, SLUICE_float32, 0, 0},
        {GEMM_nn, 5, 16, 64, 0, 0, 0, SLUICE_float32, 0, 0},
        {GEMM_tn, 64, 16, 5, 0, 0, 0, SLUICE_float32, 1, 0},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run_shape(&shapes[i]);
}

static int
lines(const char *text)
{
    int count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

CHECK(what_was_chosen_is_text_that_another_context_takes)
{
    char *text, *again;

    sluice_close();
    run_some();
    text = text_of();
    MUST_EQUAL(lines(text), 4);
    run_some();                                     /* the same kinds: no new lines */
    again = text_of();
    MUST_TEXT(again, text);
    MUST_EQUAL(strlen(again), strlen(text));
    free(again);
    MUST_FAIL(sluice_cuda_algorithms_set(sluice(), text), SLUICE_argument, "before the first");
    sluice_close();
    MUST_OK(sluice_cuda_algorithms_set(sluice(), text));
    MUST_OK(sluice_cuda_algorithms_set(sluice(), text));    /* nothing has run yet */
    run_some();
    again = text_of();
    MUST_TEXT(again, text);
    MUST_EQUAL(strlen(again), strlen(text));
    free(again);
    free(text);
    sluice_close();
    MUST_OK(sluice_cuda_algorithms_set(sluice(), ""));
    run_some();
    sluice_close();
}

static void
refused(const char *text, const char *words)
{
    size_t length;
    char   first[8192];

    MUST_FAIL(sluice_cuda_algorithms_set(sluice(), text), SLUICE_argument, words);
    MUST_OK(sluice_cuda_algorithms(sluice(), first, sizeof first, &length));
    MUST_EQUAL(lines(first), 1);                    /* all or nothing */
}

/* The text with `from`, the first there is, replaced by `to`. */
static char *
with(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *out = (char *)check_room((int64_t)(strlen(text) + strlen(to) + 1));

    MUST(at != NULL);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

CHECK(text_of_another_device_or_none_is_refused)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"sluice products 1", "sluice products 2", "another device"},
        {"cublaslt ", "cublaslt 9", "another device"},
        {"device ", "device Other ", "another device"},
        {"capability ", "capability 1", "another device"},
        {"nt columns 64", "nt columns 0", "line 2: no kind"},
        {"nt columns 64", "nt columns -64", "line 2: no kind"},
        {"nt columns 64", "nt columns 064", "line 2: no kind"},
        {"nt columns 64", "xx columns 64", "line 2: no kind"},
        {"nt columns 64", "nt columns 99999999999999999999", "line 2: no kind"},
        {"out float32", "out float64", "line 2: no kind"},
        {"add 0", "add 2", "line 2: no kind"},
        {"aligned 16", "aligned 3", "line 2: no kind"},
        {"aligned 16", "aligned 32", "line 2: no kind"},
        {"algorithm ", "algorithm x", "line 2: no kind"},
        {"algorithm ", "algorithm 00", "line 2: no kind"},
        {"inner 16", "rows 16", "line 2: no kind"},
        {"\nnn", " \nnn", "line 2: no kind"},
        {"\nnn", "\n\nnn", "line 3: no kind"},
    };
    char *text, *changed, *line, *end;

    sluice_close();
    run_some();
    text = text_of();
    sluice_close();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        changed = with(text, cases[i].from, cases[i].to);
        refused(changed, cases[i].words);
        free(changed);
    }
    line = strstr(text, "\nnt") + 1;                /* the same kind twice */
    end = strchr(line, '\n');
    changed = (char *)check_room((int64_t)strlen(text) + (end - line) + 2);
    sprintf(changed, "%s%.*s", text, (int)(end - line + 1), line);
    refused(changed, "already");
    free(changed);
    free(text);
}

CHECK(hostile_text_is_bounded)
{
    int64_t much = 2 << 20;
    char *text = (char *)check_room(much);
    char *own, *changed;
    uint64_t seed = 5;

    sluice_close();
    run_some();
    own = text_of();
    sluice_close();
    memset(text, 'a', (size_t)much - 1);
    refused(text, "longer");
    text[5000] = '\0';
    refused(text, "longer than");
    changed = strdup(own);
    for (int round = 0; round < 400; round++) {     /* any byte anywhere: refused, or taken whole */
        size_t at = (size_t)check_below(&seed, (int64_t)strlen(own));
        int rc;

        changed[at] = (char)(1 + check_below(&seed, 255));
        rc = sluice_cuda_algorithms_set(sluice(), changed);
        MUST(rc == 0 || rc == SLUICE_argument);
        changed[at] = own[at];
    }
    MUST_OK(sluice_cuda_algorithms_set(sluice(), own));
    run_some();
    sluice_close();
    free(changed);
    free(own);
    free(text);
}

CHECK(a_product_without_sides_is_refused)
{
    struct product p = {};

    MUST_FAIL(gemm_run(sluice(), &p), SLUICE_failed, "0 x 0 x 0");
}

/* Needs no device: the library itself and all its functions by name. */
CHECK_HOST(the_library_is_found_or_its_lack_has_words)
{
    int64_t version = gemm_library_version();

    if (version == 0)
        check_skip("%s", gemm_library()->trouble);
    MUST(version >= GEMM_VERSION_LEAST && version < 1000000);
}

/* Products by tiles. The right factor is packed into panels: isa->columns wide, `inner` long, zero
 * beyond the last column, so a tile reads it in a straight line; one whose rows are contiguous and
 * near each other is read where it lies. The left one has a stride of 1, so a tile can read it
 * where it lies; only where every step of the sum would touch another page is it packed. Blocks of MATMUL_INNER along the sum keep a panel in the first cache; a tile then
 * goes on from what the last block left in c, which does not change the chain. */
#include "kernels/matmul.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/isa.h"
#include "kernels/lanes.h"
#include "kernels/threads.h"

#define MATMUL_INNER   256      /* longest run of one sum through a panel */
#define MATMUL_COLUMNS 512 /* columns packed at a time: 512 KiB of panels, half a second cache */
#define MATMUL_ROWS    96  /* rows that go over a panel before the next: a multiple of every tile */
#define MATMUL_DIRECT  24       /* with fewer rows, a right factor that lies well is not packed */
#define MATMUL_NEAR    1024     /* a right factor with b_inner up to this is read where it lies */
#define MATMUL_FAR     128 /* a left factor with a_row 1 is packed where a_inner is longer ... */
#define MATMUL_REUSE   96  /* ... and so many columns share the work */

/* What one thread computes at a time: columns in whole panels of every set. Where each part packs
 * the right factor for itself, more rows share that work. */
#define MATMUL_PART_COLUMNS 256
#define MATMUL_PART_ROWS    MATMUL_ROWS
#define MATMUL_PART_OWN     (2 * MATMUL_ROWS)
#define MATMUL_SHARED       (1 << 19)   /* products with fewer multiplications are not shared */

void
matmul_free(struct matmul *s)
{
    free(s->panels);
    free(s->strips);
    for (int i = 0; i < s->each_count; i++)
        matmul_free(&s->each[i]);
    free(s->each);
    *s = (struct matmul){0};
}

static float *
grown(float **at, int64_t *room, int64_t count)
{
    if (count > *room) {
        free(*at);
        *at = xaligned((size_t)count * sizeof(float));
        *room = count;
    }
    return *at;
}

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* One panel, `wide` columns of which `columns` are there: out[p * wide + j] = b(p, j). */
static void
pack_panel(const struct isa *isa, int64_t columns, int64_t wide, int64_t inner, const float *b,
           int64_t b_inner, int64_t b_column, float *out)
{
    if (b_column == 1) {
        for (int64_t p = 0; p < inner; p++, out += wide, b += b_inner) {
            int64_t j = 0;

            for (; j + LANES <= columns; j += LANES)
                lanes_store(out + j, lanes_load(b + j));
            for (; j < columns; j++)
                out[j] = b[j];
            for (; j < wide; j++)
                out[j] = 0.0f;
        }
        return;
    }
    if (b_inner == 1) {
        isa->panels(columns, inner, wide, b, b_column, out);
        return;
    }
    if (columns < wide)
        memset(out, 0, (size_t)(wide * inner) * sizeof *out);
    for (int64_t j = 0; j < columns; j++)
        for (int64_t p = 0; p < inner; p++)
            out[p * wide + j] = b[p * b_inner + j * b_column];
}

/* Panels of the columns, the last as narrow as LANES allows; returns the floats written. Panel
 * number i begins at i * isa->columns * inner. */
static int64_t
pack_panels(const struct isa *isa, int64_t columns, int64_t inner, const float *b, int64_t b_inner,
            int64_t b_column, float *out)
{
    float *begin = out;

    for (int64_t j = 0; j < columns; j += isa->columns) {
        int64_t here = least(columns - j, isa->columns), wide = round_up(here, LANES);

        pack_panel(isa, here, wide, inner, b + j * b_column, b_inner, b_column, out);
        out += wide * inner;
    }
    return out - begin;
}

/* A tile whose last columns do not exist: computed beside, then copied. */
static void
tile_edge(const struct isa *isa, const struct isa_tile *t, int64_t columns)
{
    float c[16 * 64], bias[64] = {0};
    struct isa_tile side = *t;

    side.c = c;
    side.c_row = t->columns;
    side.ahead = NULL;
    if (t->start == ISA_START_bias) {
        memcpy(bias, t->bias, (size_t)columns * sizeof *bias);
        side.bias = bias;
    }
    memset(c, 0, (size_t)(t->rows * t->columns) * sizeof *c);
    if (t->start == ISA_START_add)
        for (int64_t i = 0; i < t->rows; i++)
            memcpy(c + i * t->columns, t->c + i * t->c_row, (size_t)columns * sizeof *c);
    isa->tile(&side);
    for (int64_t i = 0; i < t->rows; i++)
        memcpy(t->c + i * t->c_row, c + i * t->columns, (size_t)columns * sizeof *c);
}

/* All rows over one panel of `columns` columns at b; row i of the left factor is at a + i stride.
 * beyond: whether another panel follows, whose c is then fetched ahead. */
static void
run_panel(const struct isa *isa, struct isa_tile *t, int64_t rows, int64_t columns, const float *a,
          int64_t stride, int beyond, float *c)
{
    for (int64_t i = 0; i < rows; i += isa->rows) {
        t->rows = least(rows - i, isa->rows);
        t->a = a + i * stride;
        t->c = c + i * t->c_row;
        t->ahead = NULL;
        if (i + 2 * isa->rows <= rows)
            t->ahead = t->c + isa->rows * t->c_row;
        else if (i + isa->rows >= rows && beyond)
            t->ahead = c + isa->columns;
        if (columns == t->columns)
            isa->tile(t);
        else
            tile_edge(isa, t, columns);
        t->soon += t->soon_step * t->inner;
    }
}

/* Rows times panels. Rows go in blocks, so that a block of a stays near while the panels pass over
 * it. b: packed panels; or, with in_place, the right factor's rows, b_inner apart. strips: room to
 * pack such a block, or NULL to read it where it lies. */
static void
run_panels(const struct isa *isa, const struct matmul_shape *q, enum isa_start start,
           int64_t columns, int64_t inner, const float *a, const float *right, int in_place,
           float *strips, const float *bias, float *c)
{
    for (int64_t i = 0; i < q->rows; i += MATMUL_ROWS) {
        int64_t rows = least(q->rows - i, MATMUL_ROWS), stride = strips == NULL ? q->a_row : inner;
        const float *b = right, *left = strips == NULL ? a + i * q->a_row : strips;

        if (strips != NULL)
            isa->strips(rows, inner, isa->rows, a + i, q->a_inner, strips);
        for (int64_t j = 0; j < columns; j += isa->columns) {
            int64_t here = least(columns - j, isa->columns), wide = round_up(here, LANES);
            int     beyond = j + isa->columns < columns;
            struct isa_tile t = {
                .columns = wide, .inner = inner, .a_row = q->a_row,
                .a_inner = strips == NULL ? q->a_inner : isa->rows, .b = b,
                .b_inner = in_place ? q->b_inner : wide, .c_row = q->c_row,
                .bias = bias + (start == ISA_START_bias ? j : 0), .start = start,
            };

            b += in_place ? wide : wide * inner;
            t.soon = b;     /* each of the tiles over this panel fetches its part of the next */
            t.soon_step = beyond && !in_place ? wide * isa->rows / MATMUL_ROWS : 0;
            run_panel(isa, &t, rows, here, left, stride, beyond, c + i * q->c_row + j);
        }
    }
}

/* Few rows and a right factor with contiguous rows: whole tiles read it in place. */
static void
run_direct(const struct isa *isa, const struct matmul_shape *q, enum isa_start start,
           const float *a, const float *b, float *c)
{
    for (int64_t j = 0; j < q->columns;) {
        int64_t left = q->columns - j, here = left >= isa->columns ? isa->columns : LANES;
        struct isa_tile t = {
            .columns = here,
            .inner = q->inner,
            .a_row = q->a_row,
            .a_inner = q->a_inner,
            .b = b + j,
            .b_inner = q->b_inner,
            .c_row = q->c_row,
            .bias = q->bias == NULL ? NULL : q->bias + j,
            .start = start,
            .soon = b + j,
        };

        run_panel(isa, &t, q->rows, here, a, q->a_row, 0, c + j);
        j += here;
    }
}

/* Can whole tiles read the right factor in place? */
static int
lies_well(const struct matmul_shape *q)
{
    return q->b_column == 1 && q->columns % LANES == 0;
}

static const float *
packed_right(struct matmul *s, const struct isa *isa, const struct matmul_shape *q, int64_t columns,
             int64_t inner, const float *b)
{
    float *panels = grown(&s->panels, &s->panels_room, round_up(columns, LANES) * inner);

    pack_panels(isa, columns, inner, b, q->b_inner, q->b_column, panels);
    return panels;
}

static void
run_alone(struct matmul *s, const struct matmul_shape *q, const float *a, const float *b, float *c)
{
    const struct isa *isa = isa_now();
    enum isa_start start = q->add            ? ISA_START_add
                           : q->bias != NULL ? ISA_START_bias
                                             : ISA_START_zero;

    if (q->rows <= 0 || q->columns <= 0)
        return;
    if (q->rows <= MATMUL_DIRECT && lies_well(q)) {
        run_direct(isa, q, start, a, b, c);
        return;
    }
    for (int64_t j = 0; j < q->columns; j += MATMUL_COLUMNS) {
        int64_t columns = least(q->columns - j, MATMUL_COLUMNS), p = 0;
        int     in_place = lies_well(q) && q->b_inner <= MATMUL_NEAR;
        float  *strips = NULL;

        if (q->a_row == 1 && q->a_inner > MATMUL_FAR && columns >= MATMUL_REUSE)
            strips = grown(&s->strips, &s->strips_room, MATMUL_ROWS * MATMUL_INNER);

        do {    /* once even where inner is 0: c still gets its start */
            int64_t inner = least(q->inner - p, MATMUL_INNER);
            const float *right = b + p * q->b_inner + j * q->b_column;

            if (!in_place && inner > 0)
                right = packed_right(s, isa, q, columns, inner, right);
            run_panels(isa, q, p == 0 ? start : ISA_START_add, columns, inner, a + p * q->a_inner,
                       right, in_place, strips, q->bias == NULL ? c : q->bias + j, c + j);
            p += inner;
        } while (p < q->inner);
    }
}

/* A product whose output is cut into blocks, or a right factor that is cut into panels. */
struct shared {
    struct matmul *s;
    const struct matmul_shape *q;
    enum isa_start start;
    const float *a, *b, *bias;
    float  *c;
    int64_t across;             /* blocks next to each other */
};

static int64_t
blocks(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit;
}

static int
is_shared(const struct threads *t, int64_t rows, int64_t columns, int64_t inner)
{
    return t != NULL && threads_count(t) > 1 && rows > 0 && columns > 0
        && inner >= MATMUL_SHARED / rows / columns;
}

static void
run_part(void *context, int64_t part, int who)
{
    const struct shared *m = context;
    struct matmul_shape q = *m->q;
    int64_t i = part / m->across * MATMUL_PART_OWN, j = part % m->across * MATMUL_PART_COLUMNS;

    q.rows = least(q.rows - i, MATMUL_PART_OWN);
    q.columns = least(q.columns - j, MATMUL_PART_COLUMNS);
    q.bias = q.bias == NULL ? NULL : q.bias + j;
    run_alone(&m->s->each[who], &q, m->a + i * q.a_row, m->b + j * q.b_column,
              m->c + i * q.c_row + j);
}

void
matmul_run(struct matmul *s, const struct matmul_shape *q, const float *a, const float *b, float *c)
{
    struct shared m = {.s = s, .q = q, .a = a, .b = b, .c = c};
    int count = threads_count(s->threads);

    if (!is_shared(s->threads, q->rows, q->columns, q->inner)) {
        run_alone(s, q, a, b, c);
        return;
    }
    if (count > s->each_count) {
        s->each = xresize(s->each, (size_t)count * sizeof *s->each);
        memset(s->each + s->each_count, 0, (size_t)(count - s->each_count) * sizeof *s->each);
        s->each_count = count;
    }
    m.across = blocks(q->columns, MATMUL_PART_COLUMNS);
    threads_run(s->threads, m.across * blocks(q->rows, MATMUL_PART_OWN), run_part, &m);
}

void
matmul_forward(struct matmul *s, int64_t n, int64_t m, int64_t k, const float *x, const float *w,
               const float *bias, float *y)
{
    struct matmul_shape q = {
        .rows = n, .columns = m, .inner = k, .a_row = k, .a_inner = 1, .b_inner = 1, .b_column = k,
        .c_row = m, .bias = bias,
    };

    matmul_run(s, &q, x, w, y);
}

void
matmul_backward_x(struct matmul *s, int64_t n, int64_t m, int64_t k, const float *dy,
                  const float *w, int add, float *dx)
{
    struct matmul_shape q = {
        .rows = n, .columns = k, .inner = m, .a_row = m, .a_inner = 1, .b_inner = k, .b_column = 1,
        .c_row = k, .add = add,
    };

    matmul_run(s, &q, dy, w, dx);
}

void
matmul_backward_w(struct matmul *s, int64_t n, int64_t m, int64_t k, const float *dy,
                  const float *x, float *dw)
{
    struct matmul_shape q = {
        .rows = m, .columns = k, .inner = n, .a_row = 1, .a_inner = m, .b_inner = k, .b_column = 1,
        .c_row = k, .add = 1,
    };

    matmul_run(s, &q, dy, x, dw);
}

void
matmul_backward_bias(int64_t n, int64_t m, const float *dy, float *db)
{
    const struct isa *isa = isa_now();

    for (int64_t i = 0; i < n; i++)
        isa->add(m, dy + i * m, db);
}

struct packing {
    const struct matmul_weight *p;
    const float *w;
    int64_t w_inner, w_column;
};

static void
pack_part(void *context, int64_t part, int who)
{
    const struct packing *k = context;
    int64_t j = part * MATMUL_PART_COLUMNS, inner = k->p->inner;

    (void)who;
    pack_panels(isa_now(), least(k->p->columns - j, MATMUL_PART_COLUMNS), inner,
                k->w + j * k->w_column, k->w_inner, k->w_column, k->p->panels + j * inner);
}

/* columns: of the right factor, w(p, j) = w[p * w_inner + j * w_column]. */
static void
pack_weight(struct matmul_weight *p, int64_t columns, int64_t inner, const float *w,
            int64_t w_inner, int64_t w_column)
{
    int64_t floats = round_up(columns, LANES) * inner;

    if (p->panels == NULL || p->room < floats) {
        free(p->panels);
        p->panels = xaligned((size_t)floats * sizeof(float));
        p->room = floats;
    }
    p->columns = columns;
    p->inner = inner;
    if (inner > 0)
        threads_run(p->threads, blocks(columns, MATMUL_PART_COLUMNS), pack_part,
                    &(struct packing){p, w, w_inner, w_column});
}

void
matmul_pack(struct matmul_weight *p, int64_t m, int64_t k, const float *w)
{
    pack_weight(p, m, k, w, 1, k);
}

void
matmul_pack_backward(struct matmul_weight *p, int64_t m, int64_t k, const float *w)
{
    pack_weight(p, k, m, w, k, 1);
}

static void
packed_part(void *context, int64_t part, int who)
{
    const struct shared *m = context;
    struct matmul_shape q = *m->q;
    int64_t i = part / m->across * MATMUL_PART_ROWS, j = part % m->across * MATMUL_PART_COLUMNS;

    (void)who;
    q.rows = least(q.rows - i, MATMUL_PART_ROWS);
    run_panels(isa_now(), &q, m->start, least(q.columns - j, MATMUL_PART_COLUMNS), q.inner,
               m->a + i * q.a_row, m->b + j * q.inner, 0, NULL,
               m->bias + (m->start == ISA_START_bias ? j : 0), m->c + i * q.c_row + j);
}

static void
packed(int64_t n, const struct matmul_weight *p, enum isa_start start, const float *x,
       const float *bias, float *y)
{
    struct matmul_shape q = {
        .rows = n, .columns = p->columns, .inner = p->inner, .a_row = p->inner, .a_inner = 1,
        .c_row = p->columns,
    };

    if (is_shared(p->threads, n, p->columns, p->inner)) {
        struct shared m = {
            .q = &q, .start = start, .a = x, .b = p->panels, .bias = bias, .c = y,
            .across = blocks(p->columns, MATMUL_PART_COLUMNS),
        };

        threads_run(p->threads, m.across * blocks(n, MATMUL_PART_ROWS), packed_part, &m);
    } else if (n > 0 && p->columns > 0) {
        run_panels(isa_now(), &q, start, p->columns, p->inner, x, p->panels, 0, NULL, bias, y);
    }
}

void
matmul_packed(int64_t n, const struct matmul_weight *p, const float *x, const float *bias, float *y)
{
    packed(n, p, bias == NULL ? ISA_START_zero : ISA_START_bias, x, bias == NULL ? y : bias, y);
}

void
matmul_packed_add(int64_t n, const struct matmul_weight *p, const float *x, float *y)
{
    packed(n, p, ISA_START_add, x, y, y);
}

void
matmul_weight_free(struct matmul_weight *p)
{
    free(p->panels);
    *p = (struct matmul_weight){0};
}

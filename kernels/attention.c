/* Attention by tiles: scores of ATTENTION_ROWS queries against all keys so far, softmax row by
 * row, then the weighted values. Each head's keys and values are first copied to where tiles want
 * them. All blocks are counted from the sequence's own beginning. */
#include "kernels/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/isa.h"
#include "kernels/lanes.h"

#define ATTENTION_ROWS  12      /* queries whose scores are held at a time, forward */
#define ATTENTION_BLOCK 192     /* and backward: a multiple of ATTENTION_ROWS */
#define ATTENTION_PAD   32      /* keys come in panels; no tile is wider */

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

static float *
floats(int64_t rows, int64_t columns)
{
    return xaligned((size_t)(rows * columns) * sizeof(float));
}

void
attention_init(struct attention *a, int64_t heads, int64_t kv_heads, int64_t dim,
               int64_t length_max, int backward)
{
    int64_t room = round_up(length_max, ATTENTION_PAD), wide = round_up(dim, LANES);

    *a = (struct attention){
        .heads = heads,
        .kv_heads = kv_heads,
        .dim = dim,
        .length_max = length_max,
        .wide = wide,
        .scale = (float)(1.0 / sqrt((double)dim)),
        .keys = floats(room, dim),
        .value_rows = floats(room, wide),
        .out = floats(room, wide),
        .scores = floats(backward ? ATTENTION_BLOCK : heads + ATTENTION_ROWS,
                         room),
    };
    if (!backward)
        return;
    a->key_rows = floats(room, wide);
    a->values = floats(room, dim);
    a->queries = floats(room, wide);
    a->dkeys = floats(room, wide);
    a->dvalues = floats(room, wide);
    a->slopes = floats(ATTENTION_BLOCK, room);
}

void
attention_free(struct attention *a)
{
    free(a->keys);
    free(a->key_rows);
    free(a->values);
    free(a->value_rows);
    free(a->queries);
    free(a->out);
    free(a->dkeys);
    free(a->dvalues);
    free(a->scores);
    free(a->slopes);
    *a = (struct attention){0};
}

/* c(rows, columns) (+)= a b with b's rows contiguous; columns a multiple of LANES. */
static void
product(const struct isa *isa, struct isa_tile t, int64_t rows, int64_t columns)
{
    const float *a = t.a, *b = t.b;
    float *c = t.c;

    for (int64_t j = 0; j < columns; j += t.columns) {
        t.columns = columns - j >= isa->columns ? isa->columns : LANES;
        t.b = t.soon = b + j;
        for (int64_t i = 0; i < rows; i += isa->rows) {
            t.rows = least(rows - i, isa->rows);
            t.a = a + i * t.a_row;
            t.c = c + i * t.c_row + j;
            isa->tile(&t);
        }
    }
}

/* c(rows, keys) = a(rows, dim) times panels, for at least `keys` keys; c_row covers whole panels.
 */
static void
against_panels(const struct isa *isa, int64_t rows, int64_t keys, int64_t dim, const float *a,
               int64_t a_row, const float *panels, float *c, int64_t c_row)
{
    struct isa_tile t = {
        .columns = isa->columns,
        .inner = dim,
        .a_row = a_row,
        .a_inner = 1,
        .b_inner = isa->columns,
        .c_row = c_row,
        .start = ISA_START_zero,
    };

    for (int64_t j = 0; j < keys; j += isa->columns) {
        t.b = t.soon = panels + j * dim;
        for (int64_t i = 0; i < rows; i += isa->rows) {
            t.rows = least(rows - i, isa->rows);
            t.a = a + i * a_row;
            t.c = c + i * c_row + j;
            isa->tile(&t);
        }
    }
}

/* One token into panels: element d of token j lies at (j / w) w dim + d w + j % w, w =
 * isa->columns. */
static void
panel_put(const struct isa *isa, int64_t dim, int64_t place, const float *x, float *panels)
{
    int64_t w = isa->columns;
    float  *to = panels + place / w * w * dim + place % w;

    for (int64_t d = 0; d < dim; d++)
        to[d * w] = x[d];
}

/* Rows are short, so they are copied in place and not by memcpy. */
static void
row_copy(int64_t dim, const float *from, float *to)
{
    int64_t i = 0;

    for (; i + LANES <= dim; i += LANES)
        lanes_store(to + i, lanes_load(from + i));
    for (; i < dim; i++)
        to[i] = from[i];
}

static void
rows_fill(int64_t length, int64_t dim, int64_t wide, const float *x, int64_t stride, float *rows)
{
    for (int64_t j = 0; j < length; j++, x += stride, rows += wide) {
        row_copy(dim, x, rows);
        for (int64_t i = dim; i < wide; i++)
            rows[i] = 0.0f;
    }
}

static void
rows_take(int64_t length, int64_t dim, int64_t wide, const float *rows, float *x, int64_t stride)
{
    for (int64_t j = 0; j < length; j++)
        row_copy(dim, rows + j * wide, x + j * stride);
}

static void
forward_head(struct attention *a, int64_t length, const float *q, int64_t stride, float *out,
             float *largest, float *inverse)
{
    const struct isa *isa = isa_now();
    int64_t room = round_up(length, ATTENTION_PAD), out_row = a->heads * a->dim;

    for (int64_t i = 0; i < length; i += ATTENTION_ROWS) {
        int64_t rows = least(length - i, ATTENTION_ROWS);
        int64_t limit = least(length, i + rows + a->ahead);
        struct isa_tile mix = {
            .inner = limit, .a = a->scores, .a_row = room, .a_inner = 1, .b = a->value_rows,
            .b_inner = a->wide, .c = a->out, .c_row = a->wide,
        };

        against_panels(isa, rows, limit, a->dim, q + i * stride, stride, a->keys, a->scores, room);
        for (int64_t r = 0; r < rows; r++)
            isa->attend(least(length, i + r + 1 + a->ahead), limit, a->scale,
                        a->scores + r * room, largest + (i + r) * a->heads,
                        inverse + (i + r) * a->heads);
        product(isa, mix, rows, a->wide);
        for (int64_t r = 0; r < rows; r++) {
            isa->scale(a->wide, inverse[(i + r) * a->heads], a->out + r * a->wide);
            row_copy(a->dim, a->out + r * a->wide, out + (i + r) * out_row);
        }
    }
}

void
attention_forward_group(struct attention *a, int64_t g, int64_t length, const float *qkv,
                        float *out, float *largest, float *inverse)
{
    int64_t stride = (a->heads + 2 * a->kv_heads) * a->dim, group = a->heads / a->kv_heads;
    const float *k = qkv + a->heads * a->dim, *v = k + a->kv_heads * a->dim;

    isa_now()->panels(length, a->dim, isa_now()->columns, k + g * a->dim, stride, a->keys);
    rows_fill(length, a->dim, a->wide, v + g * a->dim, stride, a->value_rows);
    for (int64_t h = g * group; h < (g + 1) * group; h++)
        forward_head(a, length, qkv + h * a->dim, stride, out + h * a->dim, largest + h,
                     inverse + h);
}

void
attention_forward(struct attention *a, int64_t length, const float *qkv, float *out, float *largest,
                  float *inverse)
{
    for (int64_t g = 0; g < a->kv_heads; g++)
        attention_forward_group(a, g, length, qkv, out, largest, inverse);
}

/* Probabilities and score slopes of the queries [first, last) into scores and slopes; dq into
 * their rows of a->queries' place in dqkv. */
static void
backward_block(struct attention *a, int64_t first, int64_t last, int64_t room, const float *largest,
               const float *inverse, float *dq, int64_t stride)
{
    const struct isa *isa = isa_now();
    float part[ATTENTION_ROWS * 256];

    for (int64_t i = first; i < last; i += ATTENTION_ROWS) {
        int64_t rows = least(last - i, ATTENTION_ROWS), limit = i + rows;
        float  *p = a->scores + (i - first) * room, *ds = a->slopes + (i - first) * room;

        against_panels(isa, rows, limit, a->dim, a->queries + i * a->wide, a->wide, a->keys, p,
                       room);
        against_panels(isa, rows, limit, a->dim, a->out + i * a->wide, a->wide, a->values, ds,
                       room);
        for (int64_t r = 0; r < rows; r++) {
            isa->attend_again(i + r + 1, limit, a->scale, largest[(i + r) * a->heads],
                              inverse[(i + r) * a->heads], p + r * room);
            isa->attend_back(i + r + 1, limit, a->scale, p + r * room, ds + r * room);
        }
        for (int64_t j = 0; j < a->wide; j += 256) {
            int64_t wide = least(a->wide - j, 256), dim = least(a->dim - j, 256);
            struct isa_tile mix = {
                .inner = limit, .a = ds, .a_row = room, .a_inner = 1, .b = a->key_rows + j,
                .b_inner = a->wide, .c = part, .c_row = wide,
            };

            product(isa, mix, rows, wide);
            rows_take(rows, dim, wide, part, dq + i * stride + j, stride);
        }
    }
}

/* dv += p^T do and dk += ds^T q for the queries [first, last): per block of keys the queries from
 * the block's own first on, the earlier ones being masked. */
static void
backward_keys(struct attention *a, int64_t first, int64_t last, int64_t room)
{
    const struct isa *isa = isa_now();

    for (int64_t j = 0; j < last; j += ATTENTION_ROWS) {
        int64_t begin = j > first ? j : first, rows = least(last - j, ATTENTION_ROWS);
        struct isa_tile t = {
            .inner = last - begin, .a = a->scores + (begin - first) * room + j, .a_row = 1,
            .a_inner = room, .b = a->out + begin * a->wide, .b_inner = a->wide,
            .c = a->dvalues + j * a->wide, .c_row = a->wide, .start = ISA_START_add,
        };

        product(isa, t, rows, a->wide);
        t.a = a->slopes + (begin - first) * room + j;
        t.b = a->queries + begin * a->wide;
        t.c = a->dkeys + j * a->wide;
        product(isa, t, rows, a->wide);
    }
}

void
attention_backward_group(struct attention *a, int64_t g, int64_t length, const float *qkv,
                         const float *largest, const float *inverse, const float *dout,
                         float *dqkv)
{
    int64_t stride = (a->heads + 2 * a->kv_heads) * a->dim, group = a->heads / a->kv_heads;
    int64_t k_at = (a->heads + g) * a->dim, v_at = k_at + a->kv_heads * a->dim;
    int64_t room = round_up(length, ATTENTION_PAD);
    const struct isa *isa = isa_now();

    isa->panels(length, a->dim, isa->columns, qkv + k_at, stride, a->keys);
    isa->panels(length, a->dim, isa->columns, qkv + v_at, stride, a->values);
    rows_fill(length, a->dim, a->wide, qkv + k_at, stride, a->key_rows);
    memset(a->dkeys, 0, (size_t)(length * a->wide) * sizeof *a->dkeys);
    memset(a->dvalues, 0, (size_t)(length * a->wide) * sizeof *a->dvalues);
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        rows_fill(length, a->dim, a->wide, qkv + h * a->dim, stride, a->queries);
        rows_fill(length, a->dim, a->wide, dout + h * a->dim, a->heads * a->dim, a->out);
        for (int64_t i = 0; i < length; i += ATTENTION_BLOCK) {
            int64_t last = least(length, i + ATTENTION_BLOCK);

            backward_block(a, i, last, room, largest + h, inverse + h, dqkv + h * a->dim, stride);
            backward_keys(a, i, last, room);
        }
    }
    rows_take(length, a->dim, a->wide, a->dkeys, dqkv + k_at, stride);
    rows_take(length, a->dim, a->wide, a->dvalues, dqkv + v_at, stride);
}

void
attention_backward(struct attention *a, int64_t length, const float *qkv, const float *largest,
                   const float *inverse, const float *dout, float *dqkv)
{
    for (int64_t g = 0; g < a->kv_heads; g++)
        attention_backward_group(a, g, length, qkv, largest, inverse, dout, dqkv);
}

int64_t
attention_store_size(const struct attention *a)
{
    return round_up(a->length_max, ATTENTION_PAD) * (a->dim + a->wide);
}

void
attention_store(const struct attention *a, int64_t place, const float *k, const float *v,
                float *store)
{
    float *rows = store + round_up(a->length_max, ATTENTION_PAD) * a->dim;

    panel_put(isa_now(), a->dim, place, k, store);
    rows_fill(1, a->dim, a->wide, v, a->dim, rows + place * a->wide);
}

void
attention_step(struct attention *a, int64_t length, int64_t queries, const float *q,
               const float *store, float *out)
{
    const struct isa *isa = isa_now();
    int64_t room = round_up(length, ATTENTION_PAD);
    const float *rows = store + round_up(a->length_max, ATTENTION_PAD) * a->dim;

    against_panels(isa, queries, length, a->dim, q, a->dim, store, a->scores, room);
    for (int64_t i = 0; i < queries; i++) {
        float largest, inverse;
        struct isa_tile mix = {
            .inner = length, .a = a->scores + i * room, .a_row = room, .a_inner = 1, .b = rows,
            .b_inner = a->wide, .c = a->out, .c_row = a->wide,
        };

        isa->attend(length, length, a->scale, a->scores + i * room, &largest, &inverse);
        product(isa, mix, 1, a->wide);
        isa->scale(a->wide, inverse, a->out);
        memcpy(out + i * a->dim, a->out, (size_t)a->dim * sizeof *out);
    }
}

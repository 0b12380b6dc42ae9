/* The head, HEAD_ROWS rows by HEAD_COLUMNS classes of logits at a time. Rows that count are first
 * gathered, so that the others cost nothing. The softmax runs over the tiles of a row with a
 * running maximum. */
#include "kernels/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/isa.h"
#include "kernels/math.h"
#include "kernels/matmul.h"
#include "kernels/threads.h"

#define HEAD_PART 16        /* rows of logits that one thread takes at a time */

struct head_work {
    struct threads      *threads;
    struct matmul        matmul;
    struct matmul_weight panels;        /* of one tile of classes */
    struct matmul_weight panels_back;   /* the same, as the way back to x wants them */
    float   *logits;                    /* (HEAD_ROWS, HEAD_COLUMNS) */
    float   *x, *dx;                    /* (rows, hidden): gathered */
    float   *largest, *sum, *moment;    /* (rows) */
    float   *chosen;                    /* (rows): z_y */
    int64_t *place;                     /* (rows): where a gathered row came from */
    int64_t *entry;                     /* (rows): its next named logit */
    int64_t  rows_room, x_room, dx_room;

    /* What head_statistics holds: the logits of the classes [0, held_classes), a tile of classes
     * after the other, each (held_count, classes of the tile). */
    float   *held;
    int64_t *held_at;                   /* (rows): which of the held rows, or -1 */
    int64_t  held_most, held_room, held_at_room;    /* floats, floats, rows */
    int64_t  held_rows, held_count, held_classes;
};

struct head
head_of(const struct model *m)
{
    return (struct head){
        .hidden = m->config.hidden_size, .vocab = m->head_rows, .weight = m->params + m->head,
        .bias = m->head_bias < 0 ? NULL : m->params + m->head_bias,
    };
}

struct head_work *
head_work_new(void)
{
    struct head_work *w = xalloc(sizeof *w);

    w->logits = xaligned(HEAD_ROWS * HEAD_COLUMNS * sizeof *w->logits);
    return w;
}

void
head_threads(struct head_work *w, struct threads *t)
{
    w->threads = w->matmul.threads = w->panels.threads = w->panels_back.threads = t;
}

static void
free_rows(struct head_work *w)
{
    free(w->largest);
    free(w->sum);
    free(w->moment);
    free(w->chosen);
    free(w->place);
    free(w->entry);
}

void
head_work_free(struct head_work *w)
{
    if (w == NULL)
        return;
    matmul_free(&w->matmul);
    matmul_weight_free(&w->panels);
    matmul_weight_free(&w->panels_back);
    free(w->held);
    free(w->held_at);
    free_rows(w);
    free(w->logits);
    free(w->x);
    free(w->dx);
    free(w);
}

static void
reserve_rows(struct head_work *w, int64_t rows)
{
    size_t n = (size_t)rows;

    if (rows <= w->rows_room)
        return;
    free_rows(w);
    w->largest = xarray(n, sizeof *w->largest);
    w->sum = xarray(n, sizeof *w->sum);
    w->moment = xarray(n, sizeof *w->moment);
    w->chosen = xarray(n, sizeof *w->chosen);
    w->place = xarray(n, sizeof *w->place);
    w->entry = xarray(n, sizeof *w->entry);
    w->rows_room = rows;
}

static void
reserve_floats(float **at, int64_t *room, int64_t count)
{
    if (count <= *room)
        return;
    free(*at);
    *at = xaligned((size_t)count * sizeof **at);
    *room = count;
}

/* The rows at w->place, without gaps: x itself where none is missing. */
static const float *
gather(struct head_work *w, int64_t rows, int64_t count, int64_t hidden, const float *x)
{
    if (count == rows)
        return x;
    reserve_floats(&w->x, &w->x_room, count * hidden);
    for (int64_t i = 0; i < count; i++)
        memcpy(w->x + i * hidden, x + w->place[i] * hidden, (size_t)hidden * sizeof *x);
    return w->x;
}

/* A tile of classes [at, at + count), and of rows. */
struct part {
    int64_t at, count;
};

static struct part
part_next(struct part p, int64_t all, int64_t largest)
{
    int64_t at = p.at + p.count;

    return (struct part){at, all - at < largest ? all - at : largest};
}

static void
pack_classes(struct head_work *w, const struct head *head, struct part v)
{
    matmul_pack(&w->panels, v.count, head->hidden, head->weight + v.at * head->hidden);
}

static void
tile_logits(struct head_work *w, const struct head *head, struct part v, struct part r,
            const float *x, float *z)
{
    matmul_packed(r.count, &w->panels, x + r.at * head->hidden,
                  head->bias == NULL ? NULL : head->bias + v.at, z);
}

void
head_keep(struct head_work *w, int64_t logits)
{
    w->held_most = logits;
}

/* Room for the logits of as many of the classes as may be held; the rows at w->place have them. */
static void
hold(struct head_work *w, int64_t rows, int64_t count, int64_t vocab)
{
    int64_t most = count > 0 ? w->held_most / count : 0;

    w->held_rows = rows;
    w->held_count = count;
    w->held_classes = most >= vocab ? vocab : most / HEAD_COLUMNS * HEAD_COLUMNS;
    if (w->held_classes == 0)
        return;
    reserve_floats(&w->held, &w->held_room, count * w->held_classes);
    if (rows > w->held_at_room) {
        free(w->held_at);
        w->held_at = xarray((size_t)rows, sizeof *w->held_at);
        w->held_at_room = rows;
    }
    for (int64_t i = 0; i < rows; i++)
        w->held_at[i] = -1;
    for (int64_t i = 0; i < count; i++)
        w->held_at[w->place[i]] = i;
}

/* Where the logits of the classes v of held row i are, or would be. */
static float *
held_row(const struct head_work *w, struct part v, int64_t i)
{
    return w->held + v.at * w->held_count + i * v.count;
}

static int
is_held(const struct head_work *w, struct part v)
{
    return v.at + v.count <= w->held_classes;
}

/* A tile of logits and what is made of it, some rows by a thread at a time. */
struct tile {
    struct head_work *w;
    struct part v, r;
    const int32_t *targets;
    const float *z;             /* forward: where the logits are */
    int    held;                /* and what the way back needs */
    const float *lse, *entropy;
    const struct head_gradient *g;
};

static struct part
tile_rows(const struct tile *t, int64_t part)
{
    int64_t at = part * HEAD_PART, left = t->r.count - at;

    return (struct part){t->r.at + at, left < HEAD_PART ? left : HEAD_PART};
}

static void
share_tile(struct tile *t, threads_function *function)
{
    threads_run(t->w->threads, (t->r.count + HEAD_PART - 1) / HEAD_PART, function, t);
}

static void
statistics_part(void *context, int64_t part, int who)
{
    const struct tile *t = context;
    struct head_work  *w = t->w;
    struct part v = t->v, r = tile_rows(t, part);
    const float *z = t->z + (r.at - t->r.at) * v.count;
    const struct isa *isa = isa_now();

    (void)who;
    for (int64_t i = r.at; i < r.at + r.count; i++, z += v.count) {
        int64_t y = t->targets[w->place[i]] - v.at;

        isa->softmax(v.count, z, &w->largest[i], &w->sum[i], &w->moment[i]);
        if (y >= 0 && y < v.count)
            w->chosen[i] = z[y];
    }
}

void
head_statistics(struct head_work *w, const struct head *head, int64_t rows, const float *x,
                const int32_t *targets, float *logp, float *lse, float *entropy)
{
    int64_t count = 0;

    reserve_rows(w, rows);
    for (int64_t i = 0; i < rows; i++) {
        logp[i] = lse[i] = 0.0f;
        if (entropy != NULL)
            entropy[i] = 0.0f;
        if (targets[i] < 0)
            continue;
        w->place[count] = i;
        w->largest[count] = -INFINITY;
        w->sum[count] = w->moment[count] = w->chosen[count] = 0.0f;
        count++;
    }
    x = gather(w, rows, count, head->hidden, x);
    hold(w, rows, count, head->vocab);
    for (struct part v = part_next((struct part){0}, head->vocab, HEAD_COLUMNS);
         count > 0 && v.count > 0; v = part_next(v, head->vocab, HEAD_COLUMNS)) {
        pack_classes(w, head, v);
        for (struct part r = part_next((struct part){0}, count, HEAD_ROWS); r.count > 0;
             r = part_next(r, count, HEAD_ROWS)) {
            float *z = is_held(w, v) ? held_row(w, v, r.at) : w->logits;

            tile_logits(w, head, v, r, x, z);
            share_tile(&(struct tile){.w = w, .v = v, .r = r, .targets = targets, .z = z},
                       statistics_part);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        float spread = math_log(w->sum[i]);         /* sum >= 1: the largest enters as exp(0) */

        logp[w->place[i]] = (w->chosen[i] - w->largest[i]) - spread;
        lse[w->place[i]] = w->largest[i] + spread;
        if (entropy != NULL)
            entropy[w->place[i]] = spread - w->moment[i] / w->sum[i];
    }
}

/* A head of the named classes alone: a logit is one chain over hidden, wherever its class stands. */
void
head_named(struct head_work *w, const struct head *head, int64_t count, const float *x,
           const int64_t *rows, int64_t named, const int32_t *columns, float *out)
{
    int64_t h = head->hidden;
    size_t bytes = (size_t)h * sizeof *x;
    float *weight = xaligned((size_t)(named * h + 1) * sizeof *weight);
    float *bias = xarray((size_t)named + 1, sizeof *bias);

    reserve_floats(&w->x, &w->x_room, count * h + 1);
    for (int64_t i = 0; i < count; i++)
        if (rows[i] < 0)
            memset(w->x + i * h, 0, bytes);
        else
            memcpy(w->x + i * h, x + rows[i] * h, bytes);
    for (int64_t k = 0; k < named; k++) {
        memcpy(weight + k * h, head->weight + columns[k] * h, bytes);
        bias[k] = head->bias == NULL ? 0.0f : head->bias[columns[k]];
    }
    matmul_forward(&w->matmul, count, named, h, w->x, weight, head->bias == NULL ? NULL : bias,
                   out);
    for (int64_t i = 0; i < count; i++)
        if (rows[i] < 0)
            memset(out + i * named, 0, (size_t)named * sizeof *out);
    free(weight);
    free(bias);
}

/* Rows with something to say; where each one's named logits begin. */
static int64_t
choose_rows(struct head_work *w, int64_t rows, const int32_t *targets,
            const struct head_gradient *g)
{
    int64_t count = 0, entry = 0;

    for (int64_t i = 0; i < rows; i++) {
        int named;

        while (entry < g->entry_count && g->entries[entry].row < i)
            entry++;
        named = entry < g->entry_count && g->entries[entry].row == i;
        if (targets[i] < 0 || (g->c[i] == 0.0f && (g->e == NULL || g->e[i] == 0.0f)
                               && (g->h == NULL || g->h[i] == 0.0f) && !named))
            continue;
        w->place[count] = i;
        w->entry[count] = entry;
        count++;
    }
    return count;
}

/* Logits to their slopes: in place, or from where they are held. */
static void
slopes_part(void *context, int64_t part, int who)
{
    const struct tile *t = context;
    const struct head_gradient *g = t->g;
    struct head_work *w = t->w;
    struct part v = t->v, r = tile_rows(t, part);
    const struct isa *isa = isa_now();

    (void)who;
    for (int64_t i = r.at; i < r.at + r.count; i++) {
        float  *z = w->logits + (i - t->r.at) * v.count;
        int64_t row = w->place[i], y = t->targets[row] - v.at;
        float   e = g->e == NULL ? 0.0f : g->e[row], h = g->h == NULL ? 0.0f : g->h[row];

        isa->softmax_back(v.count, t->lse[row], h == 0.0f ? 0.0f : t->entropy[row], g->c[row], e, h,
                          t->held ? held_row(w, v, w->held_at[row]) : z, z);
        if (y >= 0 && y < v.count)
            z[y] += g->c[row];
        for (int64_t n = w->entry[i]; n < g->entry_count && g->entries[n].row == row; n++) {
            int64_t column = g->entries[n].column - v.at;

            if (column >= 0 && column < v.count)
                z[column] += g->entries[n].value;
        }
    }
}

static void
backward_part(struct head_work *w, const struct head *head, struct part v, struct part r,
              const float *x, float *dx, float *dweight, float *dbias)
{
    int64_t h = head->hidden;

    if (v.at == 0)
        matmul_packed(r.count, &w->panels_back, w->logits, NULL, dx + r.at * h);
    else
        matmul_packed_add(r.count, &w->panels_back, w->logits, dx + r.at * h);
    if (dweight != NULL)
        matmul_backward_w(&w->matmul, r.count, v.count, h, w->logits, x + r.at * h,
                          dweight + v.at * h);
    if (dbias != NULL)
        matmul_backward_bias(r.count, v.count, w->logits, dbias + v.at);
}

void
head_backward(struct head_work *w, const struct head *head, int64_t rows, const float *x,
              const int32_t *targets, const float *lse, const float *entropy,
              const struct head_gradient *g, float *dx, float *dweight, float *dbias)
{
    int64_t count, h = head->hidden;
    float  *slopes = dx;

    reserve_rows(w, rows);
    count = choose_rows(w, rows, targets, g);
    x = gather(w, rows, count, h, x);
    if (count < rows) {
        reserve_floats(&w->dx, &w->dx_room, count * h);
        slopes = w->dx;
    }
    for (struct part v = part_next((struct part){0}, head->vocab, HEAD_COLUMNS);
         count > 0 && v.count > 0; v = part_next(v, head->vocab, HEAD_COLUMNS)) {
        int held = g->same && w->held_rows == rows && is_held(w, v);

        if (!held)
            pack_classes(w, head, v);
        matmul_pack_backward(&w->panels_back, v.count, h, head->weight + v.at * h);
        for (struct part r = part_next((struct part){0}, count, HEAD_ROWS); r.count > 0;
             r = part_next(r, count, HEAD_ROWS)) {
            if (!held)
                tile_logits(w, head, v, r, x, w->logits);
            share_tile(&(struct tile){.w = w, .v = v, .r = r, .targets = targets, .held = held,
                                      .lse = lse, .entropy = entropy, .g = g},
                       slopes_part);
            backward_part(w, head, v, r, x, slopes, dweight, dbias);
        }
    }
    if (count == rows)
        return;
    if (rows > 0)
        memset(dx, 0, (size_t)(rows * h) * sizeof *dx);
    for (int64_t i = 0; i < count; i++)
        memcpy(dx + w->place[i] * h, slopes + i * h, (size_t)h * sizeof *dx);
}

/* ops_body: the row operations, for one instruction set. Included by isa_*.c; plain lanes.h code,
 * so the bits are those of every other set. Each function's contract is in isa.h. */

static void
norm_row(int64_t width, const float *x, const float *w, float inverse, float *y)
{
    for (int64_t i = 0; i < width; i += LANES)
        lanes_put(y, i, width, lanes_get(x, i, width, 0) * inverse * lanes_get(w, i, width, 0));
}

static void
norm(int64_t rows, int64_t width, float eps, const float *x, const float *w, float *y,
     float *inverse)
{
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        lanes sum = {0};

        for (int64_t i = 0; i < width; i += LANES) {
            lanes v = lanes_get(x, i, width, 0);

            sum += v * v;
        }
        inverse[r] = 1.0f / __builtin_sqrtf(lanes_sum(sum) / (float)width + eps);
        norm_row(width, x, w, inverse[r], y);
    }
}

static void
norm_again(int64_t rows, int64_t width, const float *x, const float *w, const float *inverse,
           float *y)
{
    for (int64_t r = 0; r < rows; r++, x += width, y += width)
        norm_row(width, x, w, inverse[r], y);
}

/* With y = x r w and g = dy w:  dx = r (g - x r^2 mean(g x)),  dw = dy x r. */
static void
norm_back(int64_t rows, int64_t width, const float *x, const float *w, const float *inverse,
          const float *dy, float *dx, float *dw)
{
    for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width) {
        lanes sum = {0};
        float r = inverse[row], pull;

        for (int64_t i = 0; i < width; i += LANES) {
            lanes v = lanes_get(x, i, width, 0), d = lanes_get(dy, i, width, 0);

            sum += d * lanes_get(w, i, width, 0) * v;
            lanes_put(dw, i, width, lanes_get(dw, i, width, 0) + d * (v * r));
        }
        pull = lanes_sum(sum) / (float)width * (r * r);
        for (int64_t i = 0; i < width; i += LANES) {
            lanes g = lanes_get(dy, i, width, 0) * lanes_get(w, i, width, 0);
            lanes d = (g - lanes_get(x, i, width, 0) * pull) * r;

            lanes_put(dx, i, width, lanes_get(dx, i, width, 0) + d);
        }
    }
}

static void
add(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += LANES)
        lanes_put(y, i, n, lanes_get(y, i, n, 0) + lanes_get(x, i, n, 0));
}

static void
sum(int64_t n, const float *a, const float *b, float *y)
{
    for (int64_t i = 0; i < n; i += LANES)
        lanes_put(y, i, n, lanes_get(a, i, n, 0) + lanes_get(b, i, n, 0));
}

/* Heads of sixteen: both halves in one register, the sine negative in the low one. The bits are
 * those of the general form, for a - b s is a + b (-s). */
static void
rotate_sixteen(int64_t heads, float sign, const float *cosine, const float *sine, float *x)
{
    lanes c, s;

    for (int i = 0; i < LANES / 2; i++) {
        c[i] = c[i + LANES / 2] = cosine[i];
        s[i] = sine[i] * -sign;
        s[i + LANES / 2] = sine[i] * sign;
    }
    for (int64_t head = 0; head < heads; head++, x += LANES) {
        lanes v = lanes_load(x);

        lanes_store(x, v * c + LANES_SWAP_8(v) * s);
    }
}

static void
rotate(int64_t heads, int64_t dim, float sign, const float *cosine, const float *sine, float *x)
{
    int64_t half = dim / 2;

    if (dim == LANES) {
        rotate_sixteen(heads, sign, cosine, sine, x);
        return;
    }
    for (int64_t i = 0; i < half; i += LANES) {
        lanes c = lanes_get(cosine, i, half, 0), s = lanes_get(sine, i, half, 0) * sign;

        for (int64_t head = 0; head < heads; head++) {
            float *low = x + head * dim, *high = low + half;
            lanes  a = lanes_get(low, i, half, 0), b = lanes_get(high, i, half, 0);

            lanes_put(low, i, half, a * c - b * s);
            lanes_put(high, i, half, b * c + a * s);
        }
    }
}

static void
swiglu(int64_t rows, int64_t width, const float *gu, float *y)
{
    for (int64_t r = 0; r < rows; r++, gu += 2 * width, y += width)
        for (int64_t i = 0; i < width; i += LANES) {
            lanes g = lanes_get(gu, i, width, 0), u = lanes_get(gu + width, i, width, 0);

            lanes_put(y, i, width, g / (1.0f + math_exp(-g)) * u);
        }
}

/* With s = 1 / (1 + exp(-g)): d(g s)/dg = s (1 + g (1 - s)). */
static void
swiglu_back(int64_t rows, int64_t width, const float *gu, const float *dy, float *dgu, float *y)
{
    for (int64_t r = 0; r < rows; r++, gu += 2 * width, dgu += 2 * width, dy += width, y += width)
        for (int64_t i = 0; i < width; i += LANES) {
            lanes g = lanes_get(gu, i, width, 0), u = lanes_get(gu + width, i, width, 0);
            lanes d = lanes_get(dy, i, width, 0), under = 1.0f + math_exp(-g), s = 1.0f / under;

            lanes_put(y, i, width, g / under * u);
            lanes_put(dgu, i, width, d * u * (s * (1.0f + g * (1.0f - s))));
            lanes_put(dgu + width, i, width, d * (g * s));
        }
}

static void
attend(int64_t valid, int64_t room, float scale_by, float *s, float *largest, float *inverse)
{
    lanes top = lanes_all(-__builtin_inff()), total = {0};
    float m;

    for (int64_t i = 0; i < valid; i += LANES)
        top = lanes_larger(lanes_get(s, i, valid, -__builtin_inff()), top);
    m = lanes_largest(top) * scale_by;          /* rounding is monotone: the largest scaled score */
    for (int64_t i = 0; i < valid; i += LANES) {
        lanes v = math_exp(lanes_get(s, i, valid, -__builtin_inff()) * scale_by - m);

        lanes_put(s, i, valid, v);
        total += v;
    }
    for (int64_t i = valid; i < room; i++)
        s[i] = 0.0f;
    *largest = m;
    *inverse = 1.0f / lanes_sum(total);
}

/* Sixteen rows by sixteen columns at a time; rows that are not there count as zeros. */
static void
panels(int64_t length, int64_t dim, int64_t wide, const float *x, int64_t stride, float *to)
{
    int64_t padded = (length + wide - 1) / wide * wide;

    for (int64_t j = 0; j < padded; j += LANES) {
        float *at = to + j / wide * wide * dim + j % wide;

        for (int64_t d = 0; d < dim; d += LANES) {
            int64_t deep = dim - d < LANES ? dim - d : LANES;
            lanes   square[LANES];

            for (int64_t i = 0; i < LANES; i++)
                square[i] = j + i < length ? lanes_get(x + (j + i) * stride + d, 0, deep, 0)
                                           : lanes_all(0);
            lanes_transpose(square);
            for (int64_t i = 0; i < deep; i++)
                lanes_store(at + (d + i) * wide, square[i]);
        }
    }
}

/* A row of x at a time: its elements lie next to each other, and each strip is written in a line. */
static void
strips(int64_t rows, int64_t length, int64_t high, const float *x, int64_t stride, float *to)
{
    for (int64_t p = 0; p < length; p++, x += stride, to += high)
        for (int64_t i = 0; i < rows; i += high)
            lanes_store_part(to + i * length, rows - i < high ? rows - i : high,
                             lanes_load_part(x + i, rows - i < high ? rows - i : high, 0));
}

static void
attend_again(int64_t valid, int64_t room, float scale_by, float largest, float inverse, float *s)
{
    for (int64_t i = 0; i < valid; i += LANES) {
        lanes v = lanes_get(s, i, valid, 0);

        lanes_put(s, i, valid, math_exp(v * scale_by - largest) * inverse);
    }
    for (int64_t i = valid; i < room; i++)
        s[i] = 0.0f;
}

static void
attend_back(int64_t valid, int64_t room, float scale_by, const float *p, float *dp)
{
    lanes dot = {0};
    float mean;

    for (int64_t i = 0; i < valid; i += LANES)
        dot += lanes_get(p, i, valid, 0) * lanes_get(dp, i, valid, 0);
    mean = lanes_sum(dot);
    for (int64_t i = 0; i < valid; i += LANES)
        lanes_put(dp, i, valid,
                  lanes_get(p, i, valid, 0) * (lanes_get(dp, i, valid, 0) - mean) * scale_by);
    for (int64_t i = valid; i < room; i++)
        dp[i] = 0.0f;
}

/* + 0 turns a negative zero into zero: masked products could have turned it too, or not. */
static void
scale(int64_t n, float factor, float *x)
{
    for (int64_t i = 0; i < n; i += LANES)
        lanes_put(x, i, n, lanes_get(x, i, n, 0) * factor + 0.0f);
}

/* exp(-inf) is 0, and 0 (-inf) would not be a number: padding enters the moment as 0. */
static void
softmax(int64_t n, const float *z, float *largest, float *total, float *moment)
{
    lanes top = lanes_all(-__builtin_inff()), s = {0}, t = {0};
    float before = *largest, m;

    for (int64_t i = 0; i < n; i += LANES)
        top = lanes_larger(lanes_get(z, i, n, -__builtin_inff()), top);
    m = lanes_largest(top);
    m = before > m ? before : m;
    if (before != m && before > -__builtin_inff()) {
        float shift = before - m, shrink = math_exp(lanes_all(shift))[0];

        *moment = shrink * (*moment + shift * *total);
        *total = shrink * *total;
    }
    for (int64_t i = 0; i < n; i += LANES) {
        lanes d = lanes_get(z, i, n, -__builtin_inff()) - m, e = math_exp(d);

        s += e;
        t += lanes_choose(e > 0.0f, e * d, e);
    }
    *largest = m;
    *total += lanes_sum(s);
    *moment += lanes_sum(t);
}

static void
softmax_back(int64_t n, float lse, float entropy, float c, float e, float h, const float *z,
             float *dz)
{
    for (int64_t i = 0; i < n; i += LANES) {
        lanes l = lanes_get(z, i, n, 0) - lse, p = math_exp(l);

        lanes_put(dz, i, n, p * ((e - c) - h * (l + entropy)));
    }
}

static void
adamw(int64_t n, float beta1, float beta2, float keep, float step, float root, float eps,
      float scale_by, float *p, const float *g, float *m, float *v)
{
    for (int64_t i = 0; i < n; i += LANES) {
        lanes d = lanes_get(g, i, n, 0) * scale_by;
        lanes first = lanes_get(m, i, n, 0) * beta1 + d * (1.0f - beta1);
        lanes second = lanes_get(v, i, n, 0) * beta2 + d * d * (1.0f - beta2);
        lanes spread = second;

        for (int j = 0; j < LANES; j++)
            spread[j] = __builtin_sqrtf(second[j]);
        lanes_put(m, i, n, first);
        lanes_put(v, i, n, second);
        lanes_put(p, i, n,
                  lanes_get(p, i, n, 0) * keep - first * step / (spread * root + eps));
    }
}

#define ISA_TABLE(set, tile_rows, tile_columns) \
    const struct isa isa_##set = { \
        .name = #set, .rows = tile_rows, .columns = tile_columns, .tile = tile, .norm = norm, \
        .norm_again = norm_again, .norm_back = norm_back, .add = add, .sum = sum, \
        .rotate = rotate, .swiglu = swiglu, .swiglu_back = swiglu_back, .attend = attend, \
        .panels = panels, .strips = strips, .attend_again = attend_again, \
        .attend_back = attend_back, .scale = scale, .softmax = softmax, \
        .softmax_back = softmax_back, .adamw = adamw, \
    }

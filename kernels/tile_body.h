/* tile_body: the register tile of a product, for one instruction set. Included by isa_avx512.c and
 * isa_avx2.c, which define VEC (a register of VEC_WIDTH floats), VEC_LOAD, VEC_STORE, VEC_ALL,
 * VEC_FMA, TILE_ROWS, TILE_EACH_ROW (a macro applied to 0 .. TILE_ROWS - 1) and TILE_COLUMNS, two
 * registers. Each register element holds one chain of fma over `inner`; no two partial sums are
 * ever joined.
 *
 * Rows are spelt out by macros and not looped over, because compilers keep an array of registers
 * in memory when they unroll too late. */

#define TILE_SPAN 3         /* rows that one base pointer serves: more pointers would spill */

#define TILE_START(i) \
    VEC left##i = zero, right##i = zero; \
    if (rows > i) { \
        const float *from = t->start == ISA_START_bias ? t->bias : t->c + i * t->c_row; \
        if (t->start != ISA_START_zero) { \
            left##i = VEC_LOAD(from); \
            if (wide) \
                right##i = VEC_LOAD(from + VEC_WIDTH); \
        } \
    }

#define TILE_STEP(i) \
    if (rows > i) { \
        VEC factor = VEC_ALL(a##i[i % TILE_SPAN * row]); \
        left##i = VEC_FMA(factor, b_left, left##i); \
        if (wide) \
            right##i = VEC_FMA(factor, b_right, right##i); \
    }

#define TILE_STORE(i) \
    if (rows > i) { \
        VEC_STORE(t->c + i * t->c_row, left##i); \
        if (wide) \
            VEC_STORE(t->c + i * t->c_row + VEC_WIDTH, right##i); \
    }

#define TILE_AHEAD(i) \
    if (rows > i) { \
        __builtin_prefetch(ahead + i * t->c_row, 1); \
        if (wide) \
            __builtin_prefetch(ahead + i * t->c_row + VEC_WIDTH, 1); \
    }

#define a0  base0
#define a1  base0
#define a2  base0
#define a3  base1
#define a4  base1
#define a5  base1
#define a6  base2
#define a7  base2
#define a8  base2
#define a9  base3
#define a10 base3
#define a11 base3

/* rows, wide and strip are constants at every call. wide: two registers per row, else one. strip:
 * a is contiguous along the rows (a_row = 1), else along inner (a_inner = 1). */
static inline __attribute__((always_inline)) void
tile_of(const int rows, const int wide, const int strip, const struct isa_tile *t)
{
    const int64_t row = strip ? 1 : t->a_row, next = strip ? t->a_inner : 1;
    const float  *base0 = t->a, *base1 = base0 + TILE_SPAN * row, *base2 = base1 + TILE_SPAN * row;
    const float  *base3 = base2 + TILE_SPAN * row, *b = t->b;
    const float  *soon = t->soon;
    const int64_t soon_step = t->soon_step;
    const VEC     zero = VEC_ALL(0.0f);

    (void)base2;
    (void)base3;

    TILE_EACH_ROW(TILE_START)
    if (t->ahead != NULL) {
        const float *ahead = t->ahead;

        TILE_EACH_ROW(TILE_AHEAD)
    }
    /* Twice per turn: the front end is as busy as the multipliers, and a turn's own work counts. */
#pragma GCC unroll 2
    for (int64_t p = t->inner; p > 0; p--) {
        const VEC b_left = VEC_LOAD(b), b_right = wide ? VEC_LOAD(b + VEC_WIDTH) : zero;

        TILE_EACH_ROW(TILE_STEP)
        __builtin_prefetch(soon, 0, 2);
        soon += soon_step;
        base0 += next;
        base1 += next;
        base2 += next;
        base3 += next;
        b += t->b_inner;
    }
    TILE_EACH_ROW(TILE_STORE)
}

/* One function per number of rows: an edge of the product costs what its rows cost. */
#define TILE_CASE(i) \
    case i + 1: \
        if (t->columns == 2 * VEC_WIDTH) \
            strip ? tile_of(i + 1, 1, 1, t) : tile_of(i + 1, 1, 0, t); \
        else \
            strip ? tile_of(i + 1, 0, 1, t) : tile_of(i + 1, 0, 0, t); \
        break;

static void
tile(const struct isa_tile *t)
{
    const int strip = t->a_row == 1 && t->a_inner != 1;

    switch (t->rows) {
        TILE_EACH_ROW(TILE_CASE)
    default:
        break;
    }
}

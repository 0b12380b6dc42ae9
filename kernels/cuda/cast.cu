/* cast: float32 to bfloat16 on the device; the definition is kernels/cast.h. A thread makes 8
 * neighbours of a row, 16 bytes of what is written, with one Philox block if the 8 lie in one. */
#include "kernels/cuda/context.cuh"

#include "kernels/random.h"

#define THREADS     256
#define BLOCKS_MOST (1 << 20)
#define OCTET       8
#define COUNT_MOST  (INT64_C(1) << 48)      /* numbers written: no product of sizes overflows */

struct cast {
    int64_t         rows, columns, out_stride;
    const float    *from;
    unsigned short *out;
    int             stochastic;
    int             whole;          /* every octet is 16-byte aligned on both sides and complete */
    uint64_t        seed, first;
};

/* Philox4x32-10 (Salmon et al., SC 2011), counter (index, RANDOM_rounding, 0). */
static __device__ inline uint4
philox(uint64_t seed, uint64_t index)
{
    uint32_t a = (uint32_t)index, b = (uint32_t)(index >> 32), c = RANDOM_rounding, d = 0;
    uint32_t key_a = (uint32_t)seed, key_b = (uint32_t)(seed >> 32);

#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)a * 0xD2511F53u, q = (uint64_t)c * 0xCD9E8D57u;

        a = (uint32_t)(q >> 32) ^ b ^ key_a;
        b = (uint32_t)q;
        c = (uint32_t)(p >> 32) ^ d ^ key_b;
        d = (uint32_t)p;
        key_a += 0x9E3779B9u;
        key_b += 0xBB67AE85u;
    }
    return make_uint4(a, b, c, d);
}

/* Ties to even: 0x7fff is half a step less one, the kept bit makes it half where that is odd. A
 * shift to the left drops the sign. */
static __device__ inline uint32_t
nearest(uint32_t bits)
{
    if ((bits << 1) > 0xff000000u)
        return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

/* Beyond the largest finite bfloat16, infinities and NaN among them, both roundings are nearest. */
static __device__ inline uint32_t
stochastic(uint32_t bits, uint32_t draw)
{
    return (bits << 1) > 0xfefe0000u ? nearest(bits) : (bits + draw) >> 16;
}

static __device__ inline uint32_t
draw_of(uint4 block, int i)         /* i in [0, 8) */
{
    uint32_t word = i < 4 ? (i < 2 ? block.x : block.y) : (i < 6 ? block.z : block.w);

    return i % 2 == 0 ? word & 0xffffu : word >> 16;
}

static __device__ inline uint32_t
pack(uint32_t low, uint32_t high)
{
    return low | high << 16;
}

/* Octets that are whole, their draws one block each. */
static __device__ inline void
cast_whole(const struct cast &k, int64_t at)
{
    uint4 left = *(const uint4 *)(k.from + at), right = *(const uint4 *)(k.from + at + 4), out;

    if (k.stochastic) {
        uint4 r = philox(k.seed, (k.first + (uint64_t)at) / OCTET);

        out = make_uint4(pack(stochastic(left.x, r.x & 0xffffu), stochastic(left.y, r.x >> 16)),
                         pack(stochastic(left.z, r.y & 0xffffu), stochastic(left.w, r.y >> 16)),
                         pack(stochastic(right.x, r.z & 0xffffu), stochastic(right.y, r.z >> 16)),
                         pack(stochastic(right.z, r.w & 0xffffu), stochastic(right.w, r.w >> 16)));
    } else {
        out = make_uint4(pack(nearest(left.x), nearest(left.y)),
                         pack(nearest(left.z), nearest(left.w)),
                         pack(nearest(right.x), nearest(right.y)),
                         pack(nearest(right.z), nearest(right.w)));
    }
    *(uint4 *)(k.out + at) = out;
}

/* Columns [column, column + 8) of row r as far as they are there, zeros in the padding. */
static __device__ inline void
cast_part(const struct cast &k, int64_t r, int64_t column)
{
    uint64_t index = k.first + (uint64_t)(r * k.columns + column), block_at = index / OCTET;
    uint4 block = make_uint4(0, 0, 0, 0);

    if (k.stochastic)
        block = philox(k.seed, block_at);
    for (int i = 0; i < OCTET && column + i < k.out_stride; i++, index++) {
        uint32_t bits = 0;

        if (k.stochastic && index / OCTET != block_at) {
            block_at = index / OCTET;
            block = philox(k.seed, block_at);
        }
        if (column + i < k.columns) {
            bits = __float_as_uint(k.from[r * k.columns + column + i]);
            bits = k.stochastic ? stochastic(bits, draw_of(block, (int)(index % OCTET)))
                                : nearest(bits);
        }
        k.out[r * k.out_stride + column + i] = (unsigned short)bits;
    }
}

static __global__ void
cast_rows(struct cast k)
{
    int64_t across = (k.out_stride + OCTET - 1) / OCTET, octets = k.rows * across;
    int64_t step = (int64_t)gridDim.x * THREADS;

#pragma unroll 1
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < octets; i += step) {
        if (k.whole)
            cast_whole(k, i * OCTET);
        else
            cast_part(k, i / across, i % across * OCTET);
    }
}

static int
aligned(const void *at)
{
    return (uintptr_t)at % 16 == 0;
}

SLUICE_API int
sluice_cast(struct sluice_cuda *s, int64_t rows, int64_t columns, const float *from,
            int64_t out_stride, void *out, enum sluice_rounding rounding, uint64_t seed,
            uint64_t first)
{
    struct cast k = {rows, columns, out_stride, from, (unsigned short *)out,
                     0, 0, seed, first};
    int64_t blocks;
    int how = number_of(&rounding), rc;

    fail_clear();
    if (rows < 0 || columns < 0 || out_stride < columns
        || (rows > 0 && out_stride > COUNT_MOST / rows))
        return fail(SLUICE_argument, "sluice_cast: %lld rows, %lld columns, stride %lld",
                    (long long)rows, (long long)columns, (long long)out_stride);
    if (how != SLUICE_nearest && how != SLUICE_stochastic)
        return fail(SLUICE_argument, "sluice_cast: there is no rounding %d", how);
    k.stochastic = how == SLUICE_stochastic;
    if (rows == 0 || out_stride == 0)
        return 0;
    if (out == NULL || (from == NULL && columns > 0) || (uintptr_t)from % sizeof(float) != 0 ||
        (uintptr_t)out % sizeof(*k.out) != 0)
        return fail(SLUICE_argument, "sluice_cast: an array is NULL or does not begin at a number");
    if (out_stride == columns) {    /* one long row: the index of an element stays what it is */
        k.columns = k.out_stride = rows * columns;
        k.rows = 1;
    }
    k.whole = k.rows == 1 && k.columns == k.out_stride && k.columns % OCTET == 0 &&
              first % OCTET == 0 && aligned(from) && aligned(out);
    blocks = (k.rows * ((k.out_stride + OCTET - 1) / OCTET) + THREADS - 1) / THREADS;
    rc = context_enter(s);
    if (rc != 0)
        return rc;
    return launch(s, "cast", {blocks < BLOCKS_MOST ? blocks : BLOCKS_MOST, THREADS, 0, 0},
                  cast_rows, k);
}

/* The instructions of hopper.cuh, one by one, against their text: on a device, whether the
 * functions say what they mean; on fibers, also whether the simulated ones find what a kernel does
 * wrong. */
#include "tests/cuda/check.h"

#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/rows_device.cuh"

#define ROWS    80                  /* of x; boxes have 64: 50 from FIRST_ROW on, 14 zeros */
#define CLASSES 280                 /* of W; boxes have 256: 200, 56 zeros */
#define COLUMNS 100                 /* of both; boxes have 64: 60, 4 zeros */
#define STRIDE  104
#define FIRST_ROW 30
#define FIRST_CLASS 80
#define FIRST_COLUMN 40
#define BOX_X   (64 * SWIZZLE_ROW)
#define BOX_W   (256 * SWIZZLE_ROW)

enum mistake {
    NONE, NO_BARRIER_FENCE, NO_PRODUCT_FENCE, TOUCHED, NOT_WAITED_FOR, EXTRA_ARRIVAL, MISSING_BYTES,
    WRONG_START, DIVERGED, NO_BARRIER, READ_EARLY, READ_BEFORE_IT_CAME, LEFT,
};

static void
needs_hopper(void)
{
    if (device_compute() != 90)
        check_skip("for compute capability 9.0");
}

/* The block's shared memory from a multiple of SWIZZLE on. */
static __device__ unsigned char *
aligned(void)
{
    unsigned char *at = shared_memory();
    uint32_t past = shared_address(at) % SWIZZLE;

    return at + (past == 0 ? 0 : SWIZZLE - past);
}

/* out (64, 256) = x W^T by one warpgroup. Copies of x and W were asked for by thread 0. */
template <int mistake>
static __global__ void
product_kernel(const __grid_constant__ tensor_map x, const __grid_constant__ tensor_map w,
               float *out)
{
    unsigned char *at = aligned();
    uint64_t *came = (uint64_t *)(at + BOX_X + BOX_W);
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float d[128];

    if (threadIdx.x == 0) {
        if (mistake != NO_BARRIER)
            barrier_init(came, 1);
        if (mistake != NO_BARRIER_FENCE)
            fence_barriers();
        barrier_expect(came, BOX_X + BOX_W + (mistake == MISSING_BYTES ? 16 : 0));
        tensor_load(at, &x, came, FIRST_COLUMN, FIRST_ROW);
        tensor_load(at + BOX_X, &w, came, FIRST_COLUMN, FIRST_CLASS);
    }
    __syncthreads();
    if (mistake == EXTRA_ARRIVAL)
        barrier_arrive(came);
    if (mistake != READ_BEFORE_IT_CAME && mistake != LEFT)
        barrier_wait(came, 0);
    for (int i = 0; i < 128; i++)
        d[i] = 0.0f;
    if (mistake != NO_PRODUCT_FENCE)
        wgmma_fence();
    for (int k = 0; k < 4; k++) {
        wgmma_m64n256k16(d, wgmma_descriptor(at + (mistake == WRONG_START ? 128 : 0)) +
                                k * DESCRIPTOR_K + (mistake == DIVERGED && warp == 3 ? 64 : 0),
                         wgmma_descriptor(at + BOX_X) + k * DESCRIPTOR_K, k > 0);
        if (mistake == TOUCHED && k == 1)
            d[5] = 1.0f;
    }
    wgmma_commit();
    if (mistake != NOT_WAITED_FOR && mistake != READ_EARLY)
        wgmma_wait<0>();
    for (int i = 0; i < 128; i++)
        out[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * 256 + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
    if (mistake == READ_EARLY)
        wgmma_wait<0>();
    if (mistake == READ_BEFORE_IT_CAME)
        barrier_wait(came, 0);
}

struct matrices {
    uint16_t *x, *w;
    tensor_map x_map, w_map;
    float *out;                     /* on the device */
};

static int
number(int row, int column, int salt)
{
    return (row * 31 + column * 17 + salt + row * column % 13) % 7 - 3;
}

static struct matrices
matrices_new(void)
{
    struct matrices m;
    void *x, *w;

    m.x = (uint16_t *)check_room(ROWS * STRIDE * 2);
    m.w = (uint16_t *)check_room(CLASSES * STRIDE * 2);
    for (int r = 0; r < CLASSES; r++)
        for (int c = 0; c < STRIDE; c++) {
            m.w[r * STRIDE + c] = check_bf16((float)number(r, c, 5));
            if (r < ROWS)
                m.x[r * STRIDE + c] = check_bf16((float)number(r, c, 1));
        }
    x = device(m.x, ROWS * STRIDE * 2);
    w = device(m.w, CLASSES * STRIDE * 2);
    m.out = (float *)device_room(64 * 256 * 4);
    MUST_EQUAL(tensor_map_make(&m.x_map, x, ROWS, COLUMNS, STRIDE, 64), 0);
    MUST_EQUAL(tensor_map_make(&m.w_map, w, CLASSES, COLUMNS, STRIDE, 256), 0);
    return m;
}

static void
matrices_free(struct matrices *m)
{
    free(m->x);
    free(m->w);
}

template <int mistake>
static void
run_product(struct matrices *m, int blocks)
{
    struct launch l = {blocks, WARPGROUP, 0, SWIZZLE + BOX_X + BOX_W + 16};

    MUST_OK(launch(sluice(), "a product", l, product_kernel<mistake>, m->x_map, m->w_map, m->out));
}

/* How many of out's elements are right. */
static int
right_elements(const struct matrices *m)
{
    float *out = (float *)check_room(64 * 256 * 4);
    int right = 0;

    host(out, m->out, 64 * 256 * 4);
    for (int r = 0; r < 64; r++)
        for (int v = 0; v < 256; v++) {
            float sum = 0.0f;       /* of small integers: exact */

            for (int c = FIRST_COLUMN; c < COLUMNS; c++)
                if (r + FIRST_ROW < ROWS && v + FIRST_CLASS < CLASSES)
                    sum += check_float(m->x[(r + FIRST_ROW) * STRIDE + c]) *
                           check_float(m->w[(v + FIRST_CLASS) * STRIDE + c]);
            right += out[r * 256 + v] == sum;
        }
    free(out);
    return right;
}

CHECK(a_product_of_boxes_is_exact_and_zero_beyond_the_matrices)
{
    struct matrices m;

    needs_hopper();
    m = matrices_new();
    run_product<NONE>(&m, 1);
    MUST_EQUAL(right_elements(&m), 64 * 256);
    matrices_free(&m);
}

/* ---- copies ---- */

static __global__ void
copy_kernel(const __grid_constant__ tensor_map w, uint16_t *out)
{
    unsigned char *at = aligned();
    uint64_t *came = (uint64_t *)(at + BOX_W);

    if (threadIdx.x == 0) {
        barrier_init(came, 1);
        fence_barriers();
        barrier_expect(came, BOX_W);
        tensor_load(at, &w, came, FIRST_COLUMN, FIRST_CLASS);
    }
    __syncthreads();
    barrier_wait(came, 0);
    for (int i = threadIdx.x; i < BOX_W / 2; i += WARPGROUP)
        out[i] = ((const uint16_t *)at)[i];
}

CHECK(a_box_lies_swizzled_in_shared_memory)
{
    struct launch l = {1, WARPGROUP, 0, SWIZZLE + BOX_W + 16};
    static uint16_t out[BOX_W / 2];
    struct matrices m;
    void *at;

    needs_hopper();
    m = matrices_new();
    at = device_room(BOX_W);
    MUST_OK(launch(sluice(), "a copy", l, copy_kernel, m.w_map, (uint16_t *)at));
    host(out, at, BOX_W);
    for (int r = 0; r < 256; r++)
        for (int c = 0; c < 64; c++) {
            int inside = r + FIRST_CLASS < CLASSES && c + FIRST_COLUMN < COLUMNS;
            uint16_t expected =
                inside ? m.w[(r + FIRST_CLASS) * STRIDE + c + FIRST_COLUMN] : 0;

            MUST_EQUAL(out[r * 64 + (c / 8 ^ r % 8) * 8 + c % 8], expected);
        }
    matrices_free(&m);
}

CHECK(a_map_is_refused_where_rows_are_not_aligned_or_less_than_a_box)
{
    tensor_map map;
    unsigned char *at;

    needs_hopper();
    at = (unsigned char *)device_room(600 * 72 * 2 + 16);
    MUST_EQUAL(tensor_map_make(&map, at, 600, 68, 72, 64), 0);
    MUST(tensor_map_make(&map, at + 8, 600, 68, 72, 64) != 0);
    MUST(tensor_map_make(&map, at, 600, 68, 68, 64) != 0);
    MUST(tensor_map_make(&map, at, 600, 68, 72, 512) != 0);
    MUST(tensor_map_make(&map, at, 63, 68, 72, 64) != 0);
    MUST(tensor_map_make(&map, at, 600, 63, 72, 64) != 0);
}

/* ---- matrices of 8 by 8, numbers ---- */

static __global__ void
store_kernel(uint32_t *out)
{
    unsigned char *at = shared_memory();
    int lane = threadIdx.x;
    uint32_t word = (uint32_t)lane * 4;

    /* matrix m, row r: at 16 bytes times (8 m + r) reversed */
    matrix_store(at + (31 - lane) * 16, word, word + 1, word + 2, word + 3);
    __syncwarp();
    for (int i = 0; i < 4; i++)
        out[lane * 4 + i] = ((const uint32_t *)at)[lane * 4 + i];
}

CHECK(four_matrices_go_where_their_rows_say)
{
    struct launch l = {1, WARP, 0, 512};
    uint32_t out[128];
    void *at;

    needs_hopper();
    at = device_room(sizeof out);
    MUST_OK(launch(sluice(), "matrices", l, store_kernel, (uint32_t *)at));
    host(out, at, sizeof out);
    for (int m = 0; m < 4; m++)
        for (int r = 0; r < 8; r++)
            for (int c = 0; c < 4; c++)
                MUST_EQUAL(out[(31 - (8 * m + r)) * 4 + c], (r * 4 + c) * 4 + m);
}

static __global__ void
exp2_kernel(const float *x, float *y, uint32_t *pairs, int count)
{
    for (int i = threadIdx.x; i < count; i += WARP) {
        y[i] = power_of_two(x[i]);
        pairs[i] = bfloat16_pair(x[i], y[i]);
    }
}

CHECK(powers_of_two_and_pairs_of_bfloat16)
{
    enum { COUNT = 4096 };
    static float x[COUNT], y[COUNT];
    static uint32_t pairs[COUNT];
    struct launch l = {1, WARP, 0, 0};
    void *x_at, *y_at, *pairs_at;

    needs_hopper();
    for (int i = 0; i < COUNT; i++)
        x[i] = -150.0f * (float)i / (float)COUNT;
    x[COUNT - 1] = -1442.0f;
    x_at = device(x, sizeof x);
    y_at = device_room(sizeof y);
    pairs_at = device_room(sizeof pairs);
    MUST_OK(launch(sluice(), "powers", l, exp2_kernel, (const float *)x_at, (float *)y_at,
                   (uint32_t *)pairs_at, (int)COUNT));
    host(y, y_at, sizeof y);
    host(pairs, pairs_at, sizeof pairs);
    MUST(y[0] == 1.0f && y[COUNT - 1] == 0.0f);
    for (int i = 0; i < COUNT; i++) {
        double exact = exp2((double)x[i]);

        MUST_NEAR(y[i], exact, exact * 0x1p-21 + 0x1p-126);
        MUST_EQUAL(pairs[i], (uint32_t)check_bf16(y[i]) << 16 | check_bf16(x[i]));
    }
}

/* ---- what the simulated device finds ---- */

#ifdef SLUICE_SIMT

#include <sys/wait.h>
#include <unistd.h>

/* A process of its own, that runs the product with a mistake, ends with these words. */
template <int mistake>
static void
must_die(const char *part)
{
    char text[4096];
    int ends[2], status = 0;
    size_t length = 0;
    ssize_t got;
    pid_t child;
    struct matrices m = matrices_new();

    fflush(stdout);
    MUST(pipe(ends) == 0);
    child = fork();
    MUST(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        run_product<mistake>(&m, 2);
        _exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    close(ends[0]);
    MUST(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        check_fail(__FILE__, __LINE__, "mistake %d is not found: no \"%s\"", mistake, part);
    MUST_TEXT(text, part);
    matrices_free(&m);
}

CHECK(a_kernels_mistakes_end_it)
{
    must_die<NO_BARRIER>("no barrier at");
    must_die<NO_BARRIER_FENCE>("no fence has shown");
    must_die<EXTRA_ARRIVAL>("more arrivals");
    must_die<MISSING_BYTES>("deadlock");
    must_die<NO_PRODUCT_FENCE>("without wgmma_fence");
    must_die<TOUCHED>("accumulators were touched");
    must_die<NOT_WAITED_FOR>("products under way");
    must_die<LEFT>("copies under way");
    must_die<WRONG_START>("multiple of 1024");
    must_die<DIVERGED>("different matrices");
}

CHECK(what_is_read_too_early_is_wrong)
{
    struct matrices m = matrices_new();

    run_product<READ_EARLY>(&m, 1);
    MUST_EQUAL(right_elements(&m), 0);
    run_product<READ_BEFORE_IT_CAME>(&m, 1);
    MUST(right_elements(&m) < 64 * 256);
    run_product<NONE>(&m, 1);
    MUST_EQUAL(right_elements(&m), 64 * 256);
    matrices_free(&m);
}

#endif

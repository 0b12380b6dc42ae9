/* check: the harness of tests/cuda/test_*.cu, one header, for g++ (fibers) and nvcc (a device) with
 * nothing but C's library: cmocka is not on a bare GPU host. A file includes it once and says
 *
 *      CHECK(a_row_of_equal_logits_is_uniform)
 *      {
 *          float *z = (float *)device(host, sizeof host);  freed when the check ends
 *          MUST_OK(sluice_head_statistics(sluice(), ...)); 0, or the library's words
 *          MUST_NEAR(logp[0], -log(8), 1e-6);
 *      }
 *
 * and nothing else: checks register themselves in the file's order, main() is here. Output is TAP;
 * where there is no device every check says "ok N - name # SKIP no CUDA device". A MUST that fails
 * prints both values and ends its check. Arguments: only the checks whose name contains one of
 * them; -l lists. */
#ifndef TESTS_CUDA_CHECK_H
#define TESTS_CUDA_CHECK_H

#include <cuda_runtime.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda/context.cuh"

#define CHECKS_MAX 256
#define CHECK_BUFFERS_MAX 1024
#define CHECK_SLOW_MS 1000          /* a check that takes longer says so */

enum check_end { CHECK_passed, CHECK_failed, CHECK_skipped };

struct check {
    const char *name;
    void      (*body)(void);
    int         hostside;           /* runs without a device, too */
};

static struct {
    struct check list[CHECKS_MAX];
    int     count;
    jmp_buf end;
    char    reason[256];            /* of a skip */
    void   *buffers[CHECK_BUFFERS_MAX];
    int     buffer_count;
    struct sluice_cuda *context;
} checks;

static inline int
check_add(const char *name, void (*body)(void), int hostside)
{
    if (checks.count == CHECKS_MAX) {
        fprintf(stderr, "check: more than %d checks\n", CHECKS_MAX);
        exit(2);
    }
    checks.list[checks.count].name = name;
    checks.list[checks.count].body = body;
    checks.list[checks.count].hostside = hostside;
    return checks.count++;
}

#define CHECK_(NAME, HOSTSIDE)                                                                  \
    static void check_##NAME(void);                                                             \
    static const int checked_##NAME = check_add(#NAME, check_##NAME, HOSTSIDE);                 \
    static void check_##NAME(void)
#define CHECK(NAME) CHECK_(NAME, 0)
#define CHECK_HOST(NAME) CHECK_(NAME, 1)        /* needs no device */

/* ---- verdicts ---- */

__attribute__((format(printf, 3, 4), noreturn)) static inline void
check_fail(const char *file, int line, const char *format, ...)
{
    va_list list;

    printf("# %s:%d: ", file, line);
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    printf("\n");
    longjmp(checks.end, CHECK_failed);
}

/* Ends the check as skipped. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void
check_skip(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(checks.reason, sizeof checks.reason, format, list);
    va_end(list);
    longjmp(checks.end, CHECK_skipped);
}

#define MUST(CONDITION)                                                                         \
    do {                                                                                        \
        if (!(CONDITION))                                                                       \
            check_fail(__FILE__, __LINE__, "not so: %s", #CONDITION);                           \
    } while (0)

#define MUST_EQUAL(A, B)                                                                        \
    do {                                                                                        \
        long long a_ = (long long)(A), b_ = (long long)(B);                                     \
        if (a_ != b_)                                                                           \
            check_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #A, a_, b_);                 \
    } while (0)

/* |A - B| <= TOLERANCE; NaN never is. */
#define MUST_NEAR(A, B, TOLERANCE)                                                              \
    do {                                                                                        \
        double a_ = (double)(A), b_ = (double)(B), t_ = (double)(TOLERANCE);                    \
        if (!(fabs(a_ - b_) <= t_) && !(a_ == b_))                                              \
            check_fail(__FILE__, __LINE__, "%s is %.9g, not %.9g within %.3g (off by %.3g)",    \
                       #A, a_, b_, t_, fabs(a_ - b_));                                          \
    } while (0)

#define MUST_TEXT(A, PART)                                                                      \
    do {                                                                                        \
        const char *a_ = (A), *b_ = (PART);                                                     \
        if (strstr(a_, b_) == NULL)                                                             \
            check_fail(__FILE__, __LINE__, "%s is \"%s\": no \"%s\" in it", #A, a_, b_);        \
    } while (0)

/* A call of the library that succeeds, or that fails with this status. */
#define MUST_OK(CALL)                                                                           \
    do {                                                                                        \
        int rc_ = (CALL);                                                                       \
        if (rc_ != 0)                                                                           \
            check_fail(__FILE__, __LINE__, "%s gives %d: %s", #CALL, rc_, sluice_cuda_error()); \
    } while (0)

#define MUST_FAIL(CALL, STATUS, PART)                                                           \
    do {                                                                                        \
        int rc_ = (CALL);                                                                       \
        if (rc_ != (int)(STATUS))                                                               \
            check_fail(__FILE__, __LINE__, "%s gives %d, not %s: \"%s\"", #CALL, rc_, #STATUS,  \
                       sluice_cuda_error());                                                    \
        MUST_TEXT(sluice_cuda_error(), PART);                                                   \
    } while (0)

/* A call of the runtime itself. */
#define MUST_CUDA(CALL)                                                                         \
    do {                                                                                        \
        cudaError_t rc_ = (CALL);                                                               \
        if (rc_ != cudaSuccess)                                                                 \
            check_fail(__FILE__, __LINE__, "%s: %s", #CALL, cudaGetErrorString(rc_));           \
    } while (0)

/* The same bytes; names the first that differs, in elements of *A. */
#define MUST_SAME(A, B, COUNT)                                                                  \
    check_same(__FILE__, __LINE__, #A, (A), (B), (int64_t)(COUNT), sizeof *(A))
/* Floats or doubles: |a[i] - b[i]| <= tolerance + relative |b[i]| for all; tells the worst one. */
#define MUST_CLOSE(A, B, COUNT, TOLERANCE, RELATIVE)                                            \
    check_close(__FILE__, __LINE__, #A, (A), (B), (int64_t)(COUNT), TOLERANCE, RELATIVE)

static inline void
check_same(const char *file, int line, const char *words, const void *a, const void *b,
           int64_t count, size_t size)
{
    const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
    char left[40] = "", right[40] = "";

    for (int64_t i = 0; i < count; i++) {
        if (memcmp(x + i * (int64_t)size, y + i * (int64_t)size, size) == 0)
            continue;
        for (size_t byte = 0; byte < size && byte < 16; byte++) {
            snprintf(left + 2 * byte, 3, "%02x", x[i * (int64_t)size + (int64_t)byte]);
            snprintf(right + 2 * byte, 3, "%02x", y[i * (int64_t)size + (int64_t)byte]);
        }
        check_fail(file, line, "%s[%lld] of %lld: bytes %s, not %s", words, (long long)i,
                   (long long)count, left, right);
    }
}

template <typename A, typename B>
static inline void
check_close(const char *file, int line, const char *words, const A *a, const B *b, int64_t count,
            double tolerance, double relative)
{
    double worst = 1;
    int64_t at = -1;

    for (int64_t i = 0; i < count; i++) {
        double off = fabs((double)a[i] - (double)b[i]);
        double room = tolerance + relative * fabs((double)b[i]);
        double over = (double)a[i] == (double)b[i] ? 0 : off / room;

        if (over > worst || isnan(over)) {
            at = i;
            worst = isnan(over) ? INFINITY : over;
        }
    }
    if (at >= 0)
        check_fail(file, line, "%s[%lld] of %lld is %.9g, not %.9g: off by %.3g, %.3g times what "
                   "is allowed", words, (long long)at, (long long)count, (double)a[at],
                   (double)b[at], fabs((double)a[at] - (double)b[at]), worst);
}

/* ---- the device ---- */

/* The file's context on device 0, opened when first asked for. */
static inline struct sluice_cuda *
sluice(void)
{
    if (checks.context == NULL)
        MUST_OK(sluice_cuda_open(0, NULL, &checks.context));
    return checks.context;
}

/* The next sluice() opens another one. */
static inline void
sluice_close(void)
{
    for (int i = 0; i < checks.buffer_count; i++)
        sluice_cuda_free(checks.context, checks.buffers[i]);
    checks.buffer_count = 0;
    sluice_cuda_close(checks.context);
    checks.context = NULL;
}

/* Memory of the device, NaN everywhere, until the check ends. */
static inline void *
device_room(int64_t bytes)
{
    void *at = NULL;

    MUST(checks.buffer_count < CHECK_BUFFERS_MAX);
    MUST_OK(sluice_cuda_alloc(sluice(), bytes, &at));
    checks.buffers[checks.buffer_count++] = at;
    if (bytes > 0)
        MUST_CUDA(cudaMemset(at, 0xff, (size_t)bytes));
    MUST_CUDA(cudaDeviceSynchronize());     /* the context's stream does not wait for others */
    return at;
}

/* A copy of the host's bytes, until the check ends. NULL stays NULL. */
static inline void *
device(const void *host, int64_t bytes)
{
    void *at;

    if (host == NULL)
        return NULL;
    at = device_room(bytes);
    if (bytes > 0)
        MUST_OK(sluice_cuda_upload(sluice(), at, host, bytes));
    MUST_OK(sluice_cuda_wait(sluice()));
    return at;
}

static inline void
host(void *to, const void *from_device, int64_t bytes)
{
    MUST_OK(sluice_cuda_download(sluice(), to, from_device, bytes));
}

/* Does the device have it? 80, 90, ...; 0: no device. */
static inline int
device_compute(void)
{
    struct sluice_device d;

    return sluice_cuda_describe(0, &d) == 0 ? d.major * 10 + d.minor : 0;
}

/* ---- numbers: a sequence for each seed, the same everywhere ---- */

static inline uint64_t
check_bits(uint64_t *state)         /* splitmix64 */
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static inline double
check_uniform(uint64_t *state, double from, double to)
{
    return from + (to - from) * ((double)(check_bits(state) >> 11) * 0x1p-53);
}

static inline double
check_normal(uint64_t *state)       /* Box and Muller */
{
    double u = check_uniform(state, 0x1p-54, 1), v = check_uniform(state, 0, 1);

    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static inline int64_t
check_below(uint64_t *state, int64_t count)
{
    return (int64_t)(check_bits(state) % (uint64_t)count);
}

/* bfloat16 without the code under test: nearest, ties to even. */
static inline uint16_t
check_bf16(float value)
{
    uint32_t word;

    memcpy(&word, &value, sizeof word);
    if ((word & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff;
    return (uint16_t)((word + 0x7fffu + (word >> 16 & 1)) >> 16);
}

static inline float
check_float(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;

    memcpy(&value, &word, sizeof value);
    return value;
}

/* Host memory that a check frees itself (free), never NULL. */
static inline void *
check_room(int64_t bytes)
{
    void *at = calloc(1, bytes > 0 ? (size_t)bytes : 1);

    if (at == NULL) {
        fprintf(stderr, "check: out of memory\n");
        exit(2);
    }
    return at;
}

/* ---- the run ---- */

static inline double
check_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static inline int
check_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return 1;
    return argc < 2;
}

static enum check_end
check_run(const struct check *c, int devices)
{
    volatile enum check_end end = CHECK_passed;
    int jumped;

    if (devices == 0 && !c->hostside) {
        snprintf(checks.reason, sizeof checks.reason, "no CUDA device");
        return CHECK_skipped;
    }
    jumped = setjmp(checks.end);
    if (jumped == 0)
        c->body();
    else
        end = (enum check_end)jumped;
    if (checks.context != NULL && checks.buffer_count > 0) {
        sluice_cuda_wait(checks.context);
        for (int i = 0; i < checks.buffer_count; i++)
            sluice_cuda_free(checks.context, checks.buffers[i]);
        checks.buffer_count = 0;
    }
    return end;
}

int
main(int argc, char **argv)
{
    int devices = 0, failed = 0, number = 0, wanted = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < checks.count && argc == 2 && strcmp(argv[1], "-l") == 0; i++)
        printf("%s\n", checks.list[i].name);
    if (argc == 2 && strcmp(argv[1], "-l") == 0)
        return 0;
    if (sluice_cuda_count(&devices) != 0)
        devices = 0;
    for (int i = 0; i < checks.count; i++)
        wanted += check_wanted(checks.list[i].name, argc, argv);
    printf("1..%d\n", wanted);
    for (int i = 0; i < checks.count; i++) {
        const struct check *c = &checks.list[i];
        double begin = check_ms(), took;
        enum check_end end;

        if (!check_wanted(c->name, argc, argv))
            continue;
        end = check_run(c, devices);
        took = check_ms() - begin;
        failed += end == CHECK_failed;
        printf("%s %d - %s%s%s\n", end == CHECK_failed ? "not ok" : "ok", ++number, c->name,
               end == CHECK_skipped ? " # SKIP " : "", end == CHECK_skipped ? checks.reason : "");
        if (took > CHECK_SLOW_MS)
            printf("# %s: %.1f s\n", c->name, took * 1e-3);
    }
    sluice_close();
    return failed != 0 || wanted == 0;
}

#endif

/* The context: devices, memory, faults, words of failures. */
#include "kernels/cuda/context.cuh"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/gemm_library.cuh"

static thread_local char    text[SLUICE_TEXT_MAX];
static thread_local int64_t text_row = -1;

/* ---- failures ---- */

void
fail_clear(void)
{
    text[0] = '\0';
    text_row = -1;
}

int
fail(enum sluice_status status, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    text_row = -1;
    return status;
}

int
fail_row(enum sluice_status status, int64_t row, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    text_row = row;
    return status;
}

int
fail_cuda(cudaError_t error, const char *what)
{
    const char *words = cudaGetErrorString(error);
    int driver = 0;

    switch (error) {
    case cudaSuccess:
        return 0;
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
        return fail(SLUICE_no_device, "%s: %s", what, words);
    case cudaErrorInsufficientDriver:   /* what the runtime says of none, too */
        if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
            return fail(SLUICE_no_device, "%s: there is no CUDA driver", what);
        return fail(SLUICE_old_driver, "%s: the driver is older than this library's CUDA %d.%d",
                    what, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    case cudaErrorNoKernelImageForDevice:
        return fail(SLUICE_old_device, "%s: this library has no code for the device", what);
    case cudaErrorMemoryAllocation:
        cudaGetLastError();         /* not sticky: the device goes on */
        return fail(SLUICE_memory, "%s: %s", what, words);
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorNotSupported:
    case cudaErrorInvalidClusterSize:
        cudaGetLastError();
        return fail(SLUICE_failed, "%s: %s", what, words);
    default:                        /* everything else spoils the context for good */
        return fail(SLUICE_lost, "%s: the device failed: %s", what, words);
    }
}

SLUICE_API int
sluice_cuda_abi(void)
{
    return SLUICE_CUDA_ABI;
}

SLUICE_API const char *
sluice_cuda_error(void)
{
    return text;
}

SLUICE_API int64_t
sluice_cuda_error_row(void)
{
    return text_row;
}

/* ---- devices ---- */

SLUICE_API int
sluice_cuda_count(int *count)
{
    cudaError_t rc;

    fail_clear();
    if (count == NULL)
        return fail(SLUICE_argument, "sluice_cuda_count: count is NULL");
    *count = 0;
    rc = cudaGetDeviceCount(count);
    if (rc == cudaErrorNoDevice) {
        *count = 0;
        return 0;
    }
    return fail_cuda(rc, "looking for devices");
}

SLUICE_API int
sluice_cuda_describe(int device, struct sluice_device *out)
{
    cudaDeviceProp p;
    size_t free_bytes = 0, all = 0;
    int rc;

    fail_clear();
    if (out == NULL)
        return fail(SLUICE_argument, "sluice_cuda_describe: out is NULL");
    memset(out, 0, sizeof *out);
    rc = fail_cuda(cudaGetDeviceProperties(&p, device), "reading the device's properties");
    if (rc == 0)
        rc = fail_cuda(cudaSetDevice(device), "choosing the device");
    if (rc == 0)
        rc = fail_cuda(cudaMemGetInfo(&free_bytes, &all), "reading the device's memory");
    if (rc != 0)
        return rc;
    snprintf(out->name, sizeof out->name, "%s", p.name);
    out->major = p.major;
    out->minor = p.minor;
    out->multiprocessors = p.multiProcessorCount;
    out->memory = (int64_t)all;
    out->memory_free = (int64_t)free_bytes;
    out->cublaslt = gemm_library_version();
    cudaDriverGetVersion(&out->driver);
    cudaRuntimeGetVersion(&out->runtime);
    if (out->cublaslt == 0)
        snprintf(text, sizeof text, "%s", gemm_library()->trouble);
    return 0;
}

int
context_enter(struct sluice_cuda *s)
{
    if (s == NULL)
        return fail(SLUICE_argument, "the context is NULL");
    return fail_cuda(cudaSetDevice(s->device), "choosing the device");
}

static int
fill(struct sluice_cuda *s, int device, void *stream)
{
    cudaDeviceProp p;
    int rc = fail_cuda(cudaGetDeviceProperties(&p, device), "opening the device");

    if (rc != 0)
        return rc;
    if (p.major < 8)
        return fail(SLUICE_old_device, "device %d (%s) has compute capability %d.%d; 8.0 is the "
                    "least", device, p.name, p.major, p.minor);
    s->device = device;
    s->major = p.major;
    s->minor = p.minor;
    s->multiprocessors = p.multiProcessorCount;
    s->shared_most = (int64_t)p.sharedMemPerBlockOptin;
    s->stream = (cudaStream_t)stream;
    rc = context_enter(s);
    if (rc == 0 && stream == NULL) {
        rc = fail_cuda(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking),
                       "making a stream");
        s->owns_stream = rc == 0;
    }
    if (rc == 0)
        rc = fail_cuda(cudaMalloc((void **)&s->fault, sizeof *s->fault), "taking memory");
    return rc == 0 ? fault_reset(s) : rc;
}

SLUICE_API int
sluice_cuda_open(int device, void *stream, struct sluice_cuda **out)
{
    struct sluice_cuda *s;
    int rc;

    fail_clear();
    if (out == NULL)
        return fail(SLUICE_argument, "sluice_cuda_open: out is NULL");
    *out = NULL;
    s = (struct sluice_cuda *)calloc(1, sizeof *s);
    if (s == NULL)
        return fail(SLUICE_memory, "out of memory");
    rc = fill(s, device, stream);
    if (rc != 0) {
        sluice_cuda_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

SLUICE_API void
sluice_cuda_close(struct sluice_cuda *s)
{
    if (s == NULL)
        return;
    cudaSetDevice(s->device);
    if (s->stream != NULL || !s->owns_stream)
        cudaStreamSynchronize(s->stream);
    gemm_free(s->gemm);
    for (int i = 0; i < SCRATCH_count; i++)
        scratch_free(s, (enum scratch)i);
    cudaFree(s->fault);
    if (s->owns_stream)
        cudaStreamDestroy(s->stream);
    free(s);
}

SLUICE_API int
sluice_cuda_wait(struct sluice_cuda *s)
{
    int rc;

    fail_clear();
    rc = context_enter(s);
    return rc == 0 ? fail_cuda(cudaStreamSynchronize(s->stream), "waiting for the device") : rc;
}

/* ---- memory ---- */

static int
take(int64_t bytes, const char *what, void **out)
{
    size_t free_bytes = 0, all = 0;
    cudaError_t rc = cudaMalloc(out, bytes > 0 ? (size_t)bytes : 1);

    if (rc != cudaErrorMemoryAllocation)
        return fail_cuda(rc, what);
    *out = NULL;
    cudaGetLastError();
    cudaMemGetInfo(&free_bytes, &all);
    return fail(SLUICE_memory, "%s: %lld bytes wanted, %lld of the device's %lld are free", what,
                (long long)bytes, (long long)free_bytes, (long long)all);
}

void
scratch_free(struct sluice_cuda *s, enum scratch which)
{
    cudaFree(s->scratch[which]);                /* waits for what uses it */
    s->scratch[which] = NULL;
    s->scratch_bytes[which] = 0;
}

int
scratch_take(struct sluice_cuda *s, enum scratch which, int64_t bytes, void **out)
{
    int rc = 0;

    if (bytes > s->scratch_bytes[which] || s->scratch[which] == NULL) {
        scratch_free(s, which);
        rc = take(bytes, "work space", &s->scratch[which]);
        s->scratch_bytes[which] = rc == 0 ? bytes : 0;
    }
    *out = s->scratch[which];
    return rc;
}

/* Makes the context's device the thread's for a call about so many bytes. */
static int
enter_for(struct sluice_cuda *s, int64_t bytes)
{
    fail_clear();
    if (bytes < 0)
        return fail(SLUICE_argument, "%lld bytes: fewer than none", (long long)bytes);
    return context_enter(s);
}

SLUICE_API int
sluice_cuda_alloc(struct sluice_cuda *s, int64_t bytes, void **out)
{
    int rc = enter_for(s, bytes);

    *out = NULL;
    return rc == 0 ? take(bytes, "taking memory", out) : rc;
}

SLUICE_API void
sluice_cuda_free(struct sluice_cuda *s, void *at)
{
    if (s != NULL && context_enter(s) == 0)
        cudaFree(at);
}

SLUICE_API int
sluice_cuda_zero(struct sluice_cuda *s, void *at, int64_t bytes)
{
    int rc = enter_for(s, bytes);

    return rc == 0 ? fail_cuda(cudaMemsetAsync(at, 0, (size_t)bytes, s->stream), "zeroing memory")
                   : rc;
}

SLUICE_API int
sluice_cuda_upload(struct sluice_cuda *s, void *to, const void *from_host, int64_t bytes)
{
    int rc = enter_for(s, bytes);

    if (rc != 0)
        return rc;
    return fail_cuda(cudaMemcpyAsync(to, from_host, (size_t)bytes, cudaMemcpyHostToDevice,
                                     s->stream), "copying to the device");
}

SLUICE_API int
sluice_cuda_download(struct sluice_cuda *s, void *to_host, const void *from, int64_t bytes)
{
    int rc = enter_for(s, bytes);

    if (rc == 0)
        rc = fail_cuda(cudaMemcpyAsync(to_host, from, (size_t)bytes, cudaMemcpyDeviceToHost,
                                       s->stream), "copying from the device");
    return rc == 0 ? sluice_cuda_wait(s) : rc;
}

/* ---- faults ---- */

int
fault_reset(struct sluice_cuda *s)
{
    return fail_cuda(cudaMemsetAsync(s->fault, 0xff, sizeof *s->fault, s->stream),
                     "zeroing memory");
}

int
fault_read(struct sluice_cuda *s, enum fault *what, int64_t *row)
{
    unsigned long long word = FAULT_none;
    int rc = fail_cuda(cudaMemcpyAsync(&word, s->fault, sizeof word, cudaMemcpyDeviceToHost,
                                       s->stream), "copying from the device");

    if (rc == 0)
        rc = fail_cuda(cudaStreamSynchronize(s->stream), "waiting for the device");
    *row = word == FAULT_none ? -1 : (int64_t)(word >> 4);
    *what = (enum fault)(word & 15);
    return rc;
}

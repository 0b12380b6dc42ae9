/* The runtime API: devices, memory, faults on demand, launches. */
#include "cuda_runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMORY_DEFAULT ((size_t)4 << 30)
#define ALIGN 256
#define CLUSTER_PORTABLE 8
#define CLUSTER_MAX 16
#define SHARED_DEFAULT ((size_t)48 << 10)

struct simt_stream { int device; };
struct simt_event { struct timespec at; };

struct allocation {                 /* of the device */
    unsigned char *at;
    size_t         bytes;
};

struct function {                   /* what cudaFuncSetAttribute said of a kernel */
    const void *kernel;
    size_t      shared;
    int         large_clusters;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct allocation *allocations;
static size_t allocation_count, allocation_room, allocated;
static struct function   *functions;
static size_t function_count, function_room;
static thread_local cudaError_t last = cudaSuccess;
static thread_local int current;

static const struct { cudaError_t error; const char *name, *words; } errors[] = {
#define ROW(name, words) { name, #name, words }
    ROW(cudaSuccess, "no error"),
    ROW(cudaErrorInvalidValue, "invalid argument"),
    ROW(cudaErrorMemoryAllocation, "out of memory"),
    ROW(cudaErrorInitializationError, "initialization error"),
    ROW(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ROW(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    ROW(cudaErrorInvalidDeviceFunction, "invalid device function"),
    ROW(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ROW(cudaErrorInvalidDevice, "invalid device ordinal"),
    ROW(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    ROW(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ROW(cudaErrorNotReady, "device not ready"),
    ROW(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ROW(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    ROW(cudaErrorLaunchFailure, "unspecified launch failure"),
    ROW(cudaErrorNotSupported, "operation not supported"),
    ROW(cudaErrorInvalidClusterSize, "cluster misconfiguration"),
#undef ROW
};

const char *
cudaGetErrorName(cudaError_t error)
{
    for (const auto &row : errors)
        if (row.error == error)
            return row.name;
    return "cudaErrorUnknown";
}

const char *
cudaGetErrorString(cudaError_t error)
{
    for (const auto &row : errors)
        if (row.error == error)
            return row.words;
    return "unknown error";
}

/* ---- faults on demand ---- */

static size_t
number(const char *name, size_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static char   lose[32];             /* SLUICE_SIMT_LOSE as last seen */
static size_t launches;             /* since then */

/* Under the lock. Is the device lost, after `more` launches? */
static int
lost(size_t more)
{
    const char *text = getenv("SLUICE_SIMT_LOSE");

    if (text == NULL)
        text = "";
    if (strcmp(text, lose) != 0) {
        snprintf(lose, sizeof lose, "%s", text);
        launches = 0;
    }
    launches += more;
    return lose[0] != '\0' && launches >= strtoull(lose, NULL, 10);
}

static cudaError_t
keep(cudaError_t error)
{
    if (error != cudaSuccess)
        last = error;
    return error;
}

/* What any call that reaches the device gives first. */
static cudaError_t
device_state(size_t more)
{
    const char *driver = getenv("SLUICE_SIMT_DRIVER");
    int gone;

    if (driver != NULL && strcmp(driver, "old") == 0)
        return cudaErrorInsufficientDriver;
    if (number("SLUICE_SIMT_DEVICES", 1) == 0)
        return cudaErrorNoDevice;
    pthread_mutex_lock(&lock);
    gone = lost(more);
    pthread_mutex_unlock(&lock);
    return gone ? cudaErrorLaunchFailure : cudaSuccess;
}

int
simt_launch_fault(void)
{
    return keep(device_state(1));
}

cudaError_t
cudaGetLastError(void)
{
    cudaError_t error = last, state = device_state(0);

    last = cudaSuccess;
    return state == cudaErrorLaunchFailure ? state : error;
}

cudaError_t
cudaPeekAtLastError(void)
{
    return last;
}

/* ---- devices ---- */

static int
compute(void)
{
    return (int)number("SLUICE_SIMT_COMPUTE", 90);
}

static size_t
shared_most(void)                   /* CUDA programming guide, table of compute capabilities */
{
    return compute() >= 90 ? 227 << 10 : compute() >= 80 ? 163 << 10 : 64 << 10;
}

cudaError_t
cudaGetDeviceCount(int *count)
{
    cudaError_t state = device_state(0);

    *count = 0;
    if (state == cudaErrorInsufficientDriver || state == cudaErrorNoDevice)
        return keep(state);
    *count = (int)number("SLUICE_SIMT_DEVICES", 1);
    return cudaSuccess;
}

static cudaError_t
check_device(int device)
{
    cudaError_t state = device_state(0);

    if (state != cudaSuccess && state != cudaErrorLaunchFailure)
        return keep(state);
    if (device < 0 || device >= (int)number("SLUICE_SIMT_DEVICES", 1))
        return keep(cudaErrorInvalidDevice);
    return cudaSuccess;
}

cudaError_t
cudaGetDeviceProperties(cudaDeviceProp *out, int device)
{
    cudaError_t state = check_device(device);

    if (state != cudaSuccess)
        return state;
    memset((void *)out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "simulated CUDA device %d", device);
    out->totalGlobalMem = number("SLUICE_SIMT_MEMORY", MEMORY_DEFAULT);
    out->sharedMemPerBlock = SHARED_DEFAULT;
    out->sharedMemPerBlockOptin = shared_most();
    out->sharedMemPerMultiprocessor = shared_most() + 1024;
    out->regsPerBlock = 65536;
    out->warpSize = 32;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsPerMultiProcessor = 2048;
    out->major = compute() / 10;
    out->minor = compute() % 10;
    out->multiProcessorCount = 6;   /* few: more would only take longer */
    out->l2CacheSize = 1 << 20;
    out->memoryBusWidth = 64;
    out->clusterLaunch = compute() >= 90;
    return cudaSuccess;
}

cudaError_t
cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int device)
{
    cudaDeviceProp p;
    cudaError_t state = cudaGetDeviceProperties(&p, device);

    if (state != cudaSuccess)
        return state;
    switch (which) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxGridDimX: *value = INT32_MAX; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrClusterLaunch: *value = p.clusterLaunch; break;
    default: return keep(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t
cudaSetDevice(int device)
{
    cudaError_t state = check_device(device);

    if (state == cudaSuccess)
        current = device;
    return state;
}

cudaError_t
cudaGetDevice(int *device)
{
    *device = current;
    return keep(device_state(0));
}

cudaError_t
cudaDeviceSynchronize(void)
{
    return keep(device_state(0));
}

cudaError_t
cudaDeviceReset(void)
{
    return cudaSuccess;
}

cudaError_t
cudaDriverGetVersion(int *version)
{
    const char *driver = getenv("SLUICE_SIMT_DRIVER");

    *version = driver != NULL && strcmp(driver, "old") == 0 ? 11040 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t
cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* ---- memory ---- */

static struct allocation *
allocation_of(const void *at)
{
    for (size_t i = 0; i < allocation_count; i++) {
        struct allocation *a = &allocations[i];

        if ((const unsigned char *)at >= a->at && (const unsigned char *)at < a->at + a->bytes)
            return a;
    }
    return NULL;
}

int
simt_on_device(const void *at, size_t bytes)
{
    const struct allocation *a;
    int inside;

    pthread_mutex_lock(&lock);
    a = allocation_of(at);
    inside = a != NULL && bytes <= a->bytes - (size_t)((const unsigned char *)at - a->at);
    pthread_mutex_unlock(&lock);
    if (a == NULL && bytes > 0)     /* a caller's own memory: tensors of PyTorch */
        return number("SLUICE_SIMT_HOST", 0) != 0;
    return inside;
}

static cudaError_t
take(size_t bytes, void **out)
{
    void *at = NULL;

    if (bytes > number("SLUICE_SIMT_MEMORY", MEMORY_DEFAULT) - allocated)
        return cudaErrorMemoryAllocation;
    if (allocation_count == allocation_room) {
        size_t more = allocation_room * 2 + 64;
        void *grown = realloc((void *)allocations, more * sizeof *allocations);

        if (grown == NULL)
            return cudaErrorMemoryAllocation;
        allocations = (struct allocation *)grown;
        allocation_room = more;
    }
    if (posix_memalign(&at, ALIGN, bytes) != 0)
        return cudaErrorMemoryAllocation;
    memset(at, 0xff, bytes);
    allocations[allocation_count++] = { (unsigned char *)at, bytes };
    allocated += bytes;
    *out = at;
    return cudaSuccess;
}

cudaError_t
cudaMalloc(void **out, size_t bytes)
{
    cudaError_t error = device_state(0);

    *out = NULL;
    if (error != cudaSuccess || bytes == 0)
        return keep(error);
    pthread_mutex_lock(&lock);
    error = allocated > number("SLUICE_SIMT_MEMORY", MEMORY_DEFAULT) ? cudaErrorMemoryAllocation
                                                                     : take(bytes, out);
    pthread_mutex_unlock(&lock);
    return keep(error);
}

cudaError_t
cudaFree(void *at)
{
    struct allocation *a;

    if (at == NULL)
        return cudaSuccess;
    pthread_mutex_lock(&lock);
    a = allocation_of(at);
    if (a == NULL || a->at != at)
        simt_die(NULL, 0, "cudaFree of %p, which cudaMalloc did not give", at);
    allocated -= a->bytes;
    *a = allocations[--allocation_count];
    if (allocation_count == 0) {
        free((void *)allocations);
        allocations = NULL;
        allocation_room = 0;
    }
    pthread_mutex_unlock(&lock);
    free(at);
    return keep(device_state(0));
}

cudaError_t
cudaMemGetInfo(size_t *free_bytes, size_t *all)
{
    *all = number("SLUICE_SIMT_MEMORY", MEMORY_DEFAULT);
    pthread_mutex_lock(&lock);
    *free_bytes = *all > allocated ? *all - allocated : 0;
    pthread_mutex_unlock(&lock);
    return keep(device_state(0));
}

cudaError_t
cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    cudaError_t error = device_state(0);

    *out = NULL;
    if (error == cudaSuccess && posix_memalign(out, 4096, bytes > 0 ? bytes : 1) != 0)
        error = cudaErrorMemoryAllocation;
    return keep(error);
}

cudaError_t
cudaMallocHost(void **out, size_t bytes)
{
    return cudaHostAlloc(out, bytes, cudaHostAllocDefault);
}

cudaError_t
cudaFreeHost(void *at)
{
    free(at);
    return keep(device_state(0));
}

/* A device faults at an address that is not its own, sooner or later; here at once. */
static void
check_side(const char *call, const char *which, const void *at, size_t bytes, int device)
{
    int begins = simt_on_device(at, 0), inside = simt_on_device(at, bytes);

    if (device && !inside)
        simt_die(NULL, 0, "%s: %zu bytes at the %s are not within one allocation of the device",
                 call, bytes, which);
    if (!device && begins)
        simt_die(NULL, 0, "%s: the %s is the device's memory, but the host's was said", call,
                 which);
}

cudaError_t
cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t)
{
    cudaError_t error = device_state(0);

    if (error != cudaSuccess || bytes == 0)
        return keep(error);
    if (kind != cudaMemcpyDefault) {
        check_side("cudaMemcpy", "target", to, bytes,
                   kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice);
        check_side("cudaMemcpy", "source", from, bytes,
                   kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
    }
    memmove(to, from, bytes);
    return cudaSuccess;
}

cudaError_t
cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(to, from, bytes, kind, 0);
}

cudaError_t
cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t)
{
    cudaError_t error = device_state(0);

    if (error != cudaSuccess || bytes == 0)
        return keep(error);
    check_side("cudaMemset", "target", at, bytes, 1);
    memset(at, value, bytes);
    return cudaSuccess;
}

cudaError_t
cudaMemset(void *at, int value, size_t bytes)
{
    return cudaMemsetAsync(at, value, bytes, 0);
}

/* ---- streams and events ---- */

cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    cudaError_t error = device_state(0);

    *out = NULL;
    if (error == cudaSuccess)
        *out = (cudaStream_t)calloc(1, sizeof **out);
    return keep(error == cudaSuccess && *out == NULL ? cudaErrorMemoryAllocation : error);
}

cudaError_t
cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t
cudaStreamDestroy(cudaStream_t stream)
{
    free((void *)stream);
    return keep(device_state(0));
}

cudaError_t
cudaStreamSynchronize(cudaStream_t)
{
    return keep(device_state(0));
}

cudaError_t
cudaStreamQuery(cudaStream_t)
{
    return keep(device_state(0));
}

cudaError_t
cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return keep(device_state(0));
}

cudaError_t
cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    cudaError_t error = device_state(0);

    *out = NULL;
    if (error == cudaSuccess)
        *out = (cudaEvent_t)calloc(1, sizeof **out);
    return keep(error == cudaSuccess && *out == NULL ? cudaErrorMemoryAllocation : error);
}

cudaError_t
cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t
cudaEventDestroy(cudaEvent_t event)
{
    free((void *)event);
    return keep(device_state(0));
}

cudaError_t
cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    return keep(device_state(0));
}

cudaError_t
cudaEventSynchronize(cudaEvent_t)
{
    return keep(device_state(0));
}

cudaError_t
cudaEventQuery(cudaEvent_t)
{
    return keep(device_state(0));
}

cudaError_t
cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    *ms = (float)((double)(end->at.tv_sec - begin->at.tv_sec) * 1e3 +
                  (double)(end->at.tv_nsec - begin->at.tv_nsec) * 1e-6);
    return keep(device_state(0));
}

/* ---- launches ---- */

static struct function *
function_of(const void *kernel, int make)
{
    for (size_t i = 0; i < function_count; i++)
        if (functions[i].kernel == kernel)
            return &functions[i];
    if (!make)
        return NULL;
    if (function_count == function_room) {
        void *grown = realloc((void *)functions, (function_room * 2 + 64) * sizeof *functions);

        if (grown == NULL)
            simt_die(NULL, 0, "out of memory");
        functions = (struct function *)grown;
        function_room = function_room * 2 + 64;
    }
    functions[function_count] = { kernel, SHARED_DEFAULT, 0 };
    return &functions[function_count++];
}

cudaError_t
cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute which, int value)
{
    cudaError_t error = device_state(0);
    struct function *f;

    if (error != cudaSuccess)
        return keep(error);
    if (which == cudaFuncAttributeMaxDynamicSharedMemorySize &&
        (value < 0 || (size_t)value > shared_most()))
        return keep(cudaErrorInvalidValue);
    if (which == cudaFuncAttributeNonPortableClusterSizeAllowed && compute() < 90)
        return keep(cudaErrorNotSupported);
    pthread_mutex_lock(&lock);
    f = function_of(kernel, 1);
    if (which == cudaFuncAttributeMaxDynamicSharedMemorySize)
        f->shared = (size_t)value;
    if (which == cudaFuncAttributeNonPortableClusterSizeAllowed)
        f->large_clusters = value;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

/* The cluster's blocks, 1 without one; 0: refused, *error says why. */
static unsigned
cluster_of(const cudaLaunchConfig_t *c, int large, cudaError_t *error)
{
    unsigned blocks = 1;

    for (unsigned i = 0; i < c->numAttrs; i++) {
        const cudaLaunchAttribute *a = &c->attrs[i];

        if (a->id != cudaLaunchAttributeClusterDimension)
            continue;
        if (compute() < 90) {
            *error = cudaErrorNotSupported;
            return 0;
        }
        if (a->val.clusterDim.y != 1 || a->val.clusterDim.z != 1)
            simt_die(NULL, 0, "clusters are along x alone here");
        blocks = a->val.clusterDim.x;
    }
    *error = cudaErrorInvalidClusterSize;
    if (blocks < 1 || blocks > (large ? CLUSTER_MAX : CLUSTER_PORTABLE) ||
        c->gridDim.x % blocks != 0)
        return 0;
    *error = cudaSuccess;
    return blocks;
}

static cudaError_t
check_launch(const cudaLaunchConfig_t *c, const void *kernel, unsigned *cluster)
{
    const dim3 g = c->gridDim, b = c->blockDim;
    struct function f = { kernel, SHARED_DEFAULT, 0 };
    const struct function *known;
    cudaError_t error;

    if (kernel == NULL)
        return cudaErrorInvalidDeviceFunction;
    pthread_mutex_lock(&lock);
    known = function_of(kernel, 0);
    if (known != NULL)
        f = *known;
    pthread_mutex_unlock(&lock);
    if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > INT32_MAX || g.y > 65535 || g.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > 1024 || b.y > 1024 || b.z > 64 ||
        (uint64_t)b.x * b.y * b.z > 1024)
        return cudaErrorInvalidConfiguration;
    if (c->dynamicSmemBytes > f.shared)
        return cudaErrorInvalidValue;
    *cluster = cluster_of(c, f.large_clusters, &error);
    return error;
}

cudaError_t
simt_launch_kernel(const cudaLaunchConfig_t *config, const void *kernel, void (*call)(void *),
                   void *body)
{
    struct simt_launch l = { kernel, call, body, config->gridDim, config->blockDim, 1,
                             config->dynamicSmemBytes };
    cudaError_t error = check_launch(config, kernel, &l.cluster);

    if (error == cudaSuccess)
        error = (cudaError_t)simt_launch_fault();
    if (error == cudaSuccess)
        simt_run(&l);
    return keep(error);
}

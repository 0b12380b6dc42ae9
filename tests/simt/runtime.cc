/* The runtime API: devices, faults on demand, streams, launches. Memory is memory.cc's. */
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CLUSTER_PORTABLE 8
#define CLUSTER_MAX 16
#define SHARED_DEFAULT ((size_t)48 << 10)

struct simt_stream { int device; };
struct simt_event { struct timespec at; };

struct function {                   /* what cudaFuncSetAttribute said of a kernel */
    const void *kernel;
    size_t      shared;
    int         large_clusters;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
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
    ROW(cudaErrorInsufficientDriver,
        "CUDA driver version is insufficient for CUDA runtime version"),
    ROW(cudaErrorInvalidDeviceFunction, "invalid device function"),
    ROW(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ROW(cudaErrorInvalidDevice, "invalid device ordinal"),
    ROW(cudaErrorNoKernelImageForDevice,
        "no kernel image is available for execution on the device"),
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

size_t
simt_number(const char *name, size_t otherwise)
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

cudaError_t
simt_keep(cudaError_t error)
{
    if (error != cudaSuccess)
        last = error;
    return error;
}

cudaError_t
simt_state(size_t more)
{
    const char *driver = getenv("SLUICE_SIMT_DRIVER");
    int gone;

    if (driver != NULL && strcmp(driver, "old") == 0)
        return cudaErrorInsufficientDriver;
    if (simt_number("SLUICE_SIMT_DEVICES", 1) == 0)
        return cudaErrorNoDevice;
    pthread_mutex_lock(&lock);
    gone = lost(more);
    pthread_mutex_unlock(&lock);
    return gone ? cudaErrorLaunchFailure : cudaSuccess;
}

int
simt_launch_fault(void)
{
    return simt_keep(simt_state(1));
}

cudaError_t
cudaGetLastError(void)
{
    cudaError_t error = last, state = simt_state(0);

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
    return (int)simt_number("SLUICE_SIMT_COMPUTE", 90);
}

static size_t
shared_most(void)                   /* CUDA programming guide, table of compute capabilities */
{
    return compute() >= 90 ? 227 << 10 : compute() >= 80 ? 163 << 10 : 64 << 10;
}

cudaError_t
cudaGetDeviceCount(int *count)
{
    cudaError_t state = simt_state(0);

    *count = 0;
    if (state == cudaErrorInsufficientDriver || state == cudaErrorNoDevice)
        return simt_keep(state);
    *count = (int)simt_number("SLUICE_SIMT_DEVICES", 1);
    return cudaSuccess;
}

static cudaError_t
check_device(int device)
{
    cudaError_t state = simt_state(0);

    if (state != cudaSuccess && state != cudaErrorLaunchFailure)
        return simt_keep(state);
    if (device < 0 || device >= (int)simt_number("SLUICE_SIMT_DEVICES", 1))
        return simt_keep(cudaErrorInvalidDevice);
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
    out->totalGlobalMem = simt_memory();
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
    default: return simt_keep(cudaErrorInvalidValue);
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
    return simt_keep(simt_state(0));
}

cudaError_t
cudaDeviceSynchronize(void)
{
    simt_memory_close();
    return simt_keep(simt_state(0));
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

/* ---- streams and events ---- */

cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    cudaError_t error = simt_state(0);

    *out = NULL;
    if (error == cudaSuccess)
        *out = (cudaStream_t)calloc(1, sizeof **out);
    return simt_keep(error == cudaSuccess && *out == NULL ? cudaErrorMemoryAllocation : error);
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
    return simt_keep(simt_state(0));
}

cudaError_t
cudaStreamSynchronize(cudaStream_t)
{
    simt_memory_close();
    return simt_keep(simt_state(0));
}

cudaError_t
cudaStreamQuery(cudaStream_t)
{
    return simt_keep(simt_state(0));
}

cudaError_t
cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return simt_keep(simt_state(0));
}

cudaError_t
cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    cudaError_t error = simt_state(0);

    *out = NULL;
    if (error == cudaSuccess)
        *out = (cudaEvent_t)calloc(1, sizeof **out);
    return simt_keep(error == cudaSuccess && *out == NULL ? cudaErrorMemoryAllocation : error);
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
    return simt_keep(simt_state(0));
}

cudaError_t
cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    return simt_keep(simt_state(0));
}

cudaError_t
cudaEventSynchronize(cudaEvent_t)
{
    simt_memory_close();
    return simt_keep(simt_state(0));
}

cudaError_t
cudaEventQuery(cudaEvent_t)
{
    return simt_keep(simt_state(0));
}

cudaError_t
cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    *ms = (float)((double)(end->at.tv_sec - begin->at.tv_sec) * 1e3 +
                  (double)(end->at.tv_nsec - begin->at.tv_nsec) * 1e-6);
    return simt_keep(simt_state(0));
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
    cudaError_t error = simt_state(0);
    struct function *f;

    if (error != cudaSuccess)
        return simt_keep(error);
    if (which == cudaFuncAttributeMaxDynamicSharedMemorySize &&
        (value < 0 || (size_t)value > shared_most()))
        return simt_keep(cudaErrorInvalidValue);
    if (which == cudaFuncAttributeNonPortableClusterSizeAllowed && compute() < 90)
        return simt_keep(cudaErrorNotSupported);
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
    if (error == cudaSuccess) {
        simt_memory_open();
        simt_run(&l);
    }
    return simt_keep(error);
}

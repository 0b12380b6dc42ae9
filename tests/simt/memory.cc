/* Memory of the device. Each allocation ends just before a page that faults, addresses are never
 * given twice, and while the host has the word nothing can be touched at all: host code that
 * follows a pointer of the device is stopped as on one. Under -fsanitize=address it is malloc's, of
 * exact size, and the sanitizer finds what leaves it. */
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MEMORY_DEFAULT ((size_t)4 << 30)
#define ALIGN ((size_t)256)
#define PAGE ((size_t)4096)
#define CLOSED_MAX ((size_t)1 << 20)        /* an allocation larger than this is left open: time */
#define WAITS_ALL 64                /* the first waits all close the memory, then every 16th */
#define WAITS_SOME 16
#define PATTERN 0xa5                /* between an allocation's last byte and the page's */

struct allocation {
    unsigned char *at;
    size_t         bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct allocation *allocations;
static size_t count, room, allocated;
static struct allocation recent;    /* the last that was asked for: kernels ask often */
static int closed;
static uint64_t waits;              /* of the host for the device */

size_t
simt_memory(void)
{
    return simt_number("SLUICE_SIMT_MEMORY", MEMORY_DEFAULT);
}

static struct allocation *
allocation_of(const void *at)
{
    for (size_t i = 0; i < count; i++) {
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

    if ((size_t)((const unsigned char *)at - recent.at) < recent.bytes)
        return bytes <= recent.bytes - (size_t)((const unsigned char *)at - recent.at);
    pthread_mutex_lock(&lock);
    a = allocation_of(at);
    if (a != NULL)
        recent = *a;
    inside = a != NULL && bytes <= a->bytes - (size_t)((const unsigned char *)at - a->at);
    pthread_mutex_unlock(&lock);
    if (a == NULL && bytes > 0)     /* a caller's own memory: tensors of PyTorch */
        return simt_number("SLUICE_SIMT_HOST", 0) != 0;
    return inside;
}

#ifdef __SANITIZE_ADDRESS__

static unsigned char *
map(size_t bytes)
{
    void *at;

    return posix_memalign(&at, ALIGN, bytes) == 0 ? (unsigned char *)at : NULL;
}

static void
unmap(const struct allocation *a)
{
    free(a->at);
}

static void
protect(const struct allocation *, int)
{
}

int
simt_memory_offset(const void *, size_t *)
{
    return 0;
}

#else

static unsigned char *first, *next, *end;   /* from next on: addresses that nobody has had */

static size_t
padded(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(ALIGN - 1);
}

static size_t
paged(size_t bytes)
{
    return (bytes + PAGE - 1) & ~(PAGE - 1);
}

static unsigned char *
pages(const struct allocation *a)
{
    return a->at + padded(a->bytes) - paged(a->bytes);
}

static int
reserve(void)
{
    for (int bits = 40; bits >= 32 && next == NULL; bits -= 2) {
        void *at = mmap(NULL, (size_t)1 << bits, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (at != MAP_FAILED) {
            first = next = (unsigned char *)at;
            end = next + ((size_t)1 << bits);
        }
    }
    return next != NULL;
}

static unsigned char *
map(size_t bytes)
{
    size_t whole = paged(bytes);
    unsigned char *at;

    if ((next == NULL && !reserve()) || whole + PAGE > (size_t)(end - next))
        return NULL;
    at = next;
    if (mprotect(at, whole, PROT_READ | PROT_WRITE) != 0)
        return NULL;
    next += whole + PAGE;
    at += whole - padded(bytes);
    memset(at + bytes, PATTERN, padded(bytes) - bytes);
    return at;
}

static void
protect(const struct allocation *a, int mode)
{
    if (a->bytes <= CLOSED_MAX)
        mprotect(pages(a), paged(a->bytes), mode);
}

int
simt_memory_offset(const void *at, size_t *offset)
{
    *offset = (size_t)((const unsigned char *)at - first);
    return *offset < (size_t)(next - first);
}

static void
unmap(const struct allocation *a)
{
    protect(a, PROT_READ);
    for (size_t i = a->bytes; i < padded(a->bytes); i++)
        if (a->at[i] != PATTERN)
            simt_die(NULL, 0, "byte %zu of an allocation of %zu bytes was written", i, a->bytes);
    if (mmap(pages(a), paged(a->bytes), PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        simt_die(NULL, 0, "giving memory back");
}

#endif

static void
protect_all(int mode)
{
    for (size_t i = 0; i < count; i++)
        protect(&allocations[i], mode);
}

void
simt_memory_open(void)
{
    pthread_mutex_lock(&lock);
    if (closed)
        protect_all(PROT_READ | PROT_WRITE);
    closed = 0;
    pthread_mutex_unlock(&lock);
}

void
simt_memory_close(void)
{
    pthread_mutex_lock(&lock);
    waits++;
    if (!closed && (waits <= WAITS_ALL || waits % WAITS_SOME == 0)) {
        protect_all(PROT_NONE);
        closed = 1;
    }
    pthread_mutex_unlock(&lock);
}

/* Where an address lies, for words about a fault; no lock: the process ends. */
int
simt_memory_words(const void *at, char *text, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        const struct allocation *a = &allocations[i];
        int64_t offset = (int64_t)((uintptr_t)at - (uintptr_t)a->at);

        if (offset < -(int64_t)PAGE || offset >= (int64_t)(a->bytes + PAGE))
            continue;
        snprintf(text, size, "byte %lld of an allocation of %zu bytes", (long long)offset,
                 a->bytes);
        return 1;
    }
#ifndef __SANITIZE_ADDRESS__
    if ((const unsigned char *)at >= first && (const unsigned char *)at < next) {
        snprintf(text, size, "memory of the device that was freed");
        return 1;
    }
#endif
    snprintf(text, size, "no memory of the device");
    return 0;
}

static cudaError_t
take(size_t bytes, void **out)
{
    unsigned char *at;

    if (allocated > simt_memory() || bytes > simt_memory() - allocated)
        return cudaErrorMemoryAllocation;
    if (count == room) {
        void *grown = realloc((void *)allocations, (room * 2 + 64) * sizeof *allocations);

        if (grown == NULL)
            return cudaErrorMemoryAllocation;
        allocations = (struct allocation *)grown;
        room = room * 2 + 64;
    }
    at = map(bytes);
    if (at == NULL)
        return cudaErrorMemoryAllocation;
    memset(at, 0xff, bytes);
    allocations[count++] = { at, bytes };
    allocated += bytes;
    if (closed)
        protect(&allocations[count - 1], PROT_NONE);
    *out = at;
    return cudaSuccess;
}

cudaError_t
cudaMalloc(void **out, size_t bytes)
{
    cudaError_t error = simt_state(0);

    *out = NULL;
    if (error != cudaSuccess || bytes == 0)
        return simt_keep(error);
    simt_words_of_faults();
    pthread_mutex_lock(&lock);
    error = take(bytes, out);
    pthread_mutex_unlock(&lock);
    return simt_keep(error);
}

cudaError_t
cudaFree(void *at)
{
    struct allocation *a, gone;

    if (at == NULL)
        return cudaSuccess;
    pthread_mutex_lock(&lock);
    a = allocation_of(at);
    if (a == NULL || a->at != at)
        simt_die(NULL, 0, "cudaFree of %p, which cudaMalloc did not give", at);
    gone = *a;
    recent = {};
    allocated -= gone.bytes;
    *a = allocations[--count];
    if (count == 0) {
        free((void *)allocations);
        allocations = NULL;
        room = 0;
    }
    unmap(&gone);
    pthread_mutex_unlock(&lock);
    return simt_keep(simt_state(0));
}

cudaError_t
cudaMemGetInfo(size_t *free_bytes, size_t *all)
{
    *all = simt_memory();
    pthread_mutex_lock(&lock);
    *free_bytes = *all > allocated ? *all - allocated : 0;
    pthread_mutex_unlock(&lock);
    return simt_keep(simt_state(0));
}

cudaError_t
cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    cudaError_t error = simt_state(0);

    *out = NULL;
    if (error == cudaSuccess && posix_memalign(out, PAGE, bytes > 0 ? bytes : 1) != 0)
        error = cudaErrorMemoryAllocation;
    return simt_keep(error);
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
    return simt_keep(simt_state(0));
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
    cudaError_t error = simt_state(0);

    if (error != cudaSuccess || bytes == 0)
        return simt_keep(error);
    if (kind != cudaMemcpyDefault) {
        check_side("cudaMemcpy", "target", to, bytes,
                   kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice);
        check_side("cudaMemcpy", "source", from, bytes,
                   kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
    }
    simt_memory_open();
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
    cudaError_t error = simt_state(0);

    if (error != cudaSuccess || bytes == 0)
        return simt_keep(error);
    check_side("cudaMemset", "target", at, bytes, 1);
    simt_memory_open();
    memset(at, value, bytes);
    return cudaSuccess;
}

cudaError_t
cudaMemset(void *at, int value, size_t bytes)
{
    return cudaMemsetAsync(at, value, bytes, 0);
}

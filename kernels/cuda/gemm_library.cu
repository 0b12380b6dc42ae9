/* cuBLASLt by dlopen. */
#include "kernels/cuda/gemm_library.cuh"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct gemm_library library;
static pthread_once_t      once = PTHREAD_ONCE_INIT;

#ifndef SLUICE_SIMT
static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
#define TOOLKIT "/usr/local/cuda/lib64/"
#define NAMES   (sizeof names / sizeof *names)

static void *
open_named(const char *file)
{
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL)
        snprintf(library.trouble, sizeof library.trouble, "cuBLASLt: %s (SLUICE_CUBLASLT)",
                 dlerror());
    return handle;
}

static void *
open_library(void)
{
    const char *file = getenv("SLUICE_CUBLASLT");
    void *handle = NULL;
    char  path[256];

    if (file != NULL && file[0] != '\0')
        return open_named(file);
    for (size_t i = 0; i < NAMES && handle == NULL; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_NOLOAD);
    for (size_t i = 0; i < NAMES && handle == NULL; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < NAMES && handle == NULL; i++) {
        snprintf(path, sizeof path, TOOLKIT "%s", names[i]);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (handle == NULL)
        snprintf(library.trouble, sizeof library.trouble,
                 "cuBLASLt is missing: neither %s nor %s is among the loader's libraries or in "
                 TOOLKIT "; SLUICE_CUBLASLT names a file elsewhere", names[0], names[1]);
    return handle;
}
#endif

static void *
find(void *handle, const char *name)
{
#ifdef SLUICE_SIMT
    (void)handle;
    return simt_cublaslt(name);     /* tests/simt: products by their definition */
#else
    return dlsym(handle, name);
#endif
}

static int
find_all(void *handle)
{
#define FIND(NAME)                                                                                 \
    library.NAME = (__typeof__(library.NAME))find(handle, #NAME);                                  \
    if (library.NAME == NULL)                                                                      \
        missing = #NAME;
    const char *missing = NULL;

    GEMM_FUNCTIONS(FIND)
#undef FIND
    if (missing != NULL)
        snprintf(library.trouble, sizeof library.trouble, "cuBLASLt is too old: it has no %s",
                 missing);
    return missing == NULL;
}

static void
look(void)
{
    void *handle = NULL;

#ifndef SLUICE_SIMT
    handle = open_library();
    if (handle == NULL)
        return;
#endif
    if (!find_all(handle))
        return;
    library.version = (int64_t)library.cublasLtGetVersion();
    if (library.version < GEMM_VERSION_LEAST) {
        snprintf(library.trouble, sizeof library.trouble,
                 "cuBLASLt is too old: %lld; %d is the least", (long long)library.version,
                 GEMM_VERSION_LEAST);
        library.version = 0;
    }
}

const struct gemm_library *
gemm_library(void)
{
    pthread_once(&once, look);
    return &library;
}

/* The loader of libsluice-cuda.so and the C side of a device. */
#include "kernels/device.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

#define DRIVER_FILE  "libcuda.so.1"
#define LIBRARY_FILE "libsluice-cuda.so"
#define LIBRARY_ENV  "SLUICE_CUDA"

struct device {
    void                *driver;        /* NULL: SLUICE_CUDA was set and it was not asked for */
    void                *library;
    struct device_calls  calls;
    struct sluice_cuda  *context;
    struct sluice_device about;
    int                  index;
};

/* ---- the choice ---- */

enum choice { CHOICE_auto, CHOICE_cpu, CHOICE_cuda };

static int
read_choice(const char *text, enum choice *choice, int *index, struct error *e)
{
    static const char cuda[] = "cuda:";
    const char *number = text + sizeof cuda - 1;
    char *end = NULL;
    long value;

    *index = 0;
    if (strcmp(text, "auto") == 0) {
        *choice = CHOICE_auto;
        return 0;
    }
    if (strcmp(text, "cpu") == 0) {
        *choice = CHOICE_cpu;
        return 0;
    }
    if (strncmp(text, cuda, sizeof cuda - 1) != 0 || number[0] < '0' || number[0] > '9')
        return error_set(e, ERROR_topology, "device '%s' is none of auto, cpu, cuda:N", text);
    value = strtol(number, &end, 10);
    if (*end != '\0' || value >= DEVICE_COUNT_MAX)
        return error_set(e, ERROR_topology, "device '%s': N of cuda:N is a number from 0 to %d",
                         text, DEVICE_COUNT_MAX - 1);
    *choice = CHOICE_cuda;
    *index = (int)value;
    return 0;
}

int
device_choice_check(const char *choice, struct error *e)
{
    enum choice kind;
    int index;

    return read_choice(choice, &kind, &index, e);
}

/* ---- the library ---- */

/* The program's folder; "." where the system does not say. */
static void
program_folder(char folder[PATH_MAX])
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);

    path[length > 0 ? length : 0] = '\0';
    snprintf(folder, PATH_MAX, "%s", length > 0 ? dirname(path) : ".");
}

/* Are all the parts there that the loader maps? It does not look, and dies of the first page that
 * is not (SIGBUS): what a full disk or a broken copy left. Another kind of file is left to it. */
static int
is_whole(int file, int64_t bytes)
{
    Elf64_Ehdr head;
    Elf64_Phdr part;

    if (pread(file, &head, sizeof head, 0) != (ssize_t)sizeof head
        || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64)
        return 1;
    for (int i = 0; i < head.e_phnum; i++) {
        if (head.e_phoff > INT32_MAX || head.e_phentsize != sizeof part
            || pread(file, &part, sizeof part, (off_t)head.e_phoff + i * (off_t)sizeof part)
                   != (ssize_t)sizeof part)
            return 0;
        if (part.p_type == PT_LOAD && (part.p_offset > (uint64_t)bytes
                                       || part.p_filesz > (uint64_t)bytes - part.p_offset))
            return 0;
    }
    return 1;
}

/* NULL: nothing speaks against loading it. A name without a folder is the loader's to find. */
static const char *
trouble_with(const char *path)
{
    const char *words = NULL;
    struct stat about;
    int file;

    if (strchr(path, '/') == NULL || stat(path, &about) != 0)
        return NULL;
    if (!S_ISREG(about.st_mode))
        return "it is no regular file";
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    if (!is_whole(file, about.st_size))
        words = "the file ends too early: a part of it was not copied";
    close(file);
    return words;
}

/* Never unloaded: the CUDA runtime inside has handlers that run when the process ends. */
static void *
open_file(const char *path, const char **why)
{
    void *library;

    *why = trouble_with(path);
    if (*why != NULL)
        return NULL;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL)
        *why = dlerror();
    return library;
}

/* *there: is there such a file at all? */
static int
open_beside(struct device *d, const char *folder, const char *way, int *there, struct error *e)
{
    char *path = xprint("%s%s/" LIBRARY_FILE, folder, way);
    const char *why;
    int rc = 0;

    *there = access(path, F_OK) == 0;
    if (*there) {
        d->library = open_file(path, &why);
        if (d->library == NULL)
            rc = error_set(e, ERROR_device, "'%s' does not load: %s", path, why);
    }
    free(path);
    return rc;
}

static int
open_library(struct device *d, struct error *e)
{
    const char *named = getenv(LIBRARY_ENV);
    char folder[PATH_MAX];
    const char *why;
    int there, rc;

    if (named != NULL && named[0] != '\0') {
        d->library = open_file(named, &why);
        return d->library != NULL ? 0
                                  : error_set(e, ERROR_device, LIBRARY_ENV " names '%s': %s",
                                              named, why);
    }
    program_folder(folder);
    rc = open_beside(d, folder, "", &there, e);
    if (!there)
        rc = open_beside(d, folder, "/../lib", &there, e);
    if (there)
        return rc;
    d->library = open_file(LIBRARY_FILE, &why);
    if (d->library == NULL)
        return error_set(e, ERROR_device,
                         LIBRARY_FILE " was not found: not in '%s', '%s/../lib' or the loader's "
                         "path; " LIBRARY_ENV " names a file elsewhere", folder, folder);
    return 0;
}

/* The version comes first: only where it is ours do the other functions have our arguments. */
static int
find_calls(struct device *d, struct error *e)
{
    static const char *const names[] = {
#define CALL(name) #name,
#include "kernels/sluice_cuda.def"
#undef CALL
    };
    static const size_t places[] = {
#define CALL(name) offsetof(struct device_calls, name),
#include "kernels/sluice_cuda.def"
#undef CALL
    };
    int abi;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *found = dlsym(d->library, names[i]);

        if (found == NULL)
            return error_set(e, ERROR_device, LIBRARY_FILE " has no %s: it is of another version "
                             "of this program, or another library", names[i]);
        memcpy((char *)&d->calls + places[i], &found, sizeof found);
        if (i > 0)
            continue;
        abi = d->calls.sluice_cuda_abi();
        if (abi != SLUICE_CUDA_ABI)
            return error_set(e, ERROR_device, LIBRARY_FILE " has ABI %d, this program wants %d: "
                             "build both from the same source", abi, SLUICE_CUDA_ABI);
    }
    return 0;
}

/* ---- the device ---- */

/* An old driver refuses everything: what it is itself, its own library says. */
static int
tell_old_driver(const struct device *d, struct error *e)
{
    int (*version_of)(int *) = NULL;
    int version = 0;
    char has[40] = "";
    void *found = d->driver != NULL ? dlsym(d->driver, "cuDriverGetVersion") : NULL;

    memcpy(&version_of, &found, sizeof found);
    if (found != NULL && version_of(&version) == 0)
        snprintf(has, sizeof has, " it has CUDA %d.%d;", version / 1000, version % 1000 / 10);
    return error_set(e, ERROR_device, "the driver is %s:%s %s",
                     d->driver != NULL ? "too old" : "too old or missing", has,
                     d->calls.sluice_cuda_error());
}

/* What hides devices from every program. */
static const char *
hidden(void)
{
    return getenv("CUDA_VISIBLE_DEVICES") != NULL ? " (CUDA_VISIBLE_DEVICES hides others)" : "";
}

static int
find_device(struct device *d, struct error *e)
{
    int count = 0, status = d->calls.sluice_cuda_count(&count);

    if (status == SLUICE_old_driver)
        return tell_old_driver(d, e);
    if (status != SLUICE_ok)
        return device_fail(d, status, "CUDA", e);
    if (count == 0)
        return error_set(e, ERROR_device, "there is a driver and no CUDA device%s", hidden());
    if (d->index >= count)
        return error_set(e, ERROR_device, "there is no such device: %d CUDA device%s, the last is "
                         "cuda:%d%s", count, count == 1 ? "" : "s", count - 1, hidden());
    status = d->calls.sluice_cuda_describe(d->index, &d->about);
    if (status != SLUICE_ok)
        return device_fail(d, status, "CUDA", e);
    return 0;
}

/* Describing a device leaves words where cuBLASLt was not found: which names were tried. */
static int
tell_no_products(const struct device *d, struct error *e)
{
    struct sluice_device again;
    const char *words = d->calls.sluice_cuda_describe(d->index, &again) == SLUICE_ok
                            ? d->calls.sluice_cuda_error() : "";

    return error_set(e, ERROR_device, "%s", words[0] != '\0' ? words
                     : "cuBLASLt is missing or too old; SLUICE_CUBLASLT names its file");
}

static int
open_device(struct device *d, struct error *e)
{
    const char *named = getenv(LIBRARY_ENV);
    int rc, status;

    if (named == NULL || named[0] == '\0') {
        d->driver = dlopen(DRIVER_FILE, RTLD_NOW | RTLD_LOCAL);
        if (d->driver == NULL)
            return error_set(e, ERROR_device, DRIVER_FILE " not found: no NVIDIA driver");
    }
    rc = open_library(d, e);
    if (rc == 0)
        rc = find_calls(d, e);
    if (rc == 0)
        rc = find_device(d, e);
    if (rc < 0)
        return rc;
    status = d->calls.sluice_cuda_open(d->index, NULL, &d->context);
    if (status != SLUICE_ok)
        return device_fail(d, status, "CUDA", e);
    return d->about.cublaslt == 0 ? tell_no_products(d, e) : 0;
}

int
device_open(const char *choice, struct device **out, struct error *e)
{
    struct error why = {0};
    struct device *d;
    enum choice kind;
    int index, rc = read_choice(choice, &kind, &index, e);

    *out = NULL;
    if (rc < 0 || kind == CHOICE_cpu)
        return rc;
    d = xalloc(sizeof *d);
    d->index = index;
    rc = open_device(d, &why);
    if (rc == 0) {
        *out = d;
        return 0;
    }
    device_close(d);
    if (kind == CHOICE_auto && rc != ERROR_memory)
        return 0;
    return error_set(e, rc, "device cuda:%d: %s", index, why.text);
}

void
device_close(struct device *d)
{
    if (d == NULL)
        return;
    if (d->context != NULL)
        d->calls.sluice_cuda_close(d->context);
    if (d->library != NULL)
        dlclose(d->library);
    if (d->driver != NULL)
        dlclose(d->driver);
    free(d);
}

const struct device_calls *
device_calls(const struct device *d)
{
    return &d->calls;
}

struct sluice_cuda *
device_context(const struct device *d)
{
    return d->context;
}

const struct sluice_device *
device_about(const struct device *d)
{
    return &d->about;
}

int
device_index(const struct device *d)
{
    return d->index;
}

/* cublasLtGetVersion() is 130100 for 13.1.0. */
const char *
device_describe(struct device *d, char text[DEVICE_TEXT_MAX])
{
    const double gib = 1 << 30;
    struct sluice_device now;

    if (d == NULL) {
        snprintf(text, DEVICE_TEXT_MAX, "cpu");
        return text;
    }
    if (d->calls.sluice_cuda_describe(d->index, &now) != SLUICE_ok)
        now = d->about;
    snprintf(text, DEVICE_TEXT_MAX,
             "cuda:%d %s, compute %d.%d, driver %d.%d, cuBLASLt %" PRId64 ".%" PRId64 ".%" PRId64
             ", %.1f of %.1f GiB free", d->index, now.name, now.major, now.minor,
             now.driver / 1000, now.driver % 1000 / 10,
             now.cublaslt / 10000, now.cublaslt / 100 % 100, now.cublaslt % 100,
             (double)now.memory_free / gib, (double)now.memory / gib);
    return text;
}

/* ---- failures ---- */

int
device_fail(const struct device *d, int status, const char *doing, struct error *e)
{
    static const int codes[] = {
        [SLUICE_argument] = ERROR_internal, [SLUICE_no_device] = ERROR_device,
        [SLUICE_old_driver] = ERROR_device, [SLUICE_old_device] = ERROR_device,
        [SLUICE_no_library] = ERROR_device, [SLUICE_memory] = ERROR_memory,
        [SLUICE_nonfinite] = ERROR_nonfinite, [SLUICE_lost] = ERROR_lost,
        [SLUICE_failed] = ERROR_device,
    };
    int known = status > SLUICE_ok && status < (int)(sizeof codes / sizeof *codes);

    if (status == SLUICE_ok)
        return 0;
    return error_set(e, known ? codes[status] : ERROR_internal, "%s: %s", doing,
                     d->calls.sluice_cuda_error());
}

/* ---- memory ---- */

int
device_alloc(struct device *d, int64_t bytes, const char *what, void **out, struct error *e)
{
    return device_fail(d, d->calls.sluice_cuda_alloc(d->context, bytes, out), what, e);
}

void
device_free(struct device *d, void *at)
{
    if (d != NULL && at != NULL)
        d->calls.sluice_cuda_free(d->context, at);
}

int
device_zero(struct device *d, void *at, int64_t bytes, struct error *e)
{
    return device_fail(d, d->calls.sluice_cuda_zero(d->context, at, bytes), "the device", e);
}

int
device_upload(struct device *d, void *to, const void *from, int64_t bytes, struct error *e)
{
    return device_fail(d, d->calls.sluice_cuda_upload(d->context, to, from, bytes), "the device",
                       e);
}

int
device_download(struct device *d, void *to, const void *from, int64_t bytes, struct error *e)
{
    return device_fail(d, d->calls.sluice_cuda_download(d->context, to, from, bytes),
                       "the device", e);
}

int
device_wait(struct device *d, struct error *e)
{
    return device_fail(d, d->calls.sluice_cuda_wait(d->context), "the device", e);
}

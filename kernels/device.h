/* device: where the head and the optimiser compute: the processor, or a CUDA device through
 * libsluice-cuda.so (sluice_cuda.h), which is looked up when it is wanted and never before: a
 * program without a driver loads nothing.
 *
 * The library is, the first that is there: the file that the environment's SLUICE_CUDA names (the
 * driver is then not asked for first: tests name a simulated device so), libsluice-cuda.so beside
 * the program, in ../lib of its folder, and where the loader finds it.
 *
 * A device belongs to one thread at a time, and not to a child of fork(). */
#ifndef KERNELS_DEVICE_H
#define KERNELS_DEVICE_H

#include "base/error.h"
#include "kernels/sluice_cuda.h"

#define DEVICE_COUNT_MAX 1024       /* N of cuda:N is below */
#define DEVICE_TEXT_MAX  400        /* what device_describe writes at most */

/* Every function of sluice_cuda.h, as the library has it. */
struct device_calls {
#define CALL(name) __typeof__(name) *name;
#include "kernels/sluice_cuda.def"
#undef CALL
};

struct device;                      /* the processor is NULL */

/* Is it one of auto, cpu, cuda:N? ERROR_topology. Asks no driver and loads nothing. */
int device_choice_check(const char *choice, struct error *e);

/* choice: "cpu": *out is NULL; "cuda:N": that device; "auto": cuda:0, or NULL where there is none
 * that can be used (what kept it is what "cuda:0" says). ERROR_device: no driver, no library, one
 * of another version, a driver or device that is too old, no such device, no cuBLASLt; one line
 * each. ERROR_lost: it fails at once, which may pass. ERROR_memory: others left nothing of it; for
 * "auto" too. */
int  device_open(const char *choice, struct device **out, struct error *e);
void device_close(struct device *d);        /* NULL: nothing */

/* device_calls(d)->sluice_norm(device_context(d), ...); what they return goes to device_fail. */
const struct device_calls *device_calls(const struct device *d);
struct sluice_cuda        *device_context(const struct device *d);

/* As it was when it was opened: name, compute capability, versions, memory. */
const struct sluice_device *device_about(const struct device *d);
int                         device_index(const struct device *d);   /* N */

/* "cuda:0 NVIDIA H100 80GB HBM3, compute 9.0, driver 13.0, cuBLASLt 13.1.0, 78.9 of 79.2 GiB
 * free", or "cpu" where d is NULL. The free memory is that of now. Returns text. */
const char *device_describe(struct device *d, char text[DEVICE_TEXT_MAX]);

/* What a call returned (enum sluice_status), as this program's error: 0, or ERROR_memory,
 * ERROR_nonfinite, ERROR_lost (the process must end: its successor starts from the checkpoint),
 * ERROR_device, or ERROR_internal where an argument was refused. doing: "the loss of the batch";
 * the library's own words follow. */
int device_fail(const struct device *d, int status, const char *doing, struct error *e);

/* ---- memory of the device, calls of the library with this program's errors ---- */

int  device_alloc(struct device *d, int64_t bytes, const char *what, void **out, struct error *e);
void device_free(struct device *d, void *at);           /* d or at NULL: nothing */
int  device_zero(struct device *d, void *at, int64_t bytes, struct error *e);
int  device_upload(struct device *d, void *to, const void *from, int64_t bytes, struct error *e);
int  device_download(struct device *d, void *to, const void *from, int64_t bytes,
                     struct error *e);                  /* waits */
int  device_wait(struct device *d, struct error *e);    /* tells of what was queued and failed */

#endif

/* Copies from device to shared memory that go on by themselves. Until a thread waits for its own,
 * the bytes at their destination are 0xff (NaN): reading too early, and fetching over what is
 * still to be read, both show. A copy is made when it is waited for; every thread must, before it
 * exits. */
#ifndef SIMT_CUDA_PIPELINE_H
#define SIMT_CUDA_PIPELINE_H

#include <stddef.h>

#include "simt.h"

void simt_copy_begin(void *to, const void *from, size_t bytes, const char *file, int line);
void simt_copy_commit(void);
void simt_copy_wait(size_t prior);

static inline void
__pipeline_memcpy_async(void *to, const void *from, size_t bytes, SIMT_PLACE)
{
    simt_copy_begin(to, from, bytes, file, line);
}

static inline void __pipeline_commit(void) { simt_copy_commit(); }
static inline void __pipeline_wait_prior(size_t prior) { simt_copy_wait(prior); }

#endif

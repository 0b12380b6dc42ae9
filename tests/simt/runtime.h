/* runtime: what runtime.cc and memory.cc share. */
#ifndef SIMT_RUNTIME_H
#define SIMT_RUNTIME_H

#include "cuda_runtime.h"

/* A variable of the environment. */
size_t simt_number(const char *name, size_t otherwise);
size_t simt_memory(void);           /* bytes of the device */

/* What any call that reaches the device gives first; `more` launches have begun. */
cudaError_t simt_state(size_t more);
/* The error, kept for cudaGetLastError. */
cudaError_t simt_keep(cudaError_t error);

/* The device's memory can be touched from here on; or, from here on, not by the host: it waited. */
void simt_memory_open(void);
void simt_memory_close(void);
/* Its place among all addresses that the device ever gave; 0: none of them. */
#define SIMT_MEMORY_SPAN ((size_t)1 << 40)
int simt_memory_offset(const void *at, size_t *offset);
/* The place of an address in the device's memory, in words; 0: it is none of it. */
int simt_memory_words(const void *at, char *text, size_t size);
/* From here on a fault of the machine (SIGSEGV) is put in words; unless the process has its own. */
void simt_words_of_faults(void);

#endif

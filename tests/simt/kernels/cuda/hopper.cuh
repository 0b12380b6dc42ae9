/* The functions of kernels/cuda/hopper.cuh on fibers, from the text of the PTX ISA, sharing nothing
 * with the ones for a device: see hopper.cc for what they check. */
#ifndef SIMT_HOPPER_CUH
#define SIMT_HOPPER_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#define WARPGROUP    128
#define SWIZZLE      1024
#define SWIZZLE_ROW  128
#define DESCRIPTOR_K 2              /* 16 columns of 2 bytes, in units of 16 bytes */

struct simt_tensor {                /* of two dimensions and bfloat16 */
    const unsigned char *at;
    int64_t rows, columns, pitch;   /* pitch: bytes */
    int     box_rows;
};

typedef struct simt_tensor tensor_map;

int  tensor_map_make(tensor_map *map, const void *at, int64_t rows, int64_t columns,
                     int64_t stride, int box_rows);

/* Where a pointer into the block's shared memory lies in the device's window of it. */
uint32_t shared_address(const void *at);

void barrier_init(uint64_t *b, int arrivals);
void barrier_arrive(uint64_t *b);
void barrier_expect(uint64_t *b, int bytes);
int  barrier_try(uint64_t *b, int parity);
void barrier_wait(uint64_t *b, int parity);
void fence_barriers(void);

void tensor_load(void *to, const tensor_map *map, uint64_t *b, int column, int row);

uint64_t wgmma_descriptor(const void *at);
void wgmma_fence(SIMT_PLACE);
void wgmma_commit(void);
void simt_wgmma(float *d, int columns, uint64_t a, uint64_t b, int add);
void simt_wgmma_wait(int pending, const char *file, int line);
void simt_registers(int count, const char *file, int line);

template <int pending>
static inline void
wgmma_wait(SIMT_PLACE)
{
    simt_wgmma_wait(pending, file, line);
}

static inline void
wgmma_m64n256k16(float (&d)[128], uint64_t a, uint64_t b, int add)
{
    simt_wgmma(d, 256, a, b, add);
}

template <int registers>
static inline void
registers_fewer(SIMT_PLACE)
{
    simt_registers(registers, file, line);
}

template <int registers>
static inline void
registers_more(SIMT_PLACE)
{
    simt_registers(registers, file, line);
}

void simt_matrix_store(void *row, const uint32_t *word, const char *file, int line);

static inline void
matrix_store(void *row, uint32_t a, uint32_t b, uint32_t c, uint32_t d, SIMT_PLACE)
{
    uint32_t word[4] = {a, b, c, d};

    simt_matrix_store(row, word, file, line);
}

static inline uint32_t
bfloat16_pair(float first, float second)
{
    __nv_bfloat16 pair[2] = {__float2bfloat16(first), __float2bfloat16(second)};
    uint32_t word;

    memcpy(&word, pair, sizeof word);
    return word;
}

#endif

/* A library of another version of the header. */
#include "kernels/sluice_cuda.h"

int
sluice_cuda_abi(void)
{
    return SLUICE_CUDA_ABI + 1;
}

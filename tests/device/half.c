/* A library of this version that lacks the rest. */
#include "kernels/sluice_cuda.h"

int
sluice_cuda_abi(void)
{
    return SLUICE_CUDA_ABI;
}

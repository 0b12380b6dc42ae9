/* Clusters, by the names of CUDA's cooperative groups. */
#ifndef SIMT_COOPERATIVE_GROUPS_H
#define SIMT_COOPERATIVE_GROUPS_H

#include "cuda_runtime.h"

namespace cooperative_groups {

struct cluster_group {
    struct arrival_token {};

    static unsigned block_rank() { return simt_self->rank; }
    static unsigned num_blocks() { return simt_cluster_blocks; }
    static dim3 dim_blocks() { return dim3(simt_cluster_blocks); }
    static dim3 block_index() { return dim3(simt_self->rank, 0, 0); }
    static unsigned num_threads()
    {
        return simt_cluster_blocks * simt_block_dim.x * simt_block_dim.y * simt_block_dim.z;
    }

    static arrival_token barrier_arrive(SIMT_PLACE)
    {
        simt_cluster_arrive(file, line);
        return {};
    }

    static void barrier_wait(SIMT_PLACE) { simt_cluster_wait(file, line); }
    static void barrier_wait(arrival_token &&, SIMT_PLACE) { simt_cluster_wait(file, line); }

    static void sync(SIMT_PLACE)
    {
        simt_cluster_arrive(file, line);
        simt_cluster_wait(file, line);
    }

    template <typename T>
    static T *map_shared_rank(T *at, int rank, SIMT_PLACE)
    {
        return (T *)simt_cluster_shared((const void *)at, (unsigned)rank, file, line);
    }
};

static inline cluster_group
this_cluster()
{
    return {};
}

}

#endif

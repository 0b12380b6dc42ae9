/* Which instruction set computes: found once, changed only by tests. */
#include "kernels/isa.h"

#include <stddef.h>
#include <string.h>

static const struct isa *chosen;

static int
isa_here(const struct isa *isa)
{
#if defined(__x86_64__)
    if (isa == &isa_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("fma");
    if (isa == &isa_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return isa == &isa_scalar;
}

static const struct isa *const isa_all[] = {
#if defined(__x86_64__)
    &isa_avx512, &isa_avx2,
#endif
    &isa_scalar,
};

#define ISA_COUNT (sizeof isa_all / sizeof *isa_all)

const struct isa *
isa_now(void)
{
    const struct isa *isa = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);

    for (size_t i = 0; i < ISA_COUNT && isa == NULL; i++)
        if (isa_here(isa_all[i]))
            isa = isa_all[i];
    __atomic_store_n(&chosen, isa, __ATOMIC_RELEASE);
    return isa;
}

int
isa_use(const char *name)
{
    for (size_t i = 0; i < ISA_COUNT; i++)
        if (strcmp(isa_all[i]->name, name) == 0 && isa_here(isa_all[i])) {
            __atomic_store_n(&chosen, isa_all[i], __ATOMIC_RELEASE);
            return 0;
        }
    return -1;
}

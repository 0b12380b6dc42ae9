#include "fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

static unsigned char *stacks;
static int            stacks_made;

static unsigned char *
stack_at(int i)
{
    const size_t each = FIBER_STACK + FIBER_GUARD;

    if (stacks == NULL) {
        void *at = mmap(NULL, each * FIBERS_MAX, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) {
            perror("simt: mapping stacks");
            abort();
        }
        stacks = (unsigned char *)at;
    }
    for (; stacks_made <= i; stacks_made++) {
        if (mprotect(stacks + stacks_made * each + FIBER_GUARD, FIBER_STACK,
                     PROT_READ | PROT_WRITE) != 0) {
            perror("simt: making a stack");
            abort();
        }
    }
    return stacks + i * each + FIBER_GUARD;
}

int
fiber_stack_has(const void *at)
{
    return (size_t)((const unsigned char *)at - stacks) < (FIBER_STACK + FIBER_GUARD) * FIBERS_MAX;
}

#ifdef __x86_64__

/* rdi: where the old stack pointer goes, rsi: the new one. What the ABI lets a function change is
 * not kept, and nobody changes the modes of floating point. */
extern "C" void simt_switch_stack(void **from, void *to);
asm(".text\n"
    ".globl simt_switch_stack\n"
    ".hidden simt_switch_stack\n"
    ".type simt_switch_stack, @function\n"
    "simt_switch_stack:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size simt_switch_stack, .-simt_switch_stack\n");

static void
prepare(struct fiber *f, int i, void (*entry)(void))
{
    /* stacks begin at different lines of a page, or all of them would share a few of the cache's */
    unsigned char *top = (unsigned char *)f->stack + f->size - (size_t)(i % 31) * 128;
    void **word = (void **)((uintptr_t)top & ~(uintptr_t)63);

    *--word = NULL;                 /* entry's own return address: none */
    *--word = (void *)entry;
    for (int saved = 0; saved < 6; saved++)
        *--word = NULL;
    f->sp = word;
}

static inline void
swap(struct fiber *from, struct fiber *to)
{
    simt_switch_stack(&from->sp, to->sp);
}

#else

static void
prepare(struct fiber *f, int i, void (*entry)(void))
{
    (void)i;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = (void *)f->stack;
    f->context.uc_stack.ss_size = f->size;
    f->context.uc_link = NULL;
    makecontext(&f->context, entry, 0);
}

static inline void
swap(struct fiber *from, struct fiber *to)
{
    swapcontext(&from->context, &to->context);
}

#endif

void
fiber_make(struct fiber *f, int i, void (*entry)(void))
{
    f->stack = stack_at(i);
    f->size = FIBER_STACK;
    f->fake = NULL;
    prepare(f, i, entry);
}

#ifdef __SANITIZE_ADDRESS__

void
fiber_begin(struct fiber *from)
{
    const void *stack;
    size_t size;

    __sanitizer_finish_switch_fiber(NULL, &stack, &size);
    if (from->stack == NULL) {      /* the host's is learnt here */
        from->stack = stack;
        from->size = size;
    }
}

void
fiber_switch(struct fiber *from, struct fiber *to)
{
    __sanitizer_start_switch_fiber(&from->fake, to->stack, to->size);
    swap(from, to);
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
}

void
fiber_leave(struct fiber *from, struct fiber *to)
{
    unsigned char *here = (unsigned char *)__builtin_frame_address(0);
    const unsigned char *top = (const unsigned char *)from->stack + from->size;

    /* the frames that are left here are nobody's any more */
    ASAN_UNPOISON_MEMORY_REGION(here, (size_t)(top - here));
    __sanitizer_start_switch_fiber(NULL, to->stack, to->size);
    swap(from, to);
    abort();
}

#else

void
fiber_begin(struct fiber *from)
{
    (void)from;
}

void
fiber_switch(struct fiber *from, struct fiber *to)
{
    swap(from, to);
}

void
fiber_leave(struct fiber *from, struct fiber *to)
{
    swap(from, to);
    abort();
}

#endif

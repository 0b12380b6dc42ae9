/* fiber: stacks and the switch between them: six registers and a stack pointer on x86-64, ucontext
 * elsewhere. Under -fsanitize=address it tells the sanitizer whose stack is whose. */
#ifndef SIMT_FIBER_H
#define SIMT_FIBER_H

#include <stddef.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

struct fiber {
#ifdef __x86_64__
    void       *sp;
#else
    ucontext_t  context;
#endif
    const void *stack;              /* lowest byte of the stack; the host's own: found out */
    size_t      size;
    void       *fake;               /* the sanitizer's */
};

/* A stack for place i, made when first asked for, with a page below it that faults. */
#ifdef __SANITIZE_ADDRESS__
#define FIBER_STACK ((size_t)256 << 10)
#else
#define FIBER_STACK ((size_t)64 << 10)
#endif
#define FIBER_GUARD ((size_t)4096)
#define FIBERS_MAX (16 * 1024)      /* a cluster of 16 blocks of 1024 */

/* f, on the stack of place i, will call entry(), which must not return. */
void fiber_make(struct fiber *f, int i, void (*entry)(void));
/* First thing in an entry. */
void fiber_begin(struct fiber *from);
void fiber_switch(struct fiber *from, struct fiber *to);
int fiber_stack_has(const void *at);       /* is it on the stack of any? */
/* As fiber_switch, from one that never runs again. */
[[noreturn]] void fiber_leave(struct fiber *from, struct fiber *to);

#endif

/* What went wrong, in words: which kernel, block and thread, where, and who waits for what. */
#include "grid.h"
#include "runtime.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kernels are static: the linker knows their names no more, addr2line does. */
void
code_words(const void *code, char out[NAME_ROOM])
{
    const unsigned char *at = (const unsigned char *)code;
    char command[600], place[200] = "";
    Dl_info info;
    FILE *pipe;

    snprintf(out, NAME_ROOM, "at %p", code);
    if (dladdr(at, &info) == 0)
        return;
    snprintf(command, sizeof command, "addr2line -f -s -C -e '%s' 0x%zx 2>/dev/null",
             info.dli_fname, (size_t)(at - (const unsigned char *)info.dli_fbase));
    pipe = popen(command, "r");
    if (pipe == NULL)
        return;
    if (fgets(command, sizeof command, pipe) != NULL && command[0] != '?') {
        command[strcspn(command, "(\n")] = '\0';
        if (fgets(place, sizeof place, pipe) != NULL)
            place[strcspn(place, " \n")] = '\0';
        snprintf(out, NAME_ROOM, "%.120s, %.120s", command, place);
    }
    pclose(pipe);
}

void
kernel_name(char out[NAME_ROOM])
{
    code_words(grid.launch->kernel, out);
    out[strcspn(out, ",")] = '\0';
}

static void
tell_waiting(void)
{
    static const char *const words[] = { "could run", "at a function of its warp", "at a barrier",
                                         "at the cluster's barrier", "has exited" };
    int told = 0;

    for (unsigned i = 0; i < grid.count && told < 8; i++) {
        const struct thread *t = &grid.threads[i], *before = i > 0 ? t - 1 : NULL;

        if (t->state == EXITED || (before != NULL && before->state == t->state &&
                                   before->file == t->file && before->line == t->line))
            continue;
        fprintf(stderr, "simt:     block %u thread %u and on: %s", t->seen.block.x,
                t->seen.index.x, words[t->state]);
        fprintf(stderr, t->file != NULL ? ", %s:%d\n" : "\n", t->file, t->line);
        told++;
    }
}

void
simt_die(const char *file, int line, const char *format, ...)
{
    char name[NAME_ROOM];
    va_list list;

    fflush(stdout);
    if (simt_self != NULL) {
        const struct simt_thread *t = simt_self;

        kernel_name(name);
        fprintf(stderr, "simt: kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", name, t->block.x,
                t->block.y, t->block.z, t->index.x, t->index.y, t->index.z);
        fprintf(stderr, file != NULL ? ", %s:%d: " : ": ", file, line);
    } else {
        fprintf(stderr, "simt: ");
    }
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    if (simt_self != NULL)
        tell_waiting();
    abort();
}


/* ---- faults of the machine ---- */

#ifndef __SANITIZE_ADDRESS__

static unsigned char handler_stack[64 << 10];

static void
on_fault(int number, siginfo_t *info, void *)
{
    const unsigned char *at = (const unsigned char *)info->si_addr;
    const unsigned char *stack = simt_self != NULL ? (const unsigned char *)self()->fiber.stack
                                                   : NULL;
    char where[160];

    signal(number, SIG_DFL);
    if (simt_memory_words(info->si_addr, where, sizeof where) && simt_self == NULL)
        simt_die(NULL, 0, "the host touches memory of the device: %s", where);
    if (simt_self != NULL && at < stack && at >= stack - FIBER_GUARD)
        simt_die(NULL, 0, "more than %zu bytes of stack", FIBER_STACK);
    if (simt_self != NULL)
        simt_die(NULL, 0, "touches %p: %s", info->si_addr, where);
}

void
simt_words_of_faults(void)
{
    static int done;
    struct sigaction action = {}, old;
    stack_t stack = {};

    if (!done && sigaction(SIGSEGV, NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
        stack.ss_sp = handler_stack;
        stack.ss_size = sizeof handler_stack;
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaltstack(&stack, NULL);
        sigaction(SIGSEGV, &action, NULL);
    }
    done = 1;
}

#else

void
simt_words_of_faults(void)          /* the sanitizer has words of its own */
{
}

#endif

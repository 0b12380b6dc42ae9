/* A job is open from threads_run until the last part is taken; a thread joins it under the lock, and
 * one that wakes too late finds it closed. So the caller waits for those that joined alone, and not
 * for threads that have no processor to run on. */
#include "kernels/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "base/memory.h"

#define THREADS_SPINS 500       /* looks before sleep: some tens of microseconds */

struct worker {
    struct threads *pool;
    pthread_t       thread;
    int             who;
};

struct threads {
    int            count;       /* with the caller */
    int            started;     /* workers that run; -1: not tried yet */
    struct worker *workers;     /* (count - 1) */
    pthread_mutex_t lock;
    pthread_cond_t  wake, done;

    /* Of the job. Under the lock, but for those read outside it as well, which are atomic. */
    threads_function *function;
    void    *context;
    int64_t  parts;
    int64_t  next;              /* atomic: the first part that nobody has taken */
    uint64_t turn;              /* atomic: of the job, from 1 */
    int      working;           /* atomic: workers that have joined it and are not done */
    int      open, stop;
};

int
threads_wanted(int count)
{
    cpu_set_t set;
    int cores = 1;

    if (count == 0 && sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    if (count == 0)
        count = cores;
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : count;
}

struct threads *
threads_new(int count)
{
    struct threads *t = xalloc(sizeof *t);

    t->count = threads_wanted(count);
    t->started = -1;
    t->workers = xarray((size_t)t->count, sizeof *t->workers);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    pthread_cond_init(&t->done, NULL);
    return t;
}

void
threads_free(struct threads *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = 1;
    __atomic_add_fetch(&t->turn, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->started; i++)
        pthread_join(t->workers[i].thread, NULL);
    pthread_cond_destroy(&t->done);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t->workers);
    free(t);
}

int
threads_count(const struct threads *t)
{
    return t == NULL ? 1 : t->count;
}

static void
rest(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Takes parts until none is left. */
static void
work(struct threads *t, int who)
{
    int64_t part;

    while ((part = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->parts)
        t->function(t->context, part, who);
}

/* Waits for a job after number `seen`, and joins it where it is still open. Returns its number; 0
 * when the pool ends. */
static uint64_t
join(struct threads *t, uint64_t seen, int *joined)
{
    for (int i = 0; i < THREADS_SPINS && __atomic_load_n(&t->turn, __ATOMIC_ACQUIRE) == seen; i++)
        rest();
    pthread_mutex_lock(&t->lock);
    while (t->turn == seen && !t->stop)
        pthread_cond_wait(&t->wake, &t->lock);
    seen = t->stop ? 0 : t->turn;
    *joined = seen != 0 && t->open;
    if (*joined)
        __atomic_add_fetch(&t->working, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&t->lock);
    return seen;
}

static void *
live(void *about)
{
    struct worker  *w = about;
    struct threads *t = w->pool;
    uint64_t seen = 0;
    int joined;

    while ((seen = join(t, seen, &joined)) != 0) {
        if (!joined)
            continue;
        work(t, w->who);
        pthread_mutex_lock(&t->lock);
        if (__atomic_sub_fetch(&t->working, 1, __ATOMIC_RELEASE) == 0)
            pthread_cond_signal(&t->done);
        pthread_mutex_unlock(&t->lock);
    }
    return NULL;
}

/* Signals stay with the thread that asked for them. */
static void
start(struct threads *t)
{
    sigset_t all, before;

    t->started = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (int i = 0; i < t->count - 1; i++) {
        struct worker *w = &t->workers[i];

        *w = (struct worker){.pool = t, .who = i + 1};
        if (pthread_create(&w->thread, NULL, live, w) != 0)
            break;
        t->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
finish(struct threads *t)
{
    pthread_mutex_lock(&t->lock);
    t->open = 0;
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < THREADS_SPINS && __atomic_load_n(&t->working, __ATOMIC_ACQUIRE) > 0; i++)
        rest();
    pthread_mutex_lock(&t->lock);
    while (t->working > 0)
        pthread_cond_wait(&t->done, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void
threads_run(struct threads *t, int64_t parts, threads_function *function, void *context)
{
    if (t == NULL || t->count == 1 || parts <= 1) {
        for (int64_t i = 0; i < parts; i++)
            function(context, i, 0);
        return;
    }
    if (t->started < 0)
        start(t);
    pthread_mutex_lock(&t->lock);
    t->function = function;
    t->context = context;
    t->parts = parts;
    t->open = 1;
    __atomic_store_n(&t->next, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&t->turn, 1, __ATOMIC_RELEASE);
    if (parts - 1 < t->started)
        for (int64_t i = 1; i < parts; i++)
            pthread_cond_signal(&t->wake);
    else
        pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    work(t, 0);
    finish(t);
}

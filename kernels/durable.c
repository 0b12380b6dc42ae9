#include "kernels/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
failed(const char *path, struct error *e)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file;

    return error_set(e, code, "%s: %s", path, strerror(errno));
}

static int
write_all(int fd, const char *path, struct span part, struct error *e)
{
    while (part.length) {
        ssize_t n = write(fd, part.at, part.length < (1u << 30) ? part.length : (1u << 30));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(path, e);
        part.at += n;
        part.length -= (size_t)n;
    }
    return 0;
}

int
durable_sync(const char *dir, struct error *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return failed(dir, e);
    if (fsync(fd))
        rc = failed(dir, e);
    close(fd);
    return rc;
}

int
durable_sync_parent(const char *path, struct error *e)
{
    char *dir = xtext(path), *slash;
    int rc;

    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = 0;
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    rc = durable_sync(slash ? dir : ".", e);
    free(dir);
    return rc;
}

int
durable_write_parts(const char *path,
                    int (*next)(void *context, struct span *part, struct error *e), void *context,
                    struct error *e)
{
    char *aside = xprint("%s.part", path);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), rc = 0;
    struct span part;

    if (fd < 0) {
        rc = failed(aside, e);
        free(aside);
        return rc;
    }
    while ((rc = next(context, &part, e)) > 0 && (rc = write_all(fd, path, part, e)) == 0)
        ;
    if (rc == 0 && fsync(fd))
        rc = failed(path, e);
    if (close(fd) && rc == 0)
        rc = failed(path, e);
    if (rc == 0 && rename(aside, path))
        rc = failed(path, e);
    if (rc)
        unlink(aside);
    else
        rc = durable_sync_parent(path, e);
    free(aside);
    return rc;
}

struct given {
    const struct span *parts;
    int count, next;
};

static int
next_given(void *context, struct span *part, struct error *e)
{
    struct given *g = context;

    (void)e;
    if (g->next == g->count)
        return 0;
    *part = g->parts[g->next++];
    return 1;
}

int
durable_write(const char *path, const struct span *parts, int count, struct error *e)
{
    struct given given = {parts, count, 0};

    return durable_write_parts(path, next_given, &given, e);
}

/* appended: see appended.h. */
#include "nodes/learner/appended.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
failed(const struct appended *a, const char *what, struct error *e)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file;

    return error_set(e, code, "cannot %s '%s': %s", what, a->path, strerror(errno));
}

int
appended_open(struct appended *a, const char *dir, const char *name, int64_t length,
              struct error *e)
{
    struct stat st;

    *a = (struct appended){.path = xprint("%s/%s", dir, name), .length = length};
    a->fd = open(a->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (a->fd < 0 || fstat(a->fd, &st) != 0)
        return failed(a, "open", e);
    if (st.st_size < length)
        return error_set(e, ERROR_file,
                         "'%s' has %" PRId64 " bytes, fewer than the %" PRId64
                         " that this run has written",
                         a->path, (int64_t)st.st_size, length);
    if (ftruncate(a->fd, length) != 0 || lseek(a->fd, length, SEEK_SET) != length)
        return failed(a, "cut", e);
    return 0;
}

void
appended_close(struct appended *a)
{
    if (a->path && a->fd >= 0)
        close(a->fd);
    free(a->path);
    *a = (struct appended){.fd = -1};
}

int
appended_write(struct appended *a, struct span bytes, struct error *e)
{
    size_t done = 0;

    while (done < bytes.length) {
        ssize_t n = write(a->fd, bytes.at + done, bytes.length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(a, "write", e);
        done += (size_t)n;
    }
    a->length += (int64_t)bytes.length;
    return 0;
}

int
appended_sync(struct appended *a, struct error *e)
{
    return fsync(a->fd) == 0 ? 0 : failed(a, "sync", e);
}

/* place: paths of a run. The socket folder is private because whoever can connect can feed a node. */
#include "graph/place.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/memory.h"

int
place_folder(const char *path, struct error *e)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    return error_set(e, ERROR_file, "cannot make folder '%s': %s", path, strerror(errno));
}

/* A folder only we can enter: made with 0700, refused when it belongs to someone else or is open. */
static int
private_folder(const char *path, struct error *e)
{
    struct stat s;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set(e, ERROR_file, "cannot make socket folder '%s': %s", path, strerror(errno));
    if (lstat(path, &s) != 0)
        return error_set(e, ERROR_file, "cannot look at socket folder '%s': %s", path, strerror(errno));
    if (!S_ISDIR(s.st_mode))
        return error_set(e, ERROR_file, "socket folder '%s' is not a folder", path);
    if (s.st_uid != geteuid())
        return error_set(e, ERROR_file, "socket folder '%s' belongs to user %lu, not to us", path,
                         (unsigned long)s.st_uid);
    if (s.st_mode & 077)
        return error_set(e, ERROR_file, "socket folder '%s' is open to others (mode %03o); remove it",
                         path, (unsigned)(s.st_mode & 0777));
    return 0;
}

int
place_open(struct place *p, const char *run_dir, struct error *e)
{
    *p = (struct place){NULL, NULL};
    p->run = realpath(run_dir, NULL);
    if (!p->run)
        return error_set(e, ERROR_file, "run folder '%s': %s", run_dir, strerror(errno));
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (!base || base[0] != '/' || access(base, W_OK) != 0)
        base = "/tmp";
    uint64_t hash = XXH64(p->run, strlen(p->run), 0);
    char *mine = xprint("%s/sluice-%lu", base, (unsigned long)geteuid());
    p->sockets = xprint("%s/%016llx", mine, (unsigned long long)hash);
    int rc = 0;
    if (strlen(p->sockets) + sizeof("/supervisor.c") > PLACE_SOCKET_MAX)
        rc = error_set(e, ERROR_file, "socket folder '%s' is too long a path for sockets; set XDG_RUNTIME_DIR",
                       p->sockets);
    if (rc == 0)
        rc = private_folder(mine, e);
    if (rc == 0)
        rc = private_folder(p->sockets, e);
    free(mine);
    return rc;
}

void
place_close(struct place *p)
{
    free(p->run);
    free(p->sockets);
    *p = (struct place){NULL, NULL};
}

char *
place_store(const struct place *p, const char *id, int replica)
{
    return xprint("%s/stores/%s.%d", p->run, id, replica);
}

char *
place_store_lock(const struct place *p, const char *id, int replica)
{
    return xprint("%s/stores/%s.%d.lock", p->run, id, replica);
}

char *
place_log(const struct place *p, const char *id, int replica)
{
    return xprint("%s/logs/%s.%d.log", p->run, id, replica);
}

char *
place_supervisor_lock(const struct place *p)
{
    return xprint("%s/lock", p->run);
}

char *
place_supervisor_log(const struct place *p)
{
    return xprint("%s/supervisor.log", p->run);
}

char *
place_data(const struct place *p, int index, int replica)
{
    return xprint("%s/%d.%d.d", p->sockets, index, replica);
}

char *
place_control(const struct place *p, int index, int replica)
{
    return xprint("%s/%d.%d.c", p->sockets, index, replica);
}

char *
place_supervisor(const struct place *p)
{
    return xprint("%s/supervisor.c", p->sockets);
}

/* curve: key files, and the options of sockets that use them. Secrets are wiped from memory once
 * ZeroMQ has them. */
#include "graph/curve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "graph/address.h"

/* ---- files ---- */

static char *
key_path(const char *run_dir, const char *id, const char *kind)
{
    return xprint("%s/keys/%s.%s", run_dir, id, kind);
}

/* -> 0, 1 when there is no such file, ERROR_file. */
static int
key_read(const char *path, bool secret, char key[CURVE_KEY], struct error *e)
{
    struct stat st;
    unsigned char raw[32];
    char text[CURVE_KEY + 1];
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 1;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return error_set(e, ERROR_file, "key '%s': %s", path, strerror(code));
    }
    ssize_t n = S_ISREG(st.st_mode) ? read(fd, text, sizeof(text)) : -1;
    close(fd);
    if (secret && st.st_uid != geteuid())
        return error_set(e, ERROR_file, "key '%s' belongs to user %lu, not to us", path,
                         (unsigned long)st.st_uid);
    if (secret && (st.st_mode & 077))
        return error_set(e, ERROR_file,
                         "key '%s' is open to others (mode %03o); remove it, and a new one is made",
                         path, (unsigned)(st.st_mode & 0777));
    if (n == CURVE_KEY && text[CURVE_KEY - 1] == '\n')
        n--;
    if (n == CURVE_KEY - 1) {
        memcpy(key, text, CURVE_KEY - 1);
        key[CURVE_KEY - 1] = 0;
    }
    explicit_bzero(text, sizeof(text));
    bool good = n == CURVE_KEY - 1 && strlen(key) == CURVE_KEY - 1 && zmq_z85_decode(raw, key);
    explicit_bzero(raw, sizeof(raw));
    return good ? 0
                : error_set(e, ERROR_file, "'%s' is not a key: 40 characters of Z85 belong there",
                            path);
}

static int
key_write(const char *path, const char *key, mode_t mode, struct error *e)
{
    char *aside = xprint("%s.new", path);
    char line[CURVE_KEY];
    memcpy(line, key, CURVE_KEY - 1);
    line[CURVE_KEY - 1] = '\n';
    unlink(aside); /* of a maker that died */
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    bool good = fd >= 0 && write(fd, line, sizeof(line)) == (ssize_t)sizeof(line) && fsync(fd) == 0;
    int code = errno;
    if (fd >= 0)
        close(fd);
    if (good && rename(aside, path) != 0) {
        code = errno;
        good = false;
    }
    explicit_bzero(line, sizeof(line));
    if (!good)
        unlink(aside);
    free(aside);
    return good ? 0
                : error_set(e, code == ENOSPC || code == EDQUOT ? ERROR_space : ERROR_file,
                            "cannot write key '%s': %s", path, strerror(code));
}

static int
folder_make(const char *run_dir, char **folder, struct error *e)
{
    struct stat st;
    *folder = xprint("%s/keys", run_dir);
    if (mkdir(*folder, 0700) != 0 && errno != EEXIST)
        return error_set(e, ERROR_file, "cannot make '%s': %s", *folder, strerror(errno));
    if (lstat(*folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077))
        return error_set(e, ERROR_file,
                         "'%s' is not a folder of ours that is closed to others (mode 700)",
                         *folder);
    return 0;
}

static int
folder_sync(const char *folder, struct error *e)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0
                 ? 0
                 : error_set(e, ERROR_file, "'%s': fsync: %s", folder, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- making ---- */

/* The pair of one node. The secret is the truth: a public key that is missing or another is made
 * from it. */
static int
pair_make(const char *run_dir, const char *id, struct error *e)
{
    char *secret_path = key_path(run_dir, id, "secret"),
         *public_path = key_path(run_dir, id, "public");
    char secret[CURVE_KEY] = "", public[CURVE_KEY] = "", there[CURVE_KEY] = "";
    int rc = key_read(secret_path, true, secret, e);
    if (rc == 1) {
        rc = zmq_curve_keypair(public, secret) == 0
                 ? key_write(secret_path, secret, 0600, e)
                 : error_set(e, ERROR_wire, "no keys for tcp:// links: %s", zmq_strerror(errno));
    } else if (rc == 0) {
        zmq_curve_public(public, secret);
    }
    if (rc == 0 && (key_read(public_path, false, there, NULL) != 0 || strcmp(there, public) != 0))
        rc = key_write(public_path, public, 0644, e);
    explicit_bzero(secret, sizeof(secret));
    free(secret_path);
    free(public_path);
    return rc;
}

static bool
listens_with_keys(const struct plan *p, int node)
{
    struct address a;
    return address_read(p->nodes[node].listen, 1, &a, NULL) == 0 && a.kind == ADDRESS_curve;
}

static bool
needs_key(const struct plan *p, int node)
{
    bool needs = listens_with_keys(p, node);
    for (int i = 0; i < p->nodes[node].link_count; i++)
        needs |= listens_with_keys(p, p->nodes[node].links[i].node);
    return needs;
}

int
curve_make(const struct plan *p, const char *run_dir, struct error *e)
{
    char *folder = NULL;
    int rc = 0;
    for (int i = 0; i < p->node_count && rc == 0; i++) {
        if (!needs_key(p, i))
            continue;
        if (!folder)
            rc = folder_make(run_dir, &folder, e);
        if (rc == 0)
            rc = pair_make(run_dir, p->nodes[i].id, e);
    }
    if (rc == 0 && folder)
        rc = folder_sync(folder, e);
    free(folder);
    return rc;
}

/* ---- using ---- */

static int
key_load(const char *run_dir, const char *id, const char *kind, char key[CURVE_KEY],
         struct error *e)
{
    char *path = key_path(run_dir, id, kind);
    int rc = key_read(path, strcmp(kind, "secret") == 0, key, e);
    if (rc == 1)
        rc = error_set(e, ERROR_file, "key '%s' is missing; `sluice run` makes it", path);
    free(path);
    return rc;
}

int
curve_public(const char *run_dir, const char *id, char key[CURVE_KEY], struct error *e)
{
    return key_load(run_dir, id, "public", key, e);
}

int
curve_serve(void *socket, const char *run_dir, const char *id, struct error *e)
{
    char secret[CURVE_KEY];
    int one = 1, rc = key_load(run_dir, id, "secret", secret, e);
    if (rc == 0 && (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof(one)) != 0 ||
                    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, CURVE_KEY) != 0))
        rc = error_set(e, ERROR_wire, "key of '%s': %s", id, zmq_strerror(errno));
    explicit_bzero(secret, sizeof(secret));
    return rc;
}

int
curve_connect(void *socket, const char *run_dir, const char *id, const char *producer,
              struct error *e)
{
    char secret[CURVE_KEY], own[CURVE_KEY], server[CURVE_KEY];
    int rc = key_load(run_dir, id, "secret", secret, e);
    if (rc == 0)
        rc = curve_public(run_dir, producer, server, e);
    if (rc == 0 && (zmq_curve_public(own, secret) != 0 ||
                    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, CURVE_KEY) != 0 ||
                    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own, CURVE_KEY) != 0 ||
                    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, CURVE_KEY) != 0))
        rc = error_set(e, ERROR_wire, "keys of '%s' and '%s': %s", id, producer,
                       zmq_strerror(errno));
    explicit_bzero(secret, sizeof(secret));
    return rc;
}

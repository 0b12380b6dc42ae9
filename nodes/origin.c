/* origin: one row per file in the node's store: size, time of change, hash. */
#include "nodes/origin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define READ_BYTES (1 << 20)

struct origin {         /* a row of the store; only its own program reads it */
    int64_t  size, seconds, nanoseconds;
    uint64_t hash;
};

static int
hash_file(const char *path, uint64_t *hash, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    XXH3_state_t *state = fd >= 0 ? XXH3_createState() : NULL;
    void *room = xalloc(READ_BYTES);
    ssize_t n = -1;
    if (state) {
        XXH3_64bits_reset(state);
        while ((n = read(fd, room, READ_BYTES)) > 0)
            XXH3_64bits_update(state, room, (size_t)n);
        *hash = XXH3_64bits_digest(state);
        XXH3_freeState(state);
    }
    int rc = n == 0 ? 0 : error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(room);
    return rc;
}

static int
check_file(struct node *n, const char *path, const struct stat *st, struct error *e)
{
    struct origin now = {st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec, 0}, had = {0, 0, 0, 0};
    struct buffer key = {0};
    struct span value;
    buffer_print(&key, "origin %s", path);
    bool known = node_get(n, buffer_span(&key), &value) && value.length == sizeof(had);
    if (known)
        memcpy(&had, value.at, sizeof(had));
    bool same_time = known && had.size == now.size && had.seconds == now.seconds &&
                     had.nanoseconds == now.nanoseconds;
    int rc = same_time ? 0 : hash_file(path, &now.hash, e);
    if (rc == 0 && known && !same_time && (now.size != had.size || now.hash != had.hash))
        rc = error_set(e, ERROR_model,
                       "%s: is not the file that this run began with; put that back, or begin a new run",
                       path);
    if (rc == 0 && !same_time)
        node_put(n, buffer_span(&key), span_of(&now, sizeof(now)));
    buffer_free(&key);
    return rc;
}

int
origin_check(struct node *n, const char *path, struct error *e)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode))
        return check_file(n, path, &st, e);
    DIR *d = opendir(path);
    if (!d)
        return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    int rc = 0;
    const struct dirent *entry;
    for (int i = 0; rc == 0 && i < ORIGIN_FILES_MAX && (entry = readdir(d)); i++) {
        const char *dot = strrchr(entry->d_name, '.');
        /* What is read of a model: weights, sizes, tokenizer, chat template. */
        if (!dot || (strcmp(dot, ".json") != 0 && strcmp(dot, ".safetensors") != 0 &&
                     strcmp(dot, ".jinja") != 0))
            continue;
        char *file = xprint("%s/%s", path, entry->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            rc = check_file(n, file, &st, e);
        free(file);
    }
    closedir(d);
    return rc;
}

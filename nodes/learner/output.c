/* output: see output.h. */
#include "nodes/learner/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/durable.h"
#include "kernels/model_file.h"
#include "kernels/safetensors.h"

#define OPTIMISER_FILE "optimizer.safetensors"

static int
file_error(struct error *e, const char *what, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file;

    return error_set(e, code, "%s '%s': %s", what, path, strerror(errno));
}

static int
make_folder(const char *path, struct error *e)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return file_error(e, "cannot make the folder", path);
    return 0;
}

/* A checkpoint is a flat folder: files only. A folder that does not exist is removed already. */
static int
remove_folder(const char *path, struct error *e)
{
    DIR *dir = opendir(path);
    struct dirent *row;

    if (!dir)
        return errno == ENOENT ? 0 : file_error(e, "cannot read", path);
    while ((row = readdir(dir)))
        if (strcmp(row->d_name, ".") != 0 && strcmp(row->d_name, "..") != 0)
            unlinkat(dirfd(dir), row->d_name, 0);
    closedir(dir);
    if (rmdir(path) != 0 && errno != ENOENT)
        return file_error(e, "cannot remove the folder", path);
    return 0;
}

/* `making` becomes dir/name, durably. */
static int
rename_folder(struct output *o, const char *making, const char *path, struct error *e)
{
    int rc = durable_sync(making, e);

    if (rc == 0)
        rc = remove_folder(path, e);
    if (rc < 0)
        return rc;
    if (rename(making, path) != 0)
        return file_error(e, "cannot rename to", path);
    return durable_sync(o->dir, e);
}

int
output_open(struct output *o, const char *run_dir, const char *node, const char *tokenizer_dir,
            int64_t metrics_length, struct error *e)
{
    char *path;
    int rc;

    o->root = xprint("%s/checkpoints", run_dir);
    o->dir = xprint("%s/checkpoints/%s", run_dir, node);
    o->node = node;
    o->tokenizer_dir = tokenizer_dir;
    o->metrics = -1;
    rc = make_folder(o->root, e);
    if (rc == 0)
        rc = make_folder(o->dir, e);
    if (rc < 0)
        return rc;
    path = xprint("%s/metrics.jsonl", o->dir);
    o->metrics = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (o->metrics < 0 || ftruncate(o->metrics, metrics_length) != 0 ||
        lseek(o->metrics, metrics_length, SEEK_SET) != metrics_length)
        rc = file_error(e, "cannot open", path);
    o->metrics_length = metrics_length;
    free(path);
    return rc;
}

void
output_close(struct output *o)
{
    if (o->dir && o->metrics >= 0)
        close(o->metrics);
    free(o->root);
    free(o->dir);
    memset(o, 0, sizeof(*o));
    o->metrics = -1;
}

static int
is_kept(const char *name, const int64_t *kept, int64_t count)
{
    char wanted[40];

    for (int64_t i = 0; i < count; i++) {
        snprintf(wanted, sizeof(wanted), "step-%" PRId64, kept[i]);
        if (strcmp(wanted, name) == 0)
            return 1;
    }
    return 0;
}

static int
ends_with(const char *name, const char *end)
{
    size_t a = strlen(name), b = strlen(end);

    return a >= b && strcmp(name + a - b, end) == 0;
}

int
output_clean(struct output *o, const int64_t *kept, int64_t count, struct error *e)
{
    DIR *dir = opendir(o->dir);
    struct dirent *row;
    int rc = 0;

    if (!dir)
        return file_error(e, "cannot read", o->dir);
    while (rc == 0 && (row = readdir(dir))) {
        int half = ends_with(row->d_name, ".making") || ends_with(row->d_name, ".part");

        if (half || (strncmp(row->d_name, "step-", 5) == 0 && !is_kept(row->d_name, kept, count))) {
            char *path = xprint("%s/%s", o->dir, row->d_name);

            rc = remove_folder(path, e);
            free(path);
        }
    }
    closedir(dir);
    return rc;
}

int
output_save(struct output *o, int64_t step, const struct model *model, const float *m,
            const float *v, struct error *e)
{
    char *making = xprint("%s/step-%" PRId64 ".making", o->dir, step);
    char *path = xprint("%s/step-%" PRId64, o->dir, step);
    char *moments = xprint("%s/%s", making, OPTIMISER_FILE);
    struct safetensors_source sources[] = {
        {.name = "exp_avg", .rank = 1, .shape = {model->count}, .data = m},
        {.name = "exp_avg_sq", .rank = 1, .shape = {model->count}, .data = v},
    };
    int rc = model_save(model, making, o->tokenizer_dir, e);

    if (rc == 0)
        rc = safetensors_write(moments, sources, 2, e);
    if (rc == 0)
        rc = rename_folder(o, making, path, e);
    free(making);
    free(path);
    free(moments);
    return rc < 0 ? error_wrap(e, "checkpoint of step %" PRId64, step) : 0;
}

static int
load_moments(const char *path, int64_t count, float **m, float **v, struct error *e)
{
    struct safetensors file;
    float **out[] = {m, v};
    const char *const names[] = {"exp_avg", "exp_avg_sq"};
    int rc = safetensors_open(&file, path, e);

    if (rc < 0)
        return rc;
    for (int i = 0; i < 2 && rc == 0; i++) {
        const struct safetensors_entry *entry = safetensors_find(&file, names[i]);

        *out[i] = xaligned((size_t)count * sizeof(float));
        if (!entry || entry->elements != count)
            rc = error_set(e, ERROR_model, "'%s' does not hold %" PRId64 " numbers", names[i],
                           count);
        else
            rc = safetensors_floats(entry, *out[i], e);
    }
    safetensors_close(&file);
    return rc;
}

int
output_load(struct output *o, int64_t step, struct model *model, float **m, float **v,
            struct error *e)
{
    char *path = xprint("%s/step-%" PRId64, o->dir, step);
    char *moments = xprint("%s/%s", path, OPTIMISER_FILE);
    int rc = model_open(model, path, e);

    *m = *v = NULL;
    if (rc == 0) {
        rc = load_moments(moments, model->count, m, v, e);
        if (rc < 0)
            model_free(model);
    }
    free(path);
    free(moments);
    return rc < 0 ? error_wrap(e, "checkpoint of step %" PRId64, step) : 0;
}

int
output_remove(struct output *o, int64_t step, struct error *e)
{
    char *path = xprint("%s/step-%" PRId64, o->dir, step);
    int rc = remove_folder(path, e);

    free(path);
    return rc;
}

/* Learners make their folders when they start, so the last to finish sees all of them. */
static int
link_final(struct output *o, struct error *e)
{
    DIR *dir = opendir(o->root);
    struct dirent *row;
    int folders = 0, rc = 0;
    char *link = xprint("%s/final", o->root), *making = xprint("%s/.final.making", o->root);
    char *target = xprint("%s/final", o->node);

    while (dir && (row = readdir(dir))) {
        struct stat st;

        folders += row->d_name[0] != '.' &&
                   fstatat(dirfd(dir), row->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                   S_ISDIR(st.st_mode);
    }
    if (dir)
        closedir(dir);
    unlink(making);
    if (folders > 1)
        unlink(link);
    else if (symlink(target, making) != 0 || rename(making, link) != 0)
        rc = file_error(e, "cannot link", link);
    free(link);
    free(making);
    free(target);
    return rc == 0 ? durable_sync(o->root, e) : rc;
}

int
output_final(struct output *o, const struct model *model, struct span manifest, struct error *e)
{
    char *making = xprint("%s/final.making", o->dir), *path = xprint("%s/final", o->dir);
    char *file = xprint("%s/manifest.json", making);
    int rc = model_save(model, making, o->tokenizer_dir, e);

    if (rc == 0)
        rc = durable_write(file, &manifest, 1, e);
    if (rc == 0)
        rc = rename_folder(o, making, path, e);
    if (rc == 0)
        rc = link_final(o, e);
    free(making);
    free(path);
    free(file);
    return rc < 0 ? error_wrap(e, "final checkpoint") : 0;
}

int
output_metrics(struct output *o, struct span line, struct error *e)
{
    size_t done = 0;

    while (done < line.length) {
        ssize_t n = write(o->metrics, line.at + done, line.length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_error(e, "cannot write metrics.jsonl in", o->dir);
        done += (size_t)n;
    }
    o->metrics_length += (int64_t)line.length;
    return 0;
}

int
output_sync(struct output *o, struct error *e)
{
    return fsync(o->metrics) == 0 ? 0 : file_error(e, "cannot sync metrics.jsonl in", o->dir);
}

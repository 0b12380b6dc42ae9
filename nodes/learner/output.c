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
#include <time.h>
#include <unistd.h>

#include "kernels/durable.h"
#include "kernels/model_file.h"
#include "nodes/learner/events.h"

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
            int64_t metrics, int64_t events, struct error *e)
{
    int rc;

    o->root = xprint("%s/checkpoints", run_dir);
    o->dir = xprint("%s/checkpoints/%s", run_dir, node);
    o->node = node;
    o->tokenizer_dir = tokenizer_dir;
    o->metrics.fd = o->events.fd = -1;
    rc = make_folder(o->root, e);
    if (rc == 0)
        rc = make_folder(o->dir, e);
    if (rc == 0)
        rc = appended_open(&o->metrics, o->dir, "metrics.jsonl", metrics, e);
    if (rc == 0 && events >= 0)
        rc = appended_open(&o->events, o->dir, EVENTS_FILE, events, e);
    return rc;
}

void
output_close(struct output *o)
{
    appended_close(&o->metrics);
    appended_close(&o->events);
    free(o->root);
    free(o->dir);
    *o = (struct output){.metrics.fd = -1, .events.fd = -1};
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
output_save(struct output *o, int64_t step, const struct weights *w, struct span manifest,
            struct error *e)
{
    char *making = xprint("%s/step-%" PRId64 ".making", o->dir, step);
    char *path = xprint("%s/step-%" PRId64, o->dir, step);
    int rc = checkpoint_write(making, o->tokenizer_dir, w, manifest, e);

    if (rc == 0)
        rc = rename_folder(o, making, path, e);
    free(making);
    free(path);
    return rc < 0 ? error_wrap(e, "checkpoint of step %" PRId64, step) : 0;
}

int
output_load(struct output *o, int64_t step, struct weights *w, bool ema, struct error *e)
{
    char *path = xprint("%s/step-%" PRId64, o->dir, step);
    int rc = checkpoint_read(path, w, ema, e);

    free(path);
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

/* One of the folders that remain: the model and the manifest. */
static int
write_final(struct output *o, const char *name, const struct model *model, struct span manifest,
            struct error *e)
{
    char *making = xprint("%s/%s.making", o->dir, name), *path = xprint("%s/%s", o->dir, name);
    char *file = xprint("%s/%s", making, CHECKPOINT_MANIFEST);
    int rc = model_save(model, making, o->tokenizer_dir, e);

    if (rc == 0)
        rc = durable_write(file, &manifest, 1, e);
    if (rc == 0)
        rc = rename_folder(o, making, path, e);
    free(making);
    free(path);
    free(file);
    return rc;
}

int
output_final(struct output *o, const struct weights *w, struct span manifest, struct error *e)
{
    struct model average = w->model; /* the same model with other weights */
    int rc = 0;

    average.params = w->ema;
    if (w->ema)
        rc = write_final(o, "final-ema", &average, manifest, e);
    if (rc == 0)
        rc = write_final(o, "final", &w->model, manifest, e);
    if (rc == 0)
        rc = link_final(o, e);
    return rc < 0 ? error_wrap(e, "final checkpoint") : 0;
}

static double
seconds_since_1970(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int
output_measures(struct output *o, const struct measures *m, struct error *e)
{
    double now = seconds_since_1970();
    struct buffer bytes = {0};
    int rc;

    measures_json(m, &bytes);
    rc = appended_write(&o->metrics, buffer_span(&bytes), e);
    buffer_clear(&bytes);
    if (o->events.length == 0)
        events_begin(&bytes, now);
    measures_event(m, now, &bytes);
    if (rc == 0 && o->events.fd >= 0)
        rc = appended_write(&o->events, buffer_span(&bytes), e);
    buffer_free(&bytes);
    return rc;
}

int
output_sync(struct output *o, struct error *e)
{
    int rc = appended_sync(&o->metrics, e);

    return rc == 0 && o->events.fd >= 0 ? appended_sync(&o->events, e) : rc;
}

int
output_aside(struct output *o, const char *name, struct span bytes, struct error *e)
{
    char *path = xprint("%s/%s", o->dir, name);
    int rc = durable_write(path, &bytes, 1, e);

    free(path);
    return rc;
}

/* files: the record in the store, and one open stream per file that is being read. */
#include "nodes/reader/files.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
by_path(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int
files_glob(const char *pattern, char ***paths, int *count, struct error *e)
{
    glob_t g;
    int    rc = glob(pattern, GLOB_BRACE | GLOB_NOSORT, NULL, &g);

    *paths = NULL;
    *count = 0;
    if (rc == GLOB_NOMATCH)
        return 0;
    if (rc != 0)
        return error_set(e, ERROR_file, "%s: the folder cannot be read", pattern);
    if (g.gl_pathc > FILES_MAX) {
        globfree(&g);
        return error_set(e, ERROR_limit, "%s: more than %d files", pattern, FILES_MAX);
    }
    *paths = xarray(g.gl_pathc + 1, sizeof(char *));
    /* Sorted by bytes, whatever the locale; two alternatives of a pattern may name one file. */
    qsort(g.gl_pathv, g.gl_pathc, sizeof(char *), by_path);
    for (size_t i = 0; i < g.gl_pathc; i++)
        if (i == 0 || strcmp(g.gl_pathv[i], g.gl_pathv[i - 1]) != 0)
            (*paths)[(*count)++] = xtext(g.gl_pathv[i]);
    globfree(&g);
    return 0;
}

void
files_free(char **paths, int count)
{
    for (int i = 0; i < count; i++)
        free(paths[i]);
    free(paths);
}

int
files_readable(char **paths, int count, struct error *e)
{
    for (int i = 0; i < count; i++) {
        struct stat st;
        int         fd = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) != 0) {
            int rc = error_set(e, ERROR_file, "%s: %s", paths[i], strerror(errno));
            if (fd >= 0)
                close(fd);
            return rc;
        }
        close(fd);
        if (!S_ISREG(st.st_mode))
            return error_set(e, ERROR_file, "%s: %s", paths[i],
                             S_ISDIR(st.st_mode) ? "is a folder" : "is no regular file");
    }
    return 0;
}

static struct file *
add_file(struct files *f, const char *path)
{
    size_t fixed = strcspn(f->pattern, "*?[{");

    if (f->count == f->room) {
        f->room = f->room ? 2 * f->room : 16;
        f->at = xresize(f->at, (size_t)f->room * sizeof(*f->at));
    }
    while (fixed > 0 && f->pattern[fixed - 1] != '/')
        fixed--;
    struct file *file = &f->at[f->count++];
    *file = (struct file){.path = xtext(path)};
    file->name = strlen(path) > fixed ? file->path + fixed : file->path;
    return file;
}

static int
open_stream(struct files *f, struct file *file, struct error *e)
{
    struct stat st;
    int         rc;

    if (file->stream)
        return 0;
    rc = stream_open(&file->stream, file->path, &f->how, file->at, e);
    if (rc != 0)
        return rc;
    if (fstat(stream_fd(file->stream), &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(e, ERROR_file, "%s: is no regular file", file->path);
    return 0;
}

static struct span
row_key(const char *kind, uint64_t number, char *room)
{
    return span_of(room, (size_t)sprintf(room, "%s/%016llx", kind, (unsigned long long)number));
}

/* The immutable row: what the file was when it was recorded. */
static void
put_file(struct files *f, struct node *n, int i)
{
    char         key[64];
    struct file *file = &f->at[i];
    char *text = xprint("%llu %016llx %s", (unsigned long long)file->size,
                        (unsigned long long)file->hash, file->path);

    node_put(n, row_key("file", (uint64_t)i, key), span_text(text));
    free(text);
}

/* Size and hash of a whole file, now. */
static int
measure(struct file *file, uint64_t *size, uint64_t *hash, struct error *e)
{
    struct stream    *s;
    struct stream_how how = {.format = STREAM_plain};
    struct stat       st;
    int               rc = stream_open(&s, file->path, &how, 0, e);

    if (rc != 0)
        return rc;
    if (fstat(stream_fd(s), &st) != 0)
        rc = error_set(e, ERROR_file, "%s: %s", file->path, strerror(errno));
    if (rc == 0)
        rc = stream_prime(s, (uint64_t)st.st_size, e);
    *size = (uint64_t)st.st_size;
    *hash = stream_hash(s);
    stream_close(s);
    return rc;
}

static int
record(struct files *f, struct node *n, struct error *e)
{
    char **paths;
    int    count, rc = files_glob(f->pattern, &paths, &count, e);

    if (rc != 0)
        return rc;
    if (count == 0 && !f->follow)
        rc = error_set(e, ERROR_file, "%s: no such file", f->pattern);
    if (rc == 0)
        rc = files_readable(paths, count, e);
    for (int i = 0; i < count && rc == 0; i++) {
        struct file *file = add_file(f, paths[i]);
        if (!f->follow)
            rc = measure(file, &file->size, &file->hash, e);
        if (rc == 0)
            put_file(f, n, i);
    }
    files_free(paths, count);
    if (rc == 0)
        node_put(n, span_text("inputs"), span_text(f->follow ? "follow" : "fixed"));
    return rc == 0 ? node_commit(n, e) : rc;
}

struct loading {
    struct files *files;
    bool          progress;
    int           rc;
    struct error  why;
};

static bool
load_row(void *own, struct span key, struct span value)
{
    struct loading    *l = own;
    char              *text = span_copy(value);
    char               number[17] = "";
    unsigned long long a, b, c;
    int                d, from = 0;

    if (key.length >= 16)
        memcpy(number, key.at + key.length - 16, 16);
    uint64_t i = strtoull(number, NULL, 16);
    if (!l->progress && sscanf(text, "%llu %llx %n", &a, &b, &from) == 2 && from > 0 &&
        i == (uint64_t)l->files->count) {
        struct file *file = add_file(l->files, text + from);
        file->size = a;
        file->hash = b;
    } else if (l->progress && sscanf(text, "%llu %d %llu %llx", &a, &d, &b, &c) == 4 &&
               i < (uint64_t)l->files->count) {
        struct file *file = &l->files->at[i];
        file->at = a;
        file->done = d;
        file->hashed = b;
        if (l->files->follow)
            file->hash = c;
    } else {
        l->rc = error_set(&l->why, ERROR_store, "a row of the recorded inputs is malformed");
    }
    free(text);
    return l->rc == 0;
}

/* Is the file as it was recorded? A followed one: does it begin with what was read of it? */
static int
verify_file(struct files *f, struct file *file, struct error *e)
{
    uint64_t size, hash;
    int      rc;

    if (f->follow) {
        if (file->hashed == 0)
            return 0;
        rc = open_stream(f, file, e);
        if (rc == 0)
            rc = stream_prime(file->stream, file->hashed, e);
        if (rc == 0 && stream_hash(file->stream) != file->hash)
            rc = error_set(
                e, ERROR_input,
                "%s: the %llu bytes that were read have changed; a followed file may only grow",
                file->path, (unsigned long long)file->hashed);
        if (file->done) {
            stream_close(file->stream);
            file->stream = NULL;
        }
        return rc;
    }
    rc = measure(file, &size, &hash, e);
    if (rc != 0)
        return error_wrap(e, "a recorded input is gone");
    if (size != file->size)
        return error_set(e, ERROR_input,
                         "%s: %s since the run began: %llu bytes were recorded, now it has %llu",
                         file->path, size < file->size ? "shrank" : "grew",
                         (unsigned long long)file->size, (unsigned long long)size);
    if (hash != file->hash)
        return error_set(e, ERROR_input, "%s: changed since the run began", file->path);
    return 0;
}

static int
load(struct files *f, struct node *n, struct error *e)
{
    struct loading     l = {.files = f};
    struct span        value;
    unsigned long long piece, from, to;
    int                final, file;
    char               text[160] = "";

    node_scan(n, span_text("file/"), span_text("file/"), load_row, &l);
    l.progress = true;
    if (l.rc == 0)
        node_scan(n, span_text("at/"), span_text("at/"), load_row, &l);
    if (l.rc != 0)
        return error_set(e, l.rc, "%s", l.why.text);
    if (node_get(n, span_text("cursor"), &value) && value.length < sizeof(text)) {
        memcpy(text, value.at, value.length);
        if (sscanf(text, "%d %d %llu %d %llu %llu", &f->current, &final, &piece, &file, &from,
                   &to) != 6 ||
            f->current < 0 || (f->count > 0 && f->current >= f->count))
            return error_set(e, ERROR_store, "the cursor is malformed");
        f->final = final;
        f->piece = piece;
        f->piece_file = file;
        f->piece_from = from;
        f->piece_to = to;
    }
    if (f->spool)
        return 0;
    for (int i = 0; i < f->count; i++) {
        int rc = verify_file(f, &f->at[i], e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int
files_open(struct files *f, struct node *n, const char *pattern, const struct stream_how *how,
           bool follow, struct error *e)
{
    struct span value;
    int         rc;

    *f = (struct files){.pattern = xtext(pattern), .how = *how, .follow = follow};
    f->how.whole_frames = follow;
    bool known = node_get(n, span_text("inputs"), &value);
    if (known ? span_is(value, "spool") : spool_is_pipe(pattern)) {
        rc = spool_open(&f->spool, n, pattern, follow, e);
        if (rc != 0)
            return rc;
        f->how.whole_frames = false;
        if (!known) {
            struct file *file = add_file(f, spool_file(f->spool));
            file->name = strrchr(file->path, '/') + 1;
            put_file(f, n, 0);
            node_put(n, span_text("inputs"), span_text("spool"));
            return node_commit(n, e);
        }
        rc = load(f, n, e);
        if (rc == 0 && f->count == 1)
            f->at[0].name =
                strrchr(f->at[0].path, '/') ? strrchr(f->at[0].path, '/') + 1 : f->at[0].path;
        return rc;
    }
    return known ? load(f, n, e) : record(f, n, e);
}

void
files_close(struct files *f)
{
    for (int i = 0; i < f->count; i++) {
        stream_close(f->at[i].stream);
        free(f->at[i].path);
    }
    free(f->at);
    free(f->pattern);
    spool_close(f->spool);
    *f = (struct files){0};
}

static void
put_piece(struct files *f, struct node *n)
{
    char key[64], text[100];

    if (!f->piece_dirty)
        return;
    snprintf(text, sizeof(text), "%d %llu %llu", f->piece_file, (unsigned long long)f->piece_from,
             (unsigned long long)f->piece_to);
    node_put(n, row_key("piece", f->piece, key), span_text(text));
    f->piece_dirty = false;
}

void
files_save(struct files *f, struct node *n)
{
    char key[64], text[160];
    bool dirty = false;

    for (int i = 0; i < f->count; i++) {
        struct file *file = &f->at[i];
        if (!file->dirty)
            continue;
        if (f->follow && file->stream) {
            file->hashed = stream_hashed(file->stream);
            file->hash = stream_hash(file->stream);
        }
        snprintf(text, sizeof(text), "%llu %d %llu %016llx", (unsigned long long)file->at,
                 file->done, (unsigned long long)file->hashed, (unsigned long long)file->hash);
        node_put(n, row_key("at", (uint64_t)i, key), span_text(text));
        file->dirty = false;
        dirty = true;
    }
    put_piece(f, n);
    if (!dirty)
        return;
    snprintf(text, sizeof(text), "%d %d %llu %d %llu %llu", f->current, f->final,
             (unsigned long long)f->piece, f->piece_file, (unsigned long long)f->piece_from,
             (unsigned long long)f->piece_to);
    node_put(n, span_text("cursor"), span_text(text));
}

int
files_rescan(struct files *f, struct node *n, struct error *e)
{
    char **paths, **known;
    int    count, rc, before = f->count;

    if (f->spool || f->final || !f->follow)
        return 0;
    rc = files_glob(f->pattern, &paths, &count, e);
    if (rc != 0)
        return rc;
    known = xarray((size_t)before + 1, sizeof(char *));
    for (int i = 0; i < before; i++)
        known[i] = f->at[i].path;
    qsort(known, (size_t)before, sizeof(char *), by_path);
    for (int i = 0; i < count && rc == 0; i++) {
        if (bsearch(&paths[i], known, (size_t)before, sizeof(char *), by_path))
            continue;
        rc = files_readable(&paths[i], 1, e);
        if (rc == 0) {
            add_file(f, paths[i]);
            put_file(f, n, f->count - 1);
        }
    }
    free(known);
    files_free(paths, count);
    return rc;
}

/* Bytes of the file that may be read now. */
static int
size_now(struct files *f, struct file *file, uint64_t *size, struct error *e)
{
    struct stat st, now;

    *size = file->size;
    if (f->spool)
        *size = spool_length(f->spool);
    if (f->spool || !f->follow || f->final)
        return 0;
    if (fstat(stream_fd(file->stream), &st) != 0 || stat(file->path, &now) != 0)
        return error_set(e, ERROR_file, "%s: %s", file->path, strerror(errno));
    if (st.st_ino != now.st_ino || st.st_dev != now.st_dev)
        return error_set(e, ERROR_input,
                         "%s: was replaced by another file; a followed file may only grow",
                         file->path);
    if ((uint64_t)st.st_size < stream_hashed(file->stream))
        return error_set(e, ERROR_input, "%s: shrank to %lld bytes; %llu were read", file->path,
                         (long long)st.st_size, (unsigned long long)stream_hashed(file->stream));
    *size = (uint64_t)st.st_size;
    return 0;
}

int
files_end(struct files *f, struct node *n, struct error *e)
{
    int rc = files_rescan(f, n, e);

    for (int i = 0; i < f->count && rc == 0 && !f->spool; i++) {
        rc = open_stream(f, &f->at[i], e);
        if (rc == 0)
            rc = size_now(f, &f->at[i], &f->at[i].size, e);
        f->at[i].dirty = true;
        if (rc == 0)
            put_file(f, n, i);
    }
    if (rc != 0)
        return rc;
    if (f->count > 0)
        f->at[0].dirty = true;
    f->final = true;
    files_save(f, n);
    return node_commit(n, e);
}

static void
finish_file(struct files *f, struct file *file)
{
    file->done = file->dirty = true;
    if (f->follow) {
        file->hashed = stream_hashed(file->stream);
        file->hash = stream_hash(file->stream);
    }
    stream_close(file->stream);
    file->stream = NULL;
}

int
files_next(struct files *f, struct stream_line *line, struct file **out, struct error *e)
{
    for (int tried = 0; tried < f->count; tried++) {
        struct file *file = &f->at[f->current];
        bool         final = f->final || (f->spool ? spool_ended(f->spool) : !f->follow);
        uint64_t     size;

        if (file->done && file->stream) {       /* it broke, and its last line was given */
            stream_close(file->stream);
            file->stream = NULL;
        }
        int rc = file->done ? STREAM_end : open_stream(f, file, e);

        if (rc == 0 && !file->done)
            rc = size_now(f, file, &size, e);
        if (rc == 0 && !file->done)
            rc = stream_next(file->stream, size, final, line, e);
        if (rc < 0)
            return rc;
        if (rc != STREAM_end && rc != STREAM_wait) {
            *out = file;
            return rc;
        }
        if (rc == STREAM_end && !file->done && f->ahead > 0)
            return STREAM_wait;
        if (rc == STREAM_end && !file->done)
            finish_file(f, file);
        f->current = (f->current + 1) % f->count;
        if (!f->follow && !f->spool && f->current == 0)
            break;
    }
    if (f->follow && !f->final && !f->spool)
        return STREAM_wait;     /* another file may come */
    for (int i = 0; i < f->count; i++)
        if (!f->at[i].done)
            return STREAM_wait;
    return STREAM_end;
}

void
files_took(struct files *f, struct node *n, struct file *file, const struct stream_line *line)
{
    int i = (int)(file - f->at);

    if (f->follow) {
        if (f->piece == 0 || f->piece_file != i || f->piece_to != file->at) {
            put_piece(f, n);
            f->piece++;
            f->piece_file = i;
            f->piece_from = file->at;
        }
        f->piece_to = line->next;
        f->piece_dirty = true;
    }
    file->at = line->next;
    file->done |= line->why != NULL;    /* it broke there */
    file->dirty = true;
}

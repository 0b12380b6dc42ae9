/* inject: see inject.h. */
#include "nodes/reader/inject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct kept {
    struct line_key key;
    int64_t serial;
    double reward;
    size_t at, length; /* in bodies */
};

struct inject {
    struct buffer bodies;
    struct kept *at;
    int64_t count, room;
};

static int
compare_keys(const struct line_key *a, const struct line_key *b)
{
    if (a->a != b->a)
        return a->a < b->a ? -1 : 1;
    return a->b < b->b ? -1 : a->b > b->b;
}

static int
compare_kept(const void *x, const void *y)
{
    const struct kept *a = x, *b = y;
    int order = compare_keys(&a->key, &b->key);

    return order ? order : a->serial < b->serial ? -1 : a->serial > b->serial;
}

static void
keep(struct inject *in, struct line_key key, const struct rollout *rollout)
{
    struct kept *k;

    if (in->count == in->room) {
        in->room = in->room ? 2 * in->room : 256;
        in->at = xresize(in->at, (size_t)in->room * sizeof(*in->at));
    }
    k = &in->at[in->count];
    *k = (struct kept){
        .key = key, .serial = in->count, .reward = rollout->reward, .at = in->bodies.length};
    message_write(MESSAGE_rollout, rollout, &in->bodies);
    k->length = in->bodies.length - k->at;
    in->count++;
}

static int
read_one(struct inject *in, const struct line_how *how, double above, struct span text,
         struct span source, struct arena *arena, struct error *e)
{
    struct line line;
    int rc = line_read(how, text, source, arena, &line, e);

    if (rc != 0)
        return rc;
    for (int i = 0; i < line.count && rc == 0; i++) {
        const struct line_item *item = &line.items[i];

        if (item->why)
            rc = error_set(e, ERROR_input, "response %d: %s", i, item->why);
        else if (item->rollout.reward > above)
            keep(in, line.key, &item->rollout);
    }
    line_free(&line);
    if (rc == 0 && (int64_t)in->bodies.length > INJECT_BYTES_MAX)
        rc = error_set(e, ERROR_limit, "more than %lld bytes of rollouts to inject",
                       INJECT_BYTES_MAX);
    return rc;
}

static FILE *
open_file(const char *path, struct error *e)
{
    FILE *file = fopen(path, "re");
    struct stat st;

    if (!file || fstat(fileno(file), &st) != 0)
        error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > INJECT_FILE_MAX)
        error_set(e, ERROR_file, "%s: not a file of at most %lld bytes", path, INJECT_FILE_MAX);
    else
        return file;
    if (file)
        fclose(file);
    return NULL;
}

int
inject_open(const char *path, const struct line_how *how, double above, struct inject **inject,
            struct error *e)
{
    struct inject *in = xalloc(sizeof(*in));
    FILE *file = open_file(path, e);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct arena arena = {0};
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    int64_t number = 0;
    int rc = file ? 0 : e->code;

    while (rc == 0 && (length = getline(&text, &room, file)) > 0) {
        char *source = xprint("%s:%lld", name, (long long)++number);

        arena_clear(&arena);
        rc = read_one(in, how, above, span_of(text, (size_t)length), span_text(source), &arena, e);
        if (rc != 0)
            error_wrap(e, "%s line %lld", path, (long long)number);
        free(source);
    }
    if (rc == 0 && ferror(file))
        rc = error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (file)
        fclose(file);
    free(text);
    arena_free(&arena);
    if (rc == 0 && in->count > 0)
        qsort(in->at, (size_t)in->count, sizeof(*in->at), compare_kept);
    *inject = in;
    if (rc != 0) {
        inject_free(in);
        *inject = NULL;
    }
    return rc;
}

void
inject_free(struct inject *in)
{
    if (!in)
        return;
    buffer_free(&in->bodies);
    free(in->at);
    free(in);
}

bool
inject_find(const struct inject *in, struct line_key key, int64_t k, struct span *body,
            double *reward)
{
    int64_t low = 0, high = in->count;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;

        if (compare_keys(&in->at[middle].key, &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    low += k;
    if (low >= in->count || compare_keys(&in->at[low].key, &key) != 0)
        return false;
    *body = span_of(in->bodies.at + in->at[low].at, in->at[low].length);
    *reward = in->at[low].reward;
    return true;
}

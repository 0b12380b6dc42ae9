/* loop_records: what a loop writes down, and reading it again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "commands/loop.h"
#include "kernels/durable.h"

#define HASH_BYTES (1 << 20) /* read at a time */
#define SHARDS_MAX 4096
#define LOCK_WAIT  0.5 /* seconds; a stage of a killed loop holds the lock until it is dead too */

bool
records_is(const char *path)
{
    return access(path, F_OK) == 0;
}

char *
records_path(const struct loop *l, int64_t round, const char *name)
{
    return xprint("%s/round-%lld/%s", l->dir, (long long)round, name);
}

char *
records_policy(const struct loop *l, int64_t round)
{
    return round <= 1 ? xtext(l->start)
                      : xprint("%s/round-%lld/run/checkpoints/%s/final", l->dir,
                               (long long)round - 1, l->learner);
}

int
records_write(const char *path, const json_t *json, struct error *e)
{
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    struct span parts[2] = {span_text(text), span_text("\n")};
    int rc = text ? durable_write(path, parts, 2, e)
                  : error_set(e, ERROR_internal, "%s: cannot be written as JSON", path);

    free(text);
    return rc;
}

int
records_read(const char *path, json_t **json, struct error *e)
{
    json_error_t why;

    *json = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (*json && json_is_object(*json))
        return 0;
    json_decref(*json);
    *json = NULL;
    return error_set(e, ERROR_input, "%s: %s", path, why.text[0] ? why.text : "not an object");
}

/* ---- hashes ---- */

static int
hash_file(XXH3_state_t *state, const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = xalloc(HASH_BYTES);
    ssize_t n = -1;

    while (fd >= 0 && ((n = read(fd, bytes, HASH_BYTES)) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            XXH3_64bits_update(state, bytes, (size_t)n);
    free(bytes);
    if (n < 0)
        error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return n < 0 ? ERROR_file : 0;
}

static int
hash_files(char *const *paths, int count, char hash[17], struct error *e)
{
    XXH3_state_t *state = XXH3_createState();
    int rc = 0;

    XXH3_64bits_reset(state);
    for (int i = 0; i < count && rc == 0; i++)
        rc = hash_file(state, paths[i], e);
    snprintf(hash, 17, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return rc;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int
records_model_hash(const char *dir, char hash[17], struct error *e)
{
    static const char ending[] = ".safetensors";
    char *paths[SHARDS_MAX];
    int count = 0, rc;
    DIR *folder = opendir(dir);

    if (!folder)
        return error_set(e, ERROR_file, "%s: %s", dir, strerror(errno));
    for (struct dirent *row; count < SHARDS_MAX && (row = readdir(folder));) {
        size_t n = strlen(row->d_name), m = sizeof(ending) - 1;

        if (n > m && strcmp(row->d_name + n - m, ending) == 0)
            paths[count++] = xprint("%s/%s", dir, row->d_name);
    }
    closedir(folder);
    qsort(paths, (size_t)count, sizeof(*paths), by_name);
    rc = count ? hash_files(paths, count, hash, e)
               : error_set(e, ERROR_model, "%s: no file of weights", dir);
    for (int i = 0; i < count; i++)
        free(paths[i]);
    return rc;
}

int
records_file_hash(const char *file, char hash[17], struct error *e)
{
    char *path = (char *)(uintptr_t)file;

    return hash_files(&path, 1, hash, e);
}

/* ---- loop.json ---- */

static int
set_hash(json_t *settings, const char *name, const char *file, struct error *e)
{
    char hash[17] = "";
    int rc = file ? records_file_hash(file, hash, e) : 0;

    json_object_set_new(settings, name, json_string(hash));
    return rc;
}

/* What may not change between two starts of a loop, under the names of its flags; files by their
 * hash. */
static int
settings_of(const struct loop *l, json_t **out, struct error *e)
{
    json_t *s = json_object(), *starts = json_array();
    int rc;

    for (int i = 0; i < l->starts.count; i++)
        json_array_append_new(starts, json_string(l->starts.at[i]));
    json_object_set_new(s, "reader", json_string(l->reader));
    json_object_set_new(s, "learner", json_string(l->learner));
    rc = set_hash(s, "prompts", l->prompts_file, e);
    if (rc == 0)
        rc = set_hash(s, "eval-prompts", l->eval_file, e);
    json_object_set_new(s, "eval-samples", json_integer(l->eval_file ? l->eval_samples : 0));
    json_object_set_new(s, "samples", json_integer(l->samples));
    json_object_set_new(s, "temperature", json_real(l->temperature));
    json_object_set_new(s, "max-tokens", json_integer(l->max_tokens));
    json_object_set_new(s, "seed", json_integer(l->seed));
    json_object_set_new(s, "verify", json_string(l->verify));
    json_object_set_new(s, "choose", json_string(l->method));
    json_object_set_new(s, "prompts-per-round", json_integer(l->choose.count));
    json_object_set_new(s, "decay", json_real(l->choose.decay));
    json_object_set_new(s, "target", json_real(l->choose.target));
    json_object_set_new(s, "prune-rate", json_real(l->choose.rate));
    json_object_set_new(s, "extra-samples-max", json_integer(l->extra_samples));
    json_object_set_new(s, "extra-epochs", json_integer(l->extra_epochs));
    json_object_set_new(s, "start", starts);
    json_object_set_new(s, "start-entropy",
                        json_pack("[f, f]", l->entropy_low, l->entropy_high));
    *out = s;
    return rc;
}

static int
settings_compare(const struct loop *l, const json_t *kept, json_t *asked, struct error *e)
{
    const char *name;
    json_t *now;

    json_object_foreach(asked, name, now) {
        const json_t *then = json_object_get(kept, name);
        char *a, *b;

        if (then && json_equal(then, now))
            continue;
        a = then ? json_dumps(then, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)) : xtext("nothing");
        b = json_dumps(now, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        error_set(e, ERROR_usage,
                  "'%s' was begun with another --%s: %s, not %s%s; another --run begins anew",
                  l->dir, name, a, b, json_is_string(now) && strlen(b) == 18 ? " (hashes)" : "");
        free(a);
        free(b);
        return ERROR_usage;
    }
    return 0;
}

static int
topology_compare(const struct loop *l, struct error *e)
{
    char *folder = xprint("%s/given", l->dir);
    struct plan kept = {0};
    struct buffer difference = {0};
    int rc = plan_load(&kept, folder, e);

    if (rc == 0 && plan_difference(&kept, &l->plan, &difference) != 0) {
        while (difference.length && difference.at[difference.length - 1] == '\n')
            difference.length--;
        rc = error_set(e, ERROR_topology, "'%s' is not the topology that '%s' was begun with: %.*s",
                       l->topology, l->dir, (int)difference.length, difference.at);
    }
    buffer_free(&difference);
    plan_free(&kept);
    free(folder);
    return rc;
}

static int
go_on(struct loop *l, const json_t *record, struct error *e)
{
    const json_t *start = json_object_get(record, "start");
    const char *model = json_string_value(json_object_get(start, "model"));
    const char *hash = json_string_value(json_object_get(start, "xxh3"));
    char now[17], *first = records_path(l, 1, "round.json");
    json_t *asked = NULL;
    int rc;

    if (json_integer_value(json_object_get(record, "version")) != LOOP_VERSION || !model || !hash)
        rc = error_set(e, ERROR_version, "'%s/loop.json' is of another version", l->dir);
    else
        rc = settings_of(l, &asked, e);
    if (rc == 0)
        rc = settings_compare(l, json_object_get(record, "settings"), asked, e);
    if (rc == 0)
        rc = topology_compare(l, e);
    if (rc == 0) {
        free(l->start);
        l->start = xtext(model);
    }
    if (rc == 0 && !records_is(first)) { /* later rounds do not read it */
        rc = records_model_hash(l->start, now, e);
        if (rc == 0 && strcmp(now, hash) != 0)
            rc = error_set(e, ERROR_model, "'%s' has other weights than when this loop began",
                           l->start);
    }
    free(first);
    json_decref(asked);
    return rc;
}

/* A loop begins in a new or empty folder, or where its beginning was cut short. */
static int
folder_check(const char *path, struct error *e)
{
    static const char *const own[] = {".",     "..",           "lock",
                                      "given", "entropy.json", "entropy.json.part",
                                      "loop.json.part", NULL};
    DIR *d = opendir(path);
    int rc = d ? 0 : error_set(e, ERROR_file, "cannot use '%s': %s", path, strerror(errno));

    for (struct dirent *row; rc == 0 && (row = readdir(d));) {
        int i = 0;

        while (own[i] && strcmp(row->d_name, own[i]) != 0)
            i++;
        if (!own[i])
            rc = error_set(e, ERROR_usage,
                           "'%s' is not empty ('%s') and holds no loop; name a new folder", path,
                           row->d_name);
    }
    if (d)
        closedir(d);
    return rc;
}

static int
folder_make(struct loop *l, struct error *e)
{
    char *path = xtext(l->given_dir);

    for (char *slash = strchr(path + (*path != 0), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        error_set(e, ERROR_file, "cannot make '%s': %s", path, strerror(errno));
    else if (!(l->dir = realpath(path, NULL)))
        error_set(e, ERROR_file, "cannot use '%s': %s", path, strerror(errno));
    else if (strpbrk(l->dir, "*?[]{}\\$~")) /* a reader's path is a pattern */
        error_set(e, ERROR_usage, "'%s' may not hold any of *?[]{}\\$~", l->dir);
    else {
        free(path);
        return 0;
    }
    free(path);
    return ERROR_file;
}

int
records_open(struct loop *l, bool *begun, struct error *e)
{
    char *path, *lock, *plan;
    json_t *record = NULL;
    int rc = folder_make(l, e);

    if (rc)
        return e && e->code ? e->code : rc;
    path = xprint("%s/loop.json", l->dir);
    lock = xprint("%s/lock", l->dir);
    plan = xprint("%s/plan.json", l->dir);
    *begun = records_is(path);
    if (records_is(plan))
        rc = error_set(e, ERROR_usage, "'%s' is a run, not a loop", l->dir);
    else if (!*begun)
        rc = folder_check(l->dir, e);
    if (rc == 0 && (rc = lock_take(&l->lock, lock, LOCK_WAIT, e)))
        error_wrap(e, "another loop works on '%s'", l->dir);
    if (rc == 0 && (*begun = records_is(path)))
        rc = records_read(path, &record, e);
    if (record)
        rc = go_on(l, record, e);
    json_decref(record);
    free(path);
    free(lock);
    free(plan);
    return rc;
}

int
records_begin(struct loop *l, json_t *candidates, struct error *e)
{
    char *folder = xprint("%s/given", l->dir), *path = xprint("%s/loop.json", l->dir);
    char *topology = realpath(l->topology, NULL), hash[17];
    json_t *record = json_object(), *settings = NULL, *start = json_object();
    int rc = records_model_hash(l->start, hash, e);

    if (rc == 0)
        rc = settings_of(l, &settings, e);
    if (rc == 0 && mkdir(folder, 0777) != 0 && errno != EEXIST)
        rc = error_set(e, ERROR_file, "cannot make '%s': %s", folder, strerror(errno));
    if (rc == 0)
        rc = plan_write(&l->plan, folder, e);
    if (rc == 0) {
        json_object_set_new(start, "model", json_string(l->start));
        json_object_set_new(start, "xxh3", json_string(hash));
        if (candidates)
            json_object_set(start, "candidates", candidates);
        json_object_set_new(record, "version", json_integer(LOOP_VERSION));
        json_object_set_new(record, "topology", json_string(topology ? topology : l->topology));
        json_object_set(record, "settings", settings);
        json_object_set(record, "start", start);
        rc = records_write(path, record, e);
    }
    json_decref(candidates);
    json_decref(settings);
    json_decref(start);
    json_decref(record);
    free(topology);
    free(folder);
    free(path);
    return rc;
}

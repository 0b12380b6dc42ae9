/* run: making and finding run directories, the supervisor's lock, and its state file. Nothing here
 * starts a process. */
#include "graph/run.h"

#include <dirent.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOPOLOGY_BYTES_MAX (16 << 20)
#define STATE_BLOCK        4096

static const char *const phase_names[] = {"running", "draining", "paused",
                                          "stopped", "done",     "failed"};

const char *
run_phase_name(enum run_phase phase)
{
    return phase_names[phase];
}

int
run_write_file(const char *path, struct span bytes, struct error *e)
{
    char *aside = xprint("%s.new", path);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t done = 0;
    if (fd < 0)
        goto fail;
    while (done < bytes.length) {
        ssize_t n = write(fd, bytes.at + done, bytes.length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            goto close_file;
        done += (size_t)n;
    }
    if (fsync(fd) != 0)
        goto close_file;
    close(fd);
    if (rename(aside, path) != 0)
        goto fail;
    free(aside);
    return 0;

close_file:;
    int kept = errno;
    close(fd);
    unlink(aside);
    errno = kept;
fail:
    free(aside);
    return error_set(e, errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file,
                     "cannot write '%s': %s", path, strerror(errno));
}

/* ---- making ---- */

static int
folder_make(const char *path, struct error *e)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    return error_set(e, ERROR_file, "cannot make '%s': %s", path, strerror(errno));
}

static int
topology_copy(const char *from, const char *dir, struct error *e)
{
    struct buffer b = {0};
    FILE *f = fopen(from, "re");
    if (f == NULL)
        return error_set(e, ERROR_file, "cannot read '%s': %s", from, strerror(errno));
    char chunk[8192];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && b.length <= TOPOLOGY_BYTES_MAX)
        buffer_add(&b, chunk, n);
    fclose(f);
    char *to = xprint("%s/topology.yaml", dir);
    int rc = run_write_file(to, buffer_span(&b), e);
    free(to);
    buffer_free(&b);
    return rc;
}

/* A run is made in a new or empty folder, or goes on being made where its making was cut short. */
static int
folder_check(const char *path, struct error *e)
{
    static const char *const own[] = {".", "..", "given", "logs", "stores", "checkpoints", "keys",
                                      "lock", "topology.yaml", "state.json", "plan.json.new",
                                      NULL};
    DIR *d = opendir(path);
    if (d == NULL)
        return error_set(e, ERROR_file, "cannot use '%s': %s", path, strerror(errno));
    int rc = 0;
    for (struct dirent *entry = readdir(d); entry != NULL && rc == 0; entry = readdir(d)) {
        int i = 0;
        while (own[i] != NULL && strncmp(entry->d_name, own[i], strlen(own[i]) + (i < 2)) != 0)
            i++;
        if (own[i] == NULL)
            rc = error_set(e, ERROR_usage,
                           "'%s' is not empty ('%s') and holds no run; name a new folder", path,
                           entry->d_name);
    }
    closedir(d);
    return rc;
}

/* Choose and make the directory itself; two runs started at once never share one, for mkdir()
 * decides. */
static int
dir_make(const char *name, const char *given, char **dir, struct error *e)
{
    if (given != NULL) {
        char *parent = xtext(given);
        for (char *slash = strchr(parent + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
            *slash = 0;
            mkdir(parent, 0777);
            *slash = '/';
        }
        free(parent);
        if (folder_make(given, e) != 0)
            return e ? e->code : ERROR_file;
        int strange = folder_check(given, e);
        if (strange != 0)
            return strange;
        *dir = realpath(given, NULL);
        return *dir ? 0 : error_set(e, ERROR_file, "cannot use '%s': %s", given, strerror(errno));
    }
    int rc = folder_make(RUN_FOLDER, e);
    if (rc != 0)
        return rc;
    time_t now = time(NULL);
    struct tm day;
    localtime_r(&now, &day);
    for (int n = 1; n <= RUN_NUMBER_MAX; n++) {
        char *path = xprint("%s/%s-%04d%02d%02d-%d", RUN_FOLDER, name, day.tm_year + 1900,
                            day.tm_mon + 1, day.tm_mday, n);
        if (mkdir(path, 0777) == 0)
            *dir = realpath(path, NULL);
        int kept = errno;
        bool made = *dir != NULL;
        free(path);
        if (made)
            return 0;
        if (kept != EEXIST)
            return error_set(e, ERROR_file, "cannot make a run in '%s': %s", RUN_FOLDER,
                             strerror(kept));
    }
    return error_set(e, ERROR_limit, "%d runs of '%s' today; give one a name with --run",
                     RUN_NUMBER_MAX, name);
}

int
run_make(const char *name, const char *given, char **dir, struct error *e)
{
    static const char *const folders[] = {"given", "logs", "stores", "checkpoints"};
    *dir = NULL;
    if (given != NULL && run_exists(given))
        return error_set(e, ERROR_usage, "'%s' holds a run already", given);
    int rc = dir_make(name, given, dir, e);
    for (size_t i = 0; i < sizeof folders / sizeof *folders && rc == 0; i++) {
        char *path = xprint("%s/%s", *dir, folders[i]);
        rc = folder_make(path, e);
        free(path);
    }
    if (rc != 0) {
        free(*dir);
        *dir = NULL;
    }
    return rc;
}

int
run_begin(const char *dir, const struct plan *p, const char *topology, struct error *e)
{
    char *given = xprint("%s/given", dir);
    int rc = plan_write(p, given, e);
    if (rc == 0)
        rc = topology_copy(topology, dir, e);
    if (rc == 0)
        rc = plan_write(p, dir, e);     /* last: a directory with a plan is a run */
    free(given);
    return rc;
}

bool
run_exists(const char *dir)
{
    char *path = xprint("%s/plan.json", dir);
    bool found = access(path, F_OK) == 0;
    free(path);
    return found;
}

int
run_find(const char *given, char **dir, struct error *e)
{
    *dir = NULL;
    if (given != NULL) {
        if (!run_exists(given))
            return error_set(e, ERROR_usage,
                             "'%s' is not the directory of a run (it has no plan.json)", given);
        *dir = realpath(given, NULL);
        return *dir ? 0 : error_set(e, ERROR_file, "cannot use '%s': %s", given, strerror(errno));
    }
    DIR *d = opendir(RUN_FOLDER);
    struct timespec newest = {0};
    for (struct dirent *row; d != NULL && (row = readdir(d)) != NULL;) {
        struct stat st;
        /* The copy of the topology is written once, so its time is the run's. */
        char *path = xprint("%s/%s/topology.yaml", RUN_FOLDER, row->d_name);
        bool later = row->d_name[0] != '.' && stat(path, &st) == 0 &&
                     (st.st_mtim.tv_sec > newest.tv_sec ||
                      (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec > newest.tv_nsec));
        free(path);
        path = xprint("%s/%s", RUN_FOLDER, row->d_name);
        if (later && run_exists(path)) {
            newest = st.st_mtim;
            free(*dir);
            *dir = realpath(path, NULL);
        }
        free(path);
    }
    if (d != NULL)
        closedir(d);
    return *dir ? 0 : error_set(e, ERROR_usage, "no run is given and '%s' holds none", RUN_FOLDER);
}

/* ---- the lock ---- */

int
run_lock(const char *dir, struct lock *l, struct error *e)
{
    char *path = xprint("%s/lock", dir);
    int rc = lock_take(l, path, RUN_LOCK_WAIT, e);
    free(path);
    if (rc == ERROR_locked)
        return error_set(e, ERROR_locked,
                         "run '%s' has a supervisor already (pid %ld); `sluice status %s` shows it",
                         dir, (long)run_supervisor(dir), dir);
    return rc;
}

void
run_lock_inherit(struct lock *l)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%ld %llu\n", (long)getpid(),
                     (unsigned long long)lock_start_time(getpid()));
    /* As in lock_take(): the text is a courtesy, the flock is what counts. */
    if (ftruncate(l->fd, 0) != 0 || pwrite(l->fd, text, (size_t)n, 0) != n)
        (void)n;
}

pid_t
run_supervisor(const char *dir)
{
    struct lock_holder holder;
    char *path = xprint("%s/lock", dir);
    bool held = lock_held(path, &holder);
    free(path);
    return held ? holder.pid : 0;
}

/* ---- the state file ---- */

/* The state must also be told on a full disk ("paused: the disk is full"). So there are two files
 * of whole blocks that change places; writing goes over blocks that are there already. */
static int
state_exchange(const char *path, struct buffer *text, struct error *e)
{
    while (text->length % STATE_BLOCK != 0)
        buffer_add(text, text->length % STATE_BLOCK == STATE_BLOCK - 1 ? "\n" : " ", 1);
    char *aside = xprint("%s.old", path);
    struct span bytes = buffer_span(text);
    int rc = 0;
    if (access(path, F_OK) != 0 || access(aside, F_OK) != 0) {
        rc = run_write_file(aside, bytes, e);
        if (rc == 0)
            rc = run_write_file(path, bytes, e);
        free(aside);
        return rc;
    }
    int fd = open(aside, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes.at, bytes.length, 0) != (ssize_t)bytes.length ||
        ftruncate(fd, (off_t)bytes.length) != 0 || fsync(fd) != 0 ||
        renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_EXCHANGE) != 0)
        rc = error_set(e, errno == ENOSPC ? ERROR_space : ERROR_file, "cannot write '%s': %s", path,
                       strerror(errno));
    if (fd >= 0)
        close(fd);
    /* Not every file system exchanges names. */
    if (rc == ERROR_file)
        rc = run_write_file(path, bytes, e);
    free(aside);
    return rc;
}

static json_t *
process_json(const struct run_process *p)
{
    return json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:b,s:b}", "id", p->id, "replica", p->replica, "pid",
                     (json_int_t)p->pid, "start", (json_int_t)p->start, "revision",
                     (json_int_t)p->revision, "restarts", (json_int_t)p->restarts, "held", p->held,
                     "crashed", p->crashed);
}

int
run_state_write(const char *dir, const struct run_state *s, struct error *e)
{
    json_t *rows = json_array();
    for (int i = 0; i < s->count; i++)
        json_array_append_new(rows, process_json(&s->processes[i]));
    json_t *all =
        json_pack("{s:i,s:s,s:s,s:{s:I,s:I,s:I},s:o}", "version", RUN_STATE_VERSION, "state",
                  phase_names[s->phase], "why", s->why, "supervisor", "pid", (json_int_t)s->pid,
                  "start", (json_int_t)s->start, "epoch", (json_int_t)s->epoch, "processes", rows);
    char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    if (text == NULL)
        return error_set(e, ERROR_internal, "the state of '%s' cannot be written as JSON", dir);
    char *path = xprint("%s/state.json", dir);
    struct buffer bytes = {0};
    buffer_text(&bytes, text);
    int rc = state_exchange(path, &bytes, e);
    buffer_free(&bytes);
    free(path);
    free(text);
    return rc;
}

static int
processes_read(const json_t *rows, struct run_state *s)
{
    size_t count = json_array_size(rows);
    if (count > PLAN_NODES_MAX * PLAN_REPLICAS_MAX)
        return -1;
    s->processes = xarray(count + 1, sizeof *s->processes);
    for (size_t i = 0; i < count; i++) {
        struct run_process *p = &s->processes[i];
        const char *id;
        json_int_t pid, start, revision, restarts;
        int held, crashed;
        if (json_unpack(json_array_get(rows, i), "{s:s,s:i,s:I,s:I,s:I,s:I,s:b,s:b}", "id", &id,
                        "replica", &p->replica, "pid", &pid, "start", &start, "revision", &revision,
                        "restarts", &restarts, "held", &held, "crashed", &crashed) != 0)
            return -1;
        p->id = xtext(id);
        p->pid = (pid_t)pid;
        p->start = (uint64_t)start;
        p->revision = (uint64_t)revision;
        p->restarts = restarts;
        p->held = held;
        p->crashed = crashed;
        s->count++;
    }
    return 0;
}

int
run_state_read(const char *dir, struct run_state *s, struct error *e)
{
    memset(s, 0, sizeof *s);
    s->phase = RUN_stopped;
    char *path = xprint("%s/state.json", dir);
    if (access(path, F_OK) != 0) {
        free(path);
        return 0;
    }
    json_error_t where;
    json_t *all = json_load_file(path, 0, &where);
    const char *phase = "", *why = "";
    json_int_t pid = 0, start = 0, epoch = 0;
    json_t *rows = NULL;
    int version = 0, rc = 0;
    if (json_unpack_ex(all, &where, 0, "{s:i,s:s,s:s,s:{s:I,s:I,s:I},s:o}", "version", &version,
                       "state", &phase, "why", &why, "supervisor", "pid", &pid, "start", &start,
                       "epoch", &epoch, "processes", &rows) != 0)
        rc = error_set(e, ERROR_input, "'%s' is malformed: %s", path, where.text);
    else if (version != RUN_STATE_VERSION)
        rc = error_set(e, ERROR_version, "'%s' has version %d, this is %d", path, version,
                       RUN_STATE_VERSION);
    else if (processes_read(rows, s) != 0)
        rc = error_set(e, ERROR_input, "'%s' is malformed: a row of 'processes'", path);
    if (rc == 0) {
        snprintf(s->why, sizeof s->why, "%s", why);
        s->pid = (pid_t)pid;
        s->start = (uint64_t)start;
        s->epoch = (uint64_t)epoch;
        for (size_t i = 0; i < sizeof phase_names / sizeof *phase_names; i++)
            if (strcmp(phase_names[i], phase) == 0)
                s->phase = (enum run_phase)i;
    } else {
        run_state_free(s);
    }
    json_decref(all);
    free(path);
    return rc;
}

void
run_state_free(struct run_state *s)
{
    for (int i = 0; i < s->count; i++)
        free(s->processes[i].id);
    free(s->processes);
    memset(s, 0, sizeof *s);
}

struct run_process *
run_state_find(const struct run_state *s, const char *id, int replica)
{
    for (int i = 0; i < s->count; i++)
        if (s->processes[i].replica == replica && strcmp(s->processes[i].id, id) == 0)
            return &s->processes[i];
    return NULL;
}

/* run: check a topology completely, make or continue its run, and supervise it to its end. What the
 * screen shows meanwhile is in commands/progress.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "commands/flags.h"
#include "commands/progress.h"
#include "commands/start.h"
#include "commands/talk.h"
#include "graph/supervisor.h"

#define TURN_SECONDS 0.25

static const char about[] =
    "Checks TOPOLOGY completely, then runs it: every node is a process, started and restarted\n"
    "as needed. A directory that holds an unfinished run of the same topology is continued. ^C\n"
    "and SIGTERM drain (sources stop, what is in flight flows out), a second one stops at once;\n"
    "nothing is lost either way.\n"
    "Exit codes: 0 done, 1 failed, 75 paused (--on-pause exit), 78 bad or changed topology,\n"
    "130/143 left by ^C/SIGTERM.";

int
start_run_id(char **id, struct error *e)
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return error_set(e, ERROR_internal, "getrandom: %s", strerror(errno));
    char text[2 * sizeof bytes + 1];
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    free(*id);
    *id = xtext(text);
    return 0;
}

static const struct plan_option *
given_option(const struct plan_node *n, const char *name)
{
    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, name) == 0)
            return &n->options[i];
    return NULL;
}

static bool
same_value(const struct plan_option *a, const struct plan_option *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = strcmp(a->values[i], b->values[i]) == 0;
    return same;
}

static bool
same_options(const struct plan *a, const struct plan *b)
{
    bool same = a->node_count == b->node_count;
    for (int n = 0; same && n < a->node_count; n++) {
        const struct plan_node *x = &a->nodes[n], *y = &b->nodes[n];
        same = strcmp(x->id, y->id) == 0 && x->option_count == y->option_count &&
               plan_replicas(x) == plan_replicas(y);
        for (int o = 0; same && o < x->option_count; o++)
            same = same_value(given_option(y, x->options[o].name), &x->options[o]);
    }
    return same;
}

/* A live option that was edited in the file since it was last read goes into the run; one that only
 * `sluice set` changed stays. */
static int
live_options_take(struct plan *kept, const struct plan *given, const struct plan *asked,
                  struct error *e)
{
    for (int i = 0; i < asked->node_count; i++) {
        const struct plan_node *n = &asked->nodes[i];
        int g = plan_find(given, n->id), k = plan_find(kept, n->id);
        for (int o = 0; o < n->option_count && g >= 0 && k >= 0; o++) {
            const struct plan_option *now = &n->options[o];
            const struct plan_option *had = given_option(&kept->nodes[k], now->name);
            if (now->count != 1 || same_value(given_option(&given->nodes[g], now->name), now) ||
                same_value(had, now))
                continue;
            int rc = change_option(kept, k, now->name, now->values[0], e);
            if (rc != 0)
                return rc;
            fprintf(stderr, "sluice run: %s.%s is now %s\n", n->id, now->name, now->values[0]);
        }
        if (k >= 0 && strcmp(kept->nodes[k].listen, n->listen) != 0) {
            fprintf(stderr, "sluice run: %s listens %s%s\n", n->id,
                    *n->listen ? "at " : "in private", n->listen);
            free(kept->nodes[k].listen);
            kept->nodes[k].listen = xtext(n->listen);
            kept->revision++;
        }
        if (g >= 0 && k >= 0 && plan_replicas(&given->nodes[g]) != plan_replicas(n))
            fprintf(stderr,
                    "sluice run: replicas of '%s' change while it runs: sluice set RUN "
                    "%s.replicas=%d\n",
                    n->id, n->id, plan_replicas(n));
    }
    return 0;
}

/* The nodes a changed topology touches, as the replay that would apply it. */
static int
refuse_changed(const char *dir, const char *file, const struct plan *kept, const struct plan *asked,
               const char *difference)
{
    fprintf(stderr, "sluice run: '%s' is not the topology that run '%s' was made from:\n%s", file,
            dir, difference);
    for (int i = 0; i < asked->node_count; i++) {
        const struct plan_node *n = &asked->nodes[i];
        int k = plan_find(kept, n->id);
        if (k < 0 || n->kind->source)
            continue;
        struct buffer sets = {0};
        for (int o = 0; o < n->option_count; o++) {
            const struct option *row = option_find(n->kind->options, n->options[o].name);
            if (row == NULL)
                row = option_find(node_common_options, n->options[o].name);
            if (row != NULL && row->change == FIXED && n->options[o].count == 1 &&
                !same_value(given_option(&kept->nodes[k], n->options[o].name), &n->options[o]))
                buffer_print(&sets, " --set '%s.%s=%s'", n->id, n->options[o].name,
                             n->options[o].values[0]);
        }
        if (sets.length > 0) {
            buffer_add(&sets, "", 1);
            fprintf(stderr,
                    "a replay applies it, and leaves this run as it is:\n  sluice replay %s %s%s "
                    "--into NEW\n",
                    dir, n->id, sets.at);
            buffer_free(&sets);
            return error_exit(ERROR_topology);
        }
        buffer_free(&sets);
    }
    fprintf(stderr, "only a new run applies it: sluice run %s\n", file);
    return error_exit(ERROR_topology);
}

/* Continue the run in `dir` with what was asked for. -> 0, or the exit code after a message. */
static int
run_continue(const char *dir, const char *file, const struct plan *asked)
{
    struct error e = {0};
    struct plan kept = {0}, given = {0};
    struct buffer difference = {0};
    char *folder = xprint("%s/given", dir);
    int rc = plan_load(&kept, dir, &e), code = 0;
    if (rc == 0 && plan_load(&given, folder, NULL) != 0)
        rc = plan_load(&given, dir, &e);
    if (rc == 0 && plan_difference(&kept, asked, &difference) != 0) {
        buffer_add(&difference, "", 1);
        code = refuse_changed(dir, file, &kept, asked, difference.at);
    } else if (rc == 0) {
        uint64_t revision = kept.revision;
        rc = live_options_take(&kept, &given, asked, &e);
        if (rc == 0 && kept.revision != revision)
            rc = plan_write(&kept, dir, &e);
        /* Written only when it differs, so that a full disk does not keep a run from going on. */
        if (rc == 0 && !same_options(&given, asked))
            rc = plan_write(asked, folder, &e);
    }
    if (rc != 0)
        code = talk_fail("run", &e);
    buffer_free(&difference);
    plan_free(&kept);
    plan_free(&given);
    free(folder);
    return code;
}

int
start_supervise(const char *dir, struct lock *lock, const struct start *how, struct error *e)
{
    struct supervisor s = {.grace = how->grace, .pause_exits = how->pause_exits};
    struct progress progress;
    int code = 1, go_on = 1;
    int rc = supervisor_open(&s, dir, e);
    progress_open(&progress, how->json, how->quiet);
    if (how->ready_fd >= 0 && rc == 0) {
        if (write(how->ready_fd, "", 1) != 1)
            rc = error_set(e, ERROR_internal, "the starter went away");
        close(how->ready_fd);
    }
    while (rc == 0 && go_on == 1) {
        go_on = supervisor_turn(&s, TURN_SECONDS, e);
        if (go_on < 0)
            rc = go_on;
        progress_show(&progress, &s, go_on != 1);
    }
    progress_close(&progress);
    if (rc == 0) {
        enum run_phase phase = s.state.phase;
        code = phase == RUN_done                        ? 0
               : phase == RUN_failed                    ? 1
               : phase == RUN_paused                    ? error_exit(ERROR_paused)
               : s.signal_first != 0                    ? 128 + s.signal_first
                                                        : 0;
        if (phase == RUN_failed)
            fprintf(stderr, "sluice run: failed: %s\n", s.state.why);
        if (phase == RUN_paused)
            fprintf(stderr, "sluice run: paused: %s\n", s.state.why);
    }
    supervisor_close(&s);
    lock_drop(lock);
    return rc != 0 ? rc : code;
}

/* The supervisor goes on in a process of its own; returns in the parent once it stands. -> exit
 * code */
static int
detach(const char *dir, struct lock *lock, const struct start *how)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "sluice run: pipe: %s\n", strerror(errno));
        return 1;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "sluice run: fork: %s\n", strerror(errno));
        return 1;
    }
    if (pid > 0) {
        char byte;
        close(ends[1]);
        bool stands = read(ends[0], &byte, 1) == 1;
        close(ends[0]);
        if (stands)
            printf("%s\n", dir);
        else
            fprintf(stderr, "sluice run: the supervisor did not start; see %s/supervisor.log\n",
                    dir);
        return stands ? 0 : 1;
    }
    struct error e = {0};
    close(ends[0]);
    setsid();
    run_lock_inherit(lock);
    struct start here = *how;
    here.quiet = true;
    here.ready_fd = ends[1];
    char *words = xprint("%s/supervisor.err", dir);
    int none = open("/dev/null", O_RDWR), said = open(words, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(none, 1);
    dup2(said >= 0 ? said : none, 2);
    free(words);
    int rc = start_supervise(dir, lock, &here, &e);
    if (rc < 0)
        fprintf(stderr, "sluice run: %s\n", e.text);
    _exit(rc < 0 ? error_exit(rc) : rc);
}

int
start_run(const char *dir, struct lock *lock, const struct start *how)
{
    struct error e = {0};
    if (how->detach)
        return detach(dir, lock, how);
    int rc = start_supervise(dir, lock, how, &e);
    return rc < 0 ? talk_fail("run", &e) : rc;
}

/* Make the directory or continue the one that is there, under the run's lock. -> 0, or the exit
 * code after a message. */
static int
prepare(struct plan *asked, const char *given, char **dir, struct lock *lock)
{
    struct error e = {0};
    int rc = 0;
    lock->fd = -1;
    if (given == NULL || !run_exists(given)) {
        rc = start_run_id(&asked->run_id, &e);
        if (rc == 0)
            rc = run_make(asked->name, given, dir, &e);
        if (rc == 0)
            rc = run_lock(*dir, lock, &e);
        if (rc == 0)
            rc = run_begin(*dir, asked, asked->file, &e);
        return rc == 0 ? 0 : talk_fail("run", &e);
    }
    rc = run_find(given, dir, &e);
    if (rc == 0)
        rc = run_lock(*dir, lock, &e);
    return rc == 0 ? run_continue(*dir, asked->file, asked) : talk_fail("run", &e);
}

int
command_run(int argc, char **argv)
{
    const char *given = NULL, *on_pause = "wait";
    bool only_estimate = false;
    long sample = 0;
    struct many sets = {0};
    struct start how = {.grace = SUPERVISOR_GRACE, .ready_fd = -1};
    const struct flag flags[] = {
        {FLAG_text, 0, "run", "DIR", &given,
         "where the run lives (default: runs/<name>-<date>-<n>)"},
        {FLAG_many, 0, "set", "NODE.OPTION=VALUE", &sets,
         "override an option of the topology; may be repeated"},
        {FLAG_on, 'd', "detach", NULL, &how.detach,
         "supervise in the background; prints the run's directory"},
        {FLAG_number, 0, "grace", "SECONDS", &how.grace,
         "patience of a drain before it stops (default 30)"},
        {FLAG_text, 0, "on-pause", "wait|exit", &on_pause,
         "a full disk or a spent budget: wait for it, or exit 75"},
        {FLAG_on, 0, "estimate", NULL, &only_estimate,
         "make no run and no call: say what the judges would cost (with --run: what is left to pay)"},
        {FLAG_count, 0, "sample", "N", &sample,
         "--estimate: of about the first N rollouts only (0: of all)"},
        {FLAG_on, 0, "json", NULL, &how.json, "progress as JSON lines"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code = flags_read(flags, "run TOPOLOGY [flags]", about, argc, argv, 1, 1, &words);
    if (code >= 0)
        return code;
    how.pause_exits = strcmp(on_pause, "exit") == 0;
    if (!how.pause_exits && strcmp(on_pause, "wait") != 0) {
        fprintf(stderr, "sluice run: --on-pause takes wait or exit, not '%s'\n", on_pause);
        return 2;
    }
    struct error e = {0};
    struct plan plan = {0};
    struct buffer problems = {0};
    struct lock lock = {-1};
    char *dir = NULL;
    int rc = topology_read(words.at[0], sets.count, sets.at, &plan, &problems, &e);
    if (rc != 0) {
        if (problems.length > 0)
            fwrite(problems.at, 1, problems.length, stderr);
        else
            fprintf(stderr, "sluice run: %s\n", e.text);
        buffer_free(&problems);
        return error_exit(rc);
    }
    buffer_free(&problems);
    if (only_estimate) {
        code = estimate(&plan, given, sample, talk_json_wanted(how.json));
        plan_free(&plan);
        return code;
    }
    code = prepare(&plan, given, &dir, &lock);
    plan_free(&plan);
    if (code == 0)
        code = start_run(dir, &lock, &how);
    lock_drop(&lock);
    free(dir);
    return code;
}

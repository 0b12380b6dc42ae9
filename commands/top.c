/* top: a run as it works, drawn over itself: messages and processor time per second, memory, and who waits why. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/look.h"

#define TOP_ROWS_MAX (PLAN_NODES_MAX * 4)

static const char about[] =
    "Shows the processes of a run again and again until ^C or until the run is over: messages in and out a second,\n"
    "processor time, memory, dead letters, and why each waits. On a terminal it is drawn over itself; else each look is\n"
    "one JSON line, as of `sluice status --json`, with in_per_s, out_per_s, cpu and rss_bytes of each process.";

/* What was seen of a process the last time. */
struct seen {
    char       id[64];
    long long  replica, pid;
    double     in, out, cpu;    /* messages; seconds of processor time */
};

struct top {
    struct seen seen[TOP_ROWS_MAX];
    int         count;
    double      at;             /* of the look they were seen in; < 0: none yet */
};

/* ---- what the kernel knows ---- */

/* Seconds of processor time and bytes resident; false: no such process here. */
static bool
process_usage(long long pid, double *cpu, double *rss)
{
    char      path[64], text[1024];
    long long user = 0, system = 0, pages = 0;

    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    const char *rest = strrchr(text, ')');      /* the name before it may hold anything */
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld %*d %*d %*d %*d %*d %*d "
                                  "%*u %*u %lld", &user, &system, &pages) != 3)
        return false;
    *cpu = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    *rss = (double)pages * (double)sysconf(_SC_PAGESIZE);
    return true;
}

static double
number_of(const json_t *row, const char *name)
{
    return json_number_value(json_object_get(row, name));
}

/* Puts rates and usage into the rows, and remembers them for the next look. */
static void
rates_add(struct top *t, json_t *status, double now)
{
    struct top was = *t;
    json_t    *row;
    size_t     i;

    t->count = 0;
    json_array_foreach(json_object_get(status, "nodes"), i, row) {
        struct seen now_seen = {.replica = (long long)number_of(row, "replica"), .pid = (long long)number_of(row, "pid"),
                                .in = number_of(row, "in"), .out = number_of(row, "out")};
        const struct seen *old = NULL;
        double             rss = 0;

        snprintf(now_seen.id, sizeof now_seen.id, "%s", json_string_value(json_object_get(row, "id")));
        bool known = process_usage(now_seen.pid, &now_seen.cpu, &rss);
        for (int k = 0; k < was.count && was.at >= 0; k++)
            if (was.seen[k].replica == now_seen.replica && strcmp(was.seen[k].id, now_seen.id) == 0)
                old = &was.seen[k];
        double passed = now - was.at;
        if (old && passed > 0) {
            bool same = old->pid == now_seen.pid && known;
            json_object_set_new(row, "in_per_s", json_real(now_seen.in < old->in ? 0 : (now_seen.in - old->in) / passed));
            json_object_set_new(row, "out_per_s", json_real(now_seen.out < old->out ? 0 : (now_seen.out - old->out) / passed));
            json_object_set_new(row, "cpu", json_real(same ? (now_seen.cpu - old->cpu) / passed : 0));
        }
        if (known)
            json_object_set_new(row, "rss_bytes", json_integer((json_int_t)rss));
        if (t->count < TOP_ROWS_MAX)
            t->seen[t->count++] = now_seen;
    }
    t->at = now;
}

/* ---- drawing ---- */

static void
rate_text(const json_t *row, const char *name, char text[16])
{
    const json_t *rate = json_object_get(row, name);
    double        v = json_number_value(rate);

    if (!rate)
        snprintf(text, 16, "-");
    else
        snprintf(text, 16, v >= 9999.5 ? "%.0fk" : v >= 99.5 || v == 0 ? "%.0f" : "%.1f", v >= 9999.5 ? v / 1000 : v);
}

/* Appends what fits into a line of the terminal, without control characters. */
static void
line_add(struct buffer *out, int *columns, const char *text)
{
    for (; *text && *columns > 0; text++) {
        unsigned char c = (unsigned char)*text;

        buffer_add(out, c < 0x20 || c == 0x7f ? " " : text, 1);
        *columns -= (c & 0xc0) != 0x80;
    }
}

static void
row_draw(struct buffer *out, const json_t *row, int columns)
{
    char in[16], sent[16], text[400], name[80];
    const json_t *rss = json_object_get(row, "rss_bytes"), *cpu = json_object_get(row, "cpu");

    rate_text(row, "in_per_s", in);
    rate_text(row, "out_per_s", sent);
    snprintf(name, sizeof name, "%s.%d", json_string_value(json_object_get(row, "id")), (int)number_of(row, "replica"));
    snprintf(text, sizeof text, "%-18.40s %-9.9s %7s %7s %9.0f %6.0f %5s ", name,
             json_string_value(json_object_get(row, "state")), in, sent, number_of(row, "in_flight"),
             number_of(row, "dead"), "");
    if (cpu)
        snprintf(text + strlen(text) - 6, 8, "%4.0f%% ", 100 * json_number_value(cpu));
    line_add(out, &columns, text);
    snprintf(text, sizeof text, "%6.0f  ", rss ? json_number_value(rss) / 1048576 : 0);
    line_add(out, &columns, rss ? text : "     -  ");
    line_add(out, &columns, json_string_value(json_object_get(row, "why")));
}

static void
draw(const json_t *status, bool over, const char *note)
{
    struct winsize w = {0};
    struct buffer  out = {0};
    const char    *end = over ? "\033[K\n" : "\n";
    json_t        *nodes = json_object_get(status, "nodes"), *row;
    size_t         i, most = json_array_size(nodes);
    int            columns = 200, left;

    if (over && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 4) {
        most = w.ws_row - 4u;
        columns = w.ws_col;
    }
    buffer_text(&out, over ? "\033[H" : "");
    const char *why = json_string_value(json_object_get(status, "why"));
    char        head[500];
    snprintf(head, sizeof head, "%s: %s%s%s%s", json_string_value(json_object_get(status, "run")),
             json_string_value(json_object_get(status, "state")), why && why[0] ? ": " : "", why ? why : "", note);
    left = columns;
    line_add(&out, &left, head);
    buffer_print(&out, "%s%s", end, over ? "\033[1m" : "");
    left = columns;
    line_add(&out, &left, "node               state        in/s   out/s in flight   dead   cpu    MiB  why");
    buffer_print(&out, "%s%s", over ? "\033[0m" : "", end);
    json_array_foreach(nodes, i, row) {
        if (i >= most)
            break;
        row_draw(&out, row, columns);
        buffer_text(&out, end);
    }
    if (most < json_array_size(nodes))
        buffer_print(&out, "... and %zu more%s", json_array_size(nodes) - most, end);
    buffer_text(&out, over ? "\033[J" : "");
    fwrite(out.at, 1, out.length, stdout);
    fflush(stdout);
    buffer_free(&out);
}

static bool
is_over(const json_t *status)
{
    const char *state = json_string_value(json_object_get(status, "state"));

    return state && (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "stopped") == 0);
}

static int
look(struct top *t, const char *dir, bool json, bool once, double seconds, struct error *e)
{
    bool terminal = isatty(STDOUT_FILENO) && !once, over = false;
    int  rc = 0;

    if (terminal && !json)
        printf("\033[H\033[J");
    while (rc == 0 && !over && !ferror(stdout)) {
        json_t *status = NULL;

        rc = look_run(dir, &status, e);
        if (rc == 0) {
            rates_add(t, status, talk_now());
            over = once || is_over(status);
            if (json) {
                json_dumpf(status, stdout, JSON_COMPACT);
                putchar('\n');
                fflush(stdout);
            } else {
                draw(status, terminal, once ? "" : over ? " (over)" : " (^C leaves)");
            }
        }
        json_decref(status);
        if (rc == 0 && !over)
            poll(NULL, 0, (int)(seconds * 1000));
    }
    return rc;
}

int
command_top(int argc, char **argv)
{
    bool   json = false, once = false;
    double seconds = 1;
    const struct flag flags[] = {
        {FLAG_on, 0, "once", NULL, &once, "one look"},
        {FLAG_number, 0, "interval", "S", &seconds, "seconds between two looks; 1"},
        {FLAG_on, 0, "json", NULL, &json, "as JSON lines, also on a terminal"},
        {.kind = FLAG_end},
    };
    struct words words;
    int          code = flags_read(flags, "top [RUN] [flags]", about, argc, argv, 0, 1, &words);

    if (code >= 0)
        return code;
    if (seconds < 0.05 || seconds > 3600) {
        fprintf(stderr, "sluice top: --interval lies between 0.05 and 3600 seconds\n");
        return 2;
    }
    struct error e = {0};
    struct top  *t = xalloc(sizeof *t);
    char        *dir = NULL;
    int          rc = run_find(words.at[0], &dir, &e);

    t->at = -1;
    if (rc == 0)
        rc = look(t, dir, talk_json_wanted(json), once, seconds, &e);
    free(t);
    free(dir);
    return rc == 0 ? 0 : talk_fail("top", &e);
}

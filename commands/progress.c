/* progress: drawing. Numbers come from the last answers of the processes; nothing is asked here. */
#include "commands/progress.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "commands/talk.h"

#define WIDTH_STANDARD 100

void
progress_open(struct progress *p, bool json, bool quiet)
{
    memset(p, 0, sizeof *p);
    p->json = json;
    p->quiet = quiet;
    p->terminal = !json && isatty(STDOUT_FILENO);
    p->began = p->rate_at = supervisor_now();
    p->shown_at = p->began - PROGRESS_LINES;
}

static int
width(void)
{
    struct winsize w;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 40)
        return isatty(STDOUT_FILENO) ? WIDTH_STANDARD : 1000;
    return w.ws_col;
}

static const char *
state_colour(const char *state)
{
    static const struct { const char *state, *colour;
    } rows[] = {
        {"running", "\033[32m"}, {"computing", "\033[32m"}, {"finished", "\033[2m"},
        {"starved", "\033[2m"},  {"paused", "\033[33m"},    {"blocked", "\033[33m"},
        {"down", "\033[31m"},    {"silent", "\033[31m"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].state, state) == 0)
            return rows[i].colour;
    return "";
}

/* Text from outside may hold control characters, which a terminal would obey. */
static void
print_clean(const char *text, int most)
{
    for (int i = 0; text[i] != 0 && i < most; i++)
        putchar((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i]);
}

static const char *
text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static long long
number_of(const json_t *row, const char *key)
{
    return (long long)json_integer_value(json_object_get(row, key));
}

/* Restarts and dead letters are rare: they are said before the reason, not in columns of zeros. A
 * reason that begins with the state's own word loses it. */
static void
print_why(const json_t *row, int room)
{
    const char *state = text_of(row, "state"), *why = text_of(row, "why");
    size_t word = strlen(state);
    char text[1024];
    int n = 0;
    if (number_of(row, "restarts") > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, "[restarts: %lld] ",
                      number_of(row, "restarts"));
    if (number_of(row, "dead") > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, "[dead letters: %lld] ",
                      number_of(row, "dead"));
    if (strncmp(why, state, word) == 0 && (why[word] == ':' || why[word] == ' '))
        why += word + (why[word] == ':') + 1;
    snprintf(text + n, sizeof text - (size_t)n, "%s", why);
    print_clean(text, room > 10 ? room : 10);
}

/* At most `most` rows. */
static int
table(const json_t *status, bool colour, int most)
{
    const json_t *rows = json_object_get(status, "nodes");
    json_t *row;
    size_t i;
    int id_width = 4, columns = width(), lines = 1, left = (int)json_array_size(rows);
    const char *clear = colour ? "\033[K" : "";
    json_array_foreach(rows, i, row) {
        int n = (int)strlen(text_of(row, "id")) + 3;
        id_width = n > id_width ? n : id_width;
    }
    printf("%-*s %-9s %9s %9s %9s  why%s\n", id_width, "node", "state", "in", "out", "in flight",
           clear);
    json_array_foreach(rows, i, row) {
        char name[PLAN_NODES_MAX];
        const char *state = text_of(row, "state"), *paint = colour ? state_colour(state) : "";
        if (lines >= most && left > 1) {
            printf("... and %d more: `sluice status`%s\n", left, clear);
            return lines + 1;
        }
        snprintf(name, sizeof name, "%s.%d", text_of(row, "id"), (int)number_of(row, "replica"));
        printf("%-*s %s%-9s%s %9lld %9lld %9lld  ", id_width, name, paint, state,
               paint[0] ? "\033[0m" : "", number_of(row, "in"), number_of(row, "out"),
               number_of(row, "in_flight"));
        print_why(row, columns - id_width - 42);
        printf("%s\n", clear);
        lines++;
        left--;
    }
    return lines;
}

int
progress_table(const json_t *status, bool colour)
{
    return table(status, colour, INT_MAX);
}

/* Ordinals settled at the slowest terminal, and those emitted; false: a source may still emit. */
static bool
ordinals(const struct supervisor *s, uint64_t *settled, uint64_t *emitted)
{
    bool known = true;
    *settled = UINT64_MAX;
    *emitted = 0;
    for (int i = 0; i < s->count; i++) {
        const struct worker *w = &s->workers[i];
        uint64_t position = (uint64_t)json_integer_value(json_object_get(w->status, "position"));
        uint64_t sent = (uint64_t)json_integer_value(json_object_get(w->status, "emitted"));
        if (plan_is_terminal(&s->plan, w->process.index) && position < *settled)
            *settled = position;
        if (s->plan.nodes[w->process.index].link_count == 0) {
            *emitted = sent > *emitted ? sent : *emitted;
            known = known && w->finished;
        }
    }
    return known;
}

static void
rate_take(struct progress *p, uint64_t settled)
{
    double now = supervisor_now(), passed = now - p->rate_at;
    if (passed < 1 || settled < p->rate_settled)
        return;
    double rate = (double)(settled - p->rate_settled) / passed;
    double share = p->rate == 0 ? 1 : passed / (passed + PROGRESS_RATE);
    p->rate += share * (rate - p->rate);
    p->rate_at = now;
    p->rate_settled = settled;
}

static void
headline(const struct progress *p, const struct supervisor *s, char *text, size_t room)
{
    uint64_t settled, emitted;
    bool known = ordinals(s, &settled, &emitted);
    char eta[48] = "";
    if (known && p->rate > 0 && settled < emitted)
        snprintf(eta, sizeof eta, ", about %.0f s left", (double)(emitted - settled) / p->rate);
    snprintf(text, room, "%s: %s%s%.200s, %.0f s, %llu of %llu rollouts settled%s%s", s->plan.name,
             run_phase_name(s->state.phase), s->state.why[0] ? ": " : "", s->state.why,
             supervisor_now() - p->began, (unsigned long long)(settled == UINT64_MAX ? 0 : settled),
             (unsigned long long)emitted, known ? "" : ", still reading", eta);
}

/* One line: the numbers, and who computes or is in trouble. */
static void
print_line(const char *head, const json_t *status)
{
    static const char *const told[] = {"computing", "paused", "down", "silent"};
    json_t *row;
    size_t i;
    printf("%s", head);
    json_array_foreach(json_object_get(status, "nodes"), i, row)
        for (size_t k = 0; k < sizeof told / sizeof *told; k++)
            if (strcmp(text_of(row, "state"), told[k]) == 0) {
                printf("; %s.%d %s: ", text_of(row, "id"), (int)number_of(row, "replica"), told[k]);
                print_why(row, 200);
            }
    putchar('\n');
}

/* Drawn over itself. Lines are cut by the terminal, not wrapped, and no more than it has rows: the
 * way up is known. */
static void
draw(struct progress *p, const char *head, const json_t *status, bool last)
{
    struct winsize w;
    int rows = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 6 && !last ? w.ws_row - 3 : INT_MAX;
    printf("\033[?7l");
    if (p->drawn > 0)
        printf("\033[%dA", p->drawn);
    print_clean(head, width() - 1);
    printf("\033[K\n");
    p->drawn = 1 + table(status, true, rows);
    printf("\033[?7h");
}

/* A path as one would type it here. */
static const char *
from_here(const char *path)
{
    char here[4096];
    size_t n = getcwd(here, sizeof here) ? strlen(here) : 0;
    return n > 1 && strncmp(path, here, n) == 0 && path[n] == '/' ? path + n + 1 : path;
}

/* Where each learner's final model is; or that nothing came to learn from. */
static void
say_checkpoints(const char *run, const json_t *nodes)
{
    json_t *row;
    size_t i;

    json_array_foreach(nodes, i, row) {
        const char *id = json_string_value(json_object_get(row, "id"));

        if (strcmp(json_string_value(json_object_get(row, "kind")), "learner") != 0)
            continue;
        if (number_of(row, "in") > number_of(row, "dead"))
            printf("the final model of %s is in %s/checkpoints/%s/final\n", id, run, id);
        else
            printf("%s has learnt nothing: no sample came that it could use\n", id);
    }
}

/* Where the run is, and what to type now. */
static void
print_next(const struct supervisor *s, const json_t *status)
{
    const char *run = from_here(s->place.run);
    char *made = xprint("%s/replay.json", s->place.run);
    bool replayed = access(made, F_OK) == 0;
    long long dead = 0;
    json_t *row;
    size_t i;
    free(made);
    json_array_foreach(json_object_get(status, "nodes"), i, row)
        dead += number_of(row, "dead");
    switch (s->state.phase) {
    case RUN_done:
        printf("the run is in %s\n", run);
        say_checkpoints(run, json_object_get(status, "nodes"));
        break;
    case RUN_failed:
        printf("why: sluice logs %s --level warning\n", run);
        break;
    default:
        if (replayed)
            printf("to go on: the same sluice replay again, into %s\n", run);
        else
            printf("to go on: sluice run %s --run %s\n", from_here(s->plan.file), run);
    }
    if (dead > 0)
        printf("%lld dead letters: sluice dead %s\n", dead, run);
}

void
progress_show(struct progress *p, const struct supervisor *s, bool last)
{
    double now = supervisor_now();
    const char *phase = run_phase_name(s->state.phase);
    bool changed = strcmp(phase, p->shown_state) != 0;
    double lines = now - p->began < PROGRESS_EARLY ? PROGRESS_LINES : PROGRESS_LATER;
    bool due = now - p->shown_at >= (p->terminal ? PROGRESS_TERMINAL : lines);
    uint64_t settled, emitted;
    ordinals(s, &settled, &emitted);
    rate_take(p, settled == UINT64_MAX ? 0 : settled);
    if (p->quiet || (!due && !changed && !last))
        return;
    p->shown_at = now;
    snprintf(p->shown_state, sizeof p->shown_state, "%s", phase);
    json_t *status = supervisor_status(s);
    char head[512];
    headline(p, s, head, sizeof head);
    if (p->json) {
        json_object_del(status, "change");
        json_dumpf(status, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (p->terminal) {
        draw(p, head, status, last);
    } else if (last) {
        puts(head);
        table(status, false, INT_MAX);
    } else {
        print_line(head, status);
    }
    if (last && !p->json)
        print_next(s, status);
    fflush(stdout);
    json_decref(status);
}

void
progress_close(struct progress *p)
{
    memset(p, 0, sizeof *p);
}

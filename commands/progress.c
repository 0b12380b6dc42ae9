/* progress: drawing. Numbers come from the last answers of the processes; nothing is asked here. */
#include "commands/progress.h"

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
    static const struct { const char *state, *colour; } rows[] = {
        {"running", "\033[32m"}, {"computing", "\033[32m"}, {"finished", "\033[2m"}, {"starved", "\033[2m"},
        {"paused", "\033[33m"},  {"blocked", "\033[33m"},   {"down", "\033[31m"},    {"silent", "\033[31m"},
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

int
progress_table(const json_t *status, bool colour)
{
    const json_t *rows = json_object_get(status, "nodes");
    json_t *row;
    size_t i;
    int id_width = 4, columns = width(), lines = 1;
    const char *clear = colour ? "\033[K" : "";
    json_array_foreach(rows, i, row) {
        int n = (int)strlen(json_string_value(json_object_get(row, "id"))) + 3;
        id_width = n > id_width ? n : id_width;
    }
    printf("%-*s %-10s %10s %10s %9s %6s %4s  why%s\n", id_width, "node", "state", "in", "out", "in flight", "dead", "rst",
           clear);
    json_array_foreach(rows, i, row) {
        char name[PLAN_NODES_MAX];
        const char *state = json_string_value(json_object_get(row, "state"));
        const char *why = json_string_value(json_object_get(row, "why"));
        snprintf(name, sizeof name, "%s.%d", json_string_value(json_object_get(row, "id")),
                 (int)json_integer_value(json_object_get(row, "replica")));
        printf("%-*s %s%-10s%s %10lld %10lld %9lld %6lld %4lld  ", id_width, name, colour ? state_colour(state) : "", state,
               colour ? "\033[0m" : "", (long long)json_integer_value(json_object_get(row, "in")),
               (long long)json_integer_value(json_object_get(row, "out")),
               (long long)json_integer_value(json_object_get(row, "in_flight")),
               (long long)json_integer_value(json_object_get(row, "dead")),
               (long long)json_integer_value(json_object_get(row, "restarts")));
        int room = columns - id_width - 57;
        print_clean(why, room > 10 ? room : 10);
        printf("%s\n", clear);
        lines++;
    }
    return lines;
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
    snprintf(text, room, "%s: %s%s%.200s, %.0f s, %llu of %llu%s ordinals settled%s", s->plan.name,
             run_phase_name(s->state.phase), s->state.why[0] ? ": " : "", s->state.why, supervisor_now() - p->began,
             (unsigned long long)(settled == UINT64_MAX ? 0 : settled), (unsigned long long)emitted, known ? "" : "+", eta);
}

void
progress_show(struct progress *p, const struct supervisor *s, bool last)
{
    double now = supervisor_now();
    const char *phase = run_phase_name(s->state.phase);
    bool changed = strcmp(phase, p->shown_state) != 0;
    bool due = now - p->shown_at >= (p->terminal ? PROGRESS_TERMINAL : PROGRESS_LINES);
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
        if (p->drawn > 0)
            printf("\033[%dA", p->drawn);
        print_clean(head, width() - 1);
        printf("\033[K\n");
        p->drawn = 1 + progress_table(status, true);
    } else {
        printf("%s\n", head);
        json_t *row;
        size_t i;
        json_array_foreach(json_object_get(status, "nodes"), i, row) {
            const char *why = json_string_value(json_object_get(row, "why"));
            printf("  %s.%d %s in %lld out %lld%s", json_string_value(json_object_get(row, "id")),
                   (int)json_integer_value(json_object_get(row, "replica")),
                   json_string_value(json_object_get(row, "state")),
                   (long long)json_integer_value(json_object_get(row, "in")),
                   (long long)json_integer_value(json_object_get(row, "out")), why[0] ? " " : "");
            print_clean(why, 200);
            putchar('\n');
        }
    }
    fflush(stdout);
    json_decref(status);
}

void
progress_close(struct progress *p)
{
    memset(p, 0, sizeof *p);
}

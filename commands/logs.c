/* logs: the lines of the processes of a run, merged by time, followed over rotation. Patterns are
 * PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/log.h"

#define FOLLOW_MS     150
#define LINE_MAX_KEPT (1 << 20)     /* bytes of one line that are looked at */
#define FILES_OLD_MAX 16            /* rotated files of one process that are read */
#define MATCH_LIMIT   1000000       /* of a pattern on one line: a bad pattern must not hang */

static const char about[] =
    "Prints what the processes of a run wrote into their logs, in the order of time: text on a\n"
    "terminal, JSON lines as they are written otherwise or with --json. NODE may also be\n"
    "\"supervisor\".";

/* One log file that is being read; rotation gives the path another inode. */
struct source {
    char         *path;
    FILE         *file;
    unsigned long inode;
    char         *line;         /* the next one, or NULL */
    size_t        room;
    char          time[40];     /* of that line */
    json_t       *row;
};

struct filter {
    pcre2_code         *pattern;
    pcre2_match_data   *match;
    pcre2_match_context *limits;
    enum log_level      floor;
    bool                json;
};

/* The next whole line of a source into s->line; false: none yet. */
static bool
source_line(struct source *s)
{
    if (s->file == NULL || s->row != NULL)
        return s->row != NULL;
    for (;;) {
        long at = ftell(s->file);
        ssize_t n = getline(&s->line, &s->room, s->file);
        if (n <= 0 || s->line[n - 1] != '\n') {     /* half a line is read again when it is whole */
            clearerr(s->file);
            fseek(s->file, at, SEEK_SET);
            return false;
        }
        s->line[n - 1] = 0;
        if (n > LINE_MAX_KEPT)
            continue;
        s->row = json_loads(s->line, 0, NULL);
        const char *time = json_string_value(json_object_get(s->row, "time"));
        if (time != NULL) {
            snprintf(s->time, sizeof s->time, "%s", time);
            return true;
        }
        json_decref(s->row);
        s->row = NULL;
    }
}

static void
source_open(struct source *s, const char *path)
{
    struct stat st;
    s->file = fopen(path, "re");
    s->inode = s->file != NULL && fstat(fileno(s->file), &st) == 0 ? st.st_ino : 0;
}

/* The path names another file now: what is left of the old one was read, go on in the new one. */
static void
source_rotate(struct source *s)
{
    struct stat st;
    if (stat(s->path, &st) != 0 || (s->file != NULL && st.st_ino == s->inode))
        return;
    if (s->file != NULL)
        fclose(s->file);
    source_open(s, s->path);
}

static bool
filter_takes(const struct filter *f, const struct source *s)
{
    enum log_level level;
    const char *name = json_string_value(json_object_get(s->row, "level"));
    if (name == NULL || !log_level_find(name, &level) || level < f->floor)
        return false;
    return f->pattern == NULL || pcre2_match(f->pattern, (PCRE2_SPTR)s->line, strlen(s->line), 0, 0,
                                             f->match, f->limits) >= 0;
}

static void
line_print(const struct filter *f, const struct source *s)
{
    static const char *const colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};
    enum log_level level = LOG_info;
    if (f->json) {
        puts(s->line);
        return;
    }
    log_level_find(json_string_value(json_object_get(s->row, "level")), &level);
    const char *node = json_string_value(json_object_get(s->row, "node"));
    const char *event = json_string_value(json_object_get(s->row, "event"));
    const char *text = json_string_value(json_object_get(s->row, "text"));
    printf("%s%.23s %-7s %s.%d %s: ", talk_colour() ? colours[level] : "", s->time,
           log_level_name(level), node ? node : "?",
           (int)json_integer_value(json_object_get(s->row, "replica")), event ? event : "");
    for (const char *c = text ? text : ""; *c != 0; c++)
        putchar((unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c);
    printf("%s\n", talk_colour() ? "\033[0m" : "");
}

/* Print what is there, oldest first. */
static void
drain_sources(struct source *sources, int count, const struct filter *f)
{
    for (;;) {
        struct source *first = NULL;
        for (int i = 0; i < count; i++)
            if (source_line(&sources[i]) &&
                (first == NULL || strcmp(sources[i].time, first->time) < 0))
                first = &sources[i];
        if (first == NULL)
            break;
        if (filter_takes(f, first))
            line_print(f, first);
        json_decref(first->row);
        first->row = NULL;
    }
    fflush(stdout);
}

/* One process: its rotated files, oldest first, are sources of their own; the last one is followed.
 */
static void
sources_add(struct source **sources, int *count, const char *path)
{
    for (int old = FILES_OLD_MAX; old >= 0; old--) {
        char *one = old > 0 ? xprint("%s.%d", path, old) : xtext(path);
        struct stat st;
        if (old > 0 && stat(one, &st) != 0) {
            free(one);
            continue;
        }
        *sources = xresize(*sources, (size_t)(*count + 1) * sizeof **sources);
        struct source *s = &(*sources)[(*count)++];
        memset(s, 0, sizeof *s);
        s->path = one;
        source_open(s, one);
    }
}

static int
filter_open(struct filter *f, const char *grep, const char *level, struct error *e)
{
    int code;
    PCRE2_SIZE at;
    if (level != NULL && !log_level_find(level, &f->floor))
        return error_set(e, ERROR_usage, "--level: '%s' is not one of debug, info, warning, error",
                         level);
    if (grep == NULL)
        return 0;
    f->pattern = pcre2_compile((PCRE2_SPTR)grep, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
    if (f->pattern == NULL) {
        unsigned char text[200] = "";
        pcre2_get_error_message(code, text, sizeof text);
        return error_set(e, ERROR_usage, "--grep: %s at character %zu of '%s'", (char *)text,
                         (size_t)at, grep);
    }
    f->match = pcre2_match_data_create_from_pattern(f->pattern, NULL);
    f->limits = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(f->limits, MATCH_LIMIT);
    return 0;
}

static void
filter_close(struct filter *f)
{
    pcre2_code_free(f->pattern);
    pcre2_match_data_free(f->match);
    pcre2_match_context_free(f->limits);
}

static int
logs(struct talk *t, const char *id, bool follow, const struct filter *f, struct error *e)
{
    struct source *sources = NULL;
    int count = 0, node = -1;
    bool supervisor = id == NULL || strcmp(id, "supervisor") == 0;
    if (id != NULL && !supervisor) {
        int rc = talk_node(t, id, &node, e);
        if (rc != 0)
            return rc;
    }
    for (int n = 0; n < t->plan.node_count; n++)
        for (int r = 0; r < plan_replicas(&t->plan.nodes[n]) && (id == NULL || n == node); r++) {
            char *path = place_log(&t->place, t->plan.nodes[n].id, r);
            sources_add(&sources, &count, path);
            free(path);
        }
    if (supervisor) {
        char *path = place_supervisor_log(&t->place);
        sources_add(&sources, &count, path);
        free(path);
    }
    for (;;) {
        drain_sources(sources, count, f);
        if (!follow || ferror(stdout))
            break;
        poll(NULL, 0, FOLLOW_MS);
        for (int i = 0; i < count; i++)
            source_rotate(&sources[i]);
    }
    for (int i = 0; i < count; i++) {
        if (sources[i].file != NULL)
            fclose(sources[i].file);
        free(sources[i].line);
        free(sources[i].path);
    }
    free(sources);
    return 0;
}

int
command_logs(int argc, char **argv)
{
    const char *grep = NULL, *level = NULL;
    bool follow = false, json = false;
    const struct flag flags[] = {
        {FLAG_on, 'f', "follow", NULL, &follow, "go on as lines are written"},
        {FLAG_text, 0, "grep", "RE", &grep, "only lines that match (PCRE2, on the JSON line)"},
        {FLAG_text, 0, "level", "LEVEL", &level, "debug, info, warning or error: that and above"},
        {FLAG_on, 0, "json", NULL, &json, "JSON lines"},
        {.kind = FLAG_end},
    };
    struct words words;
    int code = flags_read(flags, "logs [RUN [NODE]] [-f] [--grep RE] [--level L]", about, argc,
                          argv, 0, 2, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    struct filter f = {.json = talk_json_wanted(json)};
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = filter_open(&f, grep, level, &e);
    if (rc == 0)
        rc = logs(&t, words.at[1], follow, &f, &e);
    filter_close(&f);
    talk_close(&t);
    return rc == 0 ? 0 : talk_fail("logs", &e);
}

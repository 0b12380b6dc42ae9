/* reader: rollouts from files, pipes and growing files, in groups, with ordinals.
 *
 * What a restart needs is written when the store commits, in the transaction of what was emitted:
 * how far each file was consumed (files), what groups are open (group), and the next ordinal. So
 * after any kill reading goes on exactly where the committed messages end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node.h"
#include "nodes/reader/files.h"
#include "nodes/origin.h"
#include "nodes/reader/group.h"
#include "nodes/reader/inject.h"
#include "nodes/reader/line.h"

#define PUMP_LINES_MAX 1000         /* handled before signals and heartbeats get their turn ... */
#define PUMP_BYTES_MAX (4 << 20)    /* ... or so many bytes of lines */

enum { PORT_out };

struct reader_options {
    const char *path;
    bool        follow;
    double      poll;
    const char *group_by;
    int64_t     group_size;
    int64_t     open_groups_max;
    bool        drop_equal;
    int         verify;
    const char *prompt_field, *response_field, *answer_field, *reward_field, *id_field;
    const char *logps_field, *token_ids_field, *weight_field, *finish_field, *injected_field;
    const char *inject_path;
    double      inject_accuracy, inject_above;
    int64_t     inject_most;
    int64_t     line_bytes_max;
    int         format;
};

struct reader {
    struct files    files;
    struct groups  *groups;
    struct line_how how;
    struct inject  *inject;         /* NULL: none */
    uint64_t        next_ordinal;
    bool            dirty;          /* something to save with the next commit */
    bool            read_all;       /* no input is left */
    bool            finished;
    bool            rescan;         /* the timer came: look for new files */
    struct arena    arena;
};

static const char *const verify_names[] = {
    "none",
#define VERIFY(name, meaning) #name,
#include "kernels/verify.def"
#undef VERIFY
    NULL,
};
static const char *const format_names[] = {"auto", "plain", "gzip", "zstd", NULL};

static const struct option reader_options[] = {
    OPT_PATH(struct reader_options, path, FIXED, NULL,
             "files of JSON lines, plain, gzip or zstd: a glob, which may list {alternatives}; a "
             "named pipe; - for standard input"),
    OPT_BOOL(struct reader_options, follow, FIXED, "false",
             "go on reading what is appended, and new files that match, until `sluice end`"),
    OPT_TIME(struct reader_options, poll, LIVE, "200ms", 0.001, 3600,
             "follow: how often to look for more"),
    OPT_TEXT(struct reader_options, group_by, FIXED, "prompt",
             "what the rollouts of a group share: prompt, the name of a field, or none (each line "
             "is a group of its own)"),
    OPT_INT(struct reader_options, group_size, FIXED, "0", 0, GROUP_MEMBERS_MAX,
            "rollouts in a group; 0: unknown, a group ends where the next begins"),
    OPT_ALIAS("num_generations", "group_size"),
    OPT_ALIAS("rollout_n", "group_size"),
    OPT_INT(struct reader_options, open_groups_max, FIXED, "1024", 1, 1e6,
            "groups that may be incomplete at a time (with group_size); one more ends the oldest "
            "as it is"),
    OPT_BOOL(struct reader_options, drop_equal, FIXED, "false",
             "close groups in which all rewards are equal: they hold no contrast to learn from"),
    OPT_CHOICE(struct reader_options, verify, FIXED, "none", verify_names,
               "where the input has no reward: 1 when the response's answer is the expected one; exact: "
               "the same text; numeric: the same decimal number; math: the same mathematics "
               "(fractions, formulas, sets, intervals, matrices, equations, units); choice: the same "
               "letter; hendrycks, dapo: the graders of MATH and of DAPO"),
    OPT_TEXT(
        struct reader_options, prompt_field, FIXED, "",
        "name of the prompt's field (a.b goes into an object); the standard is the usual names"),
    OPT_TEXT(struct reader_options, response_field, FIXED, "",
             "name of the response's field; a list holds many responses to one prompt"),
    OPT_TEXT(struct reader_options, answer_field, FIXED, "", "name of the expected answer's field"),
    OPT_TEXT(struct reader_options, reward_field, FIXED, "",
             "name of the reward's field; a list holds one per response"),
    OPT_TEXT(struct reader_options, id_field, FIXED, "",
             "name of the id's field; none: ids are made from file and offset"),
    OPT_TEXT(struct reader_options, logps_field, FIXED, "",
             "name of the field with the log-probability of each response token under the policy "
             "that sampled it: a list, with many responses a list of lists; none: not read"),
    OPT_TEXT(struct reader_options, token_ids_field, FIXED, "",
             "name of the field with the response's token ids, a list of whole numbers; none: not "
             "read"),
    OPT_TEXT(struct reader_options, weight_field, FIXED, "",
             "name of the field with the rollout's weight in the loss, above 0; none: not read"),
    OPT_TEXT(struct reader_options, finish_field, FIXED, "",
             "name of the field that says why the sampler stopped; length: it was cut off; none: "
             "not read"),
    OPT_TEXT(struct reader_options, injected_field, FIXED, "",
             "name of the field that is true where a rollout was not sampled by the policy; none: "
             "not read"),
    OPT_PATH(struct reader_options, inject_path, FIXED, "",
             "file of JSON lines (plain) whose correct rollouts stand in for wrong ones of groups "
             "that are nearly all wrong (offline sample injection, 2506.04913)"),
    OPT_FLOAT(struct reader_options, inject_accuracy, FIXED, "0.125", 0, 1,
              "largest share of correct rollouts of a group that is injected into"),
    OPT_FLOAT(struct reader_options, inject_above, FIXED, "0.5", -1e9, 1e9,
              "inject_path: a rollout with a reward above it is correct"),
    OPT_INT(struct reader_options, inject_most, FIXED, "0", 0, GROUP_MEMBERS_MAX,
            "most rollouts injected into a group; 0: any number"),
    OPT_SIZE(struct reader_options, line_bytes_max, FIXED, "64MiB", 1024, 200 << 20,
             "a longer line is a dead letter"),
    OPT_CHOICE(struct reader_options, format, FIXED, "auto", format_names,
               "how files are compressed; auto looks at their first bytes"),
    OPT_END
};

static const struct port reader_ports[] = {
    [PORT_out] = {PORT_OUT, "out", MESSAGE_rollout, 0, "rollouts in the order of their groups"},
    {.direction = PORT_END}
};

static struct line_how
how_of(const struct reader_options *o)
{
    return (struct line_how){
        .prompt_field = o->prompt_field,
        .response_field = o->response_field,
        .answer_field = o->answer_field,
        .reward_field = o->reward_field,
        .id_field = o->id_field,
        .logps_field = o->logps_field,
        .token_ids_field = o->token_ids_field,
        .weight_field = o->weight_field,
        .finish_field = o->finish_field,
        .injected_field = o->injected_field,
        .verify = (enum line_verify)o->verify,
        .group = strcmp(o->group_by, "prompt") == 0 ? LINE_group_prompt
                 : strcmp(o->group_by, "none") == 0 ? LINE_group_none
                                                    : LINE_group_field,
        .group_field = o->group_by,
    };
}

static int
reader_check(struct check *c, struct error *e)
{
    const struct reader_options *o = c->options;
    struct error                 why;
    char                       **paths;
    int                          count, rc;

    if (!o->group_by[0])
        return check_fail(c, "group_by", e, "it is prompt, none, or the name of a field");
    if (strcmp(o->group_by, "none") == 0 && o->group_size != 0)
        return check_fail(c, "group_size", e,
                          "with group_by none each line is a group; leave group_size away");
    if (o->inject_path[0]) {
        struct line_how how = how_of(o);
        struct inject  *inject;

        if (how.group == LINE_group_none)
            return check_fail(c, "inject_path", e, "with group_by none no group has a key to find "
                              "rollouts by");
        if (inject_open(o->inject_path, &how, o->inject_above, &inject, &why) != 0)
            return check_fail(c, "inject_path", e, "%s", why.text);
        inject_free(inject);
    }
    if (spool_is_pipe(o->path))
        return 0;
    if (files_glob(o->path, &paths, &count, &why) != 0)
        return check_fail(c, "path", e, "%s", why.text);
    rc = count == 0 && !o->follow ? error_set(&why, ERROR_file, "%s: no such file", o->path)
                                  : files_readable(paths, count, &why);
    files_free(paths, count);
    return rc == 0 ? 0 : check_fail(c, "path", e, "%s", why.text);
}

static int
load_ordinal(struct reader *r, struct node *n, struct error *e)
{
    struct span value;
    char        text[32] = "", *end;

    if (!node_get(n, span_text("next"), &value))
        return 0;
    if (value.length < sizeof(text))
        memcpy(text, value.at, value.length);
    r->next_ordinal = strtoull(text, &end, 10);
    return end == text || *end ? error_set(e, ERROR_store, "the next ordinal is malformed") : 0;
}

static int
open_inject(struct reader *r, struct node *n, const struct reader_options *o, struct error *e)
{
    int rc = o->inject_path[0] ? origin_check(n, o->inject_path, e) : 0;

    if (rc == 0 && o->inject_path[0])
        rc = inject_open(o->inject_path, &r->how, o->inject_above, &r->inject, e);
    if (rc == 0 && r->inject)
        groups_inject(r->groups, r->inject, o->inject_accuracy, o->inject_above, o->inject_most);
    return rc;
}

static int
reader_start(struct node *n, struct error *e)
{
    struct reader               *r = node_state(n);
    const struct reader_options *o = node_options(n);
    struct stream_how            how = {(enum stream_format)o->format, o->line_bytes_max, false};
    int                          rc;

    r->how = how_of(o);
    r->groups = groups_new(o->group_size, o->open_groups_max);
    rc = open_inject(r, n, o, e);
    if (rc == 0)
        rc = files_open(&r->files, n, o->path, &how, o->follow, e);
    if (rc == 0)
        rc = load_ordinal(r, n, e);
    if (rc == 0)
        rc = groups_load(r->groups, n, e);
    return rc;
}

/* A line, or one response of it (item >= 0), that never became a rollout. */
static void
refuse(struct node *n, const struct file *file, const struct stream_line *line, int item,
       const char *why)
{
    char *where = item < 0
                      ? xprint("%s byte %llu", file->path, (unsigned long long)line->offset)
                      : xprint("%s byte %llu, response %d", file->path, (unsigned long long)line->offset, item);

    node_dead(n, where, line->text, "%s", why);
    node_count(n, METRIC_lines_bad, 1);
    free(where);
}

/* Give one rollout of a line to its group, unless its id was seen before. */
static void
take_item(struct reader *r, struct node *n, const struct file *file, const struct stream_line *text,
          const struct line *line, int i)
{
    const struct line_item *item = &line->items[i];
    int                     shown = line->count > 1 ? i : -1;
    uint64_t                ordinal;
    char                    why[300];

    if (item->why) {
        refuse(n, file, text, shown, item->why);
        return;
    }
    if (group_id_get(n, item->rollout.id, &ordinal)) {
        int length = item->rollout.id.length < 100 ? (int)item->rollout.id.length : 100;
        if (ordinal == GROUP_ID_PENDING)
            snprintf(why, sizeof(why),
                     "the id '%.*s' was read before; if it is no name of one rollout, set "
                     "id_field: none",
                     length, item->rollout.id.at);
        else
            snprintf(why, sizeof(why),
                     "the id '%.*s' is ordinal %llu already; if it is no name of one rollout, set "
                     "id_field: none",
                     length, item->rollout.id.at, (unsigned long long)ordinal);
        refuse(n, file, text, shown, why);
        return;
    }
    if (!line->id_made) /* made ids are unique; they join the index when their group leaves */
        group_id_put(n, item->rollout.id, GROUP_ID_PENDING);
    groups_add(r->groups, n, line->key, &item->rollout);
}

static bool
is_blank(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if (!strchr(" \t\r\n", text.at[i]) || !text.at[i])
            return false;
    return true;
}

static void
handle_line(struct reader *r, struct node *n, const struct file *file,
            const struct stream_line *text)
{
    struct line  line;
    struct error why;

    if (is_blank(text->text)) {
        refuse(n, file, text, -1, "an empty line");
        return;
    }
    arena_clear(&r->arena);
    size_t room = strlen(file->name) + 32;
    char  *source = arena_take(&r->arena, room);
    int    length = snprintf(source, room, "%s:%llu", file->name, (unsigned long long)text->offset);
    if (line_read(&r->how, text->text, span_of(source, (size_t)length), &r->arena, &line, &why) !=
        0) {
        refuse(n, file, text, -1, why.text);
        return;
    }
    for (int i = 0; i < line.count; i++)
        take_item(r, n, file, text, &line, i);
    line_free(&line);
}

static void
handle(struct reader *r, struct node *n, const struct reader_options *o, int event,
       const struct file *file, const struct stream_line *line)
{
    char why[300];

    if (event == STREAM_line) {
        handle_line(r, n, file, line);
    } else if (event == STREAM_long) {
        snprintf(why, sizeof(why), "a line of %llu bytes; line_bytes_max is %lld",
                 (unsigned long long)line->length, (long long)o->line_bytes_max);
        refuse(n, file, line, -1, why);
    } else {
        snprintf(why, sizeof(why),
                 "%s: all whole lines before it were used, %llu bytes of a broken line and what "
                 "follows were not",
                 line->why, (unsigned long long)line->length);
        refuse(n, file, line, -1, why);
    }
}

/* Let ended groups go. -> 1 when one must wait for its leave, 0 when none is left, or an error. */
static int
emit(struct reader *r, struct node *n, const struct reader_options *o, struct error *e)
{
    uint32_t size;

    while ((size = groups_ended(r->groups)) > 0) {
        if (!node_may_emit(n, r->next_ordinal, size))
            return 1;
        int rc = groups_emit(r->groups, n, PORT_out, r->next_ordinal, o->drop_equal, e);
        if (rc != 0)
            return rc;
        r->next_ordinal += size;
        r->dirty = true;
    }
    return 0;
}

/* What the outside has: spooled bytes, new files, the user's wish to end. -> 0 or an error. */
static int
look_outside(struct reader *r, struct node *n, struct error *e)
{
    struct files *f = &r->files;
    int           rc = 0;

    if (f->spool && !f->final) {
        rc = spool_pump(f->spool, n,
                        f->count > 0 && f->at[0].stream ? stream_hashed(f->at[0].stream) : 0, e);
        r->dirty |= rc > 0;
        node_watch(n, spool_fd(f->spool));
    }
    if (rc >= 0 && r->rescan)
        rc = files_rescan(f, n, e);
    r->rescan = false;
    if (rc >= 0 && !f->final && (f->follow || f->spool) && node_end_asked(n)) {
        rc = files_end(f, n, e);
        node_watch(n, -1);
    }
    return rc < 0 ? rc : 0;
}

static int
read_some(struct reader *r, struct node *n, const struct reader_options *o, struct error *e)
{
    int64_t bytes = 0;

    for (int lines = 0; lines < PUMP_LINES_MAX && bytes < PUMP_BYTES_MAX; lines++) {
        struct stream_line line;
        struct file       *file;
        int                rc = emit(r, n, o, e);

        if (rc != 0)
            return rc < 0 ? rc : PUMP_IDLE;
        if (r->read_all) {
            r->finished = true;
            node_finish(n);
            return PUMP_IDLE;
        }
        rc = files_next(&r->files, &line, &file, e);
        if (rc < 0)
            return rc;
        if (rc == STREAM_wait) {
            const char *why = r->files.spool ? spool_why(r->files.spool) : NULL;
            if (why)
                node_why(n, "%s", why);
            else
                node_why(n, "waiting for more of %s", r->files.pattern);
            node_timer(n, o->poll);
            return PUMP_IDLE;
        }
        if (rc == STREAM_end) {
            groups_end_all(r->groups);
            r->read_all = r->dirty = true;
            continue;
        }
        bytes += (int64_t)line.text.length;
        handle(r, n, o, rc, file, &line);
        files_took(&r->files, n, file, &line);
        r->dirty = true;
    }
    return PUMP_AGAIN;
}

static int
reader_pump(struct node *n, struct error *e)
{
    struct reader               *r = node_state(n);
    const struct reader_options *o = node_options(n);
    int                          rc;

    if (r->finished || node_draining(n)) {
        node_watch(n, -1);      /* what waits there stays there */
        return PUMP_IDLE;
    }
    node_why(n, NULL);
    rc = look_outside(r, n, e);
    return rc == 0 ? read_some(r, n, o, e) : rc;
}

static int
reader_ready(struct node *n, struct error *e)
{
    struct reader *r = node_state(n);

    (void)e;
    r->rescan = true;
    node_wake(n);
    return 0;
}

static int
reader_flush(struct node *n, struct error *e)
{
    struct reader *r = node_state(n);
    char           text[32];

    (void)e;
    if (!r->dirty)
        return 0;
    r->dirty = false;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)r->next_ordinal);
    node_put(n, span_text("next"), span_text(text));
    files_save(&r->files, n);
    groups_save(r->groups, n);
    return 0;
}

static void
reader_stop(struct node *n)
{
    struct reader *r = node_state(n);

    files_close(&r->files);
    groups_free(r->groups);
    inject_free(r->inject);
    arena_free(&r->arena);
}

const struct node_kind node_reader = {
    .name = "reader",
    .summary = "reads rollouts, forms groups and gives ordinals",
    .state_size = sizeof(struct reader),
    .options_size = sizeof(struct reader_options),
    .ports = reader_ports,
    .options = reader_options,
    .source = true,
    .check = reader_check,
    .start = reader_start,
    .pump = reader_pump,
    .ready = reader_ready,
    .flush = reader_flush,
    .stop = reader_stop,
};

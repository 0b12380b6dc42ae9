/* reader: rollouts from files, pipes and growing files, in groups, with ordinals.
 *
 * What a restart needs is written when the store commits, in the transaction of what was emitted:
 * how far each file was consumed (files), what groups are open (group), and the next ordinal. So
 * after any kill reading goes on exactly where the committed messages end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/origin.h"
#include "nodes/reader/reader.h"

#define PUMP_LINES_MAX 1000         /* handled before signals and heartbeats get their turn ... */
#define PUMP_BYTES_MAX (4 << 20)    /* ... or so many bytes of lines */

static const char *const verify_names[] = {
    "none",
#define VERIFY(name, meaning) #name,
#include "kernels/verify.def"
#undef VERIFY
    "exec",
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
               "letter; hendrycks, dapo: the graders of MATH and of DAPO; exec: what a program prints"),
    OPT_TEXTS(struct reader_options, verify_command, FIXED, "",
              "verify exec: program and arguments, run for each response: it reads {id, prompt, response, "
              "answer} as JSON and prints one number, the reward"),
    OPT_PATH(struct reader_options, verify_folder, FIXED, ".", "verify exec: where the program runs"),
    OPT_TEXTS(struct reader_options, verify_env, FIXED, "",
              "verify exec: names of environment variables that the program gets beside PATH, HOME, USER, "
              "LANG, LC_ALL, TZ and TMPDIR"),
    OPT_TIME(struct reader_options, verify_timeout, FIXED, "10s", 0.1, 86400,
             "verify exec: processor time of one run, and a quarter of its time by the clock; more is reward 0"),
    OPT_SIZE(struct reader_options, verify_memory, FIXED, "1GiB", 1 << 20, 1LL << 50,
             "verify exec: address space of one run"),
    OPT_INT(struct reader_options, verify_jobs, LIVE, "2", 1, GRADE_JOBS_MAX,
            "verify exec: runs at once"),
    OPT_BOOL(struct reader_options, verify_network, FIXED, "false",
             "verify exec: leave the program the network; without, it has none where the system can do that"),
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
    OPT_TEXT(struct reader_options, steps_field, FIXED, "",
             "name of the field that gives the response as steps, a list of texts, for a segmenter "
             "with method given; the standard is steps where there is no response; none: not read"),
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
    struct line_how how = reader_inject_how(o);
    int             rc = o->inject_path[0] ? origin_check(n, o->inject_path, e) : 0;

    if (rc == 0 && o->inject_path[0])
        rc = inject_open(o->inject_path, &how, o->inject_above, &r->inject, e);
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

    r->how = reader_how(o);
    r->groups = groups_new(o->group_size, o->open_groups_max);
    rc = open_inject(r, n, o, e);
    if (rc == 0)
        rc = files_open(&r->files, n, o->path, &how, o->follow, e);
    if (rc == 0 && o->verify == LINE_verify_exec) {
        struct grade_how grade = {reader_child(o), (int)o->verify_jobs};

        rc = grader_open(&r->grader, n, &grade, e);
        if (rc == 0)
            node_watch(n, grader_fd(r->grader));
    }
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

/* "file:offset", in the arena. */
static struct span
source_of(struct reader *r, const struct file *file, const struct stream_line *text)
{
    size_t room = strlen(file->name) + 32;
    char  *source = arena_take(&r->arena, room);
    int    length = snprintf(source, room, "%s:%llu", file->name, (unsigned long long)text->offset);

    return span_of(source, (size_t)length);
}

/* `line` NULL: it could not be read, and `why`. */
static void
take_line(struct reader *r, struct node *n, const struct file *file, const struct stream_line *text,
          const struct line *line, const struct error *why)
{
    if (is_blank(text->text))
        refuse(n, file, text, -1, "an empty line");
    else if (!line)
        refuse(n, file, text, -1, why->text);
    for (int i = 0; line && i < line->count; i++)
        take_item(r, n, file, text, line, i);
}

static void
handle_line(struct reader *r, struct node *n, const struct file *file,
            const struct stream_line *text)
{
    struct line  line;
    struct error why = {0};

    arena_clear(&r->arena);
    struct span source = source_of(r, file, text);
    bool usable = !is_blank(text->text) &&
                  line_read(&r->how, text->text, source, &r->arena, &line, &why) == 0;
    take_line(r, n, file, text, usable ? &line : NULL, &why);
    if (usable)
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

/* ---- verify: exec ---- */

/* The oldest line whose verdicts are there. False: there is none. */
static bool
take_graded(struct reader *r, struct node *n, const struct reader_options *o)
{
    struct graded *l = r->grader ? grader_first(r->grader) : NULL;

    if (!l)
        return false;
    struct file *file = &r->files.at[l->file];
    if (l->event == STREAM_line)
        take_line(r, n, file, &l->text, l->usable ? &l->line : NULL, &l->why);
    else
        handle(r, n, o, l->event, file, &l->text);
    files_took(&r->files, n, file, &l->text);
    r->files.ahead--;
    r->dirty = true;
    grader_drop(r->grader);
    return true;
}

static void
give_grader(struct reader *r, int event, const struct file *file, const struct stream_line *text)
{
    arena_clear(&r->arena);
    grader_add(r->grader, event, (int)(file - r->files.at), text, &r->how, source_of(r, file, text));
    r->files.ahead++;
}

/* Start what came, and come back when a program has something to say. */
static void
wait_graded(struct reader *r, struct node *n, const struct reader_options *o)
{
    grader_pump(r->grader);
    double due = grader_due(r->grader);
    if (r->files.follow && (due < 0 || o->poll < due))
        due = o->poll;
    node_timer(n, due);
}

/* One descriptor is watched: the grader's, which holds the other. */
static void
watch(struct reader *r, struct node *n, int fd)
{
    if (r->grader)
        grader_beside(r->grader, fd);
    else
        node_watch(n, fd);
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
        watch(r, n, spool_fd(f->spool));
    }
    if (rc >= 0 && r->rescan)
        rc = files_rescan(f, n, e);
    r->rescan = false;
    if (rc >= 0 && !f->final && (f->follow || f->spool) && node_end_asked(n)) {
        rc = files_end(f, n, e);
        watch(r, n, -1);
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

        if (rc > 0 && r->grader)
            wait_graded(r, n, o);
        if (rc != 0)
            return rc < 0 ? rc : PUMP_IDLE;
        if (r->read_all) {
            r->finished = true;
            node_finish(n);
            return PUMP_IDLE;
        }
        if (take_graded(r, n, o))
            continue;
        if (r->grader && !grader_room(r->grader)) {
            wait_graded(r, n, o);
            return PUMP_IDLE;
        }
        line = (struct stream_line){0};
        rc = files_next(&r->files, &line, &file, e);
        if (rc < 0)
            return rc;
        if (rc == STREAM_wait && r->grader && grader_lines(r->grader) > 0) {
            wait_graded(r, n, o);
            return PUMP_IDLE;
        }
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
        if (r->grader) {
            give_grader(r, rc, file, &line);
            continue;
        }
        handle(r, n, o, rc, file, &line);
        files_took(&r->files, n, file, &line);
        r->dirty = true;
    }
    if (r->grader)
        grader_pump(r->grader);
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
    if (r->grader)
        grader_pump(r->grader);
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
reader_changed(struct node *n, const char *option, struct error *e)
{
    struct reader               *r = node_state(n);
    const struct reader_options *o = node_options(n);

    (void)e;
    if (r->grader && strcmp(option, "verify_jobs") == 0)
        grader_jobs(r->grader, (int)o->verify_jobs);
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
    grader_close(r->grader);
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
    .changed = reader_changed,
    .stop = reader_stop,
};

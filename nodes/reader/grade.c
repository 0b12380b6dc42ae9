/* grade: a queue of lines, and programs that give their responses rewards. */
#include "nodes/reader/grade.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_AGAIN 1.0     /* seconds between tries to start the program */
#define READS_MAX   256     /* of one pipe in one step */
#define LOG_MAX     20      /* limits hit that are told one by one; then metric calls_failed counts on */

struct job {
    struct graded *line;            /* NULL: free */
    int            item, kills;
    struct child   child;
    char          *question;        /* what it is asked, `asked` bytes of it written */
    size_t         length, asked;
    struct buffer  said, errors;
    bool           waits_to_write;
    int            status;
    double         until;
};

struct grader {
    struct node     *n;
    struct grade_how how;
    struct graded   *first, *last;
    int              lines;
    int64_t          bytes;
    int              poll, beside;
    struct job       jobs[GRADE_JOBS_MAX];
    int              running, told;
    double           start_at;      /* the program could not be started: not before this */
};

int
grader_open(struct grader **out, struct node *n, const struct grade_how *how, struct error *e)
{
    struct grader *g = xalloc(sizeof(*g));

    g->n = n;
    g->how = *how;
    g->how.child.file_bytes = GRADE_FILE_MAX;
    g->how.child.no_network = how->child.no_network && child_can_isolate();
    if (how->child.no_network && !g->how.child.no_network)
        node_log(n, LOG_warning, "verify: this system gives no network of its own (unshare): the program keeps the "
                 "machine's");
    g->beside = -1;
    g->poll = epoll_create1(EPOLL_CLOEXEC);
    *out = g;
    return g->poll >= 0 ? 0 : error_set(e, ERROR_internal, "epoll: %s", strerror(errno));
}

static void
job_free(struct grader *g, struct job *j)
{
    child_close(&j->child);
    free(j->question);
    buffer_free(&j->said);
    buffer_free(&j->errors);
    *j = (struct job){0};
    g->running--;
}

void
grader_close(struct grader *g)
{
    if (!g)
        return;
    for (int i = 0; i < GRADE_JOBS_MAX; i++)
        if (g->jobs[i].line)
            job_free(g, &g->jobs[i]);
    while (g->first)
        grader_drop(g);
    if (g->poll >= 0)
        close(g->poll);
    free(g);
}

/* ---- the queue ---- */

bool
grader_room(const struct grader *g)
{
    return g->lines == 0 || (g->lines < GRADE_LINES_MAX && g->bytes < GRADE_BYTES_MAX);
}

int
grader_lines(const struct grader *g)
{
    return g->lines;
}

/* The first item from `i` on that needs a verdict. */
static int
next_item(const struct graded *l, int i)
{
    while (l->usable && i < l->line.count && (l->line.items[i].why || !l->line.items[i].grade))
        i++;
    return i;
}

void
grader_add(struct grader *g, int event, int file, const struct stream_line *text,
           const struct line_how *how, struct span source)
{
    struct graded *l = xalloc(sizeof(*l));
    char          *from;

    l->event = event;
    l->file = file;
    l->text = *text;
    l->bytes = xalloc(text->text.length + source.length + 2);
    memcpy(l->bytes, text->text.at ? text->text.at : "", text->text.length);
    l->text.text.at = l->bytes;
    from = l->bytes + text->text.length + 1;
    memcpy(from, source.at, source.length);
    if (event == STREAM_line && text->text.length > 0)
        l->usable = line_read(how, l->text.text, span_of(from, source.length), &l->arena, &l->line, &l->why) == 0;
    l->begun = next_item(l, 0);
    for (int i = l->begun; l->usable && i < l->line.count; i = next_item(l, i + 1))
        l->wanted++;
    if (g->last)
        g->last->next = l;
    else
        g->first = l;
    g->last = l;
    g->lines++;
    g->bytes += (int64_t)text->text.length;
}

struct graded *
grader_first(struct grader *g)
{
    return g->first && g->first->done == g->first->wanted ? g->first : NULL;
}

void
grader_drop(struct grader *g)
{
    struct graded *l = g->first;

    g->first = l->next;
    if (!g->first)
        g->last = NULL;
    g->lines--;
    g->bytes -= (int64_t)l->text.text.length;
    if (l->usable)
        line_free(&l->line);
    arena_free(&l->arena);
    free(l->bytes);
    free(l);
}

/* ---- starting ---- */

static json_t *
text_json(struct span s)
{
    json_t *text = json_stringn(s.at ? s.at : "", s.length);

    return text ? text : json_string("");
}

static char *
question_make(const struct rollout *r)
{
    json_t *o = json_pack("{s:o,s:o,s:o,s:o}", "id", text_json(r->id), "prompt", text_json(r->prompt),
                          "response", text_json(r->response), "answer", text_json(r->answer));
    char   *text = json_dumps(o, JSON_COMPACT), *line = xprint("%s\n", text ? text : "{}");

    json_decref(o);
    free(text);
    return line;
}

static void
watch(struct grader *g, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};

    epoll_ctl(g->poll, EPOLL_CTL_ADD, fd, &event);
}

static bool
job_start(struct grader *g, struct job *j)
{
    struct error e = {0};

    if (child_open(&j->child, &g->how.child, &e) != 0) {
        g->start_at = node_now(g->n) + START_AGAIN;
        node_why(g->n, "verify: %.200s", e.text);
        return false;
    }
    j->waits_to_write = false;
    j->asked = 0;
    buffer_clear(&j->said);
    buffer_clear(&j->errors);
    j->until = node_now(g->n) + GRADE_WALL * g->how.child.cpu;
    watch(g, j->child.output, EPOLLIN);
    watch(g, j->child.errors, EPOLLIN);
    watch(g, j->child.pidfd, EPOLLIN);
    return true;
}

/* -> false: nothing is left to start, or it cannot be started now. */
static bool
start_next(struct grader *g)
{
    struct graded *l = g->first;
    int            at = 0;

    while (l && (!l->usable || l->begun >= l->line.count))
        l = l->next;
    if (!l)
        return false;
    while (g->jobs[at].line)
        at++;
    struct job *j = &g->jobs[at];
    *j = (struct job){.line = l, .item = l->begun, .question = question_make(&l->line.items[l->begun].rollout)};
    j->length = strlen(j->question);
    g->running++;
    if (!job_start(g, j)) {
        job_free(g, j);
        return false;
    }
    l->begun = next_item(l, l->begun + 1);
    return true;
}

/* ---- a verdict ---- */

/* The whole of what it said is one finite number? */
static bool
number_read(const struct buffer *said, double *value)
{
    char   text[64], *end;
    size_t from = 0, to = said->length;

    while (from < to && strchr(" \t\r\n", said->at[from]) && said->at[from])
        from++;
    while (to > from && strchr(" \t\r\n", said->at[to - 1]) && said->at[to - 1])
        to--;
    if (to == from || to - from >= sizeof(text) || memchr(said->at + from, 'x', to - from))
        return false;
    memcpy(text, said->at + from, to - from);
    text[to - from] = 0;
    *value = strtod(text, &end);
    return *end == 0 && isfinite(*value);
}

/* The last line on standard error, for the dead letter. */
static void
last_words(const struct buffer *errors, char text[GRADE_WORDS_MAX])
{
    size_t to = errors->length, from;

    while (to > 0 && (errors->at[to - 1] == '\n' || errors->at[to - 1] == '\r'))
        to--;
    for (from = to; from > 0 && errors->at[from - 1] != '\n'; from--)
        ;
    if (to - from > GRADE_WORDS_MAX - 1)
        to = from + GRADE_WORDS_MAX - 1;
    for (size_t i = from; i < to; i++)
        text[i - from] = errors->at[i] >= ' ' && errors->at[i] < 0x7f ? errors->at[i] : '?';
    text[to - from] = 0;
}

static void
job_done(struct grader *g, struct job *j)
{
    j->line->done++;
    node_count(g->n, METRIC_calls, 1);
    job_free(g, j);
}

static void
reward_zero(struct grader *g, struct job *j, const char *why)
{
    struct line_item *item = &j->line->line.items[j->item];

    item->rollout.reward = 0;
    node_count(g->n, METRIC_calls_failed, 1);
    if (g->told < LOG_MAX)
        node_log(g->n, LOG_info, "verify: '%.*s' gets reward 0: its program %s%s",
                 item->rollout.id.length > 100 ? 100 : (int)item->rollout.id.length, item->rollout.id.at, why,
                 ++g->told == LOG_MAX ? " (more of this is counted in calls_failed)" : "");
    job_done(g, j);
}

static void
no_verdict(struct grader *g, struct job *j, const char *what)
{
    char  words[GRADE_WORDS_MAX];
    char *why = arena_take(&j->line->arena, GRADE_WORDS_MAX + 200);

    child_redact(&g->how.child, j->errors.at, j->errors.length);
    last_words(&j->errors, words);
    snprintf(why, GRADE_WORDS_MAX + 200, "verify: the program gave no verdict (%s)%s%s", what,
             words[0] ? ": " : "", words);
    j->line->line.items[j->item].why = why;
    node_count(g->n, METRIC_calls_failed, 1);
    job_done(g, j);
}

static void
job_judge(struct grader *g, struct job *j)
{
    char   words[40];
    double reward;

    child_words(j->status, words, sizeof(words));
    if (child_was_killed(j->status)) {
        if (++j->kills > GRADE_KILLS_MAX)
            no_verdict(g, j, "killed from outside, again and again");
        else
            child_close(&j->child);         /* job_step() starts it again */
    } else if (WIFSIGNALED(j->status) && WTERMSIG(j->status) == SIGXCPU) {
        reward_zero(g, j, "took too long");
    } else if (WIFSIGNALED(j->status) && WTERMSIG(j->status) == SIGXFSZ) {
        reward_zero(g, j, "wrote too large a file");
    } else if (WIFSIGNALED(j->status) || WEXITSTATUS(j->status) != 0) {
        no_verdict(g, j, words);
    } else if (!number_read(&j->said, &reward)) {
        no_verdict(g, j, j->said.length ? "what it printed is not one number" : "it printed nothing");
    } else {
        j->line->line.items[j->item].rollout.reward = reward;
        job_done(g, j);
    }
}

/* ---- moving ---- */

static void
question_write(struct grader *g, struct job *j)
{
    while (j->child.input >= 0 && j->asked < j->length) {
        ssize_t n = write(j->child.input, j->question + j->asked, j->length - j->asked);

        if (n > 0)
            j->asked += (size_t)n;
        else if (n < 0 && errno == EPIPE)
            j->asked = j->length;           /* it does not want to know: its verdict counts all the same */
        else if (n < 0 && errno != EINTR)
            break;
    }
    if (j->child.input >= 0 && j->asked == j->length) {
        close(j->child.input);
        j->child.input = -1;
    } else if (j->child.input >= 0 && !j->waits_to_write) {
        watch(g, j->child.input, EPOLLOUT);
        j->waits_to_write = true;
    }
}

/* Reads what is there; of more than `most` bytes the first ones are kept (`tail`: the last). -> false: more. */
static bool
pipe_read(int *fd, struct buffer *b, size_t most, bool tail)
{
    char text[4096];

    for (int i = 0; *fd >= 0 && i < READS_MAX; i++) {
        ssize_t n = read(*fd, text, sizeof(text));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return true;
        if (n == 0) {
            close(*fd);
            *fd = -1;
            return true;
        }
        buffer_add(b, text, (size_t)n);
        if (b->length <= most)
            continue;
        if (!tail)
            return false;
        memmove(b->at, b->at + b->length - most, most);
        b->length = most;
    }
    return true;        /* one that never stops writing is its deadline's business */
}

static void
job_step(struct grader *g, struct job *j)
{
    if (j->child.pid == 0) {  /* killed from outside: it is run again */
        if (node_now(g->n) >= g->start_at)
            job_start(g, j);
        return;
    }
    question_write(g, j);
    bool little = pipe_read(&j->child.output, &j->said, GRADE_OUTPUT_MAX, false);
    pipe_read(&j->child.errors, &j->errors, 4096, true);
    if (!little) {
        reward_zero(g, j, "printed too much");
    } else if (child_ended(&j->child, &j->status)) {
        if (!pipe_read(&j->child.output, &j->said, GRADE_OUTPUT_MAX, false)) {
            reward_zero(g, j, "printed too much");
            return;
        }
        pipe_read(&j->child.errors, &j->errors, 4096, true);
        job_judge(g, j);
    } else if (node_now(g->n) >= j->until) {
        reward_zero(g, j, "took too long");
    }
}

void
grader_pump(struct grader *g)
{
    for (int i = 0; i < GRADE_JOBS_MAX; i++)
        if (g->jobs[i].line)
            job_step(g, &g->jobs[i]);
    while (g->running < g->how.jobs && node_now(g->n) >= g->start_at && start_next(g))
        ;
    for (int i = 0; i < GRADE_JOBS_MAX; i++)
        if (g->jobs[i].line && g->jobs[i].child.pid > 0)
            question_write(g, &g->jobs[i]);
}

int
grader_fd(const struct grader *g)
{
    return g->poll;
}

void
grader_beside(struct grader *g, int fd)
{
    if (g->beside == fd)
        return;
    if (g->beside >= 0)
        epoll_ctl(g->poll, EPOLL_CTL_DEL, g->beside, NULL);
    if (fd >= 0)
        watch(g, fd, EPOLLIN);
    g->beside = fd;
}

double
grader_due(const struct grader *g)
{
    double now = node_now(g->n), at = -1;

    if (g->lines > 0 && g->start_at > now)
        at = g->start_at;
    for (int i = 0; i < GRADE_JOBS_MAX; i++)
        if (g->jobs[i].line) {
            double until = g->jobs[i].child.pid > 0 ? g->jobs[i].until : g->start_at;

            at = at < 0 || until < at ? until : at;
        }
    return at < 0 ? -1 : at > now ? at - now : 0;
}

void
grader_jobs(struct grader *g, int jobs)
{
    g->how.jobs = jobs;
}

/* program: one child process and its three pipes. */
#include "nodes/exec/program.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES   (256 << 10)    /* read at a time */
#define READS_MAX    64             /* of one pump: the node has more to do */
#define ERRORS_BYTES (64 << 10)     /* of standard error read in one pump */
#define SECRET_BYTES 4096           /* of a line beyond what is logged, lest a secret is cut before it is known */
#define HEADER       4              /* bytes before a framed message */

enum { TAG_input, TAG_output, TAG_errors, TAG_end };

int
program_init(struct program *p, struct node *n, const struct program_how *how, struct error *e)
{
    *p = (struct program){.n = n, .how = *how, .poll = epoll_create1(EPOLL_CLOEXEC)};
    p->child = (struct child){.pidfd = -1, .input = -1, .output = -1, .errors = -1};
    p->tokens = PROGRAM_LOG_BURST;
    p->tokens_at = node_now(n);
    if (p->poll < 0)
        return error_set(e, ERROR_internal, "epoll: %s", strerror(errno));
    node_watch(n, p->poll);
    return 0;
}

void
program_fini(struct program *p)
{
    if (!p->n)
        return;
    child_close(&p->child);
    node_watch(p->n, -1);
    if (p->poll >= 0)
        close(p->poll);
    buffer_free(&p->out);
    buffer_free(&p->in);
    buffer_free(&p->line);
}

/* ---- standard error into the log ---- */

static void
log_line(struct program *p)
{
    double now = node_now(p->n);

    p->tokens += (now - p->tokens_at) * PROGRAM_LOG_RATE;
    p->tokens_at = now;
    if (p->tokens > PROGRAM_LOG_BURST)
        p->tokens = PROGRAM_LOG_BURST;
    child_redact(&p->how.child, p->line.at, p->line.length);
    snprintf(p->last_line, sizeof(p->last_line), "%.*s", (int)p->line.length,
             p->line.at ? p->line.at : "");
    buffer_clear(&p->line);
    if (!p->last_line[0])
        return;
    if (p->tokens < 1) {
        p->left_out++;
        return;
    }
    p->tokens--;
    if (p->left_out > 0)
        node_log(p->n, LOG_warning, "its program: %lld lines were left out",
                 (long long)p->left_out);
    p->left_out = 0;
    node_log(p->n, LOG_info, "its program: %s", p->last_line);
}

static void
errors_add(struct program *p, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            log_line(p);
        else if (p->line.length < PROGRAM_LOG_BYTES + SECRET_BYTES)
            buffer_add(&p->line, text[i] ? text + i : "?", 1);
    }
}

static void
errors_read(struct program *p)
{
    char   text[4096];
    size_t got = 0;

    while (p->child.errors >= 0 && got < ERRORS_BYTES) {
        ssize_t n = read(p->child.errors, text, sizeof(text));

        if (n > 0) {
            errors_add(p, text, (size_t)n);
            got += (size_t)n;
        } else if (n == 0) {
            close(p->child.errors);
            p->child.errors = -1;
        } else if (errno != EINTR) {
            break;
        }
    }
}

/* ---- its life ---- */

static void
watch(struct program *p, int fd, uint32_t events, uint32_t tag)
{
    struct epoll_event event = {.events = events, .data.u32 = tag};

    epoll_ctl(p->poll, EPOLL_CTL_ADD, fd, &event);
}

static void
fail(struct program *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
fail(struct program *p, const char *format, ...)
{
    va_list arguments;

    if (p->ended)
        return;
    va_start(arguments, format);
    vsnprintf(p->why, sizeof(p->why), format, arguments);
    va_end(arguments);
    p->ended = true;
}

void
program_want(struct program *p)
{
    struct error e = {0};

    if (p->phase != PROGRAM_down || p->ended || node_now(p->n) < p->next)
        return;
    p->said = p->reaped = p->dry = false;
    p->last_line[0] = 0;
    if (child_open(&p->child, &p->how.child, &e) != 0) {
        fail(p, "%s", e.text);
        return;
    }
    p->starts++;
    p->since = node_now(p->n);
    p->phase = PROGRAM_greeted;
    p->watches_input = false;
    watch(p, p->child.output, EPOLLIN, TAG_output);
    watch(p, p->child.errors, EPOLLIN, TAG_errors);
    watch(p, p->child.pidfd, EPOLLIN, TAG_end);
    buffer_clear(&p->in);
    buffer_clear(&p->out);
    p->taken = p->written = 0;
    program_give(p, p->how.greeting);
    node_log(p->n, LOG_info, "its program '%s' was started, pid %d", p->how.child.command.at[0],
             (int)p->child.pid);
}

void
program_end(struct program *p, const char *why)
{
    if (why) {
        p->ended = false;
        fail(p, "%s", why);
    }
    errors_read(p);
    if (p->line.length > 0)
        log_line(p);
    child_close(&p->child);
    buffer_clear(&p->in);
    buffer_clear(&p->out);
    p->taken = p->written = 0;
    p->phase = PROGRAM_down;
    p->ended = false;
    /* The first start after some work costs nothing: most ends are kills, and the stream waits. */
    p->next = node_now(p->n) + (p->said ? 0 : p->delay);
    p->delay = p->said ? 0 : p->delay == 0 ? PROGRAM_DELAY_FIRST : p->delay * 2;
    if (p->delay > PROGRAM_DELAY_MAX)
        p->delay = PROGRAM_DELAY_MAX;
}

void
program_leave(struct program *p, double seconds)
{
    struct pollfd end = {.fd = p->child.pidfd, .events = POLLIN};

    if (p->phase == PROGRAM_down)
        return;
    if (p->child.input >= 0)
        close(p->child.input);
    p->child.input = -1;
    poll(&end, 1, (int)(seconds * 1000));
    program_end(p, NULL);
}

void
program_ready(struct program *p)
{
    p->phase = PROGRAM_up;
}

void
program_answered(struct program *p)
{
    p->said = true;
    p->delay = 0;
}

/* ---- moving messages ---- */

void
program_give(struct program *p, struct span message)
{
    unsigned char header[HEADER];

    if (p->written == p->out.length)
        buffer_clear(&p->out), p->written = 0;
    if (p->how.framed) {
        for (int i = 0; i < HEADER; i++)
            header[i] = (unsigned char)(message.length >> 8 * (HEADER - 1 - i));
        buffer_add(&p->out, header, HEADER);
    }
    buffer_add(&p->out, message.at, message.length);
    if (!p->how.framed)
        buffer_add(&p->out, "\n", 1);
}

/* A child that reads nothing is its deadline's business; one that closed its input may still answer. */
void
program_push(struct program *p)
{
    while (p->child.input >= 0 && p->written < p->out.length) {
        ssize_t n = write(p->child.input, p->out.at + p->written, p->out.length - p->written);

        if (n > 0) {
            p->written += (size_t)n;
        } else if (n < 0 && errno == EPIPE) {
            close(p->child.input);
            p->child.input = -1;
        } else if (n < 0 && errno != EINTR) {
            break;
        }
    }
    bool wants = p->child.input >= 0 && p->written < p->out.length;
    if (wants && !p->watches_input)
        watch(p, p->child.input, EPOLLOUT, TAG_input);
    else if (!wants && p->watches_input && p->child.input >= 0)
        epoll_ctl(p->poll, EPOLL_CTL_DEL, p->child.input, NULL);
    p->watches_input = wants;
}

static void
compact(struct buffer *b, size_t *used)
{
    if (*used == 0)
        return;
    memmove(b->at, b->at + *used, b->length - *used);
    b->length -= *used;
    *used = 0;
}

/* -> true when the pipe has been read dry or is closed. */
static bool
input_read(struct program *p)
{
    compact(&p->in, &p->taken);
    for (int i = 0; i < READS_MAX && p->child.output >= 0; i++) {
        /* Whole messages are taken between two pumps: what is more than one of them is too much. */
        if (p->in.length > (size_t)p->how.message_bytes + HEADER + READ_BYTES)
            return false;
        buffer_reserve(&p->in, READ_BYTES);
        ssize_t n = read(p->child.output, p->in.at + p->in.length, READ_BYTES);

        if (n > 0) {
            p->in.length += (size_t)n;
        } else if (n == 0) {
            close(p->child.output);
            p->child.output = -1;
            p->shut_at = node_now(p->n);
        } else if (errno != EINTR) {
            return true;
        }
    }
    return p->child.output < 0;
}

void
program_pump(struct program *p)
{
    if (p->phase == PROGRAM_down || p->ended)
        return;
    errors_read(p);
    program_push(p);
    p->dry = input_read(p);
    if (p->reaped || !child_ended(&p->child, &p->status))
        return;
    p->reaped = true;
    /* It may have written more between our reading and its end. */
    p->dry = input_read(p);
    errors_read(p);
    if (p->line.length > 0)
        log_line(p);
}

bool
program_failed(struct program *p)
{
    char words[40];

    if (p->ended || p->phase == PROGRAM_down || !p->dry || p->in.length > p->taken)
        return p->ended;
    if (p->reaped) {
        child_words(p->status, words, sizeof(words));
        fail(p, "its program ended (%s)%s%.250s", words, p->last_line[0] ? ": " : "", p->last_line);
    } else if (p->child.output < 0 && node_now(p->n) >= p->shut_at + PROGRAM_SHUT_SECONDS) {
        fail(p, "its program closed its output");
    }
    return p->ended;
}

static bool
take_line(struct program *p, struct span *message)
{
    const char *from = p->in.at + p->taken;
    size_t      left = p->in.length - p->taken;
    const char *end = left > 0 ? memchr(from, '\n', left) : NULL;
    size_t      length = end ? (size_t)(end - from) : left;

    if (length > (size_t)p->how.message_bytes) {
        fail(p, "its program wrote a line of more than %lld bytes",
             (long long)p->how.message_bytes);
        return false;
    }
    if (!end)
        return false;
    p->taken += length + 1;
    *message = span_of(from, length > 0 && from[length - 1] == '\r' ? length - 1 : length);
    return true;
}

static bool
take_framed(struct program *p, struct span *message)
{
    const unsigned char *from = (const unsigned char *)p->in.at + p->taken;
    size_t               left = p->in.length - p->taken, length = 0;

    if (left < HEADER)
        return false;
    for (int i = 0; i < HEADER; i++)
        length = length << 8 | from[i];
    if (length > (size_t)p->how.message_bytes) {
        fail(p, "its program wrote a message of %zu bytes, more than %lld", length,
             (long long)p->how.message_bytes);
        return false;
    }
    if (left - HEADER < length)
        return false;
    p->taken += HEADER + length;
    *message = span_of(from + HEADER, length);
    return true;
}

bool
program_take(struct program *p, struct span *message)
{
    bool dead = p->reaped || p->child.output < 0;

    if (p->phase == PROGRAM_down || p->ended || p->in.length == p->taken)
        return false;
    if (p->how.framed ? take_framed(p, message) : take_line(p, message)) {
        child_redact(&p->how.child, p->in.at + (message->at - p->in.at), message->length);
        return true;
    }
    if (dead && !p->ended)      /* half a message: nothing follows it */
        p->taken = p->in.length;
    return false;
}

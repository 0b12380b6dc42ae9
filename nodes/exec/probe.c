/* probe: one start of a program, one greeting, one answer. */
#include "nodes/exec/probe.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX 65536
#define ERRORS_BYTES_MAX 2000

struct probe {
    const struct child_how *how;
    struct child     child;
    enum talk_format format;
    struct buffer    greeting, said, errors;
    size_t           written;
    int              status;
    bool             ended;
};

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
greeting_make(struct probe *p, const struct talk_self *self)
{
    struct buffer text = {0};

    talk_hello(p->format, self, &text);
    for (int i = 3; i >= 0 && p->format == TALK_msgpack; i--) {
        unsigned char byte = (unsigned char)(text.length >> 8 * i);
        buffer_add(&p->greeting, &byte, 1);
    }
    buffer_add(&p->greeting, text.at, text.length);
    if (p->format == TALK_json)
        buffer_add(&p->greeting, "\n", 1);
    buffer_free(&text);
}

/* Reads what is there; the last `most` bytes are kept. */
static void
take(int *fd, struct buffer *b, size_t most)
{
    char    text[4096];
    ssize_t n = *fd >= 0 ? read(*fd, text, sizeof(text)) : -1;

    if (n == 0) {
        close(*fd);
        *fd = -1;
    }
    if (n > 0)
        buffer_add(b, text, (size_t)n);
    if (b->length > most) {
        memmove(b->at, b->at + b->length - most, most);
        b->length = most;
    }
}

/* Waits for something and moves it. */
static void
step(struct probe *p, double seconds)
{
    bool          writes = p->written < p->greeting.length && p->child.input >= 0;
    struct pollfd fds[4] = {{p->child.output, POLLIN, 0}, {p->child.errors, POLLIN, 0}, {p->child.pidfd, POLLIN, 0},
                            {writes ? p->child.input : -1, POLLOUT, 0}};

    poll(fds, 4, (int)(seconds * 1000) + 1);
    if (fds[3].revents) {
        ssize_t n = write(p->child.input, p->greeting.at + p->written, p->greeting.length - p->written);
        if (n > 0)
            p->written += (size_t)n;
        else if (n < 0 && errno == EPIPE)
            p->written = p->greeting.length;
    }
    if (fds[0].revents)
        take(&p->child.output, &p->said, ANSWER_BYTES_MAX);
    if (fds[1].revents)
        take(&p->child.errors, &p->errors, ERRORS_BYTES_MAX);
    if (!fds[0].revents && !fds[1].revents && fds[2].revents)
        p->ended = child_ended(&p->child, &p->status);
}

/* Its first whole message; false: not yet. */
static bool
message(const struct probe *p, struct span *m)
{
    const unsigned char *at = (const unsigned char *)p->said.at;
    const char          *end;
    size_t               length = 0;

    if (p->said.length == 0)
        return false;
    if (p->format == TALK_json) {
        end = memchr(at, '\n', p->said.length);
        *m = span_of(at, end ? (size_t)(end - p->said.at) : 0);
        return end != NULL;
    }
    for (size_t i = 0; i < 4 && p->said.length >= 4; i++)
        length = length << 8 | at[i];
    *m = span_of(at + 4, length);
    return p->said.length >= 4 && p->said.length - 4 >= length;
}

/* The last line of standard error, printable. */
static void
last_line(struct buffer *b, char text[200])
{
    size_t to = b->length, from, n = 0;

    while (to > 0 && (b->at[to - 1] == '\n' || b->at[to - 1] == '\r'))
        to--;
    for (from = to; from > 0 && b->at[from - 1] != '\n'; from--)
        ;
    for (size_t i = from; i < to && n < 199; i++)
        text[n++] = b->at[i] >= ' ' && b->at[i] < 0x7f ? b->at[i] : '?';
    text[n] = 0;
}

static int
listen_for(struct probe *p, const struct talk_self *self, double seconds, struct error *e)
{
    struct talk_answer a;
    struct talk_kept   kept = {0};
    struct span        m;
    char               words[200], end[40];
    double             until = now() + seconds;
    int                rc = 1;

    while (rc == 1) {
        if (message(p, &m)) {
            child_redact(p->how, p->said.at, p->said.length);
            rc = talk_answer(p->format, self->ports, m, &kept, &a, e);
            if (rc == 0 && !a.ready)
                rc = error_set(e, ERROR_input, "it does not say that it is ready");
            if (rc != 0)
                rc = error_set(e, ERROR_remote, "its program wrote what is no {\"ready\": 1}: %.300s", e->text);
        } else if (p->ended) {
            child_redact(p->how, p->errors.at, p->errors.length);
            last_line(&p->errors, words);
            child_words(p->status, end, sizeof(end));
            rc = error_set(e, ERROR_remote, "its program ended (%s)%s%s", end, words[0] ? ": " : "", words);
        } else if (now() >= until) {
            rc = error_set(e, ERROR_remote, "its program was not ready after %g s", seconds);
        } else {
            step(p, until - now());
        }
    }
    buffer_free(&kept.packed);
    buffer_free(&kept.bodies);
    return rc;
}

int
program_probe(const struct child_how *how, enum talk_format format, const struct talk_self *self,
              double seconds, struct buffer *told, struct error *e)
{
    struct probe p = {.how = how, .format = format};
    struct error own = {0};
    double       began = now();
    void       (*old)(int) = signal(SIGPIPE, SIG_IGN);
    int          rc = child_open(&p.child, how, &own);

    greeting_make(&p, self);
    if (rc == 0)
        rc = listen_for(&p, self, seconds, &own);
    if (rc == 0)
        buffer_print(told, "program '%s': ready after %.2f s\n", how->command.at[0], now() - began);
    child_close(&p.child);
    signal(SIGPIPE, old);
    buffer_free(&p.greeting);
    buffer_free(&p.said);
    buffer_free(&p.errors);
    return rc == 0 ? 0 : error_set(e, own.code, "%s", own.text);
}

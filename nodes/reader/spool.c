/* spool: a pipe on one side, a synced file on the other. */
#include "nodes/reader/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct spool {
    char    *path;          /* of the spool file */
    char    *source;        /* a named pipe; NULL: standard input */
    int      in, out;       /* in -1: no pipe */
    bool     regular;       /* standard input is a file: read at our own offset */
    bool     follow, ended, writer_seen;
    bool     watch;
    uint64_t length;        /* synced */
    uint64_t compared;      /* of a stream given again: bytes found equal; >= length: all */
    bool     again;
    const char *why;
    char     why_text[160];
    char     identity[64];
};

static bool
is_stdin(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, "-") == 0 || strcmp(path, "/dev/stdin") == 0;
}

bool
spool_is_pipe(const char *path)
{
    struct stat st;
    return is_stdin(path) || (stat(path, &st) == 0 && S_ISFIFO(st.st_mode));
}

static int
fail(const struct spool *s, const char *what, struct error *e)
{
    return error_set(e, errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file, "%s: %s: %s",
                     s->path, what, strerror(errno));
}

static void
put_state(struct spool *s, struct node *n)
{
    char text[160];

    snprintf(text, sizeof(text), "%llu %d %s", (unsigned long long)s->length, s->ended,
             s->identity);
    node_put(n, span_text("spool"), span_text(text));
}

/* Look at what standard input is, now and before. */
static void
open_stdin(struct spool *s, const char *identity_before)
{
    struct stat st;

    s->in = -1;
    if (fstat(0, &st) != 0 ||
        !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode))) {
        s->why = "standard input is no pipe: give it again, or `sluice end`";
        return;
    }
    s->regular = S_ISREG(st.st_mode);
    snprintf(s->identity, sizeof(s->identity), "%llx:%llx", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    s->again = !s->regular && s->length > 0 && strcmp(identity_before, s->identity) != 0;
    s->in = fcntl(0, F_DUPFD_CLOEXEC, 3);
}

int
spool_open(struct spool **out, struct node *n, const char *path, bool follow, struct error *e)
{
    struct spool      *s = xalloc(sizeof(*s));
    struct span        value;
    struct stat        st;
    unsigned long long recorded = 0;
    int                ended = 0;
    char               text[160] = "", before[64] = "";

    *out = s;
    s->path = xprint("%s/%s.spool", node_run_dir(n), node_id(n));
    s->follow = follow;
    s->in = -1;
    if (node_get(n, span_text("spool"), &value) && value.length < sizeof(text)) {
        memcpy(text, value.at, value.length);
        sscanf(text, "%llu %d %63s", &recorded, &ended, before);
    }
    s->out = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->out < 0 || fstat(s->out, &st) != 0)
        return fail(s, "open", e);
    if ((uint64_t)st.st_size < recorded)
        return error_set(e, ERROR_file, "%s: has %lld bytes, fewer than the %llu recorded", s->path,
                         (long long)st.st_size, recorded);
    /* Bytes beyond the record were taken from the pipe before a kill: nobody else has them. */
    if (fdatasync(s->out) != 0 || lseek(s->out, st.st_size, SEEK_SET) < 0)
        return fail(s, "sync", e);
    s->length = (uint64_t)st.st_size;
    s->ended = ended;
    if (s->ended)
        return 0;
    if (is_stdin(path)) {
        open_stdin(s, before);
    } else {
        s->source = xtext(path);
        s->in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        snprintf(s->identity, sizeof(s->identity), "fifo");
        if (s->in < 0)
            return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    }
    return 0;
}

void
spool_close(struct spool *s)
{
    if (!s)
        return;
    if (s->in >= 0)
        close(s->in);
    if (s->out >= 0)
        close(s->out);
    free(s->path);
    free(s->source);
    free(s);
}

const char *
spool_file(const struct spool *s)
{
    return s->path;
}

uint64_t
spool_length(const struct spool *s)
{
    return s->length;
}

bool
spool_ended(const struct spool *s)
{
    return s->ended;
}

int
spool_fd(const struct spool *s)
{
    return s->watch && !s->ended ? s->in : -1;
}

const char *
spool_why(const struct spool *s)
{
    return s->ended ? NULL : s->why;
}

/* Is there something to read, or an end to see? A named pipe that no writer has opened yet reads as
 * ended; it is not. */
static bool
readable(struct spool *s)
{
    struct pollfd p = {.fd = s->in, .events = POLLIN};

    return s->regular || (poll(&p, 1, 0) > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)));
}

/* Compare the next bytes of a stream given again. -> bytes read, 0 at its end, -1 with errno. */
static ssize_t
compare(struct spool *s)
{
    char    new[65536], old[65536];
    size_t want =
        s->length - s->compared < sizeof(new) ? (size_t)(s->length - s->compared) : sizeof(new);
    ssize_t n = read(s->in, new, want);

    if (n <= 0)
        return n;
    if (pread(s->out, old, (size_t)n, (off_t)s->compared) != n ||
        memcmp(new, old, (size_t)n) != 0) {
        snprintf(s->why_text, sizeof(s->why_text),
                 "the pipe given again is not the one read before: they differ within the 64 KiB "
                 "after byte %llu",
                 (unsigned long long)s->compared);
        s->why = s->why_text;
        close(s->in);
        s->in = -1;
        return n;
    }
    s->compared += (uint64_t)n;
    s->again = s->compared < s->length;
    return n;
}

static ssize_t
move(struct spool *s)
{
    if (s->regular) {
        off_t from = (off_t)s->length;
        return copy_file_range(s->in, &from, s->out, NULL, SPOOL_MOVE_BYTES, 0);
    }
    return splice(s->in, NULL, s->out, NULL, SPOOL_MOVE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

int
spool_pump(struct spool *s, struct node *n, uint64_t used, struct error *e)
{
    ssize_t got;

    if (s->ended || s->in < 0)
        return 0;
    s->watch = (int64_t)(s->length - used) < SPOOL_AHEAD_BYTES;
    if (!s->watch || !readable(s))
        return 0;
    bool comparing = s->again;
    got = comparing ? compare(s) : move(s);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        return fail(s, comparing ? "compare" : "splice", e);
    if (comparing && got > 0) {
        if (!s->again)
            put_state(s, n);    /* from here on this pipe is the one */
        return 1;
    }
    if (got == 0 && comparing) {
        s->why = "the pipe given again ended before what was read from it: give it again, or "
                 "`sluice end`";
        close(s->in);
        s->in = -1;
        return 0;
    }
    if (got > 0) {
        if (fdatasync(s->out) != 0)
            return fail(s, "sync", e);
        s->length += (uint64_t)got;
    } else if (s->follow && s->source) {
        close(s->in);           /* this writer is done; wait for the next */
        s->in = open(s->source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        return s->in < 0 ? error_set(e, ERROR_file, "%s: %s", s->source, strerror(errno)) : 0;
    } else {
        s->ended = true;
    }
    put_state(s, n);
    return 1;
}

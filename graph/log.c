/* log: see log.h. */
#include "graph/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "graph/text.h"

struct log {
    char          *path;        /* NULL: standard error */
    char          *node;
    int            replica;
    enum log_level floor;
    int64_t        bytes_max, bytes;
    int            files_kept;
    int            fd;
    int64_t        lost;        /* lines that could not be written since the last that could */
    struct buffer  line;
};

const char *const log_level_names[] = {"debug", "info", "warning", "error", NULL};

const char *
log_level_name(enum log_level level)
{
    return level >= LOG_debug && level <= LOG_error ? log_level_names[level] : "none";
}

bool
log_level_find(const char *name, enum log_level *level)
{
    for (int i = 0; log_level_names[i]; i++)
        if (strcmp(name, log_level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

static int
reopen(struct log *l, struct error *e)
{
    struct stat s;

    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (l->fd < 0)
        return error_set(e, ERROR_file, "log '%s': %s", l->path, strerror(errno));
    l->bytes = fstat(l->fd, &s) == 0 ? (int64_t)s.st_size : 0;
    return 0;
}

struct log *
log_open(const char *path, const char *node, int replica, enum log_level floor, int64_t bytes_max,
         int files_kept, struct error *e)
{
    struct log *l = xalloc(sizeof(*l));

    l->path = path ? xtext(path) : NULL;
    l->node = xtext(node);
    l->replica = replica;
    l->floor = floor;
    l->bytes_max = bytes_max > 0 ? bytes_max : LOG_BYTES_STANDARD;
    l->files_kept = files_kept <= 0 ? LOG_FILES_STANDARD
                    : files_kept > LOG_FILES_MAX ? LOG_FILES_MAX : files_kept;
    l->fd = STDERR_FILENO;
    if (path && reopen(l, e) != 0) {
        log_close(l);
        return NULL;
    }
    return l;
}

void
log_close(struct log *l)
{
    if (!l)
        return;
    if (l->path && l->fd >= 0)
        close(l->fd);
    buffer_free(&l->line);
    free(l->path);
    free(l->node);
    free(l);
}

void
log_set_floor(struct log *l, enum log_level floor)
{
    l->floor = floor;
}

/* path.1 -> path.2 and so on, path -> path.1. A rename that fails only makes the file longer than
 * asked. */
static void
rotate(struct log *l)
{
    for (int i = l->files_kept; i > 0; i--) {
        char *to = xprint("%s.%d", l->path, i);
        char *from = i > 1 ? xprint("%s.%d", l->path, i - 1) : xtext(l->path);

        (void)rename(from, to);
        free(from);
        free(to);
    }
    close(l->fd);
    (void)reopen(l, NULL);
}

static void
line_begin(struct log *l, enum log_level level, const char *event)
{
    struct timespec now;
    struct tm       utc;
    char            stamp[40];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    buffer_clear(&l->line);
    buffer_print(&l->line, "{\"time\":\"%s.%06ldZ\",\"level\":\"%s\",\"node\":", stamp,
                 now.tv_nsec / 1000, log_level_name(level));
    text_json(&l->line, span_text(l->node));
    buffer_print(&l->line, ",\"replica\":%d,\"pid\":%d,\"event\":", l->replica, (int)getpid());
    text_json(&l->line, span_text(event));
    buffer_text(&l->line, ",\"text\":");
}

static bool
line_write(struct log *l)
{
    size_t  length;
    ssize_t n;

    buffer_text(&l->line, "}\n");
    length = l->line.length;
    if (l->path && l->bytes > 0 && l->bytes + (int64_t)length > l->bytes_max)
        rotate(l);
    if (l->path && l->fd < 0 && reopen(l, NULL) != 0)
        return false;
    do
        n = write(l->fd, l->line.at, length);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return false;
    l->bytes += n;
    return n == (ssize_t)length;
}

void
log_event_v(struct log *l, enum log_level level, const char *event, const char *format,
            va_list args)
{
    char text[LOG_TEXT_MAX];

    if (!l || level < l->floor)
        return;
    vsnprintf(text, sizeof(text), format, args);
    if (l->lost) {
        char count[80];

        snprintf(count, sizeof(count), "%lld lines could not be written", (long long)l->lost);
        line_begin(l, LOG_warning, "lost");
        text_json(&l->line, span_text(count));
        if (line_write(l))
            l->lost = 0;
    }
    line_begin(l, level, event);
    text_json(&l->line, span_text(text));
    if (!line_write(l))
        l->lost++;
}

void
log_event(struct log *l, enum log_level level, const char *event, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_event_v(l, level, event, format, args);
    va_end(args);
}

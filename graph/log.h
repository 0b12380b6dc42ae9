/* log: what a process did and why, one JSON line per event, in files that rotate by size.
 *
 *   {"time":"2026-03-01T10:00:00.123456Z","level":"info","node":"critic","replica":0,"pid":4711,
 *    "event":"start","text":"epoch 3"}
 *
 * A line is one write(2) to a file opened for appending, so a kill never leaves two lines mixed. A
 * log that cannot be written (full disk) never stops the process: lines are counted, and the count
 * is the next line that goes through. Text that is not UTF-8 is repaired. */
#ifndef GRAPH_LOG_H
#define GRAPH_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/node.h"     /* enum log_level */

#define LOG_TEXT_MAX      8192              /* bytes of one line's text; longer text is cut */
#define LOG_BYTES_STANDARD (16LL << 20)     /* of one file, when bytes_max is 0 */
#define LOG_FILES_STANDARD 4                /* old files kept, when files_kept is 0 */
#define LOG_FILES_MAX     100

struct log;

/* `path` NULL: standard error, never rotated. `node` is the id or "supervisor". Files are path,
 * path.1 (newest of the old) ... path.<files_kept>. -> NULL with ERROR_file. log_close(); one owner
 * per path. */
struct log *log_open(const char *path, const char *node, int replica, enum log_level floor,
                     int64_t bytes_max, int files_kept, struct error *e);
void log_close(struct log *l);      /* NULL: nothing */

/* `event` is a word of ours ("start", "commit", "refused"): stable, for machines; the text is for
 * people. `l` may be NULL. */
void log_event(struct log *l, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void log_event_v(struct log *l, enum log_level level, const char *event, const char *format,
                 va_list args) __attribute__((format(printf, 4, 0)));

void           log_set_floor(struct log *l, enum log_level floor);
const char    *log_level_name(enum log_level level);        /* "info" */
/* "info" -> LOG_info; false: not a level. */
bool           log_level_find(const char *name, enum log_level *level);
extern const char *const log_level_names[]; /* NULL-terminated, in the order of enum log_level */

#endif

/* sink: writes what arrives as JSON lines.
 *
 * One line per message: {"ordinal","first","size","from","kind", and the message's own fields}.
 * Lines come in the order of arrival; the ordinal says what they belong to. The length of the file
 * is part of the store's transaction: it is synced before each commit, and cut to the committed
 * length at start, so each message is in it exactly once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <msgpack.h>

#include "graph/node.h"

#define SINK_BUFFER_BYTES (1 << 20)     /* written out when as much is waiting, or at a commit */

enum { PORT_in };

struct sink_options {
    const char *path;
    bool        closings;
};

struct sink {
    int           fd;
    char         *path;
    int64_t       length;       /* bytes written to the file */
    bool          dirty;        /* written and not yet synced */
    struct buffer text;         /* not yet written */
    struct buffer json;
    struct arena  arena;
};

static const struct option sink_options[] = {
    OPT_TEXT(struct sink_options, path, FIXED, "",
             "file to write, relative to the run's directory; the standard is <node>.jsonl in it"),
    OPT_BOOL(struct sink_options, closings, FIXED, "false",
             "several inputs: also a line for an input that was closed while another brought data"),
    OPT_END
};

static const struct port sink_ports[] = {
    [PORT_in] = {PORT_IN, "in", MESSAGE_any, PORT_MANY, "any port of any node"},
    {.direction = PORT_END}
};

/* Which message is it? Links do not say; each has a field that no other has. */
static enum message
message_kind(struct span body, struct error *e)
{
    static const struct {
        const char  *field;
        enum message message;
    } marks[] = {
        {"labels", MESSAGE_labelled},
        {"voter", MESSAGE_vote},
        {"ends", MESSAGE_steps},
        {"response", MESSAGE_rollout},
    };
    msgpack_unpacked unpacked;
    enum message     found = MESSAGE_any;

    if (message_check(body, e) != 0)
        return MESSAGE_any;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, body.at, body.length, NULL) == MSGPACK_UNPACK_SUCCESS &&
        unpacked.data.type == MSGPACK_OBJECT_MAP) {
        msgpack_object_map map = unpacked.data.via.map;
        for (size_t k = 0; k < sizeof(marks) / sizeof(marks[0]) && !found; k++)
            for (uint32_t i = 0; i < map.size && !found; i++)
                if (map.ptr[i].key.type == MSGPACK_OBJECT_STR &&
                    span_is(span_of(map.ptr[i].key.via.str.ptr, map.ptr[i].key.via.str.size),
                            marks[k].field))
                    found = marks[k].message;
    }
    msgpack_unpacked_destroy(&unpacked);
    if (!found)
        error_set(e, ERROR_input, "the message is of no known kind");
    return found;
}

static int
write_out(struct sink *s, struct error *e)
{
    size_t done = 0;

    while (done < s->text.length) {
        ssize_t n = write(s->fd, s->text.at + done, s->text.length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file,
                             "%s: %s", s->path, strerror(errno));
        done += (size_t)n;
        s->length += n;
        s->dirty = true;
    }
    buffer_clear(&s->text);
    return 0;
}

static int
sink_flush(struct node *n, struct error *e)
{
    struct sink *s = node_state(n);
    char         length[32];
    int          rc = write_out(s, e);

    if (rc != 0 || !s->dirty)
        return rc;
    if (fdatasync(s->fd) != 0)
        return error_set(e, errno == ENOSPC || errno == EDQUOT ? ERROR_space : ERROR_file, "%s: %s",
                         s->path, strerror(errno));
    s->dirty = false;
    snprintf(length, sizeof(length), "%lld", (long long)s->length);
    node_put(n, span_text("length"), span_text(length));
    return 0;
}

/* Folders on the way to `path`. What cannot be made shows when the file is opened. */
static void
make_folders(const char *path)
{
    char *copy = xtext(path);

    for (char *p = copy + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = 0;
        mkdir(copy, 0777);
    }
    free(copy);
}

/* The length the store vouches for; -1 when this run never wrote the file. */
static int64_t
length_recorded(struct node *n)
{
    struct span value;
    char        text[32] = "";

    if (!node_get(n, span_text("length"), &value) || value.length >= sizeof(text))
        return -1;
    memcpy(text, value.at, value.length);
    return strtoll(text, NULL, 10);
}

static int
sink_start(struct node *n, struct error *e)
{
    struct sink               *s = node_state(n);
    const struct sink_options *o = node_options(n);
    struct stat                st;
    int64_t                    length = length_recorded(n);

    s->fd = -1;
    if (o->path && o->path[0] == '/')
        s->path = xtext(o->path);
    else if (o->path && o->path[0])
        s->path = xprint("%s/%s", node_run_dir(n), o->path);
    else
        s->path = xprint("%s/%s.jsonl", node_run_dir(n), node_id(n));
    make_folders(s->path);
    s->fd = open(s->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        return error_set(e, ERROR_file, "%s: %s", s->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERROR_file, "%s: is no regular file", s->path);
    /* Two writers would cut off each other's lines. The kernel takes the lock back however we end. */
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(e, ERROR_file, "%s: %s", s->path,
                         errno == EWOULDBLOCK ? "another sink is writing it" : strerror(errno));
    if (length < 0 && st.st_size > 0)
        return error_set(e, ERROR_file,
                         "%s: holds %lld bytes that are not of this run; move it away", s->path,
                         (long long)st.st_size);
    if (length <
        0) { /* from here on the file is ours, also after a crash before the first commit */
        node_put(n, span_text("length"), span_text("0"));
        int rc = node_commit(n, e);
        if (rc != 0)
            return rc;
        length = 0;
    }
    if (st.st_size < length)
        return error_set(e, ERROR_file,
                         "%s: has %lld bytes, fewer than the %lld this run has written", s->path,
                         (long long)st.st_size, (long long)length);
    if (ftruncate(s->fd, length) != 0 || lseek(s->fd, length, SEEK_SET) < 0)
        return error_set(e, ERROR_file, "%s: %s", s->path, strerror(errno));
    s->length = length;
    return 0;
}

static void
write_line(struct sink *s, const struct unit *u, const struct input *in, const char *kind)
{
    buffer_print(&s->text, "{\"ordinal\":%llu,\"first\":%llu,\"size\":%u,\"from\":\"%s\",",
                 (unsigned long long)u->ordinal, (unsigned long long)u->first, u->size, in->from);
    if (in->closing) {
        buffer_print(&s->text, "\"closed\":\"%s\"}\n", in->reason);
        return;
    }
    bool empty = s->json.length <= 2;
    buffer_print(&s->text, "\"kind\":\"%s\"%s", kind, empty ? "" : ",");
    buffer_add(&s->text, s->json.at + 1, s->json.length - 1);
    buffer_text(&s->text, "\n");
}

/* Reasons and node ids are words of ours; a producer written by a user could send others. */
static bool
is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == '"' || *text == '\\' ||
            (unsigned char)*text >= 0x7f)
            return false;
    return true;
}

static int
sink_take(struct node *n, struct unit *u, struct error *e)
{
    struct sink               *s = node_state(n);
    const struct sink_options *o = node_options(n);
    size_t                     start = s->text.length;

    for (int i = 0; i < u->input_count; i++) {
        const struct input *in = &u->inputs[i];
        struct error        why = {0};
        enum message        m;

        if (in->closing) {
            struct input plain = *in;
            plain.reason = is_plain(in->reason) ? in->reason : "?";
            if (o->closings)
                write_line(s, u, &plain, NULL);
            continue;
        }
        arena_clear(&s->arena);
        buffer_clear(&s->json);
        m = message_kind(in->body, &why);
        void *message = m ? arena_take(&s->arena, message_size(m)) : NULL;
        if (!m || message_read(m, in->body, message, &s->arena, &why) != 0) {
            s->text.length = start;
            unit_dead(n, u, "from %s: %s", in->from, why.text);
            return 0;
        }
        message_json(m, message, &s->json);
        write_line(s, u, in, message_name(m));
    }
    if (s->text.length >= SINK_BUFFER_BYTES) {
        int rc = write_out(s, e);
        if (rc != 0)
            return rc;
    }
    unit_done(n, u);
    return 0;
}

static void
sink_stop(struct node *n)
{
    struct sink *s = node_state(n);

    if (s->path && s->fd >= 0)
        close(s->fd);
    free(s->path);
    buffer_free(&s->text);
    buffer_free(&s->json);
    arena_free(&s->arena);
}

const struct node_kind node_sink = {
    .name = "sink",
    .summary = "writes any port as JSON lines",
    .state_size = sizeof(struct sink),
    .options_size = sizeof(struct sink_options),
    .ports = sink_ports,
    .options = sink_options,
    .terminal = true,
    .start = sink_start,
    .take = sink_take,
    .flush = sink_flush,
    .stop = sink_stop,
};

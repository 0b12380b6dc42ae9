/* stream: raw bytes in, uncompressed text in one buffer, lines out. */
#include "nodes/reader/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#define ZSTD_WINDOW_LOG_MAX                                                                        \
    27 /* 128 MiB: what `zstd --ultra` needs; more would let a file take any memory */

/* One decompressor with its place in the raw file. */
struct decoder {
    enum stream_format format;
    ZSTD_DStream      *zstd;
    z_stream           gzip;
    bool               gzip_open;
    uint64_t           at;          /* raw offset of the next byte to decode */
    uint64_t           frame_end;   /* raw offset after the last whole frame */
    bool               inside;      /* of a frame */
    const char        *broken;
};

struct stream {
    char             *path;
    int               fd;
    struct stream_how how;
    enum stream_format format;      /* STREAM_auto until the first bytes are seen */
    struct decoder    main, scan;
    char             *raw;          /* STREAM_READ_BYTES, from raw_at, raw_length of them */
    uint64_t          raw_at, raw_length;
    XXH64_state_t    *hash;
    uint64_t          hashed;       /* raw bytes in `hash` */
    struct buffer     text;
    size_t from, scanned; /* in text: first byte not yet given, first byte not yet searched */
    uint64_t          offset;       /* of text.at[from] */
    uint64_t          skip;         /* uncompressed bytes still to drop before the start offset */
    bool              too_long;     /* inside a line that is being passed over ... */
    uint64_t          long_from;    /* ... which began here */
    struct buffer     head;
    bool              ended;
};

int
stream_open(struct stream **out, const char *path, const struct stream_how *how, uint64_t offset,
            struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return error_set(e, ERROR_file, "%s: %s", path, strerror(errno));
    struct stream *s = xalloc(sizeof(*s));
    *out = s;
    s->path = xtext(path);
    s->fd = fd;
    s->how = *how;
    s->format = how->format;
    s->raw = xalloc(STREAM_READ_BYTES);
    s->hash = XXH64_createState();
    XXH64_reset(s->hash, 0);
    s->offset = s->skip = offset;
    return 0;
}

static void
decoder_close(struct decoder *d)
{
    ZSTD_freeDStream(d->zstd);
    if (d->gzip_open)
        inflateEnd(&d->gzip);
    *d = (struct decoder){0};
}

void
stream_close(struct stream *s)
{
    if (!s)
        return;
    close(s->fd);
    decoder_close(&s->main);
    decoder_close(&s->scan);
    XXH64_freeState(s->hash);
    buffer_free(&s->text);
    buffer_free(&s->head);
    free(s->raw);
    free(s->path);
    free(s);
}

int
stream_fd(const struct stream *s)
{
    return s->fd;
}

uint64_t
stream_hashed(const struct stream *s)
{
    return s->hashed;
}

uint64_t
stream_hash(const struct stream *s)
{
    return XXH64_digest(s->hash);
}

static ssize_t
read_at(int fd, void *to, size_t room, uint64_t at)
{
    ssize_t n;

    do
        n = pread(fd, to, room, (off_t)at);
    while (n < 0 && errno == EINTR);
    return n;
}

int
stream_prime(struct stream *s, uint64_t length, struct error *e)
{
    while (s->hashed < length) {
        size_t want = length - s->hashed < STREAM_READ_BYTES ? (size_t)(length - s->hashed)
                                                             : STREAM_READ_BYTES;
        ssize_t n = read_at(s->fd, s->raw, want, s->hashed);
        if (n < 0)
            return error_set(e, ERROR_file, "%s: %s", s->path, strerror(errno));
        if (n == 0)
            return error_set(e, ERROR_input, "%s: shrank to %llu bytes; %llu were recorded",
                             s->path, (unsigned long long)s->hashed, (unsigned long long)length);
        XXH64_update(s->hash, s->raw, (size_t)n);
        s->hashed += (uint64_t)n;
    }
    return 0;
}

/* Raw bytes at `at`, at most up to `size`. -> how many lie at *bytes, 0 for none, or ERROR_file. */
static int64_t
raw_bytes(struct stream *s, uint64_t at, uint64_t size, const char **bytes, struct error *e)
{
    if (at >= size)
        return 0;
    if (at >= s->raw_at && at < s->raw_at + s->raw_length) {
        *bytes = s->raw + (at - s->raw_at);
        return (int64_t)(s->raw_at + s->raw_length - at);
    }
    size_t  want = size - at < STREAM_READ_BYTES ? (size_t)(size - at) : STREAM_READ_BYTES;
    ssize_t n = read_at(s->fd, s->raw, want, at);
    if (n < 0)
        return error_set(e, ERROR_file, "%s: %s", s->path, strerror(errno));
    if (n == 0)
        return error_set(e, ERROR_input, "%s: shrank to %llu bytes while it was read; it had %llu",
                         s->path, (unsigned long long)at, (unsigned long long)size);
    s->raw_at = at;
    s->raw_length = (uint64_t)n;
    if (s->hashed >= at && s->hashed < at + (uint64_t)n) {
        XXH64_update(s->hash, s->raw + (s->hashed - at), (size_t)(at + (uint64_t)n - s->hashed));
        s->hashed = at + (uint64_t)n;
    }
    *bytes = s->raw;
    return n;
}

static void
decoder_open(struct decoder *d, enum stream_format format)
{
    *d = (struct decoder){.format = format};
    if (format == STREAM_zstd) {
        d->zstd = ZSTD_createDStream();
        ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
        ZSTD_initDStream(d->zstd);
    } else if (format == STREAM_gzip) {
        d->gzip_open = inflateInit2(&d->gzip, 15 + 16) == Z_OK;
    }
}

static int64_t
decode_zstd(struct decoder *d, const char *bytes, size_t length, char *to, size_t room)
{
    ZSTD_inBuffer  in = {bytes, length, 0};
    ZSTD_outBuffer out = {to, room, 0};
    size_t         rc = ZSTD_decompressStream(d->zstd, &out, &in);

    if (ZSTD_isError(rc)) {
        d->broken = ZSTD_getErrorName(rc);
        return 0;
    }
    d->at += in.pos;
    d->inside = rc != 0;
    if (!d->inside)
        d->frame_end = d->at;
    return (int64_t)out.pos;
}

static int64_t
decode_gzip(struct decoder *d, const char *bytes, size_t length, char *to, size_t room)
{
    if (!d->inside && d->frame_end > 0) { /* between members: another one, or zeros to the end */
        if (*bytes == 0) {
            d->frame_end = ++d->at;
            return 0;
        }
    }
    d->gzip.next_in = (Bytef *)(uintptr_t)bytes;
    d->gzip.avail_in = (uInt)length;
    d->gzip.next_out = (Bytef *)to;
    d->gzip.avail_out = (uInt)room;
    int rc = inflate(&d->gzip, Z_NO_FLUSH);
    d->at += length - d->gzip.avail_in;
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        d->broken = d->gzip.msg ? d->gzip.msg : "corrupt gzip data";
        return (int64_t)(room - d->gzip.avail_out);
    }
    d->inside = rc != Z_STREAM_END;
    if (rc == Z_STREAM_END) {
        d->frame_end = d->at;
        inflateReset(&d->gzip);
    }
    return (int64_t)(room - d->gzip.avail_out);
}

/* Decode what lies below `size` into `to`: how many bytes came out. Nothing came and d->at stayed:
 * there is no more. */
static int64_t
decode(struct stream *s, struct decoder *d, uint64_t size, char *to, size_t room, struct error *e)
{
    const char *bytes = "";
    int64_t     n = raw_bytes(s, d->at, size, &bytes, e);

    if (n < 0 || d->broken)
        return n < 0 ? n : 0;
    if (d->format == STREAM_plain) {
        n = n < (int64_t)room ? n : (int64_t)room;
        memcpy(to, bytes, (size_t)n);
        d->at += (uint64_t)n;
        d->frame_end = d->at;
        return n;
    }
    if (n == 0 && !d->inside)
        return 0;
    return d->format == STREAM_zstd ? decode_zstd(d, bytes, (size_t)n, to, room)
                                    : decode_gzip(d, bytes, (size_t)n, to, room);
}

/* Know the format from the first bytes; false while there are too few and more may come. */
static int
find_format(struct stream *s, uint64_t size, bool final, struct error *e)
{
    const char *bytes = "";

    if (s->format == STREAM_auto) {
        int64_t n = raw_bytes(s, 0, size, &bytes, e);
        if (n < 0)
            return (int)n;
        s->raw_length = 0;      /* read again: only as much as was there may be cached */
        if (n < 4 && !final)
            return 0;
        s->format = STREAM_plain;
        if (n >= 4 && memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0)
            s->format = STREAM_zstd;
        else if (n >= 4 && (memcmp(bytes + 1, "\x2a\x4d\x18", 3) == 0 && (bytes[0] & 0xf0) == 0x50))
            s->format = STREAM_zstd;    /* a skippable frame */
        else if (n >= 2 && memcmp(bytes, "\x1f\x8b", 2) == 0)
            s->format = STREAM_gzip;
    }
    if (s->main.format == STREAM_auto) {
        decoder_open(&s->main, s->format);
        decoder_open(&s->scan, s->how.whole_frames ? s->format : STREAM_plain);
        if (s->format == STREAM_plain) {
            s->main.at = s->skip;
            s->skip = 0;
        }
    }
    return 1;
}

/* How far the raw bytes may be used: all of them, or to the end of the last whole frame of a
 * growing file. */
static int
usable(struct stream *s, uint64_t size, bool final, uint64_t *limit, struct error *e)
{
    char waste[16384];

    *limit = size;
    if (final || !s->how.whole_frames || s->format == STREAM_plain)
        return 0;
    while (!s->scan.broken) {
        uint64_t at = s->scan.at;
        int64_t  n = decode(s, &s->scan, size, waste, sizeof(waste), e);
        if (n < 0)
            return (int)n;
        if (n == 0 && s->scan.at == at)
            break;
    }
    if (!s->scan.broken)
        *limit = s->scan.frame_end;
    return 0;
}

/* Decode more text. -> 1 when there is more than before, 0 when not, or an error. */
static int
fill(struct stream *s, uint64_t limit, struct error *e)
{
    if (s->from > 0) {
        memmove(s->text.at, s->text.at + s->from, s->text.length - s->from);
        s->text.length -= s->from;
        s->scanned -= s->from;
        s->from = 0;
    }
    for (;;) {
        uint64_t at = s->main.at;
        buffer_reserve(&s->text, STREAM_READ_BYTES);
        int64_t n = decode(s, &s->main, limit, s->text.at + s->text.length, STREAM_READ_BYTES, e);
        if (n < 0)
            return (int)n;
        if (n == 0 && s->main.at == at)
            return 0;
        if (s->skip > 0) {
            uint64_t drop = (uint64_t)n < s->skip ? (uint64_t)n : s->skip;
            memmove(s->text.at + s->text.length, s->text.at + s->text.length + drop,
                    (size_t)((uint64_t)n - drop));
            s->skip -= drop;
            n -= (int64_t)drop;
        }
        if (n > 0) {
            s->text.length += (size_t)n;
            return 1;
        }
    }
}

/* Give text[from, end) as a line; `feed` is 1 when a line feed follows it. */
static int
give(struct stream *s, size_t end, size_t feed, struct stream_line *line)
{
    struct span text = span_of(s->text.at + s->from, end - s->from);

    if (s->too_long) {
        *line = (struct stream_line){.text = buffer_span(&s->head), .offset = s->long_from};
        line->length = s->offset + text.length - s->long_from;
    } else {
        if (text.length > 0 && text.at[text.length - 1] == '\r')
            text.length--;
        *line = (struct stream_line){.text = text, .offset = s->offset, .length = text.length};
    }
    s->offset += end - s->from + feed;
    s->from = s->scanned = end + feed;
    line->next = s->offset;
    bool was_long = s->too_long || (int64_t)line->length > s->how.line_bytes_max;
    s->too_long = false;
    if (was_long && line->text.length > STREAM_HEAD_BYTES)
        line->text.length = STREAM_HEAD_BYTES;
    return was_long ? STREAM_long : STREAM_line;
}

/* The line in hand is longer than the bound: keep its head, drop what is held. */
static void
drop(struct stream *s)
{
    if (!s->too_long) {
        s->too_long = true;
        s->long_from = s->offset;
        buffer_clear(&s->head);
        buffer_add(&s->head, s->text.at + s->from,
                   s->text.length - s->from < STREAM_HEAD_BYTES ? s->text.length - s->from
                                                                : STREAM_HEAD_BYTES);
    }
    s->offset += s->text.length - s->from;
    buffer_free(&s->text);      /* the room, too: it grew to the bound */
    s->from = s->scanned = 0;
}

/* No more text will come: the last line, then what broke, then the end. */
static int
finish(struct stream *s, struct stream_line *line)
{
    size_t rest = s->text.length - s->from;
    bool   cut = s->main.inside && !s->main.broken;

    if (s->ended)
        return STREAM_end;
    if (s->main.broken || cut) {
        s->ended = true;
        give(s, s->text.length, 0, line);
        line->why = cut ? "the compressed data ends in the middle of a frame" : s->main.broken;
        return STREAM_broken;
    }
    if (rest > 0 || s->too_long)
        return give(s, s->text.length, 0, line);
    s->ended = true;
    return STREAM_end;
}

int
stream_next(struct stream *s, uint64_t size, bool final, struct stream_line *line, struct error *e)
{
    uint64_t limit;
    int      rc;

    *line = (struct stream_line){.text = span_text(""), .offset = s->offset, .next = s->offset};
    for (;;) {
        char *feed = s->text.length > s->scanned
                         ? memchr(s->text.at + s->scanned, '\n', s->text.length - s->scanned)
                         : NULL;
        if (feed)
            return give(s, (size_t)(feed - s->text.at), 1, line);
        s->scanned = s->text.length;
        if ((int64_t)(s->text.length - s->from) > s->how.line_bytes_max ||
            (s->too_long && s->text.length > s->from))
            drop(s);
        rc = find_format(s, size, final, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return STREAM_wait;
        rc = usable(s, size, final, &limit, e);
        if (rc == 0)
            rc = s->ended ? 0 : fill(s, limit, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return final || s->main.broken ? finish(s, line) : STREAM_wait;
    }
}

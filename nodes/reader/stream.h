/* stream: one file as lines with their offsets, whatever it is compressed with.
 *
 * Offsets count uncompressed bytes. Lines end at a line feed (a carriage return before it is
 * dropped); the last one may lack it once the stream is final. A line longer than line_bytes_max is
 * never held: its first bytes are shown and the rest is passed over. A growing file yields whole
 * lines, and a growing compressed one only whole frames (gzip: members), because a frame that is
 * still being written is not yet the input's last word. */
#ifndef NODES_READER_STREAM_H
#define NODES_READER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

#define STREAM_READ_BYTES (256 * 1024)  /* asked of the file at a time */
#define STREAM_HEAD_BYTES 4096          /* shown of a line that is too long */

struct stream;

enum stream_format { STREAM_auto, STREAM_plain, STREAM_gzip, STREAM_zstd };

enum stream_event {
    STREAM_line,   /* a line */
    STREAM_long,   /* a line longer than the bound: `text` is its head, `length` all of it */
    STREAM_broken, /* the rest cannot be decompressed; `text` is the line it broke off in, maybe
                      empty. STREAM_end follows */
    STREAM_wait,   /* nothing whole yet; only while the stream may grow */
    STREAM_end,
};

struct stream_line {
    struct span text;       /* until the next call; without the line feed */
    uint64_t    offset;     /* of its first byte */
    uint64_t    next;       /* offset after it: where reading goes on after a restart */
    uint64_t    length;     /* bytes of the line, which for STREAM_long is more than text holds */
    const char *why;        /* STREAM_broken */
};

struct stream_how {
    enum stream_format format;
    int64_t            line_bytes_max;
    bool               whole_frames;    /* of a growing compressed file */
};

/* Begin at `offset` (uncompressed), which an earlier `next` gave. -> ERROR_file. */
int stream_open(struct stream **s, const char *path, const struct stream_how *how, uint64_t offset,
                struct error *e);
void stream_close(struct stream *s);

/* `size`: bytes of the file that may be read now. `final`: there will be no more. -> enum
 * stream_event, or ERROR_file. */
int stream_next(struct stream *s, uint64_t size, bool final, struct stream_line *line,
                struct error *e);

int      stream_fd(const struct stream *s);

/* Bytes of the file read so far, and their XXH64: what a growing file may never change again. */
uint64_t stream_hashed(const struct stream *s);
uint64_t stream_hash(const struct stream *s);
/* Read the first `length` bytes again, as after a restart; stream_hash() then tells whether they
 * are as they were. Before the first stream_next(). -> ERROR_file; ERROR_input when the file has
 * fewer. */
int      stream_prime(struct stream *s, uint64_t length, struct error *e);

#endif

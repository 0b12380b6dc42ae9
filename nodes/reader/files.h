/* files: the inputs of a reader in their order, recorded so that they cannot change under a run.
 *
 * At first start the glob is sorted and every file's size and XXH64 are written to the store; at
 * later starts a file that is not as recorded is refused by name. A followed file may grow: what
 * was read of it is recorded with its hash and may not change; new files that match join at the
 * end; and the order in which pieces were taken (file, from, to: whole lines) is recorded too,
 * because that order is the input. */
#ifndef NODES_READER_FILES_H
#define NODES_READER_FILES_H

#include "graph/node.h"
#include "nodes/reader/spool.h"
#include "nodes/reader/stream.h"

#define FILES_MAX 1000000

struct file {
    char          *path;
    char          *name;        /* the path from the glob's fixed part on: what messages call it */
    uint64_t       size;        /* recorded, or at the end of a followed one */
    uint64_t       at;          /* consumed, uncompressed bytes */
    bool           done;
    bool           dirty;       /* `at` or `done` changed since they were saved */
    uint64_t       hashed, hash;/* followed: raw bytes read when saved, and their XXH64 */
    struct stream *stream;      /* while it is read */
};

struct files {
    char             *pattern;
    struct stream_how how;
    bool              follow;
    bool              final;    /* no input will come any more: sizes are final */
    struct spool     *spool;    /* the one file is its spool */
    int               count, room, current;
    int               ahead;    /* lines given and not yet took: no file ends before they are */
    struct file      *at;
    uint64_t          piece;    /* number of the piece in hand, from 1 */
    int               piece_file;
    uint64_t          piece_from, piece_to;
    bool              piece_dirty;
};

/* Expand a glob (with {a,b}) into sorted paths; files_free(). Nothing matches: none. -> ERROR_file,
 * ERROR_limit. */
int  files_glob(const char *pattern, char ***paths, int *count, struct error *e);
void files_free(char **paths, int count);
/* Can every one be read as a file? -> ERROR_file with the first that cannot. */
int  files_readable(char **paths, int count, struct error *e);

/* Find and record, or load the record and hold the files against it. */
int files_open(struct files *f, struct node *n, const char *pattern, const struct stream_how *how,
               bool follow, struct error *e);
void files_close(struct files *f);
void files_save(struct files *f, struct node *n);       /* before a commit */
/* Followed: look for new files. -> 0 or an error. */
int  files_rescan(struct files *f, struct node *n, struct error *e);
/* `sluice end`: sizes become final and are recorded; a later part of a file is not read. */
int  files_end(struct files *f, struct node *n, struct error *e);

/* The next line of any file. -> enum stream_event (STREAM_wait only when followed or spooled;
 * STREAM_end: all are read). *file is its file. The line counts as consumed with the next call of
 * files_took(). */
int  files_next(struct files *f, struct stream_line *line, struct file **file, struct error *e);
void files_took(struct files *f, struct node *n, struct file *file, const struct stream_line *line);

#endif

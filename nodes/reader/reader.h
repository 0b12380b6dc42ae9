/* reader: what the files of this kind share: its options, its state, and what both are made of. */
#ifndef NODES_READER_READER_H
#define NODES_READER_READER_H

#include "graph/node.h"
#include "nodes/reader/files.h"
#include "nodes/reader/grade.h"
#include "nodes/reader/group.h"
#include "nodes/reader/inject.h"
#include "nodes/reader/line.h"

enum { PORT_out };

struct reader_options {
    const char *path;
    bool        follow;
    double      poll;
    const char *group_by;
    int64_t     group_size;
    int64_t     open_groups_max;
    bool        drop_equal;
    int         verify;
    struct texts verify_command, verify_env;
    const char  *verify_folder;
    double       verify_timeout;
    int64_t      verify_memory, verify_jobs;
    bool         verify_network;
    const char *prompt_field, *response_field, *answer_field, *reward_field, *id_field;
    const char *logps_field, *token_ids_field, *weight_field, *finish_field, *injected_field;
    const char *steps_field;
    const char *inject_path;
    double      inject_accuracy, inject_above;
    int64_t     inject_most;
    int64_t     line_bytes_max;
    int         format;
};

struct reader {
    struct files    files;
    struct groups  *groups;
    struct line_how how;
    struct inject  *inject;         /* NULL: none */
    struct grader  *grader;         /* verify: exec; else NULL */
    uint64_t        next_ordinal;
    bool            dirty;          /* something to save with the next commit */
    bool            read_all;       /* no input is left */
    bool            finished;
    bool            rescan;         /* the timer came: look for new files */
    struct arena    arena;
};

/* How a line is read; how one of inject_path is, which brings its reward; how the program of verify: exec is run. */
struct line_how  reader_how(const struct reader_options *o);
struct line_how  reader_inject_how(const struct reader_options *o);
struct child_how reader_child(const struct reader_options *o);

int reader_check(struct check *c, struct error *e);

#endif

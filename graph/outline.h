/* outline: a YAML file as a tree with the place of every value. libyaml scans; this file bounds it.
 *
 * One document; no anchors, aliases, tags or merge keys (a topology needs none, and without them
 * nothing can grow: a file's tree is never larger than the file). Keys are scalars and unique. */
#ifndef GRAPH_OUTLINE_H
#define GRAPH_OUTLINE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"

#define OUTLINE_BYTES_MAX (1 << 20)    /* of a file */
#define OUTLINE_DEPTH_MAX 16
#define OUTLINE_NODES_MAX 65536
#define OUTLINE_KEYS_MAX  1024       /* of one mapping: each is compared with those before it */

enum outline_kind { OUTLINE_scalar, OUTLINE_sequence, OUTLINE_mapping };

struct outline {
    enum outline_kind kind;
    int            line, column;    /* from 1; of the value itself */
    bool           plain;           /* a scalar without quotes */
    bool           expanded;        /* ${...} was replaced; for the caller */
    char          *text;            /* scalar */
    int            count;           /* elements, or pairs */
    struct outline  **items;           /* elements, or values of the pairs */
    struct outline  **keys;            /* mapping: scalars */
};

/* -> the tree, outline_free() it; or NULL with ERROR_topology and the place in *line and *column (0
 * when the file cannot be read at all). An empty file gives an empty mapping. */
struct outline *outline_read(const char *path, int *line, int *column, struct error *e);
void         outline_free(struct outline *y);

struct outline *outline_find(const struct outline *mapping, const char *key); /* NULL: not there */

#endif

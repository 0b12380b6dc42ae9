/* metrics: schemas/metrics.def as a table. */
#ifndef GRAPH_METRICS_H
#define GRAPH_METRICS_H

#include <stdbool.h>
#include <stdio.h>

#include "graph/node.h"

struct metric_row {
    const char *name, *unit, *meaning;
    bool        counter;    /* kept in the store, only grows; else a gauge: now */
};

const struct metric_row *metric_row(enum metric m);
enum metric              metric_find(const char *name);     /* METRIC_count when unknown */
void                     metrics_manual(FILE *out);         /* Markdown */

#endif

/* metrics: see metrics.h. */
#include "graph/metrics.h"

#include <string.h>

enum { gauge = 0, counter = 1 };

static const struct metric_row rows[METRIC_count] = {
#define METRIC(name, unit, kind, meaning) [METRIC_##name] = {#name, unit, meaning, kind},
#include "schemas/metrics.def"
#undef METRIC
};

const struct metric_row *
metric_row(enum metric m)
{
    return &rows[m];
}

enum metric
metric_find(const char *name)
{
    int m = 0;

    while (m < METRIC_count && strcmp(rows[m].name, name) != 0)
        m++;
    return (enum metric)m;
}

void
metrics_manual(FILE *out)
{
    fprintf(out, "| metric | unit | kind | meaning |\n|---|---|---|---|\n");
    for (int m = 0; m < METRIC_count; m++)
        fprintf(out, "| `%s` | %s | %s | %s |\n", rows[m].name, rows[m].unit,
                rows[m].counter ? "counter" : "gauge", rows[m].meaning);
}

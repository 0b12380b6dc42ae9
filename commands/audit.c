/* audit: P1 for people and for scripts. */
#include <stdio.h>
#include <stdlib.h>

#include "commands/flags.h"
#include "commands/talk.h"
#include "graph/audit.h"

static const char about[] =
    "Checks that every ordinal the reader emitted is found exactly once at every node: as a\n"
    "sample, as a closing, or in flight. Works while the run lives and at rest. Exit code 1\n"
    "when an ordinal is missing or doubled; it is named.";

static void
show(const json_t *report)
{
    const char *id, *reason;
    json_t *row, *count, *line;
    size_t i;
    printf("%lld ordinals read\n%-20s %10s %10s %10s  reasons\n",
           (long long)json_integer_value(json_object_get(report, "read")), "node", "samples",
           "closed", "in flight");
    json_object_foreach(json_object_get(report, "nodes"), id, row) {
        long long closed = 0;
        json_object_foreach(json_object_get(row, "closed"), reason, count)
            closed += json_integer_value(count);
        printf("%-20s %10lld %10lld %10lld ", id,
               (long long)json_integer_value(json_object_get(row, "samples")), closed,
               (long long)json_integer_value(json_object_get(row, "in_flight")));
        json_object_foreach(json_object_get(row, "closed"), reason, count)
            printf(" %s %lld", reason, (long long)json_integer_value(count));
        putchar('\n');
    }
    json_array_foreach(json_object_get(report, "problems"), i, line)
        printf("%s\n", json_string_value(line));
    puts(json_is_true(json_object_get(report, "ok")) ? "ok: every ordinal is found exactly once"
                                                     : "NOT OK: ordinals are missing or doubled");
}

int
command_audit(int argc, char **argv)
{
    bool json = false;
    const struct flag flags[] = {{FLAG_on, 0, "json", NULL, &json, "as JSON"}, {.kind = FLAG_end}};
    struct words words;
    int code = flags_read(flags, "audit [RUN] [--json]", about, argc, argv, 0, 1, &words);
    if (code >= 0)
        return code;
    struct error e = {0};
    struct talk t;
    json_t *report = NULL;
    int rc = talk_open(&t, words.at[0], &e);
    if (rc == 0)
        rc = audit_run(&t.place, &t.plan, &report, &e);
    talk_close(&t);
    if (rc != 0)
        return talk_fail("audit", &e);
    bool ok = json_is_true(json_object_get(report, "ok"));
    if (talk_json_wanted(json)) {
        json_t *line;
        size_t i;
        json_array_foreach(json_object_get(report, "problems"), i, line)
            fprintf(stderr, "sluice audit: %s\n", json_string_value(line));
        json_object_del(report, "problems");
        json_dumpf(report, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        show(report);
    }
    json_decref(report);
    return ok ? 0 : 1;
}

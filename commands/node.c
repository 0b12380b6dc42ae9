/* sluice node RUN ID REPLICA [--crashed]: one process of a run, as the supervisor starts it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "graph/plan.h"
#include "graph/runner.h"

int command_node(int argc, char **argv);

static int
run(struct plan *p, const struct place *place, const char *id, int replica, bool crashed, struct error *e)
{
    int index = plan_find(p, id);
    if (index < 0)
        return error_set(e, ERROR_usage, "the plan has no node '%s'", id);
    if (replica < 0 || replica >= plan_replicas(&p->nodes[index]))
        return error_set(e, ERROR_usage, "node '%s' has %d replicas, no replica %d", id,
                         plan_replicas(&p->nodes[index]), replica);
    char *path = place_log(place, id, replica), *folder = xprint("%s/logs", place->run);
    struct log *log = NULL;
    int rc = place_folder(folder, e);
    if (rc == 0) {
        log = log_open(path, id, replica, LOG_info, 0, 0, e);
        rc = log ? 0 : e->code;
    }
    if (rc == 0) {
        struct runner_setup s = {p, index, replica, place, log, crashed};
        rc = runner_run(&s, e);
        struct rusage used = {0};
        getrusage(RUSAGE_SELF, &used);
        log_event(log, rc == 0 ? LOG_info : LOG_error, "stop", "%s; at most %ld KiB resident",
                  rc == 0 ? "in good order" : e->text, used.ru_maxrss);
    }
    log_close(log);
    free(path);
    free(folder);
    return rc;
}

/* argv[0] is "node". */
int
command_node(int argc, char **argv)
{
    struct error e = {0};
    struct place place = {NULL, NULL};
    struct plan plan = {0};
    bool crashed = argc == 5 && strcmp(argv[4], "--crashed") == 0;
    char *end = NULL;
    long replica = argc >= 4 ? strtol(argv[3], &end, 10) : -1;
    if ((argc != 4 && !crashed) || replica < 0 || replica >= PLAN_REPLICAS_MAX || *end) {
        fprintf(stderr, "usage: sluice node RUN ID REPLICA [--crashed]\n");
        return 2;
    }
    int rc = place_open(&place, argv[1], &e);
    if (rc == 0)
        rc = plan_load(&plan, place.run, &e);
    if (rc == 0)
        rc = run(&plan, &place, argv[2], (int)replica, crashed, &e);
    if (rc != 0)
        fprintf(stderr, "sluice node %s %s: %s\n", argv[2], argv[3], e.text);
    plan_free(&plan);
    place_close(&place);
    return rc == 0 ? 0 : error_exit(rc);
}

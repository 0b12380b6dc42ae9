/* exec: what the files of this kind share: its options, and what is made of them. */
#ifndef NODES_EXEC_EXEC_H
#define NODES_EXEC_EXEC_H

#include "nodes/child.h"
#include "nodes/exec/talk.h"

#define EXEC_IN_FLIGHT_MAX 1024

struct exec_options {
    struct texts command, in, out, env, files;
    const char  *folder;
    int          protocol;
    int64_t      in_flight, attempts, message_bytes, memory;
    double       timeout, start_timeout;
};

extern const struct option exec_option_rows[];
extern const struct port   exec_ports[];    /* of a node that declares none: what stands in the manual */

struct child_how exec_child(const struct exec_options *o);
char            *exec_file(const struct exec_options *o, const char *file);  /* from `folder`; free() it */

int exec_declare(struct check *c, struct port **ports, struct error *e);
int exec_check(struct check *c, struct error *e);
int exec_probe(const void *options, struct buffer *told, struct error *e);

#endif

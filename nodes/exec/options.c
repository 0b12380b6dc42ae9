/* options: what an exec node is told, the ports that stand in it, and whether it can work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nodes/exec/exec.h"
#include "nodes/exec/probe.h"

#define PORT_NAME_MAX 40

enum { PORT_in, PORT_votes };

static const char *const protocol_names[] = {"json", "msgpack", NULL};

const struct option exec_option_rows[] = {
    OPT_TEXTS(struct exec_options, command, FIXED, NULL,
              "the program and its arguments; a program with a / in its name starts at `folder`, another is "
              "looked for in PATH"),
    OPT_PATH(struct exec_options, folder, FIXED, ".", "where the program runs"),
    OPT_PAIRS(struct exec_options, in, FIXED, "in=steps",
              "inputs, {port: message}; after the message may stand many (several links) and optional"),
    OPT_PAIRS(struct exec_options, out, FIXED, "votes=vote",
              "outputs, {port: message}; {}: it ends here, as a sink does"),
    OPT_TEXTS(struct exec_options, files, FIXED, "",
              "files the answers depend on, from `folder` (the program's source, its model): they must be there, and a "
              "run goes on only with the ones it began with"),
    OPT_TEXTS(struct exec_options, env, FIXED, "",
              "names of environment variables that the program gets beside PATH, HOME, USER, LANG, "
              "LC_ALL, TZ and TMPDIR"),
    OPT_CHOICE(struct exec_options, protocol, FIXED, "json", protocol_names,
               "json: a line for each message; msgpack: four bytes with its length, then so many"),
    OPT_INT(struct exec_options, in_flight, LIVE, "4", 1, EXEC_IN_FLIGHT_MAX,
            "messages that may be with the program at once; replicas run more programs"),
    OPT_TIME(struct exec_options, timeout, LIVE, "60s", 0.01, 86400,
             "for one message; a program that is silent for longer while it is asked is ended and started again"),
    OPT_TIME(struct exec_options, start_timeout, LIVE, "10m", 0.01, 86400,
             "from its start until it says that it is ready"),
    OPT_INT(struct exec_options, attempts, FIXED, "3", 1, 100,
            "failures on one message alone before it is given up: a dead letter, and in place of a vote an abstention"),
    OPT_SIZE(struct exec_options, message_bytes, FIXED, "16MiB", 1024, 64 << 20,
             "of one message to or from the program"),
    OPT_SIZE(struct exec_options, memory, FIXED, "0", 0, 1LL << 50,
             "address space of the program; 0: no limit"),
    OPT_END
};

/* What stands in the manual: the ports of a node that declares none. */
const struct port exec_ports[] = {
    [PORT_in] = {PORT_IN, "in", MESSAGE_steps, 0, "as option `in` declares"},
    [PORT_votes] = {PORT_OUT, "votes", MESSAGE_vote, 0, "as option `out` declares"},
    {.direction = PORT_END}
};

/* ---- ports ---- */

static bool
name_fits(const char *name, size_t length)
{
    return length > 0 && length <= PORT_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") >= length;
}

/* "name=message many optional" */
static int
port_read(struct check *c, const char *option, const char *pair, enum port_direction direction,
          struct port *p, char *name, struct error *e)
{
    const char *equals = strchr(pair, '='), *names[MESSAGE_count];
    size_t      length = equals ? (size_t)(equals - pair) : 0;
    char        words[3][32] = {"", "", ""};
    int         count = equals ? sscanf(equals + 1, "%31s %31s %31s", words[0], words[1], words[2]) : 0;

    if (!name_fits(pair, length))
        return check_fail(c, option, e, "'%.60s': name a port with a-z, 0-9, _ and -, %d at most", pair,
                          PORT_NAME_MAX);
    memcpy(name, pair, length);
    *p = (struct port){direction, name, message_find(words[0]), 0, "as declared in the topology"};
    if (count < 1 || p->message == MESSAGE_any) {
        for (int m = 1; m < MESSAGE_count; m++)
            names[m - 1] = message_name((enum message)m);
        names[MESSAGE_count - 1] = NULL;
        const char *near = nearest(words[0], names);
        return check_fail(c, option, e, near ? "port '%s': '%s' is no message; did you mean '%s'?"
                                             : "port '%s': '%s' is no message; `sluice help` names "
                                               "them at the ports of each kind", name, words[0], near);
    }
    for (int i = 1; i < count; i++) {
        bool many = strcmp(words[i], "many") == 0;

        if (direction == PORT_OUT || (!many && strcmp(words[i], "optional") != 0))
            return check_fail(c, option, e, "port '%s': '%s' after the message%s", name, words[i],
                              direction == PORT_OUT ? " of an output" : "; many or optional may stand there");
        p->flags |= many ? PORT_MANY : PORT_OPTIONAL;
    }
    return 0;
}

static int
ports_read(struct check *c, const char *option, const struct texts *pairs,
           enum port_direction direction, struct port *ports, int *count, char **names,
           struct error *e)
{
    for (int i = 0; i < pairs->count; i++) {
        int rc = *count >= TALK_PORTS_MAX
                     ? check_fail(c, option, e, "more than %d ports", TALK_PORTS_MAX)
                     : port_read(c, option, pairs->at[i], direction, &ports[*count], *names, e);

        if (rc != 0)
            return rc;
        for (int k = 0; k < *count; k++)
            if (strcmp(ports[k].name, *names) == 0)
                return check_fail(c, option, e, "port '%s' is there twice", *names);
        *names += strlen(*names) + 1;
        ++*count;
    }
    return 0;
}

int
exec_declare(struct check *c, struct port **out, struct error *e)
{
    const struct exec_options *o = c->options;
    size_t       bytes = (size_t)TALK_PORTS_MAX * (PORT_NAME_MAX + 1);
    struct port *ports = xalloc((TALK_PORTS_MAX + 1) * sizeof(*ports) + bytes);
    char        *names = (char *)(ports + TALK_PORTS_MAX + 1);
    int          count = 0, rc;

    rc = o->in.count == 0 ? check_fail(c, "in", e, "an exec node needs an input") : 0;
    if (rc == 0)
        rc = ports_read(c, "in", &o->in, PORT_IN, ports, &count, &names, e);
    if (rc == 0)
        rc = ports_read(c, "out", &o->out, PORT_OUT, ports, &count, &names, e);
    if (rc != 0) {
        free(ports);
        return rc;
    }
    ports[count].direction = PORT_END;
    *out = ports;
    return 0;
}

/* ---- checking and starting ---- */

struct child_how
exec_child(const struct exec_options *o)
{
    return (struct child_how){
        .command = o->command, .folder = o->folder, .env = o->env, .memory = o->memory};
}

char *
exec_file(const struct exec_options *o, const char *file)
{
    return file[0] == '/' ? xtext(file) : xprint("%s/%s", o->folder, file);
}

int
exec_check(struct check *c, struct error *e)
{
    const struct exec_options *o = c->options;
    struct child_how           how = exec_child(o);
    struct error               why;

    if (access(o->folder, X_OK) != 0)
        return check_fail(c, "folder", e, "'%s' cannot be entered", o->folder);
    if (child_check(&how, &why) != 0)
        return check_fail(c, "command", e, "%s", why.text);
    for (int i = 0; i < o->env.count; i++)
        if (strchr(o->env.at[i], '=') || !o->env.at[i][0])
            return check_fail(c, "env", e, "'%.*s': name variables; a value would be written into the run",
                              (int)strcspn(o->env.at[i], "="), o->env.at[i]);
    for (int i = 0; i < o->files.count; i++) {
        char *path = exec_file(o, o->files.at[i]);
        int   rc = access(path, R_OK) == 0 ? 0 : check_fail(c, "files", e, "'%s' cannot be read", path);

        free(path);
        if (rc != 0)
            return rc;
    }
    return 0;
}

#define PROBE_SECONDS 60.0      /* `sluice check --online` waits for a program, whatever start_timeout is */

int
exec_probe(const void *options, struct buffer *told, struct error *e)
{
    const struct exec_options *o = options;
    struct check               c = {.node = "probe", .options = o};
    struct child_how           how = exec_child(o);
    struct port               *ports = NULL;
    int                        rc = exec_declare(&c, &ports, e);

    if (rc == 0) {
        struct talk_self self = {"probe", 0, (int)o->in_flight, 0, ports};
        double           seconds = o->start_timeout < PROBE_SECONDS ? o->start_timeout : PROBE_SECONDS;

        rc = program_probe(&how, (enum talk_format)o->protocol, &self, seconds, told, e);
    }
    free(ports);
    return rc;
}

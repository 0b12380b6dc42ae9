/* check: what a reader's options mean, and whether they can work. */
#include <string.h>

#include "nodes/reader/reader.h"

struct line_how
reader_how(const struct reader_options *o)
{
    return (struct line_how){
        .prompt_field = o->prompt_field,
        .response_field = o->response_field,
        .answer_field = o->answer_field,
        .reward_field = o->reward_field,
        .id_field = o->id_field,
        .logps_field = o->logps_field,
        .token_ids_field = o->token_ids_field,
        .weight_field = o->weight_field,
        .finish_field = o->finish_field,
        .injected_field = o->injected_field,
        .steps_field = o->steps_field,
        .verify = (enum line_verify)o->verify,
        .group = strcmp(o->group_by, "prompt") == 0 ? LINE_group_prompt
                 : strcmp(o->group_by, "none") == 0 ? LINE_group_none
                                                    : LINE_group_field,
        .group_field = o->group_by,
    };
}

/* Answers that stand in for others bring their rewards: no program is run for them. */
struct line_how
reader_inject_how(const struct reader_options *o)
{
    struct line_how how = reader_how(o);

    if (how.verify == LINE_verify_exec)
        how.verify = LINE_verify_none;
    return how;
}

struct child_how
reader_child(const struct reader_options *o)
{
    return (struct child_how){.command = o->verify_command, .folder = o->verify_folder,
                              .env = o->verify_env, .memory = o->verify_memory,
                              .cpu = o->verify_timeout, .no_network = !o->verify_network};
}

static int
check_grade(struct check *c, const struct reader_options *o, struct error *e)
{
    struct child_how how = reader_child(o);
    struct error     why;

    if (o->verify != LINE_verify_exec)
        return o->verify_command.count == 0
                   ? 0 : check_fail(c, "verify_command", e, "it is run with verify: exec only");
    if (o->verify_command.count == 0)
        return check_fail(c, "verify", e, "exec needs verify_command");
    if (child_check(&how, &why) != 0)
        return check_fail(c, "verify_command", e, "%s", why.text);
    for (int i = 0; i < o->verify_env.count; i++)
        if (strchr(o->verify_env.at[i], '='))
            return check_fail(c, "verify_env", e, "'%.*s': name variables; a value would be written into the run",
                              (int)strcspn(o->verify_env.at[i], "="), o->verify_env.at[i]);
    return 0;
}

int
reader_check(struct check *c, struct error *e)
{
    const struct reader_options *o = c->options;
    struct error                 why;
    char                       **paths;
    int                          count, rc;

    if (check_grade(c, o, e) != 0)
        return e->code;
    if (!o->group_by[0])
        return check_fail(c, "group_by", e, "it is prompt, none, or the name of a field");
    if (strcmp(o->group_by, "none") == 0 && o->group_size != 0)
        return check_fail(c, "group_size", e,
                          "with group_by none each line is a group; leave group_size away");
    if (o->inject_path[0]) {
        struct line_how how = reader_inject_how(o);
        struct inject  *inject;

        if (how.group == LINE_group_none)
            return check_fail(c, "inject_path", e, "with group_by none no group has a key to find "
                              "rollouts by");
        if (inject_open(o->inject_path, &how, o->inject_above, &inject, &why) != 0)
            return check_fail(c, "inject_path", e, "%s", why.text);
        inject_free(inject);
    }
    if (spool_is_pipe(o->path))
        return 0;
    if (files_glob(o->path, &paths, &count, &why) != 0)
        return check_fail(c, "path", e, "%s", why.text);
    rc = count == 0 && !o->follow ? error_set(&why, ERROR_file, "%s: no such file", o->path)
                                  : files_readable(paths, count, &why);
    files_free(paths, count);
    return rc == 0 ? 0 : check_fail(c, "path", e, "%s", why.text);
}

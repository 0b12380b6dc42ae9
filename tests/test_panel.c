/* panel: judges of the command line, and that the topology made of them means what was said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/panel.h"
#include "graph/plan.h"

static void
judges_are_taken_apart(void **state)
{
    struct panel p = {0};
    struct error e = {0};

    (void)state;
    assert_int_equal(panel_add(&p, "calc_judge", &e), 0);
    assert_int_equal(panel_add(&p, "calc_judge:reasons=false", &e), 0);
    assert_int_equal(
        panel_add(&p, "llm_judge:id=critic,url=http://h:1/v1?a=b\\,c,replicas=2,model=", &e), 0);
    assert_string_equal(p.at[0].id, "calc_judge");
    assert_string_equal(p.at[1].id, "calc_judge_2");
    assert_string_equal(p.at[1].options[0].name, "reasons");
    assert_string_equal(p.at[1].options[0].value, "false");
    assert_string_equal(p.at[2].id, "critic");
    assert_string_equal(p.at[2].replicas, "2");
    assert_int_equal(p.at[2].count, 2);
    assert_string_equal(p.at[2].options[0].value, "http://h:1/v1?a=b,c");
    assert_string_equal(p.at[2].options[1].value, "");
    /* A program of the user's stands where the user does, not beside the topology. */
    char *here = getcwd(NULL, 0), *folder = xprint("%s/.", here);
    assert_int_equal(panel_add(&p, "exec:command=sh,command=-c,command=cat", &e), 0);
    assert_int_equal(p.at[3].count, 4);
    assert_string_equal(p.at[3].options[3].name, "folder");
    assert_string_equal(p.at[3].options[3].value, folder);
    free(folder);
    free(here);
    panel_free(&p);
}

static void
mistakes_are_told(void **state)
{
    static const char *const bad[][2] = {
        {"", "no kind ''"},
        {"calc_juge", "did you mean 'calc_judge'?"},
        {"calc_judge:reasons", "'reasons' is not option=value"},
        {"calc_judge:=x", "is not option=value"},
        {"calc_judge:a=b,,c=d", "is not option=value"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct panel p = {0};
        struct error e = {0};
        if (panel_add(&p, bad[i][0], &e) != ERROR_usage || !strstr(e.text, bad[i][1]))
            fail_msg("'%s': '%s' does not say '%s'", bad[i][0], e.text, bad[i][1]);
        panel_free(&p);
    }
    struct panel p = {0};
    struct error e = {0};
    for (int i = 0; i < PANEL_JUDGES_MAX; i++)
        assert_int_equal(panel_add(&p, "calc_judge", &e), 0);
    assert_int_equal(panel_add(&p, "calc_judge", &e), ERROR_usage);
    panel_free(&p);
}

static const char *
value_of(const struct plan *plan, const char *node, const char *option)
{
    const struct plan_node *n = &plan->nodes[plan_find(plan, node)];

    for (int i = 0; i < n->option_count; i++)
        if (strcmp(n->options[i].name, option) == 0)
            return n->options[i].values[0];
    return "";
}

/* Through the file, as judge-eval does it. */
static void
the_topology_means_what_was_said(void **state)
{
    char dir[] = "/tmp/test_panel.XXXXXX", *yaml, *cases;
    struct panel p = {0};
    struct buffer text = {0}, problems = {0};
    struct plan plan = {0};
    struct error e = {0};

    (void)state;
    assert_non_null(mkdtemp(dir));
    cases = xprint("%s/odd \"name\".jsonl", dir);
    yaml = xprint("%s/flow.yaml", dir);
    FILE *f = fopen(cases, "w");
    assert_non_null(f);
    fputs("{\"prompt\":\"p\",\"steps\":[\"s\"],\"reward\":0}\n", f);
    fclose(f);
    assert_int_equal(panel_add(&p, "calc_judge:reasons=false", &e), 0);
    assert_int_equal(
        panel_add(&p, "llm_judge:id=critic,replicas=3,url=http://h:1/v1,model=a\\,\"b\" \\c", &e),
        0);
    panel_topology(&p, cases, "any", "1", NULL, &text);
    f = fopen(yaml, "w");
    assert_non_null(f);
    fwrite(text.at, 1, text.length, f);
    fclose(f);
    if (topology_read(yaml, 0, NULL, &plan, &problems, &e) != 0)
        fail_msg("%.*s", (int)problems.length, problems.at);
    assert_string_equal(value_of(&plan, "solutions", "path"), cases);
    assert_string_equal(value_of(&plan, "critic", "model"), "a,\"b\" \\c");
    assert_string_equal(value_of(&plan, "calc_judge", "reasons"), "false");
    assert_string_equal(value_of(&plan, PANEL_CONSENSUS, "rule"), "any");
    assert_string_equal(value_of(&plan, PANEL_CONSENSUS, "threshold"), "");
    assert_int_equal(plan_replicas(&plan.nodes[plan_find(&plan, "critic")]), 3);
    assert_int_equal(plan.nodes[plan_find(&plan, PANEL_SINK)].link_count, 3);
    plan_free(&plan);
    panel_free(&p);
    buffer_free(&text);
    buffer_free(&problems);
    unlink(cases);
    unlink(yaml);
    rmdir(dir);
    free(cases);
    free(yaml);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_are_taken_apart),
        cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(the_topology_means_what_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

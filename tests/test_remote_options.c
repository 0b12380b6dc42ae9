/* remote_options: what check() refuses, where the key comes from, and what no key may become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "nodes/remote/remote_options.h"
#include "tests/harness.h"

static const char *const links[] = {"in", "steps", NULL};

static char folder[] = "/tmp/sluice-key.XXXXXX";

static const char *
key_file(const char *text, unsigned mode)
{
    static char path[100];
    FILE *f;

    snprintf(path, sizeof(path), "%s/key", folder);
    unlink(path);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static const struct {
    const char *options[6];
    const char *words;
} refused[] = {
    {{"headers", "no colon"}, "not of the form"},
    {{"headers", ": empty"}, "not of the form"},
    {{"headers", "A b: c"}, "not of the form"},
    {{"headers", "X: a\r\nAuthorization: Bearer sk-1"}, "control character"},
    {{"headers", "Authorization: Bearer sk-planted"}, "api_key_env"},
    {{"headers", "X-Api-Key: sk-planted"}, "api_key_env"},
    {{"headers", "My-Key: sk-planted", "api_key_header", "my-key"}, "api_key_env"},
    {{"headers", "Cookie: session=sk-planted"}, "api_key_env"},
    {{"headers", "Content-Length: 5"}, "by every call itself"},
    {{"api_key_header", "a b"}, "no name of a header"},
    {{"body", "{"}, "not JSON"},
    {{"body", "[1]"}, "a JSON object"},
    {{"body", "{\"stream\": true}"}, "'stream' is set by every call"},
    {{"body", "{\"model\": \"other\"}"}, "'model' is set by every call"},
    {{"body", "{\"max_tokens\": null}"}, "'max_tokens' is a whole number"},
    {{"body", "{\"max_tokens\": 9223372036854775807}"}, "'max_tokens' is a whole number"},
    {{"body", "{\"max_completion_tokens\": 0}"}, "'max_completion_tokens' is a whole number"},
    {{"body", "{\"n\": 5000}"}, "'n' is a whole number"},
    {{"body", "{\"a\": 1, \"a\": 2}"}, "not JSON"},
    {{"url", "http://ok/v1, nonsense"}, "URL"},
    {{"url", " , "}, "url of a server"},
    {{"api_key_file", "/nonexistent/key"}, "No such file"},
    {{"ca_file", "/nonexistent/ca.pem"}, "No such file"},
    {{"http_version", "3"}, "http_version"},
};

static void
what_leaks_or_misleads_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const char *options[12] = {"model", "m", "url", "http://127.0.0.1:1/v1"};
        struct error e = {0};
        int n = strcmp(refused[i].options[0], "url") == 0 ? 2 : 4;
        for (int k = 0; k < 6 && refused[i].options[k]; k++)
            options[n++] = refused[i].options[k];
        options[n] = NULL;
        if (harness_open("llm_judge", links, options, &e))
            fail_msg("row %zu was not refused", i);
        if (!strstr(e.text, refused[i].words))
            fail_msg("row %zu: '%s'", i, e.text);
        assert_null(strstr(e.text, "sk-planted"));
    }
}

static int
read_key(const char *file, char *key, struct error *e)
{
    struct remote_options o = {.api_key_env = "", .api_key_file = file};

    return remote_key(&o, key, e);
}

static void
a_key_file_is_its_owners_alone(void **state)
{
    char key[REMOTE_KEY_MAX];
    struct error e = {0};

    (void)state;
    assert_int_equal(read_key(key_file("sk-planted-key\n", 0600), key, &e), 0);
    assert_string_equal(key, "sk-planted-key");
    assert_int_equal(read_key(key_file("sk-planted-key \r\n\n", 0400), key, &e), 0);
    assert_string_equal(key, "sk-planted-key");
    for (unsigned mode = 0604; mode <= 0640; mode += 034) { /* others, group */
        assert_int_equal(read_key(key_file("sk-planted-key", mode), key, &e), ERROR_file);
        assert_non_null(strstr(e.text, "chmod 600"));
        assert_string_equal(key, "");
    }
    assert_int_equal(read_key(folder, key, &e), ERROR_file);
    assert_int_equal(read_key("/nonexistent/key", key, &e), ERROR_file);
}

static void
what_is_no_key_is_told_without_a_byte_of_it(void **state)
{
    static const char *const bad[] = {"", "\n", "sk planted", "sk-planted\nX-Evil: 1",
                                      "sk-planted\x80"};
    char key[REMOTE_KEY_MAX];
    struct error e = {0};
    struct remote_options o = {.api_key_env = "SLUICE_TEST_KEY", .api_key_file = ""};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_key(key_file(bad[i], 0600), key, &e), ERROR_input);
        assert_null(strstr(e.text, "planted"));
        assert_string_equal(key, "");
    }
    unsetenv("SLUICE_TEST_KEY");
    assert_int_equal(remote_key(&o, key, &e), ERROR_input);
    assert_non_null(strstr(e.text, "SLUICE_TEST_KEY is not set"));
    setenv("SLUICE_TEST_KEY", "sk-planted\r\nX: y", 1);
    assert_int_equal(remote_key(&o, key, &e), ERROR_input);
    assert_null(strstr(e.text, "planted"));
    setenv("SLUICE_TEST_KEY", "sk-planted", 1);
    assert_int_equal(remote_key(&o, key, &e), 0);
    assert_string_equal(key, "sk-planted");
    o.api_key_env = "";
    assert_int_equal(remote_key(&o, key, &e), 0);
    assert_string_equal(key, "");
}

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(void **state)
{
    (void)state;
    unlink(key_file("", 0600));
    return rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leaks_or_misleads_is_refused),
        cmocka_unit_test(a_key_file_is_its_owners_alone),
        cmocka_unit_test(what_is_no_key_is_told_without_a_byte_of_it),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

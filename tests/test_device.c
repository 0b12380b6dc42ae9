/* The loader: what it says where something is missing, and that it then loads nothing; a device
 * that is simulated, and its faults. */
#include <dlfcn.h>
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

#include "base/memory.h"
#include "kernels/device.h"

static char *
whole_path(const char *path)
{
    char *whole = realpath(path, NULL);

    if (whole == NULL)
        fail_msg("there is no '%s'", path);
    return whole;
}

static void
name_library(const char *path)
{
    char *whole = whole_path(path);

    setenv("SLUICE_CUDA", whole, 1);
    free(whole);
}

/* The folder of this program. */
static char *
own_folder(void)
{
    char *folder = whole_path("/proc/self/exe");

    *strrchr(folder, '/') = '\0';
    return folder;
}

/* A link to the file as the library where the loader looks first, or second. */
static void
put_beside(const char *way, const char *file)
{
    char *own = own_folder(), *folder = xprint("%s%s", own, way);
    char *beside = xprint("%s/libsluice-cuda.so", folder), *target = whole_path(file);

    mkdir(folder, 0777);
    assert_int_equal(symlink(target, beside), 0);
    free(own);
    free(folder);
    free(beside);
    free(target);
}

/* Links alone: a library that is there stays. */
static void
remove_beside(const char *way)
{
    char *own = own_folder(), *beside = xprint("%s%s/libsluice-cuda.so", own, way), target[8];

    if (readlink(beside, target, sizeof target) >= 0)
        unlink(beside);
    free(own);
    free(beside);
}

/* Every test begins without a word of the environment and without a library beside it. */
static int
forget(void **state)
{
    static const char *const names[] = {"SLUICE_CUDA", "SLUICE_SIMT_MEMORY", "SLUICE_SIMT_LOSE",
                                        "SLUICE_SIMT_DEVICES", "SLUICE_SIMT_COMPUTE",
                                        "SLUICE_SIMT_DRIVER",
                                        "CUDA_VISIBLE_DEVICES"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    remove_beside("");
    remove_beside("/../lib");
    return 0;
}

static int
has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

    if (driver != NULL)
        dlclose(driver);
    return driver != NULL;
}

/* Is a file whose name has this word mapped into the process? */
static int
is_mapped(const char *word)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4096];
    int found = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        char *path = strchr(line, '/');

        found |= path != NULL && strstr(strrchr(path, '/'), word) != NULL;
    }
    fclose(maps);
    return found;
}

static void
refused(const char *choice, int code, const char *words)
{
    struct device *d = (struct device *)1;
    struct error e = {0};

    assert_int_equal(device_open(choice, &d, &e), code);
    assert_null(d);
    assert_int_equal(e.code, code);
    if (strstr(e.text, words) == NULL || strstr(e.text, choice) == NULL)
        fail_msg("'%s' does not say '%s' of '%s'", e.text, words, choice);
}

static void
becomes_the_processor(const char *choice)
{
    struct device *d = (struct device *)1;
    struct error e = {0};

    assert_int_equal(device_open(choice, &d, &e), 0);
    assert_null(d);
    assert_int_equal(e.code, 0);
}

static struct device *
open_simulated(const char *choice)
{
    struct device *d = NULL;
    struct error e = {0};

    name_library(DEVICE_SIMULATED);
    if (device_open(choice, &d, &e) != 0)
        fail_msg("%s", e.text);
    assert_non_null(d);
    return d;
}

/* ---- without a device; these come first, before anything of CUDA was loaded ---- */

static void
nothing_is_loaded_without_a_driver(void **state)
{
    (void)state;
    if (has_driver())
        skip();
    becomes_the_processor("auto");
    becomes_the_processor("cpu");
    refused("cuda:0", ERROR_device, "libcuda.so.1 not found: no NVIDIA driver");
    assert_false(is_mapped("cuda"));
}

static void
other_words_are_refused(void **state)
{
    static const char *const words[] = {"", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:+1",
                                        "cuda: 1", "cuda:1x", "CUDA:0", "cpu ", "cuda:1024",
                                        "cuda:99999999999999999999"};
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        refused(words[i], ERROR_topology, "device '");
        assert_int_equal(device_choice_check(words[i], &e), ERROR_topology);
    }
    refused("cuda:1024", ERROR_topology, "from 0 to 1023");
    assert_int_equal(device_choice_check("auto", &e), 0);
    assert_int_equal(device_choice_check("cpu", &e), 0);
    assert_int_equal(device_choice_check("cuda:1023", &e), 0);
}

static void
the_processor_has_a_name(void **state)
{
    char text[DEVICE_TEXT_MAX];

    (void)state;
    assert_string_equal(device_describe(NULL, text), "cpu");
    device_close(NULL);
    device_free(NULL, NULL);
}

/* ---- a driver and no library, or a wrong one ---- */

/* A driver by the name alone: whoever asks for libcuda.so.1 is given what is already loaded. */
static void *
fake_driver(void)
{
    void *driver = dlopen(DEVICE_FILES "/driver.so", RTLD_NOW | RTLD_LOCAL);

    assert_non_null(driver);
    assert_true(has_driver());
    return driver;
}

static void
a_missing_library_is_told(void **state)
{
    char *folder = own_folder();
    void *driver;

    (void)state;
    if (has_driver())
        skip();
    driver = fake_driver();
    refused("cuda:0", ERROR_device, "libsluice-cuda.so was not found: not in");
    refused("cuda:0", ERROR_device, folder);
    refused("cuda:0", ERROR_device, "SLUICE_CUDA names a file elsewhere");
    becomes_the_processor("auto");
    dlclose(driver);
    free(folder);
}

static void
the_library_beside_the_program_is_found(void **state)
{
    void *driver;

    (void)state;
    if (has_driver())
        skip();
    driver = fake_driver();
    put_beside("/../lib", DEVICE_FILES "/wrong_abi.so");
    refused("cuda:0", ERROR_device, "has ABI");
    put_beside("", "Makefile");
    refused("cuda:0", ERROR_device, "/libsluice-cuda.so' does not load: ");
    becomes_the_processor("auto");
    dlclose(driver);
}

static void
other_libraries_are_refused(void **state)
{
    char words[60];

    (void)state;
    name_library(DEVICE_FILES "/wrong_abi.so");
    snprintf(words, sizeof words, "has ABI %d, this program wants %d", SLUICE_CUDA_ABI + 1,
             SLUICE_CUDA_ABI);
    refused("cuda:0", ERROR_device, words);
    becomes_the_processor("auto");
    name_library(DEVICE_FILES "/another.so");
    refused("cuda:0", ERROR_device, "has no sluice_cuda_abi");
    name_library(DEVICE_FILES "/half.so");
    refused("cuda:0", ERROR_device, "has no sluice_cuda_error");
    setenv("SLUICE_CUDA", "/nonexistent/libsluice-cuda.so", 1);
    refused("cuda:0", ERROR_device, "SLUICE_CUDA names '/nonexistent/libsluice-cuda.so'");
    becomes_the_processor("auto");
    setenv("SLUICE_CUDA", "Makefile", 1);
    refused("cuda:0", ERROR_device, "SLUICE_CUDA names 'Makefile'");
}

/* What a full disk leaves: the loader itself would die of it. A directory, and what never ends. */
static void
half_a_library_is_refused(void **state)
{
    char *whole = whole_path(DEVICE_SIMULATED);
    char path[] = "/tmp/sluice-device.so.XXXXXX";
    int file = mkstemp(path);
    struct stat about;
    char *command = xprint("head -c %s '%s' >%s", "100000", whole, path);

    (void)state;
    assert_true(file >= 0);
    assert_int_equal(system(command), 0);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, 100000);
    setenv("SLUICE_CUDA", path, 1);
    refused("cuda:0", ERROR_device, "the file ends too early");
    becomes_the_processor("auto");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused("cuda:0", ERROR_device, "it is no regular file");
    unlink(path);
    close(file);
    free(command);
    free(whole);
}

/* ---- the simulated device ---- */

static void
a_device_says_what_it_is(void **state)
{
    struct device *d = open_simulated("cuda:0");
    const struct sluice_device *about = device_about(d);
    char text[DEVICE_TEXT_MAX], wanted[DEVICE_TEXT_MAX];

    (void)state;
    snprintf(wanted, sizeof wanted, "cuda:0 %s, compute 9.0, driver %d.%d, cuBLASLt ", about->name,
             about->driver / 1000, about->driver % 1000 / 10);
    device_describe(d, text);
    if (strncmp(text, wanted, strlen(wanted)) != 0 || strstr(text, " of 4.0 GiB free") == NULL)
        fail_msg("'%s' does not begin '%s'", text, wanted);
    assert_int_equal(device_index(d), 0);
    device_close(d);
    d = open_simulated("auto");
    assert_int_equal(device_index(d), 0);
    device_close(d);
    setenv("SLUICE_SIMT_DEVICES", "3", 1);
    d = open_simulated("cuda:2");
    assert_int_equal(device_index(d), 2);
    device_close(d);
}

static void
numbers_beyond_the_last_device_are_refused(void **state)
{
    (void)state;
    name_library(DEVICE_SIMULATED);
    refused("cuda:1", ERROR_device, "1 CUDA device, the last is cuda:0");
    setenv("SLUICE_SIMT_DEVICES", "3", 1);
    refused("cuda:3", ERROR_device, "3 CUDA devices, the last is cuda:2");
    setenv("SLUICE_SIMT_DEVICES", "0", 1);
    refused("cuda:0", ERROR_device, "no CUDA device");
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    refused("cuda:0", ERROR_device, "(CUDA_VISIBLE_DEVICES hides others)");
    becomes_the_processor("auto");
}

static void
what_is_too_old_is_told(void **state)
{
    (void)state;
    name_library(DEVICE_SIMULATED);
    setenv("SLUICE_SIMT_COMPUTE", "75", 1);
    refused("cuda:0", ERROR_device, "compute capability 7.5; 8.0 is the least");
    becomes_the_processor("auto");
    unsetenv("SLUICE_SIMT_COMPUTE");
    setenv("SLUICE_SIMT_DRIVER", "old", 1);
    refused("cuda:0", ERROR_device, "the driver is too old or missing: ");
    refused("cuda:0", ERROR_device, "older than this library's CUDA 1");
    becomes_the_processor("auto");
    unsetenv("SLUICE_SIMT_DRIVER");
}

/* What an old driver has is asked of the driver itself. */
static void
an_old_driver_says_what_it_has(void **state)
{
    void *driver;

    (void)state;
    if (has_driver())
        skip();
    driver = fake_driver();
    setenv("SLUICE_SIMT_DRIVER", "old", 1);
    put_beside("", DEVICE_SIMULATED);
    refused("cuda:0", ERROR_device, "the driver is too old: it has CUDA 11.4; ");
    dlclose(driver);
}

static void
memory_comes_and_goes(void **state)
{
    struct device *d = open_simulated("cuda:0");
    double sent[300], back[300];
    struct error e = {0};
    void *at = NULL;

    (void)state;
    for (int i = 0; i < 300; i++)
        sent[i] = i;
    assert_int_equal(device_alloc(d, sizeof sent, "a test", &at, &e), 0);
    assert_int_equal((uintptr_t)at % 256, 0);
    assert_int_equal(device_upload(d, at, sent, sizeof sent, &e), 0);
    assert_int_equal(device_zero(d, (char *)at + sizeof(double), sizeof(double), &e), 0);
    assert_int_equal(device_download(d, back, at, sizeof back, &e), 0);
    assert_int_equal(device_wait(d, &e), 0);
    sent[1] = 0;
    assert_memory_equal(sent, back, sizeof sent);
    device_free(d, at);
    setenv("SLUICE_SIMT_MEMORY", "1000000", 1);
    assert_int_equal(device_alloc(d, 2000000, "the big one", &at, &e), ERROR_memory);
    assert_null(at);
    assert_non_null(strstr(e.text, "the big one: "));
    assert_non_null(strstr(e.text, "2000000 bytes wanted"));
    device_close(d);
}

/* A device that fails as soon as it is asked: whoever named it tries again, others go on. */
static void
a_device_that_does_not_start_is_told(void **state)
{
    (void)state;
    name_library(DEVICE_SIMULATED);
    setenv("SLUICE_SIMT_LOSE", "0", 1);
    refused("cuda:0", ERROR_lost, "the device failed");
    becomes_the_processor("auto");
}

/* Nothing on it can be trusted any more: the code that the learner ends with. */
static void
a_lost_device_has_a_code_of_its_own(void **state)
{
    struct device *d = open_simulated("cuda:0");
    struct error e = {0};
    double norm;
    void *at;

    (void)state;
    assert_int_equal(device_alloc(d, 4000, "a test", &at, &e), 0);
    assert_int_equal(device_zero(d, at, 4000, &e), 0);
    setenv("SLUICE_SIMT_LOSE", "1", 1);
    assert_int_equal(device_fail(d, device_calls(d)->sluice_norm(device_context(d), 1000, at,
                                                                 &norm),
                                 "the norm", &e), ERROR_lost);
    assert_string_equal(error_name(e.code), "lost");
    assert_int_equal(error_exit(e.code), 1);        /* the supervisor starts it again */
    assert_non_null(strstr(e.text, "the norm: "));
    assert_int_equal(device_wait(d, &e), ERROR_lost);
    device_close(d);
    unsetenv("SLUICE_SIMT_LOSE");
}

static void
each_status_has_a_code(void **state)
{
    struct device *d = open_simulated("cuda:0");
    static const int codes[] = {
        [SLUICE_argument] = ERROR_internal, [SLUICE_no_device] = ERROR_device,
        [SLUICE_old_driver] = ERROR_device, [SLUICE_old_device] = ERROR_device,
        [SLUICE_no_library] = ERROR_device, [SLUICE_memory] = ERROR_memory,
        [SLUICE_nonfinite] = ERROR_nonfinite, [SLUICE_lost] = ERROR_lost,
        [SLUICE_failed] = ERROR_device};
    struct error e;

    (void)state;
    assert_int_equal(device_fail(d, SLUICE_ok, "it", NULL), 0);
    for (int i = 1; i < (int)(sizeof codes / sizeof *codes); i++)
        assert_int_equal(device_fail(d, i, "it", &e), codes[i]);
    assert_int_equal(device_fail(d, 1000, "it", &e), ERROR_internal);
    assert_int_equal(device_fail(d, -1, "it", &e), ERROR_internal);
    device_close(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_loaded_without_a_driver, forget, forget),
        cmocka_unit_test_setup_teardown(other_words_are_refused, forget, forget),
        cmocka_unit_test_setup_teardown(the_processor_has_a_name, forget, forget),
        cmocka_unit_test_setup_teardown(a_missing_library_is_told, forget, forget),
        cmocka_unit_test_setup_teardown(the_library_beside_the_program_is_found, forget, forget),
        cmocka_unit_test_setup_teardown(other_libraries_are_refused, forget, forget),
        cmocka_unit_test_setup_teardown(half_a_library_is_refused, forget, forget),
        cmocka_unit_test_setup_teardown(a_device_says_what_it_is, forget, forget),
        cmocka_unit_test_setup_teardown(numbers_beyond_the_last_device_are_refused, forget, forget),
        cmocka_unit_test_setup_teardown(what_is_too_old_is_told, forget, forget),
        cmocka_unit_test_setup_teardown(an_old_driver_says_what_it_has, forget, forget),
        cmocka_unit_test_setup_teardown(memory_comes_and_goes, forget, forget),
        cmocka_unit_test_setup_teardown(a_device_that_does_not_start_is_told, forget, forget),
        cmocka_unit_test_setup_teardown(a_lost_device_has_a_code_of_its_own, forget, forget),
        cmocka_unit_test_setup_teardown(each_status_has_a_code, forget, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

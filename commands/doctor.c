/* doctor: what this machine has and lacks for a run, one line each, with what to do about it. */
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gmp.h>
#include <jansson.h>
#include <lmdb.h>
#include <mpfr.h>
#include <msgpack.h>
#include <sched.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>
#include <zstd.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/version.h"
#include "commands/flags.h"
#include "commands/talk.h"
#include "kernels/device.h"
#include "kernels/isa.h"
#include "nodes/child.h"

#define SYNC_COUNT    25            /* synced writes of 4 KiB that are timed */
#define SYNC_SECONDS  5.0           /* no longer than this */
#define SYNC_SLOW     0.05          /* seconds; the median above it is worth a warning */
#define SYNC_FAST     2e-5          /* ... below it nothing can have reached a disk */
#define DISK_FAIL     (64LL << 20)  /* free bytes below which every node pauses */
#define DISK_WARN     (2LL << 30)
#define MEMORY_WARN   (1LL << 30)
#define FILES_WARN    1024
#define SOCKET_NAME   "/0123456789abcdef/255.63.d"  /* the longest below the socket folder */

static const char about[] =
    "Looks at this machine and says what a run has here and what it lacks: kernels, memory, disk and the time of a synced\n"
    "write in FOLDER (a run, or where runs will be; the standard is runs/ or the current folder), limits, libraries, clock.\n"
    "Each line is ok, warn or fail, with what to do. Exit code 1 where something fails.";

struct doctor {
    bool json;
    int  failed;
};

/* `advice` NULL: nothing is to be done. */
static void
tell(struct doctor *d, const char *state, const char *what, const char *advice, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void
tell(struct doctor *d, const char *state, const char *what, const char *advice, const char *format, ...)
{
    char    text[600];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    d->failed += strcmp(state, "fail") == 0;
    if (!d->json) {
        const char *colour = !talk_colour() ? "" : strcmp(state, "ok") == 0 ? "\033[32m" : strcmp(state, "warn") == 0 ? "\033[33m" : "\033[31m";

        printf("%s%-4s%s  %-10s %s%s%s\n", colour, state, *colour ? "\033[0m" : "", what, text, advice ? "; " : "",
               advice ? advice : "");
        return;
    }
    json_t *said = json_string(text);
    json_t *line = json_pack("{s:s,s:s,s:o}", "check", what, "state", state, "text",
                             said ? said : json_string("(not UTF-8)"));
    if (advice)
        json_object_set_new(line, "do", json_string(advice));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

/* ---- processors and memory ---- */

/* The first number in a file, or -1. */
static double
number_in(const char *path, const char *name)
{
    FILE  *f = fopen(path, "re");
    char   line[256];
    double value = -1;

    while (f && value < 0 && fgets(line, sizeof line, f)) {
        size_t length = strlen(name);

        if (strncmp(line, name, length) == 0 && sscanf(line + length, "%lf", &value) != 1)
            value = -1;
    }
    if (f)
        fclose(f);
    return value;
}

static void
check_processors(struct doctor *d)
{
    cpu_set_t   set;
    const char *name = isa_now()->name;
    int         cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    double      quota = number_in("/sys/fs/cgroup/cpu.max", "");
    bool        slow = strcmp(name, "scalar") == 0;

    tell(d, slow ? "warn" : "ok", "cpu", slow ? "training is several times slower than with AVX2; the bits are the same" : NULL,
         "kernels '%s', %d cores may be used", name, cores);
    if (quota > 0 && quota / 1e5 < cores)
        tell(d, "warn", "cpu", "more threads than that only wait for each other", "a control group gives %.1f of them", quota / 1e5);
}

static void
check_memory(struct doctor *d)
{
    double        available = number_in("/proc/meminfo", "MemAvailable:") * 1024;
    double        group = number_in("/sys/fs/cgroup/memory.max", "");
    struct rlimit space;

    if (group > 0 && group < available)
        available = group;
    bool little = available < (double)MEMORY_WARN;
    tell(d, little ? "warn" : "ok", "memory", little ? "a learner needs about 16 bytes for each parameter" : NULL,
         "%.1f GiB available", available / (1 << 30));
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        tell(d, "fail", "memory", "ulimit -v unlimited: stores are mapped whole",
             "address space is limited to %.1f GiB", (double)space.rlim_cur / (1 << 30));
}

/* ---- the folder ---- */

static const char *
disk_kind(long type)
{
    static const struct {
        long        type;
        const char *name;
    } kinds[] = {{0x6969, "nfs"}, {0xff534d42, "cifs"}, {0xfe534d42, "smb2"}, {0x01021994, "tmpfs"}, {0xef53, "ext"},
                 {0x58465342, "xfs"}, {0x9123683e, "btrfs"}, {0x794c7630, "overlay"}, {0x2fc12fc1, "zfs"},
                 {0x65735546, "fuse"}, {0x0bd00bd0, "lustre"}, {0x01021997, "9p"}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((unsigned int)kinds[i].type == (unsigned int)type)
            return kinds[i].name;
    return "disk";
}

static void
check_disk(struct doctor *d, const char *folder)
{
    struct statfs  kind;
    struct statvfs room;

    if (statfs(folder, &kind) != 0 || statvfs(folder, &room) != 0) {
        tell(d, "fail", "disk", "name a folder that exists", "'%s': %s", folder, strerror(errno));
        return;
    }
    long long   free_bytes = (long long)room.f_bavail * (long long)room.f_frsize;
    const char *name = disk_kind((long)kind.f_type);
    bool        remote = strstr("nfs cifs smb2 9p lustre", name) != NULL;
    bool        passing = strcmp(name, "tmpfs") == 0;

    tell(d, free_bytes < DISK_FAIL ? "fail" : free_bytes < DISK_WARN ? "warn" : "ok", "disk",
         free_bytes < DISK_WARN ? "a run pauses when it is full; sluice check --plan says what a rollout takes" : NULL,
         "%.1f GiB free in '%s'", (double)free_bytes / (1 << 30), folder);
    if (remote)
        tell(d, "fail", "disk", "keep runs on a local disk: LMDB cannot be trusted there", "'%s' is on %s", folder, name);
    else if (passing)
        tell(d, "warn", "disk", "keep runs on a disk if they are to survive a reboot", "'%s' is in memory (tmpfs)", folder);
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void
check_sync(struct doctor *d, const char *folder)
{
    char   *path = xprint("%s/.sluice-doctor-XXXXXX", folder);
    char    block[4096] = {1};
    double  took[SYNC_COUNT], began = talk_now();
    int     fd = mkostemp(path, O_CLOEXEC), count = 0;
    bool    good = fd >= 0;

    while (good && count < SYNC_COUNT && talk_now() - began < SYNC_SECONDS) {
        double at = talk_now();

        good = write(fd, block, sizeof block) == (ssize_t)sizeof block && fdatasync(fd) == 0;
        took[count++] = talk_now() - at;
    }
    if (!good) {
        tell(d, "fail", "sync", "a run must be able to write here", "'%s': %s", folder, strerror(errno));
    } else {
        qsort(took, (size_t)count, sizeof *took, by_size);
        double median = took[count / 2];
        bool   slow = median > SYNC_SLOW, fast = median < SYNC_FAST;

        tell(d, slow || fast ? "warn" : "ok", "sync",
             slow ? "every commit waits so long; a larger commit_interval has fewer of them"
                  : fast ? "no disk is that fast: a power cut may lose what was committed" : NULL,
             "a synced write takes %.3g ms, the slowest of %d took %.3g ms", median * 1e3, count, took[count - 1] * 1e3);
    }
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    free(path);
}

/* ---- limits ---- */

static void
check_files(struct doctor *d)
{
    struct rlimit files = {0, 0}, size;

    getrlimit(RLIMIT_NOFILE, &files);
    bool few = files.rlim_max < FILES_WARN;
    tell(d, few ? "warn" : "ok", "files", few ? "raise the hard limit (ulimit -Hn): each link and judge call takes one" : NULL,
         "%lld open files, %lld at most (ulimit -n)", (long long)files.rlim_cur, (long long)files.rlim_max);
    if (getrlimit(RLIMIT_FSIZE, &size) == 0 && size.rlim_cur != RLIM_INFINITY)
        tell(d, "warn", "files", "ulimit -f unlimited: a store that reaches it pauses its node",
             "a file may have %.1f GiB", (double)size.rlim_cur / (1 << 30));
}

static void
check_sockets(struct doctor *d)
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    if (!base || base[0] != '/' || access(base, W_OK) != 0)     /* as place_open() does */
        base = "/tmp";
    char  *folder = xprint("%s/sluice-%u", base, (unsigned)geteuid());
    size_t length = strlen(folder) + strlen(SOCKET_NAME);
    bool   fits = length <= PLACE_SOCKET_MAX, writable = access(base, W_OK | X_OK) == 0;

    if (!fits)
        tell(d, "fail", "sockets", "set XDG_RUNTIME_DIR to a shorter folder", "paths below '%s' have %zu bytes, more than %d",
             folder, length, PLACE_SOCKET_MAX);
    else if (!writable)
        tell(d, "fail", "sockets", "set XDG_RUNTIME_DIR to a folder of yours", "'%s' cannot be made", folder);
    else
        tell(d, "ok", "sockets", NULL, "paths below '%s' have at most %zu of %d bytes", folder, length, PLACE_SOCKET_MAX);
    free(folder);
}

static void
check_clock(struct doctor *d)
{
    struct timex   t = {.modes = 0};
    time_t         now = time(NULL);
    struct tm      utc;
    char           text[40];
    int            state = adjtimex(&t);

    gmtime_r(&now, &utc);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc);
    if (utc.tm_year + 1900 < 2024)
        tell(d, "warn", "clock", "set it: logs are merged by time, and certificates of servers are refused", "%s", text);
    else if (state == TIME_ERROR)
        tell(d, "warn", "clock", "logs of several machines will not merge by time", "%s, not synchronised", text);
    else
        tell(d, "ok", "clock", NULL, "%s", text);
}

static void
check_isolation(struct doctor *d)
{
    bool can = child_can_isolate();

    tell(d, can ? "ok" : "warn", "isolation", can ? NULL : "programs of verify: exec run with limits, but keep the network",
         can ? "programs can be cut off from the network" : "this system gives no network namespace (unshare)");
}

/* ---- libraries ---- */

static void
check_libraries(struct doctor *d)
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    int                           major, minor, patch;
    uint32_t                      jit = 0;
    char                          pcre[64] = "";

    zmq_version(&major, &minor, &patch);
    bool curve = zmq_has("curve") == 1;
    tell(d, curve ? "ok" : "warn", "libzmq", curve ? NULL : "tcp:// links need one built with libsodium", "%d.%d.%d%s", major, minor,
         patch, curve ? ", encrypts (CURVE)" : ", without CURVE");
    tell(d, "ok", "lmdb", NULL, "%s", mdb_version(NULL, NULL, NULL));
    tell(d, "ok", "msgpack-c", NULL, "%s", msgpack_version());
    tell(d, "ok", "jansson", NULL, "%s", jansson_version_str());
    bool tls = (curl->features & CURL_VERSION_SSL) != 0;
    tell(d, tls ? "ok" : "warn", "libcurl", tls ? NULL : "https:// judges cannot be asked", "%s%s%s%s", curl->version,
         tls ? ", " : ", without TLS", tls && curl->ssl_version ? curl->ssl_version : "",
         curl->features & CURL_VERSION_HTTP2 ? ", HTTP/2" : "");
    pcre2_config(PCRE2_CONFIG_JIT, &jit);
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    tell(d, jit ? "ok" : "warn", "pcre2", jit ? NULL : "tokenizers are slower", "%s%s", pcre, jit ? ", JIT" : ", without JIT");
    tell(d, "ok", "zstd", NULL, "%s", ZSTD_versionString());
    tell(d, "ok", "libsodium", NULL, "%s", sodium_version_string());
    tell(d, "ok", "numbers", NULL, "GMP %s, MPFR %s", gmp_version, mpfr_get_version());
}

/* The driver is looked for as a program would load it; nothing of CUDA is linked. */
static void
check_cuda(struct doctor *d)
{
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*init)(unsigned) = NULL, (*version)(int *) = NULL, (*count)(int *) = NULL;
    int   number = 0, devices = 0;

    if (!cuda) {
        tell(d, "ok", "cuda", NULL, "no driver: everything runs on the processor");
        return;
    }
    *(void **)&init = dlsym(cuda, "cuInit");
    *(void **)&version = dlsym(cuda, "cuDriverGetVersion");
    *(void **)&count = dlsym(cuda, "cuDeviceGetCount");
    int code = init && version && count ? init(0) : -1;
    if (code == 0)
        code = version(&number) != 0 ? -1 : count(&devices);
    if (code != 0)
        tell(d, "warn", "cuda", "nvidia-smi says more", "a driver is there and does not start (error %d)", code);
    else
        tell(d, "ok", "cuda", NULL, "driver for CUDA %d.%d, %d device%s", number / 1000, number % 1000 / 10, devices, devices == 1 ? "" : "s");
    dlclose(cuda);
}

/* What `device: auto` comes to. A driver whose device cannot be used is worth a warning. */
static void
check_device(struct doctor *d)
{
    struct device *device = NULL;
    struct error   why = {0};
    char           text[DEVICE_TEXT_MAX];
    void          *driver;

    if (device_open("cuda:0", &device, &why) == 0) {
        tell(d, "ok", "device", NULL, "`device: auto` is %s", device_describe(device, text));
        device_close(device);
        return;
    }
    driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    tell(d, driver ? "warn" : "ok", "device", driver ? "a learner trains on the processor until that is mended" : NULL,
         "`device: auto` is the processor: %s", why.text);
    if (driver)
        dlclose(driver);
}

int
command_doctor(int argc, char **argv)
{
    bool json = false;
    const struct flag flags[] = {{FLAG_on, 0, "json", NULL, &json, "as JSON lines"}, {.kind = FLAG_end}};
    struct words words;
    int          code = flags_read(flags, "doctor [FOLDER] [--json]", about, argc, argv, 0, 1, &words);

    if (code >= 0)
        return code;
    struct doctor d = {.json = talk_json_wanted(json)};
    const char   *folder = words.at[0] ? words.at[0] : access("runs", X_OK) == 0 ? "runs" : ".";

    tell(&d, "ok", "sluice", NULL, "%s", SLUICE_VERSION);
    check_processors(&d);
    check_memory(&d);
    check_disk(&d, folder);
    check_sync(&d, folder);
    check_files(&d);
    check_sockets(&d);
    check_clock(&d);
    check_isolation(&d);
    check_libraries(&d);
    check_cuda(&d);
    check_device(&d);
    return d.failed > 0;
}

/* version: `sluice version`: this program and the libraries it runs with. */
#include <curl/curl.h>
#include <jansson.h>
#include <lmdb.h>
#include <msgpack.h>
#include <stdio.h>
#include <yaml.h>
#include <zmq.h>
#include <zstd.h>

#include "commands/commands.h"
#include "commands/flags.h"
#include "base/version.h"

int
command_version(int argc, char **argv)
{
    const struct flag flags[] = {{.kind = FLAG_end}};
    struct words      words;
    int code = flags_read(flags, "version", "The version of this program and its libraries.", argc,
                          argv, 0, 0, &words);
    int               major, minor, patch;

    if (code >= 0)
        return code;
    printf("sluice %s\n", SLUICE_VERSION);
    zmq_version(&major, &minor, &patch);
    printf("  libzmq %d.%d.%d\n", major, minor, patch);
    printf("  %s\n", mdb_version(NULL, NULL, NULL));
    printf("  msgpack-c %s\n", msgpack_version());
    printf("  libyaml %s\n", yaml_get_version_string());
    printf("  jansson %s\n", JANSSON_VERSION);
    printf("  %s\n", curl_version());
    printf("  zstd %s\n", ZSTD_versionString());
    return 0;
}

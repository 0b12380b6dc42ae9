/* A user's own objective out of a shared object. */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/objective.h"

#define OBJECTIVE_NAME_MAX 64

/* Is what it says of itself usable? */
static int
check_objective(const struct objective *o, const char *path, struct error *e)
{
    const char *what = NULL;

    if (o->abi != OBJECTIVE_ABI)
        return error_set(e, ERROR_model,
                         "objective '%s' was built for ABI %d, this program has %d: build it again "
                         "with this program's objective_kind.h", path, o->abi, OBJECTIVE_ABI);
    if (o->name == NULL || o->name[0] == 0 || strlen(o->name) > OBJECTIVE_NAME_MAX)
        what = "no name";
    else if (o->run == NULL)
        what = "no run()";
    else if ((int)o->scope < OBJECTIVE_token || (int)o->scope > OBJECTIVE_step)
        what = "no scope";
    else if ((int)o->standard.aggregation < OBJECTIVE_sequence_mean
             || (int)o->standard.aggregation > OBJECTIVE_constant)
        what = "no aggregation among its own settings";
    if (what != NULL)
        return error_set(e, ERROR_model, "objective '%s': %s has %s", path, OBJECTIVE_FILE_SYMBOL,
                         what);
    return 0;
}

int
objective_load(const char *path, const struct objective **objective, struct error *e)
{
    char *whole = realpath(path, NULL);     /* a bare name would be sought among the libraries */
    const struct objective *o;
    void *file;
    int   rc;

    if (whole == NULL)
        return error_set(e, ERROR_model, "objective '%s': there is no such file", path);
    file = dlopen(whole, RTLD_NOW | RTLD_LOCAL);
    free(whole);
    if (file == NULL)
        return error_set(e, ERROR_model, "objective '%s' is not a shared object that loads: %s",
                         path, dlerror());
    o = dlsym(file, OBJECTIVE_FILE_SYMBOL);
    rc = o == NULL ? error_set(e, ERROR_model, "objective '%s' defines no %s", path,
                               OBJECTIVE_FILE_SYMBOL)
                   : check_objective(o, path, e);
    if (rc < 0) {
        dlclose(file);
        return rc;
    }
    *objective = o;
    return 0;
}

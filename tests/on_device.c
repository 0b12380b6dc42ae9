/* on_device: see on_device.h. */
#include "tests/on_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/device.h"

static int built;       /* the simulated device is there, and is what we look for */

void
on_device_begin(void)
{
    char *simulated = realpath(DEVICE_SIMULATED, NULL);

    built = simulated != NULL && getenv("SLUICE_CUDA") == NULL;
    if (built)
        setenv("SLUICE_CUDA", simulated, 1);
    free(simulated);
}

/* Is there a device; and *fibers: is it simulated? */
static int
look(int *fibers)
{
    struct device *device = NULL;
    struct error e = {0};

    *fibers = 0;
    if (device_open("cuda:0", &device, &e) < 0) {
        if (built)
            fail_msg("the simulated device does not open: %s", e.text);
        printf("# no CUDA device: %s\n", e.text);
        return 0;
    }
    *fibers = strstr(device_about(device)->name, "simulated") != NULL;
    device_close(device);
    return 1;
}

int
on_device(void)
{
    int fibers;

    if (!look(&fibers))
        skip();
    return 1;
}

int
on_fibers(void)
{
    int fibers;

    if (!look(&fibers) || !fibers)
        skip();
    return 1;
}

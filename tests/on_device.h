/* on_device: which device the C tests of devices have: the one that SLUICE_CUDA's library finds, or
 * the simulated one of this build (make simt). For tests of cmocka. */
#ifndef TESTS_ON_DEVICE_H
#define TESTS_ON_DEVICE_H

/* First thing of main(): where the environment names no library, the build's simulated one is it. */
void on_device_begin(void);

/* 1, or the test is skipped: there is no device. A simulated one that does not open fails it. */
int on_device(void);

/* 1 where the device is one of fibers, whose memory can be made small; else the test is skipped. */
int on_fibers(void);

#endif

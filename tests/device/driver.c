/* Goes by the name of the driver's library, so that a program which loaded it finds a driver; the
 * one of CUDA 11.4. */
int cuDriverGetVersion(int *version);

int
cuDriverGetVersion(int *version)
{
    *version = 11040;
    return 0;
}

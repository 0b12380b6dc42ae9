/* main: the sub-command table, nothing else. */
#include <stdio.h>

int
main(int argc, char **argv)
{
    (void)argc;
    fprintf(stderr, "%s: no commands yet\n", argv[0]);
    return 2;
}

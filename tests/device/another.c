/* A shared object that is something else. */
int another(void);

int
another(void)
{
    return 1;
}

/* error: why a call failed, as one line a stranger can act on, built from the inside out.
 *
 * Functions return 0 or a negative ERROR_* code; their last argument is `struct error *e`, touched only
 * on failure. error_set() where the fault is found, error_wrap() where more is known: it puts its words
 * in front ("flow.yaml:12:7: node 'critic': option 'in_flight': 0 is below 1"). Both return the code.
 * Log once, at the top of the process; never log and return. Fixed-size text: reporting needs no memory.
 * `e` may be NULL when the caller does not care. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum error_code {
    ERROR_none = 0,
    ERROR_before_first = -0x100,
#define ERROR(name, exit, meaning) ERROR_##name,
#include "base/errors.def"
#undef ERROR
};

#define ERROR_TEXT_MAX 1000

struct error {
    int  code;                      /* ERROR_*, 0 when nothing failed */
    char text[ERROR_TEXT_MAX];      /* one line, no newline at the end; always terminated */
};

int error_set(struct error *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int error_wrap(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *error_name(int code);       /* "topology" */
const char *error_meaning(int code);
int         error_exit(int code);       /* exit code of a process that ends with it */
int         error_count(void);          /* rows of errors.def ... */
int         error_at(int index);        /* ... and the code of one */

#endif

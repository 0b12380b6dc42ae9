/* unit: what stands behind the number of an answer. A unit that the table holds is understood, with
 * powers and "per"; any other word (apples) makes it unknown, and an unknown unit is like any. So
 * 100 cm is 1 m, 5 cm is not 5 kg, and 5 apples are 5. */
#ifndef KERNELS_ANSWER_UNIT_H
#define KERNELS_ANSWER_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

enum unit_dimension {
    UNIT_length,
    UNIT_mass,
    UNIT_time,
    UNIT_months, /* of no fixed length in seconds */
    UNIT_volume,
    UNIT_dollars,
    UNIT_euros,
    UNIT_angle,
    UNIT_radians,
    UNIT_celsius,
    UNIT_fahrenheit,
    UNIT_kelvin,
    UNIT_other, /* the name of a unit that is not understood */
    UNIT_dimensions,
};

struct unit {
    bool known;             /* every word of it is in the table */
    int base;               /* of 1101_2; 0: none was written */
    int power[UNIT_dimensions];
    int64_t over, under;    /* the factor: over / under of the bases */
    /* while reading */
    bool below;             /* behind a / or "per" */
    int pending;            /* the power that "square" or "cubic" announced; 0: none */
    int row;                /* the last unit, whose power may follow; -1: none */
};

void unit_start(struct unit *u);

/* The words of a text: "square feet", "km/h", "miles per hour", "cm^2". */
void unit_read(struct unit *u, struct span text);

/* The power behind the last unit, written outside of the text. */
void unit_raise(struct unit *u, int power);
void unit_divide(struct unit *u);

/* Whether a single word is the name of a unit. */
bool unit_is(struct span word);

/* Whether answers with these units may be the same (NULL: without one); *SCALE: both are known and
 * alike, and their factors count. */
bool unit_agree(const struct unit *a, const struct unit *b, bool *scale);

#endif

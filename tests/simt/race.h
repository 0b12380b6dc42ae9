/* race: what schedule.cc and meet.cc tell race.cc of the order of threads. */
#ifndef SIMT_RACE_H
#define SIMT_RACE_H

#include "grid.h"

extern int race_on;                 /* kernels are compiled to be looked at */

void race_begin(void);              /* a launch */
void race_cluster_begin(void);      /* its threads are made */
void race_met(struct warp *w, uint32_t mask);
void race_blind(void);              /* this launch orders threads by means not known */

#endif

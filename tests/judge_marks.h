/* judge_marks: answers with log-probabilities for the scripted server: marks of the steps that a
 * prompt shows (and of the whole), or a letter of the responses that it lists. A function of the
 * prompt alone: the mark of a step is 5 where its text holds no 'x', else 1; a response is the
 * better, the fewer 'x' it has. */
#ifndef TESTS_JUDGE_MARKS_H
#define TESTS_JUDGE_MARKS_H

#include <stdbool.h>

/* The completion as text, to free(). */
char *judge_marks(const char *prompt, bool letters);

#endif

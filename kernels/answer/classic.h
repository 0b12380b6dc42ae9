/* classic: two graders that papers report with, as they are: they compare strings, after a fixed
 * list of replacements, and their odd cases are kept so that figures can be compared.
 *
 * hendrycks  the last \boxed{}, in the normal form of the MATH data set (Hendrycks et al.,
 *            2103.03874), as verl's math_reward.py has it (volcengine/verl b178a3c).
 * dapo       the last "Answer: ..." in the last 300 characters, in Minerva's normal form (Lewkowycz
 *            et al., 2206.14858), as DAPO's and verl's math_dapo.py have it (the same commit).
 *
 * White space and letters are ASCII's; characters are UTF-8's, a byte that is none counts as one.
 */
#ifndef KERNELS_ANSWER_CLASSIC_H
#define KERNELS_ANSWER_CLASSIC_H

#include <stdbool.h>

#include "base/memory.h"

#define CLASSIC_BYTES_MAX 16384 /* a longer answer is wrong */

bool classic_hendrycks(struct span response, struct span gold);
bool classic_dapo(struct span response, struct span gold);

#endif

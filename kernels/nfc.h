/* nfc: the four Unicode normal forms, in the version of the reference (see unicode.h).
 *
 * Text is normalised in stretches that cannot interact (a stretch ends before a starter that joins
 * nothing to its left), so an edit covers no more than what changed. */
#ifndef KERNELS_NFC_H
#define KERNELS_NFC_H

#include "kernels/rewrite.h"

enum nfc_form { NFC_composed, NFC_decomposed, NFC_compatible_composed, NFC_compatible_decomposed };

/* TEXT, valid UTF-8, in FORM; *R is emptied first. */
void nfc_normalise(struct rewrite *r, enum nfc_form form, struct span text);

#endif

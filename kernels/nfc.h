/* nfc: Unicode normal form C, with the way back from each byte to the bytes it came from.
 *
 * Text is normalised in stretches that cannot interact (a stretch ends before a starter that joins
 * nothing to its left), so an edit covers no more than what changed. */
#ifndef KERNELS_NFC_H
#define KERNELS_NFC_H

#include "base/memory.h"

/* Bytes [start, end) of the result come from bytes [from, to) of the source. */
struct nfc_edit {
    size_t start, end, from, to;
};

struct nfc {
    struct buffer text;
    struct nfc_edit *edits; /* in order; everything between them is copied byte for byte */
    size_t edit_count, edit_room;
};

int nfc_is_utf8(struct span text);                   /* shortest forms, no surrogates */
void nfc_normalise(struct nfc *n, struct span text); /* valid UTF-8; n is emptied first */
void nfc_free(struct nfc *n);

/* The source position of a result position: where the byte at AT begins, or where the byte before
 * AT ends. */
size_t nfc_start(const struct nfc *n, size_t at);
size_t nfc_end(const struct nfc *n, size_t at);

/* The code point at TEXT[at], valid UTF-8; *LENGTH is its bytes. */
uint32_t nfc_character(struct span text, size_t at, size_t *length);

#endif

/* tiny_model: a folder with a random decoder of a few thousand weights and a tokenizer of
 * characters, for tests of what reads model folders. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include <stdint.h>

#include "kernels/model.h"

#define TINY_CHARACTERS "0123456789+-=?\n abcdefghijklmnopqrstuvwxyz"
#define TINY_SPECIAL    "<|end|>"
#define TINY_POSITIONS  512

/* Makes FOLDER (its parent exists). labels 0: a language model; else a token classifier. Fails the
 * test on any error. The same arguments make the same bytes. */
void tiny_model_make(const char *folder, int64_t labels, uint64_t seed);

/* Removes a folder of files and folders. */
void tiny_model_remove(const char *folder);

/* The same with a head of this kind. */
void tiny_model_make_head(const char *folder, enum model_head head, int64_t labels, uint64_t seed);

#endif

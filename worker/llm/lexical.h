/*
 * Embeddings without a model: what a text has in common with another in words and in parts of words. Features are hashed into
 * the numbers of the vector ("the hashing trick": Weinberger et al., "Feature Hashing for Large Scale Multitask Learning",
 * ICML 2009): each adds its weight to one of them, or takes it away. It knows no meaning: "car" and "automobile" are strangers
 * to it, "car" and "cars" are not. It needs no network, costs nothing, and gives the same bits on every machine and build:
 * the sums are whole numbers, and the rest is division and square root, which IEEE 754 rounds in one way.
 *
 *   words      runs of letters and digits, in simple case folding for Latin, Greek and Cyrillic letters; a Chinese, Japanese or
 *              Korean character is a word of its own. The longer, the heavier (the shortest are everywhere)
 *   pairs      of words that follow each other
 *   parts      runs of 3, 4 and 5 characters of a word with its ends marked, so that forms of a word meet
 *
 * Each number is then its square root with its sign, so that what is repeated counts less, and the vector's length is 1.
 */
#ifndef SI_LEXICAL_H
#define SI_LEXICAL_H

#include "base/base.h"

/* n numbers, 1 at least, for a text that is valid UTF-8 and not empty. */
void lexical_vector(str_t text, float *out, size_t n);

#endif

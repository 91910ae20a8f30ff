/* One step of UTF-8, for those who walk through text. See util.h for whole strings. */
#ifndef SI_UTF8_H
#define SI_UTF8_H

#include "base/base.h"

/* Length of the valid sequence at p of n >= 1 bytes (RFC 3629, section 4; NUL counts as valid), or 0. */
size_t utf8_step(const char *p, size_t n);
/* How many of the n bytes at p are certain to stand for themselves in a JSON string; it stops at others, and may stop early. */
size_t utf8_plain(const char *p, size_t n);

#endif

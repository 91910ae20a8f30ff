/* Base64 (RFC 4648): the standard alphabet with padding (section 4), and the URL-safe one without (section 5). */
#ifndef SI_BASE64_H
#define SI_BASE64_H

#include <sys/types.h>

#include "base/base.h"

/* Characters that n bytes become, at most; without the NUL. */
#define BASE64_LEN(n)    (((n) + 2) / 3 * 4)
/* Bytes that n characters become, at most. */
#define BASE64_BYTES(n)  ((n) / 4 * 3 + 3)

/* Text with NUL; out holds BASE64_LEN(n) + 1 bytes. Returns the length. */
size_t  base64_encode(char *out, const void *p, size_t n);
size_t  base64url_encode(char *out, const void *p, size_t n);
/*
 * Number of bytes, or SI_EINVAL: another character, wrong length or padding, bits set behind the last
 * byte (each byte string has exactly one text), or more than cap bytes.
 */
ssize_t base64_decode(void *out, size_t cap, str_t s);
ssize_t base64url_decode(void *out, size_t cap, str_t s);

#endif

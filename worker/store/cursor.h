/* Page cursors: opaque to clients, base64url of "<kind>:<key of the last row>". */
#ifndef SI_STORE_CURSOR_H
#define SI_STORE_CURSOR_H

#include "base/arena.h"

#define CURSOR_KEY_MAX  64

const char *cursor_encode(arena_t *a, char kind, const char *key);
/* The key, 1 to CURSOR_KEY_MAX printable ASCII characters. 0, or SI_EINVAL: not a cursor, or one of another kind. */
int         cursor_decode(arena_t *a, char kind, const char *cursor, const char **key);

#endif

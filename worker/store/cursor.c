#include "store/cursor.h"

#include "base/base64.h"

const char *cursor_encode(arena_t *a, char kind, const char *key)
{
    char  *text = arena_printf(a, "%c:%s", kind, key);
    size_t n = strlen(text);
    char  *out = arena_alloc(a, BASE64_LEN(n) + 1);

    base64url_encode(out, text, n);
    return out;
}

int cursor_decode(arena_t *a, char kind, const char *cursor, const char **key)
{
    char    text[2 + CURSOR_KEY_MAX];
    ssize_t n = base64url_decode(text, sizeof(text), str_of(cursor));

    if (n < 3 || text[0] != kind || text[1] != ':') {
        return SI_EINVAL;
    }
    for (ssize_t i = 2; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return SI_EINVAL;
        }
    }
    *key = arena_dup(a, text + 2, (size_t) n - 2);
    return 0;
}

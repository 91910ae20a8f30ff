#include "base/buf.h"

#include <stdio.h>

#include "base/proc.h"
#include "base/utf8.h"

#define BUF_FIRST  256u         /* bytes of the first allocation */
#define BUF_LARGE  8192u        /* an empty buffer above this gives its memory back */

#define KEPT_SIZES  6u              /* BUF_FIRST, twice that, and so on, to BUF_LARGE */
#define KEPT_BYTES  (256u << 10)    /* of a size: 1.5 MiB at most in all */

struct buf_pool {
    pieces_t sizes[KEPT_SIZES];
};

void buf_pool_init(void)
{
    proc.buf_pool = si_calloc(sizeof *proc.buf_pool);
}

/* Where memory of this size is kept; NULL: nowhere. */
static pieces_t *pool_of(size_t cap)
{
    bool may = proc.buf_pool != NULL && cap >= BUF_FIRST && cap <= BUF_LARGE && (cap & (cap - 1)) == 0;

    return may ? &proc.buf_pool->sizes[__builtin_ctzl(cap / BUF_FIRST)] : NULL;
}

static char *take(size_t cap)
{
    pieces_t *pool = pool_of(cap);
    char   *p = pool != NULL ? pieces_take(pool) : NULL;

    return p != NULL ? p : si_malloc(cap);
}

static void give(char *mem, size_t cap)
{
    pieces_t *pool = pool_of(cap);

    if (pool != NULL) {
        pieces_give(pool, mem, KEPT_BYTES / cap);
    } else {
        free(mem);
    }
}

void buf_init(buf_t *b, size_t max)
{
    *b = (buf_t) { .max = max };
}

void buf_free(buf_t *b)
{
    give(b->mem, b->cap);
    buf_init(b, b->max);
}

/* To new memory of cap >= n bytes. */
static void buf_move(buf_t *b, size_t cap)
{
    char *mem = take(cap);

    if (b->n > 0) {
        memcpy(mem, b->p, b->n);
    }
    give(b->mem, b->cap);
    b->mem = b->p = mem;
    b->cap = cap;
}

char *buf_reserve(buf_t *b, size_t n)
{
    size_t need = b->n + n, cap, front = b->mem ? (size_t) (b->p - b->mem) : 0;

    if (n > b->max || need > b->max) {
        return NULL;
    }
    if (b->mem != NULL && front + need <= b->cap) {
        return b->p + b->n;
    }
    /* Moving is worth it when at least as much is free in front as has to be moved. */
    if (b->mem != NULL && need <= b->cap && front >= b->n) {
        memmove(b->mem, b->p, b->n);
        b->p = b->mem;
        return b->p + b->n;
    }
    cap = SI_MAX(b->cap, (size_t) BUF_FIRST);
    while (cap < need) {
        cap *= 2;
    }
    buf_move(b, SI_MAX(SI_MIN(cap, b->max), need));
    return b->p + b->n;
}

void buf_commit(buf_t *b, size_t n)
{
    if (n > 0 && (b->mem == NULL || (size_t) (b->p - b->mem) + b->n + n > b->cap)) {
        si_die("buf_commit: %zu bytes were not reserved", n);
    }
    b->n += n;
}

int buf_append_slow(buf_t *b, const void *p, size_t n)
{
    char *to;

    if (n == 0) {
        return SI_OK;
    }
    to = buf_reserve(b, n);
    if (to == NULL) {
        return SI_ENOMEM;
    }
    memcpy(to, p, n);
    b->n += n;
    return SI_OK;
}

int buf_int(buf_t *b, int64_t v)
{
    char     digits[20], *p = digits + sizeof digits;
    uint64_t left = v < 0 ? -(uint64_t) v : (uint64_t) v;

    do {
        *--p = (char) ('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (v < 0) {
        *--p = '-';
    }
    return buf_append(b, p, (size_t) (digits + sizeof digits - p));
}

/* Where there is room for it, and a NUL: true. */
static bool print_in_place(buf_t *b, const char *fmt, va_list ap)
{
    size_t room = b->mem != NULL ? b->cap - (size_t) (b->p - b->mem) - b->n : 0;
    int    n = room > 0 ? vsnprintf(b->p + b->n, room, fmt, ap) : -1;

    if (n < 0 || (size_t) n >= room || b->n + (size_t) n > b->max) {
        return false;
    }
    b->n += (size_t) n;
    return true;
}

int buf_printf(buf_t *b, const char *fmt, ...)
{
    va_list ap, again;
    char   *text;
    int     n, rc = SI_OK;

    va_start(ap, fmt);
    va_copy(again, ap);
    if (!print_in_place(b, fmt, ap)) {
        n = vasprintf(&text, fmt, again);
        if (n < 0) {
            si_die("buf_printf: bad format \"%s\"", fmt);
        }
        rc = buf_append(b, text, (size_t) n);
        free(text);
    }
    va_end(again);
    va_end(ap);
    return rc;
}

void buf_clear(buf_t *b, size_t keep)
{
    if (b->cap > keep) {
        buf_free(b);
    }
    b->p = b->mem;
    b->n = 0;
}

void buf_consume(buf_t *b, size_t n)
{
    if (n > b->n) {
        si_die("buf_consume: %zu of %zu bytes", n, b->n);
    }
    b->n -= n;
    if (b->n > 0) {
        b->p += n;
    } else {
        buf_clear(b, BUF_LARGE);
    }
}

/* Writes what stands for the byte c in a JSON string, for those that cannot stand for themselves. */
static int json_escape(buf_t *b, unsigned char c)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *at = c ? strchr(from, c) : NULL;
    char esc[2] = { '\\', 0 };

    if (at == NULL) {
        return buf_printf(b, "\\u%04x", c);
    }
    esc[1] = to[at - from];
    return buf_append(b, esc, 2);
}

/* Where the bytes from i on end that stand for themselves. */
static size_t json_plain(const char *p, size_t n, size_t i)
{
    size_t len = 1;

    while (len > 0) {
        i += utf8_plain(p + i, n - i);
        len = i == n || (unsigned char) p[i] < 0x80 ? 0 : utf8_step(p + i, n - i);
        i += len;
    }
    return i;
}

static int json_body(buf_t *b, const char *p, size_t n)
{
    size_t i = 0;

    for (;;) {
        size_t end = json_plain(p, n, i);
        int    rc = buf_append(b, p + i, end - i);

        if (rc != SI_OK || end == n) {
            return rc;
        }
        rc = (unsigned char) p[end] < 0x80 ? json_escape(b, (unsigned char) p[end]) : buf_append(b, "\xef\xbf\xbd", 3);
        if (rc != SI_OK) {
            return rc;
        }
        i = end + 1;
    }
}

int buf_json_str(buf_t *b, str_t s)
{
    size_t before = b->n;
    int rc = buf_append(b, "\"", 1);

    if (rc == SI_OK) {
        rc = json_body(b, s.p, s.n);
    }
    if (rc == SI_OK) {
        rc = buf_append(b, "\"", 1);
    }
    if (rc != SI_OK) {
        b->n = before;      /* all or nothing */
    }
    return rc;
}

#include "io/sse.h"

#include <stdint.h>

void sse_init(sse_t *s, size_t max)
{
    memset(s, 0, sizeof(*s));
    buf_init(&s->line, max);
    buf_init(&s->data, max);
    buf_init(&s->event, max);
    buf_init(&s->id, max);
    s->retry_ms = -1;
}

void sse_free(sse_t *s)
{
    buf_free(&s->line);
    buf_free(&s->data);
    buf_free(&s->event);
    buf_free(&s->id);
}

static int buf_set(buf_t *b, str_t v)
{
    buf_consume(b, b->n);
    return buf_append(b, v.p, v.n);
}

static int field_data(sse_t *s, str_t v)
{
    /* The standard appends LF after each piece and drops the last one; so an empty piece counts too. */
    if (s->has_data && buf_append(&s->data, "\n", 1) != 0) {
        return SI_ENOMEM;
    }
    s->has_data = true;
    return buf_append(&s->data, v.p, v.n);
}

static void field_retry(sse_t *s, str_t v)
{
    int64_t ms = 0;

    for (size_t i = 0; i < v.n; i++) {
        int digit = v.p[i] - '0';
        if (digit < 0 || digit > 9) {
            return;
        }
        ms = ms > (INT64_MAX - digit) / 10 ? INT64_MAX : ms * 10 + digit;
    }
    if (v.n > 0) {
        s->retry_ms = ms;
    }
}

static int field(sse_t *s, str_t name, str_t v)
{
    if (str_is(name, "data")) {
        return field_data(s, v);
    }
    if (str_is(name, "event")) {
        return buf_set(&s->event, v);
    }
    if (str_is(name, "id") && (v.n == 0 || memchr(v.p, '\0', v.n) == NULL)) {
        return buf_set(&s->id, v);
    }
    if (str_is(name, "retry")) {
        field_retry(s, v);
    }
    return 0;
}

static int dispatch(sse_t *s, int (*fn)(const sse_event_t *e, void *arg), void *arg)
{
    int rc = 0;

    if (s->has_data) {
        sse_event_t e = {
            .event = { s->event.p, s->event.n },
            .data = { s->data.p, s->data.n },
            .id = { s->id.p, s->id.n },
        };
        rc = fn(&e, arg);
    }
    buf_consume(&s->data, s->data.n);
    buf_consume(&s->event, s->event.n);
    s->has_data = false;
    return rc;
}

static int line_end(sse_t *s, str_t line, int (*fn)(const sse_event_t *e, void *arg), void *arg)
{
    if (line.n == 0) {
        return dispatch(s, fn, arg);
    }

    const char *colon = memchr(line.p, ':', line.n);
    if (colon == line.p) {
        return 0;                                       /* a comment */
    }
    if (colon == NULL) {
        return field(s, line, (str_t) { "", 0 });
    }

    str_t name = { line.p, (size_t) (colon - line.p) };
    str_t v = { colon + 1, line.n - name.n - 1 };
    if (v.n > 0 && v.p[0] == ' ') {
        v.p++;
        v.n--;
    }
    return field(s, name, v);
}

/* Drops one leading byte order mark, which may come in pieces. Returns the bytes used of p. */
static int skip_bom(sse_t *s, const char *p, size_t n, size_t *used)
{
    static const char bom[] = "\xEF\xBB\xBF";
    size_t            i = 0;

    while (i < n && s->bom < 3 && p[i] == bom[s->bom]) {
        s->bom++;
        i++;
    }
    *used = i;
    if (s->bom < 3 && i == n) {
        return 0;                                       /* not decided yet */
    }
    s->bom_done = true;
    return s->bom == 3 ? 0 : buf_append(&s->line, bom, (size_t) s->bom);
}

static const char *find(const char *p, const char *end, char c)
{
    const char *at = memchr(p, c, (size_t) (end - p));

    return at != NULL ? at : end;
}

/* One line that ends at `eol`: as a whole in the input (the common case, not copied) or begun in s->line. */
static int whole_line(sse_t *s, const char *p, const char *eol,
                      int (*fn)(const sse_event_t *e, void *arg), void *arg)
{
    size_t n = (size_t) (eol - p);

    if (s->line.n == 0) {
        return n > s->line.max ? SI_ENOMEM : line_end(s, (str_t) { p, n }, fn, arg);
    }
    if (buf_append(&s->line, p, n) != 0) {
        return SI_ENOMEM;
    }
    int rc = line_end(s, (str_t) { s->line.p, s->line.n }, fn, arg);
    buf_consume(&s->line, s->line.n);
    return rc;
}

/*
 * Most of a stream: an event that is one line of data and ends with an empty line, all of it in the input. It is handed out from
 * there. cr: the next CR. Returns the bytes used, 0: it is something else or not whole; *rc: fn's.
 */
static size_t whole_event(sse_t *s, const char *p, const char *end, const char *cr, int *rc,
                          int (*fn)(const sse_event_t *e, void *arg), void *arg)
{
    const char *lf = end - p > 8 && memcmp(p, "data:", 5) == 0 ? memchr(p, '\n', (size_t) (end - p)) : NULL, *from, *to, *last;

    if (lf == NULL || lf + 1 == end || s->line.n > 0 || s->has_data || (size_t) (lf - p) > s->line.max) {
        return 0;
    }
    from = p + 5 + (p[5] == ' ');
    to = lf[-1] == '\r' ? lf - 1 : lf;
    last = lf[1] == '\r' && lf + 2 < end ? lf + 2 : lf + 1;
    if (*last != '\n' || cr < to) {
        return 0;
    }
    *rc = fn(&(sse_event_t) { .event = { s->event.p, s->event.n }, .data = { from, (size_t) (to - from) }, .id = { s->id.p, s->id.n } }, arg);
    if (s->event.n > 0) {
        buf_consume(&s->event, s->event.n);
    }
    return (size_t) (last + 1 - p);
}

int sse_feed(sse_t *s, const char *p, size_t n, int (*fn)(const sse_event_t *e, void *arg), void *arg)
{
    const char *end = p + n, *cr = p, *eol;
    int         rc = 0;
    size_t      used;

    if (!s->bom_done) {
        rc = skip_bom(s, p, n, &used);
        p += used;
    }

    while (rc == 0 && p < end) {
        if (s->cr) {                                    /* LF after CR belongs to the same line end */
            s->cr = false;
            if (*p == '\n') {
                p++;
                continue;
            }
        }
        cr = cr <= p ? find(p, end, '\r') : cr;         /* most streams have none: it is not looked for in each line */
        used = whole_event(s, p, end, cr, &rc, fn, arg);
        if (used > 0) {
            p += used;
            continue;
        }
        eol = find(p, cr, '\n');
        if (eol == end) {
            return buf_append(&s->line, p, (size_t) (end - p));
        }
        s->cr = *eol == '\r';
        rc = whole_line(s, p, eol, fn, arg);
        p = eol + 1;
    }
    return rc;
}

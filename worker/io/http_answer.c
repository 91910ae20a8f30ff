#include "io/http_answer.h"

#include <strings.h>

#include "base/util.h"

#define CHUNK_DIGITS  7         /* of a chunk's size that is taken in haste */

enum { STATUS_LINE, FIELD, BODY, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

void http_answer_init(http_answer_t *a, bool no_body)
{
    *a = (http_answer_t) { .at = STATUS_LINE, .no_body = no_body };
    buf_init(&a->line, HTTP_LINE_MAX);
    buf_init(&a->fields, HTTP_FIELDS_MAX);
}

void http_answer_free(http_answer_t *a)
{
    buf_free(&a->line);
    buf_free(&a->fields);
}

static int refuse(http_answer_t *a, const char *why)
{
    a->why = why;
    return SI_EPROTO;
}

/* --- the head --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK" */
static int status_line(http_answer_t *a, str_t l)
{
    bool good = l.n >= 12 && memcmp(l.p, "HTTP/1.", 7) == 0 && is_digit(l.p[7]) && l.p[8] == ' ' && l.p[9] >= '1' && l.p[9] <= '9'
                && is_digit(l.p[10]) && is_digit(l.p[11]) && (l.n == 12 || l.p[12] == ' ');

    if (!good) {
        return refuse(a, "the answer is no HTTP/1");
    }
    a->status = (l.p[9] - '0') * 100 + (l.p[10] - '0') * 10 + (l.p[11] - '0');
    a->last = l.p[7] == '0';            /* HTTP/1.0 */
    a->has_length = a->chunked = false;
    a->nfields = 0;
    buf_consume(&a->fields, a->fields.n);
    a->at = FIELD;
    return 0;
}

static bool named(str_t s, const char *name)
{
    return s.n == strlen(name) && strncasecmp(s.p, name, s.n) == 0;
}

static int set_length(http_answer_t *a, str_t v)
{
    uint64_t n;

    if (parse_u64(v, &n) != 0 || n > INT64_MAX) {
        return refuse(a, "the answer's length is no number");
    }
    if (a->has_length && n != a->left) {
        return refuse(a, "the answer has two lengths");
    }
    a->has_length = true;
    a->left = n;
    return 0;
}

/* Whether a list has this word. */
static bool lists(str_t v, const char *word)
{
    const char *p = v.p, *end = v.p + v.n, *stop;

    while (p < end) {
        str_t one;

        stop = memchr(p, ',', (size_t) (end - p));
        stop = stop != NULL ? stop : end;
        for (one = (str_t) { p, (size_t) (stop - p) }; one.n > 0 && (*one.p == ' ' || *one.p == '\t'); one.p++, one.n--) {
        }
        while (one.n > 0 && (one.p[one.n - 1] == ' ' || one.p[one.n - 1] == '\t')) {
            one.n--;
        }
        if (named(one, word)) {
            return true;
        }
        p = stop + 1;
    }
    return false;
}

/* What the field says about the end of the answer, and of the connection. */
static int heed(http_answer_t *a, str_t name, str_t v)
{
    if (named(name, "content-length")) {
        return set_length(a, v);
    }
    if (named(name, "transfer-encoding")) {
        if (a->chunked || !named(v, "chunked")) {
            return refuse(a, "the answer has a transfer coding that is not chunked");
        }
        a->chunked = true;
    } else if (named(name, "connection")) {
        a->last = a->last || lists(v, "close");
    }
    return 0;
}

static void keep(http_answer_t *a, str_t name, str_t v)
{
    if (a->nfields < HTTP_FIELDS && buf_reserve(&a->fields, name.n + v.n + 2) != NULL) {
        (void) buf_append(&a->fields, name.p, name.n);
        (void) buf_append(&a->fields, "", 1);
        (void) buf_append(&a->fields, v.p, v.n);
        (void) buf_append(&a->fields, "", 1);
        a->nfields++;
    }
}

static int field(http_answer_t *a, str_t l)
{
    const char *colon = memchr(l.p, ':', l.n);
    str_t       name, v;

    if (l.p[0] == ' ' || l.p[0] == '\t') {
        return refuse(a, "the answer has a folded header");
    }
    if (colon == NULL || colon == l.p || colon[-1] == ' ' || colon[-1] == '\t') {
        return refuse(a, "the answer has a malformed header");
    }
    name = (str_t) { l.p, (size_t) (colon - l.p) };
    for (v = (str_t) { colon + 1, l.n - name.n - 1 }; v.n > 0 && (*v.p == ' ' || *v.p == '\t'); v.p++, v.n--) {
    }
    while (v.n > 0 && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t')) {
        v.n--;
    }
    keep(a, name, v);
    return heed(a, name, v);
}

/* RFC 9112, section 6.3: where the body ends. */
static int head_end(http_answer_t *a)
{
    if (a->status < 200 && a->status != 101) {
        a->at = STATUS_LINE;
        return 0;
    }
    a->head_done = true;
    a->last = a->last || (a->chunked && a->has_length);     /* one of the two is not meant for us */
    if (a->no_body || a->status == 204 || a->status == 304) {
        a->done = true;
    } else if (a->chunked && a->status != 101) {
        a->at = CHUNK_SIZE;
    } else if (a->has_length && a->status != 101) {
        a->at = BODY;
        a->done = a->left == 0;
    } else {
        a->at = UNTIL_CLOSE;
    }
    a->last = a->last || a->at == UNTIL_CLOSE;
    return 0;
}

/* --- chunks --- */

/* "1a", or "1a ; extension" */
static int chunk_size(http_answer_t *a, str_t l)
{
    size_t i = 0;

    for (a->left = 0; i < l.n && hex_digit(l.p[i]) >= 0; i++) {
        if (a->left > INT64_MAX >> 4) {
            return refuse(a, "the answer has a chunk that is too long");
        }
        a->left = a->left << 4 | (uint64_t) hex_digit(l.p[i]);
    }
    if (i == 0 || (i < l.n && l.p[i] != ';' && l.p[i] != ' ' && l.p[i] != '\t')) {
        return refuse(a, "the answer has a malformed chunk");
    }
    a->at = a->left > 0 ? CHUNK : TRAILER;
    return 0;
}

/* --- lines --- */

static int whole_line(http_answer_t *a, str_t l)
{
    if (l.n > 0 && l.p[l.n - 1] == '\r') {
        l.n--;
    }
    if (l.n > 0 && (memchr(l.p, '\r', l.n) != NULL || memchr(l.p, '\0', l.n) != NULL)) {
        return refuse(a, "the answer has a NUL or a bare CR in its head");
    }
    switch (a->at) {
    case STATUS_LINE:
        return status_line(a, l);
    case FIELD:
        return l.n > 0 ? field(a, l) : head_end(a);
    case CHUNK_SIZE:
        return chunk_size(a, l);
    case CHUNK_END:
        a->at = CHUNK_SIZE;
        return l.n > 0 ? refuse(a, "the answer has a chunk that is longer than it says") : 0;
    default:                            /* TRAILER */
        a->done = l.n == 0;
        return 0;
    }
}

/* One line, or the part of it that is there: bytes used, or SI_E*. */
static ssize_t feed_line(http_answer_t *a, const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    size_t      len = lf != NULL ? (size_t) (lf - p) : n, used = len + (lf != NULL);
    int         rc;

    a->head_bytes += a->at == CHUNK_SIZE || a->at == CHUNK_END ? 0 : used;
    if (a->head_bytes > HTTP_HEAD_MAX || a->line.n + len > HTTP_LINE_MAX) {
        return refuse(a, "the answer's head is too long");
    }
    if (lf != NULL && a->line.n == 0) {
        rc = whole_line(a, (str_t) { p, len });
    } else {
        rc = buf_append(&a->line, p, len);
        if (rc == 0 && lf != NULL) {
            rc = whole_line(a, (str_t) { a->line.n > 0 ? a->line.p : "", a->line.n });
            buf_consume(&a->line, a->line.n);
        }
    }
    return rc != 0 ? rc : (ssize_t) used;
}

static ssize_t feed_body(http_answer_t *a, const char *p, size_t n, buf_t *body)
{
    n = a->at == UNTIL_CLOSE ? n : (size_t) SI_MIN(a->left, (uint64_t) n);
    if (buf_append(body, p, n) != 0) {
        return SI_ENOMEM;
    }
    a->left -= a->at == UNTIL_CLOSE ? 0 : n;
    if (a->at == BODY) {
        a->done = a->left == 0;
    } else if (a->at == CHUNK && a->left == 0) {
        a->at = CHUNK_END;
    }
    return (ssize_t) n;
}

/* The bytes of a chunk's size line as everybody writes it ("1a", CR, LF) for a chunk that is not the last one; 0: it is another, or not whole. */
static size_t plain_size(const char *p, const char *end, size_t *size)
{
    const char *from = p;
    int         digit;

    for (*size = 0; end - p > 2 && p - from < CHUNK_DIGITS && (digit = hex_digit(*p)) >= 0; p++) {
        *size = *size << 4 | (size_t) digit;
    }
    return *size > 0 && end - p >= 2 && p[0] == '\r' && p[1] == '\n' ? (size_t) (p - from) + 2 : 0;
}

/*
 * A stream is hundreds of small chunks, dozens in one read: whole ones are taken in a row, without the steps from state to state.
 * Returns the bytes used; what is begun, odd, or has no room is left to those who read it with all care.
 */
static ssize_t whole_chunks(http_answer_t *a, const char *p, size_t n, buf_t *body)
{
    const char *at = p, *end = p + n;
    char       *to = a->line.n == 0 ? buf_reserve(body, n) : NULL;      /* more than it will be */
    size_t      size, head, put = 0;

    while (to != NULL && (head = plain_size(at, end, &size)) > 0 && (size_t) (end - at) >= head + size + 2
           && at[head + size] == '\r' && at[head + size + 1] == '\n') {
        memcpy(to + put, at + head, size);
        put += size;
        at += head + size + 2;
    }
    buf_commit(body, put);
    return at - p;
}

int http_answer_feed(http_answer_t *a, const char *p, size_t n, buf_t *body, size_t *used)
{
    ssize_t rc;

    *used = 0;
    while (*used < n && !a->done) {
        bool content = a->at == BODY || a->at == CHUNK || a->at == UNTIL_CLOSE;

        rc = a->at == CHUNK_SIZE ? whole_chunks(a, p + *used, n - *used, body) : 0;
        if (rc == 0) {
            rc = content ? feed_body(a, p + *used, n - *used, body) : feed_line(a, p + *used, n - *used);
        }
        if (rc < 0) {
            return (int) rc;
        }
        *used += (size_t) rc;
    }
    return 0;
}

int http_answer_eof(http_answer_t *a)
{
    if (a->done || (a->at == UNTIL_CLOSE && a->head_done)) {
        a->done = true;
        return 0;
    }
    return refuse(a, a->head_done ? "the connection was closed within the answer"
                     : a->head_bytes > 0 ? "the connection was closed within the head" : "empty reply: the connection was closed before an answer");
}

const char *http_answer_field(const http_answer_t *a, const char *name)
{
    const char *p = a->fields.p;

    for (size_t i = 0; i < a->nfields; i++) {
        const char *v = p + strlen(p) + 1;

        if (strcasecmp(p, name) == 0) {
            return v;
        }
        p = v + strlen(v) + 1;
    }
    return NULL;
}

/* What a call answers. */
#include "link/wire.h"

#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"

#define HEAD_USUAL  512                 /* bytes of most */

/* HEAD */

static void put_field(buf_t *b, uint8_t tag, const void *p, size_t n)
{
    uint8_t head[5];

    si_field_head(head, tag, (uint32_t) n);
    (void) buf_append(b, head, sizeof head);
    (void) buf_append(b, p, n);
}

static void put_u32(buf_t *b, uint8_t tag, uint32_t v)
{
    uint8_t p[4];

    si_put32(p, v);
    put_field(b, tag, p, sizeof p);
}

static void put_text(buf_t *b, uint8_t tag, const char *z)
{
    if (z != NULL && strlen(z) <= SI_KEY_MAX) {
        put_field(b, tag, z, strlen(z));
    }
}

static inline bool token_char(char c)
{
    unsigned letter = ((unsigned char) c | 32u) - 'a';

    return letter < 26 || c == '-' || (c >= '0' && c <= '9') || (c != '\0' && strchr("!#$%&'*+.^_`|~", c) != NULL);
}

/* A name is a token of RFC 9110, a value has no line breaks: nothing can be smuggled into the response. */
static bool header_ok(const char *name, const char *value)
{
    if (name == NULL || value == NULL || name[0] == '\0') {
        return false;
    }
    while (token_char(*name)) {
        name++;
    }
    return *name == '\0' && value[strcspn(value, "\r\n")] == '\0';
}

/* Everything together stays below SI_OPEN_MAX, whatever the handler gives. */
static void put_header(buf_t *b, const char *name, const char *value)
{
    size_t  n, v;
    uint8_t head[5];

    if (!header_ok(name, value) || (n = strlen(name) + 1) + (v = strlen(value)) > 8192) {
        log_line(LOG_ERROR, "response header dropped", "name", name != NULL && header_ok(name, "") ? name : "?", NULL);
        return;
    }
    si_field_head(head, SI_T_HEADER, (uint32_t) (n + v));
    (void) buf_append(b, head, sizeof head);
    (void) buf_append(b, name, n);
    (void) buf_append(b, value, v);
}

static void put_head(buf_t *b, const call_head_t *h)
{
    put_u32(b, SI_T_STATUS, (uint32_t) h->status);
    if (h->length >= 0 && h->length <= UINT32_MAX) {
        put_u32(b, SI_T_LENGTH, (uint32_t) h->length);
    }
    if (h->stream) {
        put_field(b, SI_T_STREAM, "", h->once);
    }
    if (h->type != NULL) {
        put_header(b, "Content-Type", h->type);
    }
    for (size_t i = 0; i < SI_MIN(h->nheaders, SI_COUNT(h->headers)); i++) {
        put_header(b, h->headers[i][0], h->headers[i][1]);
    }
}

/* Of an answer that may last. */
static void put_credential(buf_t *b, const call_t *call)
{
    uint8_t until[8];

    if (call->marks != NULL) {
        put_field(b, SI_T_MARKS, call->marks, SI_MARKS_SIZE);
    }
    if (call->until > 0) {
        si_put64(until, call->until);
        put_field(b, SI_T_UNTIL, until, sizeof until);
    }
}

static void send_frame(link_t *l, uint8_t type, uint8_t flags, uint64_t id, const void *p, size_t n)
{
    uint8_t *to = link_frame(l, type, flags, id, n);

    if (to != NULL && n > 0) {
        memcpy(to, p, n);
    }
}

void call_head(call_t *call, const call_head_t *head)
{
    call_core_t *c = call_core(call);
    buf_t        b;

    if (call->status != 0) {
        log_line(LOG_ALERT, "a handler answered twice", NULL);
        return;
    }
    call->status = head->status;
    if (c->link == NULL) {
        return;
    }
    buf_init(&b, SI_OPEN_MAX);
    (void) buf_reserve(&b, HEAD_USUAL);
    put_head(&b, head);
    put_text(&b, SI_T_TENANT, call->tenant);
    put_text(&b, SI_T_USER, call->user);
    put_text(&b, SI_T_TURN, call->turn);
    put_text(&b, SI_T_CREDENTIAL, call->credential);
    if (head->stream || head->status == 101) {
        put_credential(&b, call);
    }
    send_frame(c->link, SI_F_HEAD, 0, c->id, b.p, b.n);
    buf_free(&b);
}

void answer_problem(link_t *l, uint64_t id, int status, const char *title, const char *code, const char *detail)
{
    call_head_t head = { .status = status, .type = "application/problem+json" };
    char        body[512];
    buf_t       b;

    head.length = snprintf(body, sizeof body,
                           "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\",\"detail\":\"%s\"}",
                           title, status, code, detail);
    if (status == 503) {
        head.headers[head.nheaders][0] = "Retry-After";
        head.headers[head.nheaders++][1] = "1";
    }
    buf_init(&b, SI_OPEN_MAX);
    put_head(&b, &head);
    send_frame(l, SI_F_HEAD, 0, id, b.p, b.n);
    buf_free(&b);
    send_frame(l, SI_F_DATA, 0, id, body, (size_t) head.length);
    link_frame0(l, SI_F_END, 0, id);
}

void call_push(call_t *call, uint8_t kind, const void *p, size_t n)
{
    call_core_t *c = call_core(call);

    if (c->link != NULL) {
        link_push(c->link, kind, p, n);
    }
}

/* Bytes */

const char *call_got_credit(link_t *l, const si_frame_t *f, const uint8_t *p)
{
    hash_node_t *n = hash_get(&l->calls, (str_t) { (const char *) &f->id, sizeof f->id });
    call_core_t *c = n ? container_of(n, call_core_t, node) : NULL;

    if (c == NULL) {
        return NULL;                    /* over: it was under way */
    }
    if (si_get32(p) > c->unacked) {
        return "CREDIT for more than was sent";
    }
    c->unacked -= si_get32(p);
    wait_wake(&c->writable, 0);
    return NULL;
}

void answer_wake_writers(link_t *l)
{
    call_core_t *c;

    while ((c = list_first(&l->writers, call_core_t, writer)) != NULL) {
        list_remove(&c->writer);
        wait_wake(&c->writable, 0);
    }
}

/*
 * Waits until the call may send: the link's output is short and, for private bytes, the window is open.
 * Events of a resume have no window (one may be longer than it): the link's output bounds them.
 */
static int co_call_room(call_core_t *c, size_t window, uint64_t deadline)
{
    int rc;

    for ( ;; ) {
        if (c->link == NULL || c->link->dead) {
            return co_cancelled(co_self()) ? SI_ECANCELED : SI_ECLOSED;
        }
        if (c->pub.status == 0) {
            log_line(LOG_ALERT, "a handler sent bytes before the head", NULL);
            return SI_EINVAL;
        }
        if (c->unacked < window && c->link->out.n < LINK_OUT_HIGH) {
            return 0;
        }
        wait_init(&c->writable);
        if (c->unacked < window) {
            list_push(&c->link->writers, &c->writer);
        }
        rc = co_wait(&c->writable, "call:write", deadline);
        list_remove(&c->writer);
        if (rc != 0) {
            return rc;
        }
    }
}

int co_call_write(call_t *call, const void *p, size_t n, uint64_t deadline)
{
    call_core_t *c = call_core(call);
    const char  *from = p;
    size_t       part;
    int          rc;

    if (c->local) {
        return local_write(c, p, n);
    }
    while (n > 0) {
        rc = co_call_room(c, SI_WINDOW, deadline);
        if (rc != 0) {
            return rc;
        }
        part = SI_MIN(n, SI_MIN(SI_WINDOW - c->unacked, (size_t) SI_DATA_MAX));
        send_frame(c->link, SI_F_DATA, 0, c->id, from, part);
        c->unacked += part;
        from += part;
        n -= part;
    }
    return 0;
}

int co_call_piece(call_t *call, const void *p, size_t n, uint64_t deadline)
{
    call_core_t *c = call_core(call);
    int          rc = n <= SI_DATA_MAX ? co_call_room(c, SI_WINDOW - n + 1, deadline) : SI_EINVAL;

    if (rc == 0) {
        send_frame(c->link, SI_F_DATA, 0, c->id, p, n);
        c->unacked += n;
    }
    return rc;
}

int co_call_event(call_t *call, str_t id, str_t wire, uint64_t deadline)
{
    call_core_t *c = call_core(call);
    size_t       n = 1 + id.n + wire.n;
    uint8_t     *p;
    int          rc;

    if (call->resume.n == 0) {
        return co_call_write(call, wire.p, wire.n, deadline);
    }
    if (id.n == 0 || id.n > SI_ID_MAX || wire.n == 0 || n > SI_FRAME_MAX) {
        log_line(LOG_ALERT, "event without id or bytes, or too long for a frame", NULL);
        return SI_EINVAL;
    }
    rc = co_call_room(c, SIZE_MAX, deadline);
    if (rc != 0) {
        return rc;
    }
    p = link_frame(c->link, SI_F_DATA, SI_FL_EVENT, c->id, n);
    if (p != NULL) {
        p[0] = (uint8_t) id.n;
        memcpy(p + 1, id.p, id.n);
        memcpy(p + 1 + id.n, wire.p, wire.n);
        c->unacked += n;                /* an edge may acknowledge them all the same */
    }
    return 0;
}

/* Ends */

static void end_with(call_t *call, uint8_t flags)
{
    call_core_t *c = call_core(call);

    if (c->link != NULL) {
        link_frame0(c->link, SI_F_END, flags, c->id);
        call_over(c);
    }
}

void call_end(call_t *call)
{
    local_end(call_core(call));
    end_with(call, 0);
}

void call_abort(call_t *call)
{
    end_with(call, SI_FL_ABORT);
}

void call_moved(call_t *call, const char *instance)
{
    call_core_t *c = call_core(call);
    size_t       n = strlen(instance);

    if (call->status != 0 || n == 0 || n > SI_KEY_MAX || strchr(instance, '/') != NULL) {
        log_line(LOG_ALERT, "a call cannot be moved", "instance", instance, NULL);
        return;                         /* the handler returns and the call is answered 500, or cut */
    }
    if (c->link != NULL) {
        send_frame(c->link, SI_F_MOVED, 0, c->id, instance, n);
        call_over(c);
    }
}

bool call_attach(call_t *call, evlog_t *log)
{
    call_core_t *c = call_core(call);

    if (c->link == NULL || c->link->dead) {
        return false;
    }
    if (call->status == 0) {
        log_line(LOG_ALERT, "a handler attached before the head", NULL);
        return false;
    }
    evlog_attach(log, c->link, c->id);
    call_over(c);
    return true;
}

/* Links and calls: a hand-written edge against the worker's side. */
#include "edge.h"

#include <sys/stat.h>

#define MAX_CALLS  4

static int    released;                 /* parked handlers go on */
static int    ended_with;               /* what the last wait of a handler returned */
static size_t ended;                    /* handlers that have left */
static bool   alive_at_end;

/* Handlers, one for each path. */

static void head(call_t *call, int status, int64_t length)
{
    call_head(call, &(call_head_t) { .status = status, .length = length, .type = "text/plain" });
}

static void co_hello(call_t *call)
{
    call->tenant = "t1";
    call->user = "u1";
    call_head(call, &(call_head_t) { .status = 200, .length = 5, .type = "text/plain", .nheaders = 3,
                                     .headers = { { "X-One", "1" }, { "X-Bad", "a\r\nSet-Cookie: b" }, { "Bad Name", "1" } } });
    ended_with = co_call_write(call, "hello", 5, soon());
    call_end(call);
}

static void co_mirror(call_t *call)
{
    char *text = arena_printf(call->arena, "%.*s|%.*s|%.*s|%.*s|%.*s|%.*s|%.*s|%d|%.*s|%llu", STR_ARG(call->method), STR_ARG(call->path),
                              STR_ARG(call->query), STR_ARG(call->addr), STR_ARG(call->key),
                              STR_ARG(call_header(call, "accept")), STR_ARG(call_header(call, "host")),
                              call_header(call, "none").p == NULL, STR_ARG(call->ticket), (unsigned long long) call->until);

    head(call, 200, -1);
    co_call_write(call, text, strlen(text), soon());
    call_end(call);
}

static void co_body(call_t *call)
{
    uint8_t sum[SHA256_LEN];
    char    hex[2 * SHA256_LEN + 1];
    str_t   body;

    ended_with = co_call_body(call, 300000, &body, soon());
    if (ended_with == 0) {
        sha256(sum, body.p, body.n);
        hex_encode(hex, sum, sizeof sum);
        head(call, 200, -1);
        co_call_write(call, hex, strlen(hex), soon());
    } else {
        while (!released && str_is(call->path, "/body/late") && co_sleep(1, "test") == 0) {
        }
        head(call, ended_with == SI_ENOMEM ? 413 : 400, 0);
    }
    call_end(call);
}

static void co_long(call_t *call)
{
    char *big = arena_calloc(call->arena, 200000);

    for (size_t i = 0; i < 200000; i++) {
        big[i] = (char) (i * 7 % 251);
    }
    head(call, 200, 200000);
    ended_with = co_call_write(call, big, 200000, soon());
    call_end(call);
}

static void co_park(call_t *call)
{
    ended_with = 0;
    while (!released && ended_with == 0) {
        ended_with = co_sleep(1, "test");
    }
    if (ended_with == 0) {
        head(call, 204, 0);
        call_end(call);
    }
}

static void co_resume(call_t *call)
{
    call_head(call, &(call_head_t) { .status = 200, .length = -1, .stream = true });
    if (str_is(call->resume, "c:1") && str_is(call->resume_tenant, "t1") && str_is(call->resume_id, "4.2")) {
        co_call_event(call, STR("4.3"), STR("data: x\n\n"), soon());
        char *big = arena_calloc(call->arena, 1 << 20);
        co_call_event(call, STR("4.4"), (str_t) { big, 1 << 20 }, soon());
    }
    call_end(call);
}

static void co_bad_end(call_t *call)
{
    if (str_is(call->path, "/none")) {
        return;
    }
    if (str_is(call->path, "/early")) {
        ended_with = co_call_write(call, "x", 1, soon());
        return;
    }
    head(call, 200, -1);
    if (str_is(call->path, "/cut")) {
        call_abort(call);
    }
}

static void co_handler(call_t *call)
{
    if (call->resume.n > 0) {
        co_resume(call);
    } else if (str_is(call->path, "/hello")) {
        co_hello(call);
    } else if (str_is(call->path, "/mirror")) {
        co_mirror(call);
    } else if (call->path.n >= 5 && memcmp(call->path.p, "/body", 5) == 0) {
        co_body(call);
    } else if (str_is(call->path, "/long")) {
        co_long(call);
    } else if (str_is(call->path, "/park")) {
        co_park(call);
    } else if (str_is(call->path, "/moved")) {
        call_moved(call, "7.99");
    } else {
        co_bad_end(call);
    }
    alive_at_end = call_alive(call);
    ended++;
}

static bool no_calls(void) { return links_calls() == 0; }

/* Expects HEAD `status`, bytes, END; gives credit for all. Returns the bytes' number, -1 if it is otherwise. */
static long co_answer(edge_t *e, uint64_t id, int status, buf_t *bytes)
{
    long n = 0;

    if (co_edge_next(e) != SI_F_HEAD || e->f.id != id || edge_status(e) != status) {
        return -1;
    }
    while (co_edge_next(e) == SI_F_DATA && e->f.id == id && e->f.flags == 0) {
        n += (long) e->f.length;
        if (bytes != NULL) {
            (void) buf_append(bytes, e->p, e->f.length);
        }
        co_edge_send32(e, SI_F_CREDIT, id, e->f.length);
    }
    return e->f.type == SI_F_END && e->f.id == id && e->f.flags == 0 ? n : -1;
}

static void co_expect(edge_t *e, uint64_t id, const char *path, int status, const char *what)
{
    co_edge_open(e, id, 0, "GET", path);
    ok(co_answer(e, id, status, NULL) >= 0, "%s", what);
}

/* Tests */

static void co_test_hello(void)
{
    edge_t e;

    edge_init(&e);
    is_int(co_edge_next(&e), SI_F_HELLO, "the worker's first frame is HELLO");
    is_int(si_get32((const uint8_t *) edge_field(&e, SI_T_VERSION).p), SI_LINK_VERSION, "with the version");
    ok(str_is(edge_field(&e, SI_T_PEER), proc.instance), "and the instance");
    edge_close(&e);

    co_edge_up(&e);
    co_edge_open(&e, 5, 0, "GET", "/hello");
    is_int(co_edge_next(&e), SI_F_HEAD, "HEAD");
    is_int(edge_status(&e), 200, "status");
    ok(edge_has(&e, "Content-Type", "text/plain") && edge_has(&e, "X-One", "1"), "headers");
    ok(memmem(e.p, e.f.length, "Set-Cookie", 10) == NULL && memmem(e.p, e.f.length, "Bad Name", 8) == NULL,
       "headers that could split the response are dropped");
    ok(str_is(edge_field(&e, SI_T_TENANT), "t1") && str_is(edge_field(&e, SI_T_USER), "u1"), "tenant and user");
    ok(edge_field(&e, SI_T_LENGTH).n == 4 && edge_field(&e, SI_T_TURN).p == NULL
       && edge_field(&e, SI_T_STREAM).p == NULL, "length; no turn, no stream");
    is_int(co_edge_next(&e), SI_F_DATA, "DATA");
    is_mem(e.p, e.f.length, "hello", "its bytes");
    is_int(co_edge_next(&e), SI_F_END, "END");
    is_int(e.f.flags, 0, "whole");
    edge_close(&e);
}

static void open_fields(buf_t *f)
{
    put_text(f, SI_T_METHOD, "PUT");
    put_text(f, SI_T_PATH, "/mirror");
    put_text(f, SI_T_ARGS, "a=1&b");
    put_text(f, SI_T_ADDR, "192.0.2.1");
    put_text(f, SI_T_CALL_KEY, "k-1");
    put_text(f, SI_T_TICKET, "st");
    put_field(f, SI_T_UNTIL, "\1\0\0\0\1\0\0", 8);
    put_header(f, "accept", "a");
    put_header(f, "host", "h");
    put_header(f, "accept", "b");
}

static void co_test_request(void)
{
    edge_t e;
    buf_t  f, got;

    buf_init(&f, SI_OPEN_MAX);
    buf_init(&got, 4096);
    co_edge_up(&e);
    open_fields(&f);
    co_edge_send(&e, SI_F_OPEN, 0, 1, f.p, f.n);
    co_answer(&e, 1, 200, &got);
    is_mem(got.p, got.n, "PUT|/mirror|a=1&b|192.0.2.1|k-1|a, b|h|1|st|4294967297", "the handler sees every field");

    /* Larger than the read buffer. */
    char *big = si_calloc(120000);
    memset(big, 'x', 119999);
    memcpy(big, "filler", 7);
    put_field(&f, SI_T_HEADER, big, 119999);
    free(big);
    co_edge_send(&e, SI_F_OPEN, 0, 2, f.p, f.n);
    ok(co_answer(&e, 2, 200, NULL) > 0, "an OPEN longer than the read buffer");
    co_expect(&e, 3, "/hello", 200, "the next one");

    buf_consume(&f, f.n);
    open_fields(&f);
    for (int i = 0; i < 98; i++) {
        put_header(&f, "x-more", "1");
    }
    co_edge_send(&e, SI_F_OPEN, 0, 4, f.p, f.n);
    ok(co_answer(&e, 4, 431, NULL) > 0, "101 headers: 431");
    edge_close(&e);
    buf_free(&f);
    buf_free(&got);
}

/* Sends n bytes of body in pieces within the window; reads credit. False if credit was missing. */
static bool co_send_body(edge_t *e, uint64_t id, const char *p, size_t n, size_t piece)
{
    size_t unacked = 0, part;

    while (n > 0) {
        part = SI_MIN(n, piece);
        while (unacked + part > SI_WINDOW) {
            if (co_edge_next(e) != SI_F_CREDIT || e->f.id != id || si_get32(e->p) > unacked) {
                return false;
            }
            unacked -= si_get32(e->p);
        }
        co_edge_send(e, SI_F_BODY, part == n ? SI_FL_LAST : 0, id, p, part);
        unacked += part;
        p += part;
        n -= part;
    }
    return true;
}

/* Skips CREDITs that were not waited for. */
static long co_answer_after_credit(edge_t *e, uint64_t id, int status, buf_t *bytes)
{
    while (co_edge_next(e) == SI_F_CREDIT && e->f.id == id) {
    }
    if (e->f.type != SI_F_HEAD) {
        return -1;
    }
    e->used = 0;                        /* HEAD once more */
    return co_answer(e, id, status, bytes);
}

static void co_test_body(void)
{
    static const size_t sizes[] = { 0, 1, 1000, 65536, 65537, 200000, 300000 }, pieces[] = { 65536, 10000, 777 };
    uint64_t id = 1;
    uint8_t  sum[SHA256_LEN];
    char     hex[2 * SHA256_LEN + 1], *data = si_malloc(400000);
    buf_t    got;
    edge_t   e;
    bool     good = true;

    random_bytes(data, 400000);
    buf_init(&got, 4096);
    co_edge_up(&e);
    for (size_t s = 0; s < SI_COUNT(sizes); s++) {
        sha256(sum, data, sizes[s]);
        hex_encode(hex, sum, sizeof sum);
        for (size_t i = 0; i < SI_COUNT(pieces); i++, id++) {
            co_edge_open(&e, id, SI_FL_BODY, "POST", "/body");
            if (sizes[s] == 0) {
                co_edge_send(&e, SI_F_BODY, SI_FL_LAST, id, NULL, 0);
            }
            good = good && co_send_body(&e, id, data, sizes[s], pieces[i]);
            buf_consume(&got, got.n);
            good = good && co_answer_after_credit(&e, id, 200, &got) >= 0;
            good = good && got.n == strlen(hex) && memcmp(got.p, hex, got.n) == 0;
        }
    }
    ok(good, "bodies of several sizes, in pieces, with credit");

    released = 0;
    co_edge_open(&e, 100, SI_FL_BODY, "POST", "/body/late");
    ok(co_send_body(&e, 100, data, 400000, 20000), "a body that is too long is taken and acknowledged");
    is_int(ended_with, SI_ENOMEM, "co_call_body says so");
    released = 1;
    ok(co_answer_after_credit(&e, 100, 413, NULL) == 0, "and is answered");

    co_edge_open(&e, 101, SI_FL_BODY, "POST", "/hello");
    ok(co_answer(&e, 101, 200, NULL) == 5, "an answer before the body");
    co_edge_send(&e, SI_F_BODY, 0, 101, data, 5000);
    co_edge_send32(&e, SI_F_CREDIT, 101, 5);
    co_edge_send(&e, SI_F_CANCEL, 0, 101, NULL, 0);
    ok(co_edge_quiet(&e), "frames of a call that is over are ignored");
    edge_close(&e);
    buf_free(&got);
    free(data);
}

static bool in_write;

static void find_write(co_t *co, const char *name, const char *label, const char *where, uint64_t since, void *arg)
{
    (void) co; (void) name; (void) label; (void) since; (void) arg;
    in_write |= strcmp(where, "call:write") == 0;
}

static bool writer_waits(void)
{
    in_write = false;
    co_each(find_write, NULL);
    return in_write;
}

/* Reads DATA until `n` bytes have come. */
static bool co_read_data(edge_t *e, uint64_t id, size_t n, size_t *at)
{
    while (n > 0) {
        if (co_edge_next(e) != SI_F_DATA || e->f.id != id || e->f.length > n) {
            return false;
        }
        for (size_t i = 0; i < e->f.length; i++, (*at)++) {
            if (e->p[i] != (uint8_t) (*at * 7 % 251)) {
                return false;
            }
        }
        n -= e->f.length;
    }
    return true;
}

static void co_test_window(void)
{
    edge_t e;
    size_t at = 0;

    co_edge_up(&e);
    co_edge_open(&e, 9, 0, "GET", "/long");
    is_int(co_edge_next(&e), SI_F_HEAD, "HEAD of a long answer");
    ok(co_read_data(&e, 9, SI_WINDOW, &at), "one window of bytes");
    ok(co_until(writer_waits) && co_edge_quiet(&e), "then the writer waits for credit");
    co_edge_send32(&e, SI_F_CREDIT, 9, 1000);
    ok(co_read_data(&e, 9, 1000, &at), "credit for 1,000 bytes brings 1,000");
    ok(co_until(writer_waits) && co_edge_quiet(&e), "and no more");
    co_edge_send32(&e, SI_F_CREDIT, 9, SI_WINDOW);
    ok(co_read_data(&e, 9, SI_WINDOW, &at), "another window");
    co_edge_send32(&e, SI_F_CREDIT, 9, SI_WINDOW / 2);
    co_edge_send32(&e, SI_F_CREDIT, 9, SI_WINDOW / 2);
    ok(co_read_data(&e, 9, SI_WINDOW, &at), "another in halves");
    co_edge_send32(&e, SI_F_CREDIT, 9, SI_WINDOW);
    ok(co_read_data(&e, 9, 200000 - at, &at) && co_edge_next(&e) == SI_F_END, "the rest and END");
    is_int(ended_with, 0, "the writer is content");
    edge_close(&e);
}

static void co_test_cancel(void)
{
    edge_t e;

    released = 0;
    co_edge_up(&e);
    co_edge_open(&e, 1, 0, "GET", "/park");
    co_edge_open(&e, 2, 0, "GET", "/hello");
    ok(co_answer(&e, 2, 200, NULL) == 5, "a second call meanwhile");
    co_edge_send(&e, SI_F_CANCEL, 0, 1, NULL, 0);
    ok(co_until(no_calls), "CANCEL ends the handler");
    is_int(ended_with, SI_ECANCELED, "its wait is cancelled");
    ok(!alive_at_end, "the call is not alive");
    ok(co_edge_quiet(&e), "and nothing is answered");

    co_edge_open(&e, 3, 0, "GET", "/long");
    ok(co_until(writer_waits), "a writer that waits for credit");
    edge_close(&e);
    ok(co_until(no_calls) && !alive_at_end, "the link's death ends it");
    ok(ended_with == SI_ECANCELED || ended_with == SI_ECLOSED, "with an error");

    co_edge_up(&e);
    co_edge_open(&e, 4, SI_FL_BODY, "POST", "/body");
    co_edge_send(&e, SI_F_BODY, 0, 4, "abc", 3);
    while (co_edge_next(&e) != SI_F_CREDIT && e.f.type != 0) {
    }
    co_edge_send(&e, SI_F_CANCEL, 0, 4, NULL, 0);
    ok(co_until(no_calls) && ended_with < 0, "CANCEL ends a reader of the body");
    edge_close(&e);
}

static void co_test_ends(void)
{
    edge_t e;
    buf_t  got;

    buf_init(&got, 4096);
    co_edge_up(&e);
    co_edge_open(&e, 1, 0, "GET", "/none");
    ok(co_answer(&e, 1, 500, &got) > 0 && memmem(got.p, got.n, "\"code\":\"internal\"", 17) != NULL,
       "a handler that does not answer: 500");
    co_expect(&e, 2, "/early", 500, "a handler that writes before the head: 500");
    is_int(ended_with, SI_EINVAL, "and is told");
    co_edge_open(&e, 3, 0, "GET", "/unfinished");
    ok(co_edge_next(&e) == SI_F_HEAD && co_edge_next(&e) == SI_F_END && e.f.flags == SI_FL_ABORT,
       "a handler that does not finish: the answer is cut");
    co_edge_open(&e, 4, 0, "GET", "/cut");
    ok(co_edge_next(&e) == SI_F_HEAD && co_edge_next(&e) == SI_F_END && e.f.flags == SI_FL_ABORT, "call_abort");
    co_edge_open(&e, 5, 0, "GET", "/moved");
    is_int(co_edge_next(&e), SI_F_MOVED, "MOVED");
    is_mem(e.p, e.f.length, "7.99", "to that instance");
    co_expect(&e, 5, "/hello", 200, "the id may be used again");
    edge_close(&e);
    buf_free(&got);
}

static void co_test_overload(void)
{
    edge_t e;
    bool   good = true;

    released = 0;
    co_until(no_calls);
    co_edge_up(&e);
    for (uint64_t id = 1; id <= MAX_CALLS; id++) {
        co_edge_open(&e, id, 0, "GET", "/park");
    }
    co_edge_open(&e, 9, SI_FL_BODY, "POST", "/hello");
    is_int(co_edge_next(&e), SI_F_HEAD, "one call too many is answered at once");
    is_int(edge_status(&e), 503, "with 503");
    ok(edge_has(&e, "Retry-After", "1") && edge_has(&e, "Content-Type", "application/problem+json"), "and Retry-After");
    ok(co_edge_next(&e) == SI_F_DATA && memmem(e.p, e.f.length, "\"overloaded\"", 12) != NULL, "and a problem");
    ok(co_edge_next(&e) == SI_F_END, "whole");
    co_edge_send(&e, SI_F_BODY, SI_FL_LAST, 9, "x", 1);
    co_edge_send(&e, SI_F_PING, 0, 12345, NULL, 0);
    is_int(co_edge_next(&e), SI_F_PONG, "PONG");
    ok(e.f.id == 12345 && e.f.length == 8 && si_get32(e.p) == 42 && si_get32(e.p + 4) == MAX_CALLS, "with the load");
    released = 1;
    for (int i = 0; i < MAX_CALLS; i++) {
        good = good && co_edge_next(&e) == SI_F_HEAD && co_edge_next(&e) == SI_F_END;
    }
    ok(good, "the others are answered");
    co_until(no_calls);
    co_expect(&e, 10, "/hello", 200, "then there is room again");
    edge_close(&e);
}

static void co_test_resume(void)
{
    edge_t e;
    buf_t  f;

    buf_init(&f, 1024);
    co_edge_up(&e);
    put_text(&f, SI_T_RESUME, "c:1");
    put_text(&f, SI_T_TENANT, "t1");
    put_text(&f, SI_T_LAST_ID, "4.2");
    co_edge_send(&e, SI_F_OPEN, 0, 6, f.p, f.n);
    is_int(co_edge_next(&e), SI_F_HEAD, "a resume is answered");
    ok(edge_field(&e, SI_T_STREAM).p != NULL, "by a stream");
    is_int(co_edge_next(&e), SI_F_DATA, "DATA");
    is_int(e.f.flags, SI_FL_EVENT, "in log form");
    is_mem(e.p, e.f.length, "\0034.3data: x\n\n", "id and event");
    ok(co_edge_next(&e) == SI_F_DATA && e.f.length == 4 + (1 << 20), "an event longer than the window");
    ok(co_edge_next(&e) == SI_F_END, "END");
    buf_free(&f);
    edge_close(&e);
}

static bool same_file(const char *a, const char *b)
{
    char        pa[108], pb[108];
    struct stat sa, sb;

    snprintf(pa, sizeof pa, "%s/%s.sock", edge_folder, a);
    snprintf(pb, sizeof pb, "%s/%s.sock", edge_folder, b);
    return stat(pa, &sa) == 0 && stat(pb, &sb) == 0 && sa.st_ino == sb.st_ino && (sa.st_mode & 0777) == 0666;
}

static void co_test_names(void)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;

    fd = edge_socket("3");
    is_int(fd, -1, "the slot is empty before it is published");
    is_int(links_publish(), 0, "links_publish");
    is_int(links_publish(), 0, "once more");
    ok(same_file("3", proc.instance), "slot and instance are one socket of mode 0666");
    fd = edge_socket("3");
    ok(fd >= 0, "the slot can be connected to");
    close(fd);

    ok(links_alive(proc.instance), "links_alive: this one");
    ok(!links_alive("3.1") && !links_alive("") && !links_alive("../3"), "links_alive: no such socket");
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/9.9.sock", edge_folder);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ok(bind(fd, (struct sockaddr *) &sa, sizeof sa) == 0 && listen(fd, 0) == 0 && links_alive("9.9"), "links_alive: another");
    ok(links_alive("9.9") && links_alive("9.9"), "links_alive: one whose backlog is full");
    close(fd);
    ok(!links_alive("9.9"), "links_alive: one that has died");
    unlink(sa.sun_path);
}

/* Last: a drained worker stays so. */
static void co_test_drain(void)
{
    edge_t e, late;

    co_edge_up(&e);
    links_drain();
    ok(co_edge_next(&e) == SI_F_GOAWAY && e.f.id == 0 && e.f.length == 0, "GOAWAY to the links that are");
    links_drain();
    co_edge_up(&late);
    is_int(co_edge_next(&late), SI_F_GOAWAY, "GOAWAY to one that comes");
    co_expect(&late, 1, "/hello", 200, "and a call that comes all the same is served");
    ok(co_edge_quiet(&e), "GOAWAY comes once");
    edge_close(&e);
    edge_close(&late);
}

static size_t turns(void) { return 42; }

static void co_tests(void)
{
    links_load(turns);
    co_test_hello();
    co_test_request();
    co_test_body();
    co_test_window();
    co_test_cancel();
    co_test_ends();
    co_test_overload();
    co_test_resume();
    co_test_names();
    co_test_drain();
    ok(co_until(no_calls), "no call is left");
}

int main(void)
{
    return edge_run(MAX_CALLS, co_handler, co_tests);
}

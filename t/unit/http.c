/* The HTTP client against a scripted server: streaming, pausing, cuts, closing. */
#include "io/http.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "http_server.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

#define LONG_MS  30000
#define MANY     200

static server_t  server;
static arena_t  *arena;
static char      url_text[256];

static uint64_t soon(void) { return clock_ms() + LONG_MS; }

#include "http_told.h"

static const char *url(const char *path)
{
    snprintf(url_text, sizeof(url_text), "http://127.0.0.1:%d%s", server.port, path);
    return url_text;
}

static http_t *get(const char *path)
{
    return http_start(&(http_spec_t) { .method = "GET", .url = url(path) });
}

static void go(void)
{
    if (write(server.go, "g", 1) != 1) {
        abort();
    }
}

/* ---- plain answers ---- */

static void co_test_hello(void)
{
    str_t   body;
    http_t *h = get("/hello");

    is_int(co_http_head(h, soon()), 200, "status");
    is_str(http_header(h, "content-TYPE"), "text/plain", "header in any case");
    is_str(http_header(h, "nope"), NULL, "no such header");
    is_int(co_http_body(h, arena, 5, &body, soon()), 0, "body of just the maximum");
    is_mem(body.p, body.n, "hello", "body");
    is_int(co_http_head(h, soon()), 200, "the head can be asked for again");
    is_str(http_error(h), "", "no error");
    http_close(h);

    h = get("/hello");
    is_int(co_http_body(h, arena, 4, &body, soon()), SI_ENOMEM, "body above the maximum");
    http_close(h);

    h = get("/headers");
    is_int(co_http_head(h, soon()), 200, "a head of 104 lines");
    is_str(http_header(h, "Retry-After"), "7", "white space around a value is dropped");
    is_str(http_header(h, "X-Empty"), "", "an empty value");
    is_str(http_header(h, "X-Number-60"), "60", "64 lines are kept");
    is_str(http_header(h, "X-Number-61"), NULL, "no more");
    is_int(co_http_body(h, arena, 10, &body, soon()), 0, "an empty body");
    is_int((long long) body.n, 0, "has no bytes");
    http_close(h);

    h = get("/early");
    is_int(co_http_head(h, soon()), 429, "100 and 103 come before the status");
    is_str(http_header(h, "X-A"), NULL, "their headers do not count");
    is_str(http_header(h, "X-B"), "3", "those of the last head do");
    http_close(h);

    h = get("/redirect");
    is_int(co_http_head(h, soon()), 302, "a redirect is not followed");
    http_close(h);
    h = http_start(&(http_spec_t) { .method = "HEAD", .url = url("/headers") });
    is_int(co_http_head(h, soon()), 200, "HEAD");
    is_int(co_http_body(h, arena, 10, &body, soon()), 0, "HEAD has no body");
    http_close(h);
}

static bool has(str_t text, const char *z)
{
    return memmem(text.p, text.n, z, strlen(z)) != NULL;
}

static void co_test_request(void)
{
    const char *lines[] = { "Content-Type: application/json", "X-One: 1", NULL };
    static char large[300000];
    str_t       body = STR_NULL;
    http_t     *h;

    h = http_start(&(http_spec_t) { "POST", url("/echo"), lines, STR("{\"a\":1}"), 0, NULL, 0 });
    is_int(co_http_body(h, arena, 65536, &body, soon()), 0, "POST");
    ok(has(body, "POST /echo HTTP/1.1\r\n"), "method and path");
    ok(has(body, "\r\nContent-Type: application/json\r\n") && has(body, "\r\nX-One: 1\r\n"), "headers");
    ok(has(body, "\r\nContent-Length: 7\r\n"), "length");
    ok(!has(body, "Expect") && !has(body, "Accept-Encoding") && !has(body, "urlencoded"), "nothing that was not asked for");
    http_close(h);

    memset(large, 'x', sizeof(large));
    h = http_start(&(http_spec_t) { "POST", url("/length"), NULL, { large, sizeof(large) }, 0, NULL, 0 });
    memset(large, 'y', sizeof(large));
    is_int(co_http_head(h, soon()), 200, "POST of 300,000 bytes");
    is_int(co_http_body(h, arena, 65536, &body, soon()), 0, "its answer");
    is_mem(body.p, body.n, "300000", "all bytes came");
    http_close(h);

    h = http_start(&(http_spec_t) { "PUT", url("/echo"), NULL, STR("abc"), 0, NULL, 0 });
    is_int(co_http_body(h, arena, 65536, &body, soon()), 0, "PUT");
    ok(has(body, "PUT /echo HTTP/1.1\r\n") && has(body, "\r\nContent-Length: 3\r\n"), "method and length");
    http_close(h);

    h = http_start(&(http_spec_t) { "POST", url("/echo"), NULL, STR_NULL, 0, NULL, 0 });
    is_int(co_http_body(h, arena, 65536, &body, soon()), 0, "POST without a body");
    ok(has(body, "\r\nContent-Length: 0\r\n"), "length 0");
    http_close(h);

    h = http_start(&(http_spec_t) { "DELETE", url("/echo"), NULL, STR_NULL, 0, NULL, 0 });
    is_int(co_http_body(h, arena, 65536, &body, soon()), 0, "DELETE");
    ok(has(body, "DELETE /echo HTTP/1.1\r\n"), "method");
    http_close(h);
}

/* ---- streams ---- */

static void co_test_chunked(void)
{
    str_t   piece;
    http_t *h = get("/chunked");

    is_int(co_http_read(h, &piece, soon()), 1, "the first chunk comes while the server waits");
    is_mem(piece.p, piece.n, "a", "its bytes");
    is_int(co_http_read(h, &piece, clock_ms() + 20), SI_ETIMEDOUT, "nothing more before the server goes on");
    go();
    is_int(co_http_read(h, &piece, soon()), 1, "half a chunk");
    is_mem(piece.p, piece.n, "b", "its bytes");
    go();
    is_int(co_http_read(h, &piece, soon()), 1, "the other half");
    is_mem(piece.p, piece.n, "c", "its bytes");
    is_int(co_http_read(h, &piece, soon()), 0, "the clean end");
    is_int(co_http_read(h, &piece, soon()), 0, "again");
    is_str(http_header(h, "X-Trailer"), NULL, "a trailer is no header");
    http_close(h);

    h = get("/until-close");
    is_int(co_http_body(h, arena, 100, &piece, soon()), 0, "a body that ends with the connection");
    is_mem(piece.p, piece.n, "abcd", "its bytes");
    http_close(h);
}

/* Cut: an error after the bytes that came. */
static void co_check_cut(const char *path, const char *bytes)
{
    str_t   piece;
    http_t *h = get(path);

    is_int(co_http_head(h, soon()), 200, path);
    is_int(co_http_read(h, &piece, soon()), 1, "what came before the cut");
    is_mem(piece.p, piece.n, bytes, "its bytes");
    is_int(co_http_read(h, &piece, soon()), SI_EUNAVAIL, "the cut");
    is_int(co_http_read(h, &piece, soon()), SI_EUNAVAIL, "again");
    ok(http_error(h)[0] != '\0', "a reason: %s", http_error(h));
    http_close(h);
}

static void co_test_failures(void)
{
    const char *evil[] = { "X: 1\r\nY: 2", NULL };
    char        refused[64];
    int         port, fd = listen_any(&port);

    close(fd);
    snprintf(refused, sizeof(refused), "http://127.0.0.1:%d/", port);
    co_check_failed(http_start(&(http_spec_t) { .url = refused }), "refused", "refused");
    co_check_failed(http_start(&(http_spec_t) { .url = "http://models.invalid/" }), "a name that is none", "models.invalid");
    co_check_failed(http_start(&(http_spec_t) { .url = "ftp://127.0.0.1/" }), "another scheme", "protocol");
    co_check_failed(http_start(&(http_spec_t) { .url = "file:///etc/passwd" }), "a file", "protocol");
    co_check_failed(http_start(&(http_spec_t) { .url = "http://" }), "no host", "");
    co_check_failed(http_start(&(http_spec_t) { .url = url("/hello"), .headers = evil }), "a line break in a header",
                    "line break");
    co_check_failed(http_start(&(http_spec_t) { .url = "http://x/", .unix_socket = "/nowhere/s" }), "no such socket", "");
    co_check_failed(get("/nothing"), "closed before the head", "empty reply");
    co_check_cut("/cut", "0123456789");
    co_check_cut("/cut-chunked", "abcd");
}

static void co_test_pause(void)
{
    str_t   piece;
    size_t  n = 0, bad = 0, largest = 0;
    long    stalled = 0;
    http_t *h = http_start(&(http_spec_t) { .method = "GET", .url = url("/big"), .max_buffered = 64 << 10 });

    is_int(co_http_head(h, soon()), 200, "5 MB that nobody reads");
    const char *told = co_told();
    ok(sscanf(told, "stalled %ld", &stalled) == 1 && stalled < (3 << 20), "the server is held up (%s)", told);

    int rc;
    while ((rc = co_http_read(h, &piece, soon())) == 1) {
        largest = SI_MAX(largest, piece.n);
        for (size_t i = 0; i < piece.n; i++) {
            bad += piece.p[i] != (char) ((n + i) * 7 / 3);
        }
        n += piece.n;
    }
    is_int(rc, 0, "all is read to the clean end");
    is_int((long long) n, BIG_BYTES, "5 MB");
    is_int((long long) bad, 0, "no byte is lost or out of order");
    ok(largest <= (64 << 10), "never more than max_buffered at once (%zu)", largest);
    http_close(h);

    h = http_start(&(http_spec_t) { .method = "GET", .url = url("/big"), .max_buffered = 1 });
    is_int(co_http_read(h, &piece, soon()), 1, "max_buffered 1: a piece comes nevertheless");
    ok(co_http_read(h, &piece, soon()) == 1, "and another");
    http_close(h);
    told = co_told();
    if (strncmp(told, "stalled", 7) == 0) {
        told = co_told();
    }
    is_str(told, "closed", "closing a paused transfer closes its connection");
}

/* ---- closing ---- */

static void co_test_close(void)
{
    str_t    piece;
    http_t  *h = get("/slow");

    is_int(co_http_read(h, &piece, soon()), 1, "a stream that does not end");
    uint64_t t = clock_us();
    http_close(h);
    is_str(co_told(), "closed", "http_close: the server sees it");
    diag("  after %.1f ms", (double) (clock_us() - t) / 1000);

    h = get("/hang");
    is_int(co_http_head(h, clock_ms() + 50), SI_ETIMEDOUT, "a head that does not come");
    http_close(h);
    is_str(co_told(), "closed", "http_close: the server sees it");

    http_close(get("/hello"));
    http_close(NULL);
    ok(true, "closed before anything was sent");
}

static int cancelled_rc;

static void co_reader(void *arg)
{
    str_t   piece;
    http_t *h = get("/slow");

    cancelled_rc = co_http_read(h, &piece, soon());
    wait_wake(arg, 0);
    cancelled_rc = co_http_read(h, &piece, soon());
    http_close(h);
}

static void co_test_cancel(void)
{
    wait_t started;

    wait_init(&started);
    co_t *co = co_spawn("reader", co_reader, &started);
    is_int(co_wait(&started, "test:started", soon()), 0, "a coroutine reads a stream");
    is_int(cancelled_rc, 1, "it has the first piece");
    co_yield();
    co_cancel(co);
    is_str(co_told(), "closed", "cancelled: the server sees the end");
    is_int(cancelled_rc, SI_ECANCELED, "the read returned so");
}

static void co_test_reuse(void)
{
    str_t   body;
    http_t *h = get("/hello");
    char    first[32] = "";

    co_http_body(h, arena, 100, &body, soon());
    snprintf(first, sizeof(first), "%s", http_header(h, "X-Conn"));
    http_close(h);
    h = get("/hello");
    co_http_body(h, arena, 100, &body, soon());
    is_str(http_header(h, "X-Conn"), first, "a connection is used again");
    http_close(h);
}

/* On a connection that was used before: on a new one curl sends nothing twice. */
static void co_vanish(const char *method)
{
    str_t   body;
    http_t *h = get("/hello");

    co_http_body(h, arena, 100, &body, soon());
    http_close(h);
    h = http_start(&(http_spec_t) { .method = method, .url = url("/vanish"), .body = strcmp(method, "POST") == 0 ? STR("{}") : STR_NULL });
    is_int(co_http_head(h, soon()), SI_EUNAVAIL, "a kept connection is closed without a byte");
    ok(strstr(http_error(h), "callback") == NULL, "a reason: %s", http_error(h));
    http_close(h);
    h = get("/tell");
    co_http_body(h, arena, 100, &body, soon());
    http_close(h);
    is_str(co_told(), "asked", method);
}

static void co_test_vanish(void)
{
    co_vanish("POST");
    is_str(co_told(), "told", "is sent once");
    co_vanish("GET");
    is_str(co_told(), "asked", "is sent again");
    is_str(co_told(), "told", "and no more, as nothing comes of it");
}

/* A server may close a connection while a request is on its way to it, and send what nobody asked for. */
static void co_test_kept(void)
{
    static char large[8 << 20];
    str_t       body = STR_NULL;
    char        first[32] = "";
    http_t     *h = get("/last");

    co_http_body(h, arena, 100, &body, soon());
    is_mem(body.p, body.n, "last", "a server that does not answer again on this connection");
    snprintf(first, sizeof(first), "%s", http_header(h, "X-Conn"));
    http_close(h);
    h = get("/hello");
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "a request that it lets fall is sent on another one");
    is_mem(body.p, body.n, "hello", "whole");
    ok(strcmp(http_header(h, "X-Conn"), first) != 0, "which is new");
    http_close(h);
    co_check_failed(get("/nothing"), "that falls on a new one, too: no third time", "empty reply");

    h = get("/more");
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "an answer with more behind it");
    is_mem(body.p, body.n, "ok", "its own bytes");
    is_str(co_told(), "closed", "is the last of its connection");
    http_close(h);
    h = get("/more-later");
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "an answer with more to come");
    http_close(h);
    go();
    is_str(co_told(), "closed", "an idle connection that says something is closed");
    h = get("/hello");
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "the next request");
    is_mem(body.p, body.n, "hello", "gets its own answer");
    http_close(h);
    co_check_failed(get("/smuggle"), "two lengths", "two lengths");
    is_str(co_told(), "closed", "end the connection");

    h = http_start(&(http_spec_t) { .method = "POST", .url = url("/too-large"), .body = { large, sizeof(large) } });
    is_int(co_http_head(h, soon()), 413, "an answer before the request is whole");
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "is read");
    is_str(co_told(), "closed", "and ends the connection");
    http_close(h);
}

static void co_check_asked(const char *text, const char *method, const char *want)
{
    str_t   body = STR_NULL;
    http_t *h;
    char    wanted[256];

    snprintf(wanted, sizeof(wanted), want, server.port);
    h = http_start(&(http_spec_t) { .method = method, .url = text });
    is_int(co_http_body(h, arena, 65536, &body, soon()), 0, text);
    ok(has(body, wanted), "asks for it");
    http_close(h);
}

/* What of a URL goes into the request. */
static void co_test_url(void)
{
    char text[128];

    snprintf(text, sizeof(text), "http://127.0.0.1:%d", server.port);
    co_check_failed(http_start(&(http_spec_t) { .url = "http://127.0.0.1/a b" }), "a blank in the URL", "blank");
    co_check_failed(http_start(&(http_spec_t) { .url = "http://127.0.0.1/\r\nX: 1" }), "a line break in the URL", "control");
    co_check_failed(http_start(&(http_spec_t) { .url = "http://b\xc3\xbc/" }), "a host that is not ASCII", "ASCII");
    co_check_asked(url("/echo#there"), "GET", "GET /echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: si-worker\r\nAccept: */*\r\n\r\n");
    snprintf(text, sizeof(text), "HTTP://us%%65r:p%%3Aw@127.0.0.1:%d/echo", server.port);
    co_check_asked(text, "GET", "\r\nHost: 127.0.0.1:%d\r\nAuthorization: Basic dXNlcjpwOnc=\r\n");
    snprintf(text, sizeof(text), "http://127.0.0.1:%d?q=\xc3\xbc", server.port);
    http_t *h = http_start(&(http_spec_t) { .method = "GET", .url = text });
    is_int(co_http_head(h, clock_ms() + 50), SI_ETIMEDOUT, "a URL without a path (the server hangs)");
    http_close(h);
    is_str(co_told(), "closed", "closed");
}

/* ---- many ---- */

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static void co_test_many(void)
{
    static http_t *all[MANY];
    str_t          piece;
    size_t         good = 0, closed = 0, before = heap_bytes();

    for (size_t i = 0; i < MANY; i++) {
        all[i] = get("/slow");
    }
    for (size_t i = 0; i < MANY; i++) {
        good += co_http_read(all[i], &piece, soon()) == 1;
    }
    is_int((long long) good, MANY, "200 streams at once");
    size_t each = (heap_bytes() - before) / MANY;
#ifdef __SANITIZE_ADDRESS__
    ok(true, "memory of a stream is not measured with a sanitizer (%zu)", each);
#else
    ok(each <= 20 << 10, "memory of an open stream: %zu bytes", each);
#endif
    for (size_t i = 0; i < MANY; i++) {
        http_close(all[i]);
    }
    for (size_t i = 0; i < MANY; i++) {
        closed += strcmp(co_told(), "closed") == 0;
    }
    is_int((long long) closed, MANY, "all are closed at once");
}

static void co_main(void *arg)
{
    (void) arg;
    co_test_hello();
    co_test_request();
    co_test_chunked();
    co_test_failures();
    co_test_pause();
    co_test_close();
    co_test_cancel();
    co_test_reuse();
    co_test_vanish();
    co_test_kept();
    co_test_url();
    co_test_many();
    loop_stop();
}

static size_t open_files(void)
{
    DIR   *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    server = server_start(serve, NULL);
    fcntl(server.report, F_SETFL, O_NONBLOCK);
    logger_open(NULL, LOG_WARN);
    arena = arena_new(4096);

    size_t files = open_files();
    loop_init();
    co_init();
    http_init();
    co_spawn("test", co_main, NULL);
    loop_run();
    http_exit();
    co_exit();
    loop_free();
    is_int((long long) open_files(), (long long) files, "no descriptor is left open");

    arena_free(arena);
    server_stop(&server);
    return done_testing();
}

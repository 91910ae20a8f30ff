/* The HTTP client over TLS, directly and through a proxy. The server is OpenSSL's, with a certificate of the test's own making. */
#include "io/http.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>

#include "base/buf.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/co.h"
#include "run/loop.h"
#include "server.h"
#include "tap.h"

#define LONG_MS    30000
#define BIG_BYTES  (3u << 20)

static server_t server;
static arena_t *arena;
static char     dir[] = "/tmp/si-http-tls-XXXXXX", cert[64], key[64], url_text[128];

static uint64_t soon(void) { return clock_ms() + LONG_MS; }

#include "http_told.h"

/* --- the server: TLS, or a proxy for those who begin with CONNECT --- */

static void tell(int report, const char *what)
{
    char line[32];
    int  n = snprintf(line, sizeof line, "%s\n", what);

    if (write(report, line, (size_t) n) != n) {
        _exit(1);
    }
}

static int sent_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w <= 0) {
            return 0;
        }
        p += w;
        n -= (size_t) w;
    }
    return 1;
}

static int pumped(int from, int to)
{
    char    bytes[2048];
    ssize_t n = recv(from, bytes, sizeof bytes, 0);

    return n > 0 && sent_all(to, bytes, (size_t) n);
}

static void be_proxy(int fd, int report)
{
    static const char  good[] = "HTTP/1.1 200 Connected\r\nX-Proxy: 1\r\n\r\n";
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char               in[1024] = "";
    unsigned           port = 0;
    int                to = socket(AF_INET, SOCK_STREAM, 0);

    for (size_t n = 0; strstr(in, "\r\n\r\n") == NULL; n++) {
        if (n == sizeof in - 1 || recv(fd, in + n, 1, 0) != 1) {
            _exit(0);
        }
    }
    if (sscanf(in, "CONNECT %*[^:]:%u HTTP/1.1", &port) != 1) {
        _exit(1);
    }
    a.sin_port = htons((uint16_t) port);
    if (connect(to, (struct sockaddr *) &a, sizeof a) != 0 || !sent_all(fd, good, sizeof good - 1)) {
        _exit(1);
    }
    tell(report, "proxied");
    for (int alive = 1; alive; ) {
        struct pollfd both[] = { { fd, POLLIN, 0 }, { to, POLLIN, 0 } };

        poll(both, 2, -1);
        alive = (both[0].revents == 0 || pumped(fd, to)) && (both[1].revents == 0 || pumped(to, fd));
    }
    _exit(0);
}

static void say(SSL *ssl, const char *p, size_t n)
{
    if (SSL_write(ssl, p, (int) n) != (int) n) {
        _exit(0);
    }
}

static void say_big(SSL *ssl)
{
    static char piece[10000];
    char        head[64];

    say(ssl, head, (size_t) snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", BIG_BYTES));
    for (size_t sent = 0; sent < BIG_BYTES; ) {
        size_t n = SI_MIN(sizeof piece, BIG_BYTES - sent);

        for (size_t i = 0; i < n; i++) {
            piece[i] = (char) ((sent + i) * 7 / 3);
        }
        say(ssl, piece, n);
        sent += n;
    }
}

static void answer(SSL *ssl, const char *path, int nth, int report, int go)
{
    char text[128], c;

    if (strncmp(path, "GET /big ", 9) == 0) {
        say_big(ssl);
    } else if (strncmp(path, "GET /steps ", 11) == 0) {
        say(ssl, text, (size_t) snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"));
        for (int i = 0; i < 3 && read(go, &c, 1) == 1; i++) {
            say(ssl, "1\r\nb\r\n", 6);
        }
        say(ssl, "0\r\n\r\n", 5);
    } else if (strncmp(path, "GET /cut ", 9) == 0) {
        say(ssl, text, (size_t) snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"));
        _exit(0);
    } else if (strncmp(path, "GET /hang ", 10) == 0) {
        while (SSL_read(ssl, text, sizeof text) > 0) {
        }
        tell(report, "closed");
        _exit(0);
    } else {
        say(ssl, text, (size_t) snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nX-Nth: %d\r\nContent-Length: 5\r\n\r\nhello", nth));
    }
}

static void serve(int fd, int report, int go, const void *arg)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL     *ssl = SSL_new(ctx);
    char     in[2048], c;

    (void) arg;
    if (recv(fd, &c, 1, MSG_PEEK) == 1 && c == 'C') {
        be_proxy(fd, report);
    }
    if (SSL_use_certificate_file(ssl, cert, SSL_FILETYPE_PEM) != 1 || SSL_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1
        || SSL_set_fd(ssl, fd) != 1 || SSL_accept(ssl) != 1)
    {
        _exit(0);
    }
    for (int nth = 1; ; nth++) {
        size_t n = 0;
        int    got;

        for (in[0] = '\0'; strstr(in, "\r\n\r\n") == NULL; in[n] = '\0') {
            got = n < sizeof in - 1 ? SSL_read(ssl, in + n, (int) (sizeof in - 1 - n)) : 0;
            if (got <= 0) {
                _exit(0);
            }
            n += (size_t) got;
        }
        answer(ssl, in, nth, report, go);
    }
}

/* --- the tests --- */

static http_t *get(const char *host, const char *path)
{
    snprintf(url_text, sizeof url_text, "https://%s:%d%s", host, server.port, path);
    return http_start(&(http_spec_t) { .method = "GET", .url = url_text, .max_buffered = 64 << 10 });
}

static void co_check_hello(const char *nth, const char *name)
{
    str_t   body = STR_NULL;
    http_t *h = get("localhost", "/hello");

    is_int(co_http_head(h, soon()), 200, name);
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "body");
    is_mem(body.p, body.n, "hello", "its bytes");
    is_str(http_header(h, "X-Nth"), nth, "which request of its connection");
    http_close(h);
}

static void co_test_steps(void)
{
    str_t   piece;
    http_t *h = get("localhost", "/steps");

    is_int(co_http_read(h, &piece, soon()), 1, "a stream over TLS");
    is_mem(piece.p, piece.n, "a", "its first piece");
    for (int i = 0; i < 3; i++) {
        is_int(co_http_read(h, &piece, clock_ms() + 10), SI_ETIMEDOUT, "nothing before the server goes on");
        ok(write(server.go, "g", 1) == 1 && co_http_read(h, &piece, soon()) == 1, "the next piece");
        is_mem(piece.p, piece.n, "b", "its bytes");
    }
    is_int(co_http_read(h, &piece, soon()), 0, "the end");
    http_close(h);
}

/* Read slowly, so that it is paused with half a record in curl's hands. */
static void co_test_big(void)
{
    str_t   piece;
    size_t  n = 0, bad = 0, largest = 0, reads = 0;
    http_t *h = get("localhost", "/big");
    int     rc;

    while ((rc = co_http_read(h, &piece, soon())) == 1) {
        largest = SI_MAX(largest, piece.n);
        for (size_t i = 0; i < piece.n; i++) {
            bad += piece.p[i] != (char) ((n + i) * 7 / 3);
        }
        n += piece.n;
        if (reads++ < 20 && co_sleep(5, "test:slow") != 0) {
            break;
        }
    }
    is_int(rc, 0, "a long answer, read slowly");
    ok(n == BIG_BYTES && bad == 0 && largest <= (64u << 10), "%zu bytes, %zu wrong, %zu at once", n, bad, largest);
    http_close(h);
}

static void co_test_ends(void)
{
    str_t   piece;
    http_t *h = get("localhost", "/cut");

    is_int(co_http_read(h, &piece, soon()), 1, "half an answer");
    is_int(co_http_read(h, &piece, soon()), SI_EUNAVAIL, "that is cut");
    http_close(h);
    h = get("localhost", "/hang");
    is_int(co_http_head(h, clock_ms() + 200), SI_ETIMEDOUT, "a head that does not come");
    http_close(h);
    is_str(co_told(), "closed", "http_close: the server sees it");
    http_close(get("localhost", "/hello"));
    co_check_failed(get("127.0.0.1", "/"), "a certificate of another name", "certificate");
    unsetenv("SSL_CERT_FILE");
    h = http_start(&(http_spec_t) { .url = "http://127.0.0.1:1/" });
    co_check_failed(h, "not refused for TLS", "refused");
    co_check_failed(get("127.0.0.1", "/"), "a certificate of nobody we know", "certificate");
    setenv("SSL_CERT_FILE", cert, 1);
}

static void co_test_proxy(void)
{
    char    proxy[64];
    str_t   body = STR_NULL;
    http_t *h;

    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", server.port);
    setenv("https_proxy", proxy, 1);
    h = get("LOCALHOST", "/hello");     /* no connection is kept under this name */
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "through a proxy");
    is_mem(body.p, body.n, "hello", "its bytes");
    http_close(h);
    is_str(co_told(), "proxied", "the proxy was asked");
    setenv("no_proxy", "localhost", 1);
    h = get("LocalHost", "/hello");
    is_int(co_http_body(h, arena, 100, &body, soon()), 0, "past the proxy");
    http_close(h);
    unsetenv("https_proxy");
    unsetenv("no_proxy");
}

static void co_main(void *arg)
{
    (void) arg;
    co_check_hello("1", "a request over TLS");
    co_check_hello("2", "another one on the same connection");
    co_test_steps();
    co_test_big();
    co_check_hello("5", "the same connection still");
    co_test_ends();
    co_test_proxy();
    loop_stop();
}

static void make_cert(void)
{
    char command[512];

    if (mkdtemp(dir) == NULL) {
        abort();
    }
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    snprintf(command, sizeof command, "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
             "-addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null", key, cert);
    if (system(command) != 0) {
        diag("openssl failed");
        abort();
    }
    setenv("SSL_CERT_FILE", cert, 1);
}

int main(void)
{
    static const char *const proxies[] = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY" };

    for (size_t i = 0; i < SI_COUNT(proxies); i++) {
        unsetenv(proxies[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    make_cert();
    server = server_start(serve, NULL);
    fcntl(server.report, F_SETFL, O_NONBLOCK);
    logger_open(NULL, LOG_WARN);
    arena = arena_new(4096);
    loop_init();
    co_init();
    http_init();
    co_spawn("test", co_main, NULL);
    loop_run();
    http_exit();
    co_exit();
    loop_free();
    arena_free(arena);
    server_stop(&server);
    (void) unlink(cert);
    (void) unlink(key);
    (void) rmdir(dir);
    return done_testing();
}

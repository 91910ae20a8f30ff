/* AWS credentials: each source against a fake of it, what is refused, and that there is one fetch at a time, in time. */
#include "io/aws_creds.c"


#include <fcntl.h>
#include <poll.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "io/http.h"
#include "run/loop.h"
#include "server.h"
#include "tap.h"

#define PATIENCE  30000                 /* ms: reached only by a test that fails */
#define MANY      50

static server_t  server;
static arena_t  *arena;
static char      token_file[] = "/tmp/si-aws-XXXXXX";

/* ---- the fake ---- */

typedef struct {
    int    fd, report, go;
    char   in[32768];
    size_t n;
} fake_t;

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t) strlen(text)) {
        _exit(1);
    }
}

static void reply(const fake_t *f, int status, const char *body)
{
    char head[128];

    snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", status, strlen(body));
    say(f->fd, head);
    say(f->fd, body);
}

/* Value of a header in the request; "" without it. */
static const char *field(const fake_t *f, const char *name)
{
    static char value[256];
    char        find[80];
    const char *p;

    snprintf(find, sizeof find, "\r\n%s: ", name);
    p = strcasestr(f->in, find);
    snprintf(value, sizeof value, "%.*s", p != NULL ? (int) strcspn(p + strlen(find), "\r") : 0, p != NULL ? p + strlen(find) : "");
    return value;
}

/* "2026-11-27T12:00:00Z", so many seconds from now. */
static void stamp(char out[32], int seconds)
{
    time_t    t = time(NULL) + seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void reply_keys(const fake_t *f, const char *id, int seconds)
{
    char when[32], body[512];

    stamp(when, seconds);
    snprintf(body, sizeof body, "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s3cret/%s\","
             "\"Token\":\"t0ken+%s\",\"Expiration\":\"%s\"}", id, id, id, when);
    reply(f, 200, body);
}

static void reply_sts(const fake_t *f)
{
    const char *body = strstr(f->in, "\r\n\r\n") + 4;
    char        when[32], xml[1024];

    if (strcmp(body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx"
                     "&RoleSessionName=me&WebIdentityToken=head.pay%2Bload.sig") != 0) {
        reply(f, 400, "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>not as documented</Message></Error></ErrorResponse>");
        return;
    }
    stamp(when, 3600);
    snprintf(xml, sizeof xml, "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
             "<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>AQo/+=</SessionToken><SecretAccessKey>wJ/x</SecretAccessKey>"
             "<Expiration>%s</Expiration><AccessKeyId>ASIAWEB</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>"
             "</AssumeRoleWithWebIdentityResponse>", when);
    reply(f, 200, xml);
}

/* Seconds that the keys of a path are good for, by its first name. */
static int lifetime(const char *path)
{
    return strncmp(path, "/stale", 6) == 0 ? -60 : strncmp(path, "/short", 6) == 0 ? 200 : 3600;
}

static void reply_imds(const fake_t *f, const char *path)
{
    bool authorized = strcmp(field(f, "X-aws-ec2-metadata-token"), "TOKEN") == 0;

    if (strncmp(f->in, "PUT ", 4) == 0) {
        reply(f, strncmp(path, "/forbid", 7) == 0 ? 403 : 200, strcmp(field(f, "X-aws-ec2-metadata-token-ttl-seconds"), "21600") == 0 ? "TOKEN" : "no ttl");
    } else if (!authorized) {
        reply(f, 401, "");
    } else if (strncmp(path, "/norole", 7) == 0) {
        reply(f, 404, "");
    } else if (strstr(path, "security-credentials/my-role") != NULL) {
        reply_keys(f, "ASIAINST", lifetime(path));
    } else {
        reply(f, 200, "my-role\n");
    }
}

static void answer(const fake_t *f, const char *path)
{
    char c;

    if (strncmp(path, "/sts", 4) == 0) {
        reply_sts(f);
    } else if (strncmp(path, "/expired", 8) == 0) {
        reply(f, 400, "<Error><Code>ExpiredTokenException</Code><Message>Token expired: 1 must be in the past</Message></Error>");
    } else if (strncmp(path, "/pod", 4) == 0) {
        reply_keys(f, strcmp(field(f, "Authorization"), "head.pay+load.sig") == 0 ? "ASIAFILE" : strcmp(field(f, "Authorization"), "Bearer e") == 0 ? "ASIAENV" : "ASIANONE",
                   lifetime(path));
    } else if (strncmp(path, "/short", 6) == 0 && strstr(path, "/latest/") == NULL) {
        reply_keys(f, "ASIASHORT", 200);
    } else if (strncmp(path, "/over", 5) == 0) {
        reply_keys(f, "ASIAOVER", -60);
    } else if (strncmp(path, "/slow", 5) == 0 && read(f->go, &c, 1) == 1) {
        reply_keys(f, "ASIASLOW", 3600);
    } else if (strncmp(path, "/refuse", 7) == 0) {
        reply(f, 403, "{\"code\":\"AccessDenied\",\"message\":\"secret words\"}");
    } else if (strncmp(path, "/junk", 5) == 0) {
        reply(f, 200, "{\"AccessKeyId\":\"A\"");
    } else if (strncmp(path, "/hang", 5) == 0) {
        (void) !recv(f->fd, &c, 1, 0);
        _exit(0);
    } else {
        reply_imds(f, path);
    }
}

/* A whole request; false when the client has gone. */
static bool take(fake_t *f)
{
    const char *end = NULL, *length;
    size_t      want = SIZE_MAX;

    for (f->n = 0; f->n < want; ) {
        ssize_t r = recv(f->fd, f->in + f->n, sizeof f->in - 1 - f->n, 0);

        if (r <= 0) {
            return false;
        }
        f->n += (size_t) r;
        f->in[f->n] = '\0';
        end = end != NULL ? end : strstr(f->in, "\r\n\r\n");
        if (end != NULL && want == SIZE_MAX) {
            length = strcasestr(f->in, "\r\nContent-Length:");
            want = (size_t) (end - f->in) + 4 + (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
        }
    }
    return true;
}

static void serve(int fd, int report, int go, const void *arg)
{
    static fake_t f;
    char          method[8], path[128], line[160];

    (void) arg;
    f.fd = fd;
    f.report = report;
    f.go = go;
    while (take(&f) && sscanf(f.in, "%7s %127s", method, path) == 2) {
        snprintf(line, sizeof line, "%s %s\n", method, path);
        say(report, line);
        answer(&f, path);
    }
}

/* ---- the test's side ---- */

static uint64_t soon(void) { return clock_ms() + PATIENCE; }

static const char *url(const char *path)
{
    return arena_printf(arena, "http://127.0.0.1:%d%s", server.port, path);
}

/* A fresh process as far as credentials go: of the environment only the pairs, ended by NULL. */
static void fresh(const char *first, ...) __attribute__((sentinel));

static void fresh(const char *first, ...)
{
    static const char *const names[] = {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME",
        "AWS_ENDPOINT_URL_STS", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    };
    va_list ap;

    if (proc.aws != NULL) {
        aws_exit();
    }
    aws_init();
    for (size_t i = 0; i < SI_COUNT(names); i++) {
        unsetenv(names[i]);
    }
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    va_start(ap, first);
    for (const char *name = first; name != NULL; name = va_arg(ap, const char *)) {
        setenv(name, va_arg(ap, const char *), 1);
    }
    va_end(ap);
}

/* Requests that the fake has got since the last call. */
static int requests(void)
{
    char c;
    int  n = 0;

    while (read(server.report, &c, 1) == 1) {
        n += c == '\n';
    }
    return n;
}

static sigv4_keys_t keys;
static char         why[AWS_WHY_MAX];

static int co_keys(void)
{
    memset(&keys, 0, sizeof keys);
    memset(why, 0, sizeof why);
    return co_aws_keys(arena, &keys, why, soon());
}

static void co_gives(const char *name, const char *id, const char *secret, const char *token)
{
    int rc = co_keys();

    if (!ok(rc == 0 && strcmp(keys.access_key, id) == 0 && strcmp(keys.secret_key, secret) == 0
            && (token == NULL ? keys.token == NULL : keys.token != NULL && strcmp(keys.token, token) == 0), "%s", name)) {
        diag("  rc %d, why '%s', key %s", rc, why, rc == 0 ? keys.access_key : "none");
    }
}

static void co_fails(const char *name, int want, const char *part)
{
    int rc = co_keys();

    if (!ok(rc == want && strstr(why, part) != NULL && strstr(why, "secret words") == NULL, "%s", name)) {
        diag("  rc %d, why '%s'", rc, why);
    }
}

static void co_test_environment(void)
{
    fresh("AWS_ACCESS_KEY_ID", "AKIA", "AWS_SECRET_ACCESS_KEY", "s", NULL);
    co_gives("environment: a key", "AKIA", "s", NULL);
    fresh("AWS_ACCESS_KEY_ID", "AKIA", "AWS_SECRET_ACCESS_KEY", "s", "AWS_SESSION_TOKEN", "t",
          "AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), NULL);
    co_gives("environment: with a token, and before a container", "AKIA", "s", "t");
    fresh("AWS_ACCESS_KEY_ID", "AKIA", NULL);
    co_fails("environment: half a key", SI_EUNAVAIL, "without AWS_SECRET_ACCESS_KEY");
    fresh(NULL, NULL);
    co_fails("nothing is configured", SI_ENOENT, "no AWS credentials");
}

static void co_test_web_identity(void)
{
    fresh("AWS_ROLE_ARN", "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE", token_file, "AWS_ROLE_SESSION_NAME", "me",
          "AWS_ENDPOINT_URL_STS", url("/sts"), "AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), NULL);
    co_gives("web identity: a role, and before a container", "ASIAWEB", "wJ/x", "AQo/+=");
    setenv("AWS_ROLE_SESSION_NAME", "you", 1);
    aws_exit();
    aws_init();
    co_fails("web identity: STS refuses", SI_EUNAVAIL, "HTTP 400 ValidationError not as documented");
    fresh("AWS_ROLE_ARN", "r", "AWS_WEB_IDENTITY_TOKEN_FILE", token_file, "AWS_ENDPOINT_URL_STS", url("/expired"), NULL);
    co_fails("web identity: the token has expired", SI_EUNAVAIL, "ExpiredTokenException");
    fresh("AWS_ROLE_ARN", "r", "AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token", "AWS_ENDPOINT_URL_STS", url("/sts"), NULL);
    co_fails("web identity: no token", SI_EUNAVAIL, "no token in /nowhere/token");
    fresh("AWS_ROLE_ARN", "r", NULL);
    co_fails("web identity: a role without a token is none", SI_ENOENT, "no AWS credentials");
}

static void co_test_container(void)
{
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), NULL);
    co_gives("container: without a token", "ASIANONE", "s3cret/ASIANONE", "t0ken+ASIANONE");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), "AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer e", NULL);
    co_gives("container: with a token", "ASIAENV", "s3cret/ASIAENV", "t0ken+ASIAENV");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), "AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer e",
          "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file, NULL);
    co_gives("container: the token's file comes first", "ASIAFILE", "s3cret/ASIAFILE", "t0ken+ASIAFILE");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), "AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r\nX: b", NULL);
    co_fails("container: a token with a line break", SI_EUNAVAIL, "line break");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere", NULL);
    co_fails("container: a file that is not there", SI_EUNAVAIL, "no token in /nowhere");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/x", NULL);
    co_fails("container: no http to elsewhere", SI_EUNAVAIL, "neither https nor");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/refuse"), NULL);
    co_fails("container: a refusal, of which only the code is shown", SI_EUNAVAIL, "HTTP 403, AccessDenied");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/junk"), NULL);
    co_fails("container: an answer that is no JSON", SI_EUNAVAIL, "no credentials: HTTP 200");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/over"), NULL);
    co_fails("container: keys that have expired already", SI_EUNAVAIL, "expired already");
    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/x", NULL);
    co_fails("container: nobody there", SI_EUNAVAIL, "refused");
}

static void test_urls(void)
{
    static const struct { const char *url; bool good; } cases[] = {
        { "https://example.com/x", true }, { "http://127.0.0.1/x", true }, { "http://127.9.9.9:80/x", true }, { "http://localhost:1/x", true },
        { "http://[::1]/x", true }, { "http://169.254.170.2/x", true }, { "http://169.254.170.23/v1/credentials", true },
        { "http://[fd00:ec2::23]/v1/credentials", true }, { "http://169.254.169.254/x", false }, { "http://example.com/x", false },
        { "http://128.0.0.1/x", false }, { "http://127.0.0.1.example.com/x", false }, { "http://127.0.0.1@example.com/x", false },
        { "http://[::2]/x", false }, { "ftp://127.0.0.1/x", false }, { "file:///etc/passwd", false }, { "127.0.0.1", false }, { "", false },
    };

    for (size_t i = 0; i < SI_COUNT(cases); i++) {
        ok(aws_url_allowed(cases[i].url) == cases[i].good, "%s is %s", cases[i].url, cases[i].good ? "allowed" : "not allowed");
    }
}

static void co_test_instance(void)
{
    fresh("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", url("/ok/"), NULL);
    requests();
    co_gives("instance: IMDSv2", "ASIAINST", "s3cret/ASIAINST", "t0ken+ASIAINST");
    is_int(requests(), 3, "  with three requests: token, role, keys");
    fresh("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", url("/stale"), NULL);
    co_gives("instance: expired keys are used on", "ASIAINST", "s3cret/ASIAINST", "t0ken+ASIAINST");
    fresh("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", url("/norole"), NULL);
    co_fails("instance: without a role", SI_EUNAVAIL, "no role from the metadata service: HTTP 404");
    fresh("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", url("/forbid"), NULL);
    co_fails("instance: no token, and no fall-back to version 1", SI_EUNAVAIL, "no token from the metadata service: HTTP 403");
    fresh("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", NULL);
    co_fails("instance: none", SI_ENOENT, "no AWS credentials");
    requests();
    fresh("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", url("/hang"), "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "2", NULL);
    co_fails("instance: one that is silent, as beyond its hop limit", SI_ENOENT, "no AWS credentials");
    is_int(requests(), 2, "  is asked as often as is configured");
}

/* ---- one fetch at a time ---- */

static int    results[MANY];
static size_t ended;

static void co_one(void *arg)
{
    int         *rc = arg;
    sigv4_keys_t k;
    char         w[AWS_WHY_MAX];

    *rc = co_aws_keys(arena, &k, w, soon());
    ended++;
}

static void co_until(size_t n)
{
    for (uint64_t end = soon(); ended < n && clock_ms() < end; ) {
        co_sleep(5, "test");
    }
}

/* The slow fake has the request. */
static void co_asked(void)
{
    for (uint64_t end = soon(); requests() == 0 && clock_ms() < end; ) {
        co_sleep(5, "test");
    }
}

static void co_test_flight(void)
{
    co_t  *one[MANY];
    size_t good = 0;
    char   w[AWS_WHY_MAX];

    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/slow"), NULL);
    requests();
    ended = 0;
    for (size_t i = 0; i < MANY; i++) {
        results[i] = 1;
        one[i] = co_spawn("one", co_one, &results[i]);
    }
    co_asked();
    is_int(co_aws_keys(arena, &keys, w, clock_ms() + 20), SI_ETIMEDOUT, "a caller whose time is up leaves");
    co_cancel(one[0]);
    co_until(1);
    is_int(results[0], SI_ECANCELED, "so does one that is cancelled");
    say(server.go, "x");
    co_until(MANY);
    for (size_t i = 1; i < MANY; i++) {
        good += results[i] == 0;
    }
    is_int((long long) good, MANY - 1, "all others get the keys");
    is_int(requests(), 0, "of that one fetch");
}

static void co_test_refresh(void)
{
    uint64_t before;

    fresh("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/short"), NULL);
    requests();
    co_gives("keys for 200 s", "ASIASHORT", "s3cret/ASIASHORT", "t0ken+ASIASHORT");
    co_gives("are kept", "ASIASHORT", "s3cret/ASIASHORT", "t0ken+ASIASHORT");
    is_int(requests(), 1, "  without another request");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/slow"), 1);
    before = proc.aws->next;
    ok(before <= clock_ms() + AGAIN_MS && before + 5000 > clock_ms() + AGAIN_MS, "they are fetched again soon, since they end within 5 minutes");
    proc.aws->next = 0;                 /* as if that time had come */
    co_gives("a due fetch holds nobody up", "ASIASHORT", "s3cret/ASIASHORT", "t0ken+ASIASHORT");
    co_asked();
    say(server.go, "x");
    for (uint64_t end = soon(); proc.aws->fetching && clock_ms() < end; ) {
        co_sleep(5, "test");
    }
    co_gives("new keys replace the old ones", "ASIASLOW", "s3cret/ASIASLOW", "t0ken+ASIASLOW");
    ok(proc.aws->next > clock_ms() + 3600000 - EARLY_MS - 60000, "keys for an hour are let alone for 55 minutes");

    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/refuse"), 1);
    aws_keys_refused();
    co_gives("keys that a service refuses right after they came are kept", "ASIASLOW", "s3cret/ASIASLOW", "t0ken+ASIASLOW");
    proc.aws->fetched -= SI_MIN(proc.aws->fetched, (uint64_t) AGAIN_MS);
    aws_keys_refused();
    requests();
    co_fails("later they are fetched again", SI_EUNAVAIL, "AccessDenied");
    is_int(requests(), 1, "  with one request");
    proc.aws->next = clock_ms() + PATIENCE;
    co_fails("a failure is told again at once", SI_EUNAVAIL, "AccessDenied");
    is_int(requests(), 0, "  without a request");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/pod"), 1);
    proc.aws->next = 0;
    co_gives("until it is time to try again", "ASIANONE", "s3cret/ASIANONE", "t0ken+ASIANONE");
}

static void co_main(void *arg)
{
    (void) arg;
    test_urls();
    co_test_environment();
    co_test_web_identity();
    co_test_container();
    co_test_instance();
    co_test_flight();
    co_test_refresh();
    loop_stop();
}

int main(void)
{
    int fd = mkstemp(token_file);

    say(fd, "head.pay+load.sig\n");
    close(fd);
    signal(SIGPIPE, SIG_IGN);
    server = server_start(serve, NULL);
    fcntl(server.report, F_SETFL, O_NONBLOCK);
    logger_open(NULL, LOG_ERROR);
    arena = arena_new(4096);
    loop_init();
    co_init();
    http_init();
    co_spawn("test", co_main, NULL);
    loop_run();
    http_exit();
    co_exit();
    aws_exit();
    loop_free();
    arena_free(arena);
    server_stop(&server);
    unlink(token_file);
    return done_testing();
}

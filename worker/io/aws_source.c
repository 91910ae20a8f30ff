/* The sources of AWS credentials, one after the other. See io/aws_creds.h for what each is configured with. */
#include "io/aws_source.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/util.h"
#include "io/http.h"

#define ANSWER_MAX     65536u           /* bytes of an answer with credentials */
#define TOKEN_MAX      16384u           /* bytes of a token's file: web identities have up to 20,000 characters, most 2,000 */
#define TRY_MS         5000u            /* one request to STS or to a container's endpoint */
#define STALE_MS       300000u          /* keys of an instance that has none newer are used for so much longer */
#define IMDS_TTL       "21600"          /* seconds that an IMDS token is good for: the most */

static int fail(aws_fetch_t *f, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fail(aws_fetch_t *f, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(f->why, sizeof f->why, fmt, ap);
    va_end(ap);
    f->why[utf8_cut(f->why, strlen(f->why))] = '\0';
    return rc;
}

/* A variable of the environment; NULL when it is not set or empty. */
static const char *env(const char *name)
{
    const char *z = getenv(name);

    return z != NULL && z[0] != '\0' ? z : NULL;
}

static bool env_true(const char *name)
{
    const char *z = env(name);

    return z != NULL && strcasecmp(z, "true") == 0;
}

/* ---- asking ---- */

typedef struct {
    const char  *method, *url;
    const char **headers;
    str_t        body;
    uint64_t     timeout_ms;
} ask_t;

/* Status of the answer, with its body in the arena; or SI_E* with f->why. */
static int co_ask(aws_fetch_t *f, const ask_t *q, str_t *body)
{
    uint64_t deadline = SI_MIN(clock_ms() + q->timeout_ms, f->deadline);
    http_t  *h = http_start(&(http_spec_t) { .method = q->method, .url = q->url, .headers = q->headers, .body = q->body,
                                             .connect_ms = (uint32_t) q->timeout_ms });
    int      status = co_http_head(h, deadline), rc;

    *body = STR_NULL;
    rc = status > 0 ? co_http_body(h, f->a, ANSWER_MAX, body, deadline) : status;
    if (rc == SI_ETIMEDOUT) {
        fail(f, rc, "%s: no answer from %s within %llu ms", f->source, q->url, (unsigned long long) q->timeout_ms);
    } else if (rc == SI_ENOMEM) {
        rc = fail(f, SI_EUNAVAIL, "%s: the answer of %s is too long", f->source, q->url);
    } else if (rc < 0 && rc != SI_ECANCELED) {
        fail(f, rc, "%s: %s: %s", f->source, q->url, http_error(h));
    }
    http_close(h);
    return rc != 0 ? rc : status;
}

/* A small file without the line end behind it; NULL with f->why. */
static const char *read_token(aws_fetch_t *f, const char *path)
{
    FILE  *in = fopen(path, "re");
    char  *text = arena_alloc(f->a, TOKEN_MAX + 2);
    size_t n = in != NULL ? fread(text, 1, TOKEN_MAX + 1, in) : 0;

    if (in != NULL) {
        fclose(in);
    }
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' ')) {
        n--;
    }
    text[n] = '\0';
    if (n == 0 || n > TOKEN_MAX || strpbrk(text, "\r\n") != NULL) {
        fail(f, SI_EUNAVAIL, "%s: no token in %s (unreadable, empty, longer than %u bytes, or of several lines)", f->source, path, TOKEN_MAX);
        return NULL;
    }
    return text;
}

/* "2016-02-25T06:03:31Z", with or without fractions, as clock_wall_ms(). 0: it is none. */
static uint64_t parse_time(const char *text)
{
    struct tm   tm = { 0 };
    const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    return rest != NULL && (*rest == 'Z' || *rest == '.') ? (uint64_t) timegm(&tm) * 1000 : 0;
}

/* What a server says about itself, to be shown: one line, cut. */
static const char *shown(arena_t *a, str_t s)
{
    char *z = arena_dup(a, s.p != NULL ? s.p : "", SI_MIN(s.n, (size_t) 120));

    for (char *p = z; *p != '\0'; p++) {
        *p = *p < 0x20 || *p > 0x7e ? ' ' : *p;
    }
    return z;
}

static const char *member(arena_t *a, const json_t *o, const char *name)
{
    str_t s = json_str(o, name, STR_NULL);

    return s.n > 0 ? arena_dup(a, s.p, s.n) : NULL;
}

/* The object that containers and instances answer with. */
static int take_json(aws_fetch_t *f, const char *url, int status, str_t body)
{
    const char *why, *code;
    json_t     *v = json_own(f->a, json_parse(f->a, body, &why));

    f->keys = (sigv4_keys_t) { member(f->a, v, "AccessKeyId"), member(f->a, v, "SecretAccessKey"), member(f->a, v, "Token") };
    f->expires = json_object_get(v, "Expiration") != NULL ? parse_time(member(f->a, v, "Expiration")) : AWS_FOREVER;
    if (status == 200 && f->keys.access_key != NULL && f->keys.secret_key != NULL && f->expires != 0) {
        return 0;
    }
    code = member(f->a, v, "Code");
    code = code != NULL ? code : member(f->a, v, "code");
    return fail(f, SI_EUNAVAIL, "%s: %s answered with no credentials: HTTP %d%s%s", f->source, url, status,
                code != NULL ? ", " : "", code != NULL ? shown(f->a, str_of(code)) : "");
}

/* ---- environment ---- */

static int co_environment(aws_fetch_t *f)
{
    f->keys = (sigv4_keys_t) { env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN") };
    f->expires = AWS_FOREVER;
    if (f->keys.access_key == NULL) {
        return SI_ENOENT;
    }
    return f->keys.secret_key != NULL ? 0 : fail(f, SI_EUNAVAIL, "environment: AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY");
}

/* ---- web identity ---- */

static const char *sts_url(arena_t *a)
{
    const char *url = env_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") ? NULL : env("AWS_ENDPOINT_URL_STS");
    const char *region = env("AWS_REGION");

    region = region != NULL ? region : env("AWS_DEFAULT_REGION");
    if (url != NULL) {
        return url;
    }
    if (region == NULL) {
        return "https://sts.amazonaws.com/";
    }
    return arena_printf(a, "https://sts.%s.amazonaws.com%s/", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

/* The text of the first element of that name; NULL without one. What is looked for holds no markup and no entities. */
static const char *element(arena_t *a, str_t xml, const char *name)
{
    const char *open = arena_printf(a, "<%s>", name), *p = memmem(xml.p, xml.n, open, strlen(open)), *end;

    if (p == NULL) {
        return NULL;
    }
    p += strlen(open);
    end = memchr(p, '<', xml.n - (size_t) (p - xml.p));
    return end != NULL ? arena_dup(a, p, (size_t) (end - p)) : NULL;
}

static int take_xml(aws_fetch_t *f, const char *url, int status, str_t body)
{
    const char *code = element(f->a, body, "Code"), *message = element(f->a, body, "Message");

    f->keys = (sigv4_keys_t) { element(f->a, body, "AccessKeyId"), element(f->a, body, "SecretAccessKey"), element(f->a, body, "SessionToken") };
    f->expires = parse_time(element(f->a, body, "Expiration"));
    if (status == 200 && f->keys.access_key != NULL && f->keys.secret_key != NULL && f->expires != 0) {
        return 0;
    }
    return fail(f, SI_EUNAVAIL, "%s: %s answered HTTP %d %s %s", f->source, url, status, shown(f->a, str_of(code)), shown(f->a, str_of(message)));
}

static int co_web_identity(aws_fetch_t *f)
{
    const char *role = env("AWS_ROLE_ARN"), *path = env("AWS_WEB_IDENTITY_TOKEN_FILE"), *session = env("AWS_ROLE_SESSION_NAME");
    const char *headers[] = { "Content-Type: application/x-www-form-urlencoded", "Accept: text/xml", NULL }, *token, *form;
    ask_t       q = { .method = "POST", .url = sts_url(f->a), .headers = headers, .timeout_ms = TRY_MS };
    str_t       body = STR_NULL;
    int         status;

    if (role == NULL || path == NULL) {
        return SI_ENOENT;
    }
    token = read_token(f, path);
    if (token == NULL) {
        return SI_EUNAVAIL;
    }
    form = arena_printf(f->a, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=%s&RoleSessionName=%s&WebIdentityToken=%s",
                        uri_encode(f->a, str_of(role), false), uri_encode(f->a, str_of(session != NULL ? session : "si"), false),
                        uri_encode(f->a, str_of(token), false));
    q.body = str_of(form);
    status = co_ask(f, &q, &body);
    return status < 0 ? status : take_xml(f, q.url, status, body);
}

/* ---- container ---- */

/* Loopback, and where ECS and EKS have their agents. */
static bool is_near(const char *host)
{
    static const char *const agents[] = { "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "[::1]", "localhost" };
    struct in_addr v4;

    for (size_t i = 0; i < SI_COUNT(agents); i++) {
        if (strcasecmp(host, agents[i]) == 0) {
            return true;
        }
    }
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

bool aws_url_allowed(const char *url)
{
    CURLU *u = curl_url();
    char  *scheme = NULL, *host = NULL;
    bool   good = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK
                  && curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK
                  && (strcmp(scheme, "https") == 0 || (strcmp(scheme, "http") == 0 && is_near(host)));

    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return good;
}

/* The value of the Authorization header in *out, NULL: none wanted. */
static int container_token(aws_fetch_t *f, const char **out)
{
    const char *path = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");

    *out = path != NULL ? read_token(f, path) : env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (path != NULL && *out == NULL) {
        return SI_EUNAVAIL;
    }
    if (*out != NULL && strpbrk(*out, "\r\n") != NULL) {
        return fail(f, SI_EUNAVAIL, "%s: the token has a line break", f->source);
    }
    return 0;
}

static int co_container(aws_fetch_t *f)
{
    const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), *full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *headers[] = { "Accept: application/json", NULL, NULL }, *token;
    ask_t       q = { .method = "GET", .headers = headers, .timeout_ms = TRY_MS };
    str_t       body = STR_NULL;
    int         rc;

    if (relative == NULL && full == NULL) {
        return SI_ENOENT;
    }
    q.url = relative != NULL ? arena_printf(f->a, "http://169.254.170.2%s", relative) : full;
    if (!aws_url_allowed(q.url)) {
        return fail(f, SI_EUNAVAIL, "%s: %s is neither https nor an address of this machine, ECS or EKS", f->source, q.url);
    }
    rc = container_token(f, &token);
    if (rc == 0) {
        headers[1] = token != NULL ? arena_printf(f->a, "Authorization: %s", token) : NULL;
        rc = co_ask(f, &q, &body);
    }
    return rc < 0 ? rc : take_json(f, q.url, rc, body);
}

/* ---- instance ---- */

static uint64_t env_number(const char *name, uint64_t most)
{
    const char *z = env(name);
    uint64_t    v;

    return z != NULL && parse_u64(str_of(z), &v) == 0 && v > 0 ? SI_MIN(v, most) : 1;
}

static const char *imds_base(arena_t *a)
{
    const char *url = env("AWS_EC2_METADATA_SERVICE_ENDPOINT"), *mode = env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    size_t      n;

    if (url == NULL) {
        return mode != NULL && strcasecmp(mode, "IPv6") == 0 ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    }
    n = strlen(url);
    return n > 0 && url[n - 1] == '/' ? arena_dup(a, url, n - 1) : url;
}

/* A request, tried as often as is configured. Status, or SI_E*. */
static int co_imds(aws_fetch_t *f, const char *method, const char *path, const char *header, str_t *body)
{
    const char *headers[] = { header, NULL };
    uint64_t    tries = env_number("AWS_METADATA_SERVICE_NUM_ATTEMPTS", 10);
    ask_t       q = { .method = method, .url = arena_printf(f->a, "%s%s", imds_base(f->a), path), .headers = headers,
                      .timeout_ms = 1000 * env_number("AWS_METADATA_SERVICE_TIMEOUT", 10) };
    int         status;

    do {
        status = co_ask(f, &q, body);
    } while (--tries > 0 && status != SI_ECANCELED && (status < 0 || status >= 500) && clock_ms() < f->deadline);
    return status;
}

static int instance_refuses(aws_fetch_t *f, const char *what, int status)
{
    return fail(f, SI_EUNAVAIL, "%s: no %s from the metadata service: HTTP %d", f->source, what, status);
}

static int co_instance(aws_fetch_t *f)
{
    const char *list = "/latest/meta-data/iam/security-credentials/", *header, *path;
    str_t       body = STR_NULL;
    int         status;

    if (env_true("AWS_EC2_METADATA_DISABLED")) {
        return SI_ENOENT;
    }
    status = co_imds(f, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: " IMDS_TTL, &body);
    if (status < 0) {                   /* also when the hop limit lets no answer through to a container */
        return status == SI_ECANCELED ? status : SI_ENOENT;
    }
    if (status != 200) {
        return instance_refuses(f, "token", status);
    }
    header = arena_printf(f->a, "X-aws-ec2-metadata-token: %.*s", STR_ARG(body));
    status = co_imds(f, "GET", list, header, &body);
    if (status == 200 && body.n > 0) {
        const char *end = memchr(body.p, '\n', body.n);

        path = arena_printf(f->a, "%s%.*s", list, (int) (end != NULL ? end - body.p : (ptrdiff_t) body.n), body.p);
        status = co_imds(f, "GET", path, header, &body);
        return status < 0 ? status : take_json(f, path, status, body);
    }
    return status < 0 ? status : instance_refuses(f, "role", status);
}

/* An instance that gets no new keys for a while is to go on with those it has, as Amazon's clients do. */
static void extend_stale(aws_fetch_t *f)
{
    if (f->expires <= clock_wall_ms()) {
        log_line(LOG_WARN, "the instance has only expired AWS credentials; they are used on", NULL);
        f->expires = clock_wall_ms() + STALE_MS;
    }
}

/* ---- the chain ---- */

int co_aws_fetch(aws_fetch_t *f)
{
    static const struct {
        const char *name;
        int       (*co_get)(aws_fetch_t *f);
    } sources[] = {
        { "environment", co_environment }, { "web identity", co_web_identity }, { "container", co_container }, { "instance", co_instance },
    };

    for (size_t i = 0; i < SI_COUNT(sources); i++) {
        f->source = sources[i].name;
        int rc = sources[i].co_get(f);
        if (rc == 0 && sources[i].co_get == co_instance) {
            extend_stale(f);
        }
        if (rc != SI_ENOENT) {
            return rc;
        }
    }
    return fail(f, SI_ENOENT, "no AWS credentials: none in the environment, no web identity, no container's, no role of an instance");
}

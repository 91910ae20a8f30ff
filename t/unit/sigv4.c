/* AWS Signature Version 4: every case of aws-c-auth's suite, both forms, each step; and the bounds of its encodings. */
#include "io/sigv4.h"

#include <dirent.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "tap.h"

#define HEADERS_MAX  16

static arena_t *arena;

typedef struct {
    sigv4_spec_t   spec;
    sigv4_header_t headers[HEADERS_MAX];
    const char    *raw_headers;         /* as in the file */
} request_t;

static const char *folder(void)
{
    const char *root = getenv("SI_CORPUS");

    return arena_printf(arena, "%s/sigv4", root != NULL ? root : "../shared/corpus");
}

/* NULL when there is no such file. */
static char *read_file(const char *name, const char *file)
{
    FILE  *f = fopen(arena_printf(arena, "%s/%s/%s", folder(), name, file), "r");
    char  *text = arena_alloc(arena, 65536);
    size_t n;

    if (f == NULL) {
        diag("%s/%s/%s cannot be read: set SI_CORPUS to the folder \"corpus\"", folder(), name, file);
        return NULL;
    }
    n = fread(text, 1, 65535, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

/* ---- reading a case ---- */

static const char *string(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static void read_context(sigv4_spec_t *s, const json_t *c)
{
    const json_t *keys = json_object_get(c, "credentials");
    struct tm     tm = { 0 };

    s->keys = (sigv4_keys_t) { string(keys, "access_key_id"), string(keys, "secret_access_key"), string(keys, "token") };
    s->region = string(c, "region");
    s->service = string(c, "service");
    s->normalize = json_is_true(json_object_get(c, "normalize"));
    s->body_header = json_is_true(json_object_get(c, "sign_body"));
    s->token_unsigned = json_is_true(json_object_get(c, "omit_session_token"));
    s->expires = (uint32_t) json_integer_value(json_object_get(c, "expiration_in_seconds"));
    strptime(string(c, "timestamp"), "%Y-%m-%dT%H:%M:%SZ", &tm);
    s->time = (uint64_t) timegm(&tm);
}

/* "Name:value" lines, a line that begins with a blank goes on with the one before; up to the empty line or the end. */
static char *read_headers(request_t *r, char *p)
{
    while (*p != '\0' && *p != '\n') {
        char *colon = strchr(p, ':'), *end = strchr(p, '\n');

        while (end != NULL && end[1] == ' ') {
            end = strchr(end + 1, '\n');
        }
        end = end != NULL ? end : p + strlen(p);
        r->headers[r->spec.nheaders++] = (sigv4_header_t) {
            arena_dup(arena, p, (size_t) (colon - p)), arena_dup(arena, colon + 1, (size_t) (end - colon - 1)),
        };
        p = *end != '\0' ? end + 1 : end;
    }
    return p;
}

/* The target may hold blanks and bytes that are not ASCII, as the suite has them. */
static void read_request(request_t *r, char *text)
{
    char *target = strchr(text, ' ') + 1, *version = strstr(text, " HTTP/1.1\n"), *query, *head, *body;

    *version = '\0';
    target[-1] = '\0';
    query = strchr(target, '?');
    r->spec.method = text;
    r->spec.path = (str_t) { target, query != NULL ? (size_t) (query - target) : strlen(target) };
    r->spec.query = str_of(query != NULL ? query + 1 : "");
    head = version + strlen(" HTTP/1.1\n");
    body = read_headers(r, head);
    r->raw_headers = arena_dup(arena, head, (size_t) (body - head));
    r->spec.body = str_of(*body == '\n' ? body + 1 : body);
    r->spec.headers = r->headers;
}

/* ---- comparing ---- */

/* The signed request as the suite writes it. */
static const char *signed_text(const request_t *r, const sigv4_signed_t *out)
{
    const sigv4_spec_t *s = &r->spec;
    str_t  query = out->query != NULL ? str_of(out->query) : s->query;
    buf_t  b;
    char  *text;

    buf_init(&b, 1u << 20);
    buf_printf(&b, "%s %.*s%s%.*s HTTP/1.1\n%s", s->method, STR_ARG(s->path), query.n > 0 ? "?" : "", STR_ARG(query), r->raw_headers);
    for (size_t i = 0; i < out->nadded; i++) {
        buf_printf(&b, "%s:%s\n", out->added[i].name, out->added[i].value);
    }
    buf_printf(&b, "\n%.*s", STR_ARG(s->body));
    text = arena_dup(arena, b.p, b.n);
    buf_free(&b);
    return text;
}

/* The files differ in whether a line end closes them. */
static void same(const char *got, const char *name, const char *form, const char *what)
{
    const char *want = read_file(name, arena_printf(arena, "%s-%s.txt", form, what));
    size_t      n = strlen(got), m = want != NULL ? strlen(want) : 0;

    while (n > 0 && got[n - 1] == '\n') {
        n--;
    }
    while (m > 0 && want[m - 1] == '\n') {
        m--;
    }
    if (!ok(m > 0 && n == m && memcmp(got, want, n) == 0, "%s, %s: %s", name, form, what)) {
        diag("  got %.*s", (int) n, got);
        diag("  want %.*s", (int) m, want != NULL ? want : "");
    }
}

static void check_case(const char *name)
{
    static const char *const forms[] = { "header", "query" };
    const char *why;
    char       *context = read_file(name, "context.json");
    json_t     *c = json_own(arena, json_parse(arena, str_of(context), &why));

    for (size_t i = 0; i < SI_COUNT(forms); i++) {
        request_t      *r = arena_calloc(arena, sizeof *r);
        sigv4_signed_t  out;

        read_context(&r->spec, c);
        read_request(r, read_file(name, "request.txt"));
        r->spec.in_query = i == 1;
        sigv4_sign(arena, &r->spec, &out);
        same(out.canonical, name, forms[i], "canonical-request");
        same(out.to_sign, name, forms[i], "string-to-sign");
        same(out.signature, name, forms[i], "signature");
        same(signed_text(r, &out), name, forms[i], "signed-request");
    }
}

static int no_dots(const struct dirent *d)
{
    return d->d_name[0] != '.' && strchr(d->d_name, '-') != NULL;
}

static void check_corpus(void)
{
    struct dirent **names = NULL;
    int             n = scandir(folder(), &names, no_dots, alphasort);

    is_int(n, 38, "cases of the suite");
    for (int i = 0; i < n; i++) {
        check_case(names[i]->d_name);
        free(names[i]);
    }
    free(names);
}

/* ---- what the suite has not ---- */

static bool signs(sigv4_spec_t spec, const char *canonical)
{
    static const sigv4_header_t host = { "Host", "h" };
    sigv4_signed_t out;

    spec.keys = (sigv4_keys_t) { "A", "S", NULL };
    spec.region = "r";
    spec.service = "s";
    spec.method = "POST";
    spec.headers = &host;
    spec.nheaders = 1;
    sigv4_sign(arena, &spec, &out);
    if (strncmp(out.canonical, canonical, strlen(canonical)) != 0) {
        diag("  got %s", out.canonical);
        return false;
    }
    return true;
}

static void check_more(void)
{
    ok(signs((sigv4_spec_t) { .path = STR("/model/a%3A0/converse"), .normalize = true }, "POST\n/model/a%253A0/converse\n"),
       "a path that is encoded already is encoded again");
    ok(signs((sigv4_spec_t) { .path = STR("") }, "POST\n/\n\n"), "no path is the root");
    ok(signs((sigv4_spec_t) { .path = STR("/a/./b/../c/.."), .normalize = true }, "POST\n/a/\n"), "dots go");
    ok(signs((sigv4_spec_t) { .path = STR("/../../a"), .normalize = true }, "POST\n/a\n"), "nothing stands above the root");
    ok(signs((sigv4_spec_t) { .path = STR("/a.b/..c"), .normalize = true }, "POST\n/a.b/..c\n"), "dots within a name stay");
    ok(signs((sigv4_spec_t) { .path = STR("/"), .query = STR("b&a=2&a=1&&c=%2f%zz+") }, "POST\n/\na=1&a=2&b=&c=%2F%25zz%2B\n"),
       "parameters are sorted by name and value, encoded once, and have a '='");
    ok(signs((sigv4_spec_t) { .path = STR("/"), .body = STR("x"), .body_unsigned = true, .body_header = true },
             "POST\n/\n\nhost:h\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:19700101T000000Z\n\n"
             "host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD"), "a payload that is not signed");
    is_str(uri_encode(arena, STR("a/b c~\xff"), true), "a/b%20c~%FF", "a path is encoded");
    is_str(uri_encode(arena, STR("a/b"), false), "a%2Fb", "a piece of one, too");
}

int main(void)
{
    arena = arena_new(1u << 20);
    check_corpus();
    check_more();
    arena_free(arena);
    return done_testing();
}

#include "io/sigv4.h"

#include <time.h>

#include "base/util.h"

#define ALGORITHM  "AWS4-HMAC-SHA256"

typedef struct {
    const char *name, *value;
    size_t      order;                  /* of headers, as given: those of one name keep it */
} pair_t;

/* What one signing works with. */
typedef struct {
    arena_t            *a;
    const sigv4_spec_t *spec;
    sigv4_signed_t     *out;
    char                date[17];       /* 20150830T123600Z */
    const char         *scope;          /* 20150830/us-east-1/service/aws4_request */
    char                digest[65];     /* of the body, or what stands for it */
    pair_t             *headers;        /* names in lower case, sorted */
    size_t              nheaders;
    const char         *names;          /* host;x-amz-date; set by canonical_headers() */
} signing_t;

/* ---- encoding ---- */

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

char *uri_encode(arena_t *a, str_t s, bool slashes)
{
    static const char digits[] = "0123456789ABCDEF";
    char  *out = arena_alloc(a, 3 * s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char) s.p[i];

        if (is_unreserved((char) c) || (slashes && c == '/')) {
            out[n++] = (char) c;
        } else {
            out[n++] = '%';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    out[n] = '\0';
    return out;
}

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

    return at != NULL ? (int) (at - digits) : -1;
}

/* Encoded once, whether s is already or not. */
static const char *encode_again(arena_t *a, str_t s)
{
    char  *plain = arena_alloc(a, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && s.n - i > 2 ? hex_value(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_value(s.p[i + 2]) : -1;

        plain[n++] = lo >= 0 ? (char) (hi << 4 | lo) : s.p[i];
        i += lo >= 0 ? 2 : 0;
    }
    return uri_encode(a, (str_t) { plain, n }, false);
}

/* ---- lists of pairs ---- */

static int by_name(const void *x, const void *y)
{
    const pair_t *a = x, *b = y;
    int           order = strcmp(a->name, b->name);

    return order != 0 ? order : a->order < b->order ? -1 : a->order > b->order;
}

static int by_name_and_value(const void *x, const void *y)
{
    const pair_t *a = x, *b = y;
    int           order = strcmp(a->name, b->name);

    return order != 0 ? order : strcmp(a->value, b->value);
}

/* ---- path and query ---- */

/* The path without empty and dot segments (RFC 3986, section 5.2.4); one that ended in a slash still does. */
static str_t normalize(arena_t *a, str_t path)
{
    char  *out = arena_alloc(a, path.n + 2);
    size_t n = 0;
    bool   slash = true;

    for (size_t i = 0, len; i < path.n; i += len + 1) {
        const char *seg = path.p + i, *end = memchr(seg, '/', path.n - i);
        bool        up, here;

        len = end != NULL ? (size_t) (end - seg) : path.n - i;
        up = len == 2 && seg[0] == '.' && seg[1] == '.';
        here = len == 0 || (len == 1 && seg[0] == '.');
        slash = end != NULL || up || here;
        if (up) {
            while (n > 0 && out[--n] != '/') {
            }
        } else if (!here) {
            out[n++] = '/';
            memcpy(out + n, seg, len);
            n += len;
        }
    }
    if (slash) {
        out[n++] = '/';
    }
    return (str_t) { out, n };
}

static const char *canonical_path(const signing_t *g)
{
    str_t path = g->spec->path.n > 0 ? g->spec->path : STR("/");

    return uri_encode(g->a, g->spec->normalize ? normalize(g->a, path) : path, true);
}

/* The parameters of a query, encoded. */
static size_t read_query(arena_t *a, str_t query, pair_t *pairs)
{
    size_t n = 0;

    for (size_t i = 0, len; i < query.n; i += len + 1) {
        const char *p = query.p + i, *end = memchr(p, '&', query.n - i), *eq;
        str_t       name, value;

        len = end != NULL ? (size_t) (end - p) : query.n - i;
        eq = memchr(p, '=', len);
        name = (str_t) { p, eq != NULL ? (size_t) (eq - p) : len };
        value = (str_t) { p + len, 0 };
        if (eq != NULL) {
            value = (str_t) { eq + 1, len - name.n - 1 };
        }
        if (len > 0) {
            pairs[n++] = (pair_t) { .name = encode_again(a, name), .value = encode_again(a, value) };
        }
    }
    return n;
}

static const char *canonical_query(const signing_t *g, str_t query)
{
    pair_t *pairs = arena_alloc(g->a, (query.n / 2 + 1) * sizeof *pairs);
    size_t  n = read_query(g->a, query, pairs);
    char   *out = arena_alloc(g->a, 3 * query.n + 2 * n + 1), *end = out;

    qsort(pairs, n, sizeof *pairs, by_name_and_value);
    for (size_t i = 0; i < n; i++) {
        *end = '&';
        end = mempcpy(end + (i > 0), pairs[i].name, strlen(pairs[i].name));
        *end = '=';
        end = mempcpy(end + 1, pairs[i].value, strlen(pairs[i].value));
    }
    *end = '\0';
    return out;
}

/* ---- headers ---- */

static const char *lower(arena_t *a, const char *name)
{
    char *z = arena_strdup(a, name);

    for (char *p = z; *p != '\0'; p++) {
        *p = *p >= 'A' && *p <= 'Z' ? (char) (*p | 0x20) : *p;
    }
    return z;
}

/* Without space around, and with one blank for all space within. */
static const char *squeeze(arena_t *a, const char *value)
{
    char  *z = arena_alloc(a, strlen(value) + 1);
    size_t n = 0;

    for (; *value != '\0'; value++) {
        bool space = strchr(" \t\r\n", *value) != NULL;

        if (!space) {
            z[n++] = *value;
        } else if (n > 0 && z[n - 1] != ' ') {
            z[n++] = ' ';
        }
    }
    z[n > 0 && z[n - 1] == ' ' ? n - 1 : n] = '\0';
    return z;
}

static void add_header(signing_t *g, const char *name, const char *value)
{
    g->headers[g->nheaders] = (pair_t) { lower(g->a, name), squeeze(g->a, value), g->nheaders };
    g->nheaders++;
}

/* To be sent, and signed too if `sign`. */
static void send_header(signing_t *g, const char *name, const char *value, bool sign)
{
    g->out->added[g->out->nadded++] = (sigv4_header_t) { name, value };
    if (sign) {
        add_header(g, name, value);
    }
}

/* Those of the spec and those that signing adds. */
static void gather_headers(signing_t *g)
{
    const sigv4_spec_t *spec = g->spec;

    g->headers = arena_alloc(g->a, (spec->nheaders + SI_COUNT(g->out->added)) * sizeof *g->headers);
    for (size_t i = 0; i < spec->nheaders; i++) {
        add_header(g, spec->headers[i].name, spec->headers[i].value);
    }
    if (!spec->in_query) {
        if (spec->keys.token != NULL) {
            send_header(g, "X-Amz-Security-Token", spec->keys.token, !spec->token_unsigned);
        }
        send_header(g, "X-Amz-Date", arena_strdup(g->a, g->date), true);
        if (spec->body_header) {
            send_header(g, "x-amz-content-sha256", arena_strdup(g->a, g->digest), true);
        }
    }
    qsort(g->headers, g->nheaders, sizeof *g->headers, by_name);
}

/* "name:value\n" each, those of one name on one line; sets g->names. */
static const char *canonical_headers(signing_t *g)
{
    const char *text = "", *names = "";

    for (size_t i = 0; i < g->nheaders; i++) {
        const pair_t *h = &g->headers[i];
        bool          again = i > 0 && strcmp(h->name, h[-1].name) == 0;

        if (again) {
            text = arena_printf(g->a, "%.*s,%s\n", (int) strlen(text) - 1, text, h->value);
        } else {
            text = arena_printf(g->a, "%s%s:%s\n", text, h->name, h->value);
            names = arena_printf(g->a, "%s%s%s", names, i > 0 ? ";" : "", h->name);
        }
    }
    g->names = names;
    return text;
}

/* ---- signing ---- */

static void set_constants(signing_t *g)
{
    time_t    t = (time_t) g->spec->time;
    struct tm tm;
    uint8_t   sum[SHA256_LEN];

    gmtime_r(&t, &tm);
    strftime(g->date, sizeof g->date, "%Y%m%dT%H%M%SZ", &tm);
    g->scope = arena_printf(g->a, "%.8s/%s/%s/aws4_request", g->date, g->spec->region, g->spec->service);
    if (g->spec->body_unsigned) {
        memcpy(g->digest, "UNSIGNED-PAYLOAD", sizeof "UNSIGNED-PAYLOAD");
    } else {
        sha256(sum, g->spec->body.p, g->spec->body.n);
        hex_encode(g->digest, sum, sizeof sum);
    }
}

/* The query with what signing adds: *sent gets the token also when it is not signed. What the result says is to be signed. */
static str_t signing_query(const signing_t *g, const char **sent)
{
    const sigv4_spec_t *spec = g->spec;
    const char *credential = arena_printf(g->a, "%s/%s", spec->keys.access_key, g->scope), *token = "", *query;

    if (spec->keys.token != NULL) {
        token = arena_printf(g->a, "&X-Amz-Security-Token=%s", uri_encode(g->a, str_of(spec->keys.token), false));
    }
    query = arena_printf(g->a, "%.*s%sX-Amz-Algorithm=" ALGORITHM "&X-Amz-Credential=%s&X-Amz-Date=%s&X-Amz-SignedHeaders=%s&X-Amz-Expires=%u",
                         STR_ARG(spec->query), spec->query.n > 0 ? "&" : "", uri_encode(g->a, str_of(credential), false), g->date,
                         uri_encode(g->a, str_of(g->names), false), spec->expires);
    *sent = arena_printf(g->a, "%s%s", query, token);
    return str_of(spec->token_unsigned ? query : *sent);
}

static void set_signature(signing_t *g)
{
    const char *parts[] = { g->spec->region, g->spec->service, "aws4_request", g->out->to_sign };
    const char *secret = arena_printf(g->a, "AWS4%s", g->spec->keys.secret_key);
    uint8_t     key[SHA256_LEN];

    hmac_sha256(key, str_of(secret), (str_t) { g->date, 8 });
    for (size_t i = 0; i < SI_COUNT(parts); i++) {
        uint8_t next[SHA256_LEN];

        hmac_sha256(next, (str_t) { (const char *) key, sizeof key }, str_of(parts[i]));
        memcpy(key, next, sizeof key);
    }
    hex_encode(g->out->signature, key, sizeof key);
}

void sigv4_sign(arena_t *a, const sigv4_spec_t *spec, sigv4_signed_t *out)
{
    signing_t   g = { .a = a, .spec = spec, .out = out };
    const char *headers, *sent = NULL;
    str_t       query = spec->query;
    uint8_t     sum[SHA256_LEN];
    char        hex[65];

    memset(out, 0, sizeof *out);
    set_constants(&g);
    gather_headers(&g);
    headers = canonical_headers(&g);
    if (spec->in_query) {
        query = signing_query(&g, &sent);
    }
    out->canonical = arena_printf(a, "%s\n%s\n%s\n%s\n%s\n%s", spec->method, canonical_path(&g), canonical_query(&g, query),
                                  headers, g.names, g.digest);
    sha256(sum, out->canonical, strlen(out->canonical));
    hex_encode(hex, sum, sizeof sum);
    out->to_sign = arena_printf(a, ALGORITHM "\n%s\n%s\n%s", g.date, g.scope, hex);
    set_signature(&g);
    if (spec->in_query) {
        out->query = arena_printf(a, "%s&X-Amz-Signature=%s", sent, out->signature);
    } else {
        send_header(&g, "Authorization", arena_printf(a, ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                                                      spec->keys.access_key, g.scope, g.names, out->signature), false);
    }
}

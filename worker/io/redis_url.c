#include "io/redis_url.h"

#include "base/logger.h"
#include "base/util.h"

#define DEFAULT_PORT   6379
#define SENTINEL_PORT  26379
#define DB_MAX         1023

static int take(char *out, size_t cap, const char *p, size_t n)
{
    if (n >= cap || memchr(p, '\0', n) != NULL) {
        return SI_EINVAL;
    }
    memcpy(out, p, n);
    out[n] = '\0';
    return 0;
}

static int take_decoded(char *out, size_t cap, const char *p, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '%') {
            int hi = n - i > 2 ? hex_digit(p[i + 1]) : -1;
            int lo = hi >= 0 ? hex_digit(p[i + 2]) : -1;
            if (lo < 0 || (hi | lo) == 0) {
                return SI_EINVAL;
            }
            c = (char) (hi << 4 | lo);
            i += 2;
        }
        if (len + 1 >= cap) {
            return SI_EINVAL;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return 0;
}

static int take_number(const char *p, size_t n, uint64_t max, int *out)
{
    uint64_t v;

    if (parse_u64((str_t) { p, n }, &v) != 0 || v > max) {
        return SI_EINVAL;
    }
    *out = (int) v;
    return 0;
}

/* "[user]:password@" before the rest. A password may hold '@' only as %40, but be lenient: the last one counts. */
static int take_login(const char **rest, const char *end, redis_addr_t *out)
{
    const char *at = memrchr(*rest, '@', (size_t) (end - *rest));

    if (at == NULL) {
        return 0;
    }
    const char *p = *rest, *colon = memchr(p, ':', (size_t) (at - p));
    if (colon == NULL
        || take_decoded(out->user, sizeof(out->user), p, (size_t) (colon - p)) != 0
        || take_decoded(out->password, sizeof(out->password), colon + 1, (size_t) (at - colon - 1)) != 0)
    {
        return SI_EINVAL;
    }
    *rest = at + 1;
    return 0;
}

/* "/db", "/" or nothing. */
static int take_db(const char *slash, redis_addr_t *out)
{
    return *slash == '\0' || slash[1] == '\0' ? 0 : take_number(slash + 1, strlen(slash + 1), DB_MAX, &out->db);
}

/* "/master[/db]" */
static int take_master(const char *slash, redis_addr_t *out)
{
    size_t n = *slash == '/' ? strcspn(slash + 1, "/") : 0;

    return n > 0 && take_decoded(out->master, sizeof(out->master), slash + 1, n) == 0 ? take_db(slash + 1 + n, out) : SI_EINVAL;
}

/* "host[:port]" or "[address][:port]" */
static int take_node(const char *p, const char *end, int port, redis_node_t *out)
{
    const char *host = p, *host_end, *rest;

    if (p < end && *p == '[') {
        host++;
        host_end = memchr(p, ']', (size_t) (end - p));
        rest = host_end != NULL ? host_end + 1 : NULL;
    } else {
        rest = memchr(p, ':', (size_t) (end - p));
        host_end = rest = rest != NULL ? rest : end;
    }
    if (rest == NULL || host == host_end || take(out->host, sizeof(out->host), host, (size_t) (host_end - host)) != 0) {
        return SI_EINVAL;
    }
    out->port = port;
    if (rest == end) {
        return 0;
    }
    return *rest == ':' && take_number(rest + 1, (size_t) (end - rest - 1), 65535, &out->port) == 0 && out->port > 0
           ? 0 : SI_EINVAL;
}

static int take_nodes(const char *p, const char *end, int port, redis_addr_t *out)
{
    for (const char *comma; ; p = comma + 1) {
        comma = memchr(p, ',', (size_t) (end - p));
        if (out->n == REDIS_NODES_MAX || take_node(p, comma != NULL ? comma : end, port, &out->nodes[out->n++]) != 0) {
            return SI_EINVAL;
        }
        if (comma == NULL) {
            return 0;
        }
    }
}

static int parse_tcp(redis_kind_t kind, const char *p, redis_addr_t *out)
{
    const char *end = p + strcspn(p, "/");

    out->kind = kind;
    if (take_login(&p, end, out) != 0
        || take_nodes(p, end, kind == REDIS_SENTINEL ? SENTINEL_PORT : DEFAULT_PORT, out) != 0
        || (kind == REDIS_SENTINEL ? take_master(end, out) : take_db(end, out)) != 0)
    {
        return SI_EINVAL;
    }
    return kind == REDIS_CLUSTER && out->db != 0 ? SI_EINVAL : 0;       /* a cluster has one database */
}

static int parse_unix(const char *p, redis_addr_t *out)
{
    const char *slash = strchr(p, '/');

    if (slash == NULL || take_login(&p, slash, out) != 0 || *p != '/') {
        return SI_EINVAL;
    }
    size_t n = strcspn(p, "?");
    if (n < 2 || take(out->path, sizeof(out->path), p, n) != 0) {
        return SI_EINVAL;
    }
    if (p[n] == '\0') {
        return 0;
    }
    p += n + 1;
    return strncmp(p, "db=", 3) == 0 ? take_number(p + 3, strlen(p + 3), DB_MAX, &out->db) : SI_EINVAL;
}

int redis_url_parse(const char *url, redis_addr_t *out)
{
    int rc = SI_EINVAL;

    memset(out, 0, sizeof(*out));
    if (strncmp(url, "redis://", 8) == 0) {
        rc = parse_tcp(REDIS_SERVERS, url + 8, out);
    } else if (strncmp(url, "redis+cluster://", 16) == 0) {
        rc = parse_tcp(REDIS_CLUSTER, url + 16, out);
    } else if (strncmp(url, "redis+sentinel://", 17) == 0) {
        rc = parse_tcp(REDIS_SENTINEL, url + 17, out);
    } else if (strncmp(url, "unix://", 7) == 0) {
        rc = parse_unix(url + 7, out);
    }
    if (rc != 0) {
        log_line(LOG_ERROR, "redis: the URL is not of the form redis://[[user]:password@]host[:port][,…][/db],"
                 " redis+cluster://…, redis+sentinel://[[user]:password@]sentinel[:port][,…]/master[/db]"
                 " or unix://[[user]:password@]/path[?db=n]", NULL);
    }
    return rc;
}

#include "api/issuers.h"

#include <inttypes.h>
#include <strings.h>
#include <unistd.h>

#include "../ngx_si_module/si_jwk.h"
#include "base/json.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "conf/conf.h"
#include "io/http.h"
#include "link/frame.h"
#include "link/link.h"
#include "run/co.h"
#include "run/loop.h"
#include "store/keyset.h"
#include "store/revoked.h"

#define FETCH_MS  10000         /* one request */
#define LOOK_MS   250           /* another worker asks: what it got is looked for so often */
#define SOON_MS   10

typedef struct {
    const conf_issuer_t *conf;
    keyset_t set;               /* its text is on the heap; n is 0: none */
    uint64_t tried;             /* clock_wall_ms() */
    bool     wanted;            /* an edge has met a key that is not in it */
    bool     busy;
    ltimer_t timer;
} issuer_t;

struct issuers {
    issuer_t       *all;
    size_t          n;
    issuers_count_t count;
};

issuers_count_t issuers_count(void)
{
    return proc.issuers->count;
}

/* --- what is known --- */

static const char *source(const issuer_t *it)
{
    return it->conf->jwks_url[0] ? it->conf->jwks_url : it->conf->issuer;
}

static void tell(struct link *to, const issuer_t *it)
{
    si_keys_t k = {
        .fetched = it->set.fetched, .fresh = (uint32_t) proc.conf->auth_keys_min,
        .name = (const uint8_t *) it->conf->name, .name_len = (uint8_t) strlen(it->conf->name),
        .text = (const uint8_t *) it->set.text.p, .text_len = (uint32_t) it->set.text.n,
    };
    uint8_t *p;

    if (k.text_len > 0) {
        p = si_malloc(si_keys_size(&k));
        si_keys_put(p, &k);
        links_push(to, SI_PUSH_KEYS, p, si_keys_size(&k));
        free(p);
    }
}

static void adopt(issuer_t *it, const keyset_t *set)
{
    proc.issuers->count.known += it->set.text.n == 0;
    free((char *) it->set.text.p);
    it->set = *set;
    it->set.text.p = strndup(set->text.p, set->text.n);
    it->wanted = false;
    tell(NULL, it);
}

/* NULL, or why the set cannot be used: the very check of the edge. */
static const char *check(str_t text)
{
    si_jwks_t  *keys = si_calloc(sizeof(*keys));
    const char *why = text.n > SI_KEYS_MAX ? "it is longer than 60 KiB" : si_jwks_read(keys, text.p, text.n, false);

    si_jwks_free(keys);
    free(keys);
    return why;
}

/* What another worker got, or was got before the start. */
static void look(issuer_t *it)
{
    arena_t *a = arena_new(4096);
    keyset_t set = { .fetched = 0 };

    if (keyset_read(a, it->conf->name, source(it), &set) && set.fetched > it->set.fetched && check(set.text) == NULL) {
        adopt(it, &set);
    }
    arena_free(a);
}

/* --- fetching --- */

/* How long an answer keeps, in ms: what its Cache-Control says, within bounds. */
static uint64_t age_of(const char *cache_control)
{
    const conf_t *c = proc.conf;
    uint64_t      seconds = 0;

    for (const char *p = cache_control; p && *p; p += *p == ',') {
        p += strspn(p, " \t");
        size_t n = strcspn(p, ", \t");
        if (n > 8 && strncasecmp(p, "max-age=", 8) == 0 && parse_u64((str_t) { p + 8, n - 8 }, &seconds) == 0) {
            seconds = SI_MIN(seconds, c->auth_keys_max / 1000);
            return SI_MAX(seconds * 1000, c->auth_keys_min);
        }
        if ((n == 8 && strncasecmp(p, "no-store", 8) == 0) || (n == 8 && strncasecmp(p, "no-cache", 8) == 0)) {
            return c->auth_keys_min;
        }
        p += strcspn(p, ",");
    }
    return c->auth_keys_max;
}

/* Gets a document. 0, or SI_E* with *why in the arena. */
static int co_get(arena_t *a, const char *url, str_t *body, uint64_t *age, const char **why)
{
    const char *headers[] = { "Accept: application/json", NULL };
    uint64_t    deadline = clock_ms() + FETCH_MS;
    http_t     *h = http_start(&(http_spec_t) { .method = "GET", .url = url, .headers = headers });
    int         rc = co_http_head(h, deadline), status = rc;

    if (rc == 200) {
        *age = age_of(http_header(h, "cache-control"));
        rc = co_http_body(h, a, SI_KEYS_MAX, body, deadline);
    }
    *why = rc == SI_ENOMEM ? arena_printf(a, "%s: the answer is longer than 60 KiB", url)
           : rc == SI_EUNAVAIL ? arena_printf(a, "%s: %s", url, http_error(h))
           : rc < 0 ? arena_printf(a, "%s: %s", url, si_strerror(rc)) : arena_printf(a, "%s: status %d", url, status);
    http_close(h);
    return rc > 0 ? SI_EPROTO : rc;
}

/* The place of the keys; NULL with *why. */
static const char *co_discover(arena_t *a, const issuer_t *it, const char **why)
{
    const char *url = arena_printf(a, "%s/.well-known/openid-configuration", it->conf->issuer), *err;
    uint64_t    age;
    str_t       text = STR_NULL, name;
    json_t     *o;

    if (co_get(a, url, &text, &age, why)) {
        return NULL;
    }
    o = json_own(a, json_parse(a, text, &err));
    name = o ? json_str(o, "issuer", STR_NULL) : STR_NULL;
    name.n -= name.n > 0 && name.p[name.n - 1] == '/';
    if (!str_is(name, it->conf->issuer)) {
        *why = arena_printf(a, "%s: it is no description of this issuer", url);
        return NULL;
    }
    text = json_str(o, "jwks_uri", STR_NULL);
    if (strncmp(url, "https:", 6) == 0 ? text.n < 8 || strncmp(text.p, "https://", 8) != 0 : text.n == 0) {
        *why = arena_printf(a, "%s: its jwks_uri is missing, or no https", url);
        return NULL;
    }
    return arena_printf(a, "%.*s", STR_ARG(text));
}

/* 0, or SI_E* with *why in the arena. */
static int co_fetch(arena_t *a, const issuer_t *it, keyset_t *set, const char **why)
{
    const char *url = it->conf->jwks_url[0] ? it->conf->jwks_url : co_discover(a, it, why), *wrong;
    int         rc = url ? co_get(a, url, &set->text, &set->age, why) : SI_EPROTO;

    if (rc) {
        return rc;
    }
    wrong = check(set->text);
    if (wrong) {
        *why = arena_printf(a, "%s: %s", url, wrong);
        return SI_EPROTO;
    }
    set->fetched = clock_wall_ms();
    return 0;
}

static void co_renew(issuer_t *it, int lock)
{
    arena_t    *a = arena_new(4096);
    const char *why = "";
    keyset_t    set = { .fetched = 0 };

    it->wanted = false;                 /* also if it fails: the edge asks again */
    it->tried = clock_wall_ms();
    if (lock >= 0) {
        keyset_try(lock);
    }
    if (co_fetch(a, it, &set, &why) == 0) {
        proc.issuers->count.fetched++;
        log_line(LOG_INFO, "the keys of an issuer were fetched", "issuer", it->conf->name, NULL);
        if (lock >= 0) {
            keyset_write(a, it->conf->name, source(it), &set);
        }
        adopt(it, &set);
    } else {
        proc.issuers->count.failed++;
        log_line(LOG_WARN, "the keys of an issuer were not fetched", "issuer", it->conf->name, "reason", why, NULL);
    }
    arena_free(a);
}

/* --- when --- */

/* Wall clock, ms: the next question. */
static uint64_t due(issuer_t *it)
{
    uint64_t now = clock_wall_ms(), at = it->set.text.n && !it->wanted ? it->set.fetched + it->set.age / 5 * 4 : 0;

    it->tried = SI_MIN(it->tried, now);         /* the clock may be set back */
    return SI_MAX(at, it->tried ? it->tried + proc.conf->auth_keys_min : 0);
}

static void on_timer(ltimer_t *t);

static void co_turn_to(void *arg)
{
    issuer_t *it = arg;
    int       lock = keyset_lock(it->conf->name);
    uint64_t  now, at;

    look(it);
    if (lock >= 0) {
        it->tried = SI_MAX(it->tried, keyset_tried(lock));
    }
    if (lock != SI_EAGAIN && due(it) <= clock_wall_ms()) {
        co_renew(it, lock);
    }
    if (lock >= 0) {
        close(lock);
    }
    it->busy = false;
    now = clock_wall_ms();
    at = due(it);
    loop_timer(&it->timer, lock == SI_EAGAIN ? LOOK_MS : at > now + SOON_MS ? at - now : SOON_MS, on_timer);
}

static void on_timer(ltimer_t *t)
{
    issuer_t *it = container_of(t, issuer_t, timer);

    it->busy = true;
    co_spawn("issuer", co_turn_to, it);
}

static void on_want(str_t name)
{
    for (size_t i = 0; i < proc.issuers->n; i++) {
        issuer_t *it = &proc.issuers->all[i];

        if (str_is(name, it->conf->name)) {
            it->wanted = true;
            if (!it->busy) {
                loop_timer(&it->timer, 0, on_timer);
            }
            return;
        }
    }
    log_fmt(LOG_WARN, "nginx asks for keys of \"%.*s\", which is none of the issuers", STR_ARG(name));
}

static void on_hello(struct link *to)
{
    revoked_tell(to);
    for (size_t i = 0; i < proc.issuers->n; i++) {
        tell(to, &proc.issuers->all[i]);
    }
}

void issuers_init(void)
{
    const conf_t   *c = proc.conf;
    struct issuers *s = si_calloc(sizeof(*s));

    s->all = si_calloc((c->nissuers + 1) * sizeof(*s->all));
    proc.issuers = s;
    links_hooks(on_hello, on_want);
    for (size_t i = 0; i < c->nissuers; i++) {
        issuer_t *it = &s->all[s->n];

        it->conf = &c->issuers[i];
        if (source(it)[0] == '\0') {
            continue;
        }
        if (s->n++ == 0) {
            keyset_init();
        }
        look(it);
        loop_timer(&it->timer, 0, on_timer);
    }
}

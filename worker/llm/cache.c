#include "llm/cache.h"

#include <inttypes.h>

#include "base/proc.h"
#include "io/redis.h"
#include "llm/cache_key.h"
#include "run/co.h"

#define FIND_MS   50                /* Redis is given up after so long when somebody waits */
#define KEEP_MS   2000              /* and when nobody does */
#define KEEPS     64                /* answers on their way to Redis at the same time; more are not kept */
#define MAGIC     "SIC1"

typedef enum { OUT_HIT, OUT_MISS, OUT_STALE, OUT_BYPASS, OUT_KEPT, OUT_UNFIT, OUT_FAILED, OUTS } out_t;

static const char *const out_names[] = { "hit", "miss", "stale", "bypass", "kept", "unfit", "failed" };

struct cache {
    uint64_t n[OUTS];
    size_t   keeps;                 /* under way */
};

struct cache_call {
    cache_t            *of;
    arena_t            *arena;
    const conf_model_t *model;
    cache_want_t        want;
    uint64_t            ttl;        /* ms */
    size_t              max;        /* bytes of what is kept */
    char                hex[2 * SHA256_LEN + 1];
    reply_t             events;     /* found, or noted */
    bool                notes;      /* the answer may yet be kept */
    const char         *status;
};

cache_t *cache_new(void)
{
    return si_calloc(sizeof(cache_t));
}

void cache_free(cache_t *c)
{
    free(c);
}

void cache_print(const cache_t *c, buf_t *b)
{
    (void) buf_puts(b, "# HELP si_cache_answers_total Answers that were looked for among those of before, or kept.\n"
                       "# TYPE si_cache_answers_total counter\n");
    for (size_t i = 0; i < OUTS; i++) {
        (void) buf_printf(b, "si_cache_answers_total{outcome=\"%s\"} %" PRIu64 "\n", out_names[i], c->n[i]);
    }
}

/* --- the form --- */

static int put_number(buf_t *b, int64_t v)
{
    return buf_append(b, &v, sizeof v);
}

static int put_text(buf_t *b, str_t s)
{
    int rc = put_number(b, (int64_t) s.n);

    return rc != 0 || s.n == 0 ? rc : buf_append(b, s.p, s.n);
}

int cache_pack(buf_t *b, uint64_t time, const llm_result_t *r, reply_t *events)
{
    const int64_t numbers[] = { (int64_t) time, r->input_tokens, r->output_tokens, r->cached_tokens, r->cache_write_tokens, r->reasoning_tokens,
                                r->estimated };
    const char   *texts[] = { r->finish, r->stop_sequence, r->model, r->id };
    chat_event_t  ev;
    int           rc = buf_puts(b, MAGIC);

    for (size_t i = 0; i < SI_COUNT(numbers) && rc == 0; i++) {
        rc = put_number(b, numbers[i]);
    }
    for (size_t i = 0; i < SI_COUNT(texts) && rc == 0; i++) {
        rc = put_text(b, str_of(texts[i]));
    }
    while (rc == 0 && reply_next(events, &ev)) {
        rc = put_number(b, ev.kind);
        rc = rc != 0 ? rc : put_number(b, ev.index);
        rc = rc != 0 ? rc : put_text(b, ev.kind == CHAT_CALL ? str_of(ev.id) : ev.text);
        rc = rc != 0 || ev.kind != CHAT_CALL ? rc : put_text(b, str_of(ev.name));
    }
    return rc;
}

static bool get_number(str_t *s, int64_t *v)
{
    if (s->n < sizeof *v) {
        return false;
    }
    memcpy(v, s->p, sizeof *v);
    *s = (str_t) { s->p + sizeof *v, s->n - sizeof *v };
    return true;
}

static bool get_text(str_t *s, str_t *out)
{
    int64_t n;

    if (!get_number(s, &n) || n < 0 || (uint64_t) n > s->n) {
        return false;
    }
    *out = (str_t) { s->p, (size_t) n };
    *s = (str_t) { s->p + n, s->n - (size_t) n };
    return true;
}

static bool get_name(str_t *s, char *to, size_t cap)
{
    str_t v;

    if (!get_text(s, &v) || v.n >= cap) {
        return false;
    }
    reply_name(to, cap, v);
    return true;
}

static bool get_event(str_t *s, reply_t *to)
{
    int64_t  kind, index;
    uint32_t number;
    str_t    text, name;

    if (!get_number(s, &kind) || !get_number(s, &index) || !get_text(s, &text) || kind < 0 || kind >= CHAT_KINDS || !utf8_valid(text)) {
        return false;
    }
    if (kind == CHAT_CALL) {
        return get_text(s, &name) && utf8_valid(name) && reply_call(to, text, name, &number) == 0;
    }
    if (kind == CHAT_ARGS) {
        return index >= 0 && (uint64_t) index < to->calls && reply_args(to, (uint32_t) index, text) == 0;
    }
    return reply_text(to, (chat_kind_t) kind, text) == 0;
}

int cache_unpack(str_t s, uint64_t *time, reply_t *to)
{
    llm_result_t *r = &to->result;
    int64_t       at = 0, estimated = 0, *numbers[] = { &at, &r->input_tokens, &r->output_tokens, &r->cached_tokens, &r->cache_write_tokens, &r->reasoning_tokens,
                                                &estimated };
    size_t        n = sizeof MAGIC - 1;
    bool          good = s.n >= n && memcmp(s.p, MAGIC, n) == 0;

    s = good ? (str_t) { s.p + n, s.n - n } : s;
    for (size_t i = 0; i < SI_COUNT(numbers) && good; i++) {
        good = get_number(&s, numbers[i]);
    }
    good = good && get_name(&s, r->finish, sizeof r->finish) && get_name(&s, r->stop_sequence, sizeof r->stop_sequence)
           && get_name(&s, r->model, sizeof r->model) && get_name(&s, r->id, sizeof r->id);
    while (good && s.n > 0) {
        good = get_event(&s, to);
    }
    *time = good ? (uint64_t) at : 0;
    r->estimated = good && estimated != 0;
    return good ? 0 : SI_EPROTO;
}

/* --- looking --- */

/* The closest word counts: the model's, the agent's, the gateway's. */
static uint64_t ttl_of(const conf_t *conf, const gateway_spec_t *spec, const conf_model_t *m)
{
    const conf_agent_t *a = spec->agent != NULL ? conf_agent(conf, str_of(spec->agent)) : NULL;

    return m->cache_ttl != CONF_SAME ? m->cache_ttl : a != NULL && a->cache_ttl != CONF_SAME ? a->cache_ttl : conf->gateway_cache_ttl;
}

static void free_events(void *arg)
{
    reply_free(&((cache_call_t *) arg)->events);
}

cache_call_t *cache_open(cache_t *of, const conf_t *conf, arena_t *a, const gateway_spec_t *spec, const llm_request_t *q,
                         const conf_model_t *m, const filter_call_t *f)
{
    uint64_t      ttl = ttl_of(conf, spec, m);
    cache_call_t *c;
    uint8_t       digest[SHA256_LEN];

    if (ttl == 0) {
        return NULL;
    }
    c = arena_calloc(a, sizeof *c);
    c->of = of;
    c->arena = a;
    c->model = m;
    c->want = spec->cache;
    c->ttl = ttl;
    c->max = conf->gateway_cache_max;
    c->notes = !c->want.no_store;
    if (!c->want.no_store) {
        cache_key(digest, spec->tenant, m, q, f);
        hex_encode(c->hex, digest, sizeof digest);
    }
    reply_init(&c->events, a, NULL, c->max);
    arena_defer(a, free_events, c);
    return c;
}

static int outcome(cache_call_t *c, out_t o, const char *status)
{
    c->of->n[o]++;
    c->status = status;
    return o == OUT_HIT;
}

/* Seconds that it is still good for; none: it is too old, for us or for the client. */
static uint64_t fresh_for(const cache_call_t *c, uint64_t time)
{
    uint64_t now = clock_wall_ms(), age = now > time ? now - time : 0;
    uint64_t until = c->want.has_max_age ? SI_MIN(c->ttl, c->want.max_age * 1000) : c->ttl;

    return age < until ? (c->ttl - age + 999) / 1000 : 0;
}

int co_cache_find(cache_call_t *c)
{
    str_t         key, args[2] = { STR("GET") };
    redis_reply_t reply;
    uint64_t      time, left;
    int           rc;

    if (c->want.no_read || c->want.no_store) {
        return outcome(c, OUT_BYPASS, "si; fwd=request");
    }
    key = args[1] = redis_key(c->arena, "cache", str_of(c->hex), "");
    rc = co_redis_key(c->arena, &reply, clock_ms() + FIND_MS, key, 2, args);
    if (rc == SI_ECANCELED) {
        return rc;
    }
    if (rc != 0 || reply.type == REDIS_ERROR) {
        return outcome(c, OUT_FAILED, "si; fwd=miss");
    }
    if (reply.type != REDIS_STRING || cache_unpack(reply.str, &time, &c->events) != 0) {
        reply_free(&c->events);
        reply_init(&c->events, c->arena, NULL, c->max);
        return outcome(c, OUT_MISS, "si; fwd=miss");
    }
    left = fresh_for(c, time);
    if (left == 0) {
        reply_free(&c->events);
        reply_init(&c->events, c->arena, NULL, c->max);
        return outcome(c, OUT_STALE, "si; fwd=stale");
    }
    return outcome(c, OUT_HIT, arena_printf(c->arena, "si; hit; ttl=%" PRIu64, left));
}

bool cache_next(cache_call_t *c, chat_event_t *ev)
{
    return reply_next(&c->events, ev);
}

const llm_result_t *cache_result(const cache_call_t *c)
{
    return &c->events.result;
}

const char *cache_status(const cache_call_t *c)
{
    return c != NULL ? c->status : NULL;
}

/* --- keeping --- */

void cache_note(cache_call_t *c, const chat_event_t *ev)
{
    uint32_t index;
    int      rc;

    if (!c->notes) {
        return;
    }
    if (ev->kind == CHAT_RESTART) {
        reply_free(&c->events);
        reply_init(&c->events, c->arena, NULL, c->max);
        return;
    }
    rc = ev->kind == CHAT_CALL ? reply_call(&c->events, str_of(ev->id), str_of(ev->name), &index)
         : ev->kind == CHAT_ARGS ? reply_args(&c->events, ev->index, ev->text) : reply_text(&c->events, ev->kind, ev->text);
    c->notes = rc == 0;
}

typedef struct {
    cache_t *of;
    buf_t    bytes;
    char     hex[2 * SHA256_LEN + 1];
    uint64_t ttl;
} keep_t;

/* Nobody waits for it. */
static void co_keep(void *arg)
{
    keep_t       *k = arg;
    arena_t      *a = arena_new(256);
    str_t         key = redis_key(a, "cache", str_of(k->hex), "");
    str_t         args[] = { STR("SET"), key, { k->bytes.p, k->bytes.n }, STR("PX"), str_of(arena_printf(a, "%" PRIu64, k->ttl)) };
    redis_reply_t reply;
    int           rc = co_redis_key(a, &reply, clock_ms() + KEEP_MS, key, SI_COUNT(args), args);

    k->of->n[rc == 0 && reply.type != REDIS_ERROR ? OUT_KEPT : OUT_FAILED]++;
    k->of->keeps--;
    buf_free(&k->bytes);
    arena_free(a);
    free(k);
}

void cache_keep(cache_call_t *c, const llm_result_t *r, const conf_model_t *m)
{
    bool    natural = strcmp(r->finish, "stop") == 0 || strcmp(r->finish, "tool_calls") == 0;
    keep_t *k;

    if (c->want.no_store) {
        return;
    }
    if (!c->notes || !natural || m != c->model || c->of->keeps >= KEEPS) {
        c->notes = false;
        c->of->n[OUT_UNFIT]++;
        return;
    }
    c->notes = false;
    k = si_calloc(sizeof *k);
    k->of = c->of;
    k->ttl = c->ttl;
    memcpy(k->hex, c->hex, sizeof k->hex);
    buf_init(&k->bytes, c->max);
    if (cache_pack(&k->bytes, clock_wall_ms(), r, &c->events) != 0) {
        c->of->n[OUT_UNFIT]++;
        buf_free(&k->bytes);
        free(k);
        return;
    }
    c->of->keeps++;
    (void) co_spawn("cache", co_keep, k);
}

/* The key chooser, cooldowns and circuit breakers, with a clock of the test. */
#include "llm/health.h"

#include "conf_text.h"
#include "tap.h"

typedef struct {
    arena_t               *arena;
    conf_t                *conf;
    health_t              *h;
    const conf_model_t    *m, *other;
    const conf_provider_t *a, *b;
    uint64_t               now;
} test_t;

static test_t begin(void)
{
    test_t t = { .arena = arena_new(1024), .now = 1000000 };

    t.conf = conf_of_text(t.arena,
        "providers:\n"
        "  p: { kind: openai, base_url: http://x, endpoints: { a: { weight: 3 }, b: { weight: 1 } } }\n"
        "models: { m: { provider: p }, other: { provider: p } }\n"
        "gateway: { cooldown: 5s, cooldown_max: 60s, key_rest: 300s, breaker_percent: 50, breaker_calls: 4, breaker_window: 60s, breaker_open: 10s }\n");
    t.h = health_new(t.conf);
    t.m = conf_model(t.conf, STR("m"));
    t.other = conf_model(t.conf, STR("other"));
    t.a = &t.m->provider->endpoints[0];
    t.b = &t.m->provider->endpoints[1];
    return t;
}

static void end(test_t *t)
{
    health_free(t->h);
    conf_free(t->conf);
    arena_free(t->arena);
}

/* What is chosen; "none" is the name of nothing. */
static const char *choose(test_t *t, const conf_model_t *m, uint64_t tried, uint32_t random)
{
    health_none_t          none;
    const conf_provider_t *e = health_choose(t->h, m, tried, random, t->now, &none);

    return e != NULL ? e->name : "none";
}

static health_state_t state(test_t *t, const conf_model_t *m, const conf_provider_t *e)
{
    uint64_t until;

    return health_state(t->h, m, e, t->now, &until);
}

static void weights(void)
{
    test_t   t = begin();
    unsigned a = 0;

    for (uint32_t r = 0; r < 400; r++) {
        a += strcmp(choose(&t, t.m, 0, r), "p/a") == 0;
    }
    is_int(a, 300, "three of four go to the one of weight 3");
    is_str(choose(&t, t.m, 1, 0), "p/b", "the one that was tried is left out");
    is_str(choose(&t, t.m, 2, 3), "p/a", "or the other");
    is_str(choose(&t, t.m, 3, 0), "p/a", "if both were, they are asked again");
    end(&t);
}

static void rests(void)
{
    test_t        t = begin();
    health_none_t none;

    health_busy(t.h, t.m, t.a, 0, t.now);
    is_str(choose(&t, t.m, 0, 0), "p/b", "429 turns to the other key");
    is_str(choose(&t, t.m, 2, 0), "p/b", "also if that was tried");
    is_str(choose(&t, t.other, 0, 0), "p/a", "for this model only");
    health_busy(t.h, t.m, t.b, 20000, t.now);
    ok(health_choose(t.h, t.m, 0, 0, t.now, &none) == NULL && none.state == HEALTH_RESTS && none.until == t.now + 5000,
       "both rest: the first one is back after gateway.cooldown");
    health_busy(t.h, t.m, t.b, 1000, t.now);
    t.now += 4999;
    is_str(choose(&t, t.m, 0, 0), "none", "not a moment before");
    t.now += 1;
    is_str(choose(&t, t.m, 0, 3), "p/a", "then it is");
    t.now += 14999;
    is_int(state(&t, t.m, t.b), HEALTH_RESTS, "the longer rest has won over the shorter one");
    t.now += 1;
    is_int(state(&t, t.m, t.b), HEALTH_WELL, "until its end");
    health_busy(t.h, t.m, t.a, 3600000, t.now);
    t.now += 60000;
    is_int(state(&t, t.m, t.a), HEALTH_WELL, "nobody can ask for more than gateway.cooldown_max");
    health_bad(t.h, t.m, t.a, false, 7000, t.now);
    is_int(state(&t, t.m, t.a), HEALTH_RESTS, "a 503 with Retry-After rests too");
    end(&t);
}

static void refused(void)
{
    test_t        t = begin();
    health_none_t none;

    health_refused(t.h, t.m, t.a, t.now);
    is_str(choose(&t, t.m, 0, 0), "p/b", "a refused key is left out");
    is_str(choose(&t, t.other, 0, 0), "p/b", "for every model");
    ok(!health_key_up(t.h, t.a, t.now) && health_key_up(t.h, t.b, t.now), "and is down");
    health_refused(t.h, t.other, t.b, t.now);
    ok(health_choose(t.h, t.m, 0, 0, t.now, &none) == NULL && none.state == HEALTH_REFUSED, "all of them");
    t.now += 300000;
    is_str(choose(&t, t.m, 0, 0), "p/a", "it is tried again after gateway.key_rest");
    end(&t);
}

static void fails(test_t *t, unsigned n)
{
    while (n-- > 0) {
        health_bad(t->h, t->m, t->a, false, 0, t->now);
    }
}

static void breaker(void)
{
    test_t        t = begin();
    health_none_t none;

    fails(&t, 3);
    is_int(state(&t, t.m, t.a), HEALTH_WELL, "fewer calls than gateway.breaker_calls say nothing");
    fails(&t, 1);
    is_int(state(&t, t.m, t.a), HEALTH_OPEN, "four of four failed: open");
    is_int(state(&t, t.other, t.a), HEALTH_WELL, "for this model only");
    is_int(state(&t, t.m, t.b), HEALTH_WELL, "at this key only");
    is_str(choose(&t, t.m, 0, 0), "p/b", "the other key is asked");
    health_refused(t.h, t.m, t.b, t.now);
    ok(health_choose(t.h, t.m, 0, 0, t.now, &none) == NULL && none.state == HEALTH_OPEN && none.until == t.now + 10000, "without one: nobody");
    t.now += 10000;
    is_str(choose(&t, t.m, 0, 0), "p/a", "after gateway.breaker_open one call gets through");
    is_str(choose(&t, t.m, 0, 0), "none", "and no second one meanwhile");
    fails(&t, 1);
    t.now += 9999;
    is_str(choose(&t, t.m, 0, 0), "none", "it fails: open as long again");
    t.now += 1;
    is_str(choose(&t, t.m, 0, 0), "p/a", "then the next probe");
    health_unknown(t.h, t.m, t.a);
    is_str(choose(&t, t.m, 0, 0), "p/a", "that is cancelled: another one may");
    health_good(t.h, t.m, t.a, t.now);
    is_int(state(&t, t.m, t.a), HEALTH_WELL, "it begins to answer: closed");
    is_int((long long) health_opened(t.h, t.m, t.a), 2, "it had opened twice");
    fails(&t, 3);
    is_int(state(&t, t.m, t.a), HEALTH_OPEN, "what was before is forgotten, what comes counts: three of four");
    is_int((long long) health_opened(t.h, t.m, t.a), 3, "and once more");
    is_int((long long) health_opened(t.h, t.m, t.b), 0, "the other one never");
    end(&t);
}

static void shares(void)
{
    test_t t = begin();

    for (unsigned i = 0; i < 4; i++) {
        health_good(t.h, t.m, t.a, t.now);
    }
    fails(&t, 4);
    is_int(state(&t, t.m, t.a), HEALTH_WELL, "half is not more than half");
    health_bad(t.h, t.m, t.a, true, 0, t.now);
    is_int(state(&t, t.m, t.a), HEALTH_OPEN, "an answer that broke off is a call that failed, and no further call");
    end(&t);

    t = begin();
    fails(&t, 3);
    t.now += 61000;
    fails(&t, 3);
    is_int(state(&t, t.m, t.a), HEALTH_WELL, "what is older than the window does not count");
    end(&t);
}

int main(void)
{
    weights();
    rests();
    refused();
    breaker();
    shares();
    return done_testing();
}

#include "store/counter.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "io/redis.h"

#define KEYS_HEAD  2            /* the list of those that lapse, the reservation */

/*
 * ARGV: ms until it lapses, id, what; then of each counter: kind, limit, want, until, base ('': none, 'doubt'), version (-1: any; or ms).
 * Looks at all counters before it changes one.
 */
static const char reserve_script[] =
    "local t = redis.call('TIME') "
    "local now = t[1] * 1000 + math.floor(t[2] / 1000) "
    "local unknown, over, left, level = { 'unknown' }, { 'over' }, { 'held' }, {} "
    "for i = 1, #KEYS - 2 do "
    "  local key, a = KEYS[i + 2], i * 6 - 3 "
    "  local limit, want, base = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), ARGV[a + 5] "
    "  if ARGV[a + 1] == 'w' then "
    "    local c = redis.call('HMGET', key, 'used', 'held', 'v', 'at') "
    "    if base == 'doubt' and c[1] and now - (tonumber(c[4]) or 0) > tonumber(ARGV[a + 6]) then "
    "      redis.call('HDEL', key, 'used') "
    "      c[1], c[3] = nil, tostring(redis.call('HINCRBY', key, 'v', 1)) "
    "    end "
    "    local used, version = tonumber(c[1]), c[3] or '0' "
    "    if not used and (version == ARGV[a + 6] or ARGV[a + 6] == '-1') and base ~= '' and base ~= 'doubt' then "
    "      used = tonumber(base) "
    "      redis.call('HSET', key, 'used', base, 'at', string.format('%.0f', now)) "
    "      redis.call('PEXPIREAT', key, ARGV[a + 4]) "
    "    end "
    "    if used then "
    "      left[i + 1] = limit - used - (tonumber(c[2]) or 0) "
    "      if want > 0 and left[i + 1] < want then over[#over + 1] = i over[#over + 1] = 0 end "
    "    else unknown[#unknown + 1] = i unknown[#unknown + 1] = tonumber(version) end "
    "  else "
    "    local c = redis.call('HMGET', key, 'at', 'level') "
    "    level[i] = math.max((tonumber(c[2]) or 0) - math.max(now - (tonumber(c[1]) or now), 0) * limit / 60000, 0) "
    "    left[i + 1] = math.floor(limit - level[i] + 0.000001) "
    "    local more = level[i] + math.min(want, limit) - limit "
    "    if want > 0 and more > 0.000001 then over[#over + 1] = i over[#over + 1] = math.ceil(more * 60000 / limit) end "
    "  end "
    "end "
    "if #unknown > 1 then return unknown end "
    "if #over > 1 then return over end "
    "local r = { 'state', 'held', 'what', ARGV[3] } "
    "for i = 1, #KEYS - 2 do "
    "  local key, a = KEYS[i + 2], i * 6 - 3 "
    "  local limit, want = tonumber(ARGV[a + 2]), ARGV[a + 3] "
    "  if ARGV[a + 1] == 'w' then "
    "    redis.call('HINCRBY', key, 'held', want) "
    "    redis.call('PEXPIREAT', key, ARGV[a + 4]) "
    "  else "
    "    want = string.format('%.0f', math.min(tonumber(want), limit)) "
    "    local l = level[i] + want "
    "    redis.call('HSET', key, 'at', string.format('%.0f', now), 'level', string.format('%.17g', l)) "
    "    redis.call('PEXPIRE', key, math.ceil(l * 60000 / limit) + 1000) "
    "  end "
    "  r[#r + 1] = 'w' .. i r[#r + 1] = want "
    "end "
    "redis.call('HSET', KEYS[2], unpack(r)) "
    "redis.call('PEXPIRE', KEYS[2], ARGV[1] + 3600000) "
    "redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1]), ARGV[2]) "
    "return left";

/*
 * ARGV: id, 'settled' or 'lapsed', ms since 1970 since when sums have it (0: none has); then of each counter: kind, limit, used,
 * until. The reservation is remembered for an hour.
 */
static const char settle_script[] =
    "local t = redis.call('TIME') "
    "local now = t[1] * 1000 + math.floor(t[2] / 1000) "
    "local state = redis.call('HGET', KEYS[2], 'state') "
    "redis.call('ZREM', KEYS[1], ARGV[1]) "
    "if state == 'settled' or (ARGV[2] == 'lapsed' and state ~= 'held') then return 0 end "
    "for i = 1, #KEYS - 2 do "
    "  local key, a = KEYS[i + 2], i * 4 - 1 "
    "  local held = state == 'held' and redis.call('HGET', KEYS[2], 'w' .. i) or '0' "
    "  if ARGV[a + 1] == 'w' then "
    "    if held ~= '0' and redis.call('HEXISTS', key, 'held') == 1 then redis.call('HINCRBY', key, 'held', '-' .. held) end "
    "    local c, since = redis.call('HMGET', key, 'used', 'at'), tonumber(ARGV[3]) "
    "    if c[1] and not (since > 0 and (tonumber(c[2]) or 0) > since) then redis.call('HINCRBY', key, 'used', ARGV[a + 3]) end "
    "    redis.call('HINCRBY', key, 'v', 1) "
    "    redis.call('PEXPIREAT', key, ARGV[a + 4]) "
    "  elseif state == 'held' then "
    "    local limit, c = tonumber(ARGV[a + 2]), redis.call('HMGET', key, 'at', 'level') "
    "    local l = (tonumber(c[2]) or 0) - math.max(now - (tonumber(c[1]) or now), 0) * limit / 60000 "
    "    l = math.max(math.max(l, 0) - held + ARGV[a + 3], 0) "
    "    redis.call('HSET', key, 'at', string.format('%.0f', now), 'level', string.format('%.17g', l)) "
    "    redis.call('PEXPIRE', key, math.ceil(l * 60000 / limit) + 1000) "
    "  end "
    "end "
    "redis.call('HSET', KEYS[2], 'state', ARGV[2]) "
    "redis.call('PEXPIRE', KEYS[2], 3600000) "
    "return state and 1 or 2";

static const char lapsed_script[] =
    "local t = redis.call('TIME') "
    "local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', t[1] * 1000 + t[2] / 1000), 'LIMIT', 0, ARGV[1]) "
    "local out = {} "
    "for _, id in ipairs(ids) do "
    "  out[#out + 1] = id "
    "  out[#out + 1] = redis.call('HGET', '" COUNTER_PREFIX "r:' .. id, 'what') or '' "
    "end "
    "return out";

/* ARGV of each counter: kind, limit. Used (-1: not known) and held of each. */
static const char look_script[] =
    "local t = redis.call('TIME') "
    "local now = t[1] * 1000 + math.floor(t[2] / 1000) "
    "local out = {} "
    "for i, key in ipairs(KEYS) do "
    "  local limit = tonumber(ARGV[2 * i]) "
    "  if ARGV[2 * i - 1] == 'w' then "
    "    local c = redis.call('HMGET', key, 'used', 'held') "
    "    out[2 * i - 1] = tonumber(c[1]) or -1 "
    "    out[2 * i] = tonumber(c[2]) or 0 "
    "  else "
    "    local c = redis.call('HMGET', key, 'at', 'level') "
    "    local l = (tonumber(c[2]) or 0) - math.max(now - (tonumber(c[1]) or now), 0) * limit / 60000 "
    "    out[2 * i - 1] = math.ceil(math.max(l, 0) - 0.000001) "
    "    out[2 * i] = 0 "
    "  end "
    "end "
    "return out";

static int co_ask(arena_t *a, redis_reply_t *reply, size_t n, const str_t *args)
{
    return co_redis_key(a, reply, clock_ms() + COUNTER_MS, STR(COUNTER_PREFIX "lapse"), n, args);
}

/* Redis takes texts. */
static str_t number(arena_t *a, int64_t n)
{
    return str_of(arena_printf(a, "%" PRId64, n));
}

static size_t put_head(arena_t *a, str_t *args, const char *script, const char *id, const counter_t *list, size_t n)
{
    size_t at = 0;

    args[at++] = STR("EVAL");
    args[at++] = str_of(script);
    args[at++] = number(a, (int64_t) (KEYS_HEAD + n));
    args[at++] = STR(COUNTER_PREFIX "lapse");
    args[at++] = str_of(arena_printf(a, COUNTER_PREFIX "r:%s", id));
    for (size_t i = 0; i < n; i++) {
        args[at++] = str_of(list[i].key);
    }
    return at;
}

static str_t kind_of(const counter_t *c)
{
    return c->kind == COUNTER_WINDOW ? STR("w") : STR("b");
}

/* What stands behind a comma Redis quotes from the script or its arguments. */
static str_t complaint(str_t error)
{
    const char *comma = memchr(error.p, ',', error.n);

    return (str_t) { error.p, SI_MIN(comma != NULL ? (size_t) (comma - error.p) : error.n, (size_t) 80) };
}

static bool numbers(const redis_reply_t *r)
{
    for (size_t i = 1; i < r->n; i++) {
        if (r->items[i].type != REDIS_INTEGER) {
            return false;
        }
    }
    return true;
}

/* Pairs: the number of a counter from 1, and something about it. */
static bool pairs(const redis_reply_t *r, size_t n)
{
    for (size_t i = 1; i < r->n; i += 2) {
        if (i + 1 >= r->n || r->items[i].integer < 1 || r->items[i].integer > (int64_t) n) {
            return false;
        }
    }
    return true;
}

static int understand(const redis_reply_t *r, counter_t *list, size_t n, str_t *why)
{
    str_t word = r->type == REDIS_ARRAY && r->n > 0 ? r->items[0].str : STR_NULL;

    if (word.n > 0 && str_is(word, "held") && r->n == n + 1 && numbers(r)) {
        for (size_t i = 0; i < n; i++) {
            list[i].left = r->items[i + 1].integer;
        }
        return 0;
    }
    if (word.n == 0 || !numbers(r) || !pairs(r, n)) {
        *why = r->type == REDIS_ERROR ? complaint(r->str) : STR("its answer is not understood");
        return SI_EUNAVAIL;
    }
    for (size_t i = 1; i < r->n; i += 2) {
        counter_t *c = &list[r->items[i].integer - 1];

        c->over = str_is(word, "over");
        c->unknown = !c->over;
        c->wait_ms = c->over ? (uint64_t) r->items[i + 1].integer : 0;
        c->version = c->unknown ? r->items[i + 1].integer : c->version;
    }
    return str_is(word, "over") ? SI_EDENIED : SI_ECONFLICT;
}

int co_counters_reserve(arena_t *a, const char *id, uint64_t lapse_ms, const char *what, counter_t *list, size_t n, str_t *why)
{
    str_t        *args = arena_alloc(a, (8 + 7 * n) * sizeof *args);
    redis_reply_t reply;
    size_t        at = put_head(a, args, reserve_script, id, list, n);
    int           rc;

    args[at++] = number(a, (int64_t) lapse_ms);
    args[at++] = str_of(id);
    args[at++] = str_of(what);
    for (size_t i = 0; i < n; i++) {
        counter_t *c = &list[i];

        c->over = c->unknown = false;
        args[at++] = kind_of(c);
        args[at++] = number(a, c->limit);
        args[at++] = number(a, c->want);
        args[at++] = number(a, (int64_t) c->until);
        args[at++] = c->doubt_ms >= 0 ? STR("doubt") : c->base >= 0 ? number(a, c->base) : STR("");
        args[at++] = number(a, c->doubt_ms >= 0 ? c->doubt_ms : c->version);
    }
    rc = co_ask(a, &reply, at, args);
    *why = rc != 0 ? str_of(si_strerror(rc)) : STR("");
    return rc != 0 ? rc : understand(&reply, list, n, why);
}

int co_counters_settle(arena_t *a, const char *id, bool lapsed, uint64_t since, const counter_t *list, size_t n)
{
    str_t        *args = arena_alloc(a, (9 + 5 * n) * sizeof *args);
    redis_reply_t reply;
    size_t        at = put_head(a, args, settle_script, id, list, n);
    int           rc;

    args[at++] = str_of(id);
    args[at++] = lapsed ? STR("lapsed") : STR("settled");
    args[at++] = number(a, (int64_t) since);
    for (size_t i = 0; i < n; i++) {
        args[at++] = kind_of(&list[i]);
        args[at++] = number(a, list[i].limit);
        args[at++] = number(a, list[i].used);
        args[at++] = number(a, (int64_t) list[i].until);
    }
    rc = co_ask(a, &reply, at, args);
    return rc != 0 ? rc : reply.type != REDIS_INTEGER ? SI_EUNAVAIL : reply.integer == 2 ? SI_ENOENT : 0;
}

int co_counters_what(arena_t *a, const char *id, lapsed_t *out)
{
    str_t         args[] = { STR("HGET"), str_of(arena_printf(a, COUNTER_PREFIX "r:%s", id)), STR("what") };
    redis_reply_t reply;
    int           rc = co_ask(a, &reply, SI_COUNT(args), args);

    *out = (lapsed_t) { id, rc == 0 && reply.type == REDIS_STRING ? reply.str : STR_NULL };
    return rc != 0 ? rc : reply.type == REDIS_ERROR ? SI_EUNAVAIL : 0;
}

int co_counters_lapsed(arena_t *a, lapsed_t *out, size_t *n)
{
    str_t         args[] = { STR("EVAL"), str_of(lapsed_script), STR("1"), STR(COUNTER_PREFIX "lapse"), number(a, LAPSED_MAX) };
    redis_reply_t reply;
    int           rc = co_ask(a, &reply, SI_COUNT(args), args);

    *n = 0;
    if (rc == 0 && (reply.type != REDIS_ARRAY || reply.n % 2 != 0)) {
        rc = SI_EUNAVAIL;
    }
    for (size_t i = 0; rc == 0 && i + 1 < reply.n && *n < LAPSED_MAX; i += 2) {
        out[(*n)++] = (lapsed_t) { arena_dup(a, reply.items[i].str.p, reply.items[i].str.n), reply.items[i + 1].str };
    }
    return rc;
}

int co_counters_look(arena_t *a, counter_t *list, size_t n)
{
    str_t        *args = arena_alloc(a, (4 + 3 * n) * sizeof *args);
    redis_reply_t reply;
    size_t        at = 0;
    int           rc;

    args[at++] = STR("EVAL");
    args[at++] = str_of(look_script);
    args[at++] = number(a, (int64_t) n);
    for (size_t i = 0; i < n; i++) {
        args[at++] = str_of(list[i].key);
    }
    for (size_t i = 0; i < n; i++) {
        args[at++] = kind_of(&list[i]);
        args[at++] = number(a, list[i].limit);
    }
    rc = co_ask(a, &reply, at, args);
    if (rc != 0 || reply.type != REDIS_ARRAY || reply.n != 2 * n) {
        return rc != 0 ? rc : SI_EUNAVAIL;
    }
    for (size_t i = 0; i < n; i++) {
        list[i].used = reply.items[2 * i].integer;
        list[i].unknown = list[i].used < 0;
        list[i].left = list[i].limit - list[i].used - reply.items[2 * i + 1].integer;
    }
    return 0;
}

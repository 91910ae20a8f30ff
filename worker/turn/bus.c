#include "turn/bus.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/logger.h"
#include "base/proc.h"
#include "io/redis.h"
#include "store/revoked.h"
#include "store/verdict.h"
#include "turn/presence.h"

#define HEAD_MAX  512

static void channel_of(char out[BUS_NAME_MAX + 8], const char *name)
{
    snprintf(out, BUS_NAME_MAX + 8, "si:w:%s", name);
}

void bus_text(buf_t *out, const char *type, const char *tenant, const char *user, const char *conversation, const char *from,
              uint64_t a, uint64_t b, str_t body)
{
    char head[HEAD_MAX];
    int  n = snprintf(head, sizeof(head), "%s %s %s %s %s %" PRIu64 " %" PRIu64 "\n", type, tenant, user, conversation, from, a, b);

    buf_init(out, HEAD_MAX + body.n);
    buf_append(out, head, (size_t) n);
    buf_append(out, body.p, body.n);
}

static int publish(const char *channel, const char *type, const char *tenant, const char *user, const char *conversation,
                   uint64_t a, uint64_t b, str_t body)
{
    buf_t text;
    int   rc;

    bus_text(&text, type, tenant, user, conversation, proc.convs->me, a, b, body);
    str_t args[] = { STR("PUBLISH"), str_of(channel), { text.p, text.n } };
    rc = redis_send(SI_COUNT(args), args);
    buf_free(&text);
    return rc;
}

int bus_send(const char *to, const char *type, const conv_t *c, uint64_t a, uint64_t b, str_t body)
{
    char channel[BUS_NAME_MAX + 8];

    channel_of(channel, to);
    return publish(channel, type, c->tenant, c->user, c->id, a, b, body);
}

int bus_reply(const bus_msg_t *m, const char *type, uint64_t a, uint64_t b)
{
    char channel[BUS_NAME_MAX + 8];

    channel_of(channel, m->from);
    return publish(channel, type, m->tenant, m->user, m->conversation, a, b, STR_NULL);
}

int bus_ask_all(const char *type, const char *tenant, const char *user, const char *conversation, uint64_t a)
{
    return publish(BUS_EVERYBODY, type, tenant, user, conversation, a, 0, STR_NULL);
}

void bus_key_gone(const char *tenant, const char *user, const char *key_id, str_t hash)
{
    verdict_drop(hash);
    if (publish(BUS_EVERYBODY, "key", tenant, user, key_id, 0, 0, hash)) {
        log_line(LOG_WARN, "a key was revoked that other workers know for a while, since Redis is away", "key", key_id, NULL);
    }
}

void bus_token_gone(const char *tenant, const char *user, str_t marks, uint64_t before, uint64_t until)
{
    if (publish(BUS_EVERYBODY, "token", tenant, user, tenant, before, until, marks)) {
        log_line(LOG_WARN, "tokens were revoked that other workers take for auth.cache more, since Redis is away", NULL);
    }
}

static bool parse(str_t text, bus_msg_t *m)
{
    const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
    char        head[HEAD_MAX];
    size_t      n = end ? (size_t) (end - text.p) : 0;

    if (!end || n >= sizeof(head)) {
        return false;
    }
    memcpy(head, text.p, n);
    head[n] = '\0';
    m->body = (str_t) { end + 1, text.n - n - 1 };
    return sscanf(head, "%7[a-z] %36[0-9a-f-] %36[0-9a-f-] %36[0-9a-f-] %191s %" SCNu64 " %" SCNu64, m->type, m->tenant,
                  m->user, m->conversation, m->from, &m->a, &m->b) == 7;
}

static void got(str_t channel, str_t text, void *arg)
{
    const bus_hooks_t *hooks = arg;
    bus_msg_t          m;

    if (!text.p) {
        if (str_is(channel, BUS_EVERYBODY)) {
            verdicts_doubt();
            revoked_doubt();
        }
        return;                         /* who waits for an answer has a deadline */
    }
    if (!parse(text, &m)) {
        log_line(LOG_WARN, "a message on the bus was not understood", NULL);
        return;
    }
    if (strcmp(m.type, "follow") == 0 || strcmp(m.type, "renew") == 0 || strcmp(m.type, "wake") == 0
        || strcmp(m.type, "leave") == 0)
    {
        leader_got(&m);
    } else if (strcmp(m.type, "count") == 0 || strcmp(m.type, "readers") == 0) {
        presence_got(&m);
    } else if (strcmp(m.type, "key") == 0) {
        verdict_drop(m.body);
        hooks->key_gone(m.conversation);
    } else if (strcmp(m.type, "token") == 0) {
        revoked_heard(m.body, m.a, m.b);
    } else {
        follower_got(&m);
    }
}

void bus_init(const bus_hooks_t *hooks)
{
    char channel[BUS_NAME_MAX + 8];

    channel_of(channel, proc.convs->me);
    redis_subscribe(channel, got, (void *) hooks);
    redis_subscribe(BUS_EVERYBODY, got, (void *) hooks);
}

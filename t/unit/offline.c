/* The offline answerer: what it says, that it streams word by word, counts, cuts and bounds. */
#include "llm/provider.h"

#include "base/buf.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

#define PATIENCE  30000

static arena_t    *arena;
static llm_error_t err;
static conf_provider_t provider = { .name = "offline", .kind = "offline", .base_url = "" };
static conf_model_t    model = { .name = "offline", .provider = &provider, .upstream = "offline" };

typedef struct {
    buf_t        text;
    size_t       pieces, bad;           /* pieces that are not one word with the white space behind it */
    llm_result_t result;
} got_t;

static size_t words(str_t s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        n += (unsigned char) s.p[i] > ' ' && (i == 0 || (unsigned char) s.p[i - 1] <= ' ');
    }
    return n;
}

static int co_ask(const llm_request_t *q, got_t *g)
{
    llm_call_t *c;
    chat_event_t ev;
    int          rc;

    memset(g, 0, sizeof *g);
    memset(&err, 0, sizeof err);
    buf_init(&g->text, 65536);
    rc = provider_offline.co_open(&provider_offline, arena, q, &c, &err);
    if (rc != 0) {
        return rc;
    }
    while ((rc = provider_offline.co_next(c, &ev, &err)) == 1) {
        (void) buf_append(&g->text, ev.text.p, ev.text.n);
        g->pieces++;
        g->bad += ev.kind != CHAT_TEXT || words(ev.text) != 1 || !utf8_valid(ev.text);
    }
    g->result = *provider_offline.result(c);
    provider_offline.close(c);
    (void) buf_append(&g->text, "", 1);
    return rc;
}

static llm_request_t request(const chat_message_t *m, size_t n)
{
    return (llm_request_t) { .model = &model, .messages = m, .nmessages = n, .answer_max = 65536, .options = CHAT_OPTIONS_NONE, .deadline = clock_ms() + PATIENCE };
}

static chat_message_t says(const char *role, const char *text) { return chat_text(arena, chat_role(role), str_of(text)); }

static void co_test_short(void)
{
    chat_message_t m[] = { says("system", "You are Si."), says("user", "  Hello there. How are you?") };
    llm_request_t q = request(m, 2);
    got_t         g, again;

    is_int(co_ask(&q, &g), 0, "a first question");
    is_str(g.text.p, "I am Si's offline answerer and no language model: I can only repeat what I find.\n\n"
                     "You said: \"Hello there.\"\n\nThis conversation has 0 earlier messages.", "the answer");
    ok(g.pieces > 20 && g.bad == 0, "one word at a time");
    ok(g.result.input_tokens == 3 + 5 && g.result.output_tokens == (int64_t) g.pieces && !g.result.estimated, "tokens are words");
    is_str(g.result.finish, "stop", "finish");
    is_str(g.result.model, "offline", "model");
    co_ask(&q, &again);
    is_str(again.text.p, g.text.p, "asked again it says the same");
    buf_free(&g.text);
    buf_free(&again.text);
}

static void co_test_history(void)
{
    chat_message_t m[] = {
        says("user", "My dog is called Rex. He is old."), says("assistant", "Nice."),
        says("user", "I like tea"), says("assistant", "I am Si's offline answerer and no language model: dog name dog"),
        says("user", "What is the name of my DOG?"),
    };
    chat_message_t related[] = { says("user", "Rex ate\nmy shoe"), says("user", "b"), says("user", "c"), says("user", "d") };
    llm_request_t q = request(m, 5);
    got_t         g;

    is_int(co_ask(&q, &g), 0, "a question with a history");
    ok(strstr(g.text.p, "has 4 earlier messages. The closest one, by the user, says: \"My dog is called Rex.\"") != NULL,
       "the message with shared words is quoted");
    ok(strstr(g.text.p, "Elsewhere") == NULL, "nothing related");
    buf_free(&g.text);

    q.related = related;
    q.nrelated = 4;
    co_ask(&q, &g);
    ok(strstr(g.text.p, "Elsewhere you have said:\n- \"Rex ate\"\n- \"b\"\n- \"c\"") != NULL && strstr(g.text.p, "\"d\"") == NULL,
       "up to three related messages");
    ok(g.bad == 0, "one word at a time, over lines");
    buf_free(&g.text);

    m[4] = says("user", "Weather?");
    q.nrelated = 0;
    co_ask(&q, &g);
    ok(strstr(g.text.p, "4 earlier messages.") != NULL && strstr(g.text.p, "closest") == NULL, "no shared words, no quote");
    buf_free(&g.text);
}

static void co_test_bounds(void)
{
    char          long_text[1000];
    chat_message_t m[1];
    llm_request_t q;
    got_t         g;

    for (size_t i = 0; i + 3 <= 999; i += 3) {
        memcpy(long_text + i, "\xE2\x82\xAC", 3);
    }
    long_text[999] = '\0';
    m[0] = says("user", long_text);
    q = request(m, 1);
    is_int(co_ask(&q, &g), 0, "a long question in letters of three bytes");
    ok(utf8_valid((str_t) { g.text.p, g.text.n - 1 }) && strstr(g.text.p, "\xE2\x82\xAC\xE2\x80\xA6\"") != NULL && g.bad == 0,
       "is cut between letters");
    ok(g.text.n < 500, "and short");
    buf_free(&g.text);

    q.answer_max = 20;
    is_int(co_ask(&q, &g), SI_ENOMEM, "an answer that is too long");
    is_str(err.code, "answer_too_large", "its code");
    q.answer_max = 65536;
    q.deadline = clock_ms();
    is_int(co_ask(&q, &g), SI_ETIMEDOUT, "a deadline that has passed");
    is_str(err.code, "provider_timeout", "its code");
    buf_free(&g.text);
    q = request(m, 0);
    is_int(co_ask(&q, &g), 0, "no messages at all");
    buf_free(&g.text);
}

static int victim_rc = 1;

static void co_victim(void *arg)
{
    chat_message_t m[] = { says("user", "Hello") };
    llm_request_t q = request(m, 1);
    got_t         g;

    (void) arg;
    victim_rc = co_ask(&q, &g);
    buf_free(&g.text);
}

static void co_main(void *arg)
{
    co_t *co;

    (void) arg;
    co_test_short();
    co_test_history();
    co_test_bounds();
    co = co_spawn("victim", co_victim, NULL);
    co_sleep(1, "test");
    co_cancel(co);
    while (victim_rc == 1) {
        co_sleep(1, "test");
    }
    is_int(victim_rc, SI_ECANCELED, "cancelled in the middle");
    is_str(err.code, "", "the error is untouched");
    loop_stop();
}

int main(void)
{
    logger_open("/dev/null", LOG_DEBUG);
    loop_init();
    co_init();
    arena = arena_new(4096);
    co_spawn("test", co_main, NULL);
    loop_run();
    co_exit();
    loop_free();
    arena_free(arena);
    return done_testing();
}

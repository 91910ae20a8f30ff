/* Filters around a call: what becomes of a request and of an answer's events, and which filters a call has. */
#include "llm/filter.h"

#include "base/logger.h"
#include "base/proc.h"
#include "filter_sets.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

static conf_filter_t filters[] = {
    { "words", "block", "both", "[gone]", "on", TEXTS("forbidden"), { NULL, 0 }, { NULL, 0 } },
    { "pii", "redact", "both", "[pii]", "on", { NULL, 0 }, { NULL, 0 }, TEXTS("email", "card") },
    { "in", "report", "input", "", "on", TEXTS("hello"), { NULL, 0 }, { NULL, 0 } },
};
static const conf_filter_t *const all[] = { &filters[0], &filters[1], &filters[2] };
static conf_agent_t agents[] = { { .name = "plain", .prompt = "never say forbidden" }, { .name = "strict", .prompt = "", .filters = { all, 1 } } };
static conf_tenant_t tenants[] = { { .name = "t-1", .filters = { all + 1, 1 } } };
static conf_t conf = { .filter_sets = filters, .nfilter_sets = 3, .agents = agents, .nagents = 2, .tenants = tenants, .ntenants = 1 };
static filter_set_t *set;
static arena_t *arena;
static llm_error_t err;

static filter_call_t *open_all(void)
{
    conf.filters = (conf_filters_t) { all, 3 };
    return filter_open(set, &conf, arena, &(gateway_spec_t) { .tenant = "t-1" });
}

/* --- answers --- */

typedef struct {
    const chat_event_t *ev;
    size_t              n, at;
    int                 rc;             /* at the end */
} script_t;

static int co_script(void *arg, chat_event_t *ev, llm_error_t *e)
{
    script_t *s = arg;

    if (s->at == s->n) {
        return s->rc == 0 ? 0 : provider_fail(e, s->rc, "answer_cut", 0, true, "cut");
    }
    *ev = s->ev[s->at++];
    return 1;
}

/* The events that come out as one text: T(…) text, R(…) reasoning, S(…) signature, X(…) redacted, F(…) refusal, C(id,name) A(index,args), Z a restart. */
static const char *co_events(filter_call_t *f, script_t *s, int *rc)
{
    static const char *const letters = "TRSXFCAZ";
    chat_event_t ev;
    char        *out = arena_strdup(arena, "");
    int          last = -1;

    while ((*rc = co_filter_next(f, co_script, s, &ev, &err)) > 0) {
        if (ev.kind == CHAT_CALL) {
            out = arena_printf(arena, "%sC(%s,%s)", out, ev.id, ev.name);
        } else if (last == (int) ev.kind && last != CHAT_ARGS && out[0] != '\0') {
            out[strlen(out) - 1] = '\0';
            out = arena_printf(arena, "%s%.*s)", out, STR_ARG(ev.text));
        } else {
            out = arena_printf(arena, "%s%c(%.*s)", out, letters[ev.kind], STR_ARG(ev.text));
        }
        last = (int) ev.kind;
    }
    return out;
}

#define E(k, t)      { .kind = (k), .text = STR(t) }
#define CALL(i, n)   { .kind = CHAT_CALL, .index = (i), .id = "c", .name = (n) }
#define ARGS(i, t)   { .kind = CHAT_ARGS, .index = (i), .text = STR(t) }

static void co_answer_is(const char *name, const chat_event_t *ev, size_t n, int end, const char *want, bool blocked, int want_rc)
{
    filter_call_t *f = open_all();
    llm_request_t  q = { .answer_max = 65536, .options = CHAT_OPTIONS_NONE };
    script_t       s = { ev, n, 0, end };
    int            rc = co_filter_request(f, &q, &err);

    is_str(co_events(f, &s, &rc), want, name);
    is_int(rc, want_rc, "its end");
    ok(filter_blocked(f) == blocked, blocked ? "blocked" : "not blocked");
    is_int(co_filter_next(f, co_script, &s, &(chat_event_t) { 0 }, &err), want_rc, "and it stays over");
}

#define ANSWER(name, want, blocked, ...) \
    co_answer_is(name, (const chat_event_t[]) { __VA_ARGS__ }, sizeof((const chat_event_t[]) { __VA_ARGS__ }) / sizeof(chat_event_t), 0, want, blocked, 0)

static void co_answers(void)
{
    ANSWER("a text", "T(one two)", false, E(CHAT_TEXT, "one "), E(CHAT_TEXT, "two"));
    ANSWER("a match over pieces", "T(so it is )", true, E(CHAT_TEXT, "so it is for"), E(CHAT_TEXT, "bid"), E(CHAT_TEXT, "den, "), E(CHAT_TEXT, "and more"));
    ANSWER("a match at the end", "T(so it is )", true, E(CHAT_TEXT, "so it is forbidden"));
    ANSWER("around reasoning", "T(x )R(hm)", true, E(CHAT_TEXT, "x forbid"), E(CHAT_REASONING, "hm"), E(CHAT_TEXT, "den."));
    ANSWER("a redaction", "T(to [pii] now)", false, E(CHAT_TEXT, "to a@b"), E(CHAT_TEXT, ".com now"));
    ANSWER("reasoning before text", "R(think so)T(ok)", false, E(CHAT_REASONING, "think "), E(CHAT_REASONING, "so"), E(CHAT_TEXT, "ok"));
    ANSWER("reasoning keeps its signature", "R(think)S(sig)T(ok)", false, E(CHAT_REASONING, "think"), E(CHAT_SIGNATURE, "sig"), E(CHAT_TEXT, "ok"));
    ANSWER("but not when it is another one", "R(to [pii] well)X(enc)T(ok)", false, E(CHAT_REASONING, "to a@b.com"), E(CHAT_SIGNATURE, "sig"),
           E(CHAT_REASONING, " well"), E(CHAT_SIGNATURE, "s2"), E(CHAT_REDACTED, "enc"), E(CHAT_TEXT, "ok"));
    ANSWER("blocked reasoning", "", true, E(CHAT_REASONING, "forbidden "), E(CHAT_TEXT, "ok"));
    ANSWER("a refusal", "F(not to [pii])", false, E(CHAT_REFUSAL, "not to a@b.com"));
    ANSWER("calls come whole, at the end", "T(look)C(c,f)A({\"a\":\"x\"})S(seal)C(c,g)A({})", false, CALL(0, "f"), ARGS(0, "{\"a\":"), ARGS(0, "\"x\"}"),
           E(CHAT_SIGNATURE, "seal"), E(CHAT_TEXT, "look"), CALL(1, "g"), ARGS(1, "{}"));
    ANSWER("arguments as they are meant", "C(c,f)A({\"to\":\"[pii]\",\"n\":[\"[pii]\",7,\"[pii]\"],\"[pii]\":null})", false, CALL(0, "f"),
           ARGS(0, "{\"to\":\"\\u0061@b.com\",\"n\":[4111111111111111,7,\"x@y.org\"],\"q@r.st\":null}"));
    ANSWER("nothing to redact: as it was written", "C(c,f)A({ \"a\" : 1.50 })", false, CALL(0, "f"), ARGS(0, "{ \"a\" : 1.50 }"));
    ANSWER("blocked arguments", "C(c,f)A({})", true, CALL(0, "f"), ARGS(0, "{}"), CALL(1, "g"), ARGS(1, "{\"a\":{\"forbi\\u0064den\":1}}"));
    ANSWER("arguments that are no JSON", "C(c,f)A({\"a\":\"[pii])", false, CALL(0, "f"), ARGS(0, "{\"a\":\"a@b.com"));
    ANSWER("a restart", "T(half )Z()T(whole)", false, E(CHAT_TEXT, "half forbid"), { .kind = CHAT_RESTART }, E(CHAT_TEXT, "whole"));
    co_answer_is("what is held when it breaks off stays", (const chat_event_t[]) { E(CHAT_TEXT, "half forbid") }, 1, SI_EUNAVAIL, "T(half )", false, SI_EUNAVAIL);
}

/* A second model may not say what the first one was not let say; and the matches are told by name. */
static void co_matches(void)
{
    filter_call_t *f = open_all();
    llm_request_t  q = { .answer_max = 65536, .options = CHAT_OPTIONS_NONE };
    chat_event_t   ev[] = { E(CHAT_TEXT, "a@b.com and c@d.com "), { .kind = CHAT_RESTART }, E(CHAT_TEXT, "it is forbidden") };
    script_t       s = { ev, 3, 0, 0 };
    size_t         n;
    int            rc = co_filter_request(f, &q, &err);

    is_str(co_events(f, &s, &rc), "T([pii] and [pii] )Z()T(it is )", "a restart is looked at, too");
    ok(filter_blocked(f), "and blocked");
    const filter_match_t *m = filter_matches(f, &n);
    ok(n == 2 && strcmp(m[0].rule, "pii/email") == 0 && m[0].times == 2 && m[0].direction == FILTER_OUTPUT && m[0].action == FILTER_REDACT
       && strcmp(m[1].rule, "words/words") == 0 && m[1].action == FILTER_BLOCK && m[1].times == 1, "what matched");
    ok(filter_matches(NULL, &n) == NULL && n == 0, "nothing without filters");
}

/* --- requests --- */

static chat_part_t text_part(const char *z) { return (chat_part_t) { .kind = PART_TEXT, .text = str_of(z) }; }

static void co_requests(void)
{
    chat_part_t    inner[] = { text_part("found x@y.org") };
    chat_part_t    parts[] = { text_part(agents[0].prompt), text_part("this is forbidden"), { .kind = PART_CALL, .name = "f", .text = STR("{\"a\":\"a@b.com\"}") },
                               { .kind = PART_RESULT, .parts = inner, .nparts = 1 }, text_part("hello a@b.com"), { .kind = PART_IMAGE, .text = STR("https://x/a@b.com") },
                               { .kind = PART_REASONING, .text = STR("a@b.com"), .signature = STR("sig") },
                               { .kind = PART_REASONING, .text = STR("fine"), .signature = STR("sig") } };
    chat_message_t m[] = { { CHAT_SYSTEM, &parts[0], 1 }, { CHAT_USER, &parts[1], 1 }, { CHAT_ASSISTANT, &parts[2], 1 }, { CHAT_USER, &parts[3], 3 }, { CHAT_ASSISTANT, &parts[6], 2 },
                           { CHAT_USER, &parts[4], 1 } };
    chat_tool_t    tool = { .name = "t", .description = "mails to a@b.com" };
    llm_request_t  q = { .messages = m, .nmessages = 6, .answer_max = 1000, .options = CHAT_OPTIONS_NONE };
    filter_call_t *f = open_all();

    q.options.tools = &tool;
    q.options.ntools = 1;
    is_int(co_filter_request(f, &q, &err), 0, "a request that may pass");
    is_mem(q.messages[0].parts[0].text.p, q.messages[0].parts[0].text.n, "never say forbidden", "an agent's prompt is not looked at");
    is_mem(q.messages[1].parts[0].text.p, q.messages[1].parts[0].text.n, "this is [gone]", "what would be blocked was said before: it is taken out");
    is_mem(q.messages[2].parts[0].text.p, q.messages[2].parts[0].text.n, "{\"a\":\"[pii]\"}", "a call of a tool");
    is_mem(q.messages[3].parts[0].parts[0].text.p, q.messages[3].parts[0].parts[0].text.n, "found [pii]", "its result");
    is_mem(q.messages[3].parts[1].text.p, q.messages[3].parts[1].text.n, "hello [pii]", "a text beside it");
    is_mem(q.messages[3].parts[2].text.p, q.messages[3].parts[2].text.n, "https://x/[pii]", "the address of a picture");
    is_int((long long) q.messages[4].nparts, 1, "sealed reasoning is left out whole");
    is_mem(q.messages[4].parts[0].text.p, q.messages[4].parts[0].text.n, "fine", "or goes as it is");
    is_str(q.options.tools[0].description, "mails to [pii]", "a tool's description");
    is_str(tool.description, "mails to a@b.com", "the caller's own is as it was");
    is_mem(parts[4].text.p, parts[4].text.n, "hello a@b.com", "its messages too");

    q = (llm_request_t) { .messages = m + 1, .nmessages = 1, .options = CHAT_OPTIONS_NONE };
    is_int(co_filter_request(open_all(), &q, &err), SI_EINVAL, "a message that is said now is blocked");
    is_str(err.code, "content_filtered", "its code");
    ok(strstr(err.detail, "forbidden") == NULL && !err.retryable && err.status == 0, "without the text");
    is_int(co_filter_request(NULL, &q, &err), 0, "no filters");

    char *large = arena_alloc(arena, 300001);
    memset(large, 'y', 300000);
    memcpy(large + 299000, " a@b.com ", 9);
    parts[4].text = (str_t) { large, 300000 };
    q = (llm_request_t) { .messages = m + 5, .nmessages = 1, .options = CHAT_OPTIONS_NONE };
    is_int(co_filter_request(open_all(), &q, &err), 0, "a large message");
    ok(q.messages[0].parts[0].text.n == 299998 && memcmp(q.messages[0].parts[0].text.p + 299000, " [pii] ", 7) == 0, "is looked at to its end");
}

/* --- which --- */

static size_t co_chosen(const gateway_spec_t *spec, const conf_filters_t *of_all)
{
    filter_call_t *f;
    llm_request_t  q = { .answer_max = 1000, .options = CHAT_OPTIONS_NONE };
    chat_part_t    p = text_part("hello a@b.com");
    chat_message_t m[] = { { CHAT_USER, &p, 1 } };
    size_t         n;

    conf.filters = *of_all;
    f = filter_open(set, &conf, arena, spec);
    q.messages = m;
    q.nmessages = 1;
    (void) co_filter_request(f, &q, &err);
    (void) filter_matches(f, &n);
    return f == NULL ? 99 : n;
}

static void co_which(void)
{
    conf_filters_t none = { all, 0 }, two = { all + 1, 2 };

    is_int((long long) co_chosen(&(gateway_spec_t) { .tenant = NULL }, &none), 99, "nothing is named: no filters");
    is_int((long long) co_chosen(&(gateway_spec_t) { .tenant = "t-2", .agent = "plain" }, &none), 99, "by anybody");
    is_int((long long) co_chosen(&(gateway_spec_t) { .tenant = "t-1" }, &none), 1, "a tenant's");
    is_int((long long) co_chosen(&(gateway_spec_t) { .agent = "strict" }, &none), 0, "an agent's");
    is_int((long long) co_chosen(&(gateway_spec_t) { .model = "strict" }, &none), 0, "named as a model");
    is_int((long long) co_chosen(&(gateway_spec_t) { .tenant = "t-1", .agent = "strict" }, &two), 2, "all of them, each once");
}

static void co_main(void *arg)
{
    (void) arg;
    co_answers();
    co_matches();
    co_requests();
    co_which();
    loop_stop();
}

int main(void)
{
    buf_t b;

    arena = arena_new(65536);
    logger_open("/dev/null", LOG_DEBUG);
    proc.conf = &conf;
    set = filter_set_new(&conf);
    loop_init();
    co_init();
    co_spawn("test", co_main, NULL);
    loop_run();
    co_exit();
    loop_free();
    buf_init(&b, 65536);
    filter_set_print(set, &b);
    (void) buf_append(&b, "", 1);
    ok(strstr(b.p, "si_filter_matches_total{rule=\"pii/card\",direction=\"output\",action=\"redact\"} 1\n") != NULL, "metrics");
    ok(strstr(b.p, "{rule=\"in/words\",direction=\"input\"") != NULL && strstr(b.p, "{rule=\"in/words\",direction=\"output\"") == NULL, "only where a filter looks");
    buf_free(&b);
    filter_set_free(set);
    arena_free(arena);
    return done_testing();
}

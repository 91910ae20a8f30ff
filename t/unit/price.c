/* Prices as they are written, what calls cost, and what an account makes of them. */
#include "llm/price.h"

#include "base/util.h"
#include "llm/account.h"
#include "tap.h"

static void decimals(void)
{
    static const struct { const char *text; unsigned places; long long want; } all[] = {
        { "0", 6, 0 }, { "1", 6, 1000000 }, { "2.5", 6, 2500000 }, { "2.50", 6, 2500000 }, { "0.15", 6, 150000 }, { "0.000001", 6, 1 },
        { "100000", 6, 100000000000 }, { "007", 0, 7 }, { "1.000000000000000001", 18, 1000000000000000001 },
        { "0.0000001", 6, -1 }, { "", 6, -1 }, { ".5", 6, -1 }, { "1.", 6, -1 }, { "-1", 6, -1 }, { "+1", 6, -1 }, { "1e3", 6, -1 },
        { "1,5", 6, -1 }, { " 1", 6, -1 }, { "1.5.5", 6, -1 }, { "1.5", 0, -1 }, { "18446744073709.551616", 6, -1 }, { "nan", 6, -1 },
    };
    uint64_t v;

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        int rc = parse_decimal(str_of(all[i].text), all[i].places, &v);
        ok((rc == 0 ? (long long) v : -1) == all[i].want, "\"%s\" is %lld", all[i].text, all[i].want);
    }
    ok(parse_decimal(STR("18446744073709.551615"), 6, &v) == 0 && v == UINT64_MAX, "the largest");
}

static void costs(void)
{
    static const conf_price_t usual = { .input = 2500000, .output = 10000000, .cached_input = 1250000, .cache_write = 3125000, .reasoning = 12000000 };
    static const conf_price_t cheap = { 1, 1, 1, 1, 1 };
    static const conf_price_t dear = { CONF_PRICE_MAX, CONF_PRICE_MAX, CONF_PRICE_MAX, CONF_PRICE_MAX, CONF_PRICE_MAX };
    static const struct {
        const char         *what;
        const conf_price_t *price;
        int64_t             in, cached, written, out, reasoning, want;
    } all[] = {
        { "nothing costs nothing", &usual, 0, 0, 0, 0, 0, 0 },
        { "nor does what is not known", &usual, -1, -1, -1, -1, -1, 0 },
        { "input and output", &usual, 1000, 0, 0, 100, 0, 3500 },
        { "each kind at its price", &usual, 1000, 400, 200, 100, 60, 1000 + 500 + 625 + 400 + 720 },
        { "rounded up", &usual, 1, 0, 0, 0, 0, 3 },
        { "a little over one is two", &usual, 1, 1, 0, 0, 0, 2 },
        { "once for all kinds: 5 + 1.25 + 10", &usual, 3, 1, 0, 1, 0, 17 },
        { "no call with a price is free", &cheap, 1, 0, 0, 0, 0, 1 },
        { "a whole one stays one", &cheap, 999999, 0, 0, 1, 0, 1 },
        { "and one token more is two", &cheap, 1000000, 0, 0, 1, 0, 2 },
        { "a part is no larger than its whole", &usual, 10, 50, 50, 10, 99, 13 + 120 },
        { "and never too large", &dear, INT64_MAX, 0, 0, INT64_MAX, 0, INT64_MAX },
    };
    llm_result_t *r = calloc(1, sizeof *r);

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        r->input_tokens = all[i].in;
        r->cached_tokens = all[i].cached;
        r->cache_write_tokens = all[i].written;
        r->output_tokens = all[i].out;
        r->reasoning_tokens = all[i].reasoning;
        is_int(price_cost(all[i].price, r), all[i].want, all[i].what);
    }
    free(r);
}

/* An account that was begun, got so many pieces of 40 bytes and ended so; ended twice, which must not matter. */
static void check(const char *what, int pieces, const char *code, const llm_result_t *r, const usage_t *want)
{
    conf_model_t m = { .name = "m", .price = { 1000000, 2000000, 1000000, 1000000, 2000000 } };
    chat_event_t piece = { .kind = CHAT_TEXT, .text = STR("forty bytes of an answer, exactly forty!") };
    llm_error_t  err = { .code = "" };
    account_t    a = { .operation = "chat", .model = &m, .input = 100, .output_max = -1 };

    ok(co_account_begin(&a, &err) == 0 && uuid_valid(str_of(a.id)), "%s: an account with an id", what);
    for (int i = 0; i < pieces; i++) {
        account_piece(&a, &piece);
    }
    account_end(&a, code, r);
    account_end(&a, "cancelled", NULL);
    is_int(a.usage.input_tokens, want->input_tokens, "input");
    is_int(a.usage.cached_tokens, want->cached_tokens, "cached input");
    is_int(a.usage.output_tokens, want->output_tokens, "output");
    is_int(a.usage.reasoning_tokens, want->reasoning_tokens, "reasoning");
    is_int(a.usage.cost, want->cost, "cost");
    ok(a.usage.estimated == want->estimated, "%s", want->estimated ? "estimated" : "not estimated");
}

typedef struct {
    int64_t in, out, cached, reasoning;
    bool    estimated;
} said_t;

static void check_said(const char *what, int pieces, const char *code, said_t said, usage_t want)
{
    llm_result_t *r = calloc(1, sizeof *r);

    r->input_tokens = said.in;
    r->output_tokens = said.out;
    r->cached_tokens = said.cached;
    r->reasoning_tokens = said.reasoning;
    r->estimated = said.estimated;
    check(what, pieces, code, r, &want);
    free(r);
}

static void accounts(void)
{
    check("refused", 0, "provider_rejected", NULL, &(usage_t) { 0 });
    check_said("whole", 1, NULL, (said_t) { .in = 7, .out = 5, .cached = 2, .reasoning = 1 },
               (usage_t) { .input_tokens = 7, .output_tokens = 5, .cached_tokens = 2, .reasoning_tokens = 1, .cost = 17 });
    check_said("cut, nothing was counted", 2, "answer_cut", (said_t) { .in = -1, .out = -1 },
               (usage_t) { .input_tokens = 100, .output_tokens = 20, .cost = 140, .estimated = true });
    check_said("cut, something was counted", 1, "cancelled", (said_t) { .in = 30, .out = 1 },
               (usage_t) { .input_tokens = 30, .output_tokens = 10, .cost = 50, .estimated = true });
    check_said("cut, more was counted than came", 1, "cancelled", (said_t) { .in = 30, .out = 25 },
               (usage_t) { .input_tokens = 30, .output_tokens = 25, .cost = 80, .estimated = true });
    check_said("cut before a piece", 0, "provider_timeout", (said_t) { .in = -1, .out = -1 },
               (usage_t) { .input_tokens = 100, .cost = 100, .estimated = true });
    check_said("a provider that counts nothing", 1, NULL, (said_t) { .in = 100, .out = 12, .estimated = true },
               (usage_t) { .input_tokens = 100, .output_tokens = 12, .cost = 124, .estimated = true });
}

int main(void)
{
    decimals();
    costs();
    accounts();
    return done_testing();
}

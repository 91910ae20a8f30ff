/* Who is asked, in which order; and what a failure means. */
#include "llm/route.h"

#include "llm/fault.h"
#include "conf_text.h"
#include "tap.h"

static const char yaml[] =
    "models:\n"
    "  cheap: { provider: offline, fallback: [mid] }\n"
    "  mid: { provider: offline, fallback: [big, cheap] }\n"
    "  big: { provider: offline }\n"
    "  eu: { provider: offline }\n"
    "  alone: { provider: offline }\n"
    "  s1: { provider: lexical, space: s, price: { input: 0.02 } }\n"
    "  s2: { provider: lexical, space: s, fallback: [s1], price: { input: 0.02 } }\n"
    "  s3: { provider: lexical, space: s, price: { input: 0.01 } }\n"
    "  s4: { provider: lexical, space: s, dimensions: 64, price: { input: 0.015 } }\n"
    "  t1: { provider: lexical, space: t }\n"
    "tasks:\n"
    "  embeddings: { models: [s1, t1, s2, s4, s3] }\n"
    "  quick: { models: [cheap, mid] }\n"
    "  code: { models: [big, mid, big] }\n"
    "agents:\n"
    "  dev: { model: big, fallback: [mid, cheap], task: code }\n"
    "  pm: { model: mid }\n"
    "  coder: { task: code }\n"
    "  vague: { task: planning }\n"
    "tenants:\n"
    "  t1: { routes: { dev: { models: [eu, big] }, quick: { models: [eu] }, cheap: { models: [eu] } } }\n"
    "  t2: { models: [mid, eu] }\n"
    "  t3: { models: [alone] }\n"
    "default_model: mid\n";

static const char *names(arena_t *a, const route_t *r)
{
    const char *all = "";

    for (size_t i = 0; i < r->n; i++) {
        all = arena_printf(a, "%s%s%s", all, i > 0 ? " " : "", r->models[i]->name);
    }
    return all;
}

static const char *spaced(arena_t *a, const conf_t *c, const char *tenant, const char *model, const char *space, bool says)
{
    gateway_spec_t spec = { .tenant = tenant, .model = model, .embeddings = true };
    route_t        r;

    route_of(c, &spec, &r);
    route_space(&r, space, says, conf_model(c, str_of(model)) == NULL);
    return names(a, &r);
}

static void spaces(arena_t *a, const conf_t *c)
{
    is_str(spaced(a, c, NULL, "embeddings", NULL, false), "s3 s1 s2", "of a task: the first one's space, the cheapest first, then in order");
    is_str(spaced(a, c, NULL, "embeddings", NULL, true), "s3 s4 s1 s2", "whose dimensions are another number, if the caller says which");
    is_str(spaced(a, c, NULL, "embeddings", "t", false), "t1", "a space that is asked for");
    is_str(spaced(a, c, NULL, "embeddings", "u", false), "", "or none");
    is_str(spaced(a, c, NULL, "s2", NULL, false), "s2 s1", "a model that is named comes first, also when others are cheaper");
    is_str(spaced(a, c, NULL, "cheap", NULL, false), "", "a model that answers makes none");
    is_str(spaced(a, c, "t2", "embeddings", NULL, false), "", "nor what the tenant may not use");
}

static void routes(arena_t *a, const conf_t *c)
{
    static const struct {
        const char *tenant, *agent, *model, *want, *what;
    } all[] = {
        { NULL, NULL, NULL, "cheap mid", "who says nothing gets what is quick" },
        { NULL, "dev", NULL, "big mid cheap", "an agent: primary and fallback" },
        { NULL, "pm", "", "mid big cheap", "an agent without fallback: the model's" },
        { NULL, "coder", NULL, "big mid", "an agent without a model: its task, each model once" },
        { NULL, "vague", NULL, "mid big cheap", "a task without models: the default model" },
        { NULL, "dev", "cheap", "cheap mid", "a model that is named goes first" },
        { NULL, NULL, "alone", "alone", "without fallbacks it is alone" },
        { NULL, NULL, "coder", "big mid", "a name may be an agent" },
        { NULL, NULL, "code", "big mid", "or a task" },
        { NULL, NULL, "none", "", "or nothing" },
        { NULL, "none", NULL, "", "an agent that is not there" },
        { "t1", "dev", NULL, "eu big", "a tenant's own route of an agent" },
        { "t1", NULL, NULL, "eu", "of a task" },
        { "t1", NULL, "cheap", "eu", "of a model" },
        { "t1", "pm", NULL, "mid big cheap", "and of nothing else" },
        { "t2", "dev", NULL, "mid", "what it may not use is left out" },
        { "t2", NULL, "big", "", "also if it is named" },
        { "t3", NULL, NULL, "", "and nothing may be left" },
        { "t9", "dev", NULL, "big mid cheap", "a tenant without policy" },
    };
    route_t r;

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        route_of(c, &(gateway_spec_t) { .tenant = all[i].tenant, .agent = all[i].agent, .model = all[i].model }, &r);
        is_str(names(a, &r), all[i].want, all[i].what);
    }
    route_list(c, "t2", &conf_model(c, STR("mid"))->fallback, &r);
    is_int((long long) r.n, 0, "lists are held to the policy, too");
}

static void reasons(void)
{
    static const char *const all[][2] = {
        { "context_length", "{\"error\":{\"code\":\"context_length_exceeded\"}}" },
        { "context_length", "{\"error\":{\"message\":\"This model's Maximum Context length is 8192 tokens\"}}" },
        { "context_length", "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210000 tokens > 200000 maximum\"}}" },
        { "context_length", "{\"message\":\"Input is too long for requested model.\"}" },
        { "content_filter", "{\"error\":{\"code\":\"content_filter\",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\"}}}" },
        { "content_filter", "{\"error\":{\"code\":\"content_policy_violation\"}}" },
        { "provider_rejected", "{\"error\":{\"message\":\"temperature must be less than 2\"}}" },
        { "provider_rejected", "" },
    };

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        llm_error_t err = { .code = "provider_rejected" };
        fault_reason(&err, str_of(all[i][1]));
        is_str(err.code, all[i][0], all[i][1][0] != '\0' ? all[i][1] : "no body");
    }
    llm_error_t err = { .code = "provider_unavailable" };
    fault_reason(&err, STR("maximum context"));
    is_str(err.code, "provider_unavailable", "only of a request that was rejected");
}

static void faults(void)
{
    static const struct {
        int         rc, status;
        const char *code;
        bool        retryable;
        fault_t     want;
    } all[] = {
        { SI_EUNAVAIL, 0, "provider_unavailable", true, FAULT_AGAIN }, { SI_EUNAVAIL, 503, "provider_unavailable", true, FAULT_AGAIN },
        { SI_EAGAIN, 429, "provider_rate_limited", true, FAULT_BUSY }, { SI_EDENIED, 401, "provider_auth", false, FAULT_REFUSED },
        { SI_EINVAL, 402, "provider_rejected", false, FAULT_REFUSED }, { SI_EINVAL, 400, "provider_rejected", false, FAULT_REQUEST },
        { SI_EINVAL, 409, "provider_rejected", false, FAULT_AGAIN }, { SI_EINVAL, 400, "context_length", false, FAULT_CONTEXT },
        { SI_EINVAL, 0, "content_filter", false, FAULT_FILTER }, { SI_EPROTO, 200, "provider_protocol", false, FAULT_SLOW },
        { SI_EPROTO, 0, "provider_protocol", true, FAULT_AGAIN }, { SI_EINVAL, 0, "unsupported", false, FAULT_REQUEST },
        { SI_ENOMEM, 0, "answer_too_large", false, FAULT_SLOW }, { SI_ETIMEDOUT, 0, "provider_timeout", true, FAULT_SLOW },
    };

    for (size_t i = 0; i < SI_COUNT(all); i++) {
        llm_error_t err = { .status = all[i].status, .retryable = all[i].retryable };
        (void) snprintf(err.code, sizeof err.code, "%s", all[i].code);
        ok(fault_of(all[i].rc, &err, 10, 20) == all[i].want, "%s, status %d", all[i].code, all[i].status);
    }
    llm_error_t late = { .code = "provider_timeout", .retryable = true };
    ok(fault_of(SI_ETIMEDOUT, &late, 20, 20) == FAULT_OVER, "at the deadline of the call nothing is tried any more");
}

int main(void)
{
    arena_t *a = arena_new(1024);
    conf_t  *c = conf_of_text(a, yaml);

    routes(a, c);
    spaces(a, c);
    reasons();
    faults();
    conf_free(c);
    arena_free(a);
    return done_testing();
}

#include "llm/cache_key.h"

#include <openssl/evp.h>

#define VERSION  "si-cache-1"       /* another one when what is hashed, or kept, changes */

static void bytes(EVP_MD_CTX *h, const void *p, size_t n)
{
    if (EVP_DigestUpdate(h, n > 0 ? p : "", n) != 1) {
        si_die("SHA-256 failed");
    }
}

static void number(EVP_MD_CTX *h, int64_t v)
{
    bytes(h, &v, sizeof v);         /* of one kind of processor: the others of a mixed fleet have keys of their own */
}

/* With its length, so that no two lists of texts look alike; NULL is another one than "". */
static void text(EVP_MD_CTX *h, str_t s)
{
    number(h, s.p != NULL ? (int64_t) s.n : -1);
    bytes(h, s.p, s.n);
}

static void word(EVP_MD_CTX *h, const char *z)
{
    text(h, str_of(z));
}

static void real(EVP_MD_CTX *h, double v)
{
    bool given = v == v;            /* NAN: not given */

    number(h, given);
    v = given ? v + 0.0 : 0;        /* -0 is 0 */
    bytes(h, &v, sizeof v);
}

static void put_parts(EVP_MD_CTX *h, const chat_part_t *p, size_t n)
{
    number(h, (int64_t) n);
    for (const chat_part_t *end = p + n; p < end; p++) {
        number(h, p->kind);
        text(h, p->text);
        word(h, p->media);
        word(h, p->detail);
        word(h, p->id);
        word(h, p->name);
        text(h, p->signature);
        number(h, p->failed);
        number(h, p->cache);
        word(h, p->cache_ttl);
        put_parts(h, p->parts, p->nparts);
    }
}

static void put_messages(EVP_MD_CTX *h, const chat_message_t *m, size_t n)
{
    number(h, (int64_t) n);
    for (size_t i = 0; i < n; i++) {
        number(h, m[i].role);
        put_parts(h, m[i].parts, m[i].nparts);
    }
}

static void put_tools(EVP_MD_CTX *h, const chat_options_t *o)
{
    number(h, (int64_t) o->ntools);
    for (size_t i = 0; i < o->ntools; i++) {
        word(h, o->tools[i].name);
        word(h, o->tools[i].description);
        text(h, o->tools[i].schema);
        number(h, o->tools[i].strict);
        number(h, o->tools[i].cache);
        word(h, o->tools[i].cache_ttl);
    }
    number(h, o->choice);
    word(h, o->choice_name);
    number(h, o->parallel);
}

static void put_options(EVP_MD_CTX *h, const chat_options_t *o)
{
    const double  reals[] = { o->temperature, o->top_p, o->frequency_penalty, o->presence_penalty };
    const int64_t numbers[] = { o->max_tokens, o->top_k, o->reasoning_tokens, o->has_seed, o->has_seed ? o->seed : 0, o->shape, o->shape_strict,
                                (int64_t) o->nstop };
    char         *extra = o->extra != NULL ? json_dumps(o->extra, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;

    for (size_t i = 0; i < SI_COUNT(reals); i++) {
        real(h, reals[i]);
    }
    for (size_t i = 0; i < SI_COUNT(numbers); i++) {
        number(h, numbers[i]);
    }
    for (size_t i = 0; i < o->nstop; i++) {
        word(h, o->stop[i]);
    }
    word(h, o->effort);
    word(h, o->shape_name);
    word(h, o->shape_about);
    text(h, o->shape_schema);
    word(h, extra);
    word(h, extra != NULL ? o->dialect : NULL);
    put_tools(h, o);
    free(extra);
}

static void put_model(EVP_MD_CTX *h, const conf_model_t *m)
{
    const char *words[] = { m->name, m->upstream, m->stream, m->guardrail, m->guardrail_version, m->guardrail_mode, m->provider->name,
                            m->provider->kind, m->provider->base_url, m->provider->api_version, m->provider->beta };

    for (size_t i = 0; i < SI_COUNT(words); i++) {
        word(h, words[i]);
    }
    number(h, (int64_t) m->max_tokens);
    number(h, (int64_t) m->safety.n);
    for (size_t i = 0; i < m->safety.n; i++) {
        word(h, m->safety.p[i]);
    }
}

static void put_filters(EVP_MD_CTX *h, const filter_call_t *f)
{
    for (filter_direction_t d = FILTER_INPUT; d < FILTER_DIRECTIONS; d++) {
        size_t                n;
        filter_rule_t *const *rules = filter_rules(f, d, &n);

        number(h, (int64_t) n);
        for (size_t i = 0; i < n; i++) {
            word(h, rules[i]->name);
            word(h, rules[i]->source);
            number(h, rules[i]->action);
            word(h, rules[i]->of->replacement);
        }
    }
}

void cache_key(uint8_t out[SHA256_LEN], const char *tenant, const conf_model_t *m, const llm_request_t *q, const filter_call_t *f)
{
    EVP_MD_CTX *h = EVP_MD_CTX_new();

    if (h == NULL || EVP_DigestInit_ex(h, EVP_sha256(), NULL) != 1) {
        si_die("SHA-256 failed");
    }
    word(h, VERSION);
    word(h, tenant);
    put_model(h, m);
    put_messages(h, q->messages, q->nmessages);
    put_messages(h, q->related, strcmp(m->provider->kind, "offline") == 0 ? q->nrelated : 0);
    put_options(h, &q->options);
    put_filters(h, f);
    if (EVP_DigestFinal_ex(h, out, NULL) != 1) {
        si_die("SHA-256 failed");
    }
    EVP_MD_CTX_free(h);
}

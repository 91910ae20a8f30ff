/* One request to a provider of embeddings, and its answer. */
#include <math.h>
#include <strings.h>

#include "base/base64.h"
#include "base/util.h"
#include "io/http.h"
#include "llm/embed_format.h"
#include "llm/retry_after.h"

#define REQUEST_MAX  (64u << 20)        /* bytes of a request body */
#define ANSWER_MAX   (64u << 20)        /* bytes of an answer: 256 vectors of 8,192 numbers, as base64 */
#define ERROR_MAX    (64u << 10)        /* bytes read of an error's body */
#define ERROR_MS     5000               /* for an error's body */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors are sent and kept as float32, little-endian");

const embed_format_t *embed_format(const char *kind)
{
    static const embed_format_t *const formats[] = { &embed_openai, &embed_titan, &embed_sagemaker, &embed_gemini };

    for (size_t i = 0; i < SI_COUNT(formats); i++) {
        if (strcmp(formats[i]->kind, kind) == 0) {
            return formats[i];
        }
    }
    return NULL;
}

/* --- vectors --- */

int embed_malformed(embed_answer_t *r, const char *why)
{
    return provider_fail(r->err, SI_EPROTO, "provider_protocol", 0, true, "the provider's answer is malformed: %s", why);
}

/* Room for the vector of input i, which has n numbers; NULL with *r->err. */
static float *room(embed_answer_t *r, size_t i, size_t n)
{
    size_t asked = r->q->dimensions;

    if (i >= r->q->n || n == 0 || n > EMBED_DIMENSIONS_MAX) {
        (void) embed_malformed(r, i >= r->q->n ? "it has more vectors than were asked for" : "a vector is empty, or has too many numbers");
        return NULL;
    }
    if (r->vectors == NULL) {
        r->dimensions = n;
        r->vectors = arena_alloc(r->arena, r->q->n * n * sizeof *r->vectors);
        r->have = arena_calloc(r->arena, r->q->n);
    }
    if (n != r->dimensions || r->have[i]) {
        (void) embed_malformed(r, r->have[i] ? "it has two vectors for one input" : "its vectors are of different lengths");
        return NULL;
    }
    if (asked != 0 && n != asked) {
        (void) provider_fail(r->err, SI_EPROTO, "provider_protocol", 0, false, "the provider's vectors have %zu numbers and not %zu", n, asked);
        return NULL;
    }
    r->have[i] = true;
    return r->vectors + i * n;
}

static int take_text(embed_answer_t *r, size_t i, const json_t *v)
{
    str_t  text = { json_string_value(v), json_string_length(v) };
    size_t pad = text.n >= 2 ? (text.p[text.n - 1] == '=') + (text.p[text.n - 2] == '=') : 0, n = text.n / 4 * 3 - SI_MIN(pad, text.n / 4 * 3);
    float *to = n % sizeof(float) == 0 ? room(r, i, n / sizeof(float)) : NULL;

    if (n % sizeof(float) != 0) {
        return embed_malformed(r, "a vector is no base64 of whole numbers");
    }
    if (to == NULL) {
        return SI_EPROTO;
    }
    return base64_decode(to, n, text) == (ssize_t) n ? 0 : embed_malformed(r, "a vector is no base64");
}

static int take_numbers(embed_answer_t *r, size_t i, const json_t *list)
{
    float        *to = room(r, i, json_array_size(list));
    const json_t *v;
    size_t        k;

    if (to == NULL) {
        return SI_EPROTO;
    }
    json_array_foreach(list, k, v) {
        if (!json_is_number(v)) {
            return embed_malformed(r, "a vector has something that is no number");
        }
        to[k] = (float) json_number_value(v);
    }
    return 0;
}

int embed_vector(embed_answer_t *r, size_t i, const json_t *v)
{
    int rc = json_is_string(v) ? take_text(r, i, v) : json_is_array(v) ? take_numbers(r, i, v) : embed_malformed(r, "a vector is no list");

    for (size_t k = 0; rc == 0 && k < r->dimensions; k++) {
        if (!isfinite(r->vectors[i * r->dimensions + k])) {
            rc = embed_malformed(r, "a vector has something that is no number");
        }
    }
    return rc;
}

void embed_normalize(embed_answer_t *r)
{
    for (size_t i = 0; r->vectors != NULL && i < r->q->n; i++) {
        float *v = r->vectors + i * r->dimensions;
        double sum = 0;

        for (size_t k = 0; r->have[i] && k < r->dimensions; k++) {
            sum += (double) v[k] * (double) v[k];
        }
        for (size_t k = 0; sum > 0 && fabs(sum - 1) > 1e-5 && k < r->dimensions; k++) {
            v[k] = (float) (v[k] / sqrt(sum));
        }
    }
}

/* --- the exchange --- */

static uint64_t within(uint64_t ms, uint64_t deadline)
{
    return ms == 0 ? deadline : SI_MIN(clock_ms() + ms, deadline);
}

static int fail_time(const embed_answer_t *r, const char *what)
{
    return provider_fail(r->err, SI_ETIMEDOUT, "provider_timeout", 0, true, "%s",
                         clock_ms() >= r->q->deadline ? "the call's time is up" : what);
}

static int fail_body(embed_answer_t *r, http_t *h, int rc)
{
    if (rc == SI_ETIMEDOUT) {
        return fail_time(r, "the provider has fallen silent");
    }
    if (rc == SI_ECANCELED) {
        return rc;
    }
    if (rc == SI_ENOMEM) {
        return provider_fail(r->err, rc, "answer_too_large", 0, false, "the provider's answer is longer than %u bytes", ANSWER_MAX);
    }
    return provider_fail(r->err, SI_EUNAVAIL, "answer_cut", 0, true, "the provider's answer was cut: %s", http_reason(h));
}

static const char *header(void *arg, const char *name)
{
    return http_header(arg, name);
}

static int co_bad_status(const embed_format_t *f, embed_answer_t *r, arena_t *a, http_t *h, int status)
{
    str_t    body = STR_NULL;
    int      rc = co_http_body(h, a, ERROR_MAX, &body, within(ERROR_MS, r->q->deadline));
    uint64_t ms;

    if (rc == SI_ECANCELED) {
        return rc;
    }
    body = rc == 0 ? body : STR_NULL;       /* the status counts, whatever became of the message */
    rc = f->status != NULL ? f->status(r->err, a, r->secret, status, body) : reply_status(r->err, a, r->secret, status, body);
    fault_reason(r->err, body);
    ms = retry_after(header, h, status, clock_wall_ms());
    r->err->retry_ms = ms > 0 ? ms : SI_MAX(r->err->retry_ms, retry_after_body(body));
    return rc;
}

static int read_answer(const embed_format_t *f, embed_answer_t *r, arena_t *a, str_t body)
{
    const char *why;
    json_t     *v = json_own(a, json_parse_loose(a, body, &why));
    int         rc = v != NULL ? f->read(r, v) : embed_malformed(r, why);

    for (size_t i = 0; rc == 0 && i < r->q->n; i++) {
        if (r->vectors == NULL || !r->have[i]) {
            rc = embed_malformed(r, "it has fewer vectors than were asked for");
        }
    }
    return rc;
}

static int co_answer(const embed_format_t *f, embed_answer_t *r, arena_t *a, http_t *h)
{
    const conf_provider_t *p = r->q->model->provider;
    int         status = co_http_head(h, within(p->first_byte_ms, r->q->deadline)), rc;
    const char *type;
    str_t       body;

    if (status == SI_ECANCELED) {
        return status;
    }
    if (status < 0) {
        return status == SI_ETIMEDOUT ? fail_time(r, "the provider did not answer in time")
               : provider_fail(r->err, SI_EUNAVAIL, "provider_unavailable", 0, true, "no answer from the provider: %s", http_reason(h));
    }
    if (status < 200 || status > 299) {
        return co_bad_status(f, r, a, h, status);
    }
    r->accepted = true;
    type = http_header(h, "content-type");
    if (type != NULL && strncasecmp(type, "application/json", 16) != 0) {
        return provider_fail(r->err, SI_EPROTO, "provider_protocol", status, false, "the provider did not answer with JSON");
    }
    rc = co_http_body(h, a, ANSWER_MAX, &body, within(p->idle_ms, r->q->deadline));
    return rc == 0 ? read_answer(f, r, a, body) : fail_body(r, h, rc);
}

static int co_exchange(const embed_format_t *f, embed_answer_t *r, arena_t *a)
{
    format_request_t put = { .headers = { "Content-Type: application/json", "Accept: application/json" } };
    http_t          *h = NULL;
    int              rc;

    buf_init(&put.body, REQUEST_MAX);
    rc = f->co_put(a, r->q, &put, r->err);
    if (rc == SI_ENOMEM) {
        rc = provider_fail(r->err, rc, "provider_rejected", 0, false, "the request is longer than %u bytes", REQUEST_MAX);
    }
    if (rc == 0 && r->q->traceparent != NULL) {
        format_header(&put, r->q->traceparent);
    }
    if (rc == 0) {
        h = http_start(&(http_spec_t) {
            .method = "POST", .url = put.url, .headers = put.headers, .body = { put.body.p, put.body.n },
            .connect_ms = (uint32_t) SI_MIN(r->q->model->provider->connect_ms, UINT32_MAX),
        });
    }
    buf_free(&put.body);
    if (h != NULL) {
        rc = co_answer(f, r, a, h);
        if (rc < 0 && rc != SI_ECANCELED) {
            r->why = http_error(h)[0] != '\0' ? arena_strdup(r->arena, http_error(h)) : NULL;
            provider_hide(r->err, r->q->model->provider);
        }
        http_close(h);
    }
    return rc;
}

int co_embed_post(const embed_format_t *f, embed_answer_t *r)
{
    arena_t *a = arena_new(16384);      /* what is sent and read is large, and done with here */
    int      rc;

    r->secret = r->q->model->provider->api_key;
    r->why = NULL;
    rc = co_exchange(f, r, a);
    arena_free(a);
    return rc;
}

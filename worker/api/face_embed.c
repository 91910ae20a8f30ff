/*
 * POST /v1/embeddings as OpenAI's clients know it: one text, a list of texts, the tokens of one or of several; vectors as numbers
 * or as base64 of float32, little-endian, which have the same bits.
 * Reference: https://platform.openai.com/docs/api-reference/embeddings/create
 */
#include <stdio.h>

#include "api/face.h"
#include "api/problem.h"
#include "base/base64.h"
#include "base/proc.h"
#include "base/util.h"
#include "llm/embed.h"

#define ANSWER_MAX   (128u << 20)       /* bytes: 2,048 vectors of 3,072 numbers in decimal digits */
#define PIECE        8192               /* numbers that are written before others have their turn */
#define NUMBER_MAX   16                 /* bytes of one in decimal digits, with its comma: "-1.17549435e-38," */

typedef struct {
    face_call_t     c;
    embed_request_t q;
    embed_input_t  *inputs;
    bool            base64;
} embed_call_t;

/* --- the request --- */

static int read_tokens(face_call_t *c, const char *field, const json_t *list, embed_input_t *in)
{
    size_t        n = json_array_size(list), i;
    uint32_t     *tokens = arena_alloc(c->arena, (n + 1) * sizeof *tokens);
    const json_t *v;

    if (n == 0 || n > EMBED_TOKENS_MAX) {
        return face_refuse(c, field, "must be 1 to %d tokens", EMBED_TOKENS_MAX);
    }
    json_array_foreach(list, i, v) {
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX) {
            return face_refuse(c, field, "must be numbers of tokens and nothing else");
        }
        tokens[i] = (uint32_t) json_integer_value(v);
    }
    *in = (embed_input_t) { .tokens = tokens, .ntokens = n };
    return 0;
}

static int read_input(face_call_t *c, const char *field, const json_t *v, embed_input_t *in)
{
    if (json_is_array(v)) {
        return read_tokens(c, field, v, in);
    }
    if (!json_is_string(v)) {
        return face_refuse(c, field, "must be a string, or a list of tokens");
    }
    *in = (embed_input_t) { .text = { json_string_value(v), json_string_length(v) } };
    return in->text.n > 0 ? 0 : face_refuse(c, field, "must not be empty");
}

static int read_inputs(embed_call_t *e, const json_t *body)
{
    const json_t *input = json_object_get(body, "input"), *v;
    bool          one = !json_is_array(input) || json_is_number(json_array_get(input, 0));      /* a text, or its tokens */
    size_t        n = one ? 1 : json_array_size(input), i;

    if (input == NULL || json_is_null(input)) {
        return face_refuse(&e->c, "input", "is required");
    }
    if (n == 0 || n > EMBED_INPUTS_MAX) {
        return face_refuse(&e->c, "input", "must be 1 to %d inputs", EMBED_INPUTS_MAX);
    }
    e->inputs = arena_alloc(e->c.arena, n * sizeof *e->inputs);
    e->q.inputs = e->inputs;
    e->q.n = n;
    if (one) {
        return read_input(&e->c, "input", input, &e->inputs[0]);
    }
    json_array_foreach(input, i, v) {
        if (read_input(&e->c, face_item(&e->c, "input", i), v, &e->inputs[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

static int read_request(embed_call_t *e, const json_t *body)
{
    static const char *const names[] = { "model", "input", "encoding_format", "dimensions", "user", NULL };
    face_call_t *c = &e->c;
    str_t        format = STR("float"), user = STR_NULL;
    int64_t      dimensions = 0;

    if (face_members(c, "", body, names) || face_text(c, "", body, "model", true, &c->model) || read_inputs(e, body)
        || face_text(c, "", body, "encoding_format", false, &format) || face_count(c, "", body, "dimensions", 1, &dimensions)
        || face_text(c, "", body, "user", false, &user))
    {
        return -1;
    }
    e->base64 = str_is(format, "base64");
    if (!e->base64 && !str_is(format, "float")) {
        return face_refuse(c, "encoding_format", "must be float or base64");
    }
    if (dimensions > EMBED_DIMENSIONS_MAX) {
        return face_refuse(c, "dimensions", "must be %d at most", EMBED_DIMENSIONS_MAX);
    }
    e->q.dimensions = (size_t) dimensions;
    e->q.end_user = user.p;
    return 0;
}

/* --- the answer --- */

/* Nine digits give every float32 back. */
static int put_numbers(buf_t *b, const float *v, size_t n)
{
    char *p = buf_reserve(b, n * NUMBER_MAX + 2), *to = p;

    if (p == NULL) {
        return SI_ENOMEM;
    }
    *to++ = '[';
    for (size_t i = 0; i < n; i++) {
        to += snprintf(to, NUMBER_MAX, i + 1 < n ? "%.9g," : "%.9g", (double) v[i]);
    }
    *to++ = ']';
    buf_commit(b, (size_t) (to - p));
    return 0;
}

static int put_base64(buf_t *b, const float *v, size_t n)
{
    char *p = buf_reserve(b, BASE64_LEN(n * sizeof *v) + 3);

    if (p == NULL) {
        return SI_ENOMEM;
    }
    p[0] = '"';
    n = base64_encode(p + 1, v, n * sizeof *v);
    p[n + 1] = '"';
    buf_commit(b, n + 2);
    return 0;
}

/* Others have their turn between vectors, for there may be millions of numbers. */
static int co_put_vectors(embed_call_t *e, const embed_result_t *res)
{
    size_t since = 0;
    int    rc = 0;

    for (size_t i = 0; i < e->q.n && rc == 0; i++) {
        const float *v = res->vectors + i * res->dimensions;

        rc = buf_printf(&e->c.out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i > 0 ? "," : "", i);
        rc = rc != 0 ? rc : e->base64 ? put_base64(&e->c.out, v, res->dimensions) : put_numbers(&e->c.out, v, res->dimensions);
        rc = rc != 0 ? rc : buf_puts(&e->c.out, "}");
        since += res->dimensions;
        if (rc == 0 && since > PIECE) {
            since = 0;
            rc = co_yield();
        }
    }
    return rc;
}

static int co_put_answer(embed_call_t *e, const embed_result_t *res)
{
    buf_t *b = &e->c.out;
    int    rc = buf_puts(b, "{\"object\":\"list\",\"data\":[");

    rc = rc != 0 ? rc : co_put_vectors(e, res);
    rc = rc != 0 ? rc : buf_puts(b, "],\"model\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(res->name));
    return rc != 0 ? rc : buf_printf(b, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":%lld}}}",
                                     (long long) res->input_tokens, (long long) res->input_tokens, (long long) res->cached_tokens);
}

/* 0: answered, also when nobody is left to be; -1: c->err says why not. */
static int co_answer(embed_call_t *e, const gateway_spec_t *spec)
{
    call_head_t    head = { .status = 200, .type = "application/json" };
    llm_error_t    err = { .code = "" };
    embed_result_t res;
    int            rc = co_embed(e->c.arena, &e->q, spec, &res, &err);

    rc = rc != 0 ? rc : co_put_answer(e, &res);
    if (rc == SI_ECANCELED) {
        call_abort(e->c.r->call);
        return 0;
    }
    if (rc == SI_ENOMEM && err.code[0] == '\0') {
        (void) provider_fail(&err, rc, "answer_too_large", 0, false, "the answer is longer than %u bytes", ANSWER_MAX);
    }
    if (rc != 0) {
        face_fail_model(&e->c, &err);
        return -1;
    }
    problem_face_headers(e->c.r->call, &head, NULL);
    co_whole(e->c.r->call, &head, (str_t) { e->c.out.p, e->c.out.n });
    return 0;
}

static int co_run(embed_call_t *e)
{
    const json_t  *body = co_face_object(&e->c);
    identity_t    *who = &e->c.r->who;
    gateway_spec_t spec = { .tenant = who->tenant, .user = who->user, .key = who->key_id[0] != '\0' ? who->key_id : NULL,
                            .source = e->c.face->name };
    int            rc;

    if (body == NULL || read_request(e, body) != 0) {
        return -1;
    }
    spec.model = arena_dup(e->c.arena, e->c.model.p, e->c.model.n);
    if (spec.model[0] == '\0' || embed_first(&spec) == NULL) {
        return face_no_model(&e->c);
    }
    if (face_enter(&e->c) != 0) {
        return -1;
    }
    e->q.deadline = clock_ms() + proc.conf->turn_deadline;
    rc = co_answer(e, &spec);
    face_leave();
    return rc;
}

void co_embeddings(request_t *r)
{
    embed_call_t e = { .c = { .face = &face_openai, .r = r, .arena = r->call->arena } };

    buf_init(&e.c.out, ANSWER_MAX);
    if (co_run(&e) != 0 && e.c.err.status != 0) {
        co_face_error(&e.c);
    }
    buf_free(&e.c.out);
}

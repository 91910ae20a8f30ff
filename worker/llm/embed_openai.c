/*
 * POST /embeddings as OpenAI defined it, for every server that speaks so, Azure's deployments too: see openai.c for the address.
 * A request takes 2,048 inputs, and no more than 300,000 tokens of them together, here counted at two bytes each to be on the safe
 * side (platform.openai.com/docs/api-reference/embeddings/create). Vectors are asked for in base64, a quarter of the bytes of
 * decimal numbers, and read in either form, for some servers do not know it.
 */
#include "llm/embed_format.h"
#include "llm/openai_url.h"

static json_t *put_input(const embed_input_t *in)
{
    json_t *list;

    if (in->tokens == NULL) {
        return body_str(in->text);
    }
    list = json_array();
    for (size_t i = 0; i < in->ntokens; i++) {
        json_array_append_new(list, json_integer(in->tokens[i]));
    }
    return list;
}

static int co_put(arena_t *a, const embed_batch_t *q, format_request_t *out, llm_error_t *err)
{
    json_t *list = json_array();
    json_t *body = json_pack("{s:s,s:o,s:s}", "model", q->model->upstream, "input", list, "encoding_format", q->model->encoding);
    int     rc;

    (void) err;
    out->url = openai_url(a, q->model, "/embeddings");
    openai_key(a, q->model->provider, out);
    for (size_t i = 0; i < q->n; i++) {
        json_array_append_new(list, put_input(&q->inputs[i]));
    }
    if (q->dimensions != 0) {
        json_object_set_new(body, "dimensions", json_integer((json_int_t) q->dimensions));
    }
    if (q->end_user != NULL) {
        json_object_set_new(body, "user", json_string(q->end_user));
    }
    rc = json_dump(&out->body, body);
    json_decref(body);
    return rc;
}

/* Vectors come with the index of their input; a server that leaves it out sends them in order. */
static int read_answer(embed_answer_t *r, const json_t *answer)
{
    const json_t *data = json_object_get(answer, "data"), *v;
    size_t        i;
    int           rc = json_is_array(data) ? 0 : embed_malformed(r, "it has no list of data");

    json_array_foreach(data, i, v) {
        int64_t index = reply_count(v, "index");

        rc = rc != 0 ? rc : embed_vector(r, index < 0 ? i : (size_t) index, json_object_get(v, "embedding"));
    }
    r->tokens = reply_count(json_object_get(answer, "usage"), "prompt_tokens");
    reply_name(r->model, sizeof r->model, json_str(answer, "model", STR_NULL));
    return rc;
}

const embed_format_t embed_openai = {
    .kind = "openai", .inputs_max = 2048, .bytes_max = 600000, .shrinks = true, .co_put = co_put, .read = read_answer,
};

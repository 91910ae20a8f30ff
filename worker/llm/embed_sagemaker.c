/*
 * An endpoint of Amazon SageMaker with a text-embeddings container of Hugging Face; the model's name there is the endpoint's.
 *
 *   POST /endpoints/NAME/invocations   (docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint)
 *   {"inputs": ["text", …], "normalize": true}      what /invocations of Text Embeddings Inference takes: 32 texts unless it was
 *                                                   started with another --max-client-batch-size (then say so in models.*.batch)
 *
 * Shapes that are read: [[…], …] of that container, {"embedding": [[…], …]} or {"embeddings": …} of others that take the same
 * request, and one bare vector […] for one text. Vectors of each token (a list in a list in a list) are no embedding of the text:
 * refused. No container counts its tokens: they are estimated.
 */
#include "io/sigv4.h"
#include "llm/aws_sign.h"
#include "llm/bedrock.h"
#include "llm/embed_format.h"

static int co_put(arena_t *a, const embed_batch_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_model_t *m = q->model;
    json_t             *list = json_array(), *body = json_pack("{s:o,s:b}", "inputs", list, "normalize", strcmp(m->normalize, "on") == 0);
    int                 rc = 0;

    for (size_t i = 0; i < q->n && rc == 0; i++) {
        rc = q->inputs[i].tokens != NULL ? format_unsupported(err, "sagemaker", "tokens") : 0;
        json_array_append_new(list, body_str(q->inputs[i].text));
    }
    rc = rc != 0 ? rc : json_dump(&out->body, body);
    json_decref(body);
    if (rc != 0) {
        return rc;
    }
    out->url = arena_printf(a, "%s/endpoints/%s/invocations", aws_base_url(a, m->provider, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "runtime.sagemaker"),
                            uri_encode(a, str_of(m->upstream), false));
    return co_aws_sign(a, m->provider, "sagemaker", q->deadline, out, err);
}

static int read_answer(embed_answer_t *r, const json_t *answer)
{
    const json_t *list = answer, *v;
    size_t        i;
    int           rc = 0;

    if (json_is_object(answer)) {
        list = json_object_get(answer, "embedding");
        list = list != NULL ? list : json_object_get(answer, "embeddings");
    }
    if (r->q->n == 1 && json_is_number(json_array_get(list, 0))) {
        return embed_vector(r, 0, list);
    }
    json_array_foreach(list, i, v) {
        rc = rc != 0 ? rc : embed_vector(r, i, v);
    }
    return json_is_array(list) ? rc : embed_malformed(r, "it is no list of vectors");
}

/* A model's own failure comes as 424 with what it said: a text that it refuses is the text's fault, not the endpoint's. */
static int status_of(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body)
{
    const char *why;
    json_t     *v = status == 424 ? json_own(a, json_parse_loose(a, body, &why)) : NULL;
    int64_t     own = reply_count(v, "OriginalStatusCode");

    if (own >= 400 && own < 500) {
        return reply_status_message(err, a, secret, (int) own, json_str(v, "OriginalMessage", STR_NULL));
    }
    return bedrock_read_status(err, a, secret, status, body);
}

const embed_format_t embed_sagemaker = {
    .kind = "sagemaker", .inputs_max = 32, .co_put = co_put, .read = read_answer, .status = status_of,
};

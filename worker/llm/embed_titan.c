/*
 * Amazon Titan Text Embeddings V2 on Amazon Bedrock (docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text):
 * InvokeModel takes one text of 8,192 tokens or 50,000 characters, and makes 256, 512 or 1,024 numbers of it.
 */
#include "io/sigv4.h"
#include "llm/aws_sign.h"
#include "llm/bedrock.h"
#include "llm/embed_format.h"

static int co_put(arena_t *a, const embed_batch_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_model_t *m = q->model;
    json_t             *body;
    int                 rc;

    if (q->inputs[0].tokens != NULL) {
        return format_unsupported(err, "bedrock", "tokens");
    }
    if (q->dimensions != 0 && q->dimensions != 256 && q->dimensions != 512 && q->dimensions != 1024) {
        return format_unsupported(err, "bedrock", "other dimensions than 256, 512 and 1024");
    }
    body = json_pack("{s:o,s:b}", "inputText", body_str(q->inputs[0].text), "normalize", strcmp(m->normalize, "on") == 0);
    if (q->dimensions != 0) {
        json_object_set_new(body, "dimensions", json_integer((json_int_t) q->dimensions));
    }
    rc = json_dump(&out->body, body);
    json_decref(body);
    if (rc != 0) {
        return rc;
    }
    out->url = arena_printf(a, "%s/model/%s/invoke", aws_base_url(a, m->provider, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "bedrock-runtime"),
                            uri_encode(a, str_of(m->upstream), false));
    return co_aws_sign(a, m->provider, "bedrock", q->deadline, out, err);
}

static int read_answer(embed_answer_t *r, const json_t *answer)
{
    r->tokens = reply_count(answer, "inputTextTokenCount");
    return embed_vector(r, 0, json_object_get(answer, "embedding"));
}

const embed_format_t embed_titan = {
    .kind = "bedrock", .inputs_max = 1, .shrinks = true, .co_put = co_put, .read = read_answer, .status = bedrock_read_status,
};

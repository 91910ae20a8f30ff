/*
 * Amazon Bedrock's Converse API: signed with the keys of the configuration or of the process (io/aws_creds.h), or with a
 * Bedrock API key as a bearer token.
 */
#include "llm/bedrock.h"

#include "io/sigv4.h"
#include "llm/aws_sign.h"

/* https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailStreamConfiguration.html; Converse has no mode. */
int bedrock_put_guardrail(buf_t *b, const conf_model_t *m)
{
    int rc;

    if (m->guardrail == NULL || m->guardrail[0] == '\0') {
        return 0;
    }
    rc = buf_puts(b, ",\"guardrailConfig\":{\"guardrailIdentifier\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(m->guardrail));
    rc = rc != 0 ? rc : buf_puts(b, ",\"guardrailVersion\":");
    rc = rc != 0 ? rc : buf_json_str(b, str_of(m->guardrail_version));
    rc = rc != 0 || !bedrock_streams(m) ? rc : buf_printf(b, ",\"streamProcessingMode\":\"%s\"", m->guardrail_mode);
    return rc != 0 ? rc : buf_puts(b, "}");
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;
    int                    rc = bedrock_write(a, q, &out->body, err);

    if (rc != 0) {
        return rc;
    }
    out->url = arena_printf(a, "%s/model/%s/%s", aws_base_url(a, p, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "bedrock-runtime"),
                            uri_encode(a, str_of(q->model->upstream), false), bedrock_streams(q->model) ? "converse-stream" : "converse");
    return co_aws_sign(a, p, "bedrock", q->deadline, out, err);
}

static const format_t format_bedrock = {
    .accept = "Accept: application/vnd.amazon.eventstream, application/json",
    .co_put = co_put, .event = bedrock_read_event, .whole = bedrock_read_whole, .status = bedrock_read_status,
};

const provider_t provider_bedrock = FORMAT_PROVIDER("bedrock", &format_bedrock);

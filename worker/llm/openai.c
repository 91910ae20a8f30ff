/*
 * Chat completions as OpenAI defined them and many others speak them.
 *
 * The address is base_url + "/chat/completions": base_url is taken as it stands, so it ends as the
 * provider's documentation says ("https://api.openai.com/v1", "http://127.0.0.1:11434/v1"); nothing is guessed.
 */
#include "llm/format.h"
#include "llm/openai_read.h"

static int put_messages(buf_t *b, arena_t *a, const llm_request_t *q)
{
    int rc = 0;

    for (size_t i = 0; i < q->nmessages && rc == 0; i++) {
        rc = buf_printf(b, "%s{\"role\":\"%s\",\"content\":", i > 0 ? "," : "", chat_role_name(q->messages[i].role));
        rc = rc != 0 ? rc : buf_json_str(b, chat_text_of(a, &q->messages[i]));
        rc = rc != 0 ? rc : buf_puts(b, "}");
    }
    return rc;
}

static int put_body(buf_t *b, arena_t *a, const llm_request_t *q)
{
    int rc = buf_puts(b, "{\"model\":");

    rc = rc != 0 ? rc : buf_json_str(b, str_of(q->model->upstream));
    rc = rc != 0 ? rc : buf_puts(b, ",\"messages\":[");
    rc = rc != 0 ? rc : put_messages(b, a, q);
    rc = rc != 0 ? rc : buf_puts(b, "],\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if (q->model->max_tokens > 0) {
        rc = rc != 0 ? rc : buf_printf(b, ",\"max_tokens\":%llu", (unsigned long long) q->model->max_tokens);
    }
    return rc != 0 ? rc : buf_puts(b, "}");
}

static int co_put(arena_t *a, const llm_request_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;

    (void) err;
    out->url = arena_printf(a, "%s/chat/completions", p->base_url);
    if (p->api_key != NULL && p->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "Authorization: Bearer %s", p->api_key));
    }
    return put_body(&out->body, a, q);
}

static const format_t format_openai = { .co_put = co_put, .event = openai_read_event, .whole = openai_read_whole };

const provider_t provider_openai = FORMAT_PROVIDER("openai", &format_openai);

/*
 * models.batchEmbedContents of Google's Gemini API (ai.google.dev/api/embeddings): 100 texts of one request. Of the numbers of a
 * vector that is shorter than the model's own Google says that the user makes its length 1: done here, unless normalize is off.
 * The API counts no tokens: they are estimated.
 */
#include "llm/embed_format.h"
#include "llm/gemini_read.h"

static const char *task_type(const embed_batch_t *q)
{
    return q->use == EMBED_QUERY ? "RETRIEVAL_QUERY" : q->use == EMBED_DOCUMENT ? "RETRIEVAL_DOCUMENT" : q->model->task_type;
}

static json_t *put_one(const embed_batch_t *q, const char *model, str_t text)
{
    json_t *v = json_pack("{s:s,s:{s:[{s:o}]}}", "model", model, "content", "parts", "text", body_str(text));

    if (task_type(q)[0] != '\0') {
        json_object_set_new(v, "taskType", json_string(task_type(q)));
    }
    if (q->dimensions != 0) {
        json_object_set_new(v, "outputDimensionality", json_integer((json_int_t) q->dimensions));
    }
    return v;
}

static int co_put(arena_t *a, const embed_batch_t *q, format_request_t *out, llm_error_t *err)
{
    const conf_provider_t *p = q->model->provider;
    const char *model = arena_printf(a, "%s%s", strchr(q->model->upstream, '/') == NULL ? "models/" : "", q->model->upstream);
    json_t     *list = json_array(), *body = json_pack("{s:o}", "requests", list);
    int         rc = 0;

    for (size_t i = 0; i < q->n && rc == 0; i++) {
        rc = q->inputs[i].tokens != NULL ? format_unsupported(err, "gemini", "tokens") : 0;
        json_array_append_new(list, put_one(q, model, q->inputs[i].text));
    }
    out->url = arena_printf(a, "%s/%s:batchEmbedContents", p->base_url, model);
    if (p->api_key[0] != '\0') {
        format_header(out, arena_printf(a, "x-goog-api-key: %s", p->api_key));
    }
    rc = rc != 0 ? rc : json_dump(&out->body, body);
    json_decref(body);
    return rc;
}

static int read_answer(embed_answer_t *r, const json_t *answer)
{
    const json_t *list = json_object_get(answer, "embeddings"), *v;
    size_t        i;
    int           rc = json_is_array(list) ? 0 : embed_malformed(r, "it has no list of embeddings");

    json_array_foreach(list, i, v) {
        rc = rc != 0 ? rc : embed_vector(r, i, json_object_get(v, "values"));
    }
    if (rc == 0 && strcmp(r->q->model->normalize, "on") == 0) {
        embed_normalize(r);
    }
    return rc;
}

const embed_format_t embed_gemini = { .kind = "gemini", .inputs_max = 100, .shrinks = true, .co_put = co_put, .read = read_answer,
                                      .status = gemini_status };

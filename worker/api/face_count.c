/* POST /v1/messages/count_tokens. Reference: https://platform.claude.com/docs/en/api/messages/count_tokens */
#include <inttypes.h>

#include "api/face.h"
#include "api/problem.h"
#include "api/serve.h"
#include "llm/count.h"

/* Members of a message's request that say nothing about its tokens; the API has no place for them. */
static int refuse_others(face_call_t *c, const json_t *o)
{
    static const char *const never[] = { "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier" };

    for (size_t i = 0; i < SI_COUNT(never); i++) {
        if (json_object_get(o, never[i]) != NULL) {
            return face_refuse(c, never[i], "does not belong to a request that only counts");
        }
    }
    return 0;
}

static int co_answer(face_call_t *c, const gateway_spec_t *spec)
{
    call_head_t head = { .status = 200, .type = "application/json" };
    llm_error_t err = { .code = "" };
    int64_t     tokens = 0;
    bool        estimated;
    int         rc = co_count_tokens(c->arena, &c->q, spec, &tokens, &estimated, &err);

    if (rc == SI_ECANCELED) {
        call_abort(c->r->call);
        return 0;
    }
    if (rc != 0) {
        face_fail_model(c, &err);
        return -1;
    }
    problem_face_headers(c->r->call, &head, NULL);
    co_whole(c->r->call, &head, str_of(arena_printf(c->arena, "{\"input_tokens\":%" PRId64 "%s}", tokens, estimated ? ",\"estimated\":true" : "")));
    return 0;
}

void co_message_count(request_t *r)
{
    face_call_t    c = { .face = &face_anthropic, .r = r, .arena = r->call->arena, .counts = true, .q = { .options = CHAT_OPTIONS_NONE } };
    gateway_spec_t spec;
    const json_t  *o = co_face_object(&c);
    int            rc = o != NULL ? refuse_others(&c, o) : -1;

    rc = rc != 0 ? rc : c.face->read(&c, o);
    rc = rc != 0 ? rc : face_choose(&c, &spec);
    if (rc == 0) {
        rc = co_answer(&c, &spec);
        face_leave();
    }
    if (rc != 0 && c.err.status != 0) {
        co_face_error(&c);
    }
}

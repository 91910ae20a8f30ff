/* The table of routes; conf/openapi.yaml describes each, a test compares the two. */
#ifndef SI_ROUTES_H
#define SI_ROUTES_H

#include "link/call.h"
#include "store/store.h"

/* What a handler gets: the call, who is calling, and the {id} of the path (a valid uuid, lower case). */
typedef struct {
    call_t    *call;
    identity_t who;
    char       id[40];
    str_t      name;                /* what stands for {model}, as it is in the path; it may hold slashes */
} request_t;

typedef struct {
    const char *method, *path;
    void      (*co_handler)(request_t *r);
    bool        open;               /* no credential needed */
    const struct face *face;        /* in whose words its errors are told; NULL: problem+json */
} route_t;

extern const route_t routes[];
extern const size_t  nroutes;

/* The handler of every call (links_init). */
void co_route(call_t *call);
/* Serves a call of somebody who is known already. */
void co_route_as(call_t *call, const identity_t *who);

/* Handlers, by file. */
void co_conversation_create(request_t *r);      /* conversations.c */
void co_conversation_list(request_t *r);
void co_conversation_get(request_t *r);
void co_conversation_messages(request_t *r);
void co_conversation_readers(request_t *r);
void co_turn_create(request_t *r);              /* turns.c */
void co_turn_get(request_t *r);
void co_turn_cancel(request_t *r);
void co_conversation_events(request_t *r);      /* streams.c */
void co_turn_events(request_t *r);
void co_stream_resume(call_t *call);
void co_socket(request_t *r);                   /* socket.c */
void co_user_events(request_t *r);              /* feeds.c */
void co_feed_resume(call_t *call);
void co_ticket_create(request_t *r);            /* tickets.c */
void co_key_create(request_t *r);               /* keys.c */
void co_key_list(request_t *r);
void co_usage(request_t *r);
void co_key_revoke(request_t *r);
void co_revocation_create(request_t *r);        /* revocations.c */
void co_revocation_list(request_t *r);
void co_revocation_delete(request_t *r);
void co_budget_list(request_t *r);              /* budgets.c */
void co_chat_completions(request_t *r);         /* face_openai.c */
void co_messages(request_t *r);                 /* face_anthropic.c */
void co_message_count(request_t *r);            /* face_count.c */
void co_responses(request_t *r);                /* face_responses.c */
void co_embeddings(request_t *r);               /* face_embed.c */
void co_model_list(request_t *r);               /* models.c */
void co_model_get(request_t *r);
void co_readyz(request_t *r);                   /* ops.c */
void co_status(request_t *r);
void co_metrics(request_t *r);
void co_openapi(request_t *r);

/* keys.c: a key has ended: its WebSockets and, at every edge process of this machine, its streams do. */
void key_gone(const char *id);
/* Matches a path against a pattern; takes the part that stands for {id}, and the rest that stands for {model}, or STR_NULL. */
bool route_match(const char *pattern, str_t path, str_t *id, str_t *name);
/* auth.c, tickets.c: fills r->who from the credential or the ticket, or answers 401 / 503 and returns false. */
bool co_authenticate(request_t *r);
bool co_authenticate_ticket(request_t *r);

#endif

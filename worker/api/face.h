/*
 * Calls of models in the dialects of others. One engine (face.c) reads the body, chooses the model, runs the call, streams
 * within the client's window and ends it; a face_t says how its dialect reads a request and words an answer.
 *
 * A dialect has no resume: its stream is private to one request. When the client goes the coroutine is cancelled, and with
 * it the call of the provider, in whatever step it is. An error before the first event is an HTTP answer of its own; a
 * later one is an event of the dialect, after which the stream ends without the dialect's mark of a whole answer.
 */
#ifndef SI_FACE_H
#define SI_FACE_H

#include "api/routes.h"
#include "base/json.h"
#include "llm/gateway.h"

typedef struct {
    int         status;             /* of the HTTP answer; within a stream what it would have been */
    const char *code;               /* a word of llm_error_t or ProblemCode of conf/openapi.yaml */
    const char *field;              /* of the request that is wrong, as "messages[2].content"; or NULL */
    const char *message;            /* for a person */
    uint64_t    retry_ms;           /* when to come back; 0: not said */
    str_t       request;            /* id of the request, as in its header; or {NULL, 0} */
} face_error_t;

/* A part of an answer that is gathered, in its order. */
typedef struct {
    chat_kind_t kind;               /* CHAT_TEXT, CHAT_REASONING, CHAT_REDACTED, CHAT_REFUSAL, CHAT_CALL */
    buf_t       text;               /* CHAT_CALL: its arguments */
    buf_t       signature;          /* of a reasoning or a call, or empty */
    const char *id, *name;          /* CHAT_CALL */
} face_block_t;

#define FACE_BLOCKS  1024           /* of one answer */
#define FACE_MEMBERS 16             /* of an object that is read without hashes */

typedef struct face_call {
    const struct face *face;
    request_t    *r;
    arena_t      *arena;            /* of the HTTP call */

    /* the face's read() fills in: */
    str_t         model;            /* a name under models, agents or tasks */
    bool          stream;
    bool          counts;           /* set before read(): only tokens are counted, an answer is not asked for */
    llm_request_t q;                /* messages, nmessages, options */
    void         *state;            /* the face's own */

    /* What face_get() looked into last: its members but null. */
    struct {
        const json_t *o;
        size_t        n;
        uint64_t      marks;        /* of all names */
        struct { const char *name; const json_t *v; } members[FACE_MEMBERS];
    } seen;

    /* of the answer: */
    const char   *id;               /* a UUID without dashes */
    const char   *name;             /* the model that answers, as its provider names it; set for begin() and whole() */
    const llm_result_t *so_far;     /* of the answer; for begin() */
    uint64_t      created;          /* seconds since 1970 */
    buf_t         out;              /* what the face writes: bytes of the stream, or the body. The engine sends and empties it */
    face_block_t *blocks;           /* when it is no stream */
    size_t        nblocks;

    face_error_t  err;
} face_call_t;

typedef struct face {
    const char *name;               /* chat_options_t.dialect: "openai" */
    int         busy;               /* the status of what is overloaded; 0: 503 */
    int         broke;              /* of a budget that is used up; 0: 402 */
    /* The request, a JSON object that lives as long as the call. 0, or -1 after face_refuse(). What it cannot say is refused, nothing is left out. */
    int  (*read)(face_call_t *c, const json_t *body);
    /* A stream: before its first event (NULL: it has none), each event, its whole end, its end with c->err. 0, or SI_ENOMEM of c->out. */
    int  (*begin)(face_call_t *c, const chat_event_t *first);
    int  (*event)(face_call_t *c, const chat_event_t *ev);
    int  (*end)(face_call_t *c, const llm_result_t *res);
    int  (*broken)(face_call_t *c);
    /* A whole answer as one JSON body, from c->blocks. */
    int  (*whole)(face_call_t *c, const llm_result_t *res);
    /* The body of an error, also of one that comes before the face has a call (a key that is refused). */
    int  (*error)(buf_t *b, const face_error_t *e);
} face_t;

struct faces;                       /* proc.faces */
void   faces_init(void);
/* Calls that run now. */
size_t faces_running(void);

/* Handles a request of this dialect from its body to its end. */
void co_face_run(request_t *r, const face_t *face);

/* --- for what is no answer of a chat but has the same errors: each fills c->err and returns -1 when something is wrong --- */

/* The body, a JSON object that lives as long as the call. NULL; with nothing in c->err it was answered. */
const json_t *co_face_object(face_call_t *c);
/* Whether there is room for one more call; then it counts until face_leave(). */
int  face_enter(face_call_t *c);
void face_leave(void);
void face_fail_model(face_call_t *c, const llm_error_t *e);
int  face_no_model(face_call_t *c);
/* Who is asked what, after read(): the model, its agent's prompt, the deadline; and as face_enter(). */
int  face_choose(face_call_t *c, gateway_spec_t *spec);
/* Answers with c->err. */
void co_face_error(face_call_t *c);

/* Who answers to this name: a model, an agent, or a task that has models. False: nobody whom the tenant may ask. */
bool face_spec(const char *tenant, str_t name, gateway_spec_t *spec);

/* The client's Cache-Control: no-cache, no-store, max-age. */
cache_want_t face_cache_want(call_t *call);
/* Cache-Status (RFC 9211), if the call has a cache; there must be room for a header. */
void face_cache_status(call_head_t *head, const gateway_call_t *g);

/* --- for read(): each fills c->err and returns -1 when something is wrong; path: of the object o, "" is the body --- */

/* 400. field is copied. */
int face_refuse(face_call_t *c, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "path.name", in the arena. */
const char *face_field(face_call_t *c, const char *path, const char *name);
/* "list[i]", in the arena. */
const char *face_item(face_call_t *c, const char *list, size_t i);
/* The member of a part of the request; NULL when it is absent or null, or o no object. Most that a dialect knows are absent: cheap for these. */
const json_t *face_get(face_call_t *c, const json_t *o, const char *name);
/* Refuses members that are not in the NULL-terminated list, unless null. */
int face_members(face_call_t *c, const char *path, const json_t *o, const char *const *names);
/* A member; absent and null leave *out as it is, unless required. */
int face_text(face_call_t *c, const char *path, const json_t *o, const char *name, bool required, str_t *out);
int face_flag(face_call_t *c, const char *path, const json_t *o, const char *name, bool *out);
int face_number(face_call_t *c, const char *path, const json_t *o, const char *name, double *out);
int face_count(face_call_t *c, const char *path, const json_t *o, const char *name, int64_t min, int64_t *out);
/* The list "tools" into c->q.options, each read by `read`. */
int face_tools(face_call_t *c, const json_t *o, int (*read)(face_call_t *c, const char *path, const json_t *v, chat_tool_t *t));

/* A member with this value is as good as none. */
typedef struct {
    const char *name, *value;
} face_usual_t;

/* The member goes on as it is, to a provider that speaks so: into options.extra. 0. */
int  face_keep(face_call_t *c, const char *name, const json_t *v);
/* So does what is not known, not null and not usual. Both lists end with NULL. */
void face_keep_rest(face_call_t *c, const json_t *o, const char *const *known, const face_usual_t *usual);
/* "data:<media>;base64,<data>": true with *media (in the arena) and *data. */
bool face_data_url(arena_t *a, str_t url, const char **media, str_t *data);

extern const face_t face_openai, face_anthropic, face_responses;

#endif

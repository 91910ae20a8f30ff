/* Private to face_anthropic*.c: the dialect of Anthropic's messages. */
#ifndef SI_FACE_ANTHROPIC_H
#define SI_FACE_ANTHROPIC_H

#include "api/face.h"
#include "llm/args.h"

#define ANTHROPIC_NONE  (-1)            /* no block is open */

typedef struct {
    int      open;                      /* chat_kind_t of the open block of the stream, or ANTHROPIC_NONE */
    bool     sealed;                    /* it is of thoughts, and their signature has come */
    uint32_t blocks;                    /* begun so far: the open one is the last */
    uint32_t call;                      /* the open one is of this call, or the last of calls was */
    bool     called;                    /* there was a call */
    args_t   args;                      /* and these are its arguments so far */
    buf_t    refusal;                   /* goes into the end, as stop_details */
    struct anthropic_held *held;        /* calls that wait until the open one is whole, in order; CHAT_CALLS of them */
    size_t   nheld;
} anthropic_state_t;

/* face_anthropic_read.c: "system" and "messages" into c->q. 0, or -1 with c->err. */
int anthropic_messages(face_call_t *c, const json_t *body);
/* cache_control of o, if it has one. 0, or -1 with c->err. */
int anthropic_cache(face_call_t *c, const char *path, const json_t *o, bool *cache, const char **ttl);
/* face_anthropic_put.c: as in face_t. */
int anthropic_begin(face_call_t *c, const chat_event_t *first);
int anthropic_event(face_call_t *c, const chat_event_t *ev);
int anthropic_end(face_call_t *c, const llm_result_t *res);
int anthropic_broken(face_call_t *c);
int anthropic_whole(face_call_t *c, const llm_result_t *res);
int anthropic_error(buf_t *b, const face_error_t *e);
/*
 * face_anthropic_calls.c: a call begins, more of its arguments, and before anything else: what is held is said. Blocks come one
 * after the other in this dialect, while others mix the arguments of several calls. 0 or SI_E*.
 */
int anthropic_call(face_call_t *c, const chat_event_t *ev);
int anthropic_args(face_call_t *c, const chat_event_t *ev);
int anthropic_release(face_call_t *c);
/* face_anthropic_put.c, for it. */
int anthropic_put_call(face_call_t *c, uint32_t index, const char *id, const char *name);
int anthropic_put_args(face_call_t *c, str_t piece);

#endif

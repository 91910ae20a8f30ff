/* Private to face_openai*.c: the dialect of OpenAI's chat completions. */
#ifndef SI_FACE_OPENAI_H
#define SI_FACE_OPENAI_H

#include "api/face.h"

typedef struct {
    bool     usage;                 /* stream_options.include_usage */
    bool     called;                /* a call of a tool has begun, and the latest one is: */
    uint32_t call;
    str_t    open;                  /* what every chunk begins with; in the arena, empty until the first one */
} openai_state_t;

/* face_openai_read.c: "messages" into c->q. 0, or -1 with c->err. */
int openai_messages(face_call_t *c, const json_t *body);
/* face_openai_put.c: as in face_t. */
int openai_begin(face_call_t *c, const chat_event_t *first);
int openai_event(face_call_t *c, const chat_event_t *ev);
int openai_end(face_call_t *c, const llm_result_t *res);
int openai_broken(face_call_t *c);
int openai_whole(face_call_t *c, const llm_result_t *res);
int openai_error(buf_t *b, const face_error_t *e);

#endif

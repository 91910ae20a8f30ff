/* Private to face_responses*.c: the dialect of OpenAI's Responses API, without its memory: nothing is stored. */
#ifndef SI_FACE_RESPONSES_H
#define SI_FACE_RESPONSES_H

#include "api/face.h"

typedef struct {
    const json_t *body;             /* the request: what a response repeats of it */
    uint64_t      sequence;         /* of the next event */
    face_block_t *items;            /* of a stream, as they grow; they end when an event of another kind comes, calls at the end of the answer */
    bool         *ended;
    size_t        nitems;
} responses_state_t;

/* face_responses_read.c: "instructions" and "input" into c->q. 0, or -1 with c->err. */
int responses_input(face_call_t *c, const json_t *body);
/* face_responses_put.c: as in face_t. */
int responses_begin(face_call_t *c, const chat_event_t *first);
int responses_event(face_call_t *c, const chat_event_t *ev);
int responses_end(face_call_t *c, const llm_result_t *res);
int responses_broken(face_call_t *c);
int responses_whole(face_call_t *c, const llm_result_t *res);

#endif

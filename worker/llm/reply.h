/*
 * What a provider has answered so far: a format's reader puts events in, the engine takes them out. Pieces of one kind
 * that follow each other are one event. No I/O.
 */
#ifndef SI_REPLY_H
#define SI_REPLY_H

#include "base/buf.h"
#include "llm/provider.h"

typedef struct {
    arena_t     *arena;             /* of the call */
    const char  *secret;            /* never shown */
    size_t       max;               /* bytes of each kind of event */
    size_t       bytes[CHAT_KINDS]; /* so far */
    uint32_t     calls;             /* of tools, so far */
    buf_t        text;              /* read and not handed out */
    buf_t        pieces;            /* how `text` is to be cut */
    size_t       handed;            /* bytes of `text` that the last event has */
    bool         finished;          /* a finish reason has come */
    bool         done;              /* the end marker has come, if the format has one */
    bool         lenient;           /* the stream is over: half an event is not malformed but cut */
    void        *state;             /* the format's own, in the arena; NULL at first */
    struct same *same;              /* same.h's, likewise */
    llm_result_t result;
    llm_error_t  err;               /* when reading failed */
} reply_t;

void reply_init(reply_t *r, arena_t *arena, const char *secret, size_t max);
void reply_free(reply_t *r);

/* --- for formats: each returns 0, or SI_E* with r->err --- */

/* Text of any kind but CHAT_CALL and CHAT_ARGS; empty ones are ignored, except of CHAT_REDACTED. */
int  reply_text(reply_t *r, chat_kind_t kind, str_t s);
/* A call begins; *index is its number. id may be empty: one is made up. Both are copied. */
int  reply_call(reply_t *r, str_t id, str_t name, uint32_t *index);
int  reply_args(reply_t *r, uint32_t index, str_t piece);
/* finish: a word of llm_result_t. */
void reply_finish(reply_t *r, const char *finish);
/* Notes a name once: result.model, result.id; too long ones are left out. */
void reply_name(char *to, size_t cap, str_t s);
int  reply_malformed(reply_t *r, const char *why);
/* One event of a stream as a JSON object, a new reference. NULL with *rc: 0 when the stream broke off within it, else SI_E*. */
json_t *reply_object(reply_t *r, str_t data, int *rc);
int  reply_too_large(reply_t *r);
/* An error object within a stream that began well: status 0 when it does not say what it is. message is cleaned. */
int  reply_error(reply_t *r, int status, str_t message);
/* A provider's message for people: cut, on one line, without keys. In the arena, or "". */
const char *reply_clean(arena_t *arena, const char *secret, str_t text);
/* A provider's number, or -1 when o has no such member that is a whole number from 0 to CHAT_TOKENS_MAX. */
int64_t reply_count(const json_t *o, const char *name);
/* JSON string as str_t, else {NULL, 0}. */
str_t   reply_string(const json_t *v);

/* What an answer of HTTP status >= 300 means; message: the provider's words, cleaned here. Returns SI_E*. */
int  reply_status_message(llm_error_t *err, arena_t *arena, const char *secret, int status, str_t message);
/* The same, with the message where most have it: see reply_message(). */
int  reply_status(llm_error_t *err, arena_t *arena, const char *secret, int status, str_t body);
/* The message of an error: error.message, error, message, detail, msg, also in the first of a list. {NULL, 0}: none. Lives in v. */
str_t reply_message_of(const json_t *v);
/* The same of a body, which may be no JSON (v is NULL): a page's title, or a plain text. Lives in v or the body. */
str_t reply_message(const json_t *v, str_t body);

/* --- for the engine --- */

/* The next event; it lives until the next call. */
bool reply_next(reply_t *r, chat_event_t *ev);
/* Estimates the tokens that the provider did not count. */
void reply_estimate(reply_t *r, const llm_request_t *q);

#endif

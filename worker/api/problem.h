/* Answers that are not streams: JSON, and errors as application/problem+json (RFC 9457) with a stable code. */
#ifndef SI_PROBLEM_H
#define SI_PROBLEM_H

#include "api/face.h"

/* Answers with an error. `field` may be NULL. Common headers (WWW-Authenticate for 401, Retry-After for 503) are added. */
void co_problem(call_t *call, int status, const char *code, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Adds to the head what clients of dialects read: X-Request-Id, and Retry-After of an error (or NULL). */
void problem_face_headers(call_t *call, call_head_t *head, const face_error_t *e);
/* 405 for a method that the route does not have; `allow` are those it has. */
void co_problem_allow(call_t *call, const char *allow);
/* 426: what is here is a WebSocket (RFC 9110, section 15.5.22; RFC 6455, section 4.4). */
void co_problem_upgrade(call_t *call, const char *detail);
/* Answers for a result of the store or of a conversation: SI_ENOENT 404, SI_EUNAVAIL 503, … */
void co_problem_rc(call_t *call, int rc);
/* Answers with a whole body, whose length is added to the head. */
void co_whole(call_t *call, call_head_t *head, str_t body);
/* Answers with JSON text; up to 6 further headers (name, value; NULL values are left out). */
void co_json(call_t *call, int status, str_t body, size_t nheaders, const char *(*headers)[2]);

#endif

/* Inside of llm/bedrock: the Converse API of Amazon Bedrock (docs.aws.amazon.com/bedrock/latest/APIReference: "ConverseStream"). */
#ifndef SI_BEDROCK_H
#define SI_BEDROCK_H

#include "llm/format.h"

/* The body of a request, into b. 0, SI_ENOMEM (b's maximum), or SI_EINVAL with *err: what Converse has no word for. */
int bedrock_write(arena_t *a, const llm_request_t *q, buf_t *b, llm_error_t *err);

/* ConverseStream is to be asked, not Converse. */
static inline bool bedrock_streams(const conf_model_t *m) { return m->stream == NULL || strcmp(m->stream, "off") != 0; }

/* For format_t. */
int bedrock_read_event(reply_t *r, str_t type, str_t data);
int bedrock_read_whole(reply_t *r, str_t body);
int bedrock_read_status(llm_error_t *err, arena_t *a, const char *secret, int status, str_t body);

/* The model's guardrail as a member, with a comma before it; nothing when it has none. 0 or SI_ENOMEM. */
int  bedrock_put_guardrail(buf_t *b, const conf_model_t *m);

#endif

/*
 * A provider: what answers a model call. A call is a coroutine's affair: open, then read events until it ends, then
 * close; close also cuts a call under way at once. Those across the network are one engine (remote.c) with one wire
 * format each (format.h); offline.c is on its own.
 */
#ifndef SI_PROVIDER_H
#define SI_PROVIDER_H

#include "conf/conf.h"
#include "llm/chat.h"

typedef struct {
    const conf_model_t   *model;
    const chat_message_t *messages;
    size_t                nmessages;
    chat_options_t        options;      /* CHAT_OPTIONS_NONE when nothing is asked for */
    const chat_message_t *related;      /* what the user said before, elsewhere: for the offline answerer; others ignore it */
    size_t                nrelated;
    size_t                answer_max;   /* bytes of each kind of event; a longer answer is an error */
    uint64_t              deadline;     /* clock_ms() of the whole call */
    const char           *traceparent;  /* a header for the provider, "name: value"; NULL: none */
} llm_request_t;

/* What went wrong, for turn.failed and for the faces. */
typedef struct {
    char     code[32];              /* provider_unavailable, provider_timeout, provider_rejected, provider_auth, provider_rate_limited, provider_protocol, answer_too_large, answer_cut, unsupported */
    char     detail[256];           /* for a person; no secrets, no message text */
    int      status;                /* HTTP status of the provider, 0: none */
    bool     retryable;
    uint64_t retry_ms;              /* the provider asks to be left alone for so long; 0: it does not say */
} llm_error_t;

typedef struct llm_call llm_call_t;
typedef struct format format_t;

typedef struct provider {
    const char     *kind;           /* as in providers.*.kind */
    const format_t *format;         /* for remote.c; NULL: another engine */
    /* Starts; waits until the provider has accepted. 0, or SI_E* with *err filled (SI_ECANCELED: untouched). */
    int  (*co_open)(const struct provider *p, arena_t *a, const llm_request_t *q, llm_call_t **out, llm_error_t *err);
    /* Waits. 1 with *ev (lives until the next call; all that one read brought of one kind is one event), 0 when the answer is whole (result filled), or SI_E* with *err. */
    int  (*co_next)(llm_call_t *c, chat_event_t *ev, llm_error_t *err);
    /* Good until close; estimated where the provider did not say, also of an answer that was cut. */
    const llm_result_t *(*result)(const llm_call_t *c);
    void (*close)(llm_call_t *c);
} provider_t;

/* By kind, or NULL. */
const provider_t *provider_find(const char *kind);

/* What OpenTelemetry's conventions (1.41, gen_ai.provider.name) call it: by the kind, or by the address of those they know; "aws.sagemaker" and ours are no words of theirs. */
const char *provider_word(const conf_provider_t *p);

extern const provider_t provider_offline;

/* Takes the host of the provider's address out of *err: whose machines answer is the operator's affair. */
void provider_hide(llm_error_t *err, const conf_provider_t *p);

/* For providers: fills *err and returns rc. The detail is cut at a code point when it is too long. */
int provider_fail(llm_error_t *err, int rc, const char *code, int status, bool retryable, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

#endif

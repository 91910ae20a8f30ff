/*
 * A provider: one file per wire format behind one interface. A model call is a coroutine's affair: open, then
 * read pieces until it ends, then close; close also cuts a call under way at once.
 */
#ifndef SI_PROVIDER_H
#define SI_PROVIDER_H

#include "base/arena.h"
#include "conf/conf.h"

typedef struct {
    const char *role;               /* "system", "user", "assistant" */
    str_t       content;
} llm_message_t;

typedef struct {
    const conf_model_t  *model;
    const llm_message_t *messages;
    size_t               nmessages;
    const llm_message_t *related;   /* what the user said before, elsewhere: for the offline answerer; others ignore it */
    size_t               nrelated;
    size_t               answer_max;    /* bytes; a longer answer is an error */
    uint64_t             deadline;      /* clock_ms() of the whole call */
} llm_request_t;

typedef struct {
    int64_t input_tokens, output_tokens;    /* -1: the provider has not said */
    bool    estimated;
    char    finish[16];             /* "stop", "length", "content_filter", "tool_calls"; "" while it runs */
    char    model[128];             /* as the provider names it in its answer */
} llm_result_t;

/* What went wrong, for turn.failed. */
typedef struct {
    char code[32];                  /* provider_unavailable, provider_timeout, provider_rejected, provider_auth, provider_rate_limited, provider_protocol, answer_too_large, answer_cut */
    char detail[256];               /* for a person; no secrets, no message text */
    int  status;                    /* HTTP status of the provider, 0: none */
    bool retryable;
} llm_error_t;

typedef enum { LLM_TEXT, LLM_REASONING } llm_kind_t;

typedef struct llm_call llm_call_t;

typedef struct provider {
    const char *kind;
    /* Starts; waits until the provider has accepted. 0, or SI_E* with *err filled (SI_ECANCELED: untouched). */
    int  (*co_open)(arena_t *a, const llm_request_t *q, llm_call_t **out, llm_error_t *err);
    /* Waits for text. 1 with *kind and *text (lives until the next call; valid UTF-8, whole code points; all text that one read brought), 0 when the answer is whole (result filled), or SI_E* with *err. */
    int  (*co_next)(llm_call_t *c, llm_kind_t *kind, str_t *text, llm_error_t *err);
    const llm_result_t *(*result)(const llm_call_t *c);
    void (*close)(llm_call_t *c);
} provider_t;

/* By kind, or NULL. */
const provider_t *provider_find(const char *kind);

/* openai.c, offline.c */
extern const provider_t provider_openai, provider_offline;

/* For providers: fills *err and returns rc. The detail is cut at a code point when it is too long. */
int provider_fail(llm_error_t *err, int rc, const char *code, int status, bool retryable, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

#endif

/*
 * Everything in Postgres, one file per table family. Each function is one batch: one round trip, one
 * transaction, tenant and user set for row-level security and named in the query too. Rows and
 * strings live in the arena given. Common results: 0, SI_ENOENT, SI_EUNAVAIL, SI_ETIMEDOUT,
 * SI_ECANCELED, SI_EINTERNAL; others are named where they occur. Deadline: 10 s each, inside.
 */
#ifndef SI_STORE_H
#define SI_STORE_H

#include "base/arena.h"
#include "store/allowance.h"

typedef struct {
    const char *tenant, *user, *key_id;     /* uuids as text */
    const char *scopes;                     /* space-separated */
    uint64_t    expires;                    /* the key's end, ms since 1970; 0: none is known */
} identity_t;

/* --- auth.c: tenant, app_user, user_identity, device, api_key --- */

/*
 * hash: SHA-256 of the whole key, lower-case hex. SI_EDENIED: unknown, expired, revoked, or its user or tenant is disabled.
 * *expires: ms since 1970, UINT64_MAX: never. Callers want co_verdict() (store/verdict.h).
 */
int co_store_key(arena_t *a, const char *hash_hex, identity_t *out, uint64_t *expires);

/*
 * The user behind (issuer, subject) of a verified token, made at first sight. tenant: its name or, if it looks like one, its
 * id; it must be there. key_id and scopes of *out are "". SI_ENOENT: no such tenant, or not active. SI_EDENIED: the user is
 * disabled or erased.
 */
int co_store_identity(arena_t *a, const char *tenant, const char *issuer, const char *subject, identity_t *out);

/* --- keys.c: managing API keys; `all` is for callers with the scope admin: those of the whole tenant, not only their own --- */

typedef struct {
    const char *id, *user, *name, *hint, *scopes;   /* user: its name */
    const char *created, *expires, *revoked;        /* RFC 3339; "" for never */
    allowance_t own;                                /* what it may use */
} key_row_t;

typedef struct {
    const char *id, *hash, *hint;       /* a new uuid; key_hash(), key_hint() */
    const char *user;                   /* name of a user of the tenant, made if there is none; NULL: the caller */
    const char *name, *scopes;          /* may be "" */
    uint64_t    expires;                /* ms since 1970, 0: never */
    allowance_t own;                    /* period NULL: month */
    const char *idem, *request_hash;    /* as for co_store_conversation_new() */
} key_new_t;

/* SI_EEXIST: idem was used. */
int co_store_key_new(arena_t *a, const identity_t *who, const key_new_t *k, key_row_t *out);
/* Newest first, revoked ones too; pages as those of conversations. */
int co_store_keys(arena_t *a, const identity_t *who, bool all, const char *cursor, int limit, key_row_t **out, size_t *n,
                  const char **next);
/* 0 also if it was revoked before; *hash: of the key, as key_hash() makes it. SI_ENOENT: no such key, or not the caller's. */
int co_store_key_revoke(arena_t *a, const identity_t *who, bool all, const char *id, const char **hash);

/* --- worker.c: who lives, who owns which conversation (operational rows: ids only, no row-level security) --- */

/* Registers this instance ("<node>/<slot>.<pid>") with a lease of ms; call again to renew. SI_ECONFLICT: it had lapsed and was declared dead. */
int co_store_lease(arena_t *a, const char *instance, uint64_t ms);
/* Declares an instance dead (its next co_store_lease() fails); forgets those that were buried more than ten minutes ago. */
int co_store_bury(arena_t *a, const char *instance);

/* Names of the living ones (lease in force, not buried) but `me`, at most WORKERS_MAX: more are SI_ENOMEM. */
#define WORKERS_MAX  4096
int co_store_workers(arena_t *a, const char *me, const char *const **out, size_t *n);

/* How many nodes have a worker that lives. */
int co_store_nodes(arena_t *a, uint32_t *n);

typedef struct {
    const char *tenant, *user, *conversation, *owner;
} claim_t;

/*
 * Makes `me` the owner of a conversation if nobody is, `me` is, the owner is `dead` (may be NULL), or the owner's
 * lease has lapsed. 0: claimed, *epoch is the fence (grows with each change of owner). SI_ECONFLICT: *owner lives.
 * SI_ENOENT: no such conversation for this tenant and user.
 */
int co_store_claim(arena_t *a, const char *tenant, const char *user, const char *conversation,
                   const char *me, const char *dead, uint64_t *epoch, const char **owner);
/* A new epoch for its present owner: whatever was sent with the old one and is under way still, does nothing. SI_ECONFLICT: not ours. */
int co_store_refence(arena_t *a, const char *conversation, const char *me, uint64_t *epoch);
/* Gives it up, if `me` still owns it with this epoch and no turn of it is unfinished; else SI_ECONFLICT. */
int co_store_release(arena_t *a, const char *conversation, const char *me, uint64_t epoch);
/* Up to 100 conversations with unfinished turns whose owner is none, dead, lapsed, or `me` by name but not in memory
 * (the caller checks that). */
int co_store_orphans(arena_t *a, const char *me, claim_t **out, size_t *n);

/* --- conversation.c --- */

typedef struct {
    const char *id, *title;     /* title may be "" */
    int64_t     version;
    const char *created, *updated;      /* RFC 3339, milliseconds, UTC */
    int64_t     last_turn;      /* number of the newest turn, 0: none */
} conversation_t;

/*
 * Creates one. idem: idempotency key or NULL; request_hash: of the request, hex. An earlier creation with the same
 * key returns that conversation (*existed = true), with another hash SI_ECONFLICT.
 */
int co_store_conversation_new(arena_t *a, const identity_t *who, const char *title, const char *idem,
                              const char *request_hash, conversation_t *out, bool *existed);
int co_store_conversation(arena_t *a, const identity_t *who, const char *id, conversation_t *out);
/* Newest first, at most limit (<= 100) after the opaque cursor (NULL: from the start); *next NULL at the end. SI_EINVAL: bad cursor. */
int co_store_conversations(arena_t *a, const identity_t *who, const char *cursor, int limit,
                           conversation_t **out, size_t *n, const char **next);

/* --- turn.c --- */

typedef enum { TURN_QUEUED, TURN_RUNNING, TURN_COMPLETED, TURN_FAILED, TURN_CANCELLED } turn_state_t;
const char *turn_state_name(turn_state_t s);

typedef struct {
    const char  *id, *conversation, *user;
    int64_t      number;            /* in its conversation, from 1 */
    int64_t      ordinal;           /* among all turns of its user, from 1, without holes unless turns were deleted */
    turn_state_t state;
    int          attempt;           /* 0 for the first */
    const char  *input;             /* the user's message */
    const char  *agent, *model;     /* asked for; "" when not */
    const char  *client_turn_id;    /* "" when none */
    const char  *model_used, *output, *error, *error_detail;    /* "" when none; error: stable code */
    bool         retryable, cancel_requested;
    int64_t      input_tokens, output_tokens, first_token_ms, duration_ms;     /* -1: not known */
    const char  *created, *finished;        /* RFC 3339, ms, UTC; finished "" while it is not */
    const char  *message_id;        /* of the assistant message; "" when none. co_store_turn_end(): given by the caller */
    const char  *finish;            /* "stop", "length", …; "" when not known */
    bool         estimated;         /* the token counts are an estimate */
    int64_t      cached_tokens, cache_write_tokens, reasoning_tokens;   /* parts of the input, and of the output; -1: not known */
    int64_t      cost;              /* micro-dollars of the call that answered; -1: not known */
    const char  *key;               /* id of the API key that it was asked with, or "" */
    bool         cached_answer;     /* it was there before: no model was asked */
    const char  *traceparent;       /* of the request that began it (W3C Trace Context), or "" */
    int64_t      last_event;        /* number of its final event, so that a replay has the same id; 0 while unfinished */
} turn_row_t;

typedef struct {
    const char *id, *conversation, *input, *agent, *model;      /* id: a new uuid */
    const char *client_turn_id;     /* or NULL */
    const char *idem;               /* Idempotency-Key, or the edge's call key: never NULL */
    const char *request_hash;       /* hex */
    const char *traceparent;        /* or NULL */
    uint64_t    user_max;           /* turns of the user that are not over, this one too; 0: any number */
} turn_new_t;

/*
 * One transaction: fence (owner me, epoch), next number, turn in state queued, user message, claim marked unfinished,
 * idempotency row. 0: *out is the turn; *existed = true if client_turn_id or idem named an earlier one, which is returned.
 * SI_ECONFLICT: the fence did not hold. SI_EEXIST: idem (or client_turn_id) was used with another request. SI_ENOMEM: it
 * would be more than user_max.
 */
int co_store_turn_new(arena_t *a, const identity_t *who, const char *me, uint64_t epoch, const turn_new_t *t,
                      turn_row_t *out, bool *existed);
/* queued -> running with this attempt, fenced. SI_ECONFLICT: fence, or the turn is over. */
int co_store_turn_start(arena_t *a, const char *tenant, const char *user, const char *me, uint64_t epoch,
                        const char *turn, int attempt, const char *model_used);
/*
 * One transaction, fenced: turn to its final state with usage; assistant message if state is completed (or cancelled with
 * text); claim's unfinished mark cleared when it was the last; one outbox row. SI_ECONFLICT: fence, or it was over already;
 * but 0 if it was so in this very way (state, last_event, message_id), so that a call whose answer was lost may be repeated.
 * SI_EINVAL: not a final state.
 */
int co_store_turn_end(arena_t *a, const char *tenant, const char *user, const char *me, uint64_t epoch, const turn_row_t *t);
/* cancel_requested = true if it is unfinished. SI_ENOENT: no such turn of this user. */
int co_store_turn_cancel_mark(arena_t *a, const identity_t *who, const char *turn);
int co_store_turn(arena_t *a, const identity_t *who, const char *id, turn_row_t *out);
/* All unfinished turns of a conversation in order, for the owner that opens it; and the number of its newest turn. */
int co_store_turns_open(arena_t *a, const char *tenant, const char *user, const char *conversation,
                        turn_row_t **out, size_t *n, int64_t *last_number);
/* Finished turns with number > after and < before, oldest first, at most limit: for replay. */
int co_store_turns_between(arena_t *a, const char *tenant, const char *user, const char *conversation,
                           int64_t after, int64_t before, int limit, turn_row_t **out, size_t *n);
/* The same for all turns of a user, of every state, by ordinal. */
int co_store_turns_of_user(arena_t *a, const char *tenant, const char *user, int64_t after, int64_t before, int limit,
                           turn_row_t **out, size_t *n);

#define UNFINISHED_MAX  1000

typedef struct {
    const char *conversation;
    int64_t     number, ordinal;
} unfinished_t;

/*
 * The ordinal of the user's newest turn, and the unfinished ones by ordinal (the oldest UNFINISHED_MAX), as they were at one
 * moment: every other turn up to *turns is over, or was deleted. SI_ENOENT: no such user.
 */
int co_store_unfinished(arena_t *a, const char *tenant, const char *user, int64_t *turns, unfinished_t **out, size_t *n);

/* --- message.c --- */

typedef struct {
    const char *id, *turn, *role, *content, *created;   /* role: "user" or "assistant" */
    int64_t     number;             /* 2 * turn number - 1 (user), 2 * turn number (assistant) */
    int64_t     tokens;
} message_row_t;

/* Oldest first, pages by cursor as conversations do. */
int co_store_messages(arena_t *a, const identity_t *who, const char *conversation, const char *cursor, int limit,
                      message_row_t **out, size_t *n, const char **next);
/* The last `limit` messages of turns before `turn_number` that completed, oldest first, for the model; a user message without an answer (failed turn) stays in. */
int co_store_history(arena_t *a, const char *tenant, const char *user, const char *conversation,
                     int64_t turn_number, int limit, message_row_t **out, size_t *n);
/* For the offline answerer: newest user messages of this user in all conversations before this one turn that share a word with `text`, best first, at most limit. */
int co_store_related(arena_t *a, const char *tenant, const char *user, const char *turn, const char *text, int limit,
                     message_row_t **out, size_t *n);

#endif

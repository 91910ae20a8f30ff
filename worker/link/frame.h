/*
 * The wire between edge and worker: the one header both sides include.
 *
 * A link is a Unix stream socket. It carries frames: a 16-byte little-endian
 * head {u32 length; u8 type; u8 flags; u16 zero; u64 id} and `length` bytes
 * of payload.  Needs only <stdint.h> and <string.h>.
 *
 * Life of a call (id is chosen by the edge, unique on its link, never 0):
 *
 *   edge                                worker
 *   OPEN id, fields [FL_BODY]     ->
 *   BODY id, bytes [FL_LAST] ...  ->    at most SI_WINDOW bytes unacknowledged;
 *                                 <-    CREDIT id, u32 bytes consumed
 *                                 <-    MOVED id, instance        (ends the call; nothing was done)
 *                                 <-    HEAD id, fields
 *                                 <-    DATA id, bytes ...        private bytes, <= SI_WINDOW unacknowledged
 *   CREDIT id, u32 bytes sent     ->
 *                                 <-    ATTACH id, {u64 log, u32 seq, key}
 *                                       the call now reads the shared log from the
 *                                       log's present end on this link; its id is over
 *                                 <-    END id [FL_ABORT]         the answer is whole; with FL_ABORT it is
 *                                       cut: the edge must not let it look whole
 *   CANCEL id                     ->    the client has gone; no frame of this id follows but those under way
 *
 * A shared log (id chosen by the worker, unique on its process, never 0):
 *
 *                                 <-    DATA log [FL_LOG]         u8 n, n bytes last event id, then bytes:
 *                                       always whole events, one frame each publish. No bytes after the
 *                                       id: nothing to send, only the mirror's last id is set (follows ATTACH)
 *                                 <-    END log [FL_LOG] [FL_ABORT]  every reader ends. With FL_ABORT the edge
 *                                       resumes the log elsewhere (the worker is draining)
 *   DETACH log, u32 seq           ->    the edge has no more readers. `seq` is that of the last ATTACH the edge
 *                                       has seen; the worker ignores a DETACH older than its last ATTACH
 *   READERS log, {u32 seq, u32 count} ->  so many cursors read this edge's mirror. A new mirror (the first ATTACH
 *                                       of a log, or the first after DETACH, END or the link's death) has 1, so this is
 *                                       sent only when it is another number than was said last: at most once a
 *                                       second, together with all that changed. `seq` as in DETACH; the worker
 *                                       ignores one that is older than the mirror
 *
 * What concerns no call (id 0):
 *
 *   ASK si_ask_put()              ->    a slice of a limit of the whole cluster; answered by
 *                                 <-    PUSH GRANT, or not at all: then the edge asks again
 *
 *   WANT name                     ->    a token was signed by a key that the newest set of this name does not have
 *                                 <-    PUSH u8 kind, bytes       KEYS: a key set of that name (si_keys_put), when
 *                                       the link comes up and when there is a newer one.
 *                                       REVOKED: a credential as HEAD has named it; its streams
 *                                       end, and those whose HEAD is under way.
 *                                       TOKENS: si_revoked_put(), one or more, when the link comes
 *                                       up and when tokens are revoked: they count no more.
 *                                       VERDICT: what Postgres says of an API key, after a call that came
 *                                       with it, or that it must be asked again; the edge keeps it for
 *                                       further calls, which carry it in the key's place
 *
 * When a link dies the edge opens, at another worker and once for each mirror
 * with readers, a call whose reader is the mirror itself: OPEN with T_RESUME
 * (log key), T_TENANT, T_LAST_ID.  In its answer each DATA has the form of
 * log DATA (and carries FL_EVENT), and ATTACH binds the mirror to the new log.
 *
 * Anything unknown, too long or out of order closes the link with a reason in
 * the log of the side that saw it.
 */
#ifndef SI_FRAME_H
#define SI_FRAME_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define SI_LINK_VERSION   4u             /* of both sides, or the link is closed */
#define SI_FRAME_HEAD     16u
#define SI_FRAME_MAX      (8u << 20)     /* log DATA: one event may hold a whole message */
#define SI_OPEN_MAX       (128u << 10)   /* OPEN and HEAD: all fields together */
#define SI_DATA_MAX       (64u << 10)    /* private DATA, BODY and PUSH */
#define SI_SMALL_MAX      1024u          /* every other type */
#define SI_WINDOW         (64u << 10)    /* unacknowledged private bytes, each direction of a call */
#define SI_ID_MAX         240u           /* an event id as text; its length is one byte */
#define SI_TICKET_MAX     64u            /* a ticket: what is longer is cut, and is none */
#define SI_KEYS_MAX       (60u << 10)    /* a key set as JSON */
#define SI_KEYS_NAME      63u            /* and its name */
#define SI_KEY_MAX        128u           /* a log key, an instance name */
#define SI_LIMIT_MAX      24u            /* name of a limit's zone */

enum si_frame_type {
    SI_F_HELLO = 1,     /* both: the first frame of each side */
    SI_F_OPEN,          /* edge */
    SI_F_BODY,          /* edge */
    SI_F_CANCEL,        /* edge */
    SI_F_CREDIT,        /* both: payload u32 */
    SI_F_DETACH,        /* edge: payload u32 seq */
    SI_F_PING,          /* edge; no payload, id is echoed */
    SI_F_HEAD,          /* worker */
    SI_F_DATA,          /* worker */
    SI_F_END,           /* worker */
    SI_F_MOVED,         /* worker: payload is an instance name; connect to <folder>/<instance>.sock */
    SI_F_ATTACH,        /* worker: payload u64 log, u32 seq, log key */
    SI_F_GOAWAY,        /* worker: id 0, no payload: open no more calls here, what runs goes on */
    SI_F_PONG,          /* worker: payload u32 running turns, u32 calls */
    SI_F_READERS,       /* edge: payload u32 seq, u32 count */
    SI_F_PUSH,          /* worker: id 0, payload u8 kind and what belongs to it */
    SI_F_ASK,           /* edge: id 0, payload si_ask_put() */
    SI_F_WANT,          /* edge: id 0, payload a key set's name */
    SI_F_TYPES
};

enum si_frame_flag {
    SI_FL_BODY  = 1,    /* OPEN: BODY frames follow */
    SI_FL_LAST  = 2,    /* BODY: this was the last one */
    SI_FL_LOG   = 4,    /* DATA, END: id is a log's */
    SI_FL_EVENT = 8,    /* DATA of a resume call: log form */
    SI_FL_ABORT = 16    /* END: see above */
};

enum si_push_kind {
    SI_PUSH_KEYS = 1,       /* si_keys_put() */
    SI_PUSH_REVOKED = 2,    /* a credential of SI_KEY_MAX bytes at most */
    SI_PUSH_GRANT,          /* si_grant_put(), to the edge process that asked */
    SI_PUSH_TOKENS,         /* one or more of si_revoked_put() */
    SI_PUSH_VERDICT         /* si_verdict_put() */
};

/* Fields of HELLO, OPEN and HEAD: {u8 tag; u32 length; bytes}. */
enum si_tag {
    SI_T_VERSION = 1,   /* HELLO: u32 */
    SI_T_PEER,          /* HELLO of edge: "nginx <pid>"; of worker: its instance name "<slot>.<pid>" */
    SI_T_METHOD,        /* OPEN: as received, "GET" */
    SI_T_PATH,          /* OPEN: normalised path, without arguments, percent-decoded by nginx */
    SI_T_ARGS,          /* OPEN: raw query string, may be missing */
    SI_T_HEADER,        /* OPEN, HEAD: name, NUL, value; repeated; OPEN sends names in lower case */
    SI_T_ADDR,          /* OPEN: client address as text */
    SI_T_CALL_KEY,      /* OPEN: nginx's $request_id: the same when the edge sends the call again */
    SI_T_RESUME,        /* OPEN: log key */
    SI_T_TENANT,        /* OPEN with T_RESUME, HEAD: tenant id as text */
    SI_T_LAST_ID,       /* OPEN with T_RESUME: id of the last event the mirror holds */
    SI_T_STATUS,        /* HEAD: u32 */
    SI_T_LENGTH,        /* HEAD: u32 content length; missing: unknown, chunked */
    SI_T_USER,          /* HEAD: user id as text, for the access log */
    SI_T_TURN,          /* HEAD: turn id as text, for the access log */
    SI_T_STREAM,        /* HEAD: an event stream (heartbeats, no buffering, log in time); no bytes, or one: it cannot be resumed */
    SI_T_ISSUER,        /* OPEN: who vouches for the caller; only the edge says this and the next three, after it verified a token */
    SI_T_SUBJECT,       /* OPEN: the caller's name there */
    SI_T_ORG,           /* OPEN: the caller's tenant, its name or id */
    SI_T_SCOPES,        /* OPEN: what the caller may do, separated by spaces */
    SI_T_CREDENTIAL,    /* HEAD: the API key's id, which PUSH names when it is revoked */
    SI_T_UNTIL,         /* HEAD of a stream or WebSocket, OPEN with T_SUBJECT: u64 ms since 1970, when its credential ends */
    SI_T_TICKET,        /* OPEN: value of the argument "ticket", whose bytes in SI_T_ARGS are hidden; only the edge says this */
    SI_T_MARKS,         /* OPEN with T_SUBJECT, HEAD of a stream that was opened with a token or its ticket: si_marks_put() */
    SI_T_VERDICT,       /* OPEN: a good si_verdict_put() that the edge keeps of the caller's key; it stands for no other credential */
    SI_T_TAGS
};

typedef struct {
    uint32_t length;
    uint8_t  type;
    uint8_t  flags;
    uint64_t id;
} si_frame_t;

typedef struct {
    uint8_t        tag;
    uint32_t       length;
    const uint8_t *data;
} si_field_t;

static inline void si_put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t) v;
    p[1] = (uint8_t) (v >> 8);
    p[2] = (uint8_t) (v >> 16);
    p[3] = (uint8_t) (v >> 24);
}

static inline void si_put64(uint8_t *p, uint64_t v)
{
    si_put32(p, (uint32_t) v);
    si_put32(p + 4, (uint32_t) (v >> 32));
}

static inline uint32_t si_get32(const uint8_t *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
           | (uint32_t) p[3] << 24;
}

static inline uint64_t si_get64(const uint8_t *p)
{
    return (uint64_t) si_get32(p) | (uint64_t) si_get32(p + 4) << 32;
}

/* Writes SI_FRAME_HEAD bytes. */
static inline void si_frame_put(uint8_t *p, uint8_t type, uint8_t flags,
                                uint64_t id, uint32_t length)
{
    si_put32(p, length);
    p[4] = type;
    p[5] = flags;
    p[6] = p[7] = 0;
    si_put64(p + 8, id);
}

/* The longest payload a frame of this type and these flags may have. */
static inline uint32_t si_frame_limit(uint8_t type, uint8_t flags)
{
    switch (type) {
    case SI_F_OPEN: case SI_F_HEAD:
        return SI_OPEN_MAX;
    case SI_F_BODY: case SI_F_PUSH:
        return SI_DATA_MAX;
    case SI_F_DATA:
        return (flags & (SI_FL_LOG | SI_FL_EVENT)) ? SI_FRAME_MAX : SI_DATA_MAX;
    default:
        return SI_SMALL_MAX;
    }
}

/* Reads a head of SI_FRAME_HEAD bytes. Returns NULL, or the reason why the link must be closed. */
static inline const char *si_frame_get(const uint8_t *p, si_frame_t *f)
{
    f->length = si_get32(p);
    f->type = p[4];
    f->flags = p[5];
    f->id = si_get64(p + 8);

    if (f->type == 0 || f->type >= SI_F_TYPES) {
        return "unknown frame type";
    }
    if (p[6] != 0 || p[7] != 0) {
        return "reserved bytes are not zero";
    }
    if (f->length > si_frame_limit(f->type, f->flags)) {
        return "frame too long";
    }
    return NULL;
}

/* Writes the 5 bytes before a field's data. */
static inline void si_field_head(uint8_t *p, uint8_t tag, uint32_t length)
{
    p[0] = tag;
    si_put32(p + 1, length);
}

/*
 * Steps through fields: *p to end. Returns 1 with a field, 0 at the end, -1 if
 * the payload is malformed. The field's data points into the payload.
 */
static inline int si_field_next(const uint8_t **p, const uint8_t *end, si_field_t *f)
{
    if (*p == end) {
        return 0;
    }
    if (end - *p < 5) {
        return -1;
    }
    f->tag = (*p)[0];
    f->length = si_get32(*p + 1);
    if (f->tag == 0 || f->tag >= SI_T_TAGS || f->length > (size_t) (end - *p - 5)) {
        return -1;
    }
    f->data = *p + 5;
    *p += 5 + f->length;
    return 1;
}

/* What a node wants of a key's bucket, and what it has to say of it. Numbers without a unit are requests. */
typedef struct si_ask {
    uint64_t       key;         /* digest of its value */
    uint64_t       interval;    /* ns between two requests, > 0 */
    uint64_t       bucket;      /* ns: burst * interval */
    uint32_t       want;        /* as many as there are, up to this; none is fine, too */
    uint32_t       debt;        /* passed without a lease: charged in any case */
    uint32_t       back;        /* of a lease that ended unused */
    uint8_t        name_len;    /* 1 to SI_LIMIT_MAX */
    const uint8_t *name;        /* of the zone */
} si_ask_t;

typedef struct si_grant {
    uint64_t       key;
    uint64_t       level;       /* ns: what the bucket holds now, what was granted included; above `bucket` after debts */
    uint32_t       want;        /* as it was asked for */
    uint32_t       granted;     /* <= want */
    uint32_t       nodes;       /* that share the budget; 0: not known */
    uint8_t        away;        /* 1: there is no telling, Redis does not answer; level and granted are 0 */
    uint8_t        name_len;
    const uint8_t *name;
} si_grant_t;

#define SI_ASK_HEAD    37u
#define SI_GRANT_HEAD  30u

/* Writes SI_ASK_HEAD + name_len bytes. */
static inline void si_ask_put(uint8_t *p, const si_ask_t *a)
{
    si_put64(p, a->key);
    si_put64(p + 8, a->interval);
    si_put64(p + 16, a->bucket);
    si_put32(p + 24, a->want);
    si_put32(p + 28, a->debt);
    si_put32(p + 32, a->back);
    p[36] = a->name_len;
    memcpy(p + SI_ASK_HEAD, a->name, a->name_len);
}

/* 1, or 0 if it is malformed. name points into the payload. */
static inline int si_ask_get(const uint8_t *p, size_t n, si_ask_t *a)
{
    if (n < SI_ASK_HEAD || p[36] == 0 || p[36] > SI_LIMIT_MAX || n != SI_ASK_HEAD + p[36]) {
        return 0;
    }
    *a = (si_ask_t) { si_get64(p), si_get64(p + 8), si_get64(p + 16), si_get32(p + 24), si_get32(p + 28), si_get32(p + 32),
                      p[36], p + SI_ASK_HEAD };
    return a->interval > 0;
}

/* Writes SI_GRANT_HEAD + name_len bytes. */
static inline void si_grant_put(uint8_t *p, const si_grant_t *g)
{
    si_put64(p, g->key);
    si_put64(p + 8, g->level);
    si_put32(p + 16, g->want);
    si_put32(p + 20, g->granted);
    si_put32(p + 24, g->nodes);
    p[28] = g->away;
    p[29] = g->name_len;
    memcpy(p + SI_GRANT_HEAD, g->name, g->name_len);
}

/* As si_ask_get(). */
static inline int si_grant_get(const uint8_t *p, size_t n, si_grant_t *g)
{
    if (n < SI_GRANT_HEAD || p[28] > 1 || p[29] == 0 || p[29] > SI_LIMIT_MAX || n != SI_GRANT_HEAD + p[29]) {
        return 0;
    }
    *g = (si_grant_t) { si_get64(p), si_get64(p + 8), si_get32(p + 16), si_get32(p + 20), si_get32(p + 24), p[28], p[29],
                        p + SI_GRANT_HEAD };
    return g->granted <= g->want;
}

/* A key set, as PUSH carries it behind its kind: u64 fetched, u32 fresh, u8 length of the name, name, text. */
typedef struct {
    uint64_t       fetched;     /* ms since 1970: when its issuer gave it; of two the newer one counts */
    uint32_t       fresh;       /* ms: for so long after that there is no sense in asking again */
    uint8_t        name_len;    /* 1 to SI_KEYS_NAME */
    uint32_t       text_len;    /* 1 to SI_KEYS_MAX */
    const uint8_t *name, *text;
} si_keys_t;

#define SI_KEYS_HEAD  13u
#define si_keys_size(k)  (SI_KEYS_HEAD + (k)->name_len + (k)->text_len)

/* Writes si_keys_size(k) bytes. */
static inline void si_keys_put(uint8_t *p, const si_keys_t *k)
{
    si_put64(p, k->fetched);
    si_put32(p + 8, k->fresh);
    p[12] = k->name_len;
    memcpy(p + SI_KEYS_HEAD, k->name, k->name_len);
    memcpy(p + SI_KEYS_HEAD + k->name_len, k->text, k->text_len);
}

/* 1, or 0 if it is malformed. name and text point into the payload. */
static inline int si_keys_get(const uint8_t *p, size_t n, si_keys_t *k)
{
    if (n < SI_KEYS_HEAD || p[12] == 0 || p[12] > SI_KEYS_NAME
        || n <= SI_KEYS_HEAD + p[12] || n - SI_KEYS_HEAD - p[12] > SI_KEYS_MAX)
    {
        return 0;
    }
    k->fetched = si_get64(p);
    k->fresh = si_get32(p + 8);
    k->name_len = p[12];
    k->name = p + SI_KEYS_HEAD;
    k->text = k->name + k->name_len;
    k->text_len = (uint32_t) (n - SI_KEYS_HEAD - k->name_len);
    return 1;
}

/*
 * By what a token can be revoked: its id (claim jti), its user, or itself. Each mark is the first 8 bytes of
 * SHA-256(kind NUL tenant NUL issuer NUL value), little-endian; 0: it has none. Kinds and values: "jti"; "subject", the user's name
 * at the issuer; "digest", SHA-256 of the token in lower-case hex, whose issuer here is "". Tenant is what the token names, an
 * id or a name; if it has 36 bytes, its letters A-Z are small.
 */
#define SI_MARKS       3
#define SI_MARKS_SIZE  32u

typedef struct {
    uint64_t mark[SI_MARKS];
    uint64_t issued;        /* s since 1970 (claim iat); 0: it does not say */
} si_marks_t;

static inline void si_marks_put(uint8_t *p, const si_marks_t *m)
{
    for (int i = 0; i < SI_MARKS; i++) {
        si_put64(p + 8 * i, m->mark[i]);
    }
    si_put64(p + 8 * SI_MARKS, m->issued);
}

static inline void si_marks_get(const uint8_t *p, si_marks_t *m)
{
    for (int i = 0; i < SI_MARKS; i++) {
        m->mark[i] = si_get64(p + 8 * i);
    }
    m->issued = si_get64(p + 8 * SI_MARKS);
}

/* All tokens with this mark that were issued at `before` or earlier are revoked; nobody need know it after `until`. */
typedef struct {
    uint64_t mark;
    uint64_t before;        /* s since 1970; UINT64_MAX: whenever they were */
    uint64_t until;         /* s since 1970; 0: that was taken back */
} si_revoked_t;

#define SI_REVOKED_SIZE  24u
#define SI_REVOKED_MAX   4096u          /* revocations that count at once; each has two marks, of the tenant's id and of its name */

static inline void si_revoked_put(uint8_t *p, const si_revoked_t *r)
{
    si_put64(p, r->mark);
    si_put64(p + 8, r->before);
    si_put64(p + 16, r->until);
}

static inline void si_revoked_get(const uint8_t *p, si_revoked_t *r)
{
    r->mark = si_get64(p);
    r->before = si_get64(p + 8);
    r->until = si_get64(p + 16);
}

/*
 * What Postgres has said of an API key. The edge keeps it and gives it back; a worker decides, by `at`, whether that is still new
 * enough, so what it says of a key never outlives auth.cache, whatever message was lost.
 */
#define SI_DIGEST       32u
#define SI_UUID         36u
#define SI_SCOPES_MAX   255u

typedef struct {
    const uint8_t *digest;      /* SHA-256 of the key */
    uint64_t       at;          /* ms of the machine's CLOCK_MONOTONIC: when Postgres was asked */
    uint32_t       life;        /* ms after that in which it is of any use; 0: forget it, no field below counts */
    uint64_t       until;       /* ms since 1970: the key's own end; 0: none */
    uint8_t        good;        /* 0: there is no such key, or no more; no field below counts */
    const uint8_t *tenant, *user, *key_id;      /* SI_UUID bytes each */
    uint8_t        scopes_len;
    const uint8_t *scopes;
} si_verdict_t;

#define SI_VERDICT_BAD   (SI_DIGEST + 21u)
#define SI_VERDICT_GOOD  (SI_VERDICT_BAD + 3 * SI_UUID + 1)
#define SI_VERDICT_MAX   (SI_VERDICT_GOOD + SI_SCOPES_MAX)
#define si_verdict_size(v)  ((v)->good ? SI_VERDICT_GOOD + (v)->scopes_len : SI_VERDICT_BAD)

/* Writes si_verdict_size(v) bytes. */
static inline void si_verdict_put(uint8_t *p, const si_verdict_t *v)
{
    memcpy(p, v->digest, SI_DIGEST);
    p += SI_DIGEST;
    si_put64(p, v->at);
    si_put32(p + 8, v->life);
    si_put64(p + 12, v->until);
    p[20] = v->good;
    if (v->good) {
        p += 21;
        memcpy(p, v->tenant, SI_UUID);
        memcpy(p + SI_UUID, v->user, SI_UUID);
        memcpy(p + 2 * SI_UUID, v->key_id, SI_UUID);
        p[3 * SI_UUID] = v->scopes_len;
        memcpy(p + 3 * SI_UUID + 1, v->scopes, v->scopes_len);
    }
}

/* 1, or 0 if it is malformed. The pointers are into the payload. */
static inline int si_verdict_get(const uint8_t *p, size_t n, si_verdict_t *v)
{
    memset(v, 0, sizeof *v);
    if (n < SI_VERDICT_BAD || p[SI_DIGEST + 20] > 1) {
        return 0;
    }
    v->digest = p;
    p += SI_DIGEST;
    v->at = si_get64(p);
    v->life = si_get32(p + 8);
    v->until = si_get64(p + 12);
    v->good = p[20];
    if (!v->good) {
        return n == SI_VERDICT_BAD;
    }
    p += 21;
    if (n < SI_VERDICT_GOOD || n != SI_VERDICT_GOOD + p[3 * SI_UUID]) {
        return 0;
    }
    v->tenant = p;
    v->user = p + SI_UUID;
    v->key_id = p + 2 * SI_UUID;
    v->scopes_len = p[3 * SI_UUID];
    v->scopes = p + 3 * SI_UUID + 1;
    return 1;
}

#endif

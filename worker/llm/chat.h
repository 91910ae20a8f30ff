/*
 * A chat with a model in neutral terms: what every face reads a request into, and every provider writes one from; and what
 * comes back, piece by piece. Nothing here owns memory: strings and arrays live in the arena of the call.
 */
#ifndef SI_CHAT_H
#define SI_CHAT_H

#include "base/arena.h"
#include "base/json.h"

/* --- the request --- */

typedef enum { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT } chat_role_t;    /* "developer" is system; results of tools are the user's */

typedef enum {
    PART_TEXT,                      /* text */
    PART_IMAGE,                     /* text: a URL, or base64 when media is set; detail: "low", "high", "auto" or NULL */
    PART_FILE,                      /* a document: as an image; name: of the file, or NULL */
    PART_REASONING,                 /* of an earlier answer: text; signature, when it had one */
    PART_REDACTED,                  /* text: reasoning that only its provider can read */
    PART_CALL,                      /* a call of a tool: id, name; text: its arguments, a JSON object; signature (Gemini) or NULL */
    PART_RESULT,                    /* what a tool said: id of the call, name or NULL, parts (text and images), failed */
    PART_NAME                       /* text: who of several participants speaks; the last part of its message, for kind openai alone */
} chat_part_kind_t;

typedef struct chat_part {
    chat_part_kind_t  kind;
    str_t             text;
    const char       *media;        /* "image/png"; NULL: text is a URL */
    const char       *detail;
    const char       *id, *name;
    str_t             signature;
    bool              failed;
    bool              cache;        /* a prompt-cache point stands behind this part */
    const char       *cache_ttl;    /* "5m", "1h", or NULL: the provider's default */
    const struct chat_part *parts;
    size_t            nparts;
} chat_part_t;

typedef struct {
    chat_role_t        role;
    const chat_part_t *parts;
    size_t             nparts;
} chat_message_t;

typedef struct {
    const char *name, *description; /* description: "" when there is none */
    str_t       schema;             /* JSON Schema of its arguments; {NULL, 0}: takes none */
    bool        strict;
    bool        cache;              /* a prompt-cache point stands behind it */
    const char *cache_ttl;
} chat_tool_t;

typedef enum { CHOICE_AUTO, CHOICE_NONE, CHOICE_ANY, CHOICE_ONE } chat_choice_t;
typedef enum { SHAPE_FREE, SHAPE_JSON, SHAPE_SCHEMA } chat_shape_t;

typedef struct {
    double             temperature, top_p, frequency_penalty, presence_penalty;     /* NAN: not given */
    int64_t            max_tokens, top_k, reasoning_tokens;     /* -1: not given; reasoning_tokens: at most so many for reasoning, 0: none */
    int64_t            seed;        /* when has_seed */
    bool               has_seed;
    const char       **stop;        /* sequences that end the answer */
    size_t             nstop;
    const char        *effort;      /* "none", "minimal", "low", "medium", "high", "xhigh", "max"; NULL: not given */
    const chat_tool_t *tools;
    size_t             ntools;
    chat_choice_t      choice;
    const char        *choice_name; /* CHOICE_ONE: the tool */
    int                parallel;    /* calls of tools in one answer: 0, 1, or -1: not given */
    chat_shape_t       shape;
    const char        *shape_name;  /* SHAPE_SCHEMA */
    const char        *shape_about; /* what it is for, or NULL */
    str_t              shape_schema;
    bool               shape_strict;
    const char        *end_user;    /* opaque id for the provider's abuse checks, or NULL */
    /*
     * Members of the client's request that this form has no word for (an object, or NULL), and the dialect they came in
     * ("openai", "anthropic"…). A provider of that dialect sends them on as they are, any other refuses the request.
     */
    const json_t      *extra;
    const char        *dialect;
} chat_options_t;

/* All "not given". */
#define CHAT_OPTIONS_NONE \
    ((chat_options_t) { .temperature = __builtin_nan(""), .top_p = __builtin_nan(""), .frequency_penalty = __builtin_nan(""), \
                        .presence_penalty = __builtin_nan(""), .max_tokens = -1, .top_k = -1, .reasoning_tokens = -1, .parallel = -1 })

/* A message that is one text. The part is allocated, the text is not copied. */
chat_message_t chat_text(arena_t *a, chat_role_t role, str_t text);
/* The texts of a message, one after the other with a line between them; its only text as it stands. */
str_t          chat_text_of(arena_t *a, const chat_message_t *m);
/* Tokens of what is sent, estimated: see token_estimate(); a picture or a file counts as 1,000. */
size_t         chat_tokens(const chat_message_t *messages, size_t n, const chat_options_t *o);
/* "system", "user", "assistant"; what is none of the three is the user. */
const char    *chat_role_name(chat_role_t role);
chat_role_t    chat_role(const char *name);

/* --- the answer --- */

typedef enum {
    CHAT_TEXT,                      /* text */
    CHAT_REASONING,                 /* what the model thinks aloud */
    CHAT_SIGNATURE,                 /* of the reasoning, or the call of a tool, before it: opaque, to be sent back with it; whole */
    CHAT_REDACTED,                  /* reasoning that only its provider can read: a whole block */
    CHAT_REFUSAL,                   /* the model says why it does not answer */
    CHAT_CALL,                      /* a call of a tool begins: index, id, name */
    CHAT_ARGS,                      /* a piece of the arguments of call `index`: together they are a JSON object */
    CHAT_RESTART                    /* from the gateway only: what came so far is void, another model begins anew */
} chat_kind_t;

#define CHAT_KINDS  7               /* that a provider gives: all but CHAT_RESTART */
#define CHAT_CALLS  128             /* calls of tools in one answer, at most */

typedef struct {
    chat_kind_t kind;
    str_t       text;               /* whole code points; CHAT_CALL: none */
    uint32_t    index;              /* CHAT_CALL, CHAT_ARGS: which call, from 0 */
    const char *id, *name;          /* CHAT_CALL */
} chat_event_t;

/*
 * No call has more tokens, of any kind: a hundred times the largest context of today. What says more, a client or a provider, is not
 * believed, so that sums and prices of them stay within an int64_t, and within the 2^53 of a script in Redis.
 */
#define CHAT_TOKENS_MAX  1000000000

typedef struct {
    int64_t input_tokens;           /* all, cached ones too; -1: the provider has not said */
    int64_t output_tokens;          /* all, reasoning too; -1 */
    int64_t cached_tokens;          /* of the input: read from the provider's prompt cache; 0 unless it said so */
    int64_t cache_write_tokens;     /* of the input: written to it */
    int64_t reasoning_tokens;       /* of the output */
    bool    estimated;              /* the provider did not say: by length */
    size_t  unsaid;                 /* pieces of the answer for which there is no event: citations, the provider's own tools at work */
    char    finish[20];             /* "stop", "length", "content_filter", "tool_calls", "refusal", "pause"; "" while it runs */
    char    stop_sequence[64];      /* which one ended it, if the provider said */
    char    model[128];             /* as the provider names it in its answer */
    char    id[128];                /* the provider's id of the answer */
} llm_result_t;

#endif

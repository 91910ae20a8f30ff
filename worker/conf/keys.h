/* Inside of conf/: the table of all keys. What is read, what `si-worker -t` prints, what the documentation must say. */
#ifndef SI_CONF_KEYS_H
#define SI_CONF_KEYS_H

#include "conf/conf.h"

typedef enum {
    KEY_NUMBER,         /* whole number from min to max -> uint64_t */
    KEY_SHARE,          /* "0.25", at most 6 places, up to max -> double */
    KEY_SIZE,           /* "256k" -> bytes, uint64_t */
    KEY_DURATION,       /* "10s" -> milliseconds, uint64_t; without a default: CONF_SAME */
    KEY_TEXT,           /* text of min to max bytes -> const char * */
    KEY_NAME,           /* the same, of letters, digits and . _ - */
    KEY_URL,            /* text that starts with one of `words` and ends without a slash */
    KEY_WORD,           /* one of `words` */
    KEY_LEVEL,          /* a log level -> int */
    KEY_PROVIDER,       /* a name under providers -> const conf_provider_t * */
    KEY_MODEL,          /* a name under models -> const char * */
    KEY_AGENT,          /* a name under agents -> const char * */
    KEY_TASK,           /* a name under tasks -> const char * */
    KEY_MODELS,         /* a list of names under models -> conf_models_t */
    KEY_PRICE,          /* "2.50", at most 6 places, up to max -> uint64_t in millionths; "": that of another key, CONF_PRICE_SAME */
    KEY_TEXTS,          /* a list of texts of min to max bytes, each one of `words` if there are any -> conf_texts_t */
    KEY_FILTERS,        /* a list of names under filters -> conf_filters_t */
    KEY_SECRET,         /* nothing, or a reference to it: env:NAME, file:PATH, of max bytes at most -> const char * */
    KEY_PLACE           /* text or reference: for a URL that may hold a password; printed without it */
} key_type_t;

typedef struct {
    const char *path;       /* "database.pool"; a star stands for any name: "models.*.provider", "providers.*.endpoints.*.weight" */
    key_type_t  type;
    const char *fallback;   /* the default as one would write it; NULL: found out at run time, or `needed` */
    uint64_t    min, max;
    size_t      offset;     /* in conf_t, or for a path with a star in the struct of the thing named */
    const char *words;      /* "a|b|c" */
    const char *about;      /* one line */
    bool        needed;
} conf_key_t;

extern const conf_key_t conf_keys[];
extern const size_t     conf_nkeys;

/* YAML of the issuer `cognito` that the environment names (COGNITO_USER_POOL_ID, AWS_REGION), or NULL. */
char *conf_cognito(arena_t *a);
/* Fills in what the environment says of telemetry. What is wrong with it, static, and *key of which; or NULL. */
const char *conf_telemetry(arena_t *a, conf_t *c, const char **key);
/* What is wrong with an issuer; static, or NULL. */
const char *conf_issuer_wrong(const conf_t *c, size_t i);
/* What is wrong with what a model says of safety; static, or NULL. */
const char *conf_safety_wrong(const conf_model_t *m);
/* What is wrong with a filter, in the arena, or NULL. */
const char *conf_filter_wrong(arena_t *a, const conf_filter_t *f);

/* The most members of a list of this type; 0: it is no list. */
size_t conf_list_max(key_type_t t);

/* Whether a model is named where one of the other type, or of another vector space, belongs: then where, and what is wrong, in the arena. */
bool conf_models_wrong(arena_t *a, const struct conf *c, const char **path, const char **why);

/* "a whole number from 1 to 64", in out. */
void conf_expected(const conf_key_t *k, char *out, size_t cap);

#endif

/* Inside of conf/: one value, from its text in a file to its place in a struct. */
#ifndef SI_CONF_VALUE_H
#define SI_CONF_VALUE_H

#include "conf/conf.h"
#include "conf/keys.h"
#include "conf/yaml.h"

typedef struct {
    arena_t     *a;
    conf_t      *c;
    const char  *err;
} loader_t;

/* Where a value goes and what it is called in messages. */
typedef struct {
    const conf_key_t *key;
    const yaml_t     *node;
    const char       *path;
    void             *base;         /* conf_t, conf_provider_t, … */
} slot_t;

/* All of these return 0, or SI_EINVAL with l->err = "file:line: path: …". */
int  conf_fail_at(loader_t *l, const yaml_t *at, const char *path, const char *text);
/* "expected …, got …"; a value that may be a secret is not repeated. */
int  conf_wrong(loader_t *l, const slot_t *s);
/* Puts a value that is a text. */
int  conf_put(loader_t *l, const slot_t *s, const char *text);
/* Puts a list of names; s->node is one. */
int  conf_put_list(loader_t *l, const slot_t *s);
/* What a node is, for a message. */
const char *conf_got(arena_t *a, const yaml_t *v);
bool conf_name_ok(const char *text);

#endif

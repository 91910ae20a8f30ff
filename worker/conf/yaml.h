/* Inside of conf/: a YAML file as a tree whose nodes know their file and line, and trees laid over each other. */
#ifndef SI_CONF_YAML_H
#define SI_CONF_YAML_H

#include "base/arena.h"

#define YAML_FILE_MAX   (1u << 20)      /* bytes */
#define YAML_DEPTH_MAX  16
#define YAML_NAME_MAX   128             /* bytes of a key */

typedef enum { YAML_NULL, YAML_TEXT, YAML_MAP, YAML_LIST } yaml_kind_t;

typedef struct yaml {
    const char  *name;          /* key in its map; "" at the top and in a list */
    const char  *file;
    int          line;          /* of the key, from 1 */
    yaml_kind_t  kind;          /* YAML_NULL: nothing, ~ or null, not quoted */
    const char  *text;          /* of YAML_TEXT, NUL-terminated; valid UTF-8 without NUL */
    struct yaml *first, *next;  /* members in the order of the file */
} yaml_t;

/*
 * Reads a file (or, if text is not NULL, that text under this name). The top is a map; an empty file is an empty one.
 * NULL on error, with *err = "file:line: what is wrong". Refuses aliases, tags that are not YAML's own, several documents,
 * keys that occur twice.
 */
yaml_t *yaml_read(arena_t *a, const char *file, const char *text, const char **err);
/* Lays `over` on `under`: maps are merged, anything else replaced. A null replaces a value, but not a map. Both are used up. */
yaml_t *yaml_merge(yaml_t *under, yaml_t *over);
/* Member of a map, or NULL (also when m is NULL or no map). */
yaml_t *yaml_get(const yaml_t *m, const char *name);

#endif

/* Configuration from a text: conf_load() reads files. */
#ifndef SI_TEST_CONF_TEXT_H
#define SI_TEST_CONF_TEXT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"

/* As conf_load() of a file that holds the text: NULL with *err in the arena. */
static inline conf_t *conf_try_text(arena_t *a, const char *text, const char **err)
{
    char        path[] = "/tmp/si-conf-XXXXXX";
    const char *file = path;
    int         fd = mkstemp(path);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text)) {
        printf("Bail out! %s\n", path);
        exit(1);
    }
    close(fd);
    conf_t *c = conf_load(a, &file, 1, err);
    unlink(path);
    return c;
}

/* The same of a text that is right. */
static inline conf_t *conf_of_text(arena_t *a, const char *text)
{
    const char *err = NULL;
    conf_t     *c = conf_try_text(a, text, &err);

    if (c == NULL) {
        printf("Bail out! %s\n", err);
        exit(1);
    }
    return c;
}

#endif

/* Whether the arguments of a call, which come in pieces, are a whole JSON value. No I/O, and no parsing: brackets are counted. */
#ifndef SI_ARGS_H
#define SI_ARGS_H

#include "base/base.h"

/* All zero: nothing has come. */
typedef struct {
    bool     any, text, escape;     /* some came; within a string; behind a backslash */
    unsigned depth;                 /* brackets that are open */
} args_t;

/* The next piece. */
void args_follow(args_t *a, str_t piece);
/* A value has come, and all its brackets are closed. */
bool args_whole(const args_t *a);

#endif

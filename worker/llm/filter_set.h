/*
 * The filters of the configuration, compiled. A filter is one or more rules: its words are one (many words: several), each
 * pattern and each ready-made one is one. No I/O.
 */
#ifndef SI_FILTER_SET_H
#define SI_FILTER_SET_H

#include "base/buf.h"
#include "base/pattern.h"
#include "conf/conf.h"
#include "llm/filter_ready.h"

typedef enum { FILTER_INPUT, FILTER_OUTPUT, FILTER_DIRECTIONS } filter_direction_t;
typedef enum { FILTER_BLOCK, FILTER_REDACT, FILTER_REPORT, FILTER_ACTIONS } filter_action_t;

typedef struct {
    const conf_filter_t *of;
    const char     *name;           /* "pii/email", "bad/words", "own/pattern 2" */
    filter_action_t action;
    bool            looks[FILTER_DIRECTIONS];
    const char     *source;         /* the expression */
    pattern_t      *pattern;
    filter_check_t  check;          /* or NULL */
    uint64_t        matches[FILTER_DIRECTIONS];     /* counted for /metrics */
} filter_rule_t;

typedef struct filter_set {
    arena_t       *arena;
    filter_rule_t *rules;
    size_t         n;
} filter_set_t;

/* c must outlive it, and has been checked. */
filter_set_t *filter_set_new(const conf_t *c);
void          filter_set_free(filter_set_t *s);

/* "input", "block" and so on. */
const char *filter_direction_name(filter_direction_t d);
const char *filter_action_name(filter_action_t a);

/* For /metrics. */
void filter_set_print(const filter_set_t *s, buf_t *b);

#endif

/* Texts that are there whole, under filters: one after the other. */
#ifndef SI_FILTER_ONCE_H
#define SI_FILTER_ONCE_H

#include "base/json.h"
#include "llm/filter_text.h"

typedef struct {
    arena_t       *arena;
    filter_text_t  text;
    buf_t          out;
    bool           changed;         /* of the last text */
    bool           blocked;         /* of any text so far, also when its replacements grew too long */
} filter_once_t;

/* As filter_text_init(). */
void filter_once_init(filter_once_t *w, arena_t *a, filter_rule_t *const *rules, size_t n, filter_direction_t d,
                      void (*note)(filter_rule_t *, void *), void *arg);
void filter_once_free(filter_once_t *w);

/* *s as it may pass, in the arena when it changed. Long ones let others run meanwhile. 0 (look at `blocked`) or SI_ECANCELED. */
int co_filter_once(filter_once_t *w, str_t *s);
/* JSON text: every string of it, names too, and whole numbers. What is no JSON counts as one text. */
int co_filter_json(filter_once_t *w, str_t *s);
/* The same of a value; another one, of the arena, when it changed. */
int co_filter_tree(filter_once_t *w, const json_t **v);

#endif

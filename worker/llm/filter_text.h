/*
 * One text under filters, as it comes piece by piece. What comes out does not depend on how it was cut (but for what a
 * filter holds that hit a bound, or the maximum below): every rule looks at the text as it came, and what all have looked at
 * goes out, with the replacements. No I/O.
 */
#ifndef SI_FILTER_TEXT_H
#define SI_FILTER_TEXT_H

#include "base/buf.h"
#include "llm/filter_set.h"

#define FILTER_MATCH   8192u                /* bytes of a match that is found for certain */
#define FILTER_WINDOW  (2 * FILTER_MATCH)   /* bytes that are held back at most, beside the piece that came last */

typedef enum { LOOK_NONE, LOOK_OPEN, LOOK_FOUND } look_t;

/* How far a rule is. */
typedef struct {
    look_t state;
    size_t at, end;         /* LOOK_FOUND: the match; else at: none begins before it */
    size_t seen;            /* bytes of the text when it looked last */
} filter_cursor_t;

typedef struct {
    filter_rule_t  *const *rules;
    size_t          n;
    filter_direction_t direction;
    bool            past;               /* matches that would be blocked are redacted */
    void          (*note)(filter_rule_t *r, void *arg);     /* told of each match */
    void           *arg;
    buf_t           text;               /* what is held, behind up to PATTERN_LOOKBEHIND code points that are not */
    size_t          out;                /* bytes of it that are out */
    size_t          covered;            /* up to here a replacement stands for it */
    bool            begins;             /* text begins where the text begins */
    filter_rule_t  *blocked;            /* the rule, once one did: nothing comes out any more */
    filter_cursor_t *cursors;           /* one for each rule */
} filter_text_t;

/* rules are those for this direction, in their order; note may be NULL. */
void filter_text_init(filter_text_t *t, filter_rule_t *const *rules, size_t n, filter_direction_t d, void (*note)(filter_rule_t *, void *), void *arg);
void filter_text_free(filter_text_t *t);
/* Begins another text. */
void filter_text_reset(filter_text_t *t);
/* A piece (whole code points), appended to `out` as far as it may go; last: nothing follows. 0, or SI_ENOMEM of out's maximum. */
int  filter_text_feed(filter_text_t *t, str_t piece, bool last, buf_t *out);

#endif

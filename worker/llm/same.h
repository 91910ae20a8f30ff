/*
 * Private to the readers of formats. Most events of a stream are the one before with another piece of text: an event that was
 * read with all care is remembered, and the next one, if it has the same bytes but in values of which it is known what they do,
 * needs no reading. What an event means may hang on those before it, so only neighbours are compared. No I/O.
 */
#ifndef SI_SAME_H
#define SI_SAME_H

#include "llm/reply.h"

#define SAME_BYTES      1024u           /* of an event without those values; a longer one is not remembered */
#define SAME_VALUES     3               /* that may differ */
#define SAME_UNESCAPED  2048u           /* bytes of a piece that has escapes, with them; a longer one is read with care */

/* A value that may differ: a string without its quotes, or a whole number of less than 16 digits. */
typedef struct {
    str_t at;                           /* within the event; p NULL: it is not there */
    bool  number;
} same_value_t;

/* The same by its name: a member of an object so deep, 1 for the event itself; arrays count, too. */
typedef struct {
    str_t name;
    int   depth;
    bool  number;
} same_member_t;

/* What is done with a piece; `what` is as it was remembered. 0, or SI_E* with r->err. */
typedef int (*same_add_t)(reply_t *r, uint32_t what, str_t piece);
/* reply_text(), `what` is the kind. */
int  same_text(reply_t *r, uint32_t what, str_t piece);

/*
 * Remembers an event whose whole effect was add(r, what, piece) with a piece that is not empty, and would be with any other.
 * values[0] is the piece, and a string; the others, in any order, mean nothing.
 */
void same_learn(reply_t *r, str_t event, same_add_t add, uint32_t what, const same_value_t *values, size_t n);
/*
 * The same of an event that is JSON; members[0] is the piece, in which `said` was found. Nothing is remembered when that is empty,
 * and when a member is there twice: then only a parser knows which one counts.
 */
void same_learn_members(reply_t *r, str_t event, same_add_t add, uint32_t what, str_t said, const same_member_t *members, size_t n);
/* For each event. 1: it is the remembered one with another piece, and was read; 0: it is not, and none is remembered any more; SI_E* with r->err. */
int  same_read(reply_t *r, str_t event);

#endif

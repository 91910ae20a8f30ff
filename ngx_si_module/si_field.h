/*
 * Scanners of what clients send in header fields and addresses: plain C, so that t/fuzz can try them without nginx. What they
 * find points into what they were given.
 */
#ifndef SI_FIELD_H
#define SI_FIELD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char  *p;
    size_t n;
} si_field_text_t;

/* How many cookies of the list (RFC 6265 section 4.2.1) have the name; *value is the last one's. */
size_t si_field_cookie(si_field_text_t list, si_field_text_t name, si_field_text_t *value);

/* The token of "Bearer <token>" (RFC 6750 section 2.1), the scheme in either case. */
bool si_field_bearer(si_field_text_t field, si_field_text_t *token);

/* The token of "si.bearer.<token>" among subprotocols. */
bool si_field_subprotocol(si_field_text_t list, si_field_text_t *token);

/* The first argument "ticket=…" of a query (begun: the text begins with an argument), or of any text behind '?' or '&'. */
bool si_field_ticket(si_field_text_t text, bool begun, si_field_text_t *value);
/* Writes '*' over the values of all of them. */
void si_field_hide(si_field_text_t text, bool begun);

/*
 * Puts the members of a list before those in last[0..n-1], of which the oldest go: the newest is last[0]. How many there were.
 */
size_t si_field_members(si_field_text_t list, si_field_text_t *last, size_t n);

/*
 * An address without the blanks around it. port: what stands before ":<port>", which must be there, without brackets around
 * it; false: it is not.
 */
bool si_field_addr(si_field_text_t text, bool port, si_field_text_t *addr);

#endif

/*
 * Strict JSON (RFC 8259) and base64url (RFC 4648 section 5) for the few small texts the edge must read: JOSE headers, claims
 * and key sets. Plain C without nginx and without allocation: the caller brings the memory, and nothing is copied.
 *
 * Refused beyond the grammar, because readers differ about them and attacks live on the difference: a member twice in one
 * object (RFC 8725 2.4 and RFC 7515 4 allow it), bytes that are not UTF-8, lone surrogates, U+0000.
 */
#ifndef NGX_SI_JSON_H
#define NGX_SI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SI_JSON_DEPTH  16           /* arrays and objects in each other */
#define SI_JSON_TEXT   (256 * 1024) /* bytes of a whole text */
#define SI_JSON_NAME   256          /* bytes of a member's name, escapes resolved */

typedef enum {
    SI_JSON_OBJECT = 1, SI_JSON_ARRAY, SI_JSON_STRING, SI_JSON_NUMBER, SI_JSON_TRUE, SI_JSON_FALSE, SI_JSON_NULL
} si_json_type_t;

/* A value; a member of an object is two: its name, then its value. Values stand in the order of the text. */
typedef struct {
    uint32_t at, len;       /* in the text; of a string: between the quotes, escapes as they are */
    uint32_t next;          /* index of the first value behind this one and all that is in it */
    uint8_t  type;          /* si_json_type_t */
    bool     escaped;       /* a string with escapes */
} si_json_value_t;

typedef struct {
    const char      *text;
    size_t           n;
    si_json_value_t *v;     /* v[0] is the whole */
    uint32_t         count, max;
} si_json_t;

/* Reads one text into v[max]; text and v must stay. False: not JSON by the rules above, or more than max values. */
bool si_json_read(si_json_t *j, const char *text, size_t n, si_json_value_t *v, uint32_t max);
/* The member of an object; NULL: there is none, or `object` is NULL or no object. */
const si_json_value_t *si_json_get(const si_json_t *j, const si_json_value_t *object, const char *name);
/* Elements of an array: the first, then those that follow; NULL: no more, or no array. */
const si_json_value_t *si_json_first(const si_json_t *j, const si_json_value_t *array);
const si_json_value_t *si_json_after(const si_json_t *j, const si_json_value_t *array, const si_json_value_t *element);
/* A string with its escapes resolved, without NUL. Its length, or -1: no string (also NULL), or longer than cap. */
ptrdiff_t si_json_string(const si_json_t *j, const si_json_value_t *v, char *out, size_t cap);
/* v is a string and is this one. */
bool si_json_is(const si_json_t *j, const si_json_value_t *v, const char *z, size_t n);
/* The whole part of a number without exponent, at most 15 digits. False: anything else. */
bool si_json_whole(const si_json_t *j, const si_json_value_t *v, int64_t *out);

/*
 * Decodes base64url without padding. Bytes written, or -1: another character, an impossible length, bits that are not zero
 * at the end (so that each value has one spelling), or more than cap.
 */
ptrdiff_t si_base64url(uint8_t *out, size_t cap, const char *p, size_t n);

#endif

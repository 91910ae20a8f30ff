/*
 * API keys: "sk_si_", 40 random characters, 6 of checksum, all of 0-9A-Za-z (52 characters, 238 bits of chance).
 * The checksum is the first 32 bits (big-endian) of the SHA-256 of the 46 characters before it, as a number to the
 * base of 62 with the digits 0-9A-Za-z, most significant first, filled up with 0. It finds a mistyped or cut key
 * without a look into the database and lets scanners tell a real key; it proves nothing.
 */
#ifndef SI_STORE_KEY_H
#define SI_STORE_KEY_H

#include "base/base.h"

#define KEY_PREFIX  "sk_si_"
#define KEY_LEN     52
#define KEY_HINT    17      /* bytes of what may be shown, sk_si_Ab3d…x9Yz: the prefix and four more, and the last four */

/* A new key with NUL. */
void key_new(char out[KEY_LEN + 1]);
/* Shape and checksum are right. */
bool key_valid(str_t key);
/* The same of stream tickets (store/ticket.h): they differ from keys by their prefix, and so in their checksum. */
#define TICKET_PREFIX "st_si_"
void ticket_new(char out[KEY_LEN + 1]);
bool ticket_valid(str_t ticket);
/* What may be shown of a valid key, with NUL. */
void key_hint(const char *key, char out[KEY_HINT + 1]);
/* Whether `word` is among scopes, separated by spaces. The one there is: "admin", to manage the keys of the whole tenant. */
bool scope_has(const char *scopes, const char *word);
/* SHA-256 of the key as lower-case hex with NUL: what the database knows of it, and co_store_key() takes;
   of a ticket likewise. */
void key_hash(str_t key, char out[64 + 1]);

#endif

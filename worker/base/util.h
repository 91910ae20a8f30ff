/* Time, ids, encodings, digests. */
#ifndef SI_UTIL_H
#define SI_UTIL_H

#include "base/base.h"

#define UUID_LEN    36
#define SHA256_LEN  32
#define SHA1_LEN    20

/* Milliseconds / microseconds of the monotonic clock; milliseconds since 1970. */
uint64_t clock_ms(void);
uint64_t clock_us(void);
uint64_t clock_wall_ms(void);

/*
 * How long to wait after the n-th failure in a row (n >= 1): min doubled with each, up to max, of which a random share
 * of the upper half is taken, so that many who failed together do not come back together. All in ms.
 */
uint64_t backoff_ms(unsigned failures, uint64_t min, uint64_t max);

/* UUID version 7 (RFC 9562: time-ordered) as lower-case text with NUL. */
void uuid_new(char out[UUID_LEN + 1]);
/* 8-4-4-4-12 hex digits, any case. */
bool uuid_valid(str_t s);
/* A valid one in lower case with NUL, or false and nothing written. */
bool uuid_lower(str_t s, char out[UUID_LEN + 1]);

/* Lower-case hex with NUL; out holds 2n + 1 bytes. */
void hex_encode(char *out, const void *p, size_t n);
/* n bytes from 2n lower-case digits; false: it is not that. */
bool hex_decode(void *out, size_t n, str_t hex);
/* SHA-256 (FIPS 180-4) by OpenSSL. */
void sha256(uint8_t out[SHA256_LEN], const void *p, size_t n);
/* HMAC with SHA-256 (RFC 2104). */
void hmac_sha256(uint8_t out[SHA256_LEN], str_t key, str_t text);
/* SHA-1, where a protocol wants it (RFC 6455); it keeps no secrets. */
void sha1(uint8_t out[SHA1_LEN], const void *p, size_t n);
/* CRC-32 as gzip has it (RFC 1952, section 8). */
uint32_t crc32_of(const void *p, size_t n);
/* Random bytes of the system: small numbers of them are fetched in advance and used once, by one process. */
void random_bytes(void *p, size_t n);

/* Valid UTF-8 (RFC 3629) without NUL. */
bool utf8_valid(str_t s);
/* The longest n' <= n at which s may be cut without splitting a code point. */
size_t utf8_cut(const char *p, size_t n);

/* Decimal without sign, whole string. 0 or SI_EINVAL (also on overflow). */
int  parse_u64(str_t s, uint64_t *out);
/* "2.5" with 6 places -> 2500000: without sign or exponent, at most so many places (0 to 18). 0 or SI_EINVAL. */
int  parse_decimal(str_t s, unsigned places, uint64_t *out);
/* "500ms", "10s", "5m", "2h", "1d" -> ms; "64k", "8m", "1g" -> bytes (a bare number: ms, bytes). 0 or SI_EINVAL. */
int  parse_duration(str_t s, uint64_t *ms);
int  parse_size(str_t s, uint64_t *bytes);
/* Value of `name` in a query string, percent-decoded into out (NUL-terminated). Length, SI_ENOENT or SI_EINVAL (malformed, too long). */
int  query_arg(str_t query, const char *name, char *out, size_t cap);
/* An estimate of model tokens in a text: 4 bytes each, at least 1 if not empty. */
size_t token_estimate(str_t s);

#endif

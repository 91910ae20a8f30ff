#include <time.h>

#include "base/proc.h"
#include "base/util.h"

/*
 * 48 bits of milliseconds and 12 of their fraction (RFC 9562, section 6.2, method 3), never
 * the same twice in a process, so that ids made one after the other sort so.
 */
static uint64_t uuid_time(void)
{
    struct timespec ts;
    uint64_t ms, fraction, at;

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0) {
        si_die("clock_gettime failed");
    }
    ms = (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
    fraction = (uint64_t) (ts.tv_nsec % 1000000) * 4096 / 1000000;
    at = (ms << 12) | fraction;
    if (at <= proc.uuid_last) {
        at = proc.uuid_last + 1;
    }
    proc.uuid_last = at;
    return at;
}

void uuid_new(char out[UUID_LEN + 1])
{
    uint64_t at = uuid_time();
    uint8_t b[16];

    for (int i = 0; i < 6; i++) {
        b[i] = (uint8_t) (at >> (52 - 8 * i));
    }
    b[6] = (uint8_t) (0x70 | (at >> 8 & 0x0f));
    b[7] = (uint8_t) at;
    random_bytes(b + 8, 8);
    b[8] = (uint8_t) (0x80 | (b[8] & 0x3f));

    hex_encode(out, b, 4);
    hex_encode(out + 9, b + 4, 2);
    hex_encode(out + 14, b + 6, 2);
    hex_encode(out + 19, b + 8, 2);
    hex_encode(out + 24, b + 10, 6);
    out[8] = out[13] = out[18] = out[23] = '-';
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool uuid_valid(str_t s)
{
    if (s.n != UUID_LEN) {
        return false;
    }
    for (size_t i = 0; i < UUID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? s.p[i] != '-' : !is_hex(s.p[i])) {
            return false;
        }
    }
    return true;
}

bool uuid_lower(str_t s, char out[UUID_LEN + 1])
{
    if (!uuid_valid(s)) {
        return false;
    }
    for (size_t i = 0; i < UUID_LEN; i++) {
        out[i] = (char) (s.p[i] >= 'A' && s.p[i] <= 'F' ? s.p[i] | 32 : s.p[i]);
    }
    out[UUID_LEN] = '\0';
    return true;
}

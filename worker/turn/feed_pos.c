#include "turn/feed_pos.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"

#define EVENT_DIGITS  8     /* of an event number in the ninth attempt */

/* Takes the number before the next `until`, or the end. */
static int take(str_t *s, const char *until, int64_t *out)
{
    size_t   n = 0;
    uint64_t u;

    while (n < s->n && !strchr(until, s->p[n])) {
        n++;
    }
    if (parse_u64((str_t) { s->p, n }, &u) || u > EVENT_ALL) {
        return SI_EINVAL;
    }
    *out = (int64_t) u;
    s->p += n;
    s->n -= n;
    return 0;
}

static bool skip(str_t *s, char c)
{
    if (s->n == 0 || *s->p != c) {
        return false;
    }
    s->p++;
    s->n--;
    return true;
}

int feed_pos_parse(str_t id, feed_pos_t *pos)
{
    int64_t distance, last = -1;

    *pos = (feed_pos_t) { 0 };
    if (id.n > FEED_ID_MAX || take(&id, "-", &pos->top)) {
        return SI_EINVAL;
    }
    while (skip(&id, '-')) {
        feed_turn_t t = { 0 };

        if (pos->n == FEED_OPEN_MAX || take(&id, ".-", &distance) || (skip(&id, '.') && take(&id, "-", &t.seen))) {
            return SI_EINVAL;
        }
        t.ordinal = pos->top - distance;
        if (distance <= last || t.ordinal < 1 || t.seen >= EVENT_ALL) {
            return SI_EINVAL;
        }
        last = distance;
        pos->open[pos->n++] = t;
    }
    return id.n == 0 ? 0 : SI_EINVAL;
}

str_t feed_pos_text(const feed_pos_t *pos, char out[FEED_ID_MAX + 1])
{
    size_t n = (size_t) snprintf(out, FEED_ID_MAX + 1, "%" PRId64, pos->top);

    for (size_t i = 0; i < pos->n && n < FEED_ID_MAX; i++) {
        const feed_turn_t *t = &pos->open[i];

        n += (size_t) snprintf(out + n, FEED_ID_MAX + 1 - n, t->seen ? "-%" PRId64 ".%" PRId64 : "-%" PRId64,
                               pos->top - t->ordinal, t->seen);
    }
    return (str_t) { out, SI_MIN(n, (size_t) FEED_ID_MAX) };
}

static size_t find(const feed_pos_t *pos, int64_t ordinal)
{
    size_t i = 0;

    while (i < pos->n && pos->open[i].ordinal != ordinal) {
        i++;
    }
    return i;
}

int64_t feed_pos_seen(const feed_pos_t *pos, int64_t ordinal)
{
    size_t i = find(pos, ordinal);

    return ordinal > pos->top ? 0 : i < pos->n ? pos->open[i].seen : EVENT_ALL;
}

void feed_pos_set(feed_pos_t *pos, int64_t ordinal, int64_t seen)
{
    size_t i = find(pos, ordinal);

    if (i == pos->n) {
        return;
    }
    pos->open[i].seen = seen;
    if (seen >= EVENT_ALL) {
        memmove(&pos->open[i], &pos->open[i + 1], (pos->n - i - 1) * sizeof(pos->open[0]));
        pos->n--;
    }
}

static size_t digits(int64_t n)
{
    size_t d = 1;

    while (n >= 10) {
        n /= 10;
        d++;
    }
    return d;
}

int feed_pos_next(feed_pos_t *pos, bool open)
{
    size_t size = digits(pos->top + 1) + (open ? 3 + EVENT_DIGITS : 0);

    for (size_t i = 0; i < pos->n; i++) {
        size += 2 + digits(pos->top + 1 - pos->open[i].ordinal) + EVENT_DIGITS;
    }
    if (size > FEED_ID_MAX || (open && pos->n == FEED_OPEN_MAX)) {
        return SI_ENOMEM;
    }
    pos->top++;
    if (open) {
        memmove(&pos->open[1], &pos->open[0], pos->n * sizeof(pos->open[0]));
        pos->open[0] = (feed_turn_t) { pos->top, 0 };
        pos->n++;
    }
    return 0;
}

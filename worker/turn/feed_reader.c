/* One reader of a feed at the edge: what it has not seen, as private bytes; then it is attached to the feed's log. */
#include "turn/feed.h"

#include "link/frame.h"
#include "turn/reader.h"

#define WRITE_MS  60000         /* as for any stream */
#define TRIES     3             /* waits in which nothing came */

/* 0 when it is level with the feed, and nothing was awaited since. */
static int co_catch_up(call_t *call, feed_t *f, feed_tail_t *t)
{
    char  text[FEED_ID_MAX + 1];
    buf_t b;
    int   tries = 0, rc = 0;

    buf_init(&b, SI_FRAME_MAX - FEED_ID_MAX - 1);
    while (rc == 0) {
        rc = co_feed_take(t, &b);
        if (rc > 0) {
            rc = co_call_event(call, feed_pos_text(&t->pos, text), (str_t) { b.p, b.n }, clock_ms() + WRITE_MS);
            buf_consume(&b, b.n);
            tries = 0;
        } else if (rc == 0 && t->level) {
            break;
        } else if (rc == 0) {           /* the reader is ahead: it comes from another worker */
            rc = co_feed_wait(f);
            rc = rc == SI_ETIMEDOUT && ++tries < TRIES ? 0 : rc;
        }
    }
    buf_free(&b);
    return rc;
}

void co_feed_read(call_t *call, feed_t *f, const feed_pos_t *pos)
{
    feed_tail_t t;
    char        text[FEED_ID_MAX + 1];
    int         rc;

    feed_tail_open(&t, f, pos, NULL);
    rc = call->resume.n ? 0 : co_reader_prime(call, feed_pos_text(pos, text));
    rc = rc ? rc : co_catch_up(call, f, &t);
    if (rc) {
        call_abort(call);
    } else if (call_attach(call, f->log)) {
        evlog_publish(f->log, feed_pos_text(&f->pos, text), STR_NULL);
    }
    feed_tail_close(&t);
}

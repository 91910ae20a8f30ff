/* Positions in a user's whole stream: text, turns that open and end, the bound on their length. */
#include "base/util.h"
#include "tap.h"
#include "turn/feed_pos.h"

static void test_text(void)
{
    static const char *const good[] = { "0", "421", "421-0", "421-0.7", "421-1.7-6", "421-1.1000003-2-419.1-420.9", "1-0" };
    static const char *const bad[] = {
        "", "-", "x", "12.7", "421-", "421--1", "421-1.", "421-1.7-", "421-2-1", "421-1-1", "421-421", "421 ", "+1", "421-1.7.3",
        "421-1.999999999999", "99999999999999", "20-0-1-2-3-4-5-6-7-8-9-10-11-12-13-14",
    };
    char       text[FEED_ID_MAX + 1];
    feed_pos_t pos;

    for (size_t i = 0; i < SI_COUNT(good); i++) {
        ok(feed_pos_parse(str_of(good[i]), &pos) == 0, "'%s' is a position", good[i]);
        is_str(feed_pos_text(&pos, text).p, good[i], "and back");
    }
    for (size_t i = 0; i < SI_COUNT(bad); i++) {
        ok(feed_pos_parse(str_of(bad[i]), &pos) == SI_EINVAL, "'%s' is none", bad[i]);
    }
}

static void test_turns(void)
{
    feed_pos_t pos;
    char       text[FEED_ID_MAX + 1];

    feed_pos_parse(STR("10-1.7-4"), &pos);
    ok(feed_pos_seen(&pos, 10) == EVENT_ALL && feed_pos_seen(&pos, 9) == 7 && feed_pos_seen(&pos, 6) == 0
       && feed_pos_seen(&pos, 1) == EVENT_ALL && feed_pos_seen(&pos, 11) == 0, "what has been seen");
    is_int(feed_pos_next(&pos, true), 0, "a new turn opens");
    is_int(feed_pos_next(&pos, false), 0, "one is over already");
    feed_pos_set(&pos, 11, 3);
    feed_pos_set(&pos, 6, 1);
    feed_pos_set(&pos, 9, EVENT_ALL);
    feed_pos_set(&pos, 2, 5);
    is_str(feed_pos_text(&pos, text).p, "12-1.3-6.1", "and others go on and end");
}

/* However many turns are open, for however long: the text fits. */
static void test_room(void)
{
    feed_pos_t pos = { .top = 999999990 };
    char       text[FEED_ID_MAX + 1];
    size_t     longest = 0;
    int        rc = 0;

    while (rc == 0) {
        rc = feed_pos_next(&pos, true);
        for (size_t i = 0; i < pos.n; i++) {
            pos.open[i].seen = 8000000 + (int64_t) i;
        }
        longest = SI_MAX(longest, feed_pos_text(&pos, text).n);
    }
    ok(rc == SI_ENOMEM && pos.n >= 12 && longest < FEED_ID_MAX, "there is an end to open turns");
    while (feed_pos_next(&pos, false) == 0 && pos.top < 1100000000) {
        pos.top += 99;
    }
    ok(feed_pos_text(&pos, text).n < FEED_ID_MAX, "and to how far they may lie back");
    feed_pos_set(&pos, pos.open[pos.n - 1].ordinal, EVENT_ALL);
    is_int(feed_pos_next(&pos, false), 0, "when the oldest has ended there is room again");
}

int main(void)
{
    test_text();
    test_turns();
    test_room();
    return done_testing();
}

/* Filters for tests, and the shortest way through them. */
#ifndef SI_FILTER_SETS_H
#define SI_FILTER_SETS_H

#include "base/util.h"
#include "llm/filter_text.h"

#define TEXTS(...)  { (const char *const []) { __VA_ARGS__ }, sizeof((const char *const []) { __VA_ARGS__ }) / sizeof(char *) }

static inline conf_filter_t make_filter(const char *name, const char *action)
{
    return (conf_filter_t) { .name = name, .action = action, .direction = "both", .replacement = "[x]", .whole_words = "on" };
}

typedef struct {
    filter_set_t  *set;
    filter_rule_t *rules[64];
    conf_t         conf;
} sets_t;

/* f must live as long. */
static inline void sets_init(sets_t *s, conf_filter_t *f, size_t n)
{
    memset(s, 0, sizeof *s);
    s->conf.filter_sets = f;
    s->conf.nfilter_sets = n;
    s->set = filter_set_new(&s->conf);
    for (size_t i = 0; i < s->set->n && i < SI_COUNT(s->rules); i++) {
        s->rules[i] = &s->set->rules[i];
    }
}

/* The text in pieces of `size` bytes (0: one piece), but for a first one of `first`. True: blocked. */
static inline bool run_text(const sets_t *s, str_t text, size_t first, size_t size, buf_t *out)
{
    filter_text_t t;
    bool          blocked;

    filter_text_init(&t, s->rules, s->set->n, FILTER_OUTPUT, NULL, NULL);
    for (size_t at = 0; at < text.n && t.blocked == NULL; ) {
        size_t n = at == 0 && first > 0 ? first : size > 0 ? size : text.n;

        n = SI_MIN(n, text.n - at);
        while (n < text.n - at && ((unsigned char) text.p[at + n] & 0xc0) == 0x80) {
            n++;
        }
        if (filter_text_feed(&t, (str_t) { text.p + at, n }, false, out) != 0) {
            abort();
        }
        at += n;
    }
    (void) filter_text_feed(&t, STR(""), true, out);
    blocked = t.blocked != NULL;
    filter_text_free(&t);
    return blocked;
}

#endif

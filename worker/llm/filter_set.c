#include "llm/filter_set.h"

#include <inttypes.h>

#define WORDS_BYTES  12000u         /* of words in one rule: PCRE2 bounds the size of what it compiles */

const char *filter_direction_name(filter_direction_t d)
{
    return d == FILTER_INPUT ? "input" : "output";
}

const char *filter_action_name(filter_action_t a)
{
    static const char *const names[] = { "block", "redact", "report" };

    return names[a];
}

static filter_action_t action_of(const conf_filter_t *f)
{
    return strcmp(f->action, "redact") == 0 ? FILTER_REDACT : strcmp(f->action, "report") == 0 ? FILTER_REPORT : FILTER_BLOCK;
}

static void add_rule(filter_set_t *s, const conf_filter_t *f, const char *what, const char *pattern, bool any_case, filter_check_t check)
{
    filter_rule_t *r = &s->rules[s->n++];
    const char    *err;

    r->of = f;
    r->name = arena_printf(s->arena, "%s/%s", f->name, what);
    r->action = action_of(f);
    r->looks[FILTER_INPUT] = strcmp(f->direction, "output") != 0;
    r->looks[FILTER_OUTPUT] = strcmp(f->direction, "input") != 0;
    r->check = check;
    r->source = arena_strdup(s->arena, pattern);
    r->pattern = pattern_new(s->arena, pattern, any_case, &err);
    if (r->pattern == NULL) {
        si_die("filter %s: %s", r->name, err);
    }
}

/* A word as a pattern: each byte that means something to PCRE2 behind a backslash, white space as any of it. */
static void put_word(buf_t *b, const char *word)
{
    for (const char *p = word; *p != '\0'; p++) {
        if (strchr(" \t\r\n", *p) != NULL) {
            (void) buf_puts(b, "\\s+");
            p += strspn(p, " \t\r\n") - 1;
        } else {
            (void) buf_printf(b, "%s%c", strchr("\\^$.[|()?*+{}-]#", *p) != NULL ? "\\" : "", *p);
        }
    }
}

/* The longest first: of two words of which one begins the other, the longer one is meant. */
static int by_length(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    size_t             n = strlen(*x), k = strlen(*y);

    return n < k ? 1 : n > k ? -1 : strcmp(*x, *y);
}

static void end_words(filter_set_t *s, const conf_filter_t *f, buf_t *b)
{
    bool whole = strcmp(f->whole_words, "on") == 0;

    if (b->n > 0) {
        add_rule(s, f, "words", arena_printf(s->arena, "%s(?:%.*s)%s", whole ? "(?<![\\p{L}\\p{N}])" : "", (int) b->n, b->p,
                                             whole ? "(?![\\p{L}\\p{N}])" : ""), true, NULL);
        buf_consume(b, b->n);
    }
}

static void add_words(filter_set_t *s, const conf_filter_t *f)
{
    const char **words = arena_alloc(s->arena, (f->words.n + 1) * sizeof *words);
    buf_t        b;

    buf_init(&b, 4 * WORDS_BYTES);
    memcpy(words, f->words.p, f->words.n * sizeof *words);
    qsort(words, f->words.n, sizeof *words, by_length);
    for (size_t i = 0; i < f->words.n; i++) {
        (void) buf_puts(&b, b.n > 0 ? "|" : "");
        put_word(&b, words[i]);
        if (b.n > WORDS_BYTES) {
            end_words(s, f, &b);
        }
    }
    end_words(s, f, &b);
    buf_free(&b);
}

static void add_filter(filter_set_t *s, const conf_filter_t *f)
{
    if (f->words.n > 0) {
        add_words(s, f);
    }
    for (size_t i = 0; i < f->patterns.n; i++) {
        add_rule(s, f, arena_printf(s->arena, "pattern %zu", i + 1), f->patterns.p[i], false, NULL);
    }
    for (size_t i = 0; i < f->ready.n; i++) {
        const filter_ready_t *r = filter_ready(f->ready.p[i]);
        add_rule(s, f, r->name, r->pattern, false, r->check);
    }
}

filter_set_t *filter_set_new(const conf_t *c)
{
    filter_set_t *s = si_calloc(sizeof *s);
    size_t        n = 0;

    s->arena = arena_new(1024);
    for (size_t i = 0; i < c->nfilter_sets; i++) {
        n += c->filter_sets[i].words.n + c->filter_sets[i].patterns.n + c->filter_sets[i].ready.n;
    }
    s->rules = arena_calloc(s->arena, (n + 1) * sizeof *s->rules);
    for (size_t i = 0; i < c->nfilter_sets; i++) {
        add_filter(s, &c->filter_sets[i]);
    }
    return s;
}

void filter_set_free(filter_set_t *s)
{
    if (s != NULL) {
        for (size_t i = 0; i < s->n; i++) {
            pattern_free(s->rules[i].pattern);
        }
        arena_free(s->arena);
        free(s);
    }
}

void filter_set_print(const filter_set_t *s, buf_t *b)
{
    (void) buf_puts(b, "# HELP si_filter_matches_total Matches of filters, by what was done.\n# TYPE si_filter_matches_total counter\n");
    for (size_t i = 0; i < s->n; i++) {
        for (filter_direction_t d = FILTER_INPUT; d < FILTER_DIRECTIONS; d++) {
            const filter_rule_t *r = &s->rules[i];

            if (r->looks[d] && (i == 0 || strcmp(r->name, s->rules[i - 1].name) != 0)) {
                uint64_t sum = r->matches[d];
                for (size_t k = i + 1; k < s->n && strcmp(r->name, s->rules[k].name) == 0; k++) {
                    sum += s->rules[k].matches[d];     /* many words are several rules */
                }
                (void) buf_printf(b, "si_filter_matches_total{rule=\"%s\",direction=\"%s\",action=\"%s\"} %" PRIu64 "\n", r->name,
                                  filter_direction_name(d), filter_action_name(r->action), sum);
            }
        }
    }
}

/* Read look_at_all() first. */
#include "llm/filter_text.h"

#include "base/util.h"

#define SLICE    4096u                          /* bytes that are looked at in one go */
#define CONTEXT  (4 * PATTERN_LOOKBEHIND)       /* bytes in front that stay for lookbehinds */

void filter_text_init(filter_text_t *t, filter_rule_t *const *rules, size_t n, filter_direction_t d, void (*note)(filter_rule_t *, void *), void *arg)
{
    memset(t, 0, sizeof *t);
    t->rules = rules;
    t->n = n;
    t->direction = d;
    t->note = note;
    t->arg = arg;
    t->cursors = si_calloc((n + 1) * sizeof *t->cursors);
    buf_init(&t->text, FILTER_WINDOW + 2 * SLICE + 8 * CONTEXT);
    filter_text_reset(t);
}

void filter_text_free(filter_text_t *t)
{
    buf_free(&t->text);
    free(t->cursors);
    t->cursors = NULL;
}

void filter_text_reset(filter_text_t *t)
{
    buf_free(&t->text);
    memset(t->cursors, 0, t->n * sizeof *t->cursors);
    t->out = t->covered = 0;
    t->begins = true;
    t->blocked = NULL;
}

/* --- one rule --- */

static filter_action_t action_of(const filter_text_t *t, const filter_rule_t *r)
{
    return r->action == FILTER_BLOCK && t->past ? FILTER_REDACT : r->action;
}

static void note(filter_text_t *t, filter_rule_t *r)
{
    r->matches[t->direction]++;
    if (t->note != NULL) {
        t->note(r, t->arg);
    }
}

static size_t next_point(const filter_text_t *t, size_t at)
{
    do {
        at++;
    } while (at < t->text.n && ((unsigned char) t->text.p[at] & 0xc0) == 0x80);
    return at;
}

/* Moves the cursor to the next match of its rule that is one, or to where it may begin, or to the end. */
static void look(filter_text_t *t, size_t i, bool last)
{
    filter_cursor_t     *c = &t->cursors[i];
    const filter_rule_t *r = t->rules[i];
    str_t                text = { t->text.p, t->text.n };
    size_t               start = c->at, end = text.n;

    while (c->at < text.n) {
        pattern_rc_t rc = pattern_find(r->pattern, text, c->at, t->begins, last, &start, &end);

        if (rc == PATTERN_LIMIT) {              /* nothing is known of this text: it counts as a match */
            *c = (filter_cursor_t) { LOOK_FOUND, c->at, text.n, text.n };
            return;
        }
        if (rc == PATTERN_NONE) {
            break;
        }
        c->at = start;
        if (rc == PATTERN_OPEN) {
            c->state = LOOK_OPEN;
            return;
        }
        end = r->check == NULL ? end : start + r->check((str_t) { text.p + start, text.n - start }, end - start);
        if (end > start) {
            c->state = LOOK_FOUND;
            c->end = end;
            return;
        }
        c->at = next_point(t, start);
    }
    c->at = text.n;
    c->state = LOOK_NONE;
}

/* What is open for longer than anybody waits: as if the text ended here. If that is no match, only its last half is kept. */
static void force(filter_text_t *t, size_t i)
{
    filter_cursor_t *c = &t->cursors[i];

    look(t, i, true);
    if (c->state == LOOK_NONE) {
        c->at = utf8_cut(t->text.p, t->text.n - FILTER_MATCH);
        c->state = LOOK_OPEN;
    }
}

/* --- all of them --- */

/* Where the first match or possible match of any rule begins. */
static size_t decided(const filter_text_t *t)
{
    size_t at = t->text.n;

    for (size_t i = 0; i < t->n; i++) {
        at = SI_MIN(at, t->cursors[i].at);
    }
    return at;
}

/* Sends what all rules have looked at, but for what a replacement stands for. */
static int send(filter_text_t *t, size_t upto, buf_t *out)
{
    int rc = 0;

    t->out = SI_MAX(t->out, SI_MIN(t->covered, upto));
    if (upto > t->out) {
        rc = buf_append(out, t->text.p + t->out, upto - t->out);
        t->out = upto;
    }
    return rc;
}

/* The match of rule i, before which all is out. */
static int take(filter_text_t *t, size_t i, buf_t *out)
{
    filter_cursor_t *c = &t->cursors[i];
    int              rc = 0;

    note(t, t->rules[i]);
    if (action_of(t, t->rules[i]) == FILTER_REDACT) {
        rc = c->at >= t->covered ? buf_puts(out, t->rules[i]->of->replacement) : 0;
        t->covered = SI_MAX(t->covered, c->end);
    }
    c->at = c->end;
    c->state = LOOK_NONE;
    return rc;
}

/* Looks on with every rule that waits for nothing; sets t->blocked. */
static void look_all(filter_text_t *t, bool last)
{
    for (size_t i = 0; i < t->n; i++) {
        filter_cursor_t *c = &t->cursors[i];

        if (c->state == LOOK_NONE || (c->state == LOOK_OPEN && (c->seen < t->text.n || last))) {
            look(t, i, last);
            c->seen = t->text.n;
            if (c->state == LOOK_OPEN && t->text.n - c->at > FILTER_WINDOW) {
                force(t, i);
            }
        }
        if (c->state == LOOK_FOUND && action_of(t, t->rules[i]) == FILTER_BLOCK && t->blocked == NULL) {
            t->blocked = t->rules[i];
        }
    }
}

static int look_at_all(filter_text_t *t, bool last, buf_t *out)
{
    bool   found;
    size_t upto;
    int    rc;

    do {
        look_all(t, last);                  /* each rule up to its next match, or to where one may begin */
        upto = decided(t);                  /* nothing before this matters to any of them */
        rc = send(t, upto, out);
        found = false;
        for (size_t i = 0; i < t->n && rc == 0; i++) {
            const filter_cursor_t *c = &t->cursors[i];

            if (c->state == LOOK_FOUND && c->at == upto && action_of(t, t->rules[i]) != FILTER_BLOCK) {
                rc = take(t, i, out);       /* the replacement, once for matches that overlap */
                found = true;
            }
        }
    } while (found && rc == 0);             /* what stands before a match that blocks goes out as far as all have looked at it */
    if (t->blocked != NULL) {
        note(t, t->blocked);
    }
    return rc;
}

/* Forgets what is out, but for what lookbehinds may want to see. */
static void trim(filter_text_t *t)
{
    size_t n = SI_MIN(t->out, decided(t));

    n = n > CONTEXT ? utf8_cut(t->text.p, n - CONTEXT) : 0;
    if (n < CONTEXT) {
        return;                             /* not worth it */
    }
    buf_consume(&t->text, n);
    t->begins = false;
    t->out -= n;
    t->covered -= SI_MIN(t->covered, n);
    for (size_t i = 0; i < t->n; i++) {
        t->cursors[i].at -= n;
        t->cursors[i].end -= SI_MIN(t->cursors[i].end, n);
        t->cursors[i].seen -= SI_MIN(t->cursors[i].seen, n);
    }
}

int filter_text_feed(filter_text_t *t, str_t piece, bool last, buf_t *out)
{
    int rc = 0;

    do {
        size_t n = piece.n > SLICE ? utf8_cut(piece.p, SLICE) : piece.n;

        if (t->blocked != NULL) {
            return 0;
        }
        if (n > 0 && buf_append(&t->text, piece.p, n) != 0) {
            return SI_ENOMEM;
        }
        piece = (str_t) { piece.p + n, piece.n - n };
        rc = look_at_all(t, last && piece.n == 0, out);
        trim(t);
    } while (rc == 0 && piece.n > 0);
    return rc;
}

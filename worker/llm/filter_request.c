/* Read co_filter_doors() first. */
#include "llm/filter_request.h"

#include "base/base64.h"
#include "base/proc.h"
#include "base/util.h"

/* A copy in the arena, with room for one more. */
static void *copy(arena_t *a, const void *p, size_t n, size_t size)
{
    char *to = arena_alloc(a, (n + 1) * size);

    if (n > 0) {
        memcpy(to, p, n * size);
    }
    return to;
}

/* A text of the arena or the configuration, which ends with a 0; NULL is none. */
static int co_word(filter_once_t *w, const char **word)
{
    str_t s = *word != NULL ? str_of(*word) : STR("");
    int   rc = co_filter_once(w, &s);

    if (w->changed) {
        *word = arena_dup(w->arena, s.p, s.n);
    }
    return rc;
}

/* --- files --- */

static bool is_text(const char *media)
{
    static const char *const types[] = { "application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript",
                                         "application/x-ndjson", "application/sql", "image/svg+xml" };
    size_t n = strcspn(media, "; ");
    bool   text = strncmp(media, "text/", 5) == 0 || (n > 5 && strncmp(media + n - 5, "+json", 5) == 0)
                  || (n > 4 && strncmp(media + n - 4, "+xml", 4) == 0);

    for (size_t i = 0; i < SI_COUNT(types) && !text; i++) {
        text = strlen(types[i]) == n && memcmp(media, types[i], n) == 0;
    }
    return text;
}

/* What is in a file of text. One that cannot be read as UTF-8 cannot be looked at, and so does not pass. */
static int co_text_file(filter_once_t *w, chat_part_t *p)
{
    size_t  cap = BASE64_BYTES(p->text.n);
    char   *bytes = arena_alloc(w->arena, cap), *out;
    ssize_t n = base64_decode(bytes, cap, p->text);
    str_t   text = { bytes, n > 0 ? (size_t) n : 0 };
    int     rc;

    if (n < 0 || !utf8_valid(text)) {
        w->blocked |= w->text.n > 0;
        return 0;
    }
    rc = co_filter_once(w, &text);
    if (w->changed) {
        out = arena_alloc(w->arena, BASE64_LEN(text.n) + 1);
        p->text = (str_t) { out, base64_encode(out, text.p, text.n) };
    }
    return rc;
}

static int co_file(filter_once_t *w, chat_part_t *p)
{
    int rc = co_word(w, &p->name);

    if (rc != 0) {
        return rc;
    }
    return p->media == NULL ? co_filter_once(w, &p->text) : is_text(p->media) ? co_text_file(w, p) : 0;
}

/* --- messages --- */

/* Prompts of agents are the configuration's own words; they are known by their place in memory. */
static bool is_prompt(const chat_part_t *p)
{
    for (size_t i = 0; i < proc.conf->nagents; i++) {
        if (p->text.p == proc.conf->agents[i].prompt) {
            return true;
        }
    }
    return false;
}

static int co_parts(filter_once_t *w, const chat_part_t **parts, size_t *n);

/* *gone: it may not go on at all, since what is sealed goes as it is. */
static int co_part(filter_once_t *w, chat_part_t *p, bool *gone)
{
    int rc = 0;

    switch (p->kind) {
    case PART_NAME:
        return co_filter_once(w, &p->text);
    case PART_TEXT:
        return is_prompt(p) ? 0 : co_filter_once(w, &p->text);
    case PART_REASONING:
        rc = co_filter_once(w, &p->text);
        *gone = w->changed && p->signature.n > 0;
        return rc;
    case PART_IMAGE: case PART_FILE:
        return co_file(w, p);
    case PART_CALL:
        rc = co_filter_json(w, &p->text);
        break;
    case PART_RESULT:
        rc = co_parts(w, &p->parts, &p->nparts);
        break;
    case PART_REDACTED:
        return 0;
    }
    rc = rc != 0 ? rc : co_word(w, &p->name);
    return rc != 0 ? rc : co_word(w, &p->id);       /* of a call and its result the same, before and after */
}

static int co_parts(filter_once_t *w, const chat_part_t **parts, size_t *n)
{
    chat_part_t *to = copy(w->arena, *parts, *n, sizeof *to);
    size_t       kept = 0;
    int          rc = 0;

    *parts = to;
    for (size_t i = 0; i < *n && rc == 0 && !w->blocked; i++) {
        chat_part_t p = to[i];
        bool        gone = false;

        rc = co_part(w, &p, &gone);
        if (!gone) {
            to[kept++] = p;
        }
    }
    *n = kept;
    return rc;
}

/* Those from `now` on are said now: the others have been, and a word in them is no reason to lose the conversation. */
static int co_messages(filter_once_t *w, const chat_message_t **messages, size_t n, size_t now)
{
    chat_message_t *to = copy(w->arena, *messages, n, sizeof *to);
    int             rc = 0;

    *messages = to;
    for (size_t i = 0; i < n && rc == 0 && !w->blocked; i++) {
        w->text.past = i < now;
        rc = co_parts(w, &to[i].parts, &to[i].nparts);
    }
    w->text.past = false;
    return rc;
}

/* The first message that is said now: the last one, and results of tools that come together. */
static size_t first_now(const llm_request_t *q)
{
    size_t i = q->nmessages > 0 ? q->nmessages - 1 : 0;

    while (i > 0 && q->messages[i].nparts > 0 && q->messages[i].parts[0].kind == PART_RESULT && q->messages[i - 1].nparts > 0
           && q->messages[i - 1].parts[0].kind == PART_RESULT) {
        i--;
    }
    return i;
}

/* --- what comes with them --- */

static int co_tools(filter_once_t *w, chat_options_t *o)
{
    chat_tool_t *to = copy(w->arena, o->tools, o->ntools, sizeof *to);
    int          rc = co_word(w, &o->choice_name);

    o->tools = to;
    for (size_t i = 0; i < o->ntools && rc == 0 && !w->blocked; i++) {
        rc = co_word(w, &to[i].name);
        rc = rc != 0 ? rc : co_word(w, &to[i].description);
        rc = rc != 0 ? rc : co_filter_json(w, &to[i].schema);
    }
    return rc;
}

static int co_stops(filter_once_t *w, chat_options_t *o)
{
    int rc = 0;

    o->stop = copy(w->arena, o->stop, o->nstop, sizeof *o->stop);
    for (size_t i = 0; i < o->nstop && rc == 0 && !w->blocked; i++) {
        rc = co_word(w, &o->stop[i]);
    }
    return rc;
}

static int co_options(filter_once_t *w, chat_options_t *o)
{
    int rc = co_stops(w, o);

    rc = rc != 0 ? rc : co_word(w, &o->shape_name);
    rc = rc != 0 ? rc : co_word(w, &o->shape_about);
    rc = rc != 0 ? rc : co_filter_json(w, &o->shape_schema);
    rc = rc != 0 ? rc : co_word(w, &o->end_user);
    return rc != 0 || o->extra == NULL ? rc : co_filter_tree(w, &o->extra);
}

int co_filter_doors(filter_once_t *w, llm_request_t *q)
{
    int rc = co_messages(w, &q->messages, q->nmessages, first_now(q));

    rc = rc != 0 ? rc : co_messages(w, &q->related, q->nrelated, q->nrelated);      /* said elsewhere, before */
    rc = rc != 0 ? rc : co_tools(w, &q->options);
    return rc != 0 ? rc : co_options(w, &q->options);       /* members that only one provider knows, too */
}

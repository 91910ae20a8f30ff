/*
 * The offline answerer: no model. It says so, and tells what can be found by looking: how long the
 * conversation is, and what the user has said that has words in common with the question. Deterministic.
 */
#include "llm/provider.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/util.h"
#include "run/co.h"

#define WORD_MS      5                  /* between words, so that it can be seen to stream */
#define TEXT_MAX     4096u              /* the answer: four quotes and a frame */
#define QUOTE_MAX    160u               /* bytes of a quote */
#define RELATED_MAX  3
#define WORDS_MAX    32                 /* of the question that are looked for */
#define SEARCH_MAX   200                /* messages of the history, the latest ones */
#define SEARCH_BYTES 4096u              /* of each of them, so that the loop is not held up */

#define OPENING  "I am Si's offline answerer and no language model"

struct llm_call {
    const llm_request_t *q;
    buf_t                text;
    size_t               at;            /* bytes handed out */
    llm_result_t         result;
};

/* Words */

static bool word_byte(unsigned char c)
{
    return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool next_word(str_t *rest, str_t *word)
{
    size_t i = 0, start;

    while (i < rest->n && !word_byte((unsigned char) rest->p[i])) {
        i++;
    }
    start = i;
    while (i < rest->n && word_byte((unsigned char) rest->p[i])) {
        i++;
    }
    *word = (str_t) { rest->p + start, i - start };
    rest->p += i;
    rest->n -= i;
    return word->n > 0;
}

static bool same_word(str_t a, str_t b)
{
    if (a.n != b.n) {
        return false;
    }
    for (size_t i = 0; i < a.n; i++) {
        unsigned char x = (unsigned char) a.p[i], y = (unsigned char) b.p[i];

        x |= x >= 'A' && x <= 'Z' ? 0x20 : 0;
        y |= y >= 'A' && y <= 'Z' ? 0x20 : 0;
        if (x != y) {
            return false;
        }
    }
    return true;
}

static bool in_words(const str_t *words, size_t n, str_t w)
{
    for (size_t i = 0; i < n; i++) {
        if (same_word(words[i], w)) {
            return true;
        }
    }
    return false;
}

/* Words that say what a question is about: three bytes and more, none of the usual fillers. */
static bool telling(str_t w)
{
    static const char *const fillers[] = {
        "the", "and", "are", "was", "were", "you", "your", "what", "when", "where", "who", "whom", "why", "how", "which",
        "does", "did", "have", "has", "had", "can", "could", "would", "should", "will", "this", "that", "these", "those",
        "with", "from", "for", "about", "please", "tell", "know", "not", "but", "its", "our", "any", "there", "then",
    };

    for (size_t i = 0; i < SI_COUNT(fillers); i++) {
        if (same_word(w, str_of(fillers[i]))) {
            return false;
        }
    }
    return w.n >= 3;
}

static size_t telling_words(str_t text, str_t *words)
{
    size_t n = 0;
    str_t  w;

    while (n < WORDS_MAX && next_word(&text, &w)) {
        if (telling(w) && !in_words(words, n, w)) {
            words[n++] = w;
        }
    }
    return n;
}

/* How many of the words the beginning of the text contains. */
static size_t shared(const str_t *words, size_t n, str_t text)
{
    uint32_t found = 0;
    str_t    w;

    text.n = SI_MIN(text.n, (size_t) SEARCH_BYTES);
    while (next_word(&text, &w)) {
        for (size_t i = 0; i < n; i++) {
            if (same_word(words[i], w)) {
                found |= 1u << i;
            }
        }
    }
    return (size_t) __builtin_popcount(found);
}

/* Words as they are streamed and counted: runs of anything but white space. */
static size_t count_words(str_t s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        n += (unsigned char) s.p[i] > ' ' && (i == 0 || (unsigned char) s.p[i - 1] <= ' ');
    }
    return n;
}

/* The answer's text */

/* The first sentence: up to ".", "!" or "?" before white space, or a line's end. */
static str_t first_sentence(str_t s)
{
    size_t i;

    while (s.n > 0 && (unsigned char) s.p[0] <= ' ') {
        s.p++;
        s.n--;
    }
    for (i = 0; i < s.n; i++) {
        bool stop = s.p[i] == '.' || s.p[i] == '!' || s.p[i] == '?';

        if (s.p[i] == '\n' || s.p[i] == '\r') {
            return (str_t) { s.p, i };
        }
        if (stop && (i + 1 == s.n || (unsigned char) s.p[i + 1] <= ' ')) {
            return (str_t) { s.p, i + 1 };
        }
    }
    return s;
}

/* The first sentence in quotation marks, cut. The buffer has room for all that can be put. */
static void put_quote(buf_t *b, str_t s)
{
    str_t  one = first_sentence(s);
    size_t n = one.n <= QUOTE_MAX ? one.n : utf8_cut(one.p, QUOTE_MAX);

    (void) buf_puts(b, "\"");
    for (size_t i = 0; i < n; i++) {
        char c = (unsigned char) one.p[i] < ' ' ? ' ' : one.p[i];

        (void) buf_append(b, &c, 1);
    }
    (void) buf_puts(b, n < one.n ? "…\"" : "\"");
}

static bool is_own(str_t content)
{
    return content.n >= sizeof OPENING - 1 && memcmp(content.p, OPENING, sizeof OPENING - 1) == 0;
}

/* Index of the last message of the user; nmessages when there is none. */
static size_t question_index(const llm_request_t *q)
{
    for (size_t i = q->nmessages; i > 0; i--) {
        if (q->messages[i - 1].role == CHAT_USER) {
            return i - 1;
        }
    }
    return q->nmessages;
}

static void put_history(buf_t *b, arena_t *a, const llm_request_t *q, size_t question)
{
    str_t  words[WORDS_MAX];
    size_t nwords = telling_words(chat_text_of(a, &q->messages[question]), words), earlier = 0, best = 0, at = 0;

    for (size_t i = question; i > 0; i--) {
        const chat_message_t *m = &q->messages[i - 1];
        str_t  content;
        size_t score;

        if (m->role == CHAT_SYSTEM) {
            continue;
        }
        earlier++;
        content = chat_text_of(a, m);
        score = is_own(content) || earlier > SEARCH_MAX ? 0 : shared(words, nwords, content);
        if (score > best) {
            best = score;
            at = i - 1;
        }
    }
    (void) buf_printf(b, "This conversation has %zu earlier message%s", earlier, earlier == 1 ? "" : "s");
    if (best == 0) {
        (void) buf_puts(b, ".");
        return;
    }
    (void) buf_printf(b, ". The closest one, by the %s, says: ", chat_role_name(q->messages[at].role));
    put_quote(b, chat_text_of(a, &q->messages[at]));
}

static void put_related(buf_t *b, arena_t *a, const llm_request_t *q)
{
    if (q->nrelated == 0) {
        return;
    }
    (void) buf_puts(b, "\n\nElsewhere you have said:");
    for (size_t i = 0; i < SI_MIN(q->nrelated, (size_t) RELATED_MAX); i++) {
        (void) buf_puts(b, "\n- ");
        put_quote(b, chat_text_of(a, &q->related[i]));
    }
}

static void put_answer(buf_t *b, arena_t *a, const llm_request_t *q)
{
    size_t question = question_index(q);

    (void) buf_puts(b, OPENING ": I can only repeat what I find.\n\n");
    if (question < q->nmessages) {
        (void) buf_puts(b, "You said: ");
        put_quote(b, chat_text_of(a, &q->messages[question]));
        (void) buf_puts(b, "\n\n");
        put_history(b, a, q, question);
    }
    put_related(b, a, q);
}

/* The call */

static int co_offline_open(const provider_t *p, arena_t *a, const llm_request_t *q, llm_call_t **out, llm_error_t *err)
{
    llm_call_t *c = arena_calloc(a, sizeof *c);

    (void) p;
    *out = NULL;
    c->q = q;
    buf_init(&c->text, TEXT_MAX);
    put_answer(&c->text, a, q);
    if (c->text.n > q->answer_max) {
        buf_free(&c->text);
        return provider_fail(err, SI_ENOMEM, "answer_too_large", 0, false, "the answer is longer than %zu bytes", q->answer_max);
    }
    snprintf(c->result.model, sizeof c->result.model, "%s", q->model->upstream);
    for (size_t i = 0; i < q->nmessages; i++) {
        c->result.input_tokens += (int64_t) count_words(chat_text_of(a, &q->messages[i]));
    }
    *out = c;
    return 0;
}

/* Bytes of the next word with the white space behind it. */
static size_t next_piece(str_t s)
{
    size_t i = 0;

    while (i < s.n && (unsigned char) s.p[i] > ' ') {
        i++;
    }
    while (i < s.n && (unsigned char) s.p[i] <= ' ') {
        i++;
    }
    return i;
}

static int co_offline_next(llm_call_t *c, chat_event_t *ev, llm_error_t *err)
{
    int rc;

    if (c->at == c->text.n) {
        snprintf(c->result.finish, sizeof c->result.finish, "stop");
        return 0;
    }
    rc = c->at > 0 ? co_sleep(WORD_MS, "llm:offline") : 0;
    if (rc == SI_ECANCELED) {
        return rc;
    }
    if (rc != 0 || clock_ms() >= c->q->deadline) {
        return provider_fail(err, SI_ETIMEDOUT, "provider_timeout", 0, true, "the call's time is up");
    }
    *ev = (chat_event_t) { .kind = CHAT_TEXT, .text = { c->text.p + c->at, c->text.n - c->at } };
    ev->text.n = next_piece(ev->text);
    c->at += ev->text.n;
    c->result.output_tokens++;
    return 1;
}

static const llm_result_t *offline_result(const llm_call_t *c)
{
    return &c->result;
}

static void offline_close(llm_call_t *c)
{
    buf_free(&c->text);
}

const provider_t provider_offline = {
    .kind = "offline",
    .co_open = co_offline_open,
    .co_next = co_offline_next,
    .result = offline_result,
    .close = offline_close,
};

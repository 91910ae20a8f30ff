/*
 * What the unit tests of the wire formats have in common: an answer as a transcript that can be compared, calls to a
 * scripted provider (provider_server.h), recorded streams. A test that includes it defines `tested` and `script`.
 */
#ifndef SI_TEST_PROVIDER_TEST_H
#define SI_TEST_PROVIDER_TEST_H

#include <glob.h>
#include <poll.h>

#include "base/json.h"
#include "base/logger.h"
#include "base/proc.h"
#include "base/util.h"
#include "io/http.h"
#include "io/json_stream.h"
#include "io/sse.h"
#include "llm/format.h"
#include "provider_server.h"
#include "run/co.h"
#include "run/loop.h"
#include "tap.h"

#pragma GCC diagnostic ignored "-Wunused-function"     /* a test takes what it needs */

#define PATIENCE     30000              /* ms: reached only by a test that fails */
#define ANSWER_MAX   (1u << 20)
#define RECORDINGS   100

static const provider_t *const tested;  /* the provider under test */
static script_t                script;  /* what the server says */

static server_t    server;
static arena_t    *arena;

/* ---- answers ---- */

/* All that was said, in order: pieces of one kind that follow each other are one, whatever events they came in. */
typedef struct {
    buf_t        all;                   /* "\1<kind><index>" before each change; a call: and its id and name */
    buf_t        text, reasoning;       /* the same, by kind */
    int          kind;
    uint32_t     index;
    size_t       pieces;                /* events */
    bool         utf8;
    llm_result_t result;
} got_t;

static void got_init(got_t *g)
{
    memset(g, 0, sizeof *g);
    buf_init(&g->all, 16u << 20);
    buf_init(&g->text, 16u << 20);
    buf_init(&g->reasoning, 16u << 20);
    g->kind = -1;
    g->utf8 = true;
}

static void got_free(got_t *g)
{
    buf_free(&g->all);
    buf_free(&g->text);
    buf_free(&g->reasoning);
}

/* id and name: of CHAT_CALL. */
static void got_add(got_t *g, chat_kind_t kind, uint32_t index, str_t text, const char *id, const char *name)
{
    bool whole = kind == CHAT_CALL || kind == CHAT_REDACTED || kind == CHAT_SIGNATURE;

    if (text.n == 0 && kind != CHAT_CALL && kind != CHAT_REDACTED) {
        return;
    }
    if (g->kind != (int) kind || g->index != index || whole) {
        (void) buf_printf(&g->all, "\1%d.%u ", (int) kind, index);
    }
    if (kind == CHAT_CALL) {
        (void) buf_printf(&g->all, "%s %s", id, name);
    }
    (void) buf_append(&g->all, text.p, text.n);
    if (kind == CHAT_TEXT || kind == CHAT_REASONING) {
        (void) buf_append(kind == CHAT_TEXT ? &g->text : &g->reasoning, text.p, text.n);
    }
    g->kind = (int) kind;
    g->index = index;
}

/* "made" for an id that was made up because the provider gives none. */
static const char *given(const char *id)
{
    return id != NULL && strncmp(id, "call_", 5) == 0 && uuid_valid(str_of(id + 5)) ? "made" : id;
}

static void got_event(got_t *g, const chat_event_t *ev)
{
    got_add(g, ev->kind, ev->index, ev->text, given(ev->id), ev->name);
    g->pieces++;
    g->utf8 = g->utf8 && utf8_valid(ev->text);
}

static bool same(const buf_t *b, const char *z)
{
    return b->n == strlen(z) && (b->n == 0 || memcmp(b->p, z, b->n) == 0);
}

static bool got_same(const got_t *a, const got_t *b)
{
    return a->utf8 && a->all.n == b->all.n && (a->all.n == 0 || memcmp(a->all.p, b->all.p, a->all.n) == 0);
}

/* ---- recorded streams ---- */

static recording_t recordings[RECORDINGS];
static got_t       wanted[RECORDINGS];  /* what each holds by a plain walk */
static size_t      nrecordings;

/* The memory of a buffer, terminated. */
static char *take(buf_t *b)
{
    char *z = si_malloc(b->n + 1);

    if (b->n > 0) {
        memcpy(z, b->p, b->n);
    }
    z[b->n] = '\0';
    buf_free(b);
    return z;
}

/*
 * Reads the streams of a folder of the corpus. frame() puts one event of the file on the wire and walk() notes what it
 * says; choose() may leave files out; end is what comes last.
 */
typedef struct {
    void (*frame)(buf_t *wire, str_t line);
    void (*walk)(got_t *g, const json_t *event);
    bool (*choose)(FILE *f, const char *name);
    const char *end;
} corpus_t;

static void read_recording(const corpus_t *c, FILE *f, const char *name)
{
    got_t  *g = &wanted[nrecordings];
    buf_t   wire;
    char   *line = NULL;
    size_t  cap = 0;
    ssize_t n;

    got_init(g);
    buf_init(&wire, 16u << 20);
    while ((n = getline(&line, &cap, f)) > 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        if (n > 0) {
            json_t *v = json_loadb(line, (size_t) n, 0, NULL);

            c->frame(&wire, (str_t) { line, (size_t) n });
            c->walk(g, v);
            json_decref(v);
        }
    }
    free(line);
    (void) buf_puts(&wire, c->end);
    recordings[nrecordings].name = si_strdup(name);
    recordings[nrecordings].n = wire.n;
    recordings[nrecordings].wire = take(&wire);
    nrecordings++;
}

/* Calls fn for each file of a folder of the corpus, by a pattern such as "*.json". */
static void corpus_files(const char *folder, const char *pattern, void (*fn)(FILE *f, const char *name, const void *arg), const void *arg)
{
    const char *root = getenv("SI_CORPUS");
    char        path[512];
    glob_t      g = { 0 };

    snprintf(path, sizeof path, "%s/vercel-ai/%s/%s", root != NULL ? root : "../shared/corpus", folder, pattern);
    (void) glob(path, 0, NULL, &g);
    for (size_t k = 0; k < g.gl_pathc; k++) {
        FILE *f = fopen(g.gl_pathv[k], "r");

        if (f != NULL) {
            fn(f, strstr(g.gl_pathv[k], "vercel-ai/") + 10, arg);
            fclose(f);
        }
    }
    globfree(&g);
}

static void corpus_stream(FILE *f, const char *name, const void *arg)
{
    const corpus_t *c = arg;

    if (nrecordings < RECORDINGS && (c->choose == NULL || c->choose(f, name))) {
        read_recording(c, f, name);
    }
}

static void free_corpus(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        free((void *) (uintptr_t) recordings[i].name);
        free(recordings[i].wire);
        got_free(&wanted[i]);
    }
}

/* ---- the reader alone ---- */

static int take_event(const sse_event_t *e, void *arg)
{
    return tested->format->event(arg, e->event, e->data);
}

static int take_element(str_t object, void *arg)
{
    return tested->format->event(arg, STR(""), object);
}

static void take_pieces(reply_t *r, got_t *g)
{
    chat_event_t ev;

    while (reply_next(r, &ev)) {
        got_event(g, &ev);
    }
    g->result = r->result;
}

static int feed_part(reply_t *r, sse_t *sse, const char *p, size_t n, got_t *g)
{
    int rc = sse_feed(sse, p, n, take_event, r);

    take_pieces(r, g);
    return rc;
}

static int feed_array(reply_t *r, json_stream_t *json, const char *p, size_t n, got_t *g)
{
    int rc = json_stream_feed(json, p, n, take_element, r);

    take_pieces(r, g);
    return rc;
}

/* The end of an answer, where the walk has noted one. */
static bool same_end(const llm_result_t *got, const llm_result_t *want)
{
    return want->finish[0] == '\0'
           || (strcmp(got->finish, want->finish) == 0 && got->input_tokens == want->input_tokens && got->output_tokens == want->output_tokens
               && got->cached_tokens == want->cached_tokens && got->cache_write_tokens == want->cache_write_tokens
               && got->reasoning_tokens == want->reasoning_tokens && strcmp(got->model, want->model) == 0 && strcmp(got->id, want->id) == 0);
}

/* A recording: its first `at` bytes in one read, what follows in reads of `piece`. Whether it is what the walk found. */
static bool reads_well(size_t i, size_t at, size_t piece)
{
    const recording_t *rec = &recordings[i];
    arena_t      *a = arena_new(4096);
    reply_t       r;
    sse_t         sse;
    json_stream_t json;
    got_t         g;
    bool          good = true;

    got_init(&g);
    sse_init(&sse, ANSWER_MAX);
    json_stream_init(&json, ANSWER_MAX);
    reply_init(&r, a, "", ANSWER_MAX);
    for (size_t from = 0, n = at; good && from < rec->n; from += n, n = SI_MIN(piece, rec->n - from)) {
        good = (rec->array ? feed_array(&r, &json, rec->wire + from, n, &g) : feed_part(&r, &sse, rec->wire + from, n, &g)) == 0;
    }
    good = good && json_stream_done(&json) == rec->array;
    good = good && r.finished && (r.done || script.unmarked) && got_same(&g, &wanted[i]) && r.result.input_tokens >= 0
           && r.result.output_tokens >= 0 && same_end(&r.result, &wanted[i].result);
    reply_free(&r);
    sse_free(&sse);
    json_stream_free(&json);
    got_free(&g);
    arena_free(a);
    return good;
}

/* In two parts, cut everywhere; long ones in parts of CUT bytes from each of the first CUT places, so that each place is a cut too. */
#define CUT  61
static void test_splits(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        size_t n = recordings[i].n, bad = !reads_well(i, 0, 1);
        bool   small = n <= 4000;

        for (size_t at = 0; at <= (small ? n : CUT); at++) {
            bad += !reads_well(i, at, small ? n : CUT);
        }
        ok(bad == 0, "%s, cut at every byte, and byte by byte", recordings[i].name);
    }
}

/* ---- calls ---- */

static conf_provider_t provider = { .name = "p", .api_key = "key-of-test", .connect_ms = PATIENCE, .first_byte_ms = PATIENCE,
                                    .idle_ms = PATIENCE };
static conf_model_t    model = { .name = "m", .provider = &provider, .upstream = "up/m", .max_tokens = 77 };
static const chat_part_t     system_part = { .kind = PART_TEXT, .text = { "Be \"brief\".", 11 } };
static const chat_part_t     user_part = { .kind = PART_TEXT, .text = { "Gr\xC3\xBC\xC3\x9F Gott\n", 12 } };
static const chat_message_t  messages[] = { { CHAT_SYSTEM, &system_part, 1 }, { CHAT_USER, &user_part, 1 } };
static llm_request_t request = { .model = &model, .messages = messages, .nmessages = 2, .answer_max = ANSWER_MAX,
                                .options = CHAT_OPTIONS_NONE };
static llm_error_t   err;

static uint64_t soon(void) { return clock_ms() + PATIENCE; }

static int co_open(const char *path, llm_call_t **c)
{
    provider.base_url = arena_printf(arena, "http://127.0.0.1:%d/%s", server.port, path);
    request.deadline = soon();
    memset(&err, 0, sizeof err);
    return tested->co_open(tested, arena, &request, c, &err);
}

static int co_run(const char *path, got_t *g)
{
    llm_call_t *c;
    chat_event_t ev;
    int         rc = co_open(path, &c);

    if (rc != 0) {
        return rc;
    }
    while ((rc = tested->co_next(c, &ev, &err)) == 1) {
        got_event(g, &ev);
    }
    g->result = *tested->result(c);
    tested->close(c);
    return rc;
}

/* Runs a script that must be whole. */
static void co_whole(const char *path, const char *text, const char *finish, int64_t in, int64_t out, bool estimated)
{
    got_t g;
    int   rc;

    got_init(&g);
    rc = co_run(path, &g);
    ok(rc == 0 && same(&g.text, text) && strcmp(g.result.finish, finish) == 0 && g.result.input_tokens == in
       && g.result.output_tokens == out && g.result.estimated == estimated, "whole: %s", path);
    if (rc != 0) {
        diag("  %s: %s", err.code, err.detail);
    }
    got_free(&g);
}

/* Runs a script that must fail, after `text`. */
static void co_fails(const char *path, const char *text, int want, const char *code, int status, bool retryable, const char *detail)
{
    got_t g;
    int   rc;
    bool  good;

    got_init(&g);
    rc = co_run(path, &g);
    good = rc == want && same(&g.text, text) && strcmp(err.code, code) == 0 && err.status == status && err.retryable == retryable
           && strstr(err.detail, detail) != NULL && strstr(err.detail, "key-of-test") == NULL && strstr(err.detail, "sk-") == NULL
           && strchr(err.detail, '\n') == NULL;
    ok(good, "fails: %s, %s", path, code);
    if (!good) {
        diag("  got %d %s %d %s '%s' after '%.*s'", rc, err.code, err.status, err.retryable ? "retryable" : "final", err.detail,
             (int) g.text.n, g.text.p != NULL ? g.text.p : "");
    }
    got_free(&g);
}

/* The body of a request as JSON; NULL: it is refused, as err says. Lives in the arena. */
static json_t *put_body(const llm_request_t *q)
{
    format_request_t put = { .url = NULL };
    json_t          *v = NULL;

    memset(&err, 0, sizeof err);
    buf_init(&put.body, 16u << 20);
    if (tested->format->co_put(arena, q, &put, &err) == 0) {
        v = json_own(arena, json_loadb(put.body.p, put.body.n, 0, NULL));
    }
    buf_free(&put.body);
    return v;
}

/* Whether a request has this body, which is written as JSON with ' for ". */
static void puts_body(const llm_request_t *q, const char *want, const char *name)
{
    char   *json = arena_strdup(arena, want);
    json_t *v, *body = put_body(q);

    for (char *p = json; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    v = json_own(arena, json_loads(json, 0, NULL));
    if (!ok(v != NULL && json_equal(v, body), "%s", name)) {
        diag("  got %s", body != NULL ? json_text(arena, body) : err.detail);
        diag("  expected %s", v != NULL ? json_text(arena, v) : "(no JSON)");
    }
}

/* Whether a request is refused for what the format has no word for. */
static void puts_no(const llm_request_t *q, const char *what)
{
    bool good = put_body(q) == NULL && strcmp(err.code, "unsupported") == 0 && !err.retryable && strstr(err.detail, what) != NULL;

    if (!ok(good, "refused: %s", what)) {
        diag("  got '%s': %s", err.code, err.detail);
    }
}

/* The request that a call makes, as it stands on the wire; its body. Lives in the arena. */
static char *co_echo(const char **body)
{
    got_t g;
    char *raw;
    int   rc;

    got_init(&g);
    rc = co_run("echo", &g);
    raw = arena_calloc(arena, g.text.n / 2 + 1);
    for (size_t i = 0; i < g.text.n / 2; i++) {
        char pair[3] = { g.text.p[2 * i], g.text.p[2 * i + 1], 0 };
        raw[i] = (char) strtoul(pair, NULL, 16);
    }
    got_free(&g);
    *body = strstr(raw, "\r\n\r\n");
    *body = *body != NULL ? *body + 4 : "";
    if (rc != 0) {
        diag("  %d %s: %s", rc, err.code, err.detail);
    }
    return raw;
}

/* Waits until the server has told that n held connections were closed. */
static bool co_closed(size_t n)
{
    uint64_t until = soon();
    char     c;

    while (n > 0 && clock_ms() < until) {
        struct pollfd pfd = { server.report, POLLIN, 0 };

        n -= poll(&pfd, 1, 0) == 1 && read(server.report, &c, 1) == 1;
        co_sleep(2, "test");
    }
    return n == 0;
}

/* ---- tests that are the same for all of them ---- */

/* Every recording over HTTP, in chunks of several sizes. */
static void co_test_recordings(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        static const size_t sizes[] = { 1, 7, 100, 1460, 100000, 10000000 };
        bool good = true;

        for (size_t s = 0; s < SI_COUNT(sizes); s++) {
            got_t g;

            if (recordings[i].n / sizes[s] > 4000) {
                continue;
            }
            got_init(&g);
            good = good && co_run(arena_printf(arena, "c/%zu/%zu", i, sizes[s]), &g) == 0 && got_same(&g, &wanted[i])
                   && !g.result.estimated && g.result.finish[0] != '\0' && g.result.model[0] != '\0';
            got_free(&g);
        }
        ok(good, "%s over HTTP in chunks of several sizes", recordings[i].name);
    }
}

static void co_test_deadlines(void)
{
    provider.first_byte_ms = 50;
    co_fails("hang", "", SI_ETIMEDOUT, "provider_timeout", 0, true, "did not answer in time");
    provider.first_byte_ms = PATIENCE;
    provider.idle_ms = 50;
    co_fails("silent", "Hello", SI_ETIMEDOUT, "provider_timeout", 0, true, "silent");
    provider.idle_ms = PATIENCE;

    int free_port, fd = listen_any(&free_port), port = server.port;
    close(fd);
    server.port = free_port;
    co_fails("whole", "", SI_EUNAVAIL, "provider_unavailable", 0, true, "refused");
    server.port = port;
}

static void co_test_call_deadline(void)
{
    llm_call_t *c;
    chat_event_t ev;

    is_int(co_open("silent", &c), 0, "a call whose time runs out");
    is_int(tested->co_next(c, &ev, &err), 1, "gives what came");
    request.deadline = clock_ms() + 20;
    is_int(tested->co_next(c, &ev, &err), SI_ETIMEDOUT, "then times out");
    is_str(err.code, "provider_timeout", "its code");
    ok(tested->result(c)->estimated && tested->result(c)->output_tokens == 2, "what it cost so far is estimated");
    tested->close(c);
}

static void co_test_streaming(void)
{
    llm_call_t *c;
    chat_event_t ev;

    is_int(co_open("gate", &c), 0, "a provider that waits for us");
    is_int(tested->co_next(c, &ev, &err), 1, "the first text comes while the provider holds the rest");
    is_mem(ev.text.p, ev.text.n, "first", "it is");
    ok(write(server.go, "g", 1) == 1, "go");
    is_int(tested->co_next(c, &ev, &err), 1, "the next");
    is_mem(ev.text.p, ev.text.n, "second", "it is");
    is_int(tested->co_next(c, &ev, &err), 0, "whole");
    tested->close(c);
}

static bool opened;
static int  cancelled_rc;

static void co_victim(void *arg)
{
    llm_call_t *c;
    chat_event_t ev;

    (void) arg;
    if (co_open("silent", &c) == 0) {
        (void) tested->co_next(c, &ev, &err);
        opened = true;
        cancelled_rc = tested->co_next(c, &ev, &err);
        tested->close(c);
    }
    opened = false;
}

/* held: connections that the server was left with, this test's too. */
static void co_test_cancel(size_t held)
{
    uint64_t until = soon();
    co_t    *co = co_spawn("victim", co_victim, NULL);

    while (!opened && clock_ms() < until) {
        co_sleep(2, "test");
    }
    ok(opened, "a call that waits for text");
    co_cancel(co);
    while (opened && clock_ms() < until) {
        co_sleep(2, "test");
    }
    is_int(cancelled_rc, SI_ECANCELED, "is cancelled");
    is_str(err.code, "", "the error is untouched");
    ok(co_closed(held), "every connection that was given up is closed");
}

/* Starts the server, runs `main_fn` in a coroutine, cleans up. The recordings have been read. Returns the exit status. */
static int run_tests(void (*plain)(void), void (*main_fn)(void *arg))
{
    signal(SIGPIPE, SIG_IGN);
    script.recordings = recordings;
    server = server_start(serve, &script);
    logger_open("/dev/null", LOG_DEBUG);
    loop_init();
    co_init();
    http_init();
    arena = arena_new(65536);
    if (nrecordings == 0) {
        printf("# the corpus is not here: recorded streams are skipped\n");
    }
    plain();
    co_spawn("test", main_fn, NULL);
    loop_run();
    co_exit();
    http_exit();
    loop_free();
    arena_free(arena);
    free_corpus();
    server_stop(&server);
    return done_testing();
}

#endif

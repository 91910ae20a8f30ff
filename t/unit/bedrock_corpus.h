/* For t/unit/bedrock.c: Amazon's framing, the recorded streams and bodies, and what they hold by a plain walk. */
#ifndef SI_TEST_BEDROCK_CORPUS_H
#define SI_TEST_BEDROCK_CORPUS_H

#include "io/aws_creds.h"
#include "io/eventstream.h"
#include "llm/bedrock.h"
#include "provider_test.h"

#define BODIES  40

/* ---- framing ---- */

static void put32(buf_t *b, uint32_t v)
{
    char p[4] = { (char) (v >> 24), (char) (v >> 16), (char) (v >> 8), (char) v };

    (void) buf_append(b, p, 4);
}

static void put_header(buf_t *b, const char *name, str_t value)
{
    char n[4] = { (char) strlen(name), 7, (char) (value.n >> 8), (char) value.n };

    (void) buf_append(b, n, 1);
    (void) buf_puts(b, name);
    (void) buf_append(b, n + 1, 3);
    (void) buf_append(b, value.p, value.n);
}

static void put_message(buf_t *wire, const buf_t *headers, str_t payload)
{
    size_t from = wire->n;

    put32(wire, (uint32_t) (16 + headers->n + payload.n));
    put32(wire, (uint32_t) headers->n);
    put32(wire, crc32_of(wire->p + from, 8));
    (void) buf_append(wire, headers->p, headers->n);
    (void) buf_append(wire, payload.p, payload.n);
    put32(wire, crc32_of(wire->p + from, wire->n - from));
}

/* {"name": payload}, as the corpus has it. A name that ends in Exception is one, and "error" is the framing's own. */
static void frame(buf_t *wire, str_t line)
{
    json_t     *v = json_loadb(line.p, line.n, 0, NULL), *value;
    const char *name;
    buf_t       headers;

    buf_init(&headers, 1000);
    json_object_foreach(v, name, value) {
        char *payload = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        bool  exception = strstr(name, "Exception") != NULL, error = strcmp(name, "error") == 0;

        if (!error) {
            put_header(&headers, exception ? ":exception-type" : ":event-type", str_of(name));
            put_header(&headers, ":content-type", STR("application/json"));
        } else {
            put_header(&headers, ":error-code", STR("InternalError"));
            put_header(&headers, ":error-message", str_of(json_string_value(value)));
        }
        put_header(&headers, ":message-type", error ? STR("error") : exception ? STR("exception") : STR("event"));
        put_message(wire, &headers, error ? STR("") : str_of(payload));
        free(payload);
    }
    buf_free(&headers);
    json_decref(v);
}

/* Lines of the above. A line "!" is the last one and breaks the message before it; "?" cuts that message short. */
static char *encode(const char *text, size_t *n)
{
    buf_t wire;

    buf_init(&wire, 16u << 20);
    for (const char *end; *text != '\0'; text = *end != '\0' ? end + 1 : end) {
        end = strchrnul(text, '\n');
        if (*text == '!') {
            wire.p[wire.n - 6] ^= 1;
        } else if (*text == '?') {
            wire.n -= 9;
        } else {
            frame(&wire, (str_t) { text, (size_t) (end - text) });
        }
    }
    *n = wire.n;
    return take(&wire);
}

/* ---- walking ---- */

/* Which block each call of the present recording came in, and whether it has arguments. */
static struct { const got_t *of; uint32_t n; int64_t block[CHAT_CALLS]; bool args[CHAT_CALLS]; } calls;

static str_t member(const json_t *o, const char *name)
{
    return str_of(json_string_value(json_object_get(o, name)));
}

static void walk_reasoning(got_t *g, const json_t *o)
{
    got_add(g, CHAT_REASONING, 0, member(o, "text"), NULL, NULL);
    got_add(g, CHAT_SIGNATURE, 0, member(o, "signature"), NULL, NULL);
    if (json_object_get(o, "redactedContent") != NULL) {
        got_add(g, CHAT_REDACTED, 0, member(o, "redactedContent"), NULL, NULL);
    }
}

static void walk_call(got_t *g, int64_t block, const json_t *use)
{
    calls.block[calls.n] = block;
    calls.args[calls.n] = false;
    got_add(g, CHAT_CALL, calls.n, STR(""), member(use, "toolUseId").p, member(use, "name").p);
    calls.n++;
}

/* Arguments of the newest call of that block; none at its end: an empty object. */
static void walk_args(got_t *g, int64_t block, str_t piece, bool end)
{
    for (uint32_t i = calls.n; i-- > 0; ) {
        if (calls.block[i] == block) {
            got_add(g, CHAT_ARGS, i, end && !calls.args[i] ? STR("{}") : piece, NULL, NULL);
            calls.args[i] |= piece.n > 0;
            return;
        }
    }
}

static void walk_stop(got_t *g, str_t reason)
{
    snprintf(g->result.finish, sizeof g->result.finish, "%s",
             str_is(reason, "tool_use") ? "tool_calls" : str_is(reason, "max_tokens") ? "length" : str_is(reason, "end_turn") ? "stop" : "unknown");
}

static void walk_usage(got_t *g, const json_t *u)
{
    g->result.input_tokens = json_integer_value(json_object_get(u, "inputTokens")) + json_integer_value(json_object_get(u, "cacheReadInputTokens"))
                             + json_integer_value(json_object_get(u, "cacheWriteInputTokens"));
    g->result.output_tokens = json_integer_value(json_object_get(u, "outputTokens"));
}

static void walk(got_t *g, const json_t *v)
{
    const json_t *start = json_object_get(v, "contentBlockStart"), *delta = json_object_get(v, "contentBlockDelta");
    const json_t *stop = json_object_get(v, "contentBlockStop"), *end = json_object_get(v, "messageStop"), *meta = json_object_get(v, "metadata");
    const json_t *use = json_object_get(json_object_get(start, "start"), "toolUse"), *d = json_object_get(delta, "delta");

    if (calls.of != g) {
        calls.of = g;
        calls.n = 0;
        g->result.input_tokens = g->result.output_tokens = -1;
    }
    if (use != NULL) {
        walk_call(g, json_integer_value(json_object_get(start, "contentBlockIndex")), use);
    }
    got_add(g, CHAT_TEXT, 0, member(d, "text"), NULL, NULL);
    walk_reasoning(g, json_object_get(d, "reasoningContent"));
    if (json_object_get(d, "toolUse") != NULL) {
        walk_args(g, json_integer_value(json_object_get(delta, "contentBlockIndex")), member(json_object_get(d, "toolUse"), "input"), false);
    }
    if (stop != NULL) {
        walk_args(g, json_integer_value(json_object_get(stop, "contentBlockIndex")), STR(""), true);
    }
    if (end != NULL) {
        walk_stop(g, member(end, "stopReason"));
    }
    if (meta != NULL && json_object_get(meta, "usage") != NULL) {
        walk_usage(g, json_object_get(meta, "usage"));
    }
}

/* A whole body; arguments are written compactly, in the order of the file. */
static void walk_body(got_t *g, const json_t *v)
{
    const json_t *block;
    size_t        i;

    calls.n = 0;
    json_array_foreach(json_object_get(json_object_get(json_object_get(v, "output"), "message"), "content"), i, block) {
        const json_t *use = json_object_get(block, "toolUse"), *reasoning = json_object_get(block, "reasoningContent");

        got_add(g, CHAT_TEXT, 0, member(block, "text"), NULL, NULL);
        walk_reasoning(g, json_object_get(reasoning, "reasoningText"));
        if (use != NULL) {
            char *args = json_dumps(json_object_get(use, "input"), JSON_COMPACT);
            walk_call(g, (int64_t) i, use);
            walk_args(g, (int64_t) i, str_of(args), false);
            free(args);
        }
    }
    walk_stop(g, member(v, "stopReason"));
    walk_usage(g, json_object_get(v, "usage"));
}

/* ---- bodies ---- */

static struct { char *name, *text; got_t want; } bodies[BODIES];
static size_t nbodies;

static void read_body(FILE *f, const char *name, const void *arg)
{
    static char text[65536];
    size_t      n = fread(text, 1, sizeof text - 1, f);
    json_t     *v = json_loadb(text, n, 0, NULL);

    (void) arg;
    text[n] = '\0';
    if (nbodies < BODIES && json_object_get(v, "output") != NULL) {       /* the answer of a reranker is none */
        bodies[nbodies].name = si_strdup(name);
        bodies[nbodies].text = si_strdup(text);
        got_init(&bodies[nbodies].want);
        walk_body(&bodies[nbodies].want, v);
        nbodies++;
    }
    json_decref(v);
}

static void read_corpus(void)
{
    static const corpus_t corpus = { frame, walk, NULL, "" };

    corpus_files("amazon-bedrock", "*.chunks.txt", corpus_stream, &corpus);
    corpus_files("amazon-bedrock", "*.json", read_body, NULL);
}

static void free_bodies(void)
{
    for (size_t i = 0; i < nbodies; i++) {
        free(bodies[i].name);
        free(bodies[i].text);
        got_free(&bodies[i].want);
    }
}

#endif

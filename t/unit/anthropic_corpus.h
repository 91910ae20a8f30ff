/* The recorded messages for t/unit/anthropic.c: framed as their README says, and what they hold by a plain walk. */
#ifndef SI_TEST_ANTHROPIC_CORPUS_H
#define SI_TEST_ANTHROPIC_CORPUS_H

#include "anthropic_server.h"

static const char *spliced;             /* the recording that another one cuts, framed */

static const char *type_of(const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));

    return type != NULL ? type : "";
}

static str_t member(const json_t *v, const char *name) { return json_str(v, name, STR_NULL); }

/* The block that stands open in the walk. */
static struct { char type[40]; uint32_t calls; bool args; char input[4096], signature[8192]; } at;

static void walk_block(got_t *g, const json_t *b)
{
    snprintf(at.type, sizeof at.type, "%s", type_of(b));
    at.args = false;
    snprintf(at.signature, sizeof at.signature, "%s", json_object_get(b, "signature") != NULL ? member(b, "signature").p : "");
    got_add(g, CHAT_TEXT, 0, member(b, "text").p != NULL && strcmp(at.type, "text") == 0 ? member(b, "text") : STR_NULL, NULL, NULL);
    got_add(g, CHAT_REASONING, 0, member(b, "thinking"), NULL, NULL);
    if (strcmp(at.type, "tool_use") == 0) {
        got_add(g, CHAT_CALL, at.calls++, STR_NULL, member(b, "id").p, member(b, "name").p);
        at.input[json_dumpb(json_object_get(b, "input"), at.input, sizeof at.input - 1, JSON_COMPACT)] = '\0';
    }
}

static void walk_stop(got_t *g)
{
    if (strcmp(at.type, "tool_use") == 0 && !at.args) {
        got_add(g, CHAT_ARGS, at.calls - 1, str_of(at.input), NULL, NULL);
    }
    got_add(g, CHAT_SIGNATURE, 0, str_of(at.signature), NULL, NULL);
    at.type[0] = at.signature[0] = '\0';
}

static void walk_delta(got_t *g, const json_t *d)
{
    size_t n = strlen(at.signature);

    got_add(g, CHAT_TEXT, 0, member(d, "text"), NULL, NULL);
    got_add(g, CHAT_REASONING, 0, member(d, "thinking"), NULL, NULL);
    if (strcmp(at.type, "tool_use") == 0) {
        got_add(g, CHAT_ARGS, at.calls - 1, member(d, "partial_json"), NULL, NULL);
        at.args = at.args || member(d, "partial_json").n > 0;
    }
    if (member(d, "signature").p != NULL) {
        snprintf(at.signature + n, sizeof at.signature - n, "%s", member(d, "signature").p);
    }
}

static int64_t count(const json_t *u, const char *name) { return (int64_t) json_integer_value(json_object_get(u, name)); }

/* What an answer's last word on usage says; a compaction stands beside it. */
static void walk_usage(llm_result_t *r, const json_t *u)
{
    const json_t *step;
    size_t        i;

    if (json_object_get(u, "input_tokens") != NULL) {
        r->cached_tokens = count(u, "cache_read_input_tokens");
        r->cache_write_tokens = count(u, "cache_creation_input_tokens");
        r->input_tokens = count(u, "input_tokens") + r->cached_tokens + r->cache_write_tokens;
    }
    r->output_tokens = count(u, "output_tokens");
    r->reasoning_tokens = count(json_object_get(u, "output_tokens_details"), "thinking_tokens");
    json_array_foreach(json_object_get(u, "iterations"), i, step) {
        if (strcmp(type_of(step), "compaction") == 0) {
            r->input_tokens += count(step, "input_tokens");
            r->output_tokens += count(step, "output_tokens");
        }
    }
}

static void walk_end(got_t *g, const json_t *m)
{
    const char *reason = json_string_value(json_object_get(m, "stop_reason"));

    if (reason != NULL) {
        snprintf(g->result.finish, sizeof g->result.finish, "%s", strcmp(reason, "tool_use") == 0 ? "tool_calls"
                 : strcmp(reason, "refusal") == 0 ? "refusal" : strcmp(reason, "end_turn") == 0 ? "stop" : reason);
    }
    got_add(g, CHAT_REFUSAL, 0, member(json_object_get(m, "stop_details"), "explanation"), NULL, NULL);
}

static void walk_message(got_t *g, const json_t *m)
{
    const json_t *b;
    size_t        i;

    memset(&at, 0, sizeof at);
    snprintf(g->result.id, sizeof g->result.id, "%s", member(m, "id").p);
    snprintf(g->result.model, sizeof g->result.model, "%s", member(m, "model").p);
    json_array_foreach(json_object_get(m, "content"), i, b) {
        walk_block(g, b);
        walk_stop(g);
    }
    walk_usage(&g->result, json_object_get(m, "usage"));
    walk_end(g, m);
}

static void walk(got_t *g, const json_t *v)
{
    if (strcmp(type_of(v), "message_start") == 0) {
        walk_message(g, json_object_get(v, "message"));
    } else if (strcmp(type_of(v), "content_block_start") == 0) {
        walk_block(g, json_object_get(v, "content_block"));
    } else if (strcmp(type_of(v), "content_block_delta") == 0) {
        walk_delta(g, json_object_get(v, "delta"));
    } else if (strcmp(type_of(v), "content_block_stop") == 0) {
        walk_stop(g);
    } else if (strcmp(type_of(v), "message_delta") == 0) {
        walk_usage(&g->result, json_object_get(v, "usage"));
        walk_end(g, json_object_get(v, "delta"));
    }
}

static void frame(buf_t *wire, const json_t *v, str_t line)
{
    (void) buf_printf(wire, "event: %s\ndata: ", type_of(v));
    (void) buf_append(wire, line.p, line.n);
    (void) buf_puts(wire, "\n\n");
}

static void end_recording(buf_t *wire, const char *name, size_t part)
{
    recording_t *r = &recordings[nrecordings];
    char         of[32] = "";

    snprintf(of, sizeof of, part > 1 ? " (%zu)" : "%.0zu", part > 1 ? part : 0);
    r->n = wire->n;
    r->wire = take(wire);
    r->name = si_malloc(strlen(name) + sizeof of);
    snprintf((char *) (uintptr_t) r->name, strlen(name) + sizeof of, "%s%s", name, of);
    nrecordings++;
}

/* Some files hold the answers of several calls, one behind the other. */
static void read_streams(FILE *f, const char *name, const void *arg)
{
    buf_t   wire;
    char   *line = NULL;
    size_t  cap = 0, part = 0;
    ssize_t n;

    (void) arg;
    buf_init(&wire, 16u << 20);
    while ((n = getline(&line, &cap, f)) > 0 && nrecordings < RECORDINGS) {
        json_t *v = json_loads(line, 0, NULL);

        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        if (wire.n == 0) {
            got_init(&wanted[nrecordings]);
        }
        if (n > 0) {
            frame(&wire, v, (str_t) { line, (size_t) n });
            walk(&wanted[nrecordings], v);
        }
        if (strcmp(type_of(v), "message_stop") == 0 && strstr(name, "spliced") == NULL) {
            end_recording(&wire, name, ++part);
        }
        json_decref(v);
    }
    if (strstr(name, "spliced") != NULL) {
        got_free(&wanted[nrecordings]);
        spliced = take(&wire);
    }
    buf_free(&wire);
    free(line);
}

#endif

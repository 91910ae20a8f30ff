/* The recorded streams for t/unit/openai.c: framed as their README says, and what they hold by a plain walk. */
#ifndef SI_TEST_OPENAI_CORPUS_H
#define SI_TEST_OPENAI_CORPUS_H

#include <glob.h>

#include "base/json.h"
#include "openai_server.h"

#define RECORDINGS  40

static recording_t recordings[RECORDINGS];
static size_t      nrecordings;
static char       *want_text[RECORDINGS], *want_reasoning[RECORDINGS];

static void walk_parts(const json_t *v, buf_t *text, buf_t *reasoning)
{
    const json_t *item;
    size_t        i;

    json_array_foreach(v, i, item) {
        const char *type = json_string_value(json_object_get(item, "type"));

        if (type != NULL && strcmp(type, "thinking") == 0) {
            walk_parts(json_object_get(item, "thinking"), reasoning, reasoning);
        } else {
            (void) buf_puts(text, json_string_value(json_object_get(item, "text")));
        }
    }
}

static void walk_line(const char *line, size_t n, buf_t *text, buf_t *reasoning)
{
    json_t       *v = json_loadb(line, n, 0, NULL);
    const json_t *delta = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "delta"), *x;

    if ((x = json_object_get(delta, "reasoning_content")) != NULL && json_is_string(x)) {
        (void) buf_puts(reasoning, json_string_value(x));
    }
    if ((x = json_object_get(delta, "reasoning")) != NULL && json_is_string(x)) {
        (void) buf_puts(reasoning, json_string_value(x));
    }
    if ((x = json_object_get(delta, "content")) != NULL && json_is_string(x)) {
        (void) buf_puts(text, json_string_value(x));
    }
    walk_parts(x, text, reasoning);
    json_decref(v);
}

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

static void read_recording(FILE *f, const char *name)
{
    buf_t   wire, text, reasoning;
    char   *line = NULL;
    size_t  cap = 0;
    ssize_t n;

    buf_init(&wire, 16u << 20);
    buf_init(&text, 16u << 20);
    buf_init(&reasoning, 16u << 20);
    while ((n = getline(&line, &cap, f)) > 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
            n--;
        }
        if (n > 0) {
            (void) buf_puts(&wire, "data: ");
            (void) buf_append(&wire, line, (size_t) n);
            (void) buf_puts(&wire, "\n\n");
            walk_line(line, (size_t) n, &text, &reasoning);
        }
    }
    free(line);
    (void) buf_puts(&wire, DONE);
    recordings[nrecordings].name = si_strdup(name);
    recordings[nrecordings].n = wire.n;
    recordings[nrecordings].wire = take(&wire);
    want_text[nrecordings] = take(&text);
    want_reasoning[nrecordings] = take(&reasoning);
    nrecordings++;
}

/* Those of the Responses API and of completions are another format. */
static bool is_chat(FILE *f, const char *name)
{
    char   start[20] = "";
    size_t n = fread(start, 1, sizeof start - 1, f);

    rewind(f);
    start[n] = '\0';
    return strstr(name, "responses__") == NULL && strstr(name, "completion__") == NULL
           && strstr(name, "speech-translation__") == NULL && strncmp(start, "{\"type\":\"response.", 18) != 0;
}

static void read_corpus(void)
{
    static const char *const folders[] = { "openai", "azure", "openai-compatible", "groq", "deepseek", "mistral", "xai" };
    const char *root = getenv("SI_CORPUS");
    char        pattern[512];

    for (size_t i = 0; i < SI_COUNT(folders); i++) {
        glob_t g = { 0 };

        snprintf(pattern, sizeof pattern, "%s/vercel-ai/%s/*.chunks.txt", root != NULL ? root : "../shared/corpus", folders[i]);
        (void) glob(pattern, 0, NULL, &g);
        for (size_t k = 0; k < g.gl_pathc && nrecordings < RECORDINGS; k++) {
            const char *name = strstr(g.gl_pathv[k], "vercel-ai/") + 10;
            FILE       *f = fopen(g.gl_pathv[k], "r");

            if (f != NULL && is_chat(f, name)) {
                read_recording(f, name);
            }
            if (f != NULL) {
                fclose(f);
            }
        }
        globfree(&g);
    }
}

static void free_corpus(void)
{
    for (size_t i = 0; i < nrecordings; i++) {
        free((void *) (uintptr_t) recordings[i].name);
        free(recordings[i].wire);
        free(want_text[i]);
        free(want_reasoning[i]);
    }
}

#endif

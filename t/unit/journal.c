/* Ends of turns on disk: what is put comes back, what is broken is refused. */
#include "tap.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/logger.h"
#include "base/proc.h"
#include "conf/conf.h"
#include "turn/journal.h"

static turn_row_t row(void)
{
    return (turn_row_t) { .id = "0190aaaa-0000-7000-8000-000000000001", .conversation = "c", .user = "u", .number = 3,
                          .input = "asked", .agent = "default", .model = "", .client_turn_id = "", .model_used = "m",
                          .output = "line\nand \xe2\x98\x83", .error = "", .error_detail = "", .created = "now",
                          .finished = "", .message_id = "0190aaaa-0000-7000-8000-000000000002", .finish = "stop",
                          .state = TURN_COMPLETED, .attempt = 1, .estimated = true, .input_tokens = 5,
                          .output_tokens = -1, .first_token_ms = 7, .duration_ms = 9, .last_event = 1000004 };
}

static void write_file(const char *folder, const char *text)
{
    char  path[600];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.json", folder, row().id);
    f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

int main(void)
{
    char       folder[] = "/tmp/si-journal-XXXXXX", sub[64], path[600];
    conf_t     conf = { 0 };
    arena_t   *a = arena_new(4096);
    turn_row_t put = row(), open = row(), got;
    struct stat st;

    logger_open("/dev/null", LOG_ALERT);
    ok(mkdtemp(folder) != NULL, "a folder");
    snprintf(sub, sizeof(sub), "%s/journal", folder);
    conf.journal = sub;
    proc.conf = &conf;
    journal_init();
    ok(access(sub, W_OK) == 0, "the journal's folder is made");

    open.state = TURN_RUNNING;
    open.output = open.message_id = "";
    is_int(journal_get(a, &open, &got), SI_ENOENT, "nothing is there");
    is_int(journal_put(&put), 0, "an end is kept");
    snprintf(path, sizeof(path), "%s/%s.json", sub, put.id);
    ok(stat(path, &st) == 0 && (st.st_mode & 077) == 0, "for nobody else to read");
    is_int(journal_get(a, &open, &got), 0, "and found");
    is_str(got.output, put.output, "with its text");
    is_str(got.message_id, put.message_id, "its message");
    is_str(got.input, "asked", "and what the store knew");
    ok(got.state == TURN_COMPLETED && got.attempt == 1 && got.estimated && !got.retryable, "its state");
    ok(got.input_tokens == 5 && got.output_tokens == -1 && got.first_token_ms == 7 && got.duration_ms == 9
       && got.last_event == 1000004, "and its numbers");
    journal_drop(put.id);
    is_int(journal_get(a, &open, &got), SI_ENOENT, "it is gone");

    static const char *const broken[] = { "", "{", "{}", "[1]", "{\"id\":\"x\"}", "\x01\x02" };
    for (size_t i = 0; i < SI_COUNT(broken); i++) {
        write_file(sub, broken[i]);
        is_int(journal_get(a, &open, &got), SI_ENOENT, "a broken file is no end");
    }
    journal_drop(put.id);
    conf.journal = "/nonexistent/journal";
    journal_init();
    is_int(journal_put(&put), SI_EUNAVAIL, "a folder that cannot be used is an error");
    rmdir(sub);
    rmdir(folder);
    arena_free(a);
    return done_testing();
}

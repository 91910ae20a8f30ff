/* What programs that try io/http against a scripted server say again and again; they have `server` and soon(). */
#ifndef SI_TEST_HTTP_TOLD_H
#define SI_TEST_HTTP_TOLD_H

/* The next line that the server tells, without its end; "" when none comes. */
static const char *co_told(void)
{
    static char line[64];
    size_t      n = 0;

    for (uint64_t end = soon(); clock_ms() < end && n < sizeof(line) - 1; ) {
        if (read(server.report, line + n, 1) == 1) {
            if (line[n++] == '\n') {
                line[n - 1] = '\0';
                return line;
            }
        } else if (co_sleep(2, "test:told") != 0) {
            break;
        }
    }
    return "";
}

static void co_check_failed(http_t *h, const char *name, const char *why)
{
    is_int(co_http_head(h, soon()), SI_EUNAVAIL, name);
    ok(strcasestr(http_error(h), why) != NULL, "a reason: %s", http_error(h));
    ok(http_reason(h)[0] != '\0' && strstr(http_reason(h), "127.0.0.1") == NULL && strstr(http_reason(h), ".invalid") == NULL,
       "and one for anybody: %s", http_reason(h));
    http_close(h);
}

#endif

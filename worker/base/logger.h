/*
 * Structured logs: one JSON object a line, to stderr or a file. Ids, never message text.
 * {"time":"2026-11-27T03:04:05.678Z","level":"info","worker":"0.4711","turn":"…","msg":"…", …}
 */
#ifndef SI_LOGGER_H
#define SI_LOGGER_H

#include "base/base.h"

typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_ALERT } log_level_t;   /* alert: a bug in Si */

/* Opens the log: a path, or NULL for stderr. 0 or SI_EINVAL. Called again it reopens. */
int  logger_open(const char *path, log_level_t level);
/* "debug", "info", "warn", "error", "alert"; -1 for another word. */
int  logger_level(str_t name);
/*
 * One line. Pairs of const char *key, const char *value, ended by a NULL key; a NULL value is left out:
 *     log_line(LOG_WARN, "provider failed", "turn", id, "status", "503", NULL);
 */
void log_line(log_level_t level, const char *msg, ...) __attribute__((sentinel));
/* The same, with a formatted message and no pairs. */
void log_fmt(log_level_t level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool log_enabled(log_level_t level);

/* Opens the same file again (after it was moved away). 0 or SI_EINVAL: then the old one stays in use. */
int  logger_reopen(void);
/* fn returns the turn that the present line belongs to, or NULL; set by run/co. A pair named "turn" wins. */
void logger_turn_source(const char *(*fn)(void));
/* The same for the id of its trace. */
void logger_trace_source(const char *(*fn)(void));

#endif

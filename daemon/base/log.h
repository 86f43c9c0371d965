/* log - one line per decision, to standard error or, when that is the journal, to journald with
 * fields (CONN=, CAUSE=, CODE=).  base, codec and net do not log above debug, but for what libevent
 * itself complains of. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/cause.h"

enum log_level { /* the values are syslog's */
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Finds out where lines go (JOURNAL_STREAM, see systemd.exec(5)).  Lines written before go to
 * standard error at level info. */
void log_open(enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_level(void);

/* Negative if TEXT is none of error, warning, info, debug. */
int log_level_from_name(const char *text);

/* CONN may be NULL, CAUSE may be NULL.  On standard error the line is "NAME: text: cause".
 * A standard error that is closed or full is never waited for and never fatal. */
void log_write(enum log_level level, const char *conn, const struct cause *cause,
	       const char *format, ...) __attribute__((format(printf, 4, 5)));

#define log_error(conn, ...) log_write(LOG_LEVEL_ERROR, (conn), NULL, __VA_ARGS__)
#define log_warning(conn, ...) log_write(LOG_LEVEL_WARNING, (conn), NULL, __VA_ARGS__)
#define log_info(conn, ...) log_write(LOG_LEVEL_INFO, (conn), NULL, __VA_ARGS__)
#define log_debug(conn, ...)                                                                       \
	do {                                                                                       \
		if (log_level() >= LOG_LEVEL_DEBUG)                                                \
			log_write(LOG_LEVEL_DEBUG, (conn), NULL, __VA_ARGS__);                     \
	} while (0)

#endif

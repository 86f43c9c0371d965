/* Where a line goes, and what is done so that a log can never stall or kill the daemon.  The line
 * is put together whole and written at once; when standard error takes nothing now, the line is
 * counted instead, and the next one that goes says how many are missing. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always be this file */
#include <systemd/sd-journal.h>

#include "base/log.h"

#define LOG_IDENTITY "wspiped"
#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

enum {
	LOG_CONN_BYTES = 128,
	LOG_TEXT_BYTES = 1500,
	LOG_LINE_BYTES = 2048, /* below PIPE_BUF: lines of several writers never mix in a pipe */
};

static struct {
	enum log_level level;
	bool to_journal;
	unsigned long lost;
} log_state = {.level = LOG_LEVEL_INFO};

static const struct {
	const char *name;
	enum log_level level;
	const char *word; /* ahead of the text */
} log_levels[] = {
	{"error", LOG_LEVEL_ERROR, "error: "},
	{"warning", LOG_LEVEL_WARNING, "warning: "},
	{"info", LOG_LEVEL_INFO, ""},
	{"debug", LOG_LEVEL_DEBUG, ""},
};

enum { LOG_LEVELS = sizeof(log_levels) / sizeof(log_levels[0]) };

static bool log_stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	if (strcmp(stream, ours) != 0)
		return false;
	/* libsystemd drops lines in silence when the socket is not there, as in a container
	 * whose standard error is the host's journal. */
	return access(LOG_JOURNAL_SOCKET, W_OK) == 0;
}

/* Without it the next descriptor that is opened would become 2, and get our lines. */
static void log_hold_stderr(void)
{
	int fd;

	if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return;
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || fd == STDERR_FILENO)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

void log_open(enum log_level level)
{
	log_hold_stderr();
	log_state.level = level;
	log_state.to_journal = log_stderr_is_journal();
}

void log_set_level(enum log_level level)
{
	log_state.level = level;
}

enum log_level log_level(void)
{
	return log_state.level;
}

int log_level_from_name(const char *text)
{
	for (size_t i = 0; i < LOG_LEVELS; i++)
		if (strcmp(log_levels[i].name, text) == 0)
			return (int)log_levels[i].level;
	return -EINVAL;
}

static const char *log_level_word(enum log_level level)
{
	for (size_t i = 0; i < LOG_LEVELS; i++)
		if (log_levels[i].level == level)
			return log_levels[i].word;
	return "";
}

/* "NAME: text: cause", after PREFIX and with WORD ahead of the text. */
static void log_compose(char *line, size_t size, const char *prefix, const char *conn,
			const char *word, const char *text, const struct cause *cause)
{
	const char *why = "";

	if (cause && cause->text[0])
		why = cause->text;
	else if (cause && cause->class != CAUSE_NONE)
		why = cause_class_name(cause->class);
	snprintf(line, size, "%s%.*s%s%s%s%s%s", prefix, LOG_CONN_BYTES, conn ? conn : "",
		 conn ? ": " : "", word, text, *why ? ": " : "", why);
}

static int log_to_journal(enum log_level level, const char *conn, const struct cause *cause,
			  const char *text)
{
	char message[LOG_LINE_BYTES], priority[16], name[LOG_CONN_BYTES + 8], class[32], code[32];
	struct iovec fields[6];
	int n = 0;

	log_compose(message, sizeof(message), "MESSAGE=", conn, "", text, cause);
	fields[n++] = (struct iovec){message, strlen(message)};
	snprintf(priority, sizeof(priority), "PRIORITY=%d", (int)level);
	fields[n++] = (struct iovec){priority, strlen(priority)};
	fields[n++] = (struct iovec){(char *)"SYSLOG_IDENTIFIER=" LOG_IDENTITY,
				     strlen("SYSLOG_IDENTIFIER=" LOG_IDENTITY)};
	if (conn) {
		snprintf(name, sizeof(name), "CONN=%.*s", LOG_CONN_BYTES, conn);
		fields[n++] = (struct iovec){name, strlen(name)};
	}
	if (cause) {
		snprintf(class, sizeof(class), "CAUSE=%s", cause_class_name(cause->class));
		fields[n++] = (struct iovec){class, strlen(class)};
		snprintf(code, sizeof(code), "CODE=%d", cause->code);
		fields[n++] = (struct iovec){code, strlen(code)};
	}
	return sd_journal_sendv(fields, n);
}

/* Standard error may be shared with other programs, so its O_NONBLOCK is not ours to set; after
 * POLLOUT a pipe takes PIPE_BUF bytes at once, and we never have more. */
static bool log_write_line(const char *line)
{
	struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
	size_t len = strlen(line);

	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
		return false;
	return write(STDERR_FILENO, line, len) == (ssize_t)len;
}

static void log_to_stderr(enum log_level level, const char *conn, const struct cause *cause,
			  const char *text)
{
	char line[LOG_LINE_BYTES], end[64] = "\n";
	size_t len;

	if (log_state.lost > 0)
		snprintf(end, sizeof(end), " (lines lost before this one: %lu)\n", log_state.lost);
	log_compose(line, sizeof(line) - strlen(end), LOG_IDENTITY ": ", conn,
		    log_level_word(level), text, cause);
	len = strlen(line);
	memcpy(line + len, end, strlen(end) + 1);
	if (log_write_line(line))
		log_state.lost = 0;
	else
		log_state.lost++;
}

void log_write(enum log_level level, const char *conn, const struct cause *cause,
	       const char *format, ...)
{
	int saved = errno, n;
	char text[LOG_TEXT_BYTES];
	va_list args;

	if (level > log_state.level)
		return;
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cause_clean(text, n >= (int)sizeof(text));
	if (!log_state.to_journal || log_to_journal(level, conn, cause, text) < 0)
		log_to_stderr(level, conn, cause, text);
	errno = saved;
}

/* lines - see lines.h. */
#include "base/lines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/loop.h"

enum {
	READ_BYTES = 4096,
	READS_PER_TURN = 16, /* all that a pipe holds at its end, unless somebody made it larger */
};

static void end_line(struct lines *lines)
{
	lines->text[lines->len] = '\0';
	if (lines->handed_on < LINES_MAX) {
		lines->handed_on++;
		lines->line(lines->owner, lines->text);
	} else {
		lines->left_out++;
	}
	lines->len = 0;
	lines->begun = false;
}

static void take(struct lines *lines, const char *bytes, size_t len)
{
	while (len > 0) {
		const char *end = memchr(bytes, '\n', len);
		size_t piece = end ? (size_t)(end - bytes) : len;
		size_t room = LINES_BYTES_MAX - lines->len;

		memcpy(lines->text + lines->len, bytes, piece < room ? piece : room);
		lines->len += piece < room ? piece : room;
		lines->begun = true;
		if (end) {
			end_line(lines);
			piece++;
		}
		bytes += piece;
		len -= piece;
	}
}

/* False: nothing now, or never again. */
static bool read_some(struct lines *lines)
{
	char bytes[READ_BYTES];
	ssize_t n = read(lines->fd, bytes, sizeof(bytes));

	if (n > 0)
		take(lines, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		event_del(lines->readable);
	return n > 0;
}

static void read_turn(struct lines *lines)
{
	for (int i = 0; i < READS_PER_TURN && read_some(lines); i++)
		continue;
}

static void lines_on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_turn(arg);
}

int lines_start(struct lines *lines, int fd, void (*line)(void *owner, const char *text),
		void *owner)
{
	*lines = (struct lines){.fd = fd, .line = line, .owner = owner};
	lines->readable =
		event_new(loop_base(), fd, EV_READ | EV_PERSIST, lines_on_readable, lines);
	if (!lines->readable) {
		close(fd);
		return -ENOMEM;
	}
	return event_add(lines->readable, NULL) == 0 ? 0 : -ENOMEM;
}

void lines_end(struct lines *lines)
{
	char more[40];

	if (!lines->readable)
		return;
	read_turn(lines);
	event_del(lines->readable);
	if (lines->begun)
		end_line(lines);
	if (lines->left_out == 0)
		return;
	snprintf(more, sizeof(more), "%llu more lines", (unsigned long long)lines->left_out);
	lines->line(lines->owner, more);
}

void lines_done(struct lines *lines)
{
	if (!lines->readable)
		return;
	event_free(lines->readable);
	lines->readable = NULL;
	close(lines->fd);
}

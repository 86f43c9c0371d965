/* top - see top.h.  A picture is made whole in memory and written at once, so that it does not
 * flicker; what does not fit on the screen is left out. */
#include "top.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "answer.h"
#include "base/cleanup.h"
#include "deadline.h"

enum { ROWS_MAX = 4096, WIDTH_MAX = 1024, NAME_WIDTH_MAX = 64 };

enum { IN_MESSAGES, IN_BYTES, OUT_MESSAGES, OUT_BYTES, COUNTED };

struct seen {
	char *name;
	uint64_t counted[COUNTED];
};

static volatile sig_atomic_t is_enough;

static void on_signal(int number)
{
	(void)number;
	is_enough = 1;
}

/* --- the terminal --------------------------------------------------------------------------- */

void top_begin(struct top *top)
{
	const struct sigaction action = {.sa_handler = on_signal};
	const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct termios keys;

	*top = (struct top){.on_screen = isatty(STDOUT_FILENO)};
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &action, NULL);
	if (!top->on_screen)
		return;
	fputs("\033[?1049h\033[?25l", stdout);
	if (tcgetattr(STDIN_FILENO, &top->before) < 0)
		return;
	keys = top->before;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	top->has_keys = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
}

void top_end(struct top *top)
{
	if (top->on_screen) {
		fputs("\033[?25h\033[?1049l", stdout);
		fflush(stdout);
	}
	if (top->has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &top->before);
	for (size_t i = 0; i < top->seen_n; i++)
		free(top->seen[i].name);
	free(top->seen);
}

static void screen_size(const struct top *top, unsigned *ret_rows, unsigned *ret_width)
{
	struct winsize size;

	*ret_rows = ROWS_MAX;
	*ret_width = WIDTH_MAX;
	if (!top->on_screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return;
	if (size.ws_row > 0)
		*ret_rows = size.ws_row;
	if (size.ws_col > 0 && size.ws_col < WIDTH_MAX)
		*ret_width = size.ws_col;
}

bool top_wait(struct top *top, int64_t ms)
{
	struct deadline deadline = deadline_in(ms);
	struct pollfd keys = {.fd = top->has_keys ? STDIN_FILENO : -1, .events = POLLIN};

	while (!is_enough && !deadline_passed(&deadline)) {
		char key = 0;

		if (poll(&keys, 1, deadline_left_ms(&deadline)) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) <= 0)
			keys.fd = -1; /* nobody types any more */
		if (key == 'q' || key == 'Q')
			return false;
	}
	return !is_enough;
}

/* --- numbers -------------------------------------------------------------------------------- */

struct cell {
	char text[16];
};

/* Three digits and a letter. */
static struct cell short_number(double value, double base)
{
	const char *letter = base > 1000 ? " KMGTP" : " kMGTP";
	struct cell cell;

	while (value >= 999.5 && letter[1]) {
		value /= base;
		letter++;
	}
	if (*letter == ' ')
		snprintf(cell.text, sizeof(cell.text), "%.0f", value);
	else
		snprintf(cell.text, sizeof(cell.text), "%.*f%c", value < 9.95 ? 1 : 0, value,
			 *letter);
	return cell;
}

static uint64_t most_behind(const struct json_span *connection)
{
	struct json_span readers, reader;
	uint64_t most = 0;
	size_t at = 0;

	if (json_find(connection->at, connection->len, "/readers", &readers) <= 0)
		return 0;
	while (json_next(&readers, &at, NULL, &reader) > 0) {
		uint64_t behind = answer_number(&reader, "/behind_messages", 0);

		most = behind > most ? behind : most;
	}
	return most;
}

/* --- what has changed ------------------------------------------------------------------------ */

/* Mostly it stands where it stood. */
static const struct seen *find_seen(const struct top *top, const char *name, size_t guess)
{
	if (guess < top->seen_n && strcmp(top->seen[guess].name, name) == 0)
		return &top->seen[guess];
	for (size_t i = 0; i < top->seen_n; i++)
		if (strcmp(top->seen[i].name, name) == 0)
			return &top->seen[i];
	return NULL;
}

static void count(const struct json_span *connection, uint64_t ret[COUNTED])
{
	static const char *const pointers[COUNTED] = {"/received/messages", "/received/bytes",
						      "/sent/messages", "/sent/bytes"};

	for (int i = 0; i < COUNTED; i++)
		ret[i] = answer_number(connection, pointers[i], 0);
}

/* Replaces what was seen the last time. */
static void remember(struct top *top, struct seen *fresh, size_t n, int64_t now_ms)
{
	for (size_t i = 0; i < top->seen_n; i++)
		free(top->seen[i].name);
	free(top->seen);
	top->seen = fresh;
	top->seen_n = n;
	top->seen_ms = now_ms;
}

/* --- the picture ---------------------------------------------------------------------------- */

static void print_head(FILE *out, const struct json_span *answer, unsigned width, int name_width)
{
	cleanup_free char *version = answer_text(answer, "/daemon/version");
	char line[WIDTH_MAX + 1];

	snprintf(line, sizeof(line), "wspiped %s, process %llu: %llu connections, %s of %s kept",
		 version ? version : "?",
		 (unsigned long long)answer_number(answer, "/daemon/pid", 0),
		 (unsigned long long)answer_number(answer, "/daemon/connections", 0),
		 short_number((double)answer_number(answer, "/daemon/memory/used", 0), 1024).text,
		 short_number((double)answer_number(answer, "/daemon/memory/limit", 0), 1024).text);
	fprintf(out, "%.*s\n\n", (int)width, line);
	snprintf(line, sizeof(line), "%-*s  %-10s  %6s  %6s  %6s  %6s  %6s  %6s  %6s  %7s  %s",
		 name_width, "NAME", "STATE", "IN/s", "B/s", "OUT/s", "B/s", "QUEUE", "KEPT B",
		 "BEHIND", "DROPPED", "RTT ms");
	fprintf(out, "%.*s\n", (int)width, line);
}

static void print_row(FILE *out, const struct json_span *connection, const char *name,
		      int name_width, const double rates[COUNTED], unsigned width)
{
	cleanup_free char *state = answer_text(connection, "/state");
	struct json_span rtt = {.at = "null", .len = 4};
	char line[WIDTH_MAX + 1];

	json_find(connection->at, connection->len, "/rtt_ms", &rtt);
	if (*rtt.at == 'n')
		rtt = (struct json_span){.at = "-", .len = 1};
	snprintf(line, sizeof(line), "%-*s  %-10s  %6s  %6s  %6s  %6s  %6s  %6s  %6s  %7s  %.*s",
		 name_width, name, state ? state : "?", short_number(rates[IN_MESSAGES], 1000).text,
		 short_number(rates[IN_BYTES], 1024).text,
		 short_number(rates[OUT_MESSAGES], 1000).text,
		 short_number(rates[OUT_BYTES], 1024).text,
		 short_number((double)answer_number(connection, "/queue/messages", 0), 1000).text,
		 short_number((double)answer_number(connection, "/kept/bytes", 0), 1024).text,
		 short_number((double)most_behind(connection), 1000).text,
		 short_number((double)answer_number(connection, "/dropped/messages", 0), 1000).text,
		 (int)rtt.len, rtt.at);
	fprintf(out, "%.*s\n", (int)width, line);
}

static size_t measure(const struct json_span *connections, int *ret_name_width)
{
	struct json_span connection;
	size_t n = 0, at = 0;

	*ret_name_width = 4;
	for (; json_next(connections, &at, NULL, &connection) > 0; n++) {
		cleanup_free char *name = answer_text(&connection, "/name");
		int len = name ? (int)strnlen(name, NAME_WIDTH_MAX) : 0;

		*ret_name_width = len > *ret_name_width ? len : *ret_name_width;
	}
	return n;
}

/* FRESH has room for all of them. */
static size_t print_rows(struct top *top, FILE *out, const struct json_span *connections,
			 unsigned rows, unsigned width, int name_width, struct seen *fresh,
			 double seconds)
{
	struct json_span connection;
	size_t n = 0, at = 0;

	while (json_next(connections, &at, NULL, &connection) > 0) {
		char *name = answer_text(&connection, "/name");
		const struct seen *before = name ? find_seen(top, name, n) : NULL;
		double rates[COUNTED] = {0};

		if (!name)
			continue;
		fresh[n].name = name;
		count(&connection, fresh[n].counted);
		for (int i = 0; before && seconds > 0 && i < COUNTED; i++)
			if (fresh[n].counted[i] >= before->counted[i])
				rates[i] = (double)(fresh[n].counted[i] - before->counted[i]) /
					   seconds;
		if (n + 1 < rows)
			print_row(out, &connection, name, name_width, rates, width);
		n++;
	}
	return n;
}

void top_show(struct top *top, const struct json_span *answer)
{
	struct json_span connections = {.at = "[]", .len = 2};
	int64_t now_ms = deadline_now_ms();
	cleanup_free char *picture = NULL;
	struct seen *fresh;
	unsigned rows, width;
	size_t bytes, n;
	int name_width;
	FILE *out = open_memstream(&picture, &bytes);

	if (!out)
		return;
	json_find(answer->at, answer->len, "/connections", &connections);
	screen_size(top, &rows, &width);
	n = measure(&connections, &name_width);
	fresh = calloc(n + 1, sizeof(*fresh));
	print_head(out, answer, width, name_width);
	if (fresh)
		n = print_rows(top, out, &connections, rows > 3 ? rows - 3 : 1, width, name_width,
			       fresh, top->seen_ms ? (double)(now_ms - top->seen_ms) / 1000 : 0);
	remember(top, fresh, fresh ? n : 0, now_ms);
	if (fclose(out) != 0)
		return;
	if (top->on_screen)
		fputs("\033[H\033[2J", stdout);
	fwrite(picture, 1, bytes, stdout);
	if (!top->on_screen)
		putchar('\n');
	fflush(stdout);
}

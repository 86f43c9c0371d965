/* ini - one pass over the text, a line at a time, with one upcall for each line that says
 * something.
 *
 * What keys and sections mean, and whether they may be repeated, is the owner's business. */
#include <string.h>

#include "codec/ini.h"

static char *skip_blanks(char *text)
{
	return text + strspn(text, " \t");
}

static void drop_blanks_behind(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	text[len] = '\0';
}

/* TEXT stands behind the '['. */
static void take_section(char *text, const struct ini_events *events, void *owner, unsigned line)
{
	char *end = strchr(text, ']');

	if (!end) {
		events->fault(owner, "a section without its closing ]", line);
		return;
	}
	if (end[1] != '\0') {
		events->fault(owner, "text behind the ] of a section", line);
		return;
	}
	*end = '\0';
	text = skip_blanks(text);
	drop_blanks_behind(text);
	if (*text == '\0')
		events->fault(owner, "a section without a name", line);
	else
		events->section(owner, text, line);
}

static void take_value(char *text, const struct ini_events *events, void *owner, unsigned line)
{
	char *equals = strchr(text, '=');

	if (!equals) {
		events->fault(owner, "neither a [section] nor key = value", line);
		return;
	}
	*equals = '\0';
	drop_blanks_behind(text);
	if (*text == '\0')
		events->fault(owner, "no key before the =", line);
	else
		events->value(owner, text, skip_blanks(equals + 1), line);
}

/* TEXT is one line, terminated, of LEN bytes. */
static void take_line(char *text, size_t len, const struct ini_events *events, void *owner,
		      unsigned line)
{
	if (strlen(text) != len) {
		events->fault(owner, "a NUL byte", line);
		return;
	}
	text = skip_blanks(text);
	drop_blanks_behind(text);
	if (*text == '\0' || *text == '#' || *text == ';')
		return;
	if (*text == '[')
		take_section(text + 1, events, owner, line);
	else
		take_value(text, events, owner, line);
}

void ini_parse(char *text, size_t len, const struct ini_events *events, void *owner)
{
	char *end = text + len;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	for (unsigned line = 1; text < end; line++) {
		char *newline = memchr(text, '\n', (size_t)(end - text));
		char *next = newline ? newline + 1 : end;
		char *stop = newline ? newline : end;

		if (newline && stop > text && stop[-1] == '\r')
			stop--;
		*stop = '\0';
		take_line(text, (size_t)(stop - text), events, owner, line);
		text = next;
	}
}

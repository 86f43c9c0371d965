/* The text of a cause is often half ours and half the peer's (a close reason, a certificate's
 * name), and ends in logs, status files and terminals: so it is made harmless here, once. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cause.h"

static const char *const cause_names[CAUSE_CLASSES] = {
	[CAUSE_NONE] = "none",         [CAUSE_DNS] = "dns",         [CAUSE_CONNECT] = "connect",
	[CAUSE_PROXY] = "proxy",       [CAUSE_TLS] = "tls",         [CAUSE_HTTP] = "http",
	[CAUSE_PROTOCOL] = "protocol", [CAUSE_TOO_BIG] = "too-big", [CAUSE_TIMEOUT] = "timeout",
	[CAUSE_CLOSED] = "closed",     [CAUSE_LOGIN] = "login",     [CAUSE_LOCAL] = "local",     [CAUSE_OPERATOR] = "operator",
};

/* How long the character must be that begins with LEAD, and which second bytes it allows (Unicode,
 * table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF); 0 if none begins so. */
static size_t cause_char_shape(unsigned char lead, unsigned char *ret_low, unsigned char *ret_high)
{
	*ret_low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
	*ret_high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Bytes of the valid character at TEXT, 0 if it is broken.  *ret_cut: it is broken only because the
 * text ends inside it. */
static size_t cause_char_len(const unsigned char *text, bool *ret_cut)
{
	unsigned char low, high;
	size_t len = cause_char_shape(text[0], &low, &high);

	*ret_cut = false;
	for (size_t i = 1; i < len; i++) {
		if (text[i] < low || text[i] > high) {
			*ret_cut = text[i] == '\0';
			return 0;
		}
		low = 0x80;
		high = 0xbf;
	}
	return len;
}

static bool cause_is_control(const unsigned char *text, size_t len)
{
	if (len == 1)
		return text[0] < 0x20 || text[0] == 0x7f;
	return len == 2 && text[0] == 0xc2 && text[1] < 0xa0; /* C1: CSI and the like */
}

void cause_clean(char *text, bool was_cut)
{
	unsigned char *in = (unsigned char *)text, *out = in;

	while (*in) {
		bool cut;
		size_t len = cause_char_len(in, &cut);

		if (cut && was_cut)
			break;
		if (len == 0 || cause_is_control(in, len)) {
			*out++ = '?';
			in += len ? len : 1;
			continue;
		}
		memmove(out, in, len);
		out += len;
		in += len;
	}
	*out = '\0';
}

void cause_set(struct cause *cause, enum cause_class class, int code, const char *format, ...)
{
	struct cause made = {.class = class, .code = code}; /* an argument may be cause->text */
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(made.text, sizeof(made.text), format, args);
	va_end(args);
	cause_clean(made.text, n >= (int)sizeof(made.text));
	*cause = made;
}

const char *cause_class_name(enum cause_class class)
{
	return (unsigned)class < CAUSE_CLASSES ? cause_names[class] : "unknown";
}

static struct cause shared_room;

struct cause *cause_room(struct cause **place)
{
	if (!*place)
		*place = calloc(1, sizeof(**place));
	if (!*place)
		*place = &shared_room;
	return *place;
}

void cause_free(struct cause *cause)
{
	if (cause != &shared_room)
		free(cause);
}

/* ini - configuration text into (section, key, value, line).
 *
 *	# comment          ; comment            (whole lines only: values may contain both)
 *	[section]
 *	key = value                             (blanks around key and value are dropped)
 *
 * Lines may be of any length.  CR before LF is dropped.  A UTF-8 byte order mark at the start is
 * skipped.  NUL bytes are a fault. */
#ifndef CODEC_INI_H
#define CODEC_INI_H

#include <stddef.h>

struct ini_events {
	/* A [section] line.  The strings live until the upcall returns. */
	void (*section)(void *owner, const char *name, unsigned line);
	void (*value)(void *owner, const char *key, const char *value, unsigned line);
	/* A line that is none of these; parsing goes on, so that all faults are told at once. */
	void (*fault)(void *owner, const char *problem, unsigned line);
};

/* TEXT is changed in place (strings are terminated in it): LEN bytes and a writable byte behind. */
void ini_parse(char *text, size_t len, const struct ini_events *events, void *owner);

#endif

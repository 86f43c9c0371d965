/* when - see when.h. */
#include "when.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECOND_US = 1000 * 1000 };

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * SECOND_US + (uint64_t)now.tv_nsec / 1000;
}

/* Digits, perhaps with a fraction; what follows is in *ret_end. */
static int number(const char *text, double *ret, const char **ret_end)
{
	size_t digits = strspn(text, "0123456789"), len = digits;

	if (digits > 0 && text[len] == '.')
		len += 1 + strspn(text + len + 1, "0123456789");
	if (digits == 0 || len > 20)
		return -1;
	*ret = strtod(text, NULL);
	*ret_end = text + len;
	return 0;
}

static int ago(const char *text, uint64_t *ret_us)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"ms", 0.001}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
	const char *unit;
	double amount;

	if (number(text, &amount, &unit) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		double us = amount * units[i].seconds * SECOND_US;

		if (strcmp(unit, units[i].name) != 0)
			continue;
		*ret_us = us < (double)now_us() ? now_us() - (uint64_t)us : 0;
		return 0;
	}
	return -1;
}

/* Behind the minutes: seconds, and Z. */
static int rest_of_time(const char *text, struct tm *tm, uint64_t *ret_fraction_us, bool *ret_utc)
{
	double seconds = 0;

	*ret_fraction_us = 0;
	if (*text == ':') {
		if (number(text + 1, &seconds, &text) < 0 || seconds > 61)
			return -1;
		tm->tm_sec = (int)seconds;
		*ret_fraction_us = (uint64_t)((seconds - tm->tm_sec) * SECOND_US);
	}
	*ret_utc = *text == 'Z';
	text += *ret_utc;
	return *text ? -1 : 0;
}

static int date(const char *text, uint64_t *ret_us)
{
	const char *forms[] = {"%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%H:%M"};
	time_t now = time(NULL), then;
	uint64_t fraction_us;
	bool utc;

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct tm tm;
		const char *rest;

		localtime_r(&now, &tm);
		tm.tm_sec = 0;
		if (strchr(forms[i], 'Y'))
			tm.tm_hour = tm.tm_min = 0;
		tm.tm_isdst = -1;
		rest = strptime(text, forms[i], &tm);
		if (!rest || rest_of_time(rest, &tm, &fraction_us, &utc) < 0)
			continue;
		then = utc ? timegm(&tm) : mktime(&tm);
		*ret_us = then < 0 ? 0 : (uint64_t)then * SECOND_US + fraction_us;
		return 0;
	}
	return -1;
}

int when_parse(const char *text, uint64_t *ret_us)
{
	const char *rest;
	double seconds;

	if (*text != '@')
		return ago(text, ret_us) == 0 ? 0 : date(text, ret_us);
	if (number(text + 1, &seconds, &rest) < 0 || *rest || seconds > 1e11)
		return -1;
	*ret_us = (uint64_t)(seconds * SECOND_US);
	return 0;
}

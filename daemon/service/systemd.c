/* systemd - see systemd.h. */
#include "service/systemd.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "base/loop.h"

static struct timer watchdog;
static uint64_t watchdog_ms;

void systemd_ready(void)
{
	sd_notify(0, "READY=1");
}

void systemd_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		   (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void systemd_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void systemd_status(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	sd_notifyf(0, "STATUS=%s", text);
}

static void on_watchdog(void *owner)
{
	(void)owner;
	sd_notify(0, "WATCHDOG=1");
	timer_set(&watchdog, watchdog_ms);
}

int systemd_watchdog_start(void)
{
	uint64_t interval_us;
	int r = sd_watchdog_enabled(0, &interval_us);

	if (r <= 0)
		return r;
	r = timer_init(&watchdog, on_watchdog, NULL);
	if (r < 0)
		return r;
	watchdog_ms = interval_us / 2000 ? interval_us / 2000 : 1;
	on_watchdog(NULL);
	return 0;
}

void systemd_watchdog_stop(void)
{
	timer_done(&watchdog);
}

/* systemd - see systemd.h. */
#include "service/systemd.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

bool systemd_is_there(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path && *path;
}

int systemd_store(const char *name, const int *fds, size_t n)
{
	char text[512];
	int r;

	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	r = sd_pid_notify_with_fds(0, 0, text, fds, (unsigned)n);
	return r < 0 ? r : 0;
}

void systemd_unstore(const char *name)
{
	sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

int systemd_listen_fds(int *ret_first, char ***ret_names)
{
	*ret_first = SD_LISTEN_FDS_START;
	*ret_names = NULL;
	return sd_listen_fds_with_names(1, ret_names);
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

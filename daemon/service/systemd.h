/* systemd - what the service manager is told: sd_notify(3).  Without one, nothing happens. */
#ifndef SERVICE_SYSTEMD_H
#define SERVICE_SYSTEMD_H

#include <stdbool.h>

void systemd_ready(void);
void systemd_reloading(void); /* with the time, as Type=notify-reload wants it; 252 takes it too */
void systemd_stopping(void);
void systemd_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Start to tell that we are alive, twice in each WatchdogSec=, if the manager asks for it. -errno. */
int systemd_watchdog_start(void);
void systemd_watchdog_stop(void);

#endif

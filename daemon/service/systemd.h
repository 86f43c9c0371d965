/* systemd - what the service manager is told: sd_notify(3), and what it keeps for us.  Without one,
 * nothing happens. */
#ifndef SERVICE_SYSTEMD_H
#define SERVICE_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>

void systemd_ready(void);
void systemd_reloading(void); /* with the time, as Type=notify-reload wants it; 252 takes it too */
void systemd_stopping(void);
void systemd_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Its descriptor store.  A name is up to 255 printable characters without ':'. It keeps copies
 * until they are removed (not at a hang-up: what a program has written before it went away is still
 * to be read), at most FileDescriptorStoreMax= of the unit file; what is above that it drops
 * without a word to us. */
bool systemd_is_there(void);
/* -errno: the manager cannot be told. */
int systemd_store(const char *name, const int *fds, size_t n);
void systemd_unstore(const char *name);
/* What it has kept: how many, the first descriptor (the others follow), and their names
 * (strv_free()). -errno.  Once: then the environment says nothing of it any more. */
int systemd_listen_fds(int *ret_first, char ***ret_names);

/* Start to tell that we are alive, twice in each WatchdogSec=, if the manager asks for it. -errno. */
int systemd_watchdog_start(void);
void systemd_watchdog_stop(void);

#endif

/* service - the daemon as a whole: all connections with their endpoints, how they come, change and go.
 *
 * A channel is one connection with its endpoints; made from a section of the configuration or by
 * `wspipe open`.  A new snapshot is applied by difference: what did not change is not touched. */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/list.h"
#include "conn/conn.h"
#include "endpoint/endpoint.h"
#include "endpoint/hooks.h"
#include "service/config.h"

struct service;
struct channel;
struct instance;
struct outlet;
struct shelf;

/* Whoever uses a channel from outside of the service (a request on the control socket) embeds one. */
struct channel_reader {
	struct list link;
	const char *kind;      /* "recv", "cat": for status */
	int pid;
	struct outlet *outlet; /* what it reads by, or NULL: it does not read, status passes it over */
	/* The channel is about to be freed (from a clean stack): let go of it, its conn, and of every
	 * intake, outlet, cursor and watch on that, before returning.  Remove this reader, too. */
	void (*removed)(void *owner);
	void *owner;
};

struct service_options {
	const char *config_file; /* or NULL: the default places */
	int runtime_fd;          /* the runtime directory */
	const char *runtime_dir; /* its path, for messages */
	struct shelf *shelf;     /* where descriptors outlive us, or NULL */
	struct instance *instance; /* whose state directory is taken when it is needed; or NULL */
	bool on_demand;          /* end when nothing is left to hold (a user instance started by the client) */
	/* A new snapshot is in force: what lies above the service may want to know. */
	void (*reloaded)(void *owner);
	void *owner;
};

/* Takes CONFIG.  Connections start at once.  -errno. */
int service_new(struct service **ret, const struct service_options *options,
		struct config *config);
struct service *service_free(struct service *service);

/* Read the configuration again and apply what differs.  -EINVAL: faults are in FAULTS, and nothing
 * was changed. */
int service_reload(struct service *service, struct buf *faults);

/* Close every connection properly within its close-timeout, then end the loop. */
void service_stop(struct service *service, const char *why);
bool service_stopping(const struct service *service);

/* A control client is there (+1) or has gone (-1): an on-demand daemon stays for it. */
void service_hold(struct service *service, int change);

/* Channels by name, or in order of names (NULL: the first; returns NULL behind the last). */
struct channel *service_find(struct service *service, const char *name);
struct channel *service_next(struct service *service, struct channel *channel);

/* Make a channel that lives until closed.  Takes SECTION.  WITH_ENDPOINTS: a directory with files;
 * false for one that only its maker uses (cat URL): it is not listed under a name others could guess
 * wrong.  -EEXIST: the name is taken.  What else fails is in the log. */
int service_add(struct service *service, struct section *section, bool with_endpoints,
		struct channel **ret);
/* The connection is closed properly, then all of it goes. */
void service_remove(struct service *service, struct channel *channel);

struct conn *channel_conn(const struct channel *channel);
struct endpoints *channel_endpoints(const struct channel *channel); /* NULL: none */
const struct hooks *channel_hooks(const struct channel *channel);   /* NULL: none */
const struct section *channel_section(const struct channel *channel);
bool channel_configured(const struct channel *channel); /* from a file, not by `open` */
bool channel_removing(const struct channel *channel);   /* it goes when it is down */

void channel_reader_add(struct channel *channel, struct channel_reader *reader);
void channel_reader_remove(struct channel_reader *reader);
struct list *channel_readers(const struct channel *channel);

const struct daemon_options *service_daemon_options(const struct service *service);
const struct records_pool *service_pool(const struct service *service);
uint64_t service_started_us(const struct service *service);
const char *service_runtime_dir(const struct service *service);
const char *service_config_file(const struct service *service); /* NULL: the default places */

#endif

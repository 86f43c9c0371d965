/* service - see service.h. */
#include "service/service.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/log.h"
#include "base/loop.h"
#include "conn/turns.h"
#include "endpoint/arrivals.h"
#include "endpoint/hookslot.h"
#include "endpoint/shelf.h"
#include "net/links.h"
#include "endpoint/login.h"
#include "service/instance.h"
#include "service/systemd.h"

/* One connection with its endpoints. */
struct channel {
	struct service *service;
	struct section *section;
	struct conn *conn;
	struct opening_runner runner; /* of `login` */
	struct endpoints *endpoints; /* NULL: it has none */
	struct hooks *hooks;         /* NULL: none */
	struct conn_watch watch;
	struct list readers;
	struct later go; /* its end, from a clean stack */
	bool configured, with_endpoints, removing, absent;
	bool open, tried; /* as they are counted in the service */
	bool in_part;           /* its section is in force: there was no memory for all of it */
};

enum { SIGNALS = 4 };
static const int signals[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

struct service {
	struct service_options options;
	struct config *config; /* what is left of the snapshot: [daemon] */
	struct records_pool pool;
	struct arrivals *arrivals;
	struct turns *turns;
	struct hookslots hookslots;
	struct links *links; /* NULL: there is no netlink here */
	struct channel **channel; /* in order of names */
	size_t channels, room;
	size_t open, tried; /* so many of them, when they last told us */
	struct event *signal[SIGNALS];
	struct later look; /* at the states of all, once for many changes */
	uint64_t started_us;
	struct timer grace; /* on demand: the client that started us is still on its way */
	int holds;
	bool stopping, ready;
};

enum { GRACE_MS = 10 * 1000 };

/* --- channels in order ---------------------------------------------------------------------- */

/* Where NAME stands, or would. */
static size_t place_of(const struct service *service, const char *name)
{
	size_t low = 0, high = service->channels;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(service->channel[middle]->section->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct channel *service_find(struct service *service, const char *name)
{
	size_t at = place_of(service, name);

	if (at < service->channels && strcmp(service->channel[at]->section->name, name) == 0)
		return service->channel[at];
	return NULL;
}

struct channel *service_next(struct service *service, struct channel *channel)
{
	size_t at = channel ? place_of(service, channel->section->name) + 1 : 0;

	return at < service->channels ? service->channel[at] : NULL;
}

static int insert_channel(struct service *service, struct channel *channel)
{
	size_t at = place_of(service, channel->section->name);

	if (service->channels == service->room) {
		size_t room = service->room ? service->room * 2 : 16;
		void *grown = realloc(service->channel, room * sizeof(channel));

		if (!grown)
			return -ENOMEM;
		service->channel = grown;
		service->room = room;
	}
	memmove(service->channel + at + 1, service->channel + at,
		(service->channels - at) * sizeof(channel));
	service->channel[at] = channel;
	service->channels++;
	return 0;
}

static void take_out(struct service *service, const struct channel *channel)
{
	size_t at = place_of(service, channel->section->name);

	if (at >= service->channels || service->channel[at] != channel)
		return;
	service->channels--;
	memmove(service->channel + at, service->channel + at + 1,
		(service->channels - at) * sizeof(*service->channel));
}

/* --- one channel ---------------------------------------------------------------------------- */

static void tell_readers(struct channel *channel)
{
	while (!list_empty(&channel->readers)) {
		struct channel_reader *reader =
			list_first(&channel->readers, struct channel_reader, link);

		list_remove(&reader->link);
		reader->removed(reader->owner);
	}
}

static size_t recount(size_t count, bool *counted, bool now)
{
	count += now;
	count -= *counted;
	*counted = now;
	return count;
}

/* What all of them come to is known without asking all of them each time one has changed. */
static void count_channel(struct channel *channel, bool open, bool tried)
{
	struct service *service = channel->service;

	service->open = recount(service->open, &channel->open, open);
	service->tried = recount(service->tried, &channel->tried, tried);
}

static struct channel *channel_free(struct channel *channel, bool keep_files)
{
	if (!channel)
		return NULL;
	count_channel(channel, false, false);
	tell_readers(channel);
	take_out(channel->service, channel);
	channel->endpoints = endpoints_free(channel->endpoints, keep_files);
	channel->hooks = hooks_free(channel->hooks);
	later_cancel(&channel->go);
	channel->conn = conn_free(channel->conn);
	config_section_free(channel->section);
	free(channel);
	return NULL;
}

static void channel_on_go(void *owner)
{
	struct channel *channel = owner;
	struct service *service = channel->service;

	if (channel->hooks && !hooks_settle(channel->hooks))
		return; /* channel_hooks_settled() will ask again */
	log_info(channel->section->name, "removed");
	if (!channel->configured)
		conn_forget(channel->conn); /* nobody can ask for it any more */
	channel_free(channel, false);
	loop_later(&service->look);
}

static bool is_down(const struct channel *channel)
{
	enum conn_state state = conn_state(channel->conn);

	return state == CONN_CLOSED || state == CONN_FAILED;
}

static void channel_conn_changed(void *owner)
{
	struct channel *channel = owner;

	count_channel(channel, conn_state(channel->conn) == CONN_OPEN, conn_tried(channel->conn));
	if (channel->removing && is_down(channel))
		loop_later(&channel->go);
	loop_later(&channel->service->look);
}

/* Nothing runs any more of a connection that has ended for good. */
static void channel_hooks_settled(void *owner)
{
	channel_conn_changed(owner);
}

/* As the section says.  What fails is in the log. */
static int set_hooks(struct channel *channel)
{
	const struct hooks_options *options = &channel->section->hooks;
	int r = 0;

	if (channel->hooks)
		r = hooks_set_options(channel->hooks, options);
	else if (hooks_wanted(options))
		r = hooks_new(&channel->hooks, channel->conn, options,
			      channel->service->options.runtime_dir, &channel->service->hookslots,
			      channel_hooks_settled, channel);
	else
		hooks_forget_place(channel->conn);
	if (r < 0)
		log_error(channel->section->name, "cannot set up its hooks: %s (a reload tries again)",
			  strerror(-r));
	return r;
}

static const char *what_stands_there(int error)
{
	if (error == -EEXIST)
		return "something that is no FIFO of ours stands there; move it away";
	if (error == -EPERM)
		return "a symbolic link, or something of another user, stands there; move it away";
	return strerror(-error);
}

/* Log where it failed, and what to do. */
static int make_endpoints(struct channel *channel)
{
	struct service *service = channel->service;
	const char *path;
	int r;

	if (!channel->with_endpoints)
		return 0;
	r = endpoints_new(&channel->endpoints, service->options.runtime_fd, service->arrivals,
			  service->options.shelf, channel->conn, &channel->section->endpoint,
			  &path);
	if (r < 0)
		log_error(channel->section->name, "cannot make %s/%s/%s: %s (a reload tries again)",
			  service->options.runtime_dir, channel->section->name, path,
			  what_stands_there(r));
	return r;
}

static void persist(struct channel *channel)
{
	struct instance *instance = channel->service->options.instance;

	if (channel->section->conn.persist)
		conn_persist(channel->conn, instance ? instance_take_state(instance) : -ENOENT);
}

/* Takes SECTION, also on failure. */
static int channel_new(struct channel **ret, struct service *service, struct section *section,
		       bool configured, bool with_endpoints)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	int r;

	if (!channel) {
		log_error(section->name, "cannot be made: %s (a reload tries again)", strerror(ENOMEM));
		config_section_free(section);
		return -ENOMEM;
	}
	channel->service = service;
	channel->section = section;
	channel->configured = configured;
	channel->with_endpoints = with_endpoints;
	list_init(&channel->readers);
	later_init(&channel->go, channel_on_go, channel);
	r = conn_new(&channel->conn, section->name, &section->conn, &service->pool);
	if (r == 0) {
		login_runner_init(&channel->runner, &section->endpoint);
		conn_set_runner(channel->conn, &channel->runner);
		r = insert_channel(service, channel);
	}
	if (r < 0)
		log_error(section->name, "cannot be made: %s (a reload tries again)", strerror(-r));
	if (r == 0)
		conn_use_turns(channel->conn, service->turns);
	if (r == 0)
		persist(channel);
	if (r == 0)
		r = make_endpoints(channel);
	if (r == 0)
		r = set_hooks(channel);
	if (r < 0) {
		channel_free(channel, true);
		return r;
	}
	channel->watch = (struct conn_watch){.changed = channel_conn_changed, .owner = channel};
	conn_watch_add(channel->conn, &channel->watch);
	conn_open(channel->conn);
	*ret = channel;
	return 0;
}

/* --- what all of it comes to ---------------------------------------------------------------- */

static void tell_manager(struct service *service)
{
	systemd_status("%zu connections, %zu open", service->channels, service->open);
	if (service->tried == service->channels && !service->ready) {
		service->ready = true;
		malloc_trim(0); /* what all the handshakes needed, and nothing needs now */
		systemd_ready();
	}
}

/* All are asked: how long a hook may take counts from the end of its own connection. */
static bool all_down(const struct service *service)
{
	bool down = true;

	for (size_t i = 0; i < service->channels; i++) {
		struct channel *channel = service->channel[i];

		if (!is_down(channel) || (channel->hooks && !hooks_settle(channel->hooks)))
			down = false;
	}
	return down;
}

static void service_on_look(void *owner)
{
	struct service *service = owner;

	if (service->stopping) {
		if (all_down(service))
			loop_stop();
		return;
	}
	tell_manager(service);
	if (service->options.on_demand && service->holds == 0 && service->channels == 0 &&
	    !timer_is_set(&service->grace)) {
		service_stop(service, "nothing is left to hold");
	}
}

void service_hold(struct service *service, int change)
{
	service->holds += change;
	timer_cancel(&service->grace);
	if (service->holds == 0)
		loop_later(&service->look);
}

/* --- a snapshot comes into force ------------------------------------------------------------ */

static void apply_daemon_options(struct service *service, struct config *config)
{
	config_free(service->config);
	service->config = config;
	service->pool.limit = config->daemon.memory_bytes;
	log_set_level((enum log_level)config->daemon.log_level);
}

/* NEW takes the place of the channel's section. */
static void change_channel(struct channel *channel, struct section *section)
{
	unsigned change = config_compare(channel->section, section);
	struct section *old = channel->section;
	int r;

	channel->configured = true;
	if (change == 0 && !channel->removing && !channel->in_part &&
	    (channel->endpoints || !channel->with_endpoints)) {
		config_section_free(section);
		return;
	}
	channel->section = section;
	login_runner_init(&channel->runner, &section->endpoint);
	r = conn_set_options(channel->conn, &section->conn);
	channel->in_part = r < 0;
	if (r < 0)
		log_error(section->name, "its new configuration is in force only in part: %s (a reload tries "
			  "again)", strerror(-r));
	persist(channel);
	if ((change & (1u << CONFIG_ENDPOINTS)) || !channel->endpoints) {
		channel->endpoints = endpoints_free(channel->endpoints, true);
		channel->with_endpoints = true;
		make_endpoints(channel);
	} else {
		endpoints_set_options(channel->endpoints, &section->endpoint);
	}
	if (set_hooks(channel) < 0)
		channel->in_part = true;
	if ((change & (1u << CONFIG_REDIAL)) || channel->removing) {
		channel->removing = false;
		later_cancel(&channel->go);
		log_info(section->name, "its configuration has changed: connecting anew");
		conn_reconnect(channel->conn);
	}
	config_section_free(old);
}

static void remove_absent(struct service *service, struct config *config)
{
	struct section *section;

	for (size_t i = 0; i < service->channels; i++)
		service->channel[i]->absent = true;
	list_for_each(section, &config->sections, link) {
		struct channel *channel = service_find(service, section->name);

		if (channel)
			channel->absent = false;
	}
	for (size_t i = service->channels; i-- > 0;)
		if (service->channel[i]->configured && service->channel[i]->absent)
			service_remove(service, service->channel[i]);
}

static void apply(struct service *service, struct config *config)
{
	struct section *section;

	while ((section = list_first(&config->sections, struct section, link))) {
		struct channel *channel = service_find(service, section->name);

		list_remove(&section->link);
		if (channel)
			change_channel(channel, section);
		else
			channel_new(&channel, service, section, true, true);
	}
	apply_daemon_options(service, config);
}

int service_reload(struct service *service, struct buf *faults)
{
	struct config *config;
	int r;

	systemd_reloading();
	r = config_load(&config, service->options.config_file, faults);
	if (r == 0) {
		remove_absent(service, config);
		apply(service, config);
		log_info(NULL, "configuration reloaded");
		if (service->options.reloaded)
			service->options.reloaded(service->options.owner);
	} else {
		log_error(NULL, "the configuration has faults, the running one stays in force");
	}
	systemd_ready();
	loop_later(&service->look);
	return r;
}

/* --- signals, start and stop ---------------------------------------------------------------- */

static void log_faults(struct buf *faults)
{
	char *line, *rest;

	if (buf_append(faults, "", 1) < 0)
		return;
	for (line = strtok_r((char *)buf_head(faults), "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		log_error(NULL, "%s", line);
}

static void reload_on_signal(struct service *service)
{
	struct buf faults;

	if (service->stopping) {
		log_info(NULL, "stopping: the configuration is not read again");
		return;
	}
	buf_init(&faults, 1024 * 1024);
	if (service_reload(service, &faults) < 0)
		log_faults(&faults);
	buf_done(&faults);
}

/* logrotate(8) has moved files away. */
static void reopen_files(struct service *service)
{
	for (size_t i = 0; i < service->channels; i++)
		if (service->channel[i]->endpoints)
			endpoints_reopen(service->channel[i]->endpoints);
	log_info(NULL, "files reopened");
}

static void service_on_signal(evutil_socket_t number, short what, void *owner)
{
	struct service *service = owner;

	(void)what;
	if (number == SIGHUP)
		reload_on_signal(service);
	else if (number == SIGUSR1)
		reopen_files(service);
	else
		service_stop(service, number == SIGINT ? "SIGINT" : "SIGTERM");
}

static void service_on_grace(void *owner)
{
	service_on_look(owner);
}

static int watch_signals(struct service *service)
{
	for (int i = 0; i < SIGNALS; i++) {
		service->signal[i] = evsignal_new(loop_base(), signals[i], service_on_signal, service);
		if (!service->signal[i] || event_add(service->signal[i], NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* --- the machine and its network ------------------------------------------------------------ */

static void service_network_changed(void *owner)
{
	struct service *service = owner;

	for (size_t i = 0; i < service->channels; i++)
		conn_network_changed(service->channel[i]->conn);
}

static void service_resumed(void *owner, uint64_t slept_ms)
{
	struct service *service = owner;

	log_info(NULL, "the machine has slept for %" PRIu64 " s", slept_ms / 1000);
	for (size_t i = 0; i < service->channels; i++)
		conn_resumed(service->channel[i]->conn);
}

static void watch_network(struct service *service)
{
	int r = links_new(&service->links, service_network_changed, service);

	if (r < 0)
		log_info(NULL, "changes of the network are not noticed (netlink: %s)", strerror(-r));
	loop_on_resume(service_resumed, service);
}

int service_new(struct service **ret, const struct service_options *options, struct config *config)
{
	struct service *service = calloc(1, sizeof(*service));
	int r;

	if (!service) {
		config_free(config);
		return -ENOMEM;
	}
	service->options = *options;
	service->started_us = loop_wall_us();
	later_init(&service->look, service_on_look, service);
	records_pool_init(&service->pool, config->daemon.memory_bytes);
	hookslots_init(&service->hookslots);
	r = arrivals_new(&service->arrivals);
	if (r == 0)
		r = turns_new(&service->turns);
	if (r == 0)
		r = watch_signals(service);
	if (r == 0)
		r = systemd_watchdog_start();
	if (r == 0)
		r = timer_init(&service->grace, service_on_grace, service);
	if (r < 0) {
		config_free(config);
		service_free(service);
		return r;
	}
	watch_network(service);
	apply(service, config);
	if (options->on_demand)
		timer_set(&service->grace, GRACE_MS);
	loop_later(&service->look);
	*ret = service;
	return 0;
}

struct service *service_free(struct service *service)
{
	if (!service)
		return NULL;
	while (service->channels > 0)
		channel_free(service->channel[service->channels - 1], true);
	free(service->channel);
	for (int i = 0; i < SIGNALS; i++)
		if (service->signal[i])
			event_free(service->signal[i]);
	systemd_watchdog_stop();
	timer_done(&service->grace);
	later_cancel(&service->look);
	loop_on_resume(NULL, NULL);
	service->links = links_free(service->links);
	service->turns = turns_free(service->turns);
	service->arrivals = arrivals_free(service->arrivals);
	config_free(service->config);
	free(service);
	return NULL;
}

/* What is in `in` is sent yet, if it can be; else, or if it is more, the next daemon finds it
 * there. */
static void take_last_input(struct channel *channel)
{
	bool goes_out = conn_state(channel->conn) == CONN_OPEN || conn_store(channel->conn);

	if (goes_out || !channel->service->options.shelf)
		endpoints_drain_in(channel->endpoints);
	if (channel->service->options.shelf)
		endpoints_freeze(channel->endpoints);
}

/* A second signal is a person who has waited long enough: what is open is left to the kernel. */
void service_stop(struct service *service, const char *why)
{
	if (service->stopping) {
		log_warning(NULL, "stopping at once: %s", why);
		loop_stop();
		return;
	}
	log_info(NULL, "stopping: %s", why);
	service->stopping = true;
	shelf_leave(service->options.shelf);
	systemd_stopping();
	for (size_t i = 0; i < service->channels; i++) {
		struct channel *channel = service->channel[i];

		if (channel->endpoints)
			take_last_input(channel);
		conn_close(channel->conn, 1001, "going away");
	}
	loop_later(&service->look);
}

bool service_stopping(const struct service *service)
{
	return service->stopping;
}

int service_add(struct service *service, struct section *section, bool with_endpoints,
		struct channel **ret)
{
	if (service_find(service, section->name)) {
		config_section_free(section);
		return -EEXIST;
	}
	return channel_new(ret, service, section, false, with_endpoints);
}

void service_remove(struct service *service, struct channel *channel)
{
	(void)service;
	channel->removing = true;
	conn_close(channel->conn, 1000, "");
	if (is_down(channel))
		loop_later(&channel->go);
}

/* --- questions ------------------------------------------------------------------------------ */

struct conn *channel_conn(const struct channel *channel)
{
	return channel->conn;
}

struct endpoints *channel_endpoints(const struct channel *channel)
{
	return channel->endpoints;
}

const struct hooks *channel_hooks(const struct channel *channel)
{
	return channel->hooks;
}

const struct section *channel_section(const struct channel *channel)
{
	return channel->section;
}

bool channel_configured(const struct channel *channel)
{
	return channel->configured;
}

bool channel_removing(const struct channel *channel)
{
	return channel->removing;
}

void channel_reader_add(struct channel *channel, struct channel_reader *reader)
{
	list_append(&channel->readers, &reader->link);
}

void channel_reader_remove(struct channel_reader *reader)
{
	list_remove(&reader->link);
}

struct list *channel_readers(const struct channel *channel)
{
	return (struct list *)&channel->readers;
}

const struct daemon_options *service_daemon_options(const struct service *service)
{
	return &service->config->daemon;
}

const struct records_pool *service_pool(const struct service *service)
{
	return &service->pool;
}

uint64_t service_started_us(const struct service *service)
{
	return service->started_us;
}

const char *service_runtime_dir(const struct service *service)
{
	return service->options.runtime_dir;
}

const char *service_config_file(const struct service *service)
{
	return service->options.config_file;
}

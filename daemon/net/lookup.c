/* lookup - see the header.
 *
 * What a thread and the loop share is the job: name in, addresses out, and an eventfd to tell that
 * it is done.  Each side holds one reference, so whoever leaves last frees it, and a thread that is
 * stuck in a dead name server for half a minute keeps nothing but its job alive.
 *
 * The threads and the queue before them are process-wide: ten thousand connections that come back
 * at once must not make ten thousand threads. */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/list.h"
#include "base/loop.h"
#include "net/lookup.h"

/* NSS modules are modest with stack; measured with glibc 2.36. */
enum { LOOKUP_STACK_BYTES = 256 * 1024 };

struct lookup_job {
	struct list link; /* in the queue, until a thread takes it */
	atomic_int refs;
	int event_fd;
	int family;
	int result;       /* EAI_..., or 0 */
	int result_errno; /* with EAI_SYSTEM */
	struct addrinfo *addresses;
	char port[8];
	char host[];
};

struct lookup {
	struct lookup_job *job;
	struct event *event;
	struct later later; /* when the answer is there from the start */
	void (*done)(void *owner);
	void *owner;
};

static struct {
	pthread_mutex_t mutex;
	struct list queue;
	int threads;
} lookup_pool = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.queue = {.next = &lookup_pool.queue, .prev = &lookup_pool.queue},
};

static struct lookup_job *lookup_job_unref(struct lookup_job *job)
{
	if (!job || atomic_fetch_sub(&job->refs, 1) > 1)
		return NULL;
	if (job->addresses)
		freeaddrinfo(job->addresses);
	if (job->event_fd >= 0)
		close(job->event_fd);
	free(job);
	return NULL;
}

static int lookup_job_new(struct lookup_job **ret, const char *host, uint16_t port, int family)
{
	size_t host_bytes = strlen(host) + 1;
	struct lookup_job *job = calloc(1, sizeof(*job) + host_bytes);

	if (!job)
		return -ENOMEM;
	atomic_init(&job->refs, 1);
	job->event_fd = -1;
	job->family = family;
	snprintf(job->port, sizeof(job->port), "%u", port);
	memcpy(job->host, host, host_bytes);
	*ret = job;
	return 0;
}

/* RFC 6761 6.3: that name, and all below it, are this machine. */
static bool lookup_is_localhost(const char *host)
{
	static const char name[] = "localhost";
	size_t len = strlen(host);

	if (len > 0 && host[len - 1] == '.')
		len--;
	if (len < sizeof(name) - 1)
		return false;
	host += len - (sizeof(name) - 1);
	return strncasecmp(host, name, sizeof(name) - 1) == 0 &&
	       (len == sizeof(name) - 1 || host[-1] == '.');
}

/* No AI_ADDRCONFIG: "localhost" has to work on a machine whose only interface is lo, and an address
 * of a family that is not there fails at once in the race anyway. */
static void lookup_job_ask(struct lookup_job *job, int flags)
{
	struct addrinfo hints = {
		.ai_family = job->family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | flags,
	};

	job->result = getaddrinfo(job->host, job->port, &hints, &job->addresses);
	/* A system without /etc/hosts and without an NSS module for it has to ask a name server,
	 * which may say no, or not be there.  No name at all is loopback for getaddrinfo(). */
	if (job->result != 0 && !(flags & AI_NUMERICHOST) && lookup_is_localhost(job->host))
		job->result = getaddrinfo(NULL, job->port, &hints, &job->addresses);
	job->result_errno = job->result == EAI_SYSTEM ? errno : 0;
	if (job->result != 0)
		job->addresses = NULL;
}

static void *lookup_thread(void *unused)
{
	struct lookup_job *job;

	(void)unused;
	pthread_mutex_lock(&lookup_pool.mutex);
	while ((job = list_first(&lookup_pool.queue, struct lookup_job, link))) {
		list_remove(&job->link);
		pthread_mutex_unlock(&lookup_pool.mutex);
		lookup_job_ask(job, 0);
		eventfd_write(job->event_fd, 1);
		lookup_job_unref(job);
		pthread_mutex_lock(&lookup_pool.mutex);
	}
	lookup_pool.threads--;
	pthread_mutex_unlock(&lookup_pool.mutex);
	return NULL;
}

/* Signals belong to the thread of the loop: here all are blocked, from the first instruction. */
static int lookup_spawn(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return -r;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, LOOKUP_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attr, lookup_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* Give the job a thread, or let it wait for one.  No new thread is no misfortune while there are
 * others: they take from the queue until it is empty. */
static int lookup_enqueue(struct lookup_job *job)
{
	int r = 0;

	atomic_fetch_add(&job->refs, 1);
	pthread_mutex_lock(&lookup_pool.mutex);
	list_append(&lookup_pool.queue, &job->link);
	if (lookup_pool.threads < LOOKUP_THREADS_MAX) {
		r = lookup_spawn();
		if (r == 0)
			lookup_pool.threads++;
		else if (lookup_pool.threads > 0)
			r = 0;
		else
			list_remove(&job->link);
	}
	pthread_mutex_unlock(&lookup_pool.mutex);
	if (r < 0)
		lookup_job_unref(job);
	return r;
}

static void lookup_abandon(struct lookup_job *job)
{
	bool queued;

	pthread_mutex_lock(&lookup_pool.mutex);
	queued = list_linked(&job->link);
	list_remove(&job->link);
	pthread_mutex_unlock(&lookup_pool.mutex);
	if (queued)
		lookup_job_unref(job); /* the thread's reference: none will come for it */
}

static void lookup_on_later(void *arg)
{
	struct lookup *lookup = arg;

	lookup->done(lookup->owner);
}

static void lookup_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *lookup = arg;
	eventfd_t count;

	(void)what;
	eventfd_read(fd, &count);
	lookup->done(lookup->owner);
}

static int lookup_start_thread(struct lookup *lookup)
{
	struct lookup_job *job = lookup->job;

	job->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (job->event_fd < 0)
		return -errno;
	lookup->event = event_new(loop_base(), job->event_fd, EV_READ, lookup_on_event, lookup);
	if (!lookup->event || event_add(lookup->event, NULL) < 0)
		return -ENOMEM;
	return lookup_enqueue(job);
}

int lookup_start(struct lookup **ret, const char *host, uint16_t port, int family,
		 void (*done)(void *owner), void *owner)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	int r;

	if (!lookup)
		return -ENOMEM;
	lookup->done = done;
	lookup->owner = owner;
	later_init(&lookup->later, lookup_on_later, lookup);
	r = lookup_job_new(&lookup->job, host, port, family);
	if (r < 0) {
		lookup_free(lookup);
		return r;
	}
	lookup_job_ask(lookup->job, AI_NUMERICHOST);
	if (lookup->job->result == EAI_NONAME) {
		r = lookup_start_thread(lookup);
		if (r < 0) {
			lookup_free(lookup);
			return r;
		}
	} else {
		loop_later(&lookup->later);
	}
	*ret = lookup;
	return 0;
}

struct lookup *lookup_free(struct lookup *lookup)
{
	if (!lookup)
		return NULL;
	later_cancel(&lookup->later);
	if (lookup->event)
		event_free(lookup->event);
	if (lookup->job)
		lookup_abandon(lookup->job);
	lookup_job_unref(lookup->job);
	free(lookup);
	return NULL;
}

int lookup_result(const struct lookup *lookup, const struct addrinfo **ret, int *ret_errno)
{
	*ret = lookup->job->addresses;
	*ret_errno = lookup->job->result_errno;
	return lookup->job->result;
}

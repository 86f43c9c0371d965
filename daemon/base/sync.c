/* sync - see sync.h.  The lock is held for some instructions only, never while the disk works. */
#include "base/sync.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

enum { QUEUE_MAX = 256 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	int fd[QUEUE_MAX]; /* a ring */
	unsigned first, n;
	int error;
	bool running, stopping;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* False: there will be none. */
static bool wait_for_one(int *ret_fd)
{
	while (queue.n == 0 && !queue.stopping)
		pthread_cond_wait(&queue.changed, &queue.lock);
	if (queue.n == 0)
		return false;
	*ret_fd = queue.fd[queue.first];
	queue.first = (queue.first + 1) % QUEUE_MAX;
	queue.n--;
	return true;
}

static void *run(void *unused)
{
	int fd;

	(void)unused;
	pthread_mutex_lock(&queue.lock);
	while (wait_for_one(&fd)) {
		int error = 0;

		pthread_mutex_unlock(&queue.lock);
		/* EINVAL: a kind of file that has no disk behind it. */
		if (fdatasync(fd) < 0 && errno != EINVAL && errno != EROFS)
			error = errno;
		close(fd);
		pthread_mutex_lock(&queue.lock);
		if (error)
			queue.error = error;
	}
	pthread_mutex_unlock(&queue.lock);
	return NULL;
}

/* Signals are the loop's. */
static int start(void)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&queue.thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	queue.running = r == 0;
	return -r;
}

int sync_take(int fd)
{
	int r = 0;

	pthread_mutex_lock(&queue.lock);
	if (!queue.running)
		r = start();
	if (r == 0 && queue.n == QUEUE_MAX)
		r = -EAGAIN;
	if (r == 0) {
		queue.fd[(queue.first + queue.n++) % QUEUE_MAX] = fd;
		pthread_cond_signal(&queue.changed);
	}
	pthread_mutex_unlock(&queue.lock);
	return r;
}

int sync_error(void)
{
	int error;

	pthread_mutex_lock(&queue.lock);
	error = queue.error;
	queue.error = 0;
	pthread_mutex_unlock(&queue.lock);
	return error;
}

void sync_stop(void)
{
	bool running;

	pthread_mutex_lock(&queue.lock);
	running = queue.running;
	queue.stopping = true;
	pthread_cond_signal(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
	if (running)
		pthread_join(queue.thread, NULL);
	queue.running = queue.stopping = false;
}

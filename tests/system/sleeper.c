/* sleeper - loaded into the daemon by test_network.py (LD_PRELOAD), so that the machine seems to
 * have slept: CLOCK_BOOTTIME runs ahead by the seconds that the file $SLEEPER holds, and the
 * timerfd that the kernel cancels at a resume is the FIFO $SLEEPER.wake. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int wake_fd = -1;

static int64_t slept(void)
{
	static const volatile int64_t *seconds;
	int fd;

	if (!seconds) {
		fd = open(getenv("SLEEPER"), O_RDONLY | O_CLOEXEC);
		seconds = mmap(NULL, sizeof(*seconds), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	return *seconds;
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (id == CLOCK_BOOTTIME)
		ret->tv_sec += (time_t)slept();
	return r;
}

int timerfd_create(int id, int flags)
{
	char path[4096];

	if (id != CLOCK_REALTIME)
		return (int)syscall(SYS_timerfd_create, id, flags);
	snprintf(path, sizeof(path), "%s.wake", getenv("SLEEPER"));
	wake_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return wake_fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	struct itimerspec mine = *at;

	if (fd == wake_fd)
		return 0;
	if (mine.it_value.tv_sec > slept())
		mine.it_value.tv_sec -= (time_t)slept();
	return (int)syscall(SYS_timerfd_settime, fd, flags, &mine, old);
}

/* A library for LD_PRELOAD that makes a daemon's luck run out on command.
 *
 * It shares one page with the test, a file named by WSPIPE_FAULTS: what stands there takes effect with the
 * next call, so the test decides from when on calls are counted, and which of them fail.  Three kinds of
 * calls are counted apart: those that allocate, those that make a descriptor, and those that take space in a
 * file system.  Beside that reads and writes can be cut short, and clocks moved.
 *
 * Programs that the daemon starts inherit the environment, and are left alone. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { MEMORY, DESCRIPTORS, SPACE, KINDS };

/* The page; tests/system/faults.py knows the same order. */
struct page {
	struct {
		uint64_t armed;        /* count, and fail */
		uint64_t first, until; /* these calls, counted from 1; until is behind the last */
		uint64_t calls, failed;
	} of[KINDS];
	uint64_t bytes_max;   /* no read or write moves more than a random number up to this; 0: as asked */
	uint64_t interrupt;   /* one in so many fails with EINTR; 0: none */
	uint64_t cut;         /* so many were cut short, or interrupted */
	int64_t wall_us;      /* CLOCK_REALTIME is so much later */
	int64_t boot_ms;      /* CLOCK_BOOTTIME is so much later */
	uint64_t trace;       /* write to WSPIPE_FAULTS.trace where a call failed */
};

static struct page nothing, *page = &nothing;
static int trace_fd = -1;
static __thread unsigned random_state;
static __thread bool inside; /* of our own */

/* Before this library is set up there may be no malloc to ask: dlsym() itself asks for memory, and so does a
 * sanitizer while it looks for what it replaces.  Never freed. */
static _Alignas(16) uint8_t early[1 << 20];
static size_t early_used;
static bool ready;

static void *early_take(size_t bytes)
{
	uint8_t *at = early + early_used + 16;

	bytes = ((bytes + 15) & ~(size_t)15) + 16;
	if (bytes > sizeof(early) - early_used)
		abort();
	early_used += bytes;
	memcpy(at - 16, &bytes, sizeof(bytes));
	return at;
}

static bool is_early(const void *at)
{
	return (const uint8_t *)at >= early && (const uint8_t *)at < early + sizeof(early);
}

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);
static void *find(const char *name)
{
	void *at;

	inside = true;
	at = dlsym(RTLD_NEXT, name);
	inside = false;
	if (!at)
		abort();
	return at;
}

#define REAL(type, name, ...)                              \
	static type (*real)(__VA_ARGS__);                  \
	if (!real)                                         \
		*(void **)&real = find(name);

static void resolve(void)
{
	*(void **)&real_malloc = find("malloc");
	*(void **)&real_calloc = find("calloc");
	*(void **)&real_realloc = find("realloc");
	*(void **)&real_free = find("free");
	ready = true;
}

static void *early_retake(void *old, size_t bytes)
{
	void *at = ready ? real_malloc(bytes) : early_take(bytes);
	size_t had;

	if (!at || !old)
		return at;
	memcpy(&had, (uint8_t *)old - 16, sizeof(had));
	memcpy(at, old, had - 16 < bytes ? had - 16 : bytes);
	return at;
}

static bool is_daemon(void)
{
	char path[256];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return false;
	path[n] = 0;
	return strstr(path, "wspiped") || strstr(path, "test-");
}

__attribute__((constructor)) static void start(void)
{
	const char *name = getenv("WSPIPE_FAULTS");
	char trace[512];
	void *at, *frames[2];
	int fd;

	backtrace(frames, 2); /* loads what it needs, which no leak checker shall see */
	resolve();
	if (!name || !is_daemon())
		return;
	snprintf(trace, sizeof(trace), "%s.trace", name);
	trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		page = at;
}

static void trace_here(uint64_t call)
{
	void *frames[24];
	char head[64];
	int n;

	if (!page->trace || trace_fd < 0)
		return;
	inside = true;
	n = snprintf(head, sizeof(head), "-- call %llu\n", (unsigned long long)call);
	if (write(trace_fd, head, (size_t)n) == n)
		backtrace_symbols_fd(frames, backtrace(frames, 24), trace_fd);
	inside = false;
}

static bool fails(enum kind kind)
{
	uint64_t call;

	if (inside || !page->of[kind].armed)
		return false;
	call = __atomic_add_fetch(&page->of[kind].calls, 1, __ATOMIC_RELAXED);
	if (call < page->of[kind].first || call >= page->of[kind].until)
		return false;
	__atomic_add_fetch(&page->of[kind].failed, 1, __ATOMIC_RELAXED);
	trace_here(call);
	return true;
}

static bool refuses(enum kind kind, int error)
{
	if (!fails(kind))
		return false;
	errno = error;
	return true;
}

/* --- memory --------------------------------------------------------------------------------- */

void *malloc(size_t bytes)
{
	if (!ready)
		return early_take(bytes);
	return refuses(MEMORY, ENOMEM) ? NULL : real_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
	if (!ready)
		return early_take(n * bytes);
	return refuses(MEMORY, ENOMEM) ? NULL : real_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
	if (!ready || (old && is_early(old)))
		return early_retake(old, bytes);
	return refuses(MEMORY, ENOMEM) ? NULL : real_realloc(old, bytes);
}

void *reallocarray(void *old, size_t n, size_t bytes)
{
	size_t all;

	if (__builtin_mul_overflow(n, bytes, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, all);
}

void free(void *at)
{
	if (at && !is_early(at) && ready)
		real_free(at);
}

/* libc's own calls of malloc() come by us, but a sanitizer has versions of these two that do not. */
char *strndup(const char *text, size_t max)
{
	size_t len = strnlen(text, max);
	char *copy = malloc(len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = 0;
	return copy;
}

char *strdup(const char *text)
{
	return strndup(text, strlen(text));
}

/* Also of files: what the kernel refuses with ENOMEM. */
void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	REAL(void *, "mmap", void *, size_t, int, int, int, off_t)
	if (fd >= 0 && refuses(MEMORY, ENOMEM))
		return MAP_FAILED;
	return real(at, bytes, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	REAL(int, "pthread_create", pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
	return fails(MEMORY) ? EAGAIN : real(thread, attr, run, arg);
}

/* By which a sanitizer looks for the stack of a new thread; it takes no refusal. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
	REAL(int, "pthread_getattr_np", pthread_t, pthread_attr_t *)
	bool before = inside;
	int r;

	inside = true;
	r = real(thread, attr);
	inside = before;
	return r;
}

/* --- descriptors ---------------------------------------------------------------------------- */

static bool makes_file(int flags)
{
	return (flags & O_CREAT) && refuses(SPACE, ENOSPC);
}

int open(const char *path, int flags, ...)
{
	REAL(int, "open", const char *, int, ...)
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return refuses(DESCRIPTORS, EMFILE) || makes_file(flags) ? -1 : real(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	REAL(int, "openat", int, const char *, int, ...)
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return refuses(DESCRIPTORS, EMFILE) || makes_file(flags) ? -1 : real(dir, path, flags, mode);
}

int socket(int domain, int type, int protocol)
{
	REAL(int, "socket", int, int, int)
	return refuses(DESCRIPTORS, EMFILE) ? -1 : real(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int pair[2])
{
	REAL(int, "socketpair", int, int, int, int *)
	return refuses(DESCRIPTORS, EMFILE) ? -1 : real(domain, type, protocol, pair);
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *len, int flags)
{
	REAL(int, "accept4", int, __SOCKADDR_ARG, socklen_t *, int)
	return refuses(DESCRIPTORS, EMFILE) ? -1 : real(fd, address, len, flags);
}

int pipe2(int pair[2], int flags)
{
	REAL(int, "pipe2", int *, int)
	return refuses(DESCRIPTORS, EMFILE) ? -1 : real(pair, flags);
}

int inotify_init1(int flags)
{
	REAL(int, "inotify_init1", int)
	return refuses(DESCRIPTORS, EMFILE) ? -1 : real(flags);
}

/* Of inotify watches and of epoll's entries there is a maximum for each user. */
int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	REAL(int, "inotify_add_watch", int, const char *, uint32_t)
	return refuses(SPACE, ENOSPC) ? -1 : real(fd, path, mask);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	REAL(int, "epoll_ctl", int, int, int, struct epoll_event *)
	return op == EPOLL_CTL_ADD && refuses(SPACE, ENOSPC) ? -1 : real(epfd, op, fd, event);
}

int fcntl(int fd, int command, ...)
{
	REAL(int, "fcntl", int, int, ...)
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && refuses(DESCRIPTORS, EMFILE))
		return -1;
	return real(fd, command, arg);
}

/* --- space ---------------------------------------------------------------------------------- */

int posix_fallocate(int fd, off_t from, off_t bytes)
{
	REAL(int, "posix_fallocate", int, off_t, off_t)
	return fails(SPACE) ? ENOSPC : real(fd, from, bytes);
}

int ftruncate(int fd, off_t bytes)
{
	REAL(int, "ftruncate", int, off_t)
	return refuses(SPACE, ENOSPC) ? -1 : real(fd, bytes);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	REAL(int, "mkdirat", int, const char *, mode_t)
	return refuses(SPACE, ENOSPC) ? -1 : real(dir, path, mode);
}

int mkfifoat(int dir, const char *path, mode_t mode)
{
	REAL(int, "mkfifoat", int, const char *, mode_t)
	return refuses(SPACE, ENOSPC) ? -1 : real(dir, path, mode);
}

int renameat(int from, const char *old, int to, const char *new)
{
	REAL(int, "renameat", int, const char *, int, const char *)
	return refuses(SPACE, ENOSPC) ? -1 : real(from, old, to, new);
}

int rename(const char *old, const char *new)
{
	REAL(int, "rename", const char *, const char *)
	return refuses(SPACE, ENOSPC) ? -1 : real(old, new);
}

static bool is_file(int fd)
{
	struct stat st;

	return fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* --- reads and writes that are short -------------------------------------------------------- */

static unsigned draw(unsigned below)
{
	if (!random_state)
		random_state = (unsigned)(uintptr_t)&random_state | 1;
	return (unsigned)rand_r(&random_state) % below;
}

/* What may be cut: a file is not, for a file that takes less is full. */
static bool is_stream(int fd)
{
	struct stat st;

	return fd > STDERR_FILENO && fstat(fd, &st) == 0 &&
	       (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode));
}

/* False: interrupted.  A packet of a datagram must not be cut: there are none in the daemon but of the
 * service manager and the journal, to which it writes by sendmsg. */
static bool allow(int fd, size_t *bytes)
{
	if ((!page->bytes_max && !page->interrupt) || inside || !is_stream(fd))
		return true;
	if (page->interrupt && draw((unsigned)page->interrupt) == 0) {
		__atomic_add_fetch(&page->cut, 1, __ATOMIC_RELAXED);
		errno = EINTR;
		return false;
	}
	if (page->bytes_max && *bytes > 1) {
		size_t max = 1 + draw((unsigned)page->bytes_max);

		if (max < *bytes) {
			__atomic_add_fetch(&page->cut, 1, __ATOMIC_RELAXED);
			*bytes = max;
		}
	}
	return true;
}

/* A pipe takes all of a write of PIPE_BUF or none of it, and a read gets all that is in it (a FIFO cannot be
 * opened with O_DIRECT).  The daemon may build on that, so those are interrupted only. */
static bool allow_pipe(int fd, size_t *bytes, bool reading)
{
	struct stat st;
	size_t asked = *bytes;
	bool allowed = allow(fd, bytes);

	if ((reading || asked <= 4096) && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		*bytes = asked;
	return allowed;
}

ssize_t read(int fd, void *at, size_t bytes)
{
	REAL(ssize_t, "read", int, void *, size_t)
	return allow_pipe(fd, &bytes, true) ? real(fd, at, bytes) : -1;
}

ssize_t recv(int fd, void *at, size_t bytes, int flags)
{
	REAL(ssize_t, "recv", int, void *, size_t, int)
	return allow(fd, &bytes) ? real(fd, at, bytes, flags) : -1;
}

ssize_t write(int fd, const void *at, size_t bytes)
{
	REAL(ssize_t, "write", int, const void *, size_t)
	if (page->of[SPACE].armed && is_file(fd) && refuses(SPACE, ENOSPC))
		return -1;
	return allow_pipe(fd, &bytes, false) ? real(fd, at, bytes) : -1;
}

ssize_t send(int fd, const void *at, size_t bytes, int flags)
{
	REAL(ssize_t, "send", int, const void *, size_t, int)
	return allow(fd, &bytes) ? real(fd, at, bytes, flags) : -1;
}

static size_t total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* The part that lies in the first iovec with anything in it, when it is cut. */
ssize_t writev(int fd, const struct iovec *iov, int n)
{
	REAL(ssize_t, "writev", int, const struct iovec *, int)
	size_t bytes = total(iov, n), asked = bytes;

	if (page->of[SPACE].armed && is_file(fd) && refuses(SPACE, ENOSPC))
		return -1;
	if (!allow_pipe(fd, &bytes, false))
		return -1;
	if (bytes == asked)
		return real(fd, iov, n);
	while (n > 1 && iov->iov_len == 0)
		iov++, n--;
	return real(fd, &(struct iovec){iov->iov_base, bytes < iov->iov_len ? bytes : iov->iov_len}, 1);
}

/* --- clocks --------------------------------------------------------------------------------- */

static void shift(struct timespec *at, int64_t ns)
{
	int64_t sum = at->tv_sec * INT64_C(1000000000) + at->tv_nsec + ns;

	at->tv_sec = sum / 1000000000;
	at->tv_nsec = sum % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	REAL(int, "clock_gettime", clockid_t, struct timespec *)
	int r = real(clock, ret);

	if (r == 0 && clock == CLOCK_REALTIME)
		shift(ret, page->wall_us * 1000);
	if (r == 0 && clock == CLOCK_BOOTTIME)
		shift(ret, page->boot_ms * 1000000);
	return r;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

/* A timer of the clock that was moved goes off as much earlier, as after a suspend: it is set anew from
 * the next wait on, for which the test makes the daemon wake. */
static struct {
	int fd;
	struct itimerspec at;
	int64_t boot_ms;
} timer = {.fd = -1};

static int (*real_settime)(int, int, const struct itimerspec *, struct itimerspec *);

static int settime(void)
{
	struct itimerspec at = timer.at;

	timer.boot_ms = page->boot_ms;
	if (at.it_value.tv_sec || at.it_value.tv_nsec) {
		shift(&at.it_value, -timer.boot_ms * 1000000);
		if (at.it_value.tv_sec <= 0)
			at.it_value = (struct timespec){.tv_nsec = 1};
	}
	return real_settime(timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	if (!real_settime)
		*(void **)&real_settime = find("timerfd_settime");
	if (flags != TFD_TIMER_ABSTIME || old || page == &nothing)
		return real_settime(fd, flags, at, old);
	timer.fd = fd;
	timer.at = *at;
	return settime();
}

int epoll_wait(int epfd, struct epoll_event *events, int n, int timeout)
{
	REAL(int, "epoll_wait", int, struct epoll_event *, int, int)
	if (timer.fd >= 0 && timer.boot_ms != page->boot_ms)
		settime();
	return real(epfd, events, n, timeout);
}

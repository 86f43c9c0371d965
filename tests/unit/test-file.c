/* Files that nobody sees half made: rights from the first moment whatever the umask, atomic
 * replacing, FIFOs that stay, sockets that are taken over only when nobody answers.
 *
 * The kernel is asked, not our own code: the rights are read back as the raw attribute, and tried
 * out as another user where the test runs as root. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "check.h"

static int top; /* a directory of our own */
static char top_path[64];
static bool have_acl;

/* Is the socket's mode narrow at once, when nothing but bind() has been done? */
int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
	long r = syscall(SYS_bind, fd, address.__sockaddr__, len);
	struct stat st;

	CHECK_EQ(r, 0);
	CHECK_EQ(lstat(address.__sockaddr_un__->sun_path, &st), 0);
	CHECK_EQ(st.st_mode & 0177, 0);
	return 0;
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	CHECK_EQ(fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static ino_t inode_of(const char *name)
{
	struct stat st;

	CHECK_EQ(fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_ino;
}

static bool exists(const char *name)
{
	return faccessat(top, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void check_no_temp(const char *name)
{
	char temp[300];

	snprintf(temp, sizeof(temp), ".%s.new", name);
	CHECK(!exists(temp));
}

static void check_content(const char *name, const char *content)
{
	struct buf buf;

	buf_init(&buf, 100);
	CHECK_EQ(file_read(top, name, &buf), 0);
	CHECK_EQ(buf_len(&buf), strlen(content));
	CHECK_STR((char *)buf_head(&buf), content);
	buf_done(&buf);
}

/* What getfacl shows, from the raw attribute: "u::6 u:1000:4 g::0 g:7:2 m::6 o::0". */
static void show_acl(const char *name, char *text, size_t size)
{
	static const char *const tags[] = {
		[1] = "u:", [2] = "u", [4] = "g:", [8] = "g", [16] = "m:", [32] = "o:"};
	unsigned char raw[1024];
	char path[300];
	ssize_t n;
	size_t len = 0;

	snprintf(path, sizeof(path), "%s/%s", top_path, name);
	n = lgetxattr(path, "system.posix_acl_access", raw, sizeof(raw));
	text[0] = '\0';
	for (ssize_t i = 4; i + 8 <= n; i += 8) {
		unsigned tag = raw[i] | raw[i + 1] << 8, perm = raw[i + 2] | raw[i + 3] << 8;
		unsigned id = raw[i + 4] | raw[i + 5] << 8 | raw[i + 6] << 16 |
			      (unsigned)raw[i + 7] << 24;

		CHECK(tag <= 32 && tags[tag]);
		len += (size_t)snprintf(text + len, size - len, "%s%s", i > 4 ? " " : "",
					tags[tag]);
		if (tag == 2 || tag == 8)
			len += (size_t)snprintf(text + len, size - len, ":%u", id);
		len += (size_t)snprintf(text + len, size - len, ":%u", perm);
	}
}

static void check_acl(const char *name, const char *expected)
{
	char text[512];

	show_acl(name, text, sizeof(text));
	CHECK_STR(text, expected);
}

static void probe_acl(void)
{
	struct file_grant grant = {.id = 1, .perms = 4};
	int fd = openat(top, "probe", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = file_grant(fd, false, &grant, 1);

	CHECK(fd >= 0);
	CHECK(r == 0 || r == -EOPNOTSUPP);
	have_acl = r == 0;
	close(fd);
	CHECK_EQ(unlinkat(top, "probe", 0), 0);
}

static const struct file_grant mixed[] = {
	{.is_group = true, .id = 70, .perms = 2},
	{.id = 4000000000u, .perms = 4},
	{.id = 20, .perms = 4},
	{.is_group = true, .id = 7, .perms = 4},
	{.id = 300, .perms = 6},
	{.id = 20, .perms = 2}, /* again: both hold */
};
#define N_MIXED (sizeof(mixed) / sizeof(mixed[0]))
#define ACL_MIXED "u::6 u:20:6 u:300:6 u:4000000000:4 g::0 g:7:4 g:70:2 m::6 o::0"

static void test_grant(void)
{
	struct file_grant grant = {.is_group = true, .id = 5, .perms = 5};
	static struct file_grant many[2000];
	int fd = openat(top, "granted", O_RDWR | O_CREAT | O_CLOEXEC, 0600), path_fd, dir;

	CHECK(fd >= 0);
	fchmod(fd, 0600);
	CHECK_EQ(file_grant(fd, false, NULL, 0), 0);
	CHECK_EQ(mode_of("granted"), 0600);
	check_acl("granted", "");
	CHECK(file_grant(-1, false, &grant, 1) < 0);
	CHECK_EQ(file_grant(fd, false, many, 2000), -E2BIG);
	if (have_acl) {
		CHECK_EQ(file_grant(fd, false, mixed, N_MIXED), 0);
		check_acl("granted", ACL_MIXED);
		CHECK_EQ(mode_of("granted"), 0660); /* the group bits are the mask */
		path_fd = openat(top, "granted", O_PATH | O_CLOEXEC);
		CHECK_EQ(file_grant(path_fd, false, &grant, 1), 0);
		check_acl("granted", "u::6 g::0 g:5:5 m::5 o::0");
		close(path_fd);
		CHECK_EQ(file_open_dir(top, "granted-dir", &dir), 0);
		CHECK_EQ(file_grant(dir, true, &grant, 1), 0);
		check_acl("granted-dir", "u::7 g::0 g:5:5 m::5 o::0");
		close(dir);
	}
	close(fd);
}

static void test_open_dir(void)
{
	int fd = -1, inner = -1;

	CHECK_EQ(file_open_dir(top, "dir", &fd), 0);
	CHECK(fd >= 0);
	CHECK_EQ(mode_of("dir") & 0777, 0700);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(file_open_dir(fd, "inner", &inner), 0);
	CHECK(exists("dir/inner"));
	close(inner);
	close(fd);
	CHECK_EQ(fchmodat(top, "dir", 0750, 0), 0);
	CHECK_EQ(file_open_dir(top, "dir", &fd), 0);
	CHECK_EQ(mode_of("dir") & 0777, 0750); /* what stands is left as it is */
	close(fd);

	fd = -7;
	CHECK_EQ(symlinkat("dir", top, "link"), 0);
	CHECK_EQ(file_open_dir(top, "link", &fd), -EPERM);
	CHECK_EQ(mknodat(top, "plain", S_IFREG | 0600, 0), 0);
	CHECK_EQ(file_open_dir(top, "plain", &fd), -ENOTDIR);
	CHECK_EQ(file_open_dir(top, "absent/dir", &fd), -ENOENT);
	if (geteuid() == 0) {
		CHECK_EQ(mkdirat(top, "other", 0700), 0);
		CHECK_EQ(fchownat(top, "other", 65534, 65534, 0), 0);
		CHECK_EQ(file_open_dir(top, "other", &fd), -EPERM);
	}
	CHECK_EQ(fd, -7);
}

static void test_make_dirs(void)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/m1//m2/m3/", top_path);
	CHECK_EQ(file_make_dirs(path, 0700), 0);
	CHECK_EQ(stat(path, &st), 0);
	CHECK(S_ISDIR(st.st_mode));
	CHECK_EQ(file_make_dirs(path, 0700), 0);
	CHECK_EQ(file_make_dirs("/", 0700), 0);
	snprintf(path, sizeof(path), "%s/plain", top_path);
	CHECK_EQ(file_make_dirs(path, 0700), -ENOTDIR);
	snprintf(path, sizeof(path), "%s/plain/below", top_path);
	CHECK_EQ(file_make_dirs(path, 0700), -ENOTDIR);
}

static void test_fifo(void)
{
	struct file_grant grant = {.id = 12, .perms = 2};
	struct stat st;
	ino_t inode;

	CHECK_EQ(mknodat(top, ".in.new", S_IFREG | 0600, 0), 0); /* left by a crash */
	CHECK_EQ(file_make_fifo(top, "in", NULL, 0), 0);
	CHECK_EQ(fstatat(top, "in", &st, AT_SYMLINK_NOFOLLOW), 0);
	CHECK(S_ISFIFO(st.st_mode));
	CHECK_EQ(mode_of("in"), 0600);
	check_no_temp("in");
	inode = inode_of("in");
	if (have_acl) {
		CHECK_EQ(file_make_fifo(top, "in", &grant, 1), 0);
		CHECK_EQ(inode_of("in"), inode);
		CHECK_EQ(mode_of("in"), 0620);
		check_acl("in", "u::6 u:12:2 g::0 m::2 o::0");
		CHECK_EQ(file_make_fifo(top, "granted-fifo", mixed, N_MIXED), 0);
		check_acl("granted-fifo", ACL_MIXED);
	}
	CHECK_EQ(fchmodat(top, "in", 0666, 0), 0);
	CHECK_EQ(file_make_fifo(top, "in", NULL, 0), 0);
	CHECK_EQ(inode_of("in"), inode); /* people may be waiting on it */
	CHECK_EQ(mode_of("in"), 0600);   /* what was granted is taken back */
	check_acl("in", "");

	CHECK_EQ(symlinkat("in", top, "fifo-link"), 0);
	CHECK_EQ(file_make_fifo(top, "fifo-link", NULL, 0), -EEXIST);
	CHECK_EQ(symlinkat("nowhere", top, "dangling"), 0);
	CHECK_EQ(file_make_fifo(top, "dangling", NULL, 0), -EEXIST);
	CHECK(!exists("nowhere"));
	CHECK_EQ(mknodat(top, "regular", S_IFREG | 0640, 0), 0);
	CHECK_EQ(fchmodat(top, "regular", 0640, 0), 0);
	CHECK_EQ(file_make_fifo(top, "regular", NULL, 0), -EEXIST);
	CHECK_EQ(mode_of("regular"), 0640);
	CHECK_EQ(file_make_fifo(top, "absent/in", NULL, 0), -ENOENT);
	if (geteuid() == 0) {
		CHECK_EQ(mkfifoat(top, "others", 0600), 0);
		CHECK_EQ(fchownat(top, "others", 65534, 65534, 0), 0);
		CHECK_EQ(file_make_fifo(top, "others", NULL, 0), -EEXIST);
	}
}

static void test_replace(void)
{
	struct file_grant grant = {.is_group = true, .id = 12, .perms = 4};
	char long_name[260];
	ino_t inode;
	int before;

	CHECK_EQ(file_replace(top, "last", "one", 3, NULL, 0), 0);
	check_content("last", "one");
	CHECK_EQ(mode_of("last"), 0600);
	inode = inode_of("last");
	before = openat(top, "last", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(mknodat(top, ".last.new", S_IFREG | 0666, 0), 0); /* left by a crash */
	CHECK_EQ(file_replace(top, "last", "second", 6, NULL, 0), 0);
	check_content("last", "second");
	CHECK_EQ(mode_of("last"), 0600);
	CHECK(inode_of("last") != inode);
	CHECK_EQ(read(before, long_name, 9), 3); /* who has opened it reads on in the old one */
	close(before);
	check_no_temp("last");
	CHECK_EQ(file_replace(top, "last", NULL, 0, NULL, 0), 0);
	check_content("last", "");
	if (have_acl) {
		CHECK_EQ(file_replace(top, "last", "x", 1, &grant, 1), 0);
		check_acl("last", "u::6 g::0 g:12:4 m::4 o::0");
	}
	CHECK_EQ(file_replace(top, "dir/inner/last", "deep", 4, NULL, 0), 0);
	check_content("dir/inner/last", "deep");
	CHECK(!exists("dir/inner/.last.new"));

	CHECK_EQ(mkdirat(top, "busy", 0700), 0);
	CHECK_EQ(file_replace(top, "busy", "x", 1, NULL, 0), -EISDIR);
	check_no_temp("busy");
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[253] = '\0';
	CHECK_EQ(file_replace(top, long_name, "x", 1, NULL, 0), -ENAMETOOLONG);
	/* A link in the place of the temporary name is not followed. */
	CHECK_EQ(symlinkat("victim", top, ".trap.new"), 0);
	CHECK_EQ(file_replace(top, "trap", "x", 1, NULL, 0), 0);
	CHECK(!exists("victim"));
	check_content("trap", "x");
}

static void test_read(void)
{
	char text[300];
	struct buf buf;

	memset(text, 't', sizeof(text));
	CHECK_EQ(file_replace(top, "text", text, sizeof(text), NULL, 0), 0);
	buf_init(&buf, 300);
	CHECK_EQ(file_read(top, "text", &buf), 0); /* it just goes in */
	CHECK_EQ(buf_len(&buf), 300);
	CHECK_EQ(buf_head(&buf)[300], '\0');
	CHECK(memcmp(buf_head(&buf), text, 300) == 0);
	buf_done(&buf);
	buf_init(&buf, 299);
	CHECK_EQ(buf_append_str(&buf, "kept"), 0);
	CHECK_EQ(file_read(top, "text", &buf), -EFBIG);
	CHECK_EQ(buf_len(&buf), 4);
	CHECK_EQ(file_read(top, "absent", &buf), -ENOENT);
	CHECK_EQ(file_read(top, "dir", &buf), -EISDIR);
	CHECK_EQ(file_read(top, "in", &buf), -EINVAL); /* and does not wait for a writer */
	buf_done(&buf);
	CHECK_EQ(file_read(AT_FDCWD, "/proc/self/limits", &buf), -EFBIG); /* says it has 0 bytes */
	CHECK_EQ(buf_len(&buf), 0);
	buf_done(&buf);
	buf_init(&buf, 100000);
	CHECK_EQ(file_read(AT_FDCWD, "/proc/self/limits", &buf), 0);
	CHECK(strstr((char *)buf_head(&buf), "open files"));
	buf_done(&buf);
}

static void test_lock(void)
{
	int fd = -1, second = -7, status;
	pid_t child;

	CHECK_EQ(file_lock(top, "lock", &fd), 0);
	CHECK_EQ(mode_of("lock"), 0600);
	CHECK_EQ(file_lock(top, "lock", &second), -EWOULDBLOCK);
	CHECK_EQ(second, -7);
	child = fork();
	if (child == 0) {
		close(fd);
		_exit(file_lock(top, "lock", &second) == -EWOULDBLOCK ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	close(fd);
	CHECK(exists("lock"));
	CHECK_EQ(file_lock(top, "lock", &fd), 0);
	close(fd);
	CHECK_EQ(symlinkat("lock", top, "lock-link"), 0);
	CHECK_EQ(file_lock(top, "lock-link", &fd), -ELOOP);
}

static void check_talks(int listener, const char *path, int flags)
{
	int client = -1, server;

	CHECK_EQ(file_connect(path, flags, &client), 0);
	CHECK_EQ(!!(fcntl(client, F_GETFL) & O_NONBLOCK), !!(flags & SOCK_NONBLOCK));
	CHECK(fcntl(client, F_GETFD) & FD_CLOEXEC);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	close(server);
	close(client);
}

static void test_listen(void)
{
	struct file_grant grant = {.id = 12, .perms = 2};
	char path[200];
	int fd = -1, second = -7, clients[3];

	snprintf(path, sizeof(path), "%s/sock", top_path);
	CHECK_EQ(mknodat(top, ".sock.new", S_IFREG | 0600, 0), 0);
	CHECK_EQ(file_listen(top, "sock", NULL, 0, &fd), 0);
	CHECK_EQ(mode_of("sock"), 0600);
	check_no_temp("sock");
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	check_talks(fd, path, 0);
	check_talks(fd, path, SOCK_NONBLOCK);
	CHECK_EQ(file_listen(top, "sock", NULL, 0, &second), -EADDRINUSE);
	CHECK_EQ(second, -7);
	CHECK_EQ(accept(fd, NULL, NULL) >= 0, 1); /* that was the question whether it answers */

	/* A full queue answers too. */
	CHECK_EQ(listen(fd, 0), 0);
	CHECK_EQ(file_connect(path, SOCK_NONBLOCK, &clients[0]), 0);
	CHECK_EQ(file_listen(top, "sock", NULL, 0, &second), -EADDRINUSE);
	close(clients[0]);

	close(fd); /* now it is stale */
	CHECK_EQ(file_connect(path, 0, &second), -ECONNREFUSED);
	CHECK_EQ(file_listen(top, "sock", NULL, 0, &fd), 0);
	check_talks(fd, path, 0);
	close(fd);
	if (have_acl) {
		CHECK_EQ(file_listen(AT_FDCWD, path, &grant, 1, &fd), 0);
		check_acl("sock", "u::6 u:12:2 g::0 m::2 o::0");
		check_talks(fd, path, 0);
		close(fd);
	}

	CHECK_EQ(file_listen(top, "regular", NULL, 0, &second), -EEXIST);
	CHECK_EQ(file_listen(top, "fifo-link", NULL, 0, &second), -EEXIST);
	CHECK_EQ(file_listen(top, "absent/sock", NULL, 0, &second), -ENOENT);
	CHECK_EQ(file_connect("/nowhere/sock", 0, &second), -ENOENT);
	CHECK_EQ(second, -7);
}

/* Deeper than the 107 bytes of an address. */
static void test_long_path(void)
{
	char path[600], part[101];
	int fd, dir, listener;

	memset(part, 'l', 100);
	part[100] = '\0';
	snprintf(path, sizeof(path), "%s/%s/%s/sock", top_path, part, part);
	CHECK_EQ(file_open_dir(top, part, &fd), 0);
	CHECK_EQ(file_open_dir(fd, part, &dir), 0);
	CHECK_EQ(file_listen(dir, "sock", NULL, 0, &listener), 0);
	check_talks(listener, path, 0);
	CHECK_EQ(file_listen(AT_FDCWD, path, NULL, 0, &fd), -EADDRINUSE);
	close(listener);
	CHECK_EQ(file_listen(AT_FDCWD, path, NULL, 0, &listener), 0);
	check_talks(listener, path, 0);
	close(listener);
	CHECK_EQ(unlinkat(dir, "sock", 0), 0);
}

/* As root: what another user is granted works, and nothing else does. */
static int try_as_nobody(void)
{
	char path[200];
	int fd;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 90;
	snprintf(path, sizeof(path), "%s/nobody-in", top_path);
	if (open(path, O_RDONLY | O_NONBLOCK) >= 0 || errno != EACCES)
		return 1;
	if (open(path, O_WRONLY | O_NONBLOCK) < 0)
		return 2;
	snprintf(path, sizeof(path), "%s/nobody-last", top_path);
	if (open(path, O_RDONLY) < 0)
		return 3;
	if (open(path, O_WRONLY) >= 0)
		return 4;
	snprintf(path, sizeof(path), "%s/in", top_path);
	if (open(path, O_WRONLY | O_NONBLOCK) >= 0 || errno != EACCES)
		return 5;
	snprintf(path, sizeof(path), "%s/nobody-sock", top_path);
	if (file_connect(path, 0, &fd) < 0)
		return 6;
	snprintf(path, sizeof(path), "%s/root-sock", top_path);
	if (file_connect(path, 0, &fd) != -EACCES)
		return 7;
	snprintf(path, sizeof(path), "%s/made-by-nobody", top_path);
	return mkdir(path, 0700) == 0 ? 8 : 0;
}

static void test_as_nobody(void)
{
	struct file_grant search = {.id = 65534, .perms = 1};
	struct file_grant write_it = {.id = 65534, .perms = 2};
	struct file_grant read_it = {.id = 65534, .perms = 4};
	int reader, theirs, ours, status = -1;
	pid_t child;

	if (geteuid() != 0 || !have_acl)
		return;
	CHECK_EQ(file_make_fifo(top, "nobody-in", &write_it, 1), 0);
	CHECK_EQ(file_replace(top, "nobody-last", "x", 1, &read_it, 1), 0);
	CHECK_EQ(file_listen(top, "nobody-sock", &write_it, 1, &theirs), 0);
	CHECK_EQ(file_listen(top, "root-sock", NULL, 0, &ours), 0);
	CHECK_EQ(file_grant(top, true, &search, 1), 0);
	reader = openat(top, "nobody-in", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(reader >= 0);
	child = fork();
	if (child == 0)
		_exit(try_as_nobody());
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
	close(reader);
	close(theirs);
	close(ours);
}

static void remove_top(void)
{
	char command[128];

	close(top);
	snprintf(command, sizeof(command), "rm -rf '%s'", top_path);
	CHECK_EQ(system(command), 0);
}

static void test_all_under(mode_t mask)
{
	const char *where = getenv("TMPDIR");

	umask(022);
	snprintf(top_path, sizeof(top_path), "%.40s/test-file.XXXXXX", where ? where : "/tmp");
	CHECK(mkdtemp(top_path));
	top = open(top_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(top >= 0);
	probe_acl();
	umask(mask);
	test_grant();
	test_open_dir();
	if (mask != 0777)
		test_make_dirs();
	test_fifo();
	test_replace();
	test_read();
	test_lock();
	test_listen();
	test_long_path();
	test_as_nobody();
	umask(022);
	remove_top();
}

int main(void)
{
	alarm(60);
	test_all_under(022);
	test_all_under(0);
	test_all_under(0777); /* takes even from the owner */
	return 0;
}

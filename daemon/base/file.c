/* Everything is made under a temporary name with the narrowest rights, given the rights that it
 * shall have, and then renamed: at no moment is there a file that is half written or too open.
 * Rights of FIFOs and sockets are set through /proc/self/fd/N of an O_PATH descriptor: they cannot
 * be opened without side effects, and a path could lead to another file the second time. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

enum {
	FILE_GRANTS_MAX = 500, /* what ext4 can hold in its one block of attributes */
	FILE_READ_BYTES = 64 * 1024,
};

static const char file_acl_name[] = "system.posix_acl_access";

struct proc_path {
	char text[32];
};

static struct proc_path proc_path(int fd)
{
	struct proc_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

/* ".NAME.new", in the same directory. */
static int temp_name(const char *name, char *ret, size_t size)
{
	const char *slash = strrchr(name, '/');
	const char *base = slash ? slash + 1 : name;
	int n = snprintf(ret, size, "%.*s.%s.new", (int)(base - name), name, base);

	return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* ---- rights ---- */

struct acl { /* the kernel's format: no padding between or behind */
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[FILE_GRANTS_MAX + 4];
	size_t n;
};

static struct posix_acl_xattr_entry acl_entry(unsigned tag, unsigned perms, uint32_t id)
{
	return (struct posix_acl_xattr_entry){
		.e_tag = htole16((uint16_t)tag),
		.e_perm = htole16((uint16_t)(perms & 7)),
		.e_id = htole32(id),
	};
}

static void acl_add(struct acl *acl, unsigned tag, unsigned perms)
{
	acl->entries[acl->n++] = acl_entry(tag, perms, (uint32_t)ACL_UNDEFINED_ID);
}

/* Sorted by id; an id that is granted twice gets both, as the kernel looks at the first only. */
static void acl_add_grants(struct acl *acl, bool groups, const struct file_grant *grants, size_t n)
{
	struct posix_acl_xattr_entry *first = acl->entries + acl->n;

	for (size_t g = 0; g < n; g++) {
		struct posix_acl_xattr_entry *end = acl->entries + acl->n, *at = end;
		struct posix_acl_xattr_entry entry =
			acl_entry(groups ? ACL_GROUP : ACL_USER, grants[g].perms, grants[g].id);

		if (grants[g].is_group != groups)
			continue;
		while (at > first && le32toh(at[-1].e_id) >= grants[g].id)
			at--;
		if (at < end && at->e_id == entry.e_id) {
			at->e_perm |= entry.e_perm;
			continue;
		}
		memmove(at + 1, at, (size_t)(end - at) * sizeof(*at));
		*at = entry;
		acl->n++;
	}
}

int file_grant(int fd, bool is_dir, const struct file_grant *grants, size_t n)
{
	struct acl acl = {.header.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
	unsigned mask = 0;
	size_t bytes;

	if (n == 0)
		return 0;
	if (n > FILE_GRANTS_MAX)
		return -E2BIG;
	for (size_t g = 0; g < n; g++)
		mask |= grants[g].perms & 7;
	acl_add(&acl, ACL_USER_OBJ, is_dir ? 7 : 6);
	acl_add_grants(&acl, false, grants, n);
	acl_add(&acl, ACL_GROUP_OBJ, 0);
	acl_add_grants(&acl, true, grants, n);
	acl_add(&acl, ACL_MASK, mask);
	acl_add(&acl, ACL_OTHER, 0);
	bytes = offsetof(struct acl, entries) + acl.n * sizeof(*acl.entries);
	if (fsetxattr(fd, file_acl_name, &acl, bytes, 0) == 0)
		return 0;
	if (errno == EBADF && /* O_PATH */
	    setxattr(proc_path(fd).text, file_acl_name, &acl, bytes, 0) == 0)
		return 0;
	return -errno;
}

/* 0600 plus GRANTS and no more, whatever it was before.  FD is O_PATH. */
static int file_set_rights(int fd, const struct file_grant *grants, size_t n)
{
	struct proc_path path = proc_path(fd);

	if (n > 0)
		return file_grant(fd, false, grants, n);
	/* In this order: with an ACL the group bits are its mask, and would outlive it. */
	if (chmod(path.text, 0600) < 0)
		return -errno;
	if (removexattr(path.text, file_acl_name) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

/* ---- directories ---- */

int file_open_dir(int dirfd, const char *name, int *ret_fd)
{
	cleanup_close int path_fd = -1;
	bool made = mkdirat(dirfd, name, 0700) == 0;
	struct stat st;
	int fd;

	if (!made && errno != EEXIST)
		return -errno;
	path_fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path_fd < 0 || fstat(path_fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode) || st.st_uid != geteuid())
		return -EPERM;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (made && (st.st_mode & 0777) != 0700 && chmod(proc_path(path_fd).text, 0700) < 0)
		return -errno; /* the umask had taken from the owner */
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int file_make_dirs(const char *path, mode_t mode)
{
	cleanup_free char *part = strdup(path);
	struct stat st;
	int made = 0;

	if (!part)
		return -ENOMEM;
	for (char *end = part; *end;) {
		char kept;

		end += strspn(end, "/");
		end += strcspn(end, "/");
		kept = *end;
		*end = '\0';
		/* Some file systems answer EACCES or EROFS for what exists: judged at the end. */
		made = mkdir(part, mode) == 0 || errno == EEXIST ? 0 : -errno;
		*end = kept;
	}
	if (stat(path, &st) < 0)
		return made < 0 ? made : -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* ---- FIFOs and files ---- */

static int fifo_keep(int fd, const struct file_grant *grants, size_t n)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISFIFO(st.st_mode) || st.st_uid != geteuid())
		return -EEXIST;
	return file_set_rights(fd, grants, n);
}

static int fifo_make(int dirfd, const char *name, const char *temp, const struct file_grant *grants,
		     size_t n)
{
	cleanup_close int fd = -1;
	int r;

	if (mkfifoat(dirfd, temp, 0600) < 0)
		return -errno;
	fd = openat(dirfd, temp, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : fifo_keep(fd, grants, n);
	if (r == 0 && renameat2(dirfd, temp, dirfd, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r;
}

int file_make_fifo(int dirfd, const char *name, const struct file_grant *grants, size_t n)
{
	cleanup_close int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char temp[PATH_MAX];
	int r;

	if (fd >= 0)
		return fifo_keep(fd, grants, n);
	if (errno != ENOENT)
		return -errno;
	r = temp_name(name, temp, sizeof(temp));
	if (r < 0)
		return r;
	unlinkat(dirfd, temp, 0); /* of a crash */
	return fifo_make(dirfd, name, temp, grants, n);
}

static int write_all(int fd, const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(fd, data, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* Only where a crash has left one is there anything to unlink: `last` is replaced all the time. */
static int open_temp(int dirfd, const char *temp)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, temp, flags, 0600);

	if (fd < 0 && errno == EEXIST) {
		unlinkat(dirfd, temp, 0);
		fd = openat(dirfd, temp, flags, 0600);
	}
	return fd < 0 ? -errno : fd;
}

int file_replace(int dirfd, const char *name, const void *data, size_t bytes,
		 const struct file_grant *grants, size_t n)
{
	cleanup_close int fd = -1;
	char temp[PATH_MAX];
	int r = temp_name(name, temp, sizeof(temp));

	if (r < 0)
		return r;
	fd = open_temp(dirfd, temp);
	if (fd < 0)
		return fd;
	if (n > 0)
		r = file_grant(fd, false, grants, n);
	else if (fchmod(fd, 0600) < 0)
		r = -errno;
	if (r == 0)
		r = write_all(fd, data, bytes);
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r;
}

int file_lock(int dirfd, const char *name, int *ret_fd)
{
	/* O_NONBLOCK: whatever stands under that name, opening it does not wait */
	cleanup_close int fd =
		openat(dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* One more piece into OUT: 1 if there may be more, 0 at the end. */
static int read_some(int fd, struct buf *out, size_t bytes)
{
	uint8_t *tail, probe;
	ssize_t n;
	int r;

	if (bytes > buf_room(out))
		bytes = buf_room(out);
	r = buf_reserve(out, bytes, &tail);
	if (r < 0)
		return r;
	do {
		n = bytes > 0 ? read(fd, tail, bytes) : read(fd, &probe, 1);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n > 0 && bytes == 0)
		return -EFBIG;
	buf_commit(out, (size_t)n);
	return n > 0;
}

int file_read(int dirfd, const char *path, struct buf *out)
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for */
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	size_t len = buf_len(out), next;
	uint8_t *tail;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (st.st_size > 0 && (uint64_t)st.st_size > buf_room(out))
		return -EFBIG;
	next = (size_t)st.st_size + 1; /* with one more the second read() is the last */
	while ((r = read_some(fd, out, next)) > 0)
		next = FILE_READ_BYTES; /* it grows, or is one of /proc that says 0 */
	if (r == 0)
		r = buf_reserve(out, 0, &tail);
	if (r == 0)
		*tail = '\0';
	else
		out->end = out->start + len;
	return r;
}

/* ---- sockets ---- */

static int socket_address(struct sockaddr_un *address, const char *format, int fd, const char *name)
{
	int n;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(address->sun_path, sizeof(address->sun_path), format, fd, name);
	return n >= 0 && (size_t)n < sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

/* May NAME be replaced?  0 if it is not there or nobody answers. */
static int socket_check_stale(int dirfd, const char *name)
{
	cleanup_close int path_fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int fd = -1;
	struct sockaddr_un address;
	struct stat st;
	int r;

	if (path_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	r = socket_address(&address, "/proc/self/fd/%d%s", path_fd, "");
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
		return -EADDRINUSE; /* EAGAIN: it is there, and its queue is full */
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* A listening socket under the name TEMP. */
static int socket_make(int fd, int dirfd, const char *temp, const struct file_grant *grants,
		       size_t n)
{
	cleanup_close int path_fd = -1;
	struct sockaddr_un address;
	int r = socket_address(&address, "/proc/self/fd/%d/%s", dirfd, temp);

	if (r < 0)
		return r;
	/* bind() takes the mode of the socket and cuts it by the umask: never wider than this.
	 * On the descriptor of a bound socket fchmod() would do nothing. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	path_fd = openat(dirfd, temp, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path_fd < 0)
		return -errno;
	r = file_set_rights(path_fd, grants, n);
	if (r == 0 && listen(fd, SOMAXCONN) < 0)
		r = -errno;
	return r;
}

static int socket_listen(int dirfd, const char *name, const struct file_grant *grants, size_t n,
			 int *ret_fd)
{
	cleanup_close int fd = -1;
	char temp[NAME_MAX + 1];
	int r = temp_name(name, temp, sizeof(temp));

	if (r < 0)
		return r;
	r = socket_check_stale(dirfd, name);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlinkat(dirfd, temp, 0); /* of a crash */
	r = socket_make(fd, dirfd, temp, grants, n);
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, temp, 0);
		return r;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

int file_listen(int dirfd, const char *name, const struct file_grant *grants, size_t n, int *ret_fd)
{
	const char *slash = strrchr(name, '/');
	cleanup_free char *parent = slash ? strndup(name, (size_t)(slash - name) + 1) : strdup(".");
	cleanup_close int parent_fd = -1;

	if (!parent)
		return -ENOMEM;
	/* Our own, because AT_FDCWD has no number that could stand in a path. */
	parent_fd = openat(dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd < 0)
		return -errno;
	return socket_listen(parent_fd, slash ? slash + 1 : name, grants, n, ret_fd);
}

static int socket_connect(int fd, const char *path)
{
	cleanup_close int path_fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) < sizeof(address.sun_path)) {
		strcpy(address.sun_path, path);
	} else {
		path_fd = open(path, O_PATH | O_CLOEXEC);
		if (path_fd < 0)
			return -errno;
		strcpy(address.sun_path, proc_path(path_fd).text);
	}
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int file_connect(const char *path, int flags, int *ret_fd)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = socket_connect(fd, path);
	if (r < 0)
		return r;
	if ((flags & SOCK_NONBLOCK) && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

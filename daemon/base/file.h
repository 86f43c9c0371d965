/* file - directories, FIFOs and small files, each made so that nobody ever sees a half of it.
 *
 * Everything takes the descriptor of the directory it works in (openat style).  All descriptors are
 * O_CLOEXEC.  Negative errno on failure. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

/* Who else than the owner may use a file: POSIX ACL entries, set through the extended attribute
 * "system.posix_acl_access" (acl(5), linux/posix_acl_xattr.h), so no privilege is needed. */
struct file_grant {
	bool is_group;
	uid_t id;       /* uid or gid */
	unsigned perms; /* bits: 4 read, 2 write, 1 search */
};

/* Owner 0600 (or 0700 for directories) plus GRANTS.  n == 0 does nothing.  Call it on a file that
 * nobody can reach yet. */
int file_grant(int fd, bool is_dir, const struct file_grant *grants, size_t n);

/* Open directory NAME below dirfd (AT_FDCWD with a path is fine), making it 0700 if absent; -EPERM
 * if it is a link or belongs to somebody else than us. */
int file_open_dir(int dirfd, const char *name, int *ret_fd);
int file_make_dirs(const char *path, mode_t mode); /* mkdir -p of the whole path */

/* FIFO NAME exists afterwards, ours, 0600 + grants.  An existing FIFO of ours is kept (people may be
 * waiting in open() on its inode); anything else under that name is -EEXIST and left alone. */
int file_make_fifo(int dirfd, const char *name, const struct file_grant *grants, size_t n);

/* Replace NAME by these bytes, atomically: temporary name, 0600 + grants, rename. */
int file_replace(int dirfd, const char *name, const void *data, size_t bytes,
		 const struct file_grant *grants, size_t n);

/* Bind and listen on socket NAME in dirfd, non-blocking.  Mode 0600 from the first moment (fchmod
 * before bind), then grants; a temporary name is renamed over a stale socket.  Never takes the place
 * of a socket that answers: that is -EADDRINUSE.  Long paths are reached via /proc/self/fd. */
int file_listen(int dirfd, const char *name, const struct file_grant *grants, size_t n,
		int *ret_fd);

/* Connect to a stream socket by path, however long.  Blocking connect, then flags as given
 * (SOCK_NONBLOCK or 0). */
int file_connect(const char *path, int flags, int *ret_fd);

/* flock NAME (made 0600, never removed).  -EWOULDBLOCK: another process has it. */
int file_lock(int dirfd, const char *name, int *ret_fd);

/* The whole of a regular file, NUL-terminated behind its last byte (the NUL is not counted).
 * -EFBIG when there is more than OUT may hold. */
int file_read(int dirfd, const char *path, struct buf *out);

#endif

/* access - the `access` key: who else may use a connection's files, as ACL entries. */
#ifndef ENDPOINT_ACCESS_H
#define ENDPOINT_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/file.h"

/* What is being protected decides which bits "read" and "write" mean on it. */
enum access_object {
	ACCESS_DIRECTORY, /* anybody who has any right may search it */
	ACCESS_LISTING,   /* `latest`: readers may list it, too */
	ACCESS_INPUT,     /* `in`: w for writers */
	ACCESS_OUTPUT,    /* `out`, `last`, `status`: r for readers */
	ACCESS_SOCKET,    /* needs w to connect: both rights, or either */
};

struct access {
	struct access_rule {
		bool is_group, read, write;
		unsigned id;
	} * rule;
	size_t rules;
};

/* "user:NAME", "group:NAME", with ":read" or ":write" behind. Numbers are taken for names that do
 * not exist. Rules for the same one are merged into one. 0, -ENOMEM, or -EINVAL with *ret_problem
 * (constant).  Asks the system's databases (NSS): for start and reload, not for the data path. */
int access_parse(struct access *ret, char *const *list, const char **ret_problem);
void access_done(struct access *access);

/* The grants for one object; *ret is malloc'ed (NULL when there are none).  A rule that grants
 * nothing on that object has no entry, which acl(5) would let hide those for the user's groups. */
int access_grants(const struct access *access, enum access_object object, struct file_grant **ret,
		  size_t *ret_n);

/* May a peer with these credentials do this?  (For a socket, whose mode cannot tell directions.)
 * GIDS: the primary group and the supplementary ones.  Root and our own user always may. */
bool access_allows(const struct access *access, unsigned uid, const unsigned *gids, size_t n_gids,
		   bool write);

#endif

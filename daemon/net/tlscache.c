/* tlscache - see tlscache.h. */
#include "net/tlscache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/list.h"

enum {
	FILES = 4,
	CONTEXTS_MAX = 64, /* some hundred KiB each; with more the oldest is not shared any longer */
};

struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

struct entry {
	struct list link;
	SSL_CTX *context; /* one reference is ours, one each connection's */
	struct stamp stamp[FILES];
	char key[];
};

static struct list entries = {&entries, &entries};
static size_t n_entries;

/* Not the pins and the server's name: they belong to one SSL (tlspeer).
 *
 * All that the context depends on, in words; file names may hold anything but NUL and a line feed is
 * unlikely enough in them: two that differ only there would have to be made on purpose. */
static char *make_key(const struct tls_options *options)
{
	const char *names[FILES] = {options->cacert, options->capath, options->cert, options->key};
	char *key = NULL;

	if (asprintf(&key, "%s\n%s\n%s\n%s\n%d %d", names[0] ? names[0] : "",
		     names[1] ? names[1] : "", names[2] ? names[2] : "", names[3] ? names[3] : "",
		     options->tls_min, options->insecure) < 0)
		return NULL;
	return key;
}

static void take_stamp(struct stamp *ret, const char *path)
{
	struct stat st;

	memset(ret, 0, sizeof(*ret));
	if (!path || stat(path, &st) < 0)
		return;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->size = st.st_size;
	ret->changed = st.st_mtim;
}

static void take_stamps(struct stamp ret[FILES], const struct tls_options *options)
{
	bool system = !options->cacert && !options->capath;

	take_stamp(&ret[0], system ? X509_get_default_cert_file() : options->cacert);
	take_stamp(&ret[1], system ? X509_get_default_cert_dir() : options->capath);
	take_stamp(&ret[2], options->cert);
	take_stamp(&ret[3], options->key);
}

static void forget(struct entry *entry)
{
	list_remove(&entry->link);
	n_entries--;
	SSL_CTX_free(entry->context); /* those who use it keep it */
	free(entry);
}

void tlscache_clear(void)
{
	while (!list_empty(&entries))
		forget(list_first(&entries, struct entry, link));
}

static struct entry *find(const char *key, const struct stamp stamp[FILES])
{
	struct entry *entry, *following;

	list_for_each_safe(entry, following, &entries, link) {
		if (strcmp(entry->key, key) != 0)
			continue;
		if (memcmp(entry->stamp, stamp, sizeof(entry->stamp)) == 0)
			return entry;
		forget(entry);
	}
	return NULL;
}

/* Without memory for the entry the context is simply not shared. */
static void remember(const char *key, const struct stamp stamp[FILES], SSL_CTX *context)
{
	struct entry *entry = malloc(sizeof(*entry) + strlen(key) + 1);

	if (!entry)
		return;
	SSL_CTX_up_ref(context);
	entry->context = context;
	memcpy(entry->stamp, stamp, sizeof(entry->stamp));
	strcpy(entry->key, key);
	list_append(&entries, &entry->link);
	n_entries++;
	if (n_entries > CONTEXTS_MAX)
		forget(list_first(&entries, struct entry, link));
}

int tlscache_get(SSL_CTX **ret, const struct tls_options *options, struct cause *ret_cause)
{
	char *key = make_key(options);
	struct stamp stamp[FILES];
	struct entry *entry;
	int r = 0;

	if (!key) {
		cause_set(ret_cause, CAUSE_LOCAL, ENOMEM, "TLS cannot be set up: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	take_stamps(stamp, options);
	entry = find(key, stamp);
	if (entry) {
		SSL_CTX_up_ref(entry->context);
		*ret = entry->context;
	} else {
		r = tls_context_new(ret, options, ret_cause);
		if (r == 0)
			remember(key, stamp, *ret);
	}
	free(key);
	return r;
}

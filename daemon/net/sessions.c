/* sessions - see the header.  A list, the newest first: it is searched once for each connect, and
 * is short. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/list.h"
#include "net/sessions.h"

struct saved {
	struct list link;
	SSL_SESSION *session;
	char key[];
};

struct sessions {
	struct list saved;
	size_t n;
};

int sessions_new(struct sessions **ret)
{
	struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return -ENOMEM;
	list_init(&sessions->saved);
	*ret = sessions;
	return 0;
}

static void drop(struct sessions *sessions, struct saved *saved)
{
	list_remove(&saved->link);
	sessions->n--;
	SSL_SESSION_free(saved->session);
	free(saved);
}

struct sessions *sessions_free(struct sessions *sessions)
{
	struct saved *saved;

	if (!sessions)
		return NULL;
	while ((saved = list_first(&sessions->saved, struct saved, link)))
		drop(sessions, saved);
	free(sessions);
	return NULL;
}

static bool is_single_use(const SSL_SESSION *session)
{
	return SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION;
}

/* The certificate's end ends the session too, or a server could live on what it once was. */
static bool is_good(const SSL_SESSION *session)
{
	time_t now = time(NULL);
	long age = (long)now - SSL_SESSION_get_time(session);
	X509 *cert = SSL_SESSION_get0_peer((SSL_SESSION *)session);

	return SSL_SESSION_is_resumable(session) && age >= 0 && age < SESSIONS_AGE_MAX_S &&
	       age < SSL_SESSION_get_timeout(session) && cert &&
	       X509_cmp_time(X509_get0_notAfter(cert), &now) > 0;
}

/* Room for one more: the oldest of KEY beyond its share goes, and the oldest of all. */
static void make_room(struct sessions *sessions, const char *key, size_t share)
{
	struct saved *saved, *following, *oldest = NULL;
	size_t n = 0;

	list_for_each_safe(saved, following, &sessions->saved, link) {
		oldest = saved;
		if (strcmp(saved->key, key) == 0 && ++n >= share) {
			drop(sessions, saved);
			oldest = NULL;
		}
	}
	if (sessions->n >= SESSIONS_MAX && oldest)
		drop(sessions, oldest);
}

void sessions_put(struct sessions *sessions, const char *key, SSL_SESSION *session)
{
	struct saved *saved = malloc(sizeof(*saved) + strlen(key) + 1);

	if (!saved)
		return;
	saved->session = SSL_SESSION_dup(session);
	if (!saved->session) {
		ERR_clear_error();
		free(saved);
		return;
	}
	strcpy(saved->key, key);
	make_room(sessions, key, is_single_use(session) ? SESSIONS_OF_KEY_MAX : 1);
	list_prepend(&sessions->saved, &saved->link);
	sessions->n++;
}

SSL_SESSION *sessions_take(struct sessions *sessions, const char *key)
{
	struct saved *saved, *following;
	SSL_SESSION *copy;

	list_for_each_safe(saved, following, &sessions->saved, link) {
		if (strcmp(saved->key, key) != 0)
			continue;
		copy = is_good(saved->session) ? SSL_SESSION_dup(saved->session) : NULL;
		if (!copy || is_single_use(copy))
			drop(sessions, saved);
		if (copy)
			return copy;
	}
	ERR_clear_error();
	return NULL;
}

void sessions_forget(struct sessions *sessions, const char *key)
{
	struct saved *saved, *following;

	list_for_each_safe(saved, following, &sessions->saved, link)
		if (strcmp(saved->key, key) == 0)
			drop(sessions, saved);
}

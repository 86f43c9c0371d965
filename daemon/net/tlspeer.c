/* tlspeer - see the header. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/strv.h"
#include "net/tlspeer.h"

static struct tlspeer *tlspeer_free(struct tlspeer *peer)
{
	if (!peer)
		return NULL;
	X509_free(peer->refused);
	strv_free(peer->pins);
	free(peer->key);
	free(peer);
	return NULL;
}

static void tlspeer_on_ssl_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
				void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	tlspeer_free(ptr);
}

/* Where an SSL keeps it: OpenSSL hands out such places once for the whole process. */
static int tlspeer_place(void)
{
	static int place = -1;

	if (place < 0)
		place = SSL_get_ex_new_index(0, NULL, NULL, NULL, tlspeer_on_ssl_free);
	return place;
}

static void tlspeer_set_name(struct tlspeer *peer, const struct url *url)
{
	size_t len = strlen(url->host), most = sizeof(peer->name) - sizeof("...[]:65535");
	const char *dots = len > most ? "..." : "",
		   *host = url->host + (len > most ? len - most : 0);

	snprintf(peer->name, sizeof(peer->name), strchr(host, ':') ? "[%s%s]:%u" : "%s%s:%u", dots,
		 host, url->port);
}

/* A line feed is in no name and in no pin. */
static int tlspeer_set_key(struct tlspeer *peer, const struct url *url, const char *expected)
{
	size_t size = strlen(url->host) + strlen(expected) + 16, used;
	char **pin;

	strv_for_each(pin, peer->pins)
		size += strlen(*pin) + 1;
	peer->key = malloc(size);
	if (!peer->key)
		return -ENOMEM;
	used = (size_t)snprintf(peer->key, size, "%s\n%u\n%s", url->host, url->port, expected);
	strv_for_each(pin, peer->pins)
		used += (size_t)snprintf(peer->key + used, size - used, "\n%s", *pin);
	return 0;
}

int tlspeer_attach(SSL *ssl, const struct url *url, const char *expected, char *const *pins,
		   bool verified)
{
	struct tlspeer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return -ENOMEM;
	peer->verified = verified;
	tlspeer_set_name(peer, url);
	if ((pins && strv_copy(&peer->pins, pins) < 0) ||
	    tlspeer_set_key(peer, url, expected) < 0 ||
	    SSL_set_ex_data(ssl, tlspeer_place(), peer) != 1) {
		ERR_clear_error();
		tlspeer_free(peer);
		return -ENOMEM;
	}
	return 0;
}

struct tlspeer *tlspeer_of(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, tlspeer_place());
}

const char *tlspeer_name(const SSL *ssl)
{
	const struct tlspeer *peer = tlspeer_of(ssl);

	return peer ? peer->name : "the server";
}

bool tlspeer_check_pin(struct tlspeer *peer, const X509 *cert)
{
	char pin[PIN_TEXT_MAX] = "";

	if (!peer->pins)
		return true;
	if (!cert || pin_of(cert, pin) < 0)
		strcpy(pin, "not known");
	else if (pin_is_listed(peer->pins, pin))
		return true;
	memcpy(peer->pin, pin, sizeof(peer->pin));
	return false;
}

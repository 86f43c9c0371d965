/* tls - see the header.
 *
 * OpenSSL verifies nothing unless told to, so everything that makes a certificate count is set in
 * tls_context_new() and tls_new(), and nowhere else.  What a resumed session may skip is said in
 * sessions.h.
 *
 * The error queue belongs to the thread, not to the SSL: it is emptied before anything that may
 * fill it and after everything that did, or one connection would report another's trouble. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "net/sessions.h"
#include "net/tls.h"
#include "net/tlscause.h"
#include "net/tlspeer.h"

static const char tls_protocol[] = "http/1.1"; /* RFC 7301 6 */

/* OpenSSL may go on, with success, where memory was refused; what is missing then, say the name of
 * SHA-1 or the public key of an authority, is missing for ever (tested with 3.0).  So what is to
 * stay is set up with an eye on whether any was refused. */
static bool tls_was_refused;

static void *tls_malloc(size_t bytes, const char *file, int line)
{
	void *at = bytes > 0 ? malloc(bytes) : NULL;

	(void)file, (void)line;
	if (!at && bytes > 0)
		tls_was_refused = true;
	return at;
}

static void tls_release(void *at, const char *file, int line)
{
	(void)file, (void)line;
	free(at);
}

static void *tls_realloc(void *at, size_t bytes, const char *file, int line)
{
	void *moved;

	if (!at)
		return tls_malloc(bytes, file, line);
	if (bytes == 0) {
		tls_release(at, file, line);
		return NULL;
	}
	moved = realloc(at, bytes);
	if (!moved)
		tls_was_refused = true;
	return moved;
}

int tls_start(void)
{
	SSL_CTX *context;

	/* Where OpenSSL was used before, it is too late for this, and for what it is good for. */
	CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_release);
	tls_was_refused = false;
	context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_free(context);
	ERR_clear_error();
	return context && !tls_was_refused ? 0 : -ENOMEM;
}

/* ---- the context: options and files ---- */

/* What the oldest error in the queue says; empties it. */
static const char *tls_take_reason(void)
{
	unsigned long error = ERR_get_error();
	const char *reason = NULL;

	if (ERR_SYSTEM_ERROR(error))
		reason = strerror(ERR_GET_REASON(error));
	else if (error)
		reason = ERR_reason_error_string(error);
	ERR_clear_error();
	return reason ? reason : "unknown error";
}

static int tls_file_failed(struct cause *ret_cause, const char *option, const char *path)
{
	unsigned long error = ERR_peek_error();
	int saved = ERR_SYSTEM_ERROR(error) ? ERR_GET_REASON(error) : 0;

	if (saved > 0) {
		cause_set(ret_cause, CAUSE_LOCAL, saved, "%s = %s: %s", option, path,
			  tls_take_reason());
		return -saved;
	}
	cause_set(ret_cause, CAUSE_TLS, 0, "%s = %s: %s", option, path, tls_take_reason());
	return -EINVAL;
}

/* OpenSSL takes any name of a directory and then silently finds nothing in it. */
static int tls_check_directory(const char *path, struct cause *ret_cause)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	cause_set(ret_cause, CAUSE_LOCAL, errno, "capath = %s: %s", path, strerror(errno));
	return -ret_cause->code;
}

static int tls_load_authorities(SSL_CTX *context, const struct tls_options *options,
				struct cause *ret_cause)
{
	int r;

	if (options->cacert && !SSL_CTX_load_verify_file(context, options->cacert))
		return tls_file_failed(ret_cause, "cacert", options->cacert);
	if (options->capath) {
		r = tls_check_directory(options->capath, ret_cause);
		if (r < 0)
			return r;
		if (!SSL_CTX_load_verify_dir(context, options->capath))
			return tls_file_failed(ret_cause, "capath", options->capath);
	}
	if (!options->cacert && !options->capath && !SSL_CTX_set_default_verify_paths(context))
		return tls_file_failed(ret_cause, "cacert", "(the system's store)");
	ERR_clear_error();
	return 0;
}

/* Without this OpenSSL would ask for the passphrase on the terminal. */
static int tls_on_passphrase(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static int tls_key_failed(struct cause *ret_cause, const struct tls_options *options,
			  const char *key, bool is_encrypted)
{
	unsigned long error = ERR_peek_error();

	if (ERR_SYSTEM_ERROR(error))
		return tls_file_failed(ret_cause, "key", key);
	if (is_encrypted)
		cause_set(
			ret_cause, CAUSE_TLS, 0,
			"key = %s is encrypted, and nobody is there to be asked for its passphrase "
			"(openssl pkey writes it without one)",
			key);
	else if (ERR_GET_LIB(error) == ERR_LIB_X509 || ERR_GET_LIB(error) == ERR_LIB_SSL)
		cause_set(ret_cause, CAUSE_TLS, 0, "key = %s does not belong to cert = %s", key,
			  options->cert);
	else
		cause_set(ret_cause, CAUSE_TLS, 0, "key = %s: no private key in it (PEM)", key);
	ERR_clear_error();
	return -EINVAL;
}

static int tls_load_client(SSL_CTX *context, const struct tls_options *options,
			   struct cause *ret_cause)
{
	const char *key = options->key ? options->key : options->cert;
	bool is_encrypted = false;
	int r = 0;

	if (!options->cert) {
		if (!options->key)
			return 0;
		cause_set(ret_cause, CAUSE_TLS, 0, "key = %s is of no use without cert", key);
		return -EINVAL;
	}
	SSL_CTX_set_default_passwd_cb(context, tls_on_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(context, &is_encrypted);
	if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
		r = tls_file_failed(ret_cause, "cert", options->cert);
	else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
		 SSL_CTX_check_private_key(context) != 1)
		r = tls_key_failed(ret_cause, options, key, is_encrypted);
	SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
	ERR_clear_error();
	return r;
}

/* In the place of all of OpenSSL's own verifying.  It comes before anything of ours has left but
 * the ClientHello: so a pin that does not match stops us ahead of our certificate, too. */
static int tls_on_verify(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tlspeer *peer = ssl ? tlspeer_of(ssl) : NULL;

	(void)arg;
	if (!peer) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
		return 0;
	}
	if (peer->verified && X509_verify_cert(store) <= 0) {
		peer->refused_depth = X509_STORE_CTX_get_error_depth(store);
		peer->refused = X509_STORE_CTX_get_current_cert(store);
		if (peer->refused)
			X509_up_ref(peer->refused);
		return 0;
	}
	if (tlspeer_check_pin(peer, X509_STORE_CTX_get0_cert(store)))
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

/* The server asks for a certificate of ours: that it did explains what it may say later. */
static int tls_on_certificate_wanted(SSL *ssl, void *arg)
{
	struct tlspeer *peer = tlspeer_of(ssl);

	(void)arg;
	if (peer)
		peer->wants_certificate = true;
	return 1;
}

/* ---- the context: sessions ---- */

static void tls_on_context_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
				void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	sessions_free(ptr);
}

/* Where an SSL_CTX keeps its sessions: OpenSSL hands out such places once for the whole process. */
static int tls_sessions_place(void)
{
	static int place = -1;

	if (place < 0)
		place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, tls_on_context_free);
	return place;
}

static struct sessions *tls_sessions(const SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tls_sessions_place());
}

/* TLS 1.2: at the end of the handshake; 1.3: with each ticket, later (RFC 8446 4.6.1).  We keep a
 * copy, and OpenSSL the session. */
static int tls_on_session(SSL *ssl, SSL_SESSION *session)
{
	const struct tlspeer *peer = tlspeer_of(ssl);

	if (peer)
		sessions_put(tls_sessions(ssl), peer->key, session);
	return 0;
}

static bool tls_context_set_sessions(SSL_CTX *context)
{
	struct sessions *sessions;

	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, tls_on_session);
	if (sessions_new(&sessions) < 0)
		return false;
	if (SSL_CTX_set_ex_data(context, tls_sessions_place(), sessions) == 1)
		return true;
	sessions_free(sessions);
	return false;
}

/* One protocol is offered; that the server picks no other is looked at in tls_established(), though
 * since 3.0.15 OpenSSL does so itself. */
static bool tls_context_set(SSL_CTX *context, const struct tls_options *options)
{
	unsigned char offer[sizeof(tls_protocol)] = {sizeof(tls_protocol) - 1}; /* length, name */
	int version = options->tls_min == TLS_MIN_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	memcpy(offer + 1, tls_protocol, sizeof(tls_protocol) - 1);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL); /* tls_on_verify() decides, always */
	SSL_CTX_set_cert_verify_callback(context, tls_on_verify, NULL);
	SSL_CTX_set_cert_cb(context, tls_on_certificate_wanted, NULL);
	return tls_context_set_sessions(context) &&
	       SSL_CTX_set_min_proto_version(context, version) == 1 &&
	       SSL_CTX_set_alpn_protos(context, offer, sizeof(offer)) == 0;
}

int tls_context_new(SSL_CTX **ret, const struct tls_options *options, struct cause *ret_cause)
{
	SSL_CTX *context;
	int r = 0;

	ERR_clear_error();
	tls_was_refused = false;
	context = SSL_CTX_new(TLS_client_method());
	if (!context || !tls_context_set(context, options)) {
		cause_set(ret_cause, CAUSE_LOCAL, ENOMEM, "TLS cannot be set up: %s",
			  tls_take_reason());
		tls_context_free(context);
		return -ENOMEM;
	}
	if (!options->insecure)
		r = tls_load_authorities(context, options, ret_cause);
	if (r == 0)
		r = tls_load_client(context, options, ret_cause);
	if (tls_was_refused) {
		r = -ENOMEM;
		cause_set(ret_cause, CAUSE_LOCAL, ENOMEM, "TLS cannot be set up: %s",
			  strerror(ENOMEM));
		ERR_clear_error();
	}
	if (r < 0) {
		tls_context_free(context);
		return r;
	}
	*ret = context;
	return 0;
}

SSL_CTX *tls_context_free(SSL_CTX *context)
{
	SSL_CTX_free(context);
	return NULL;
}

/* ---- one SSL: whom we expect ---- */

static bool tls_name_is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

/* RFC 6066 3: no addresses and no final dot in SNI.  A common name has not been a host name since
 * RFC 6125, and "f*o.example" is not a wildcard that anybody needs. */
static bool tls_expect_name(SSL *ssl, const char *host)
{
	char name[256];
	size_t len = strlen(host);

	if (len > 0 && host[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
				       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

/* What we have from last time.  A session that does not fit the server any more costs nothing: it
 * just does not take it. */
static void tls_offer_session(SSL *ssl)
{
	struct tlspeer *peer = tlspeer_of(ssl);
	SSL_SESSION *session = sessions_take(tls_sessions(ssl), peer->key);

	peer->offered_session = session && SSL_set_session(ssl, session) == 1;
	SSL_SESSION_free(session);
}

static int tls_expect(SSL *ssl, const struct tls_options *options, const struct url *url)
{
	const char *name = options->server_name ? options->server_name : url->host;
	bool ok;

	if (tls_name_is_address(name))
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	else
		ok = tls_expect_name(ssl, name);
	if (!ok)
		return -EINVAL;
	return tlspeer_attach(ssl, url, name, options->pins, !options->insecure);
}

int tls_new(SSL **ret, SSL_CTX *context, const struct tls_options *options, const struct url *url)
{
	SSL *ssl;
	int r;

	ERR_clear_error();
	ssl = SSL_new(context);
	if (!ssl) {
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_set_connect_state(ssl);
	r = tls_expect(ssl, options, url);
	if (r == 0)
		tls_offer_session(ssl);
	ERR_clear_error();
	if (r < 0) {
		SSL_free(ssl);
		return r;
	}
	*ret = ssl;
	return 0;
}

/* ---- how the handshake has ended ---- */

int tls_established(SSL *ssl, struct cause *ret_cause)
{
	struct tlspeer *peer = tlspeer_of(ssl);
	const unsigned char *protocol;
	unsigned len;

	SSL_get0_alpn_selected(ssl, &protocol, &len);
	if (len > 0 &&
	    (len != sizeof(tls_protocol) - 1 || memcmp(protocol, tls_protocol, len) != 0)) {
		tlscause_set_protocol(ret_cause, ssl);
		return -EPROTO;
	}
	/* In a session that was resumed nobody has looked: its certificate came with it. */
	if (peer && !tlspeer_check_pin(peer, SSL_get0_peer_certificate(ssl))) {
		tlscause_set_pin(ret_cause, ssl);
		return -EACCES;
	}
	return 0;
}

void tls_describe(const SSL *ssl, char ret[TLS_DESCRIPTION_MAX])
{
	snprintf(ret, TLS_DESCRIPTION_MAX, "%s %s%s", SSL_get_version(ssl),
		 SSL_get_cipher_name(ssl), SSL_session_reused(ssl) ? " resumed" : "");
}

/* RFC 5246 7.2.2: a fatal alert ends the session too.  And what was offered in a handshake that
 * came to nothing may be why. */
void tls_failed(SSL *ssl, struct cause *ret_cause)
{
	const struct tlspeer *peer = tlspeer_of(ssl);

	tlscause_set(ret_cause, ssl);
	if (peer && (ret_cause->class == CAUSE_TLS ||
		     (peer->offered_session && SSL_get_state(ssl) != TLS_ST_OK)))
		sessions_forget(tls_sessions(ssl), peer->key);
}

/* Which sessions are kept, how many, and who may resume them: both ends of TLS over a pair of
 * memory BIOs, with contexts from the cache as dial has them. */
#include <errno.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certs.h"
#include "check.h"
#include "net/pin.h"
#include "net/sessions.h"
#include "net/tls.h"
#include "net/tlscache.h"

static char dir[] = "/tmp/test-sessions-XXXXXX";
static char ca_file[64], ca_copy[64], cert_file[64], key_file[64];
static struct cert ca, good, expired;
static char good_pin[PIN_TEXT_MAX], other_pin[PIN_TEXT_MAX];

static SSL_CTX *server_context(const struct cert *cert, int max_version)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	CHECK(SSL_CTX_use_certificate(context, cert->x509) == 1);
	CHECK(SSL_CTX_use_PrivateKey(context, cert->key) == 1);
	CHECK(SSL_CTX_set_max_proto_version(context, max_version) == 1);
	CHECK(SSL_CTX_set_session_id_context(context, (const unsigned char *)"x", 1) == 1);
	return context;
}

static bool step(SSL *ssl)
{
	int r = SSL_do_handshake(ssl), error = SSL_get_error(ssl, r);

	return r == 1 || (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE);
}

static SSL *client_new(const struct tls_options *options, const char *url_text)
{
	const char *problem;
	struct cause cause;
	struct url url;
	SSL_CTX *context;
	SSL *client;

	CHECK_EQ(url_parse(&url, url_text, &problem), 0);
	CHECK_EQ(tlscache_get(&context, options, &cause), 0);
	CHECK_EQ(tls_new(&client, context, options, &url), 0);
	tls_context_free(context);
	url_done(&url);
	return client;
}

/* 1: resumed, 0: not, -1: it failed, with *cause set.  The tickets are read, and the end is rude.
 */
static int meet(SSL_CTX *server, const struct tls_options *options, const char *url,
		struct cause *cause)
{
	SSL *client = client_new(options, url), *peer = SSL_new(server);
	bool client_done = false, peer_done = false;
	char text[TLS_DESCRIPTION_MAX], byte;
	BIO *here, *there;
	int r = -1;

	CHECK(BIO_new_bio_pair(&here, 0, &there, 0) == 1);
	SSL_set_bio(client, here, here);
	SSL_set_bio(peer, there, there);
	SSL_set_accept_state(peer);
	for (int i = 0; i < 50 && !(client_done && peer_done); i++) {
		ERR_clear_error();
		client_done = client_done || step(client);
		if (client_done && !SSL_is_init_finished(client)) {
			tls_failed(client, cause);
			break;
		}
		ERR_clear_error();
		peer_done = peer_done || step(peer);
	}
	ERR_clear_error();
	if (SSL_is_init_finished(client) && tls_established(client, cause) == 0) {
		r = SSL_session_reused(client);
		tls_describe(client, text);
		CHECK_EQ(strstr(text, " resumed") != NULL, r);
		CHECK(SSL_read(client, &byte, 1) < 0);
		CHECK_EQ(SSL_get_verify_result(client), X509_V_OK);
	}
	ERR_clear_error();
	SSL_free(client);
	SSL_free(peer);
	return r;
}

static int meets(SSL_CTX *server, const struct tls_options *options, const char *url)
{
	struct cause cause;

	return meet(server, options, url, &cause);
}

/* The same again resumes, and again; of TLS 1.3 each ticket serves once, of 1.2 the last one on. */
static void test_again(int version)
{
	SSL_CTX *server = server_context(&good, version);
	struct tls_options trust = {.cacert = ca_file};

	tlscache_clear();
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(meets(server, &trust, "wss://good.example/"), 1);
	SSL_CTX_free(server);
}

/* Whatever decides whom we trust, and as whom we come, keeps sessions apart. */
static void test_apart(int version)
{
	SSL_CTX *server = server_context(&good, version);
	char *pins[] = {good_pin, NULL};
	struct tls_options trust = {.cacert = ca_file};
	const struct tls_options others[] = {
		{.cacert = ca_copy},
		{.cacert = ca_file, .capath = dir},
		{.cacert = ca_file, .server_name = (char *)"127.0.0.1"},
		{.cacert = ca_file, .cert = cert_file, .key = key_file},
		{.cacert = ca_file, .pins = pins},
		{.insecure = true},
		{.insecure = true, .pins = pins},
	};

	tlscache_clear();
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		CHECK_EQ(meets(server, &others[i], "wss://good.example/"), 0);
		CHECK_EQ(meets(server, &others[i], "wss://good.example/"), 1);
		CHECK_EQ(meets(server, &trust, "wss://good.example/"), 1);
	}
	CHECK_EQ(meets(server, &trust, "wss://good.example:444/"), 0);
	CHECK_EQ(meets(server, &trust, "wss://127.0.0.1/"), 0);
	if (version == TLS1_3_VERSION) {
		trust.tls_min = TLS_MIN_1_3;
		CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	}
	SSL_CTX_free(server);
}

/* A session says nothing of the name, so it must not get in the place of the check. */
static void test_wrong_name(int version)
{
	SSL_CTX *server = server_context(&good, version);
	struct tls_options trust = {.cacert = ca_file},
			   insecure = {.cacert = ca_file, .insecure = true};
	struct tls_options renamed = {.cacert = ca_file, .server_name = (char *)"wrong.example"};
	struct cause cause;

	tlscache_clear();
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	CHECK_EQ(meet(server, &trust, "wss://wrong.example/", &cause), -1);
	CHECK_EQ(cause.code, X509_V_ERR_HOSTNAME_MISMATCH);
	CHECK_EQ(meet(server, &renamed, "wss://good.example/", &cause), -1);
	CHECK_EQ(cause.code, X509_V_ERR_HOSTNAME_MISMATCH);
	CHECK_EQ(meets(server, &insecure, "wss://wrong.example/"), 0);
	CHECK_EQ(meets(server, &insecure, "wss://wrong.example/"), 1);
	CHECK_EQ(meet(server, &trust, "wss://wrong.example/", &cause), -1);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 1);
	SSL_CTX_free(server);
}

/* Authorities that have changed on disk are asked anew. */
static void test_files(void)
{
	SSL_CTX *server = server_context(&good, TLS1_3_VERSION);
	struct tls_options trust = {.cacert = ca_copy};
	FILE *file;

	tlscache_clear();
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 1);
	file = fopen(ca_copy, "a");
	PEM_write_X509(file, good.x509);
	fclose(file);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 1);
	SSL_CTX_free(server);
}

static void test_pins(int version)
{
	SSL_CTX *server = server_context(&good, version);
	char *wrong[] = {other_pin, NULL}, *both[] = {other_pin, good_pin, NULL};
	struct tls_options options = {.cacert = ca_file, .pins = wrong};
	struct cause cause;

	tlscache_clear();
	for (int insecure = 0; insecure < 2; insecure++) {
		options.insecure = insecure;
		options.pins = wrong;
		CHECK_EQ(meet(server, &options, "wss://good.example/", &cause), -1);
		CHECK_EQ(cause.class, CAUSE_TLS);
		CHECK(strstr(cause.text, "the public key of good.example:443 is sha256//"));
		CHECK(strstr(cause.text, good_pin));
		options.pins = both;
		CHECK_EQ(meets(server, &options, "wss://good.example/"), 0);
		CHECK_EQ(meets(server, &options, "wss://good.example/"), 1);
	}
	/* The chain and the name count besides. */
	options = (struct tls_options){.cacert = ca_file, .pins = both};
	CHECK_EQ(meet(server, &options, "wss://wrong.example/", &cause), -1);
	CHECK_EQ(cause.code, X509_V_ERR_HOSTNAME_MISMATCH);
	SSL_CTX_free(server);
}

static int refuse_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)arg;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A server that refuses us with a session is met without one. */
static void test_refused(void)
{
	SSL_CTX *server = server_context(&good, TLS1_3_VERSION);
	struct tls_options trust = {.cacert = ca_file};

	tlscache_clear();
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 1);
	SSL_CTX_set_tlsext_servername_callback(server, refuse_name);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), -1);
	SSL_CTX_set_tlsext_servername_callback(server, NULL);
	CHECK_EQ(meets(server, &trust, "wss://good.example/"), 0);
	SSL_CTX_free(server);
}

/* ---- the list itself ---- */

static SSL_SESSION *session_new(const struct cert *cert, int version)
{
	SSL_SESSION *session;
	struct tls_options insecure = {.insecure = true};
	SSL_CTX *server = server_context(cert, version);
	SSL *client = client_new(&insecure, "wss://good.example/"), *peer = SSL_new(server);
	BIO *here, *there;
	char byte;

	CHECK(BIO_new_bio_pair(&here, 0, &there, 0) == 1);
	SSL_set_bio(client, here, here);
	SSL_set_bio(peer, there, there);
	SSL_set_accept_state(peer);
	for (int i = 0; i < 50; i++) {
		step(client);
		step(peer);
	}
	CHECK(SSL_is_init_finished(client));
	CHECK(SSL_read(client, &byte, 1) < 0);
	session = SSL_get1_session(client);
	SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* spoils it not */
	ERR_clear_error();
	SSL_free(client);
	SSL_free(peer);
	SSL_CTX_free(server);
	return session;
}

static int take_all(struct sessions *sessions, const char *key)
{
	SSL_SESSION *session;
	int n = 0;

	while (n < 2 * SESSIONS_MAX && (session = sessions_take(sessions, key))) {
		SSL_SESSION_free(session);
		n++;
	}
	return n;
}

static void test_bounds(void)
{
	SSL_SESSION *session = session_new(&good, TLS1_3_VERSION);
	struct sessions *sessions;
	char key[32];
	int n = 0;

	CHECK_EQ(sessions_new(&sessions), 0);
	for (int i = 0; i < 10; i++)
		sessions_put(sessions, "a", session);
	CHECK(!sessions_take(sessions, "b"));
	CHECK_EQ(take_all(sessions, "a"), SESSIONS_OF_KEY_MAX);
	for (int i = 0; i < 2 * SESSIONS_MAX; i++) {
		snprintf(key, sizeof(key), "%d", i);
		sessions_put(sessions, key, session);
	}
	for (int i = 0; i < 2 * SESSIONS_MAX; i++) {
		snprintf(key, sizeof(key), "%d", i);
		n += take_all(sessions, key);
	}
	CHECK_EQ(n, SESSIONS_MAX);
	sessions_put(sessions, "a", session);
	sessions_put(sessions, "b", session);
	sessions_forget(sessions, "a");
	CHECK_EQ(take_all(sessions, "a"), 0);
	CHECK_EQ(take_all(sessions, "b"), 1);
	CHECK(!sessions_free(sessions));
	CHECK(!sessions_free(NULL));
	SSL_SESSION_free(session);
}

static void test_stale(void)
{
	SSL_SESSION *session = session_new(&good, TLS1_3_VERSION);
	SSL_SESSION *of_expired = session_new(&expired, TLS1_3_VERSION);
	long now = (long)time(NULL);
	struct sessions *sessions;

	CHECK_EQ(sessions_new(&sessions), 0);
	sessions_put(sessions, "expired", of_expired);
	SSL_SESSION_set_timeout(session, 7L * SESSIONS_AGE_MAX_S);
	SSL_SESSION_set_time(session, now - SESSIONS_AGE_MAX_S + 100);
	sessions_put(sessions, "yet", session);
	SSL_SESSION_set_time(session, now - SESSIONS_AGE_MAX_S);
	sessions_put(sessions, "old", session);
	SSL_SESSION_set_time(session, now + 100);
	sessions_put(sessions, "tomorrow", session);
	SSL_SESSION_set_time(session, now - 100);
	SSL_SESSION_set_timeout(session, 100);
	sessions_put(sessions, "short", session);
	CHECK_EQ(take_all(sessions, "expired"), 0);
	CHECK_EQ(take_all(sessions, "yet"), 1);
	CHECK_EQ(take_all(sessions, "old"), 0);
	CHECK_EQ(take_all(sessions, "tomorrow"), 0);
	CHECK_EQ(take_all(sessions, "short"), 0);
	sessions_free(sessions);
	SSL_SESSION_free(session);
	SSL_SESSION_free(of_expired);
}

/* ---- from the beginning to the end ---- */

static void set_up(void)
{
	struct cert_want want = {.cn = "x", .san = "DNS:good.example,IP:127.0.0.1"};
	struct cert other = cert_new(&want, NULL);

	CHECK(mkdtemp(dir));
	ca = cert_new(&(struct cert_want){.cn = "Test CA", .ca = true}, NULL);
	good = cert_new(&want, &ca);
	want.from_s = -9L * CERT_DAY_S;
	want.to_s = -1000;
	expired = cert_new(&want, &ca);
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", dir);
	snprintf(ca_copy, sizeof(ca_copy), "%s/copy.pem", dir);
	snprintf(cert_file, sizeof(cert_file), "%s/cert.pem", dir);
	snprintf(key_file, sizeof(key_file), "%s/key.pem", dir);
	cert_write(&ca, ca_file, NULL);
	cert_write(&ca, ca_copy, NULL);
	cert_write(&good, cert_file, key_file);
	CHECK_EQ(pin_of(good.x509, good_pin), 0);
	CHECK_EQ(pin_of(other.x509, other_pin), 0);
	cert_free(&other);
}

static void tear_down(void)
{
	char command[64];

	tlscache_clear();
	cert_free(&ca);
	cert_free(&good);
	cert_free(&expired);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);
}

int main(void)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	set_up();
	for (int i = 0; i < 2; i++) {
		test_again(versions[i]);
		test_apart(versions[i]);
		test_wrong_name(versions[i]);
		test_pins(versions[i]);
	}
	test_files();
	test_refused();
	test_bounds();
	test_stale();
	tear_down();
	return 0;
}

/* Both ends of TLS in one thread, over a pair of memory BIOs: every way a server's certificate, its
 * versions, its protocols or our own files can be right or wrong. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certs.h"
#include "check.h"
#include "net/tls.h"
#include "net/tlscause.h"

static char dir[] = "/tmp/test-tls-XXXXXX";
static struct cert ca, other_ca, middle, good, client_cert;
static char ca_file[64], client_file[64], client_key[64];

static const char *in_dir(const char *name)
{
	static char path[8][64];
	static unsigned i;
	char *ret = path[i++ % 8];

	snprintf(ret, sizeof(path[0]), "%s/%s", dir, name);
	return ret;
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	CHECK(file);
	fputs(text, file);
	fclose(file);
}

static void set_up(void)
{
	CHECK(mkdtemp(dir));
	ca = cert_new(&(struct cert_want){.cn = "Test CA", .ca = true}, NULL);
	other_ca = cert_new(&(struct cert_want){.cn = "Other CA", .ca = true}, NULL);
	middle = cert_new(&(struct cert_want){.cn = "Middle CA", .ca = true}, &ca);
	good = cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example,IP:127.0.0.1"},
			&ca);
	client_cert = cert_new(&(struct cert_want){.cn = "client"}, &ca);
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", dir);
	snprintf(client_file, sizeof(client_file), "%s/client.pem", dir);
	snprintf(client_key, sizeof(client_key), "%s/client.key", dir);
	cert_write(&ca, ca_file, NULL);
	cert_write(&client_cert, client_file, client_key);
}

static void tear_down(void)
{
	char command[128];

	cert_free(&ca);
	cert_free(&other_ca);
	cert_free(&middle);
	cert_free(&good);
	cert_free(&client_cert);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);
}

/* ---- a server ---- */

struct server {
	const struct cert *cert, *chain; /* chain: sent behind cert; or NULL */
	int min_version, max_version;
	bool weak; /* the server itself would refuse to use such a certificate */
	bool wants_client;
	const char *alpn; /* what it picks, asked or not; or NULL */
	const char *raw;  /* instead of TLS it says this */
	bool refuses_name;
	bool hangs_up;
};

static int server_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			  const unsigned char *in, unsigned in_len, void *arg)
{
	(void)ssl;
	CHECK(in_len == 9 && memcmp(in, "\x08http/1.1", 9) == 0); /* T01: exactly this */
	*out = (const unsigned char *)arg;
	*out_len = (unsigned char)strlen(arg);
	return SSL_TLSEXT_ERR_OK;
}

static int server_on_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)arg;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL *server_new(const struct server *server)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	SSL *ssl;

	if (server->weak || (server->max_version && server->max_version < TLS1_2_VERSION))
		SSL_CTX_set_security_level(context, 0);
	CHECK(SSL_CTX_use_certificate(context, server->cert->x509) == 1);
	CHECK(SSL_CTX_use_PrivateKey(context, server->cert->key) == 1);
	if (server->chain)
		CHECK(SSL_CTX_add1_chain_cert(context, server->chain->x509) == 1);
	SSL_CTX_set_min_proto_version(context, server->min_version);
	SSL_CTX_set_max_proto_version(context, server->max_version);
	if (server->wants_client)
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	SSL_CTX_load_verify_file(context, ca_file);
	if (server->alpn)
		SSL_CTX_set_alpn_select_cb(context, server_on_alpn, (void *)server->alpn);
	if (server->refuses_name)
		SSL_CTX_set_tlsext_servername_callback(context, server_on_name);
	ssl = SSL_new(context);
	SSL_CTX_free(context);
	SSL_set_accept_state(ssl);
	return ssl;
}

/* One turn of one side; true when it is done or has failed for good. */
static bool step(SSL *ssl, int *ret_result)
{
	int r = SSL_do_handshake(ssl), error = SSL_get_error(ssl, r);

	*ret_result = r;
	return r == 1 || (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE);
}

/* What came of it: 0, or the class of the cause.  Both ends are left open in *ret_client,
 * *ret_server if these are not NULL. */
static int meet(const struct server *server, const struct tls_options *options,
		const char *url_text, struct cause *cause, SSL **ret_client, SSL **ret_server)
{
	const char *problem;
	struct url url;
	SSL_CTX *context;
	SSL *client, *peer;
	BIO *here, *there;
	int r, client_result = 0, peer_result;
	bool client_done = false, peer_done = false;

	*cause = (struct cause){0};
	CHECK_EQ(url_parse(&url, url_text, &problem), 0);
	r = tls_context_new(&context, options, cause);
	CHECK_EQ(r, 0);
	CHECK_EQ(tls_new(&client, context, options, &url), 0);
	CHECK(!tls_context_free(context));
	CHECK(BIO_new_bio_pair(&here, 0, &there, 0) == 1);
	SSL_set_bio(client, here, here);
	peer = server_new(server);
	SSL_set_bio(peer, there, there);
	if (server->raw) {
		BIO_write(there, server->raw, (int)strlen(server->raw));
		peer_done = true;
	}
	if (server->hangs_up) {
		BIO_shutdown_wr(there);
		peer_done = true;
	}
	for (int i = 0; i < 50 && !(client_done && peer_done); i++) {
		ERR_clear_error();
		if (!peer_done)
			peer_done = step(peer, &peer_result);
		ERR_clear_error(); /* the queue is the thread's: the server's errors are not ours */
		if (!client_done)
			client_done = step(client, &client_result);
		if (client_done && client_result != 1 && cause->class == CAUSE_NONE)
			tlscause_set(cause, client);
	}
	CHECK(client_done);
	CHECK_EQ(ERR_peek_error(), 0);
	if (!url.host_is_ip && !options->server_name && client_result == 1)
		CHECK_STR(SSL_get_servername(peer, TLSEXT_NAMETYPE_host_name), url.host);
	if (url.host_is_ip && !options->server_name && client_result == 1)
		CHECK(!SSL_get_servername(peer, TLSEXT_NAMETYPE_host_name));
	url_done(&url);
	if (ret_client) {
		*ret_client = client;
		*ret_server = peer;
	} else {
		SSL_free(client);
		SSL_free(peer);
	}
	return client_result == 1 ? 0 : (int)cause->class;
}

static void expect(const struct server *server, const struct tls_options *options, const char *url,
		   int class, int code, const char *text)
{
	struct cause cause;
	int r = meet(server, options, url, &cause, NULL, NULL);

	if (r != class || (class && (cause.code != code || !strstr(cause.text, text)))) {
		fprintf(stderr, "%s: class %d code %d: %s\n", url, cause.class, cause.code,
			cause.text);
		CHECK_EQ(r, class);
		CHECK_EQ(cause.code, code);
		CHECK_STR(cause.text, text);
	}
}

/* ---- the cases ---- */

static void test_names(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct tls_options named = {.cacert = ca_file, .server_name = "good.example"};
	struct tls_options by_address = {.cacert = ca_file, .server_name = "127.0.0.1"};
	struct tls_options insecure = {.insecure = true};
	struct cert cn = cert_new(&(struct cert_want){.cn = "good.example"}, &ca);
	struct cert wild = cert_new(
		&(struct cert_want){.cn = "x", .san = "DNS:*.good.example,DNS:f*.bad.example"},
		&ca);
	struct cert ip_name = cert_new(&(struct cert_want){.cn = "x", .san = "DNS:127.0.0.1"}, &ca);
	struct cert evil = cert_new(
		&(struct cert_want){.cn = "x", .san = "DNS:a,DNS:b,DNS:c,DNS:d.example"}, &ca);
	struct server server = {.cert = &good};

	expect(&server, &trust, "wss://good.example/", 0, 0, "");
	expect(&server, &trust, "wss://127.0.0.1/", 0, 0, "");
	expect(&server, &named, "wss://elsewhere.example/", 0, 0, "");
	expect(&server, &by_address, "wss://elsewhere.example/", 0, 0, "");
	expect(&server, &insecure, "wss://elsewhere.example/", 0, 0, "");
	expect(&server, &trust, "wss://wrong.example/", CAUSE_TLS, X509_V_ERR_HOSTNAME_MISMATCH,
	       "certificate of wrong.example:443: hostname mismatch: not for wrong.example, it is "
	       "for good.example, 127.0.0.1 (see server-name)");
	expect(&server, &trust, "wss://127.0.0.2/", CAUSE_TLS, X509_V_ERR_IP_ADDRESS_MISMATCH,
	       "certificate of 127.0.0.2:443: address mismatch: not for 127.0.0.2, it is for good");
	server.cert = &cn;
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_HOSTNAME_MISMATCH,
	       "it is for no name at all");
	server.cert = &wild;
	expect(&server, &trust, "wss://one.good.example/", 0, 0, "");
	expect(&server, &trust, "wss://two.one.good.example/", CAUSE_TLS,
	       X509_V_ERR_HOSTNAME_MISMATCH, "*.good.example");
	expect(&server, &trust, "wss://foo.bad.example/", CAUSE_TLS, X509_V_ERR_HOSTNAME_MISMATCH,
	       "f*.bad.example");
	server.cert = &ip_name;
	expect(&server, &trust, "wss://127.0.0.1/", CAUSE_TLS, X509_V_ERR_IP_ADDRESS_MISMATCH,
	       "not for 127.0.0.1, it is for 127.0.0.1");
	server.cert = &evil;
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_HOSTNAME_MISMATCH,
	       "it is for a, b, c, ...");
	cert_free(&cn);
	cert_free(&wild);
	cert_free(&ip_name);
	cert_free(&evil);
}

static void test_dates(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct cert expired = cert_new(&(struct cert_want){.cn = "x",
							   .san = "DNS:good.example",
							   .from_s = -9L * CERT_DAY_S,
							   .to_s = -1000},
				       &ca);
	struct cert early = cert_new(
		&(struct cert_want){
			.cn = "x", .san = "DNS:good.example", .from_s = 1000, .to_s = CERT_DAY_S},
		&ca);
	struct server server = {.cert = &expired};
	char date[64];
	time_t at = time(NULL) - 1000;

	strftime(date, sizeof(date), "good.example:443: it expired on %Y-%m-%d %H:", gmtime(&at));
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_CERT_HAS_EXPIRED,
	       date);
	server.cert = &early;
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_CERT_NOT_YET_VALID,
	       "it is not valid before 20");
	cert_free(&expired);
	cert_free(&early);
}

static void test_chains(void)
{
	struct tls_options trust = {.cacert = ca_file}, system_store = {0};
	struct cert self =
		cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example"}, NULL);
	struct cert leaf =
		cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example"}, &middle);
	struct cert stale = cert_new(
		&(struct cert_want){
			.cn = "Stale CA", .ca = true, .from_s = -9L * CERT_DAY_S, .to_s = -1000},
		&ca);
	struct cert below_stale =
		cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example"}, &stale);
	struct server server = {.cert = &self};

	expect(&server, &trust, "wss://good.example/", CAUSE_TLS,
	       X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
	       "certificate of good.example:443: self-signed certificate (use cacert = FILE");
	server = (struct server){.cert = &leaf, .chain = &middle};
	expect(&server, &trust, "wss://good.example/", 0, 0, "");
	server.chain = NULL;
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS,
	       X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
	       "its issuer \"Middle CA\" is not known here (the server may lack an intermediate");
	server.chain = &middle;
	expect(&server, &system_store, "wss://good.example/", CAUSE_TLS,
	       X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
	       "good.example:443 (at depth 1): its issuer \"Test CA\" is not known here (use cacert");
	server = (struct server){.cert = &good, .chain = &ca};
	expect(&server, &system_store, "wss://good.example/", CAUSE_TLS,
	       X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "self-signed certificate in chain");
	server = (struct server){.cert = &below_stale, .chain = &stale};
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_CERT_HAS_EXPIRED,
	       "good.example:443 (at depth 1): it expired on 20");
	cert_free(&self);
	cert_free(&leaf);
	cert_free(&stale);
	cert_free(&below_stale);
}

static void test_directory(void)
{
	char directory[64], path[128];
	struct tls_options options = {.capath = directory};
	struct server server = {.cert = &good};

	snprintf(directory, sizeof(directory), "%s/hashed", dir);
	CHECK_EQ(mkdir(directory, 0700), 0);
	expect(&server, &options, "wss://good.example/", CAUSE_TLS,
	       X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "good.example:443 (at depth 1): self-signed");
	snprintf(path, sizeof(path), "%s/%08lx.0", directory, X509_subject_name_hash(ca.x509));
	cert_write(&ca, path, NULL);
	expect(&server, &options, "wss://good.example/", 0, 0, "");
}

static void test_weak(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct cert small = cert_new(
		&(struct cert_want){.cn = "x", .san = "DNS:good.example", .rsa_bits = 1024}, &ca);
	struct cert sha1 = cert_new(
		&(struct cert_want){.cn = "x", .san = "DNS:good.example", .digest = EVP_sha1()},
		&ca);
	struct server server = {.cert = &small, .weak = true};

	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_EE_KEY_TOO_SMALL,
	       "its key is too weak: RSA, 1024 bits (the server needs a new certificate)");
	server.cert = &sha1;
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, X509_V_ERR_CA_MD_TOO_WEAK,
	       "its signature is too weak: ecdsa-with-SHA1 (");
	cert_free(&small);
	cert_free(&sha1);
}

static void test_versions(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct tls_options only_1_3 = {.cacert = ca_file, .tls_min = TLS_MIN_1_3};
	struct server server = {.cert = &good, .max_version = TLS1_2_VERSION};

	expect(&server, &trust, "wss://good.example/", 0, 0, "");
	expect(&server, &only_1_3, "wss://good.example/", CAUSE_TLS, 0, "see tls-min)");
	server.max_version = TLS1_1_VERSION;
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, 0, "see tls-min)");
	server = (struct server){.cert = &good, .min_version = TLS1_3_VERSION};
	expect(&server, &only_1_3, "wss://good.example/", 0, 0, "");
}

static void test_protocols(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct server server = {.cert = &good, .alpn = "http/1.1"};

	expect(&server, &trust, "wss://good.example/", 0, 0, "");
	server.alpn = "h2";
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, 0,
	       "TLS with good.example:443: the server picks another protocol instead of http/1.1");
}

static void test_no_tls(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct server server = {.cert = &good, .raw = "HTTP/1.1 400 Bad Request\r\n\r\n"};

	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, 0,
	       "not TLS: the server at good.example:443 answered");
	server.raw = "220 mail.example ESMTP\r\n";
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, 0, "not TLS");
	server = (struct server){.cert = &good, .hangs_up = true};
	expect(&server, &trust, "wss://good.example/", CAUSE_CLOSED, 1006,
	       "good.example:443 hung up in the TLS handshake");
}

static void test_alerts(void)
{
	struct tls_options trust = {.cacert = ca_file};
	struct tls_options ours = {.cacert = ca_file, .cert = client_file, .key = client_key};
	struct server server = {.cert = &good, .refuses_name = true};
	struct cause cause;
	SSL *client, *peer;
	char byte;
	int n;

	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, 0, "alert unrecognized_name");
	server =
		(struct server){.cert = &good, .wants_client = true, .max_version = TLS1_2_VERSION};
	expect(&server, &trust, "wss://good.example/", CAUSE_TLS, 0, "alert handshake_failure (it wants a client certificate, see cert and key)");
	expect(&server, &ours, "wss://good.example/", 0, 0, "");
	/* In TLS 1.3 the handshake is over for us before the server has seen our certificate. */
	server.max_version = 0;
	CHECK_EQ(meet(&server, &trust, "wss://good.example/", &cause, &client, &peer), 0);
	ERR_clear_error();
	n = SSL_read(client, &byte, 1);
	CHECK_EQ(SSL_get_error(client, n), SSL_ERROR_SSL);
	tlscause_set(&cause, client);
	CHECK_EQ(cause.class, CAUSE_TLS);
	CHECK_STR(cause.text,
		  "good.example:443 refused TLS: alert certificate_required (it wants a client "
		  "certificate, see cert and key)");
	CHECK_EQ(ERR_peek_error(), 0);
	SSL_free(client);
	SSL_free(peer);
	expect(&server, &ours, "wss://good.example/", 0, 0, "");
}

/* After the handshake it is the link that broke, not TLS that was refused. */
static void test_broken_later(void)
{
	static const char garbage[] = "\x17\x03\x03\x00\x20"
				      "01234567890123456789012345678901";
	struct tls_options trust = {.cacert = ca_file};
	struct server server = {.cert = &good, .min_version = TLS1_3_VERSION};
	struct cause cause;
	SSL *client, *peer;
	char byte;
	int n;

	CHECK_EQ(meet(&server, &trust, "wss://good.example/", &cause, &client, &peer), 0);
	while (SSL_read(client, &byte, 1) > 0)
		;
	BIO_write(SSL_get_wbio(peer), garbage, sizeof(garbage) - 1);
	ERR_clear_error();
	n = SSL_read(client, &byte, 1);
	CHECK_EQ(SSL_get_error(client, n), SSL_ERROR_SSL);
	tlscause_set(&cause, client);
	CHECK_EQ(cause.class, CAUSE_CLOSED);
	CHECK_EQ(cause.code, 1006);
	CHECK(strstr(cause.text, "bad record mac"));
	SSL_free(client);
	SSL_free(peer);

	CHECK_EQ(meet(&server, &trust, "wss://good.example/", &cause, &client, &peer), 0);
	while (SSL_read(client, &byte, 1) > 0)
		;
	BIO_shutdown_wr(SSL_get_wbio(peer));
	ERR_clear_error();
	n = SSL_read(client, &byte, 1);
	CHECK_EQ(SSL_get_error(client, n), SSL_ERROR_SSL);
	tlscause_set(&cause, client);
	CHECK_EQ(cause.class, CAUSE_CLOSED);
	CHECK(strstr(cause.text, "truncated"));
	SSL_free(client);
	SSL_free(peer);
}

static void refuse(const struct tls_options *options, int result, int class, const char *text)
{
	struct cause cause = {0};
	SSL_CTX *context = NULL;

	CHECK_EQ(tls_context_new(&context, options, &cause), result);
	CHECK(!context);
	if (cause.class != (enum cause_class) class || !strstr(cause.text, text)) {
		CHECK_EQ(cause.class, class);
		CHECK_STR(cause.text, text);
	}
	CHECK_EQ(ERR_peek_error(), 0);
}

static void test_files(void)
{
	char *missing = strdup(in_dir("missing")), *junk = strdup(in_dir("junk"));
	char *other_key = strdup(in_dir("other.key")), *locked = strdup(in_dir("locked.key"));
	char *rsa_key = strdup(in_dir("rsa.key")), *both = strdup(in_dir("both.pem"));
	struct cert rsa = cert_new(&(struct cert_want){.cn = "rsa", .rsa_bits = 2048}, NULL);
	struct cause cause;
	SSL_CTX *context;
	FILE *file;

	write_text(junk, "this is no certificate\n");
	cert_write(&other_ca, NULL, other_key);
	cert_write(&rsa, NULL, rsa_key);
	file = fopen(locked, "w");
	PEM_write_PrivateKey(file, client_cert.key, EVP_aes_128_cbc(), (const unsigned char *)"pw",
			     2, NULL, NULL);
	fclose(file);
	file = fopen(both, "w");
	PEM_write_X509(file, client_cert.x509);
	PEM_write_PrivateKey(file, client_cert.key, NULL, NULL, 0, NULL, NULL);
	fclose(file);

	refuse(&(struct tls_options){.cacert = missing}, -ENOENT, CAUSE_LOCAL,
	       "missing: No such file or directory");
	refuse(&(struct tls_options){.cacert = junk}, -EINVAL, CAUSE_TLS, "junk: ");
	refuse(&(struct tls_options){.capath = missing}, -ENOENT, CAUSE_LOCAL, "capath = ");
	refuse(&(struct tls_options){.capath = junk}, -ENOTDIR, CAUSE_LOCAL, "capath = ");
	refuse(&(struct tls_options){.cert = missing}, -ENOENT, CAUSE_LOCAL, "cert = ");
	refuse(&(struct tls_options){.cert = junk}, -EINVAL, CAUSE_TLS, "cert = ");
	refuse(&(struct tls_options){.key = client_key}, -EINVAL, CAUSE_TLS,
	       "of no use without cert");
	refuse(&(struct tls_options){.cert = client_file, .key = missing}, -ENOENT, CAUSE_LOCAL,
	       "key = ");
	refuse(&(struct tls_options){.cert = client_file, .key = junk}, -EINVAL, CAUSE_TLS,
	       "no private key");
	refuse(&(struct tls_options){.cert = client_file}, -EINVAL, CAUSE_TLS, "no private key");
	refuse(&(struct tls_options){.cert = client_file, .key = other_key}, -EINVAL, CAUSE_TLS,
	       "does not belong to cert = ");
	refuse(&(struct tls_options){.cert = client_file, .key = rsa_key}, -EINVAL, CAUSE_TLS,
	       "does not belong to cert = ");
	refuse(&(struct tls_options){.cert = client_file, .key = locked}, -EINVAL, CAUSE_TLS,
	       "is encrypted, and nobody is there");
	CHECK_EQ(tls_context_new(&context, &(struct tls_options){.cert = both}, &cause), 0);
	tls_context_free(context);
	cert_free(&rsa);
	free(missing);
	free(junk);
	free(other_key);
	free(rsa_key);
	free(locked);
	free(both);
}

/* The queue belongs to the thread: another's error must not become ours. */
static void test_foreign_errors(void)
{
	char *missing = strdup(in_dir("missing"));

	ERR_raise(ERR_LIB_SSL, SSL_R_BAD_RECORD_TYPE);
	refuse(&(struct tls_options){.cacert = missing}, -ENOENT, CAUSE_LOCAL,
	       "missing: No such file or directory");
	free(missing);
}

int main(void)
{
	set_up();
	test_names();
	test_dates();
	test_chains();
	test_directory();
	test_weak();
	test_versions();
	test_protocols();
	test_no_tls();
	test_alerts();
	test_broken_later();
	test_files();
	test_foreign_errors();
	tear_down();
	return 0;
}

/* tls - see the header.
 *
 * OpenSSL verifies nothing unless told to, so everything that makes a certificate count is set in
 * tls_context_new() and tls_new(), and nowhere else.  There is no session cache: a resumed session
 * skips the check of the name (tested), so resumption would need a cache keyed by all these
 * options.
 *
 * The error queue belongs to the thread, not to the SSL: it is emptied before anything that may
 * fill it and after everything that did, or one connection would report another's trouble. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "net/tls.h"

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
	(void)arg;
	return -1;
}

static int tls_key_failed(struct cause *ret_cause, const struct tls_options *options,
			  const char *key)
{
	unsigned long error = ERR_peek_error();

	if (ERR_SYSTEM_ERROR(error))
		return tls_file_failed(ret_cause, "key", key);
	if (ERR_GET_LIB(error) == ERR_LIB_X509 || ERR_GET_LIB(error) == ERR_LIB_SSL)
		cause_set(ret_cause, CAUSE_TLS, 0, "key = %s does not belong to cert = %s", key,
			  options->cert);
	else
		cause_set(ret_cause, CAUSE_TLS, 0,
			  "key = %s: no private key in it (PEM, without a passphrase)", key);
	ERR_clear_error();
	return -EINVAL;
}

static int tls_load_client(SSL_CTX *context, const struct tls_options *options,
			   struct cause *ret_cause)
{
	const char *key = options->key ? options->key : options->cert;

	if (!options->cert) {
		if (!options->key)
			return 0;
		cause_set(ret_cause, CAUSE_TLS, 0, "key = %s is of no use without cert", key);
		return -EINVAL;
	}
	SSL_CTX_set_default_passwd_cb(context, tls_on_passphrase);
	if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
		return tls_file_failed(ret_cause, "cert", options->cert);
	if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1)
		return tls_key_failed(ret_cause, options, key);
	ERR_clear_error();
	return 0;
}

/* Keeps the depth of the refusal, which the SSL itself forgets.  Its "app data" is ours to use; a
 * number, so there is nothing to free; zero: nothing was refused. */
static int tls_on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

	if (!ok && ssl)
		SSL_set_app_data(ssl,
				 (void *)((intptr_t)X509_STORE_CTX_get_error_depth(store) + 1));
	return ok;
}

/* One protocol is offered, and since 3.0.15 OpenSSL itself refuses a server that picks another. */
static bool tls_context_set(SSL_CTX *context, const struct tls_options *options)
{
	static const unsigned char alpn[] = "\x08http/1.1";
	int version = options->tls_min == TLS_MIN_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(context, options->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
			   tls_on_verify);
	return SSL_CTX_set_min_proto_version(context, version) == 1 &&
	       SSL_CTX_set_alpn_protos(context, alpn, sizeof(alpn) - 1) == 0;
}

int tls_context_new(SSL_CTX **ret, const struct tls_options *options, struct cause *ret_cause)
{
	SSL_CTX *context;
	int r = 0;

	ERR_clear_error();
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

int tls_new(SSL **ret, SSL_CTX *context, const struct tls_options *options, const struct url *url)
{
	const char *name = options->server_name ? options->server_name : url->host;
	SSL *ssl;
	bool ok;

	ERR_clear_error();
	ssl = SSL_new(context);
	if (!ssl) {
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_set_connect_state(ssl);
	if (tls_name_is_address(name))
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	else
		ok = tls_expect_name(ssl, name);
	ERR_clear_error();
	if (!ok) {
		SSL_free(ssl);
		return -EINVAL;
	}
	*ret = ssl;
	return 0;
}

/* ---- what went wrong ---- */

static void tls_format_time(const ASN1_TIME *time, char *ret, size_t size)
{
	struct tm tm;

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1 ||
	    strftime(ret, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(ret, size, "a date that cannot be read");
}

/* "a.example, b.example, ...": whom the certificate is for.  The bytes are the server's; whoever
 * makes a cause of them cleans them. */
static void tls_format_names(X509 *cert, char *ret, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;
	int shown = 0;

	ret[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && used < size; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_IA5STRING *dns = name->type == GEN_DNS ? name->d.dNSName : NULL;

		if (!dns)
			continue;
		if (shown++ == 3) {
			snprintf(ret + used, size - used, ", ...");
			break;
		}
		used += (size_t)snprintf(ret + used, size - used, "%s%.*s", shown > 1 ? ", " : "",
					 dns->length < 64 ? dns->length : 64,
					 (const char *)dns->data);
	}
	GENERAL_NAMES_free(names);
	if (!shown)
		snprintf(ret, size, "no name at all");
}

static void tls_format_issuer(X509 *cert, char *ret, size_t size)
{
	const X509_NAME *issuer = X509_get_issuer_name(cert);

	if (X509_NAME_get_text_by_NID(issuer, NID_commonName, ret, (int)size) < 0 &&
	    X509_NAME_get_text_by_NID(issuer, NID_organizationName, ret, (int)size) < 0)
		snprintf(ret, size, "without a name");
}

/* Reason and next step for the refusals that people meet; OpenSSL's words for the others. */
static void tls_format_refusal(int code, int depth, X509 *cert, char *ret, size_t size)
{
	char detail[128];

	switch (cert ? code : X509_V_OK) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		tls_format_time(X509_get0_notAfter(cert), detail, sizeof(detail));
		snprintf(ret, size, "it expired on %s (or the clock here is wrong)", detail);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		tls_format_time(X509_get0_notBefore(cert), detail, sizeof(detail));
		snprintf(ret, size, "it is not valid before %s (or the clock here is wrong)",
			 detail);
		return;
	case X509_V_ERR_HOSTNAME_MISMATCH:
		tls_format_names(cert, detail, sizeof(detail));
		snprintf(ret, size, "hostname mismatch, it is for %s (see server-name)", detail);
		return;
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		snprintf(ret, size, "it is not for this address (see server-name)");
		return;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		snprintf(ret, size, "self-signed certificate (use cacert = FILE to trust it)");
		return;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		snprintf(ret, size,
			 "self-signed certificate in chain (use cacert = FILE to trust it)");
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		tls_format_issuer(cert, detail, sizeof(detail));
		snprintf(ret, size, "its issuer \"%s\" is not known here (%suse cacert = FILE)",
			 detail,
			 depth == 0 ? "the server may lack an intermediate certificate, or " : "");
		return;
	default:
		snprintf(ret, size, "%s", X509_verify_cert_error_string(code));
	}
}

static const char *tls_expected_name(SSL *ssl, char **ret_owned)
{
	const char *name = SSL_get0_peername(ssl);

	if (!name)
		name = X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 0);
	if (!name)
		name = *ret_owned = X509_VERIFY_PARAM_get1_ip_asc(SSL_get0_param(ssl));
	return name ? name : "the server";
}

static void tls_cause_refused(struct cause *ret, SSL *ssl, int code)
{
	int depth = (int)(intptr_t)SSL_get_app_data(ssl) - 1;
	X509 *cert = depth >= 0 ? sk_X509_value(SSL_get0_verified_chain(ssl), depth) : NULL;
	char *owned = NULL, at[32] = "", reason[224];
	const char *name = tls_expected_name(ssl, &owned);

	if (depth > 0)
		snprintf(at, sizeof(at), " (at depth %d)", depth);
	tls_format_refusal(code, depth, cert, reason, sizeof(reason));
	cause_set(ret, CAUSE_TLS, code, "certificate of %s%s: %s", name, at, reason);
	OPENSSL_free(owned);
}

/* RFC 8446 6, RFC 5246 7.2: the names, because OpenSSL 3.0 knows half of them. */
static const struct tls_alert {
	int number;
	const char *name;
	const char *hint; /* those with one will not go away by trying again */
} tls_alerts[] = {
	{10, "unexpected_message", NULL},
	{20, "bad_record_mac", NULL},
	{22, "record_overflow", NULL},
	{40, "handshake_failure", NULL},
	{42, "bad_certificate", " (see cert and key)"},
	{43, "unsupported_certificate", " (see cert and key)"},
	{44, "certificate_revoked", " (see cert and key)"},
	{45, "certificate_expired", " (see cert and key)"},
	{46, "certificate_unknown", " (see cert and key)"},
	{47, "illegal_parameter", NULL},
	{48, "unknown_ca", " (see cert and key)"},
	{49, "access_denied", " (see cert and key)"},
	{50, "decode_error", NULL},
	{51, "decrypt_error", NULL},
	{70, "protocol_version", " (see tls-min)"},
	{71, "insufficient_security", NULL},
	{80, "internal_error", NULL},
	{86, "inappropriate_fallback", NULL},
	{90, "user_canceled", NULL},
	{100, "no_renegotiation", NULL},
	{109, "missing_extension", NULL},
	{110, "unsupported_extension", NULL},
	{112, "unrecognized_name", " (see server-name)"},
	{113, "bad_certificate_status_response", NULL},
	{115, "unknown_psk_identity", NULL},
	{116, "certificate_required", " (see cert and key)"},
	{120, "no_application_protocol", " (it does not offer http/1.1)"},
};

static void tls_cause_alert(struct cause *ret, int number, bool established)
{
	const struct tls_alert *alert = NULL;
	char text[32];

	for (size_t i = 0; i < sizeof(tls_alerts) / sizeof(tls_alerts[0]) && !alert; i++) {
		if (tls_alerts[i].number == number)
			alert = &tls_alerts[i];
	}
	snprintf(text, sizeof(text), "number %d", number);
	/* TLS 1.3 refuses our certificate after the handshake has ended for us. */
	if (established && !(alert && alert->hint))
		cause_set(ret, CAUSE_CLOSED, 1006, "the server broke TLS off: alert %s",
			  alert ? alert->name : text);
	else
		cause_set(ret, CAUSE_TLS, 0, "the server refused TLS: alert %s%s",
			  alert ? alert->name : text, alert && alert->hint ? alert->hint : "");
}

static void tls_cause_reason(struct cause *ret, unsigned long error, bool established)
{
	const char *text = ERR_reason_error_string(error);

	switch (ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0) {
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		cause_set(ret, CAUSE_CLOSED, 1006, "%s",
			  established ? "truncated: the server ended the stream without ending TLS"
				      : "the server hung up in the TLS handshake");
		return;
	case SSL_R_WRONG_VERSION_NUMBER:
		if (established)
			break;
		cause_set(ret, CAUSE_TLS, 0,
			  "not TLS: the server answered in plain text (use ws:// or another port)");
		return;
	case SSL_R_UNSUPPORTED_PROTOCOL:
		cause_set(ret, CAUSE_TLS, 0,
			  "the server has no version of TLS that is allowed here (see tls-min)");
		return;
	default:
		break;
	}
	if (established)
		cause_set(ret, CAUSE_CLOSED, 1006, "TLS broke: %s", text ? text : "unknown error");
	else
		cause_set(ret, CAUSE_TLS, 0, "TLS handshake: %s", text ? text : "unknown error");
}

/* SSL_is_init_finished() is false again after an error; the state of the handshake itself stays. */
void tls_cause(struct cause *ret, SSL *ssl)
{
	bool established = SSL_get_state(ssl) == TLS_ST_OK;
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
	long refused = SSL_get_verify_result(ssl);

	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && refused != X509_V_OK)
		tls_cause_refused(ret, ssl, (int)refused);
	else if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
		tls_cause_alert(ret, reason - SSL_AD_REASON_OFFSET, established);
	else
		tls_cause_reason(ret, error, established);
	ERR_clear_error();
}

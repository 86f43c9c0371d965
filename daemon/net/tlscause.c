/* tlscause - see the header.
 *
 * The error queue belongs to the thread, not to the SSL: it is emptied after it was read, or one
 * connection would report another's trouble. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/tls.h"
#include "net/tlscause.h"
#include "net/tlspeer.h"

enum {
	NAMES_SHOWN = 3, /* of a certificate */
	NAME_CHARS = 40, /* of each */
};

/* ---- a certificate that was refused ---- */

struct refusal {
	int code, depth;
	X509 *cert; /* NULL: there is none */
	const char *expected;
};

static void tlscause_format_time(const ASN1_TIME *time, char *ret, size_t size)
{
	struct tm tm;

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1 ||
	    strftime(ret, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(ret, size, "a date that cannot be read");
}

static void tlscause_format_name(const GENERAL_NAME *name, char *ret, size_t size)
{
	const ASN1_STRING *text = name->type == GEN_DNS ? name->d.dNSName : name->d.iPAddress;
	int len = ASN1_STRING_length(text);
	const unsigned char *bytes = ASN1_STRING_get0_data(text);

	if (name->type == GEN_DNS)
		snprintf(ret, size, "%.*s", len < NAME_CHARS ? len : NAME_CHARS,
			 (const char *)bytes);
	else if ((len != 4 && len != 16) ||
		 !inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, ret, (socklen_t)size))
		snprintf(ret, size, "a bad address");
}

/* "a.example, b.example, ...": whom the certificate is for.  The bytes are the server's; whoever
 * makes a cause of them cleans them. */
static void tlscause_format_names(X509 *cert, char *ret, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char text[INET6_ADDRSTRLEN + 1];
	size_t used = 0;
	int shown = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && used < size; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS && name->type != GEN_IPADD)
			continue;
		if (shown++ == NAMES_SHOWN) {
			snprintf(ret + used, size - used, ", ...");
			break;
		}
		tlscause_format_name(name, text, sizeof(text));
		used += (size_t)snprintf(ret + used, size - used, "%s%s", shown > 1 ? ", " : "",
					 text);
	}
	GENERAL_NAMES_free(names);
	if (!shown)
		snprintf(ret, size, "no name at all (a common name does not count)");
}

static void tlscause_format_issuer(X509 *cert, char *ret, size_t size)
{
	const X509_NAME *issuer = X509_get_issuer_name(cert);

	if (X509_NAME_get_text_by_NID(issuer, NID_commonName, ret, (int)size) < 0 &&
	    X509_NAME_get_text_by_NID(issuer, NID_organizationName, ret, (int)size) < 0)
		snprintf(ret, size, "without a name");
}

static void tlscause_say_expired(const struct refusal *refusal, char *ret, size_t size)
{
	char date[64];

	tlscause_format_time(X509_get0_notAfter(refusal->cert), date, sizeof(date));
	snprintf(ret, size, "it expired on %s (or the clock here is wrong)", date);
}

static void tlscause_say_early(const struct refusal *refusal, char *ret, size_t size)
{
	char date[64];

	tlscause_format_time(X509_get0_notBefore(refusal->cert), date, sizeof(date));
	snprintf(ret, size, "it is not valid before %s (or the clock here is wrong)", date);
}

static void tlscause_say_name(const struct refusal *refusal, char *ret, size_t size)
{
	char names[128];

	tlscause_format_names(refusal->cert, names, sizeof(names));
	snprintf(ret, size, "%s mismatch: not for %.48s, it is for %s (see server-name)",
		 refusal->code == X509_V_ERR_IP_ADDRESS_MISMATCH ? "address" : "hostname",
		 refusal->expected, names);
}

static void tlscause_say_self(const struct refusal *refusal, char *ret, size_t size)
{
	snprintf(ret, size, "self-signed certificate%s (use cacert = FILE to trust it)",
		 refusal->depth > 0 ? " in chain" : "");
}

static void tlscause_say_issuer(const struct refusal *refusal, char *ret, size_t size)
{
	char issuer[96];

	tlscause_format_issuer(refusal->cert, issuer, sizeof(issuer));
	snprintf(ret, size, "its issuer \"%s\" is not known here (%suse cacert = FILE)", issuer,
		 refusal->depth == 0 ? "the server may lack an intermediate certificate, or " : "");
}

static void tlscause_say_weak_key(const struct refusal *refusal, char *ret, size_t size)
{
	EVP_PKEY *key = X509_get0_pubkey(refusal->cert);

	snprintf(ret, size, "its key is too weak: %s, %d bits (the server needs a new certificate)",
		 key && EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown",
		 key ? EVP_PKEY_get_bits(key) : 0);
}

static void tlscause_say_weak_digest(const struct refusal *refusal, char *ret, size_t size)
{
	snprintf(ret, size, "its signature is too weak: %s (the server needs a new certificate)",
		 OBJ_nid2ln(X509_get_signature_nid(refusal->cert)));
}

static void tlscause_say_purpose(const struct refusal *refusal, char *ret, size_t size)
{
	snprintf(ret, size, "%s (the server needs another certificate)",
		 refusal->depth > 0 ? "it may not be used to issue certificates"
				    : "it may not be used by a server");
}

/* Reason and next step for the refusals that people meet; OpenSSL's words for the others. */
static const struct {
	int code;
	void (*say)(const struct refusal *refusal, char *ret, size_t size);
} refusals[] = {
	{X509_V_ERR_CERT_HAS_EXPIRED, tlscause_say_expired},
	{X509_V_ERR_CERT_NOT_YET_VALID, tlscause_say_early},
	{X509_V_ERR_HOSTNAME_MISMATCH, tlscause_say_name},
	{X509_V_ERR_IP_ADDRESS_MISMATCH, tlscause_say_name},
	{X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, tlscause_say_self},
	{X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, tlscause_say_self},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, tlscause_say_issuer},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, tlscause_say_issuer},
	{X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, tlscause_say_issuer},
	{X509_V_ERR_EE_KEY_TOO_SMALL, tlscause_say_weak_key},
	{X509_V_ERR_CA_KEY_TOO_SMALL, tlscause_say_weak_key},
	{X509_V_ERR_CA_MD_TOO_WEAK, tlscause_say_weak_digest},
	{X509_V_ERR_INVALID_PURPOSE, tlscause_say_purpose},
	{X509_V_ERR_INVALID_CA, tlscause_say_purpose},
};

static void tlscause_format_refusal(const struct refusal *refusal, char *ret, size_t size)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (refusals[i].code == refusal->code && refusal->cert) {
			refusals[i].say(refusal, ret, size);
			return;
		}
	}
	snprintf(ret, size, "%s", X509_verify_cert_error_string(refusal->code));
}

static void tlscause_set_refused(struct cause *ret, SSL *ssl, int code)
{
	const struct tlspeer *peer = tlspeer_of(ssl);
	char *address = X509_VERIFY_PARAM_get1_ip_asc(SSL_get0_param(ssl)), at[32] = "",
	     reason[256];
	const char *name = X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 0);
	struct refusal refusal = {
		.code = code,
		.depth = peer ? peer->refused_depth : 0,
		.cert = peer ? peer->refused : NULL,
		.expected = name      ? name
			    : address ? address
				      : "this server",
	};

	if (refusal.depth > 0)
		snprintf(at, sizeof(at), " (at depth %d)", refusal.depth);
	tlscause_format_refusal(&refusal, reason, sizeof(reason));
	cause_set(ret, CAUSE_TLS, code, "certificate of %s%s: %s", tlspeer_name(ssl), at, reason);
	OPENSSL_free(address);
}

void tlscause_set_pin(struct cause *ret, const SSL *ssl)
{
	cause_set(ret, CAUSE_TLS, X509_V_ERR_APPLICATION_VERIFICATION,
		  "the public key of %s is %s, which is not in pin (if the server was meant to "
		  "have a "
		  "new one, put that there)",
		  tlspeer_name(ssl), tlspeer_of(ssl)->pin);
}

void tlscause_set_protocol(struct cause *ret, const SSL *ssl)
{
	const unsigned char *name = NULL;
	unsigned len = 0;

	SSL_get0_alpn_selected(ssl, &name, &len);
	cause_set(ret, CAUSE_TLS, 0,
		  "TLS with %s: the server picks %s%.*s instead of http/1.1 (ALPN), and WebSocket "
		  "needs "
		  "that; use another port",
		  tlspeer_name(ssl), len ? "" : "another protocol", (int)(len < 32 ? len : 32),
		  len ? (const char *)name : "");
}

/* ---- alerts ---- */

/* RFC 8446 6, RFC 5246 7.2: the names, because OpenSSL 3.0 knows half of them. */
static const struct tls_alert {
	int number;
	bool ours; /* it may be about our certificate */
	const char *name;
	const char *hint; /* those with one will not go away by trying again */
} tls_alerts[] = {
	{10, false, "unexpected_message", NULL},
	{20, false, "bad_record_mac", NULL},
	{22, false, "record_overflow", NULL},
	{40, true, "handshake_failure", " (no cipher in common, or it wants a certificate)"},
	{42, true, "bad_certificate", " (see cert and key)"},
	{43, true, "unsupported_certificate", " (see cert and key)"},
	{44, true, "certificate_revoked", " (see cert and key)"},
	{45, true, "certificate_expired", " (see cert and key)"},
	{46, true, "certificate_unknown", " (see cert and key)"},
	{47, false, "illegal_parameter", NULL},
	{48, true, "unknown_ca", " (see cert and key)"},
	{49, true, "access_denied", " (see cert and key)"},
	{50, false, "decode_error", NULL},
	{51, false, "decrypt_error", NULL},
	{70, false, "protocol_version", " (it has no version that is allowed here, see tls-min)"},
	{71, false, "insufficient_security", " (no cipher in common)"},
	{80, false, "internal_error", NULL},
	{86, false, "inappropriate_fallback", NULL},
	{90, false, "user_canceled", NULL},
	{100, false, "no_renegotiation", NULL},
	{109, false, "missing_extension", NULL},
	{110, false, "unsupported_extension", NULL},
	{112, false, "unrecognized_name", " (see server-name)"},
	{113, false, "bad_certificate_status_response", NULL},
	{115, false, "unknown_psk_identity", NULL},
	{116, true, "certificate_required", " (see cert and key)"},
	{120, false, "no_application_protocol", " (it does not offer http/1.1)"},
};

static const char *tlscause_hint(const SSL *ssl, const struct tls_alert *alert)
{
	const struct tlspeer *peer = tlspeer_of(ssl);

	if (!alert || !alert->hint)
		return "";
	if (!alert->ours || !peer || !peer->wants_certificate)
		return alert->hint;
	return SSL_get_certificate(ssl) ? " (it refuses our certificate, see cert and key)"
					: " (it wants a client certificate, see cert and key)";
}

static void tlscause_set_alert(struct cause *ret, const SSL *ssl, int number, bool established)
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
		cause_set(ret, CAUSE_CLOSED, 1006, "%s broke TLS off: alert %s", tlspeer_name(ssl),
			  alert ? alert->name : text);
	else
		cause_set(ret, CAUSE_TLS, 0, "%s refused TLS: alert %s%s", tlspeer_name(ssl),
			  alert ? alert->name : text, tlscause_hint(ssl, alert));
}

/* ---- all else ---- */

const char *tlscause_hang_up_hint(const SSL *ssl)
{
	const struct tlspeer *peer = tlspeer_of(ssl);

	if (!peer || !peer->wants_certificate)
		return "does it speak TLS on this port, and a version that tls-min allows?";
	return SSL_get_certificate(ssl) ? "perhaps it refuses our certificate, see cert and key"
					: "it wants a client certificate, see cert and key";
}

static void tlscause_set_eof(struct cause *ret, const SSL *ssl, bool established)
{
	if (established)
		cause_set(ret, CAUSE_CLOSED, 1006,
			  "truncated: the server ended the stream without ending TLS");
	else
		cause_set(ret, CAUSE_CLOSED, 1006, "%s hung up in the TLS handshake (%s)",
			  tlspeer_name(ssl), tlscause_hang_up_hint(ssl));
}

static void tlscause_set_version(struct cause *ret, const SSL *ssl)
{
	cause_set(ret, CAUSE_TLS, 0,
		  "TLS with %s: the server has no version of TLS that is allowed here, %s or newer "
		  "(see "
		  "tls-min)",
		  tlspeer_name(ssl),
		  SSL_get_min_proto_version((SSL *)ssl) == TLS1_3_VERSION ? "1.3" : "1.2");
}

static void tlscause_set_reason(struct cause *ret, const SSL *ssl, unsigned long error,
				bool established)
{
	const char *text = ERR_reason_error_string(error);
	int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;

	if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		tlscause_set_eof(ret, ssl, established);
	else if (established)
		cause_set(ret, CAUSE_CLOSED, 1006, "TLS broke: %s", text ? text : "unknown error");
	else if (reason == SSL_R_WRONG_VERSION_NUMBER)
		cause_set(ret, CAUSE_TLS, 0,
			  "not TLS: the server at %s answered in plain text (use ws:// or another "
			  "port)",
			  tlspeer_name(ssl));
	else if (reason == SSL_R_UNSUPPORTED_PROTOCOL)
		tlscause_set_version(ret, ssl);
	else /* its own trouble, mostly want of memory of which it has not told: not the server's */
		cause_set(ret, reason == ERR_R_INTERNAL_ERROR ? CAUSE_LOCAL : CAUSE_TLS, 0,
			  "TLS handshake with %s: %s", tlspeer_name(ssl),
			  text ? text : "unknown error");
}

/* Since 3.0.15 OpenSSL refuses such an answer itself, and says only "bad extension". */
static bool tlscause_is_protocol(void)
{
	const char *function = NULL;
	unsigned long error = ERR_peek_error_all(NULL, NULL, &function, NULL, NULL);

	return ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_BAD_EXTENSION &&
	       function && strcmp(function, "tls_parse_stoc_alpn") == 0;
}

/* Anywhere in the queue, which is emptied: OpenSSL often calls it something else further up, as if the
 * server's certificate were at fault. */
static bool tlscause_take_no_memory(void)
{
	unsigned long error;
	bool found = false;

	while ((error = ERR_get_error()) != 0)
		found = found || ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
	return found;
}

/* SSL_is_init_finished() is false again after an error; the state of the handshake itself stays. */
void tlscause_set(struct cause *ret, SSL *ssl)
{
	const struct tlspeer *peer = tlspeer_of(ssl);
	bool established = SSL_get_state(ssl) == TLS_ST_OK;
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
	long refused = SSL_get_verify_result(ssl);
	bool protocol = tlscause_is_protocol();

	if (tlscause_take_no_memory() || refused == X509_V_ERR_OUT_OF_MEM)
		cause_set(ret, CAUSE_LOCAL, ENOMEM, "TLS: %s", strerror(ENOMEM));
	else if (peer && *peer->pin)
		tlscause_set_pin(ret, ssl);
	else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && refused != X509_V_OK)
		tlscause_set_refused(ret, ssl, (int)refused);
	else if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
		tlscause_set_alert(ret, ssl, reason - SSL_AD_REASON_OFFSET, established);
	else if (protocol)
		tlscause_set_protocol(ret, ssl);
	else
		tlscause_set_reason(ret, ssl, error, established);
}

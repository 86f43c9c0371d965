/* certs - certificates made on the spot, with whatever is wrong with them that a test needs. */
#ifndef UNIT_CERTS_H
#define UNIT_CERTS_H

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "check.h"

struct cert {
	X509 *x509;
	EVP_PKEY *key;
};

struct cert_want {
	const char *cn;
	const char *san;   /* "DNS:a.example,IP:127.0.0.1"; or NULL */
	long from_s, to_s; /* relative to now; both 0: from yesterday until tomorrow */
	bool ca;
	int rsa_bits;         /* 0: P-256 */
	const EVP_MD *digest; /* NULL: SHA-256 */
};

enum { CERT_DAY_S = 24 * 3600 };

static inline void cert_extend(X509 *x509, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	CHECK(extension);
	CHECK(X509_add_ext(x509, extension, -1));
	X509_EXTENSION_free(extension);
}

/* ISSUER NULL: it signs itself. */
static inline struct cert cert_new(const struct cert_want *want, const struct cert *issuer)
{
	static long serial;
	struct cert cert;
	X509_NAME *name;
	bool dated = want->from_s || want->to_s;

	cert.key = want->rsa_bits ? EVP_RSA_gen((unsigned)want->rsa_bits) : EVP_EC_gen("P-256");
	cert.x509 = X509_new();
	CHECK(cert.key && cert.x509);
	X509_set_version(cert.x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert.x509), ++serial + getpid() * 1000L);
	X509_gmtime_adj(X509_getm_notBefore(cert.x509), dated ? want->from_s : -CERT_DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(cert.x509), dated ? want->to_s : CERT_DAY_S);
	X509_set_pubkey(cert.x509, cert.key);
	name = X509_get_subject_name(cert.x509);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)want->cn, -1,
				   -1, 0);
	X509_set_issuer_name(cert.x509, issuer ? X509_get_subject_name(issuer->x509) : name);
	if (want->ca)
		cert_extend(cert.x509, issuer ? issuer->x509 : cert.x509, NID_basic_constraints,
			    "critical,CA:TRUE");
	if (want->san)
		cert_extend(cert.x509, issuer ? issuer->x509 : cert.x509, NID_subject_alt_name,
			    want->san);
	CHECK(X509_sign(cert.x509, issuer ? issuer->key : cert.key,
			want->digest ? want->digest : EVP_sha256()) > 0);
	return cert;
}

static inline void cert_free(struct cert *cert)
{
	X509_free(cert->x509);
	EVP_PKEY_free(cert->key);
}

static inline void cert_write(const struct cert *cert, const char *cert_path, const char *key_path)
{
	FILE *file;

	if (cert_path) {
		file = fopen(cert_path, "w");
		CHECK(file && PEM_write_X509(file, cert->x509) == 1);
		fclose(file);
	}
	if (key_path) {
		file = fopen(key_path, "w");
		CHECK(file &&
		      PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL) == 1);
		fclose(file);
	}
}

#endif

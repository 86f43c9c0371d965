/* assembly - see the header.  Here is what takes more than one piece, or must be inflated. */
#include <errno.h>

#include "codec/deflate.h"
#include "net/assembly.h"
#include "net/closecode.h"
#include "net/ws.h"

enum {
	ASSEMBLY_BELIEVE_BYTES =
		1024 * 1024,             /* of an announced length: so much is allocated at once */
	ASSEMBLY_KEEP_BYTES = 64 * 1024, /* a larger buffer is given back at once */
};

void assembly_init(struct assembly *assembly, uint64_t max_message_bytes)
{
	*assembly = (struct assembly){.kind = 0};
	buf_init(&assembly->bytes,
		 max_message_bytes < SIZE_MAX / 2 ? (size_t)max_message_bytes : SIZE_MAX / 2);
}

void assembly_done(struct assembly *assembly)
{
	assembly->inflater = inflater_free(assembly->inflater);
	buf_done(&assembly->bytes);
}

int assembly_inflate(struct assembly *assembly, const struct deflate_terms *terms)
{
	return inflater_new(&assembly->inflater, terms);
}

static void refuse(struct assembly *assembly, uint16_t code, const char *problem,
		   const char *detail)
{
	assembly->refused = code;
	assembly->problem = problem;
	assembly->detail = detail;
}

static int refuse_bytes(struct assembly *assembly, uint16_t code, const char *problem,
			const char *detail)
{
	refuse(assembly, code, problem, detail);
	return ASSEMBLY_REFUSED;
}

static int refuse_text(struct assembly *assembly)
{
	return refuse_bytes(assembly, CLOSECODE_INVALID, "sent text that is not UTF-8", "");
}

static bool refuse_frame(struct assembly *assembly, uint16_t code, const char *problem)
{
	refuse(assembly, code, problem, "");
	return false;
}

/* Make room for what will not come in one chunk, but do not believe everything.  Without memory it
 * is when the bytes come that this is told. */
static void expect(struct assembly *assembly, uint64_t len)
{
	uint8_t *tail;

	if (len > ASSEMBLY_CHUNK_BYTES)
		buf_reserve(&assembly->bytes,
			    len < ASSEMBLY_BELIEVE_BYTES ? (size_t)len : ASSEMBLY_BELIEVE_BYTES,
			    &tail);
}

bool assembly_judge(struct assembly *assembly, uint8_t opcode, bool compressed,
		    uint64_t payload_bytes)
{
	if (opcode == 0) {
		if (!assembly->kind)
			return refuse_frame(assembly, CLOSECODE_PROTOCOL,
					    "continued a message that it had not begun");
		if (compressed)
			return refuse_frame(assembly, CLOSECODE_PROTOCOL,
					    "set reserved bits in a frame");
		if (++assembly->fragments > WS_FRAGMENTS_MAX)
			return refuse_frame(assembly, CLOSECODE_POLICY,
					    "cut a message into too many fragments");
	} else {
		if (assembly->kind)
			return refuse_frame(assembly, CLOSECODE_PROTOCOL,
					    "began a message inside of another");
		assembly->kind = opcode; /* enum msg_kind has the same values */
		assembly->compressed = compressed;
		assembly->fragments = 1;
	}
	if (assembly->compressed) /* how much it will be is seen when it is inflated */
		return true;
	if (payload_bytes > buf_room(&assembly->bytes))
		return refuse_frame(assembly, CLOSECODE_TOO_BIG, "sent a message that is too long");
	expect(assembly, payload_bytes);
	return true;
}

static int add_plain(struct assembly *assembly, const uint8_t *data, size_t len, bool last)
{
	if (assembly->kind == MSG_TEXT &&
	    (!utf8_feed(&assembly->utf8, data, len) || (last && !utf8_complete(&assembly->utf8))))
		return refuse_text(assembly);
	/* Grows with what has come, whatever length was announced. */
	return buf_append(&assembly->bytes, data, len);
}

/* What stands behind HAD is new. */
static bool is_text_so_far(struct assembly *assembly, size_t had, bool last)
{
	const uint8_t *bytes = buf_head(&assembly->bytes);
	size_t len = buf_len(&assembly->bytes);

	if (len == 0)
		return true;
	if (last && had == 0)
		return utf8_valid(bytes, len);
	return utf8_feed(&assembly->utf8, bytes + had, len - had) &&
	       (!last || utf8_complete(&assembly->utf8));
}

static int add_compressed(struct assembly *assembly, const uint8_t *data, size_t len, bool last)
{
	const char *detail = "";
	size_t had = buf_len(&assembly->bytes);
	int r = inflater_feed(assembly->inflater, data, len, last, &assembly->bytes, &detail);

	assembly->inflated += buf_len(&assembly->bytes) - had;
	if (r == -ENOBUFS)
		return refuse_bytes(assembly, CLOSECODE_TOO_BIG, "sent a message that is too long",
				    "");
	if (r == -EPROTO)
		return refuse_bytes(assembly, CLOSECODE_INVALID,
				    "sent a compressed message that is broken", detail);
	if (r == 0 && assembly->kind == MSG_TEXT && !is_text_so_far(assembly, had, last))
		return refuse_text(assembly);
	return r;
}

int assembly_add(struct assembly *assembly, const uint8_t *data, size_t len, bool last,
		 struct msg *ret)
{
	int r = assembly->compressed ? add_compressed(assembly, data, len, last)
				     : add_plain(assembly, data, len, last);

	if (r != 0)
		return r;
	if (!last)
		return ASSEMBLY_MORE;
	ret->kind = assembly->kind;
	ret->data = buf_head(&assembly->bytes);
	ret->len = buf_len(&assembly->bytes);
	assembly->kind = 0;
	return ASSEMBLY_WHOLE;
}

void assembly_forget(struct assembly *assembly)
{
	buf_clear(&assembly->bytes);
	if (assembly->bytes.size > ASSEMBLY_KEEP_BYTES)
		buf_done(&assembly->bytes);
}

void assembly_rest(struct assembly *assembly)
{
	if (assembly->kind)
		return;
	buf_trim(&assembly->bytes);
	if (assembly->inflater)
		inflater_rest(assembly->inflater);
}

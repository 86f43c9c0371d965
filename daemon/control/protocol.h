/* protocol - what client and daemon say to each other on the control socket; the client includes it.
 *
 * The client connects to RUNTIME/control and sends one JSON object on one line:
 *
 *	{"version":1,"verb":"recv","name":"ticker",...}
 *
 * The daemon answers with one line, {"ok":true,...} or
 *
 *	{"ok":false,"exit":4,"error":"no-such-connection","message":"there is no connection 'x' ..."}
 *
 * and closes, unless the verb is a stream or waits.  With the "ok" line of a stream verb (send, recv,
 * cat) comes one descriptor (SCM_RIGHTS): a Unix stream socket on which records go in the framing that
 * was asked for.  The control connection stays, for lines of events about that stream:
 *
 *	{"event":"missed","messages":12,"bytes":900}     the reader was too slow
 *	{"event":"rejected","message":"..."}             a record could not be sent
 *	{"event":"state","state":"waiting","message":"..."}
 *	{"event":"end","exit":0,"message":"...","close_code":1000}    always the last
 *
 * So standard output is copied from a descriptor that carries messages alone, and what must be told
 * beside them has its own way.  When the client closes the control connection, all that belongs to the
 * request ends: the stream, and a connection that was opened for it. */
#ifndef CONTROL_PROTOCOL_H
#define CONTROL_PROTOCOL_H

enum {
	PROTOCOL_VERSION = 1,
	PROTOCOL_LINE_MAX = 1024 * 1024, /* bytes of a request; answers are bounded by what there is */
};

/* Exit statuses of wspipe(1), and the "exit" of answers. */
enum protocol_exit {
	EXIT_DONE = 0,
	EXIT_PEER = 1,       /* the peer or the connection failed */
	EXIT_USAGE = 2,      /* usage or configuration */
	EXIT_NO_DAEMON = 3,
	EXIT_NO_CONN = 4,
	EXIT_NOT_OPEN = 5,
	EXIT_ERROR_REPLY = 6,
	EXIT_TIMED_OUT = 124,
};

/* Words of "verb". */
#define VERB_STATUS "status"       /* [name] -> "connections":[{...}], "daemon":{...} */
#define VERB_OPEN "open"           /* name, url, options{key:[value...]} ; "own":true: ends with this control connection */
#define VERB_CLOSE "close"         /* name [timeout] : answers when closed */
#define VERB_RECONNECT "reconnect" /* name */
#define VERB_PAUSE "pause"         /* name */
#define VERB_RESUME "resume"       /* name */
#define VERB_SEND "send"           /* name, framing, type -> stream; half-close = end; then "end" when all is queued */
#define VERB_RECV "recv"           /* name, framing, count, from:"now"|"oldest" -> stream */
#define VERB_CAT "cat"             /* name, framing, type, count, finish:bool -> stream both ways */
#define VERB_WAIT "wait"           /* name, for:"open"|"closed"|"message" : answers when it is so */
#define VERB_RELOAD "reload"       /* answers "faults" text and exit 2 when refused */
#define VERB_STOP "stop"

#endif

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
 * and closes, unless the verb is a stream or waits.  The client keeps its writing side open until it
 * has what it wants: an end of file from it ends the request, and what was answered by then is still
 * sent.  With the "ok" line of a stream verb (send, recv, cat), {"ok":true,"name":...,"state":...,"type":...},
 * comes one descriptor (SCM_RIGHTS, with the line's first bytes; close-on-exec, non-blocking): a Unix
 * stream socket on which records go in the framing that was asked for.  The control connection stays,
 * for lines of events about that stream:
 *
 *	{"event":"missed","messages":12}                 the reader was too slow
 *	{"event":"rejected","message":"..."}             a record could not be sent (the first 10)
 *	{"event":"state","state":"waiting","message":"..."}
 *	{"event":"taken"}                                the input has ended and is queued; reading goes on
 *	{"event":"end","exit":0,"message":"...","close_code":1000,"close_reason":"...",
 *	 "messages":5,"rejected":0,"state":"open","queued":false}
 *
 * "end" is always the last.  In it "message" may be empty; "close_code" and "close_reason" are null
 * when the WebSocket's end was not why the stream ended; "messages" and "rejected" count records that
 * came from the client; "queued": some may not have left, because the connection is not open.  When
 * "end" comes, bytes may still be on their way in the stream: they are followed by end of file there.
 * The client closes the control connection when it has both.
 *
 * A client that reads by a cursor tells on the control connection how many bytes of the stream it has
 * really passed on, {"commit":BYTES} on a line: the cursor then stands behind the last record that is
 * whole in these.  It may do so until it closes the control connection; when it half-closes that, the
 * daemon closes it once it has heard all.
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

/* Words of "error": one for each exit that the daemon gives. */
#define ERROR_FAILED "failed"                         /* 1 */
#define ERROR_USAGE "usage"                           /* 2; also: not allowed, refused configuration */
#define ERROR_NO_CONN "no-such-connection"            /* 4 */
#define ERROR_NOT_OPEN "not-open"                     /* 5 */

/* Words of "verb".  Members in [] may be left out.
 *
 * The stream verbs take "url" and [options] instead of "name": the connection is then made for this
 * request (`reconnect` is "never" unless the options say more), and ends with it. */
#define VERB_STATUS "status"       /* [name] -> "version", "daemon":{...}, "connections":[{...}] */
#define VERB_OPEN "open"           /* name, url, [options{key:[value...]}] -> "name", "path" (its directory or null).
				    * Without url: start a closed one again.
				    * "own":true: it has no directory and ends with this control connection,
				    * which stays; name may then be left out, and one is made up */
#define VERB_CLOSE "close"         /* name -> "close_code", "close_reason" (or null), "message": answers when closed */
#define VERB_RECONNECT "reconnect" /* name */
#define VERB_PAUSE "pause"         /* name */
#define VERB_RESUME "resume"       /* name */
#define VERB_SEND "send"           /* name, [framing, type, no_queue:bool, confirm:bool] -> stream; half-close = end; then "end" when all is queued
				    * (confirm: when the server is known to have read it) */
#define VERB_RECV "recv"           /* name, [framing, type, count, from:"now"|"oldest"] -> stream;
				    * instead of from: cursor (made at the newest if absent), last (messages) or
				    * since (microseconds since 1970); follow:false: end with what is there now */
#define VERB_CAT "cat"             /* name, [framing, type, count, from, no_queue, finish:bool, settle:bool] -> stream both ways;
				    * finish (default true): half-close = close the WebSocket properly;
				    * settle (default true): not before the server has answered */
#define VERB_REQUEST "request"     /* name, [framing, type, no_queue, reply_framing, timeout_ms, raw:bool] -> stream:
				    * records are requests, numbered from 0; for each come back some of
				    * {"n":0,"answer":"reply","error":false,"bytes":12} and so many bytes, the
				    * reply as a record; "part": the same, and more will follow;
				    * {"n":0,"answer":"none","exit":124,"message":"..."}: there is none.
				    * half-close = no more requests; then "end" when all are answered */
#define VERB_WAIT "wait"           /* name, for:"open"|"closed"|"message" -> "state": answers when it is so */
#define VERB_CURSOR "cursor"       /* name, action:"ls" -> "cursors":[{"kind","name","pid","behind_messages","missed"}];
				    * action:"rm"|"set", cursor; set: to:"oldest"|"newest", or since */
#define VERB_RELOAD "reload"       /* the faults are the message, exit 2, when refused */
#define VERB_STOP "stop"

#endif

"""Real servers, none of them written by us: python3-websockets, node's ws, websocketd, nginx and
aria2, each on a free port of the loopback device, started for one test and ended by it."""

import asyncio
import functools
import http.server
import json
import os
import pathlib
import queue
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
import websockets
import websockets.exceptions
import websockets.server

from harness import Timeout, eventually, free_port, private_environment, scaled

HERE = pathlib.Path(__file__).resolve().parent


# --- python3-websockets -------------------------------------------------------------------------


class Session:
    """One connection as the server sees it; used from the test's thread."""

    def __init__(self, server, ws):
        self.server, self.ws = server, ws
        self.path = ws.path
        self.headers = ws.request_headers
        self.subprotocol = ws.subprotocol
        self.count = 0
        self.messages = queue.Queue()
        self.closed = threading.Event()
        self.reading = asyncio.Event()
        self.reading.set()

    def call(self, coroutine, timeout=20):
        return self.server.call(coroutine, timeout)

    def send(self, *messages):
        async def send():
            for message in messages:
                await self.ws.send(message)
        self.call(send())

    def flood(self, count, make):
        """Send make(0), make(1), ... as fast as the peer takes them; a Future of the count."""
        async def flood():
            done = 0
            try:
                for i in range(count):
                    await self.ws.send(make(i))
                    done += 1
                    await asyncio.sleep(0)  # send() alone does not let the others run
            except websockets.exceptions.ConnectionClosed:
                pass
            return done
        return asyncio.run_coroutine_threadsafe(flood(), self.server.loop)

    def recv(self, timeout=10):
        try:
            return self.messages.get(timeout=scaled(timeout))
        except queue.Empty:
            raise Timeout(f"{self.server} got no message") from None

    def recv_many(self, count, timeout=10):
        return [self.recv(timeout) for _ in range(count)]

    def got_nothing(self, seconds=0.3):
        try:
            return self.messages.get(timeout=seconds) is None
        except queue.Empty:
            return True

    def stop_reading(self):
        self.server.loop.call_soon_threadsafe(self.reading.clear)

    def go_on_reading(self):
        self.server.loop.call_soon_threadsafe(self.reading.set)

    def close(self, code=1000, reason=""):
        self.call(self.ws.close(code, reason))

    def abort(self):
        """End the TCP connection without any frame."""
        self.server.loop.call_soon_threadsafe(self.ws.transport.abort)

    def ping(self, data=b"?", timeout=10):
        """Send a ping, return when its pong has come."""
        async def ping():
            await asyncio.wait_for(await self.ws.ping(data), scaled(timeout))
        self.call(ping(), timeout + 1)

    def wait_closed(self, timeout=10):
        """(code, reason) as this side sees them."""
        if not self.closed.wait(scaled(timeout)):
            raise Timeout("the connection is still open")
        return self.ws.close_code, self.ws.close_reason


class PyServer:
    """python3-websockets in a thread.  echo: send back what comes.  keep: remember what comes (else
    only count it).  greeting: sent first.  Other arguments go to websockets.serve()."""

    def __init__(self, home=None, echo=False, keep=True, greeting=(), port=0, unix=None, tls=None,
                 **options):
        self.echo, self.keep, self.greeting = echo, keep, greeting
        self.port, self.unix, self.tls = port, unix, tls
        self.options = {"ping_interval": None, "compression": None, "max_size": None,
                        "close_timeout": 1, **options}
        self.sessions = []
        self.arrived = threading.Condition()
        self.loop = self.thread = self.server = None

    @property
    def url(self):
        if self.unix:
            return f"ws+unix:{self.unix}:/"
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/"

    async def _handler(self, ws):
        session = Session(self, ws)
        for message in self.greeting:
            await ws.send(message)
        with self.arrived:
            self.sessions.append(session)
            self.arrived.notify_all()
        try:
            async for message in ws:
                session.count += 1
                if self.keep:
                    session.messages.put(message)
                if self.echo:
                    await ws.send(message)
                await session.reading.wait()
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            await ws.wait_closed()
            session.closed.set()

    def start(self):
        started = threading.Event()
        failure = []

        async def serve():
            try:
                if self.unix:
                    self.server = await websockets.server.unix_serve(
                        self._handler, self.unix, **self.options)
                else:
                    self.server = await websockets.server.serve(
                        self._handler, "127.0.0.1", self.port, ssl=self.tls, **self.options)
                    self.port = self.server.sockets[0].getsockname()[1]
            except OSError as problem:
                failure.append(problem)
            started.set()

        def main():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(serve())
            if not failure:
                self.loop.run_forever()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
                try:
                    self.loop.run_until_complete(task)
                except (asyncio.CancelledError, Exception):
                    pass
            self.loop.close()

        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=main, daemon=True)
        self.thread.start()
        assert started.wait(10), "the server does not start"
        if failure:
            self.thread.join(10)
            self.thread = None
            raise failure[0]
        return self

    def call(self, coroutine, timeout=20):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(scaled(timeout))

    def stop(self, politely=False):
        """End it; politely: with Close 1001 to everybody, else by RST or FIN alone."""
        if self.thread is None:
            return

        async def stop():
            for session in self.sessions:
                session.reading.set()
            if not politely:
                for session in self.sessions:
                    if not session.closed.is_set():
                        session.ws.transport.abort()
            self.server.close()
            await self.server.wait_closed()
        try:
            self.call(stop())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)
            self.thread = None
            if self.unix and os.path.exists(self.unix):
                os.unlink(self.unix)

    def restart(self, politely=True):
        """On the same port."""
        self.stop(politely)
        return self.start()

    def session(self, index=-1, timeout=10):
        """The connection number INDEX since the beginning (-1: the newest); waits for it."""
        def there():
            return self.sessions and (index < 0 or len(self.sessions) > index)
        with self.arrived:
            if not self.arrived.wait_for(there, scaled(timeout)):
                raise Timeout(f"{len(self.sessions)} connections have come, want number {index}")
        return self.sessions[index]


def server_tls(pki, name, client_ca=None):
    """An SSLContext that shows the certificate NAME."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.cert(name), pki.key(name))
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


# --- certificates -------------------------------------------------------------------------------


class Pki:
    """ca: our authority; other-ca: another one; localhost: good for localhost and 127.0.0.1;
    elsewhere: good for other.example alone; stranger: for localhost, by other-ca; expired: over;
    client: a client's."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        for ca in ("ca", "other-ca"):
            self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-nodes", "-days", "30", "-subj", f"/CN={ca} of the tests", "-addext",
                          "keyUsage=critical,keyCertSign,cRLSign", "-keyout", self.key(ca), "-out",
                          self.cert(ca))
        self._issue("localhost", "ca", "DNS:localhost,IP:127.0.0.1,IP:::1")
        self._issue("elsewhere", "ca", "DNS:other.example")
        self._issue("stranger", "other-ca", "DNS:localhost,IP:127.0.0.1")
        self._issue("expired", "ca", "DNS:localhost,IP:127.0.0.1", "-days", "-1")
        self._issue("client", "ca", "DNS:client.example")

    def cert(self, name):
        return str(self.dir / f"{name}.pem")

    def key(self, name):
        return str(self.dir / f"{name}.key")

    def _openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)

    def _issue(self, name, ca, names, *more):
        request, extensions = str(self.dir / f"{name}.csr"), self.dir / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", f"/CN={name}", "-keyout", self.key(name), "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.cert(ca), "-CAkey", self.key(ca),
                      "-CAcreateserial", "-extfile", str(extensions), "-out", self.cert(name),
                      *(more or ("-days", "30")))


# --- servers that are processes -----------------------------------------------------------------


class Process:
    """A server that is a program."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.process = None
        self.port = free_port()
        self.log_path = self.home / f"{type(self).__name__}-{self.port}.log"

    def command(self):
        raise NotImplementedError

    def environment(self):
        return private_environment(self.home)

    def start(self):
        command = self.command()
        if shutil.which(command[0]) is None and not os.path.exists(command[0]):
            raise FileNotFoundError(f"{command[0]} is not installed")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment(), cwd=self.home)
        eventually(self.answers, 15, f"{command[0]} answers on port {self.port}")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args[0]} has ended: {self.log_path.read_text()}")
        socket.create_connection(("127.0.0.1", self.port), 1).close()
        return True

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"


def which(program):
    """Skip the test where PROGRAM is not installed; its path."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if not found:
        pytest.skip(f"{program} is not installed")
    return found


class NodeEcho(Process):
    """The `ws` module of node, echoing; Close is answered behind what it has echoed."""

    SCRIPT = """
const { WebSocketServer } = require('ws');
const server = new WebSocketServer({ host: '127.0.0.1', port: +process.argv[2],
                                     maxPayload: 64 * 1024 * 1024,
                                     perMessageDeflate: JSON.parse(process.argv[3]) });
server.on('connection', (ws, request) => {
    ws.on('error', () => {});
    if (request.url === '/hello') ws.send('hello from node');
    ws.on('message', (data, binary) => ws.send(data, { binary }));
});
process.on('SIGTERM', () => process.exit(0));
"""

    def __init__(self, home, deflate=False):
        """deflate: the perMessageDeflate option of ws (a dict, or a bool)."""
        super().__init__(home)
        self.deflate = deflate

    def command(self):
        script = self.home / "echo.js"
        script.write_text(self.SCRIPT)
        return ["node", str(script), str(self.port), json.dumps(self.deflate)]

    def environment(self):
        # Debian keeps its modules here; an npm installation beside the tests goes first.
        return {**super().environment(), "NODE_PATH": f"{HERE}/node_modules:/usr/share/nodejs"}


class Websocketd(Process):
    """websocketd: a program's lines as messages."""

    def __init__(self, *program, home):
        super().__init__(home)
        self.program = program or ("cat",)

    def command(self):
        return ["websocketd", "--address=127.0.0.1", f"--port={self.port}", *self.program]


class Nginx(Process):
    """nginx in front of BACKEND (a port): plain on .port, TLS on .tls_port (certificate
    `localhost`), TLS that demands a client's certificate on .client_port, TLS for another name on
    .elsewhere_port.

    /ws goes to the backend (with X-Session-Reused: r or . where there is TLS), /basic too after Basic auth (ann:s3cret); /moved, /auth, /down answer
    301, 401, 503."""

    def __init__(self, backend, pki, home, retry_after=()):
        super().__init__(home)
        self.retry_after = retry_after
        self.backend, self.pki = backend, pki
        self.tls_port, self.client_port, self.elsewhere_port = free_port(), free_port(), free_port()

    def command(self):
        home, pki = self.home / f"nginx-{self.port}", self.pki
        home.mkdir(exist_ok=True)
        (home / "users").write_text("ann:{PLAIN}s3cret\n")
        locations = f"""
            location /ws {{ {self._proxy()} }}
            location /basic {{
                auth_basic "tests"; auth_basic_user_file {home}/users;
                {self._proxy()}
            }}
            location /moved {{ return 301 http://127.0.0.1:{self.port}/ws; }}
            location /auth {{ add_header WWW-Authenticate 'Bearer realm="tests"' always; return 401; }}
            location /down {{ add_header Retry-After 1 always; return 503; }}
            location /elsewhere {{ return 302 http://127.0.0.1:{self.backend}/there?key=s3cret; }}
            location /relative {{ absolute_redirect off; return 307 ../ws; }}
            location /loop {{ return 302 /loop; }}
            location = /insecure {{ return 308 http://127.0.0.1:{self.port}/ws; }}
            {self._answers()}
        """
        config = home / "nginx.conf"
        config.write_text(f"""
            {'user root;' if os.getuid() == 0 else ''}
            daemon off; master_process on; worker_processes 1; pid {home}/pid;
            error_log stderr warn;
            events {{ worker_connections 256; }}
            http {{
                access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
                fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi;
                scgi_temp_path {home}/scgi;
                server {{ listen 127.0.0.1:{self.port}; {locations} }}
                ssl_session_cache shared:tests:1m; ssl_session_tickets on;
                server {{ listen 127.0.0.1:{self.tls_port} ssl; {self._cert('localhost')} {locations} }}
                server {{ listen 127.0.0.1:{self.client_port} ssl; {self._cert('localhost')}
                    ssl_verify_client on; ssl_client_certificate {pki.cert('ca')}; {locations} }}
                server {{ listen 127.0.0.1:{self.elsewhere_port} ssl; {self._cert('elsewhere')}
                    {locations} }}
            }}
        """)
        return ["/usr/sbin/nginx", "-e", "stderr", "-c", str(config), "-p", str(home)]

    def _answers(self):
        """/answer/STATUS and /answer/STATUS/N: the N-th of .retry_after is its Retry-After."""
        text = ""
        for status in (400, 401, 403, 404, 410, 426, 429, 451, 503):
            text += f"location = /answer/{status} {{ return {status}; }}\n"
            for i, after in enumerate(self.retry_after):
                text += (f"location = /answer/{status}/{i} {{ add_header Retry-After '{after}' always; "
                         f"return {status}; }}\n")
        return text

    def _cert(self, name):
        return (f"ssl_certificate {self.pki.cert(name)}; "
                f"ssl_certificate_key {self.pki.key(name)};")

    def _proxy(self):
        return f"""
            proxy_pass http://127.0.0.1:{self.backend}; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
            proxy_set_header X-Session-Reused $ssl_session_reused;
            proxy_read_timeout 60s;"""

    def ws(self, path="/ws"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def wss(self, path="/ws", port=None):
        return f"wss://127.0.0.1:{port or self.tls_port}{path}"


class Haproxy(Process):
    """HAProxy with TLS in front of BACKEND (a port); it wants a client's certificate of CLIENT_CA."""

    def __init__(self, backend, certificate, client_ca, home):
        super().__init__(home)
        self.backend, self.certificate, self.client_ca = backend, certificate, client_ca

    def command(self):
        pem = self.home / f"haproxy-{self.port}.pem"
        pem.write_text(pathlib.Path(self.certificate.cert).read_text()
                       + pathlib.Path(self.certificate.key).read_text())
        config = self.home / f"haproxy-{self.port}.cfg"
        config.write_text(f"""
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend tls
    bind 127.0.0.1:{self.port} ssl crt {pem} alpn h2,http/1.1 ca-file {self.client_ca} verify required
    http-request set-header X-Client %[ssl_c_s_dn(cn)]
    default_backend ws
backend ws
    server one 127.0.0.1:{self.backend}
""")
        return [which("haproxy"), "-db", "-f", str(config)]

    @property
    def url(self):
        return f"wss://127.0.0.1:{self.port}/"


class Stunnel(Process):
    """stunnel with TLS in front of BACKEND (a port), any server."""

    def __init__(self, backend, certificate, home, client_ca=None):
        super().__init__(home)
        self.backend, self.certificate, self.client_ca = backend, certificate, client_ca

    def command(self):
        config = self.home / f"stunnel-{self.port}.conf"
        verify = ["verifyChain = yes", f"CAfile = {self.client_ca}"] if self.client_ca else []
        config.write_text("\n".join([
            "foreground = yes", "pid =", "[ws]", f"accept = 127.0.0.1:{self.port}",
            f"connect = 127.0.0.1:{self.backend}", f"cert = {self.certificate.cert}",
            f"key = {self.certificate.key}", *verify]) + "\n")
        return [which("stunnel4"), str(config)]

    @property
    def url(self):
        return f"wss://127.0.0.1:{self.port}/"


class Aria2(Process):
    """aria2's JSON-RPC, which talks over a WebSocket at /jsonrpc."""

    def command(self):
        (self.home / "downloads").mkdir(exist_ok=True)
        return ["aria2c", "--no-conf", "--enable-rpc", f"--rpc-listen-port={self.port}",
                "--rpc-listen-all=false", "--enable-dht=false", "--enable-dht6=false",
                "--quiet", f"--dir={self.home}/downloads"]

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/jsonrpc"


class FileServer:
    """Serves the files of a directory by HTTP."""

    def __init__(self, directory, home=None):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

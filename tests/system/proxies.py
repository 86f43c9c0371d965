"""Real proxies from Debian, each on a free port of the loopback device.  USER and PASSWORD: what is
asked for, if given."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

import servers


need = servers.which


class Proxy(servers.Process):
    schemes = ("http",)

    def __init__(self, home, user=None, password=None, allow=True):
        super().__init__(home)
        self.user, self.password, self.allow = user, password, allow

    def at(self, scheme=None, login=True):
        """As the `proxy` key wants it."""
        user = f"{self.user}:{self.password}@" if self.user and login else ""
        return f"{scheme or self.schemes[0]}://{user}127.0.0.1:{self.port}"


class Tinyproxy(Proxy):
    def command(self):
        config = self.home / f"tinyproxy-{self.port}.conf"
        config.write_text("\n".join([
            f"Port {self.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20",
            "StartServers 1", "LogLevel Info",
            f"BasicAuth {self.user} {self.password}" if self.user else "",
            "" if self.allow else "ConnectPort 1"]) + "\n")
        return [need("tinyproxy"), "-d", "-c", str(config)]


class Squid(Proxy):
    def command(self):
        home = pathlib.Path(self.home) / f"squid-{self.port}"
        home.mkdir(exist_ok=True)
        if os.getuid() == 0:
            os.chmod(self.home, 0o711)
            shutil.chown(home, "proxy", "proxy")
        auth = []
        if self.user:
            helper = home / "login.sh"  # Basic auth by a program that reads "USER PASSWORD"
            helper.write_text(f'#!/bin/sh\nwhile read -r user word; do\n'
                              f'[ "$user $word" = "{self.user} {self.password}" ] && echo OK || '
                              f'echo ERR\ndone\n')
            helper.chmod(0o755)
            auth = [f"auth_param basic program {helper}", "auth_param basic realm tests",
                    "auth_param basic children 1", "acl known proxy_auth REQUIRED",
                    "http_access deny !known"]
        config = home / "squid.conf"
        config.write_text("\n".join([
            f"http_port 127.0.0.1:{self.port}", "visible_hostname localhost", *auth,
            f"http_access {'allow' if self.allow else 'deny'} all", "cache deny all",
            f"pid_filename {home}/pid", f"coredump_dir {home}", "access_log none",
            f"cache_log {home}/cache.log", "shutdown_lifetime 0 seconds",
            "pinger_enable off", "netdb_filename none", "max_filedescriptors 1024"]) + "\n")
        return [need("squid"), "-N", "-f", str(config)]


class Microsocks(Proxy):
    schemes = ("socks5h", "socks5")

    def command(self):
        login = ["-u", self.user, "-P", self.password] if self.user else []
        return [need("microsocks"), "-i", "127.0.0.1", "-p", str(self.port), *login]


class Dante(Proxy):
    """Its users are those of the system: with one it runs in a mount namespace with its own
    passwd and shadow, which only root can make."""
    schemes = ("socks5h", "socks5")

    def stop(self):
        """With its children, which otherwise go on serving what they have."""
        process = self.process
        super().stop()
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def command(self):
        return ["setsid", *self._command()]

    def _command(self):
        home = pathlib.Path(self.home) / f"dante-{self.port}"
        home.mkdir(exist_ok=True)
        config = home / "danted.conf"
        verdict = "pass" if self.allow else "block"
        config.write_text("\n".join([
            "logoutput: stderr", f"internal: 127.0.0.1 port = {self.port}", "external: 127.0.0.1",
            f"socksmethod: {'username' if self.user else 'none'}", "clientmethod: none",
            *(["user.privileged: root", "user.unprivileged: nobody"] if os.getuid() == 0 else []),
            "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }",
            f"socks {verdict} {{ from: 127.0.0.0/8 to: 0.0.0.0/0 protocol: tcp }}"]) + "\n")
        danted = need("danted")
        if not self.user:
            return [danted, "-f", str(config)]
        if os.getuid() != 0:
            pytest.skip("danted with a user of its own needs root")
        return self._with_user(home, [danted, "-f", str(config)])

    def _with_user(self, home, command):
        secret = subprocess.run(["openssl", "passwd", "-6", self.password], check=True, text=True,
                                stdout=subprocess.PIPE).stdout.strip()
        entry = {"passwd": f"{self.user}:x:4242:4242::/:/bin/false",
                 "shadow": f"{self.user}:{secret}:19000:0:99999:7:::"}
        mounts = []
        for name, line in entry.items():
            lines = [x for x in pathlib.Path(f"/etc/{name}").read_text().splitlines()
                     if not x.startswith(f"{self.user}:")]
            (home / name).write_text("\n".join([*lines, line]) + "\n")
            (home / name).chmod(0o644 if name == "passwd" else 0o600)
            mounts.append(f"mount --bind {home}/{name} /etc/{name}")
        private = ["unshare", "--mount", "--propagation", "private"]
        if subprocess.run([*private, "sh", "-c", " && ".join(mounts)], stderr=subprocess.DEVNULL,
                          check=False).returncode:
            pytest.skip("no mount namespaces here")
        return [*private, "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh", *command]

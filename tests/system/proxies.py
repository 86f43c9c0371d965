"""Real proxies from Debian, each on a free port of the loopback device.  USER and PASSWORD: what is
asked for, if given."""

import os
import pathlib
import shutil

import pytest

import servers


def need(program):
    """Skip the test where PROGRAM is not installed; its path."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if not found:
        pytest.skip(f"{program} is not installed")
    return found


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

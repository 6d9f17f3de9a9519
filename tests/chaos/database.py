"""A database server of one's own for MLflow, on a free port, that can be stopped and started: PostgreSQL or MariaDB."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 60.0
WHERE = ("/usr/sbin", *(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))


def program(name: str) -> str | None:
    """Where a program of a server is; None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *WHERE]))


@dataclass
class Database:
    """A server of `kind` ("postgresql" or "mariadb"), whose files are in `folder`, with an empty database `mlflow`."""

    kind: str
    folder: Path
    port: int = 0
    _running: subprocess.Popen[bytes] | None = None

    @staticmethod
    def lacks(kind: str) -> str:
        """What is not installed that a server of `kind` needs; "" if all is."""
        programs = {"postgresql": ("initdb", "postgres"), "mariadb": ("mariadbd", "mariadb-install-db")}[kind]
        return ", ".join(name for name in programs if program(name) is None)

    @property
    def uri(self) -> str:
        """As MLflow is told."""
        driver = {"postgresql": "postgresql+psycopg2", "mariadb": "mysql+pymysql"}[self.kind]
        return f"{driver}://mlflow:secret@127.0.0.1:{self.port}/mlflow"

    def make(self) -> None:
        """Make the files, start the server, and make the database."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:  # these servers run as somebody who may not do all
            shutil.chown(self.folder, self._user)
        data = self.folder / "data"
        if self.kind == "postgresql":
            self._run("initdb", "-D", str(data), "-U", "mlflow", "--auth=trust", "--no-sync")
        else:
            self._run("mariadb-install-db", f"--datadir={data}", "--auth-root-authentication-method=normal")
        self.start()
        self._make_database()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        data = self.folder / "data"
        if self.kind == "postgresql":
            line = ["-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-k", str(self.folder)]
            words = self._as_user("postgres", *line)
        else:
            line = [f"--datadir={data}", f"--port={self.port}", f"--socket={self.folder}/socket"]
            words = self._as_user("mariadbd", "--no-defaults", *line, "--bind-address=127.0.0.1")
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._connection("" if self.kind == "mariadb" else "postgres").close()
                return
            except Exception as error:  # of two drivers
                if time.monotonic() > deadline or self._running.poll() is not None:
                    raise RuntimeError(f"{self.kind} does not answer: {error}") from None
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server as a machine that is turned off does."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _make_database(self) -> None:
        if self.kind == "postgresql":
            lines = ["CREATE DATABASE mlflow"]
        else:
            lines = [
                "CREATE DATABASE mlflow CHARACTER SET utf8mb4",
                "CREATE USER mlflow@'127.0.0.1' IDENTIFIED BY 'secret'",
                "GRANT ALL ON mlflow.* TO mlflow@'127.0.0.1'",
            ]
        with contextlib.closing(self._connection("" if self.kind == "mariadb" else "postgres")) as connection:
            if self.kind == "postgresql":
                connection.autocommit = True
            for line in lines:
                connection.cursor().execute(line)

    def _connection(self, database: str):  # type: ignore[no-untyped-def]
        if self.kind == "postgresql":
            import psycopg2

            return psycopg2.connect(host="127.0.0.1", port=self.port, user="mlflow", dbname=database)
        import pymysql

        return pymysql.connect(unix_socket=f"{self.folder}/socket", user="root", database=database or None)

    @property
    def _user(self) -> str:
        names = {each.pw_name for each in pwd.getpwall()}
        wanted = {"postgresql": "postgres", "mariadb": "mysql"}[self.kind]
        return wanted if os.geteuid() == 0 and wanted in names else getpass.getuser()

    def _as_user(self, name: str, *line: str) -> Sequence[str]:
        found = program(name)
        assert found is not None
        if os.geteuid() != 0:
            return [found, *line]
        group = pwd.getpwnam(self._user).pw_gid
        return ["setpriv", f"--reuid={self._user}", f"--regid={group}", "--clear-groups", found, *line]

    def _run(self, name: str, *line: str) -> None:
        done = subprocess.run(self._as_user(name, *line), capture_output=True, text=True, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stdout[-500:]} {done.stderr[-500:]}")

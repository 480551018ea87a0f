"""Settings, and the only place that reads them from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from datalayer.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import ValidationInfo

EMBEDDED_SCHEME: Final = "embedded"
EMBEDDED_MEMORY_URL: Final = "embedded:///:memory:"
URL_FORMS: Final = "postgresql+asyncpg://user:password@host:5432/database, or embedded:///absolute/folder"

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
SessionTarget = Literal["any", "primary", "standby", "prefer-standby", "read-write", "read-only"]

_TLS_CERTAIN: Final = ("require", "verify-ca", "verify-full")
_ASYNC_DRIVERS: Final = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "timescaledb": "timescaledb+asyncpg",
    "timescaledb+asyncpg": "timescaledb+asyncpg",
}


def parse_database_url(text: str) -> URL:
    """Parse a database address and settle its driver.

    Args:
        text: `postgresql://`, `postgres://`, `timescaledb://` (all with or without `+asyncpg`) or `embedded:///folder`.

    Returns:
        The URL with an asyncpg driver name, or with the driver name `embedded`.

    Raises:
        ConfigurationError: the text is no URL, or of another kind; the text itself is never repeated, since it may
            hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # An unescaped @ or : in a password makes a part of it the port, which the cause would quote: `from None`.
        msg = f"the database URL cannot be parsed; write it as {URL_FORMS}, with %40 for @ and %3A for : in a password"
        raise ConfigurationError(msg) from None
    if url.drivername == EMBEDDED_SCHEME:
        return _checked_embedded(url, has_query="?" in text)
    if url.drivername not in _ASYNC_DRIVERS:
        msg = f"the database URL starts with {url.drivername!r}; write it as {URL_FORMS}"
        raise ConfigurationError(msg)
    return url.set(drivername=_ASYNC_DRIVERS[url.drivername])


def _checked_embedded(url: URL, *, has_query: bool) -> URL:
    if url.host or not url.database:
        msg = f"an embedded database is named by its folder, as in embedded:///var/lib/market, or {EMBEDDED_MEMORY_URL}"
        raise ConfigurationError(msg)
    if has_query:  # what follows would be dropped, and another folder taken
        msg = "an embedded database takes no options; in the name of its folder write %3F for ? and %25 for %"
        raise ConfigurationError(msg)
    return url


def embedded_address(folder: Path) -> str:
    """Return the address of the embedded database in a folder, as `DATALAYER_DATABASE_URL` takes it."""
    return f"{EMBEDDED_SCHEME}://{quote(str(folder.expanduser().absolute()))}"


def redact(url: str | URL) -> str:
    """Return a database address that is safe to print: password and query values are masked."""
    parsed = make_url(url) if isinstance(url, str) else url
    return parsed.set(query=dict.fromkeys(parsed.query, "***")).render_as_string(hide_password=True)


def read_secret(file: Path) -> str:
    """Return what a file holds, without the line break at its end.

    Raises:
        ConfigurationError: it cannot be read, or is not one line of text; never says what it holds.
    """
    try:
        secret = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as exc:
        msg = f"{file} cannot be read ({exc.strerror}); the user of this process needs the right to"
        raise ConfigurationError(msg) from exc
    except UnicodeDecodeError:
        secret = ""  # the cause would quote it
    if not secret or not secret.isprintable():
        msg = f"{file} must hold the password alone, as one line of text in UTF-8"
        raise ConfigurationError(msg)
    return secret


class Settings(BaseSettings):
    """What an installation can set, each by the environment variable `DATALAYER_<NAME>`.

    Attributes:
        database_url: address of the database; see `parse_database_url` for its forms. None: interactive use falls back
            to the embedded database in `embedded_dir`, unattended use refuses to start.
        database_password_file: file that holds the password alone, in one line, so that it is in no address and no
            environment: a secret of a container, or a credential of systemd. It is read anew for each pool.
        database_schema: PostgreSQL schema that holds the tables.
        pool_min_size: connections made when the database is opened, so that the first callers need not wait.
        pool_max_size: most connections at a time; those once made stay open.
        pool_timeout_s: seconds that a caller waits for a free connection.
        connection_lifetime_s: age in seconds from which a connection is replaced before its next use.
        connect_timeout_s: seconds to wait for the server to accept a connection.
        ping_timeout_s: seconds in which a connection must answer when it comes out of the pool; else it is replaced.
        statement_timeout_s: seconds that one statement may run before the server ends it. A connection on which the
            server has not even done that 5 s later is given up. None: the server's own limit, and no end to waiting for
            a server that is reachable and silent. Migrations have limits of their own.
        close_timeout_s: seconds that `close()` waits for connections in use.
        application_name: shown in `pg_stat_activity`.
        pooler: "transaction" behind a pooler that gives a server connection for one transaction, such as PgBouncer with
            `pool_mode = transaction`. None: connected to the server itself.
        target_session_attrs: which of several servers will do, by its role; those of the address are tried in turn.
        tls: whether to encrypt, and how much of the server's certificate to check, as libpq's `sslmode`. None: what
            the address says, else `prefer`.
        tls_root_cert: file with the certificates of the authorities to trust; None: those of the system.
        tls_cert: file with the client's certificate, where the server asks for one.
        tls_key: file with its private key; None: it is in `tls_cert`.
        embedded_dir: folder of the default embedded database.
        binance_socket_url: address of Binance's streams; None: the exchange's own. As are those that follow.
        binance_rest_url: address of Binance's REST interface.
        coinbase_socket_url: address of Coinbase Exchange's feed.
        coinbase_rest_url: address of Coinbase Exchange's REST interface.
        cache_dir: where the runtime of the embedded database is installed, once a user.
    """

    model_config = SettingsConfigDict(env_prefix="DATALAYER_", frozen=True, extra="forbid")

    database_url: SecretStr | None = None
    database_password_file: FilePath | None = None
    database_schema: str = Field(default="public", min_length=1, max_length=63)
    pool_min_size: int = Field(default=1, ge=0)
    pool_max_size: int = Field(default=10, ge=1)
    pool_timeout_s: float = Field(default=30.0, gt=0)
    connection_lifetime_s: int = Field(default=3600, ge=1)
    connect_timeout_s: float = Field(default=10.0, gt=0)
    ping_timeout_s: float = Field(default=5.0, gt=0)
    statement_timeout_s: float | None = Field(default=None, ge=0.001)
    close_timeout_s: float = Field(default=10.0, ge=0)
    application_name: str = Field(default="datalayer", max_length=63)
    pooler: Literal["transaction"] | None = None
    target_session_attrs: SessionTarget = "any"
    tls: TlsMode | None = None
    tls_root_cert: FilePath | None = None
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = None
    embedded_dir: Path = Field(default_factory=lambda: user_data_path("datalayer") / "embedded")
    binance_socket_url: str | None = None
    binance_rest_url: str | None = None
    coinbase_socket_url: str | None = None
    coinbase_rest_url: str | None = None
    cache_dir: Path = Field(default_factory=lambda: user_cache_path("datalayer"))

    @field_validator("database_url")
    @classmethod
    def _url_parses(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_database_url(value.get_secret_value())
        return value

    @field_validator("database_password_file")
    @classmethod
    def _completes_the_address(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (
            value is None or "database_url" not in info.data
        ):  # an address that cannot be parsed is told of already
            return value
        if info.data["database_url"] is None:
            msg = "belongs to an address; set DATALAYER_DATABASE_URL"
            raise ValueError(msg)
        url = parse_database_url(info.data["database_url"].get_secret_value())
        if url.drivername == EMBEDDED_SCHEME or url.password is not None or "password" in url.query:
            msg = (
                "would not be used; give an address of a server in DATALAYER_DATABASE_URL, without a password"
            )
            raise ValueError(msg)
        read_secret(value)
        return value

    @field_validator("pool_max_size")
    @classmethod
    def _not_below_the_minimum(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("pool_min_size", 0):
            msg = f"is {value}, below DATALAYER_POOL_MIN_SIZE={info.data['pool_min_size']}"
            raise ValueError(msg)
        return value

    @field_validator("tls_root_cert", "tls_cert", "tls_key")
    @classmethod
    def _used_by_the_mode(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        modes = ("verify-ca", "verify-full") if info.field_name == "tls_root_cert" else _TLS_CERTAIN
        if value is not None and info.data.get("tls") not in modes:
            msg = f"would not be used; set DATALAYER_TLS to {' or '.join(modes)}"
            raise ValueError(msg)
        if info.field_name == "tls_key" and value is not None and info.data.get("tls_cert") is None:
            msg = "belongs to a certificate; set DATALAYER_TLS_CERT"
            raise ValueError(msg)
        return value

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Read the environment; keyword arguments win over it.

        Raises:
            ConfigurationError: a value is not acceptable; names each setting and the reason, never a secret.
        """
        try:
            return cls(**{key: value for key, value in overrides.items() if value is not None})
        except ValidationError as exc:
            faults = "; ".join(
                f"DATALAYER_{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
                for e in exc.errors()
            )
            raise ConfigurationError(faults) from None

    @property
    def url(self) -> URL | None:
        """The parsed `database_url`, with the password of its file, or None when nobody wrote one down."""
        if self.database_url is None:
            return None
        url = parse_database_url(self.database_url.get_secret_value())
        return (
            url
            if self.database_password_file is None
            else url.set(password=read_secret(self.database_password_file))
        )

    @property
    def embedded_notice(self) -> str:
        """What is said aloud when nobody wrote an address down and the embedded database serves."""
        return (
            f"no DATALAYER_DATABASE_URL: using the embedded TimescaleDB at {embedded_address(self.embedded_dir)}; "
            "it serves one machine and one developer, production wants a server"
        )

    def for_interactive_use(self, url: str | None = None) -> Settings:
        """Return settings with an address: `url`, else the configured one, else the embedded database's."""
        if url is None and self.database_url is not None:
            return self
        address = url or embedded_address(self.embedded_dir)
        parse_database_url(address)
        # The password that was configured is for the server that was configured.
        return self.model_copy(update={"database_url": SecretStr(address), "database_password_file": None})

    def for_maintenance(self) -> Settings:
        """Return settings for what has limits of its own and holds locks of its session, as migrations do.

        Raises:
            ConfigurationError: the address leads through a transaction pooler, where a session has no locks.
        """
        if self.pooler is not None:
            msg = (
                "this holds locks of its session, which a transaction pooler does not keep; "
                "run it with the server's own address, and without DATALAYER_POOLER"
            )
            raise ConfigurationError(msg)
        return self.model_copy(update={"statement_timeout_s": None})

    def require_url(self) -> URL:
        """Return the configured address, for whatever deploys or runs unattended.

        Raises:
            ConfigurationError: none was written down. There is no default here on purpose: a deploy that silently
                migrates a private embedded database would look like a success.
        """
        if self.url is None:
            msg = f"DATALAYER_DATABASE_URL is not set; write down which database is meant: {URL_FORMS}"
            raise ConfigurationError(msg)
        return self.url

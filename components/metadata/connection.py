"""Opens a store of ML Metadata to be read: a SQLite file or a MySQL database."""

import os
import re
import urllib.parse

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

_MYSQL = "mysql"
_MYSQL_PORT = 3306
_MYSQL_FORM = "mysql://USER@HOST[:PORT]/DATABASE"
_SQLITE_HEADER = b"SQLite format 3\0"
_SSL_OPTIONS = {"ssl_ca": "ca", "ssl_cert": "cert", "ssl_key": "key"}
_SOCKET = "socket"
_LOCALHOST = "localhost"

# Texts by which a RuntimeError of ml_metadata tells its cause.
_OTHER_SCHEMA = re.compile(r"MLMD database version (\d+) is (older|greater) than library version (\d+)")
_NO_TABLES = ("attempt to write a readonly database", "CREATE command denied")
_SOME_TABLES = "There are a subset of tables in MLMD instance"
_NO_CONNECTION = "mysql_real_connect failed"
_NO_DATABASE = "Unknown database"
_QUERY = re.compile(r"\s*query:.*", re.DOTALL)


class StoreError(Exception):
    """A store cannot be read, or does not hold what was asked for."""


def connection_config(database: str, password: str = "") -> metadata_store_pb2.ConnectionConfig:
    """Makes the connection of a setting, as TFX's pipelines take it; connects to nothing.

    Args:
        database: The path of a SQLite file, or `mysql://USER@HOST[:PORT]/DATABASE` with special characters
            percent-encoded. Options may follow a `?`, joined by `&`: `socket=PATH` for a server on this machine, with
            the host 'localhost' or none; for TLS `ssl_ca`, `ssl_cert` and `ssl_key`, paths of PEM files.
        password: Password of the MySQL user.

    Returns:
        The connection. SQLite is opened read-only, and a MySQL database is not created.

    Raises:
        ValueError: The setting is neither, or holds a password.
    """
    config = metadata_store_pb2.ConnectionConfig()
    if not database:
        raise ValueError(f"the database is '', expected the path of a SQLite file or {_MYSQL_FORM}.")
    if "://" not in database:
        # An absolute path is never taken for one of SQLite's URIs, such as 'file:...'.
        config.sqlite.filename_uri = os.path.abspath(database)
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        return config
    url = urllib.parse.urlsplit(database)
    if url.scheme != _MYSQL:
        # Only the scheme is shown: the rest may hold a password.
        raise ValueError(
            f"the database's URL begins with {url.scheme!r}, expected the path of a SQLite file or {_MYSQL_FORM}."
        )
    if url.password is not None:
        # The password is not shown.
        raise ValueError(
            f"the database's URL holds a password, which others can read on the command line; expected {_MYSQL_FORM}."
        )
    _fill_mysql(config.mysql, database, url)
    config.mysql.password = password
    return config


def open_store(config: metadata_store_pb2.ConnectionConfig) -> ml_metadata.MetadataStore:
    """Opens a store.

    ml_metadata creates its tables in a MySQL database that has none, if the user may do so. To read, the right to
    SELECT is enough.

    Args:
        config: As `connection_config` makes it.

    Returns:
        The store.

    Raises:
        StoreError: There is no file or server, it holds no ML Metadata, or that of another version of ml_metadata.
    """
    where = _name(config)
    if config.HasField("sqlite"):
        _check_file(config.sqlite.filename_uri)
    try:
        return ml_metadata.MetadataStore(config)
    except RuntimeError as error:
        raise StoreError(_reason(where, str(error))) from error


def _fill_mysql(mysql: metadata_store_pb2.MySQLDatabaseConfig, database: str, url: urllib.parse.SplitResult) -> None:
    try:
        port = url.port
    except ValueError:
        raise ValueError(f"{database!r} has a port that is none, expected {_MYSQL_FORM}.") from None
    options = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    for key, value in options.items():
        if key not in (_SOCKET, *_SSL_OPTIONS) or not value:
            raise ValueError(
                f"{database!r} has the option {key!r} = {value!r}, expected {', '.join((_SOCKET, *_SSL_OPTIONS))} "
                "with the path of a file."
            )
    name = urllib.parse.unquote(url.path.removeprefix("/"))
    parts = {"user": url.username, "host": url.hostname or options.get(_SOCKET), "database": name}
    missing = [part for part, value in parts.items() if not value]
    if missing:
        raise ValueError(f"{database!r} names no {' and no '.join(missing)}, expected {_MYSQL_FORM}.")
    # ml_metadata ends the process if it is given both, or neither.
    if _SOCKET in options:
        if url.hostname not in (None, _LOCALHOST) or port is not None:
            raise ValueError(
                f"{database!r} has a socket and a host, expected mysql://USER@{_LOCALHOST}/DATABASE?socket=PATH."
            )
        mysql.socket = options[_SOCKET]
    else:
        mysql.host = url.hostname
        mysql.port = _MYSQL_PORT if port is None else port
    mysql.database = name
    mysql.user = urllib.parse.unquote(url.username)
    mysql.skip_db_creation = True
    for key, field in _SSL_OPTIONS.items():
        if key in options:
            setattr(mysql.ssl_options, field, options[key])


def _name(config: metadata_store_pb2.ConnectionConfig) -> str:
    if config.HasField("sqlite"):
        return config.sqlite.filename_uri
    mysql = config.mysql
    return f"{mysql.user}@{mysql.socket or f'{mysql.host}:{mysql.port}'}/{mysql.database}"


def _check_file(path: str) -> None:
    if not os.path.exists(path):
        raise StoreError(f"there is no file {path}; name the SQLite file that the pipeline's metadata is in.")
    if os.path.isdir(path):
        raise StoreError(f"{path} is a folder; name the SQLite file in it, such as {path}/metadata.sqlite.")
    try:
        with open(path, "rb") as stream:
            header = stream.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    if header != _SQLITE_HEADER:
        raise StoreError(f"{path} is no SQLite database; name the file that the pipeline's metadata is in.")


def _reason(where: str, message: str) -> str:
    if other := _OTHER_SCHEMA.search(message):
        found, order, known = other.groups()
        remedy = (
            "install the ml-metadata that wrote it, or upgrade the database"
            if order == "older"
            else "install the newer ml-metadata that wrote it"
        )
        return (
            f"{where} has schema version {found} of ML Metadata, expected {known}, that of ml-metadata "
            f"{ml_metadata.__version__}; {remedy}."
        )
    if any(text in message for text in _NO_TABLES):
        return f"{where} holds no ML Metadata; name the database that the pipeline's metadata is in."
    if _SOME_TABLES in message:
        return f"{where} holds a part of ML Metadata's tables only; it is damaged, or just being made."
    if _NO_CONNECTION in message:
        return (
            f"cannot connect to MySQL as {where}; see that the server runs, that user and password are right, that the "
            "options for TLS are given if it asks for it, and that the user's authentication plugin is "
            "mysql_native_password, the one that ml_metadata knows."
        )
    if _NO_DATABASE in message:
        return f"there is no database {where}; name the one that the pipeline's metadata is in."
    return f"{where} cannot be opened: {_QUERY.sub('', message)}."

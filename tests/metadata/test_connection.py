"""Which store a setting stands for, and what is said where there is none."""

import os
import pathlib
import sqlite3

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from helpers.store_builder import StoreBuilder
from tfx_pruning.metadata.connection import StoreError, connection_config, open_store


def test_path_is_sqlite_to_be_read_only(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = mlmd.ConnectionConfig()
    expected.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    expected.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
    assert connection_config("metadata.sqlite") == expected


def test_mysql_url() -> None:
    expected = mlmd.ConnectionConfig()
    expected.mysql.host = "db.example.com"
    expected.mysql.port = 3307
    expected.mysql.user = "reader@site"
    expected.mysql.password = "p@ss/word"
    expected.mysql.database = "ml md"
    expected.mysql.skip_db_creation = True
    assert connection_config("mysql://reader%40site@db.example.com:3307/ml%20md", "p@ss/word") == expected


def test_mysql_port_has_a_default() -> None:
    assert connection_config("mysql://reader@db/mlmd").mysql.port == 3306


def test_mysql_options_for_tls() -> None:
    options = connection_config("mysql://reader@db/mlmd?ssl_ca=/c/a.pem&ssl_cert=cert.pem&ssl_key=key.pem").mysql
    assert options.ssl_options == mlmd.MySQLDatabaseConfig.SSLOptions(ca="/c/a.pem", cert="cert.pem", key="key.pem")


@pytest.mark.parametrize("host", ["", "localhost"])
def test_mysql_socket_stands_in_place_of_host_and_port(host: str) -> None:
    mysql = connection_config(f"mysql://reader@{host}/mlmd?socket=/run/my.sock").mysql
    assert (mysql.socket, mysql.host, mysql.port) == ("/run/my.sock", "", 0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("", "the database is '', expected the path of a SQLite file or mysql://USER@HOST[:PORT]/DATABASE"),
        ("postgresql://a@b/c", "begins with 'postgresql', expected the path of a SQLite file or mysql://"),
        ("mysql://db/mlmd", "names no user, expected mysql://USER@HOST"),
        ("mysql://reader@/mlmd", "names no host, expected"),
        ("mysql://db", "names no user and no database, expected"),
        ("mysql://reader@db:port/mlmd", "has a port that is none"),
        ("mysql://reader@db/mlmd?ssl=1", "has the option 'ssl' = '1', expected socket, ssl_ca, ssl_cert, ssl_key"),
        ("mysql://reader@db/mlmd?socket=", "has the option 'socket' = '', expected socket"),
        ("mysql://reader@db/mlmd?socket=/run/my.sock", "has a socket and a host"),
        ("mysql://reader@localhost:3306/mlmd?socket=/run/my.sock", "has a socket and a host"),
    ],
)
def test_wrong_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        connection_config(setting)
    assert message in str(caught.value)


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_password_in_a_url_is_refused_and_not_repeated(scheme: str) -> None:
    with pytest.raises(ValueError, match="database's URL") as caught:
        connection_config(f"{scheme}://reader:hunter2@db/mlmd")
    assert "hunter2" not in str(caught.value)


def test_missing_file_is_refused_and_not_made(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "metadata.sqlite"
    with pytest.raises(StoreError, match=f"there is no file {path}; name the SQLite file"):
        open_store(connection_config(str(path)))
    assert os.listdir(tmp_path) == []


def test_folder_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match=f"{tmp_path} is a folder; name the SQLite file in it"):
        open_store(connection_config(str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"run.log\nof some pipeline"])
def test_other_file_is_refused_and_kept(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "metadata.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{path} is no SQLite database"):
        open_store(connection_config(str(path)))
    assert path.read_bytes() == content


def test_other_database_is_refused_and_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "other.sqlite"
    _execute(path, "CREATE TABLE mine (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"{path} holds no ML Metadata; name the database"):
        open_store(connection_config(str(path)))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(9, "install the ml-metadata that wrote it, or upgrade the database"), (99, "install the newer ml-metadata")],
)
def test_other_schema_is_refused_and_kept(builder: StoreBuilder, version: int, remedy: str) -> None:
    _execute(builder.path, f"UPDATE MLMDEnv SET schema_version = {version}")
    before = builder.path.read_bytes()
    with pytest.raises(StoreError, match=f"has schema version {version} of ML Metadata, expected \\d+, .*; {remedy}"):
        open_store(connection_config(str(builder.path)))
    assert builder.path.read_bytes() == before


def test_damaged_store_is_refused(builder: StoreBuilder) -> None:
    _execute(builder.path, "DROP TABLE Event")
    with pytest.raises(StoreError, match="holds a part of ML Metadata's tables only"):
        open_store(connection_config(str(builder.path)))


def test_mysql_without_a_server_is_refused() -> None:
    with pytest.raises(StoreError, match=r"cannot connect to MySQL as reader@127\.0\.0\.1:1/mlmd; see that"):
        open_store(connection_config("mysql://reader@127.0.0.1:1/mlmd"))


def test_mysql_without_a_socket_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match=f"cannot connect to MySQL as reader@{tmp_path}/my.sock/mlmd"):
        open_store(connection_config(f"mysql://reader@/mlmd?socket={tmp_path}/my.sock"))


def test_opened_store_cannot_be_written(builder: StoreBuilder) -> None:
    before = builder.path.read_bytes()
    store = open_store(connection_config(str(builder.path)))
    with pytest.raises(Exception, match="readonly"):
        store.put_artifact_type(mlmd.ArtifactType(name="Mine"))
    assert builder.path.read_bytes() == before


def _execute(path: pathlib.Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()

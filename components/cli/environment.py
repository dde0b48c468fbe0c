"""Environment variables that commands read."""

# ML Metadata's database, as the option --db takes it, and the password of its MySQL user.
DATABASE = "TFX_PRUNING_DB"
DATABASE_PASSWORD = "MYSQL_PWD"

"""The nodes of the pipeline of one model."""

NODES = (
    "CsvExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "PruningTrainer",
    "Stripper",
    "Evaluator",
    "Pusher",
)

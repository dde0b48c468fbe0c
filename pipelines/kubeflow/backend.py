"""Backend: who runs a compiled pipeline."""

import enum


class Backend(str, enum.Enum):
    """Backends of KFP v2, which take the same file and support different parts of it.

    Attributes:
        KUBEFLOW: The open-source backend. It has no Resolver, does not run the driver of ExampleGens
            (`lifecycle.preCacheCheck`), and hands artifacts on with an empty type.
        VERTEX: Vertex AI Pipelines, which has all of that, and no node selectors.
    """

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"

    @classmethod
    def of(cls, name: str) -> "Backend":
        """The backend of that name.

        Raises:
            ValueError: There is none.
        """
        try:
            return cls(name)
        except ValueError:
            names = ", ".join(backend.value for backend in cls)
            raise ValueError(f"backend must be one of {names}, got {name!r}.") from None

"""TrainingStatus: what the training that runs in this process is at."""

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

from tfx_pruning.engine.keras.scope import PruningScope, active_scope
from tfx_pruning.engine.keras.version import VERSIONS, Model


class TrainingStatus:
    """Says what the `fit` that runs is at: steps, loss, sparsity and the time that is left.

    It looks at the model from another thread when it is asked, so that a training step does nothing for it.
    """

    def __init__(self) -> None:
        self._fit: _Fit | None = None

    def __call__(self) -> str:
        """The status in words; '' if no `fit` runs or nothing is known of it."""
        fit = self._fit
        try:
            return "" if fit is None else fit.described()
        except Exception:  # of whatever a user's model is: a training does not fail for what is only shown
            return ""

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Notes each `fit` of either Keras that begins in this context."""
        covered = {version.model: vars(version.model).get("fit") for version in VERSIONS}
        for version in VERSIONS:
            version.model.fit = self._noting(version.model.fit, version.fit)
        try:
            yield
        finally:
            for model, fit in covered.items():
                if fit is None:
                    del model.fit
                else:
                    model.fit = fit

    def _noting(self, original: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
        @functools.wraps(original)
        def fit(model: Model, *args: Any, **kwargs: Any) -> Any:
            before = self._fit
            with contextlib.suppress(Exception):
                arguments = signature.bind(model, *args, **kwargs)
                arguments.apply_defaults()
                self._fit = _Fit(model, arguments.arguments)
            try:
                return original(model, *args, **kwargs)
            finally:
                self._fit = before

        return fit


class _Fit:
    """A `fit` that runs."""

    def __init__(self, model: Model, arguments: dict[str, Any]) -> None:
        self._model = model
        self._scope: PruningScope | None = active_scope()
        self._begin = self._steps()
        each, epochs = arguments["steps_per_epoch"], arguments["epochs"] - arguments["initial_epoch"]
        self._total = None if each is None else each * epochs
        # When a step had been taken, and how many: the first takes the time of tracing.
        self._first: tuple[float, int] | None = None
        self._sparsity: tuple[int, float] | None = None

    def described(self) -> str:
        """See `TrainingStatus`."""
        done, now = self._steps() - self._begin, time.monotonic()
        if done < 1:
            return "before the first step"
        self._first = self._first or (now, done)
        parts = [f"step {done:,}" + (f" of {self._total:,}" if self._total else "")]
        for metric in self._model.metrics:
            if metric.name == "loss":
                parts.append(f"loss {float(metric.result()):.4g}")
        if self._scope is not None:
            prunings = [pruning for model, pruning, _ in self._scope.trainings if model is self._model]
            parts += [f"sparsity {self._reached(pruning):.1%}" for pruning in prunings]
        since, steps = now - self._first[0], done - self._first[1]
        if self._total and steps > 0 and done <= self._total:
            parts.append(f"{since / steps * (self._total - done):.0f} s left")
        return ", ".join(parts)

    def _steps(self) -> int:
        return int(self._model.optimizer.iterations)

    def _reached(self, pruning: Any) -> float:
        """The sparsity, which is counted anew when the masks have changed."""
        updated = int(pruning.last_mask_update_step)
        if self._sparsity is None or self._sparsity[0] != updated:
            self._sparsity = updated, pruning.reached()
        return self._sparsity[1]

"""A stand-in for the base class of label-studio-ml's upstream main, which is not on PyPI: its constructor and its store
of strings a project, as far as a subclass meets them."""

STORE: dict[tuple[str, str], str] = {}


class LabelStudioMLBase:
    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.get("model_version"):
            self.set("model_version", "0.0.1")
        self.setup()

    def setup(self) -> None:
        """For subclasses."""

    def get(self, key: str) -> str | None:
        return STORE.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        STORE[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

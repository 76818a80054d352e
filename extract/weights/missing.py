"""What to get and where to put it, when a model was asked for without its weights."""

from vidret.data.errors import MissingError

HUB_FILE = "open_clip_model.safetensors"  # what the hub's repositories of open_clip call it
PUBLISHED_AT = {"ViT-B-32-quickgelu": ("timm/vit_base_patch32_clip_224.openai", "ViT-B-32.pt")}


def missing_weights(name: str) -> MissingError:
    """The error for a backbone that was asked for without saying where its weights are."""
    return MissingError(
        f"no weights known for {name}: {_where_to_get(name)}. Put\n\n"
        f'[extract]\nbackbone = "{name}@/path/to/{HUB_FILE}"\n\n'
        f"into ./vidret.toml, or pass --backbone {name}@openai to fetch OpenAI's from the "
        "hub, or --backbone tiny to try the way with the bundled toy"
    )


def _where_to_get(name: str) -> str:
    """For the default exactly; open_clip's table has the others, but takes seconds to ask."""
    if name not in PUBLISHED_AT:
        return f"get {HUB_FILE} of its repository on https://huggingface.co"
    repository, own = PUBLISHED_AT[name]
    return (
        f"get {HUB_FILE} of https://huggingface.co/{repository}, or {own} of OpenAI and make "
        f"it safetensors with vidret weights convert"
    )
